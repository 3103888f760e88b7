-- SPDX-License-Identifier: Apache-2.0
--
-- script/bench peers in its shortest form, so that the comparison can be run whenever it is wanted:
-- the plain scenario on the sides that are here. Counts are checked, not times.
local cjson = require 'cjson'
local process = require 'spec.gateway.support.process'

local SECONDS = 300 -- at most, on a machine that does much else

local function bench(...)
    local run = process.start({ 'luajit', 'bench/peers.lua', ... },
        { MOONGATE_BIN = process.absolute })
    local code = run:wait(SECONDS)
    run:stop()
    return code, run.out, run.err
end

describe('the comparison with other gateways', function()
    teardown(process.stop_all)

    it('measures each side that is here, and judges the bars of it', function()
        local out, svg = process.folder() .. '/figures.json', process.folder() .. '/chart.svg'
        local is_release = os.getenv('MOONGATE_PRESET') ~= 'asan'
        local code, text, err = bench('--scenario', 'plain', '--peers',
            'moongate,nginx,floor_uv,floor_epoll', '--rounds', '1', '--seconds', '0.1',
            '--connections', '8', '--out', out, '--svg', svg,
            is_release and '--rounds' or '--no-calls', is_release and '1' or nil)
        assert.equal(0, code, err)
        local found = cjson.decode(process.read(out))
        assert.equal(1, found.version)
        assert.equal(4, #found.scenarios[1].sides)
        for _, side in ipairs(found.scenarios[1].sides) do
            if side.peer ~= 'nginx' or not side.reason then -- it may not be installed
                assert.is_nil(side.reason)
                assert.equal(0, side.failed + side.open.failed)
                assert.is_true(side.requests > 0 and side.open.requests > 0, text)
                assert.is_true(side.cpu_us > 0 and side.rss_bytes > 0)
            end
            if side.calls and side.peer:find('^floor') then
                assert.is_true(side.calls >= 3.9 and side.calls <= 4.1, text)
            end
        end
        for _, bar in ipairs(found.bars) do
            assert.equal('plain', bar.scenario)
            assert.equal(bar.value == nil, bar.reason ~= nil)
        end
        assert.matches('| floor_epoll | ', text, 1, true)
        assert.matches('</svg>', process.read(svg), 1, true)
    end)

    it('says what is wrong with an argument', function()
        for arguments, message in pairs({
            ['--scenario nonsense'] = "there is no scenario 'nonsense'",
            ['--peers moongate,apache'] = "there is no peer 'apache'",
            ['--rounds 0'] = "--rounds: '0' is no number from 1",
            ['--rounds 1.5'] = "--rounds: '1.5' is no whole number from 1",
            ['--seconds'] = '--seconds needs a value',
            ['fast'] = "unknown argument 'fast'; see --help",
        }) do
            local words = {}
            for word in arguments:gmatch('%S+') do
                words[#words + 1] = word
            end
            local code, _, err = bench(unpack(words))
            assert.equal(2, code)
            assert.matches(message, err, 1, true)
        end
    end)
end)
