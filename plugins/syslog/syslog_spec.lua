-- SPDX-License-Identifier: Apache-2.0
local cjson = require 'cjson'
local gateway = require 'moongate.test'

describe('syslog', function()
    local function config_of(config)
        return {
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101', routes = { { name = 'all',
                    paths = { '/' }, plugins = { { name = 'syslog', config = config } } } },
            } },
        }
    end

    it('serves requests while nobody takes its lines', function()
        local gw = gateway.start(config_of({ facility = 'LOCAL3', log_level = 'err',
            client_errors_severity = 'warning' }))
        assert.equal(200, gw:get('/').status)
        assert.equal(200, gw:get('/').status)
        gw:stop()
    end)

    describe('refuses at load', function()
        local CASES = {
            { { facility = 'LOCAL8' }, 'expected one of' },
            { { log_level = 'error' }, 'expected one of' },
            { { successful_severity = 'x' }, 'expected one of' },
            { { client_errors_severity = 'x' }, 'expected one of' },
            { { server_errors_severity = 'x' }, 'expected one of' },
            { {}, 'custom_fields_by_lua' },
        }
        CASES[#CASES][1].custom_fields_by_lua = { a = 'return +' }

        for _, case in ipairs(CASES) do
            it(case[2] .. ' in ' .. cjson.encode(case[1]), function()
                local ok, err = pcall(gateway.start, config_of(case[1]))
                assert.is_false(ok)
                assert.truthy(tostring(err):find(case[2], 1, true), tostring(err))
            end)
        end
    end)
end)
