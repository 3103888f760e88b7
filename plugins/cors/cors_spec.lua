-- SPDX-License-Identifier: Apache-2.0
local gateway = require 'moongate.test'

describe('cors', function()
    local gw

    local function start(config, more)
        local plugins = { { name = 'cors', config = config } }
        plugins[2] = more
        gw = gateway.start({
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101',
                routes = { { name = 'all', paths = { '/' }, plugins = plugins } },
            } },
        })
    end

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    local function get(origin)
        return gw:get('/', { headers = { Origin = origin } })
    end

    local function preflight(origin, headers)
        local all = { Origin = origin, ['Access-Control-Request-Method'] = 'PUT' }
        for name, value in pairs(headers or {}) do
            all[name] = value
        end
        return gw:options('/', { headers = all })
    end

    local function header(res, name)
        return assert.response(res).has.header(name)
    end

    it('allows everybody without origins', function()
        start({})
        local res = get('https://a.test')
        assert.response(res).has.status(200)
        assert.equal('*', header(res, 'Access-Control-Allow-Origin'))
        assert.response(res).has.no.header('Access-Control-Allow-Credentials')
        assert.response(res).has.no.header('Vary')
    end)

    it('answers a preflight without the upstream', function()
        start({ max_age = 3600, exposed_headers = { 'X-A' } })
        local res = preflight('https://a.test', { ['Access-Control-Request-Headers'] = 'X-One' })
        assert.response(res).has.status(200)
        assert.equal('', res.body)
        assert.equal('*', header(res, 'Access-Control-Allow-Origin'))
        assert.equal('GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT',
            header(res, 'Access-Control-Allow-Methods'))
        assert.equal('X-One', header(res, 'Access-Control-Allow-Headers'))
        assert.equal('3600', header(res, 'Access-Control-Max-Age'))
        assert.response(res).has.no.header('Access-Control-Expose-Headers')
        assert.equal(0, #gw.upstream.requests)
    end)

    it('lets other OPTIONS requests pass, and preflights if told so', function()
        start({})
        assert.response(gw:options('/')).has.status(200)
        assert.equal(1, #gw.upstream.requests)
        gw:stop()
        start({ preflight_continue = true })
        local res = preflight('https://a.test')
        assert.equal(1, #gw.upstream.requests)
        assert.equal('*', header(res, 'Access-Control-Allow-Origin'))
    end)

    it('names the one plain origin always', function()
        start({ origins = { 'https://a.test' }, headers = { 'X-A', 'X-B' }, methods = { 'GET' } })
        local res = preflight('https://evil.test')
        assert.equal('https://a.test', header(res, 'Access-Control-Allow-Origin'))
        assert.equal('Origin', header(res, 'Vary'))
        assert.equal('X-A,X-B', header(res, 'Access-Control-Allow-Headers'))
        assert.equal('GET', header(res, 'Access-Control-Allow-Methods'))
    end)

    it('picks from several origins by the whole name', function()
        start({ origins = { 'https://a.test', 'b.test', 'https://[a-z]+\\.c\\.test' } })
        for _, origin in ipairs({ 'https://a.test', 'https://A.test:443', 'http://b.test',
            'https://x.c.test' }) do
            assert.equal(origin, header(get(origin), 'Access-Control-Allow-Origin'))
        end
        for _, origin in ipairs({ 'https://a.test.evil.test', 'http://a.test',
            'https://a.test:8443', 'https://notb.test', 'https://x.c.test.evil.test',
            'https://evil.test/x.c.test', 'null' }) do
            local res = get(origin)
            assert.response(res).has.status(200)
            assert.response(res).has.no.header('Access-Control-Allow-Origin')
            assert.equal('Origin', header(res, 'Vary'))
        end
    end)

    it('names the origin when credentials are allowed', function()
        start({ credentials = true })
        local res = get('https://a.test')
        assert.equal('https://a.test', header(res, 'Access-Control-Allow-Origin'))
        assert.equal('true', header(res, 'Access-Control-Allow-Credentials'))
        assert.equal('Origin', header(res, 'Vary'))
        assert.response(gw:get('/')).has.no.header('Access-Control-Allow-Credentials')
    end)

    it('exposes headers and opens private networks where asked', function()
        start({ exposed_headers = { 'X-A', 'X-B' }, private_network = true })
        assert.equal('X-A,X-B', header(get('https://a.test'), 'Access-Control-Expose-Headers'))
        assert.response(preflight('https://a.test'))
            .has.no.header('Access-Control-Allow-Private-Network')
        assert.equal('true', header(preflight('https://a.test',
            { ['Access-Control-Request-Private-Network'] = 'true' }),
            'Access-Control-Allow-Private-Network'))
    end)

    it('may keep quiet without an Origin', function()
        start({ allow_origin_absent = false })
        assert.response(gw:get('/')).has.no.header('Access-Control-Allow-Origin')
        assert.equal('*', header(get('https://a.test'), 'Access-Control-Allow-Origin'))
    end)

    it('covers answers of other plugins', function()
        start({}, { name = 'request-termination' })
        local res = get('https://a.test')
        assert.response(res).has.status(503)
        assert.equal('*', header(res, 'Access-Control-Allow-Origin'))
    end)

    it('refuses entries that are no origins and no expressions', function()
        local ok, err = gateway.validate('cors', { origins = { '(' } })
        assert.falsy(ok)
        assert.truthy(err.config.origins[1]:find('neither an origin nor a valid regex', 1, true))
        assert.falsy(gateway.validate('cors', { methods = { 'FETCH' } }))
        assert.falsy(gateway.validate('cors', { max_age = -1 }))
        assert.truthy(gateway.validate('cors', { max_age = 0 }))
    end)
end)
