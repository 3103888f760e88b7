-- SPDX-License-Identifier: Apache-2.0
-- moongate.log: lines, inspection, and the access-log table.
local gateway = require 'spec.lua.support.fake_gateway'

describe('moongate.log', function()
    local log

    before_each(function()
        log = gateway.load().log
        gateway.phase('access')
        gateway.request{}
    end)

    it('joins its arguments and says who speaks and where', function()
        gateway.plugin = 'demo'
        log.warn('a', 1, nil, true)
        local line = gateway.logs[1]
        assert.equal(4, line.level)
        assert.equal('plugin demo', line.component)
        assert.truthy(line.text:find('pdk_log_spec%.lua:%d+: a1niltrue$'))
    end)

    it('has a level for each name', function()
        log('notice')
        log.error('e')
        log.err('e')
        log.emerg('x')
        assert.same({ 5, 3, 3, 0 }, { gateway.logs[1].level, gateway.logs[2].level,
            gateway.logs[3].level, gateway.logs[4].level })
        assert.equal('lua', gateway.logs[1].component)
    end)

    it('makes no text below the level', function()
        log.debug(setmetatable({}, { __tostring = function() error('made') end }))
        log.info('x')
        assert.equal(0, #gateway.logs)
    end)

    it('inspects tables in order', function()
        local t = { 3, 'x', b = { 1 }, a = true, [10] = 1.5 }
        t.self = t
        log.inspect('see', t, nil)
        assert.truthy(gateway.logs[1].text:find(
            'see { 3, "x", [10] = 1.5, a = true, b = { 1 }, self = {...} } nil', 1, true))
        log.inspect.off()
        log.inspect('quiet')
        log.inspect.on()
        log.inspect({})
        assert.equal(2, #gateway.logs)
        assert.truthy(gateway.logs[2].text:find(': {}$'))
    end)

    it('marks what goes out of use', function()
        log.deprecation('old', { after = '1.0', removal = '2.0' })
        assert.equal(4, gateway.logs[1].level)
        assert.truthy(gateway.logs[1].text:find('old (deprecated after 1.0) (to be removed in 2.0)',
            1, true))
    end)
end)

describe('moongate.log.serialize', function()
    local log

    before_each(function()
        log = gateway.load().log
        gateway.generation.config.routes = { { name = 'r', __line = 4,
            service = { id = 's1', name = 's', own = {}, upstream = { id = 'u' } } } }
        gateway.phase('log')
    end)

    local function request()
        return gateway.request{ path = '/a', query = 'x=1', route_index = 0, status = 200,
            up_status = 200, source = 1, up_path = '/u', total_ms = 9, gateway_ms = 2,
            upstream_ms = 6, receive_ms = 1, bytes_in = 100, bytes_out = 200,
            headers = { { 'Authorization', 'secret' }, { 'A', 'b' } },
            response = { { 'C', 'd' } },
            tries = { { target = '10.0.0.9:81', status = 200 } } }
    end

    it('describes the request', function()
        request()
        local t = log.serialize()
        assert.same({ id = 'abc123', uri = '/a?x=1', url = 'http://shop.test:8000/a?x=1',
            querystring = { x = '1' }, method = 'GET', size = 100,
            headers = { authorization = 'REDACTED', a = 'b' } }, t.request)
        assert.same({ status = 200, headers = { c = 'd' }, size = 200 }, t.response)
        assert.same({ request = 9, kong = 2, proxy = 6, receive = 1 }, t.latencies)
        assert.same({ { ip = '10.0.0.9', port = 81, code = 200 } }, t.tries)
        assert.equal('upstream', t.source)
        assert.equal('200', t.upstream_status)
        assert.equal('/u', t.upstream_uri)
        assert.same({ name = 'r', service = { id = 's1' } }, t.route)
        assert.same({ id = 's1', name = 's' }, t.service)
        assert.equal('192.0.2.1', t.client_ip)
        assert.is_nil(t.authenticated_entity)
    end)

    it('names who was authenticated', function()
        local _, object = request()
        object.consumer, object.credential = { id = 'u1' }, { id = 'c1' }
        local t = log.serialize()
        assert.same({ id = 'c1', consumer_id = 'u1' }, t.authenticated_entity)
        assert.equal('u1', t.consumer.id)
    end)

    it('can be edited by path and mode', function()
        request()
        log.set_serialize_value('my.deep.value', 1)
        log.set_serialize_value('dotted\\.key', 2)
        log.set_serialize_value('client_ip', 'added', { mode = 'add' })
        log.set_serialize_value('extra', 'added', { mode = 'add' })
        log.set_serialize_value('request.method', 'PUT', { mode = 'replace' })
        log.set_serialize_value('none.at.all', 'x', { mode = 'replace' })
        log.set_serialize_value('latencies', nil)
        log.set_serialize_value('route.name', 'changed')
        local t = log.serialize()
        assert.same({ deep = { value = 1 } }, t.my)
        assert.equal(2, t['dotted.key'])
        assert.equal('192.0.2.1', t.client_ip)
        assert.equal('added', t.extra)
        assert.equal('PUT', t.request.method)
        assert.is_nil(t.none)
        assert.is_nil(t.latencies)
        assert.equal('changed', t.route.name)
        assert.equal('r', gateway.generation.config.routes[1].name)
    end)

    it('refuses bad edits and other phases', function()
        request()
        assert.error_matches(function() log.set_serialize_value(1, 2) end, 'key must be a string')
        assert.error_matches(function() log.set_serialize_value('', 2) end, 'key must not be empty')
        assert.error_matches(function() log.set_serialize_value('a', print) end,
            'value must be nil, a number, string, boolean or table')
        assert.error_matches(function() log.set_serialize_value('a', 1, { mode = 'x' }) end,
            'mode must be one of: set, add, replace')
        gateway.phase('access')
        assert.error_matches(log.serialize, '(only in: log)', 1, true)
    end)
end)
