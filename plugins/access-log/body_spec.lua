-- SPDX-License-Identifier: Apache-2.0
-- Bodies in the access log.
local cjson = require 'cjson'
local gateway = require 'moongate.test'

describe('bodies in access-log', function()
    local gw, path

    local function start(config, more)
        config.sinks = { { type = 'file', path = path } }
        local plugins = { { name = 'access-log', config = config } }
        plugins[2] = more
        gw = gateway.start({
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101',
                routes = { { name = 'all', paths = { '/' }, plugins = plugins } },
            } },
        })
    end

    local function record()
        gw:stop()
        gw = nil
        local lines = {}
        for line in io.lines(path) do
            lines[#lines + 1] = cjson.decode(line)
        end
        assert.equal(1, #lines)
        return lines[1]
    end

    local function post(body, content_type, more)
        local headers = more or {}
        headers['Content-Type'] = content_type
        return gw:post('/', { headers = headers, body = body })
    end

    before_each(function()
        path = os.tmpname()
    end)

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
        os.remove(path)
    end)

    it('are shown when they are wanted', function()
        start({ body = {} })
        post('a=1&password=S3CRET', 'application/x-www-form-urlencoded')
        assert.equal('a=1&password=***', record().req_body)
        os.remove(path)
        start({ body = { request = false, response = true } },
            { name = 'request-termination', config = { status_code = 200, message = 'hello' } })
        gw:get('/')
        assert.equal('{"message":"hello"}', record().resp_body)
    end)

    it('are not, otherwise', function()
        start({})
        post('a=1', 'text/plain')
        local line = record()
        assert.is_nil(line.req_body)
        assert.is_nil(line.resp_body)
    end)

    it('are cut, and secrets found in what is left', function()
        start({ body = { max = 30 } })
        post('{"a":[1,{"Pass\\u0077ord":"S3CRET-that-is-long"}],"b":2}', 'application/json')
        assert.equal('{"a":[1,{"Pass\\u0077ord":"***"', record().req_body)
    end)

    it('are shown by type, and never packed', function()
        for _, case in ipairs({
            { 'text/html; charset=utf-8', nil, true }, { 'TEXT/plain', nil, true },
            { 'application/json', 'identity', true }, { 'application/json', 'gzip', false },
            { 'application/octet-stream', nil, false }, { 'textual/x', nil, false },
        }) do
            start({ body = {} })
            post('plain', case[1], { ['Content-Encoding'] = case[2] })
            assert.equal(case[3] and 'plain' or nil, record().req_body)
            os.remove(path)
        end
    end)

    it('are there for templates and values in Lua', function()
        start({ body = {}, fields = { 'status' },
            custom_fields = { size = 'lua: #record.req_body' } })
        post('12345', 'text/plain')
        assert.same({ status = 200, size = 5 }, record())
    end)
end)
