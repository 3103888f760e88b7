-- SPDX-License-Identifier: Apache-2.0
-- Seeded mistakes: each spec/lua/golden/NAME.yml loaded in one run, and its whole report compared
-- with NAME.txt. After a wanted change of texts, `UPDATE_GOLDEN=1` writes the .txt files anew; read
-- the difference before it is committed.
local config = require 'moongate.config'
local fake_plugins = require 'spec.lua.support.fake_plugins'
local report = require 'moongate.config.report'

local FOLDER = 'spec/lua/golden/'
local ENV = { HOST = '127.0.0.1', PORT = '9001', SECRET = 'hunter2' }

local function read(path)
    local file = io.open(path, 'rb')
    if not file then
        return nil, 'no such file'
    end
    local text = file:read('*a')
    file:close()
    return text
end

local function names()
    local list = {}
    local pipe = assert(io.popen('ls ' .. FOLDER))
    for file in pipe:lines() do
        list[#list + 1] = file:match('^(.+)%.yml$')
    end
    pipe:close()
    return list
end

local function load(name, text)
    return config.load({
        file = name .. '.yml', text = text, now = 1700000000,
        env = function(variable) return ENV[variable] end,
        read_file = read,
        load_plugin = fake_plugins.load_plugin, plugin_names = fake_plugins.plugin_names,
    })
end

describe('the report on', function()
    local errors, suggestions = 0, 0

    for _, name in ipairs(names()) do
        it(name .. '.yml is as expected', function()
            local text = read(FOLDER .. name .. '.yml')
            local snapshot, findings = load(name, text)
            local printed = report.format(findings, { source = text })
            errors = errors + findings.errors
            for _, finding in ipairs(findings) do
                suggestions = suggestions + (finding.suggestion and 1 or 0)
                assert.is_number(finding.line, finding.message)
                assert.matches('^MG1%d%d%d$', finding.code)
            end
            assert.equal(findings.errors == 0, snapshot ~= nil)
            assert.is_nil(printed:find('hunter2', 1, true), 'a secret is printed')
            if os.getenv('UPDATE_GOLDEN') then
                local file = assert(io.open(FOLDER .. name .. '.txt', 'wb'))
                file:write(printed)
                file:close()
            end
            assert.equal(read(FOLDER .. name .. '.txt'), printed)
        end)
    end

    it('all of them covers well over 100 mistakes', function()
        assert.is_true(errors >= 150, errors .. ' errors')
        assert.is_true(suggestions >= 25, suggestions .. ' suggestions')
    end)
end)
