-- SPDX-License-Identifier: Apache-2.0
-- circuit-breaker: the names of breakers.
require('moongate.test').load('circuit-breaker') -- so that its modules are found
local names = require 'moongate.plugins.circuit-breaker.names'

describe('the name of a breaker', function()
    local upstreams = names.set_of({ { name = 'Orders' }, { name = 'other' } })

    local function of(scope, service, route)
        route = route or {}
        route.service = service
        return names.of(scope, route, upstreams)
    end

    it('is that of the upstream entity, whatever the case and the port', function()
        assert.equal('upstream:orders', of('upstream', { host = 'ORDERS', port = 81 }))
    end)

    it('is host and port without an upstream entity', function()
        assert.equal('upstream:a.test:81', of('upstream', { host = 'a.test', port = 81 }))
        assert.equal('upstream:::1:80', of('upstream', { host = '::1' }))
        assert.equal('upstream:unix:/run/a.sock', of('upstream', { host = 'unix:/run/a.sock' }))
    end)

    it('is that of the service or route, else its id', function()
        assert.equal('service:s', of('service', { id = '1', name = 's', host = 'h' }))
        assert.equal('service:1', of('service', { id = '1', host = 'h' }))
        assert.equal('route:r', of('route', nil, { id = '2', name = 'r' }))
        assert.equal('route:2', of('route', { host = 'h' }, { id = '2' }))
    end)

    it('of keys is that of the entity that carries the entry', function()
        assert.equal('key:all', names.of_keys({}))
        assert.equal('key:route:r', names.of_keys({ route = { id = '1', name = 'r' } }))
        assert.equal('key:service:1+consumer:ann', names.of_keys({ service = { id = '1' },
            consumer = { username = 'ann', id = '2' } }))
    end)

    it('comes with a number of keys where the scope is key', function()
        assert.equal(0, names.max_keys({ scope = 'route', max_keys = 20 }))
        assert.equal(20, names.max_keys({ scope = 'key', max_keys = 20 }))
        assert.equal(1024, names.max_keys({ scope = 'key' }))
    end)

    it('is none where there is no service', function()
        assert.is_nil(of('upstream', nil))
        assert.is_nil(of('service', nil))
    end)

    it('is cut to what shared memory holds, and stays apart from others', function()
        local fits = of('route', nil, { name = ('x'):rep(89) })
        assert.equal('route:' .. ('x'):rep(89), fits)
        local a = of('route', nil, { name = ('x'):rep(90) .. 'a' })
        local b = of('route', nil, { name = ('x'):rep(90) .. 'b' })
        assert.equal(95, #a)
        assert.equal(95, #b)
        assert.not_equal(a, b)
        assert.equal(a, of('route', nil, { name = ('x'):rep(90) .. 'a' }))
    end)
end)
