-- SPDX-License-Identifier: Apache-2.0
--
-- Random valid exchanges, made from a seed, between the clients and the upstream of
-- spec/exchanges/, through a gateway with two workers: whatever the framing, the packets and the
-- order, each request and each answer arrives once, in its place and byte for byte. The suite sends
-- some thousands from a fixed seed; script/soak sends 200,000 from a new one. $MOONGATE_SEED sets
-- the seed.
local process = require 'spec.gateway.support.process'

local SOAK = tonumber(os.getenv('MOONGATE_SOAK_EXCHANGES'))
local EXCHANGES = SOAK or 3000
local THROUGH_POLICIES = math.max(1000, math.floor(EXCHANGES / 10))
local SEED = os.getenv('MOONGATE_SEED') or '1'
local SECONDS = 120 + EXCHANGES / 20

local DRIVER = assert(process.binary:match('^(.*/)[^/]*$')) .. 'exchanges'

-- Passes what it gets, at times after a wait.
local PASSER = [[
local plugin = { PRIORITY = 900, VERSION = '0.1.0' }
local seen = 0

function plugin:body_filter()
    seen = seen + 1
    if seen % 16 == 0 then
        moongate.sleep(0.001)
    end
    ngx.arg[1] = ngx.arg[1]
end

return plugin
]]

-- An answer 503 that says by chance when to come again would be asked for once more.
local NO_ANSWER_AGAIN = '  retry: { on: [connect-failure, reset-before-send] }'

local POLICIES = [[
    plugins:
    - { name: passer }
    - { name: rate-limit, config: { quota: 100000000, window: 60s } }
    - name: access-log
      config: { sinks: [{ type: file, path: "%s/access.log" }] }
]]

local function count_lines(path)
    local _, lines = assert(process.read(path)):gsub('\n', '')
    return lines
end

describe('random exchanges', function()
    after_each(process.stop_all)

    -- Runs the driver to its end; returns what it counted.
    local function drive(gateway, upstream, count, ...)
        local driver = process.start({ DRIVER, '--gateway', tostring(gateway.port), '--upstream',
            tostring(upstream), '--exchanges', tostring(count), '--seed', SEED, ... })
        local told = 0
        for _ = 1, SECONDS do
            local code = driver:wait(1)
            if SOAK and #driver.err > told then
                io.write((driver.err:sub(told + 1):gsub('([^\n]+\n)', '    %1')))
                io.flush()
                told = #driver.err
            end
            if code then
                break
            end
        end
        assert.equal(0, driver.code, driver.err)
        local tallies = {}
        for word, number in driver.out:gmatch('([%w_]+) (%d+)\n') do
            tallies[word] = tonumber(number)
        end
        if SOAK then
            print((driver.out:gsub('([^\n]+\n)', '    %1')))
        end
        return tallies
    end

    local function expect_settled(gateway, count)
        local status = assert(gateway:wait_status(function(now)
            return now.counters.connections == 0 and now.counters.requests_active == 0
        end))
        assert.equal(count, status.counters.requests)
        assert.equal(count, status.outcomes.ok)
        assert.equal(count, status.counters.upstream_tries)
        for _, worker in ipairs(status.workers) do
            assert.equal(0, worker.restarts)
        end
    end

    it('arrive as they were sent', function()
        local upstream = process.free_port()
        local gateway = process.gateway(process.yaml{ upstream = upstream, workers = 2,
            gateway = NO_ANSWER_AGAIN })
        local tallies = drive(gateway, upstream, EXCHANGES, SOAK and '--progress' or nil)
        assert.equal(EXCHANGES, tallies.exchanges)
        for word, number in pairs(tallies) do -- every kind of thing has happened
            assert.is_true(number > 0, word)
        end
        expect_settled(gateway, EXCHANGES)
    end)

    it('arrive as they were sent through policies', function()
        local folder = process.plugins({ passer = PASSER })
        local upstream = process.free_port()
        local gateway = process.gateway(process.yaml{ upstream = upstream, workers = 2,
            gateway = NO_ANSWER_AGAIN, plugins = POLICIES:format(folder) }, { folder = folder })
        local tallies = drive(gateway, upstream, THROUGH_POLICIES, '--filtered')
        assert.equal(THROUGH_POLICIES, tallies.exchanges)
        expect_settled(gateway, THROUGH_POLICIES)
        gateway:signal('TERM')
        assert.equal(0, gateway:wait())
        assert.equal(THROUGH_POLICIES, count_lines(folder .. '/access.log'))
    end)
end)
