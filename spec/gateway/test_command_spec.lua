-- SPDX-License-Identifier: Apache-2.0
--
-- `moongate test` as a command: what it runs, what it says, how it ends.
local process = require 'spec.gateway.support.process'

local PASSING = [[
describe('a spec', function()
    it('adds', function() assert.equal(2, 1 + 1) end)
    it('knows the harness', function() assert.is_function(require('moongate.test').start) end)
end)
]]
local FAILING = [[
describe('a spec', function()
    it('fails', function() assert.equal(3, 1 + 1) end)
    it('passes', function() end)
end)
]]

describe('moongate test', function()
    after_each(process.stop_all)

    -- Exit code, stdout, stderr.
    local function run(...)
        local command = process.start({ process.binary, 'test', ... })
        return command:wait(), command.out, command.err
    end

    local function spec(text)
        return process.write(process.folder() .. '/some_spec.lua', text)
    end

    it('runs a file and prints the counts', function()
        local code, out = run(spec(PASSING))
        assert.truthy(out:find('2 successes / 0 failures / 0 errors / 0 pending', 1, true), out)
        assert.equal(0, code)
    end)

    it('ends with 1 when a test fails', function()
        local code, out = run(spec(FAILING))
        assert.truthy(out:find('1 success / 1 failure / 0 errors / 0 pending', 1, true), out)
        assert.equal(1, code)
    end)

    it('ends with 1 when a file cannot be read as Lua', function()
        local code, out = run(spec('describe('))
        assert.truthy(out:find('1 error', 1, true), out)
        assert.equal(1, code)
    end)

    it('takes folders, and finds only specs in them', function()
        local folder = spec(PASSING):match('^(.*)/')
        process.write(folder .. '/other.lua', 'error("not a spec")')
        local code, out = run(folder)
        assert.truthy(out:find('2 successes / 0 failures / 0 errors', 1, true), out)
        assert.equal(0, code)
    end)

    it('counts a run without tests as a failure', function()
        local code, _, err = run('--filter', 'nothing like it', spec(PASSING))
        assert.truthy(err:find('no test was run', 1, true), err)
        assert.equal(1, code)
        assert.equal(1, (run(spec('-- empty\n'))))
    end)

    it('filters by name and writes a JUnit report', function()
        local file = spec(FAILING)
        local report = file .. '.xml'
        assert.equal(0, (run(file, '--filter=passes', '--seed', '7', '--junit', report)))
        local xml = process.read(report)
        assert.truthy(xml:find("tests='1'", 1, true), xml)
        assert.truthy(xml:find('a spec passes', 1, true), xml)
    end)

    it('refuses wrong use with 2', function()
        for _, arguments in ipairs({ { '--seed', 'x' }, { '--bogus' }, { 'no/such/file' },
            { '--filter' }, { '--filter', '[', '.' }, { '--junit', '/no/such/folder/x', '.' } }) do
            assert.equal(2, (run(unpack(arguments))), table.concat(arguments, ' '))
        end
    end)
end)
