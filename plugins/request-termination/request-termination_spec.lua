-- SPDX-License-Identifier: Apache-2.0
local gateway = require 'moongate.test'

describe('request-termination', function()
    local gw

    local function start(config)
        gw = gateway.start({
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101',
                routes = { {
                    name = 'all', paths = { '/' },
                    plugins = { { name = 'request-termination', config = config } },
                } },
            } },
        })
    end

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    it('answers 503 with a message and asks no upstream', function()
        start({})
        local res = gw:get('/')
        assert.response(res).has.status(503)
        local json = assert.response(res).has.jsonbody()
        assert.equal('Service Unavailable', json.message)
        assert.equal(0, #gw.upstream.requests)
    end)

    it('uses the configured status and message, as the client likes it', function()
        start({ status_code = 404, message = '<gone>' })
        local res = gw:get('/', { headers = { Accept = 'text/html' } })
        assert.response(res).has.status(404)
        assert.equal('text/html; charset=utf-8', assert.response(res).has.header('Content-Type'))
        assert.truthy(res.body:find('&lt;gone&gt;', 1, true))
    end)

    it('sends a body as it is', function()
        start({ status_code = 200, body = 'hello', content_type = 'text/plain' })
        local res = gw:get('/')
        assert.response(res).has.status(200)
        assert.equal('text/plain', assert.response(res).has.header('Content-Type'))
        assert.equal('hello', res.body)
    end)

    it('ends a request below 400 without inventing an error', function()
        start({ status_code = 204 })
        local res = gw:get('/')
        assert.response(res).has.status(204)
        assert.equal('', res.body)
    end)

    it('shows what was received with echo', function()
        start({ status_code = 200, echo = true })
        local res = gw:post('/a?x=1', { headers = { ['X-Tenant'] = 'acme' }, body = 'text' })
        local json = assert.response(res).has.jsonbody()
        assert.equal('POST', json.request.method)
        assert.equal('/a', json.request.path)
        assert.same({ x = '1' }, json.request.query)
        assert.equal('acme', json.request.headers['x-tenant'])
        assert.equal('text', json.request.raw_body)
        assert.equal('all', json.matched_route.name)
    end)

    it('lets requests without the trigger pass', function()
        start({ trigger = 'X-Stop' })
        assert.response(gw:get('/')).has.status(200)
        assert.response(gw:get('/', { headers = { ['x-stop'] = 'now' } })).has.status(503)
        assert.response(gw:get('/?X-Stop')).has.status(503)
        assert.equal(1, #gw.upstream.requests)
    end)

    it('refuses options that contradict each other', function()
        local function refused(config)
            local ok, err = gateway.validate('request-termination', config)
            assert.falsy(ok)
            return err.config
        end
        assert.truthy(refused({ message = 'a', body = 'b' })['@entity'])
        assert.truthy(refused({ content_type = 'text/plain' }))
        assert.truthy(refused({ status_code = 600 }).status_code)
        assert.truthy(gateway.validate('request-termination', {}))
    end)
end)
