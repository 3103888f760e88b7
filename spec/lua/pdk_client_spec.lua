-- SPDX-License-Identifier: Apache-2.0
-- moongate.client, router, ctx, ip, node, plugin, table, vault, configuration, timers.
local gateway = require 'spec.lua.support.fake_gateway'

local BOB = { id = '11111111-2222-3333-4444-555555555555', username = 'bob' }

describe('moongate.client', function()
    local client

    before_each(function()
        client = gateway.load().client
        gateway.generation.config.consumers = { BOB }
        gateway.phase('access')
    end)

    it('knows both ends of the way to the client', function()
        gateway.request{ peer_ip = '10.0.0.1', peer_port = 1, client_ip = '192.0.2.9',
            client_port = 2 }
        assert.equal('10.0.0.1', client.get_ip())
        assert.equal('192.0.2.9', client.get_forwarded_ip())
        assert.equal(1, client.get_port())
        assert.equal(2, client.get_forwarded_port())
    end)

    it('tells the protocol', function()
        gateway.request{}
        assert.same({ nil, 'No active route found' }, { client.get_protocol() })
        local headers = { { 'X-Forwarded-Proto', 'https' } }
        gateway.request{ route_index = 0, headers = headers }
        assert.equal('http', client.get_protocol(true))
        gateway.request{ route_index = 0, headers = headers, trusted = true }
        assert.equal('http', client.get_protocol())
        assert.equal('https', client.get_protocol(true))
    end)

    it('keeps who was authenticated', function()
        local r, object = gateway.request{}
        assert.is_nil(client.get_consumer())
        client.authenticate(BOB, { id = 'c1' })
        assert.equal(BOB, client.get_consumer())
        assert.same({ id = 'c1' }, client.get_credential())
        assert.equal('bob', r.consumer)
        assert.equal(BOB.id, r.consumer_id)
        assert.equal(BOB, object.consumer)
        client.authenticate(nil, { id = 'c2' })
        assert.is_nil(client.get_consumer())
    end)

    it('refuses what is neither table nor nil', function()
        gateway.request{}
        assert.error_matches(function() client.authenticate('x') end,
            'consumer must be a table or nil')
        assert.error_matches(function() client.authenticate(nil, 'x') end,
            'credential must be a table or nil')
        assert.error_matches(function() client.authenticate() end,
            'either credential or consumer must be provided')
        gateway.phase('rewrite')
        assert.error_matches(function() client.authenticate(BOB) end,
            'function cannot be called in rewrite phase (only in: access)', 1, true)
    end)

    it('loads consumers of the configuration', function()
        gateway.request{}
        assert.equal(BOB, client.load_consumer(BOB.id))
        assert.equal(BOB, client.load_consumer('bob', true))
        assert.is_nil(client.load_consumer('alice', true))
        assert.is_nil(client.load_consumer('99999999-2222-3333-4444-555555555555'))
        assert.error_matches(function() client.load_consumer('bob') end,
            'cannot load a consumer with an id that is not a uuid')
        assert.error_matches(function() client.load_consumer() end, 'consumer_id must be a string')
    end)
end)

describe('moongate.router', function()
    it('gives the entities of the request', function()
        local router = gateway.load().router
        local service = { name = 's' }
        gateway.generation.config.routes = { { name = 'a' }, { name = 'b', service = service } }
        gateway.phase('access')
        gateway.request{ route_index = 1 }
        assert.equal('b', router.get_route().name)
        assert.equal(service, router.get_service())
        gateway.request{ route_index = 0 }
        assert.is_nil(router.get_service())
        gateway.request{}
        assert.is_nil(router.get_route())
        assert.is_nil(router.get_service())
    end)
end)

describe('moongate.ctx', function()
    local moongate

    before_each(function()
        moongate = gateway.load()
        gateway.phase('access')
    end)

    it('shares one table and gives each plugin its own', function()
        local _, object = gateway.request{}
        assert.is_nil(object.ctx)
        gateway.plugin = 'a'
        moongate.ctx.shared.x = 1
        moongate.ctx.plugin.y = 'a'
        gateway.plugin = 'b'
        assert.equal(1, moongate.ctx.shared.x)
        assert.is_nil(moongate.ctx.plugin.y)
        gateway.plugin = 'a'
        assert.equal('a', moongate.ctx.plugin.y)
    end)

    it('keeps two entries of one plugin apart', function()
        gateway.request{}
        gateway.plugin, gateway.conf = 'a', { __plugin_id = '1' }
        moongate.ctx.plugin.y = 'first'
        gateway.conf = { __plugin_id = '2' }
        assert.is_nil(moongate.ctx.plugin.y)
    end)

    it('begins empty with each request', function()
        gateway.request{}
        moongate.ctx.shared.x = 1
        gateway.request{}
        assert.is_nil(moongate.ctx.shared.x)
    end)

    it('needs a request', function()
        gateway.no_request()
        assert.error_matches(function() return moongate.ctx.shared end, 'no request found')
        assert.error_matches(function() moongate.ctx.mine = 1 end, 'cannot be assigned')
        assert.is_nil(moongate.ctx.other)
    end)
end)

describe('the rest of the kit', function()
    local moongate

    before_each(function()
        moongate = gateway.load()
        gateway.phase('timer')
    end)

    it('knows the node', function()
        assert.equal('node.test', moongate.node.get_hostname())
        assert.equal('00000000-0000-8000-8000-000000000000', moongate.node.get_id())
        assert.equal(moongate.node.get_id(), moongate.cluster.get_id())
        assert.equal('http', moongate.nginx.get_subsystem())
        local stats = moongate.node.get_memory_stats()
        assert.equal(4711, stats.workers_lua_vms[1].pid)
        assert.equal('number', type(stats.workers_lua_vms[1].http_allocated_gc))
        assert.truthy(moongate.node.get_memory_stats('k', 1).workers_lua_vms[1].http_allocated_gc
            :find('^%d+%.%d KiB$'))
        assert.error_matches(function() moongate.node.get_memory_stats('x') end, 'invalid unit "x"')
    end)

    it('counts connections and requests', function()
        assert.same({ connections_active = 9, connections_reading = 2, connections_writing = 4,
            connections_waiting = 3, connections_accepted = 20, connections_handled = 20,
            total_requests = 50 }, moongate.nginx.get_statistics())
    end)

    it('knows trusted addresses', function()
        assert.is_true(moongate.ip.is_trusted('10.0.0.1'))
        assert.is_false(moongate.ip.is_trusted('10.0.0.2'))
        assert.error_matches(function() moongate.ip.is_trusted(1) end, 'ip must be a string')
    end)

    it('names the entry whose handler runs', function()
        gateway.phase('access')
        gateway.request{}
        assert.is_nil(moongate.plugin.get_id())
        gateway.conf = { __plugin_id = 'p1' }
        assert.equal('p1', moongate.plugin.get_id())
    end)

    it('has tables', function()
        assert.same({ a = 1, b = 3, c = 4 },
            moongate.table.merge({ a = 1, b = 2 }, { b = 3, c = 4 }))
        assert.same({}, moongate.table.merge(nil, nil))
        local t = moongate.table.new(4, 0)
        t[1] = 'x'
        moongate.table.clear(t)
        assert.same({}, t)
    end)

    it('reads references to the environment', function()
        local vault = moongate.vault
        assert.is_true(vault.is_reference('{vault://env/path}'))
        assert.is_false(vault.is_reference('x'))
        assert.equal(os.getenv('PATH'), vault.get('{vault://env/path}'))
        assert.same({ nil, 'environment variable "no-such-thing" is not set' },
            { vault.get('{vault://env/no-such-thing}') })
        assert.same({ nil, 'vault "aws" is not supported' }, { vault.get('{vault://aws/x}') })
        assert.same({ nil, 'not a reference' }, { vault.get('x') })
        assert.equal('got c', vault.try(function(conf) return 'got ' .. conf end, 'c'))
    end)

    it('does no tracing, quietly', function()
        local span = moongate.tracing.start_span('x')
        span:set_attribute('a', 1)
        span:finish()
        assert.is_nil(moongate.tracing.process_span())
    end)

    it('tells about the gateway', function()
        gateway.generation.config.gateway = { log = { level = 'warn' }, trusted_ips = { '::1' },
            listeners = { { address = '[::]:8000' } } }
        gateway.generation.plugins = { cors = {} }
        local configuration = moongate.configuration
        assert.equal('off', configuration.database)
        assert.equal('warn', configuration.log_level)
        assert.same({ '::1' }, configuration.trusted_ips)
        assert.same({ cors = true }, configuration.loaded_plugins)
        assert.equal(8000, configuration.proxy_listeners[1].port)
        assert.error_matches(function() configuration.database = 'x' end, 'read%-only')
        assert.equal('0.1.0', moongate.gateway_version)
        assert.equal(3010000, moongate.version_num)
    end)

    it('sleeps and repeats in seconds', function()
        moongate.sleep(0.25)
        assert.equal(250, gateway.slept)
        local runs = 0
        assert.truthy(moongate.every(2, function() runs = runs + 1 end))
        local timer = gateway.timers[1]
        assert.equal(2000, timer.ms)
        timer.fn(false)
        timer.fn(true)
        assert.equal(1, runs)
        assert.error_matches(function() moongate.every(0, print) end,
            'interval must be more than 0')
        assert.error_matches(function() moongate.sleep(-1) end, 'delay must be a number of seconds')
    end)

    it('repeats once per node in the first worker only', function()
        gateway.worker = 1
        assert.equal(0, moongate.every(2, print, { once_per_node = true }))
        assert.equal(0, #gateway.timers)
        gateway.worker = 0
        moongate.every(2, print, { once_per_node = true })
        assert.equal(1, #gateway.timers)
    end)
end)
