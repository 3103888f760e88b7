-- SPDX-License-Identifier: Apache-2.0
local cjson = require 'cjson'
local gateway = require 'moongate.test'

describe('http-log', function()
    local function config_of(config)
        return {
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101', routes = { { name = 'all',
                    paths = { '/' }, plugins = { { name = 'http-log', config = config } } } },
            } },
        }
    end

    it('serves requests while nobody takes its lines', function()
        local gw = gateway.start(config_of({ http_endpoint = 'http://u:p@127.0.0.1:9/x',
            method = 'PUT', timeout = 100, keepalive = 0, headers = { ['X-Key'] = 'a' },
            retry_count = 1, queue_size = 2,
            flush_timeout = 1, queue = { max_entries = 5, max_retry_time = 1 } }))
        assert.equal(200, gw:get('/').status)
        assert.equal(200, gw:get('/').status)
        gw:stop()
    end)

    describe('refuses at load', function()
        local CASES = {
            { {}, 'required' },
            { { http_endpoint = 'ftp://h/' }, 'expected a URL' },
            { { http_endpoint = 'nonsense' }, 'expected a URL' },
            { { http_endpoint = 'http://h', method = 'GET' }, 'expected one of' },
            { { http_endpoint = 'http://h', content_type = 'text/plain' }, 'application/json' },
            { { http_endpoint = 'http://h', headers = { Host = 'x' } },
                'one that the gateway writes itself' },
            { { http_endpoint = 'http://u:p@h', headers = { Authorization = 'x' } },
                "both an 'Authorization' header and a user" },
            { { http_endpoint = 'http://h', queue = { concurrency_limit = -1 } },
                'one request at a time' },
            { { http_endpoint = 'http://h', queue = { max_batch_size = 0 } }, 'max_batch_size' },
            { { http_endpoint = 'http://127.0.0.1:9/x' }, 'custom_fields_by_lua' },
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
