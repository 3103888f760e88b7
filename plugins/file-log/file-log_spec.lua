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

    it('adds, replaces and leaves out fields by custom_fields_by_lua', function()
        local path = os.tmpname()
        local gw = gateway.start(config_of({ path = path, custom_fields_by_lua = {
            ['my.agent'] = "return kong.request.get_header('User-Agent') -- as it came",
            method = "if kong.response.get_status() == 200 then return 'fine' end",
            host = 'return nil',
            route = 'return kong.router.get_route().name .. record.path',
            secret = "return kong.request.get_header('authorization')",
            escape = 'return kong.client.get_credential()',
            env = 'return os.getenv("HOME")',
        } }))
        gw:get('/a', { headers = { ['User-Agent'] = 'spec', Authorization = 'Basic s3cret' } })
        gw:stop()
        local text = assert(io.open(path)):read('*a')
        os.remove(path)
        local record = cjson.decode(text)
        assert.same({ 'spec', 'fine', 'all/a', 200 },
            { record.my.agent, record.method, record.route, record.status })
        assert.is_nil(record.host)
        assert.is_nil(record.escape)
        assert.is_nil(record.env)
        assert.is_nil(text:find('s3cret', 1, true), text)
        assert.equal(select(2, text:gsub('"method"', '')), 1)
    end)

    describe('refuses at load', function()
        local CASES = {
            { {}, 'required' },
            { { path = 'a*b' }, 'not a valid filename' },
            { { path = '/nonexistent/a' }, 'No such file or directory' },
            { { path = '/tmp/x' }, 'custom_fields_by_lua' },
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
