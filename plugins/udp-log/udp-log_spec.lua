-- SPDX-License-Identifier: Apache-2.0
local cjson = require 'cjson'
local gateway = require 'moongate.test'

describe('udp-log', function()
    local function config_of(config)
        return {
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101', routes = { { name = 'all',
                    paths = { '/' }, plugins = { { name = 'udp-log', config = config } } } },
            } },
        }
    end

    it('serves requests while nobody takes its lines', function()
        local gw = gateway.start(config_of({ host = '127.0.0.1', port = 9, timeout = 100 }))
        assert.equal(200, gw:get('/').status)
        assert.equal(200, gw:get('/').status)
        gw:stop()
    end)

    describe('refuses at load', function()
        local CASES = {
            { {}, 'required' },
            { { host = 'h' }, 'required' },
            { { host = '-', port = 1 }, 'host' },
            { { host = '127.0.0.1', port = 9 }, 'custom_fields_by_lua' },
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
