-- SPDX-License-Identifier: Apache-2.0
-- moongate.runtime.scope and turns: which configuration and which limits apply.
local scope = require 'moongate.runtime.scope'
local turns = require 'moongate.runtime.turns'

local route, other = { id = 'r1' }, { id = 'r2' }
local service = { id = 's1' }
local bob, eve = { id = 'bob' }, { id = 'eve' }

describe('scope', function()
    local scopes, plugin

    local function add(name, entity, handler)
        plugin.handler = handler or plugin.handler
        scopes:add(plugin, entity, name)
    end

    before_each(function()
        scopes, plugin = scope.new(), { name = 'p', handler = {} }
    end)

    it('finds nothing for a plugin without entries', function()
        assert.is_nil(scopes:find(plugin, route, service))
    end)

    it('takes the most specific entry without a consumer', function()
        add('global', {})
        assert.equal('global', scopes:find(plugin, route, service).fallback)
        add('service', { service = service })
        assert.equal('service', scopes:find(plugin, route, service).fallback)
        add('route', { route = route })
        assert.equal('route', scopes:find(plugin, route, service).fallback)
        add('both', { route = route, service = service })
        assert.equal('both', scopes:find(plugin, route, service).fallback)
        assert.equal('service', scopes:find(plugin, other, service).fallback)
        assert.equal('global', scopes:find(plugin, nil, nil).fallback)
    end)

    it('ranks the entries of consumers', function()
        add('route+service', { route = route, service = service })
        add('bob', { consumer = bob })
        add('eve', { consumer = eve })
        add('route+bob', { route = route, consumer = bob })
        add('service+bob', { service = service, consumer = bob })
        local here = scopes:find(plugin, route, service)
        assert.equal('route+bob', here.by.bob)
        assert.is_nil(here.by.eve)  -- route+service stands above a consumer's own
        local there = scopes:find(plugin, other, service)
        assert.same({ 'service+bob', 'eve', false }, { there.by.bob, there.by.eve, there.fallback })
        add('all', { route = route, service = service, consumer = bob })
        scopes.by_plugin[plugin].merged = {}
        assert.equal('all', scopes:find(plugin, route, service).by.bob)
    end)

    it('shares the table of consumers between routes', function()
        add('bob', { consumer = bob })
        assert.equal(scopes:find(plugin, route, service).by, scopes:find(plugin, other, nil).by)
    end)

    it('ignores what a plugin does not want to know', function()
        add('route', { route = route }, { no_route = true })
        add('service', { service = service }, { no_service = true })
        add('bob', { consumer = bob }, { no_consumer = true })
        assert.is_nil(scopes:find(plugin, route, service))
    end)

    it('gives equal keys to equal results only', function()
        add('global', {})
        local one, two = scopes:find(plugin, route, service), scopes:find(plugin, other, service)
        assert.equal(one.key, two.key)
        add('route', { route = route })
        assert.not_equal(two.key, scopes:find(plugin, route, service).key)
        add('bob', { consumer = bob })
        assert.not_equal(two.key, scopes:find(plugin, other, service).key)
    end)
end)

describe('turns', function()
    local plugins

    local function new(settings)
        plugins = {
            b = { name = 'b', handler = { PRIORITY = 5, access = function() end } },
            a = { name = 'a', handler = { PRIORITY = 7, log = function() end } },
        }
        return turns.new(settings, plugins)
    end

    it('numbers plugins by name', function()
        local all = new({})
        assert.same({ 1, 2, 2 }, { plugins.a.index, plugins.b.index, all.plugin_count })
    end)

    it('has the limits of the document as defaults', function()
        local all = new({})
        local turn = all.list[plugins.b.turn]
        assert.same({ 50, 60000, false, true },
            { turn.cpu_ms, turn.wall_ms, turn.open, turn.quarantine })
    end)

    it('leaves plugins that only log open', function()
        local all = new({})
        assert.is_true(all.list[plugins.a.turn].open)
    end)

    it('starts a plugin closed that must be configured', function()
        local all = turns.new({ settings = { c = { on_error = 'open' } } }, {
            c = { name = 'c', handler = { PRIORITY = 1, log = print, MUST_CONFIGURE = true } },
        })
        assert.is_false(all.list[1].open)
        assert.is_true(all.list[all:of({ name = 'c', index = 1, handler = {} })].open)
    end)

    it('looks settings up by instance, plugin and defaults', function()
        local all = new({
            defaults = { cpu_ms = 10, wall_ms = 100, on_error = 'open' },
            settings = { b = { wall_ms = 200, priority = 70 }, first = { on_error = 'closed' } },
        })
        local plain, named = all.list[plugins.b.turn], all.list[all:of(plugins.b,
            { instance_name = 'first' })]
        assert.same({ 10, 200, true }, { plain.cpu_ms, plain.wall_ms, plain.open })
        assert.same({ 10, 200, false }, { named.cpu_ms, named.wall_ms, named.open })
        assert.equal(70, all:priority(plugins.b, nil))
        assert.equal(7, all:priority(plugins.a, nil))
    end)

    it('shares a turn between entries with the same limits', function()
        local all = new({})
        assert.equal(plugins.b.turn, all:of(plugins.b, { instance_name = 'x' }))
    end)

    it("lets an entry's name move it, unless it belongs to a consumer", function()
        local all = new({ settings = { first = { priority = 99 } } })
        assert.equal(99, all:priority(plugins.b, { instance_name = 'first' }))
        assert.equal(5, all:priority(plugins.b, { instance_name = 'first', consumer = bob }))
    end)
end)
