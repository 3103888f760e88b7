-- SPDX-License-Identifier: Apache-2.0
local cjson = require 'cjson'
local gateway = require 'moongate.test'

describe('file-log', function()
    local function config_of(config)
        return {
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101', routes = { { name = 'all',
                    paths = { '/' }, plugins = { { name = 'file-log', config = config } } } },
            } },
        }
    end

    it('appends the line of each request, also to a renamed file', function()
        local path = os.tmpname()
        local gw = gateway.start(config_of({ path = path, reopen = true }))
        gw:get('/a')
        gw:get('/b')
        gw:stop()
        local paths = {}
        for line in io.lines(path) do
            paths[#paths + 1] = cjson.decode(line).path
        end
        os.remove(path)
        assert.same({ '/a', '/b' }, paths)
    end)

    describe('refuses at load', function()
        local CASES = {
            { {}, 'required' },
            { { path = 'a*b' }, 'not a valid filename' },
            { { path = '/nonexistent/a' }, 'No such file or directory' },
            { { path = '/tmp/x' }, 'custom_fields' },
        }
        CASES[#CASES][1].custom_fields_by_lua = { a = 'return 1' }

        for _, case in ipairs(CASES) do
            it(case[2] .. ' in ' .. cjson.encode(case[1]), function()
                local ok, err = pcall(gateway.start, config_of(case[1]))
                assert.is_false(ok)
                assert.truthy(tostring(err):find(case[2], 1, true), tostring(err))
            end)
        end
    end)
end)
