-- SPDX-License-Identifier: Apache-2.0
-- Chains: which plugins run for a route, in which order, with which configurations
-- (docs/plugin-reference.md). All that does not depend on the consumer is decided here,
-- when a generation is built.
--
-- A chain's functions get `base`, a table that is shared by all requests:
--   base[place]            the configuration at that place, false where it depends on the consumer
--   base.places            array of { name =, handler =, turn =, dynamic =, plugin = }
--   base.place_of          plugin index -> place
--   base.options[place]    { by = { consumer id -> configuration }, fallback = configuration |
-- false }
--   base.choose            (base, place, object) -> configuration | false
--   base.dynamic           whether any place is; then each request has its own list, object.confs
local compile = require 'moongate.runtime.compile'
local scope = require 'moongate.runtime.scope'
local turns = require 'moongate.runtime.turns'

local M = {}

local MOST_INLINE = 25  -- handlers in a generated function: each takes two of its 60 upvalues
local PHASES = { 'rewrite', 'access', 'response', 'header_filter', 'body_filter', 'log' }

local function choose(base, place, object)
    local option, consumer = base.options[place], object.consumer
    return consumer and option.by[consumer.id] or option.fallback
end

--- The parts of a chain that are decided at run time.
-- @tparam function request () -> object of the running request
-- @treturn table { pick =, collect = }
local function picker(request)
    local function collect(base, from, object)
        local confs = object.confs
        for place = from, #base.places do
            confs[place] = base.options[place] and choose(base, place, object) or base[place]
        end
    end

    return {
        -- In access: the list to be filled.
        start = function(base)
            local object = request()
            object.picked = base
            return object.confs, object
        end,
        -- In later phases: the list that access filled, or one without a consumer.
        pick = function(base)
            local object = request()
            if object.picked ~= base then
                object.picked = base
                collect(base, 1, object)
            end
            return object.confs, object
        end,
        collect = collect,
    }
end

-- Without generated code, for very long chains.
local function loop(phase, run_from, from)
    return function(base)
        run_from(phase, base, from or 1)
    end
end

local Builder = {}
Builder.__index = Builder

-- The entry that decides the order, the turn of a place and its options.
local function order(a, b)
    if a.priority ~= b.priority then
        return a.priority > b.priority
    end
    return a.name > b.name
end

function Builder:places_of(route, service)
    local places = {}
    for name, plugin in pairs(self.plugins) do
        local found = self.scopes:find(plugin, route, service)
        if found then
            local lead = found.fallback or nil
            places[#places + 1] = {
                name = name, plugin = plugin, handler = plugin.handler, found = found,
                dynamic = found.by ~= nil,
                turn = self.turns:of(plugin, lead and self.entity_of[lead]),
                priority = self.turns:priority(plugin, lead and self.entity_of[lead]),
            }
        end
    end
    table.sort(places, order)
    return places
end

local function key_of(places)
    local parts = {}
    for i, place in ipairs(places) do
        parts[i] = place.found.key
    end
    return table.concat(parts, ' ')
end

local function base_of(places)
    local base = { places = places, place_of = {}, options = {}, choose = choose, dynamic = false }
    for i, place in ipairs(places) do
        base.place_of[place.plugin.index] = i
        base[i] = place.found.fallback
        if place.dynamic then
            base[i] = false
            base.options[i] = place.found
            base.dynamic = true
        end
    end
    return base
end

function Builder:run_of(places, dynamic)
    local run = {}
    for _, phase in ipairs(PHASES) do
        local make = #places > MOST_INLINE and self.long or self.compile
        run[phase] = make(phase, places, dynamic)
    end
    return run
end

-- Phase -> turn, where one plugin alone has the phase: the heartbeat then names it from the start.
local function alone(places)
    local turns_alone, count = {}, {}
    for _, place in ipairs(places) do
        for _, phase in ipairs(PHASES) do
            if place.handler[phase] then
                count[phase] = (count[phase] or 0) + 1
                turns_alone[phase] = count[phase] == 1 and place.turn or nil
            end
        end
    end
    return turns_alone
end

-- Phase -> places of those that have it, for the counts of C (core/script/runs.c).
local function calls_of(places)
    local calls = {}
    for i, place in ipairs(places) do
        for _, phase in ipairs(PHASES) do
            if type(place.handler[phase]) == 'function' then
                calls[phase] = calls[phase] or {}
                table.insert(calls[phase], i)
            end
        end
    end
    return calls
end

local function read_only(places)
    for _, place in ipairs(places) do
        if place.handler.body_filter and not place.handler.BODY_READ_ONLY then
            return false
        end
    end
    return true
end

-- Index of the chain for a route; equal ones are one.
function Builder:chain_of(route, service)
    local places = self:places_of(route, service)
    local key = key_of(places)
    if not self.known[key] then
        local base = base_of(places)
        local chain = { confs = base, run = self:run_of(places, base.dynamic), plugins = {},
            dynamic = base.dynamic, body_read_only = read_only(places), alone = alone(places),
            calls = calls_of(places), long = #places > MOST_INLINE }
        for i, place in ipairs(places) do
            chain.plugins[i] = place.plugin.index
        end
        table.insert(self.chains, chain)
        self.known[key] = #self.chains
    end
    return self.known[key]
end

-- What C and the handlers see of an entry: its config and where it stands.
local function conf_of(entity, seq)
    local conf = {}
    for k, v in pairs(entity.config or {}) do
        conf[k] = v
    end
    local route, service, consumer = entity.route, entity.service, entity.consumer
    conf.route_id, conf.service_id = route and route.id, service and service.id
    conf.consumer_id = consumer and consumer.id
    conf.plugin_instance_name = entity.instance_name
    conf.__plugin_id = entity.id
    conf.__key__ = ('plugins:%s:%s:%s:%s'):format(entity.name, conf.route_id or '',
        conf.service_id or '', conf.consumer_id or '')
    conf.__seq__ = seq
    conf.__ws_id = '00000000-0000-0000-0000-000000000000'
    return conf
end

local function serves_http(entity)
    if not entity.protocols then
        return true
    end
    for _, protocol in ipairs(entity.protocols) do
        if protocol == 'http' or protocol == 'https' then
            return true
        end
    end
    return false
end

local function identity_names(plugins)
    local seen, names = {}, {}
    for _, plugin in pairs(plugins) do
        for _, name in ipairs(plugin.handler.IDENTITY_HEADERS or {}) do
            name = name:lower()
            if not seen[name] then
                seen[name] = true
                names[#names + 1] = name
            end
        end
    end
    table.sort(names)
    return names
end

-- A log of ours that shows how long each plugin took says so.
local function wants_times(plugin, conf)
    return plugin.handler.WANTS_TIMES ~= nil and plugin.handler.WANTS_TIMES(conf)
end

--- Builds all chains of a snapshot.
-- @tparam table o plugins (name -> plugin; each gets `index` and `configs`), entities (plugin
-- entries), routes, settings (gateway.plugins), shared, request (function), run_from (function),
-- took (function, told of turns where a plugin wants times)
-- @treturn table the description that core/script/chain.c takes
-- @treturn table { pick =, collect =, turn_of =, plugin_of_turn = } for the careful runner; rest:
-- function (base, phase, from) -> what runs a chain from that place on, nil where plugins are timed
function M.build(o)
    local turn_of, timed = setmetatable({}, { __mode = 'k' }), false
    local self = setmetatable({
        plugins = o.plugins, scopes = scope.new(), turns = turns.new(o.settings, o.plugins),
        entity_of = {}, chains = {}, known = {},
    }, Builder)
    for seq, entity in ipairs(o.entities) do
        local plugin = o.plugins[entity.name]
        if plugin and entity.enabled ~= false and serves_http(entity) then
            local conf = conf_of(entity, seq)
            self.entity_of[conf] = entity
            table.insert(plugin.configs, conf)
            turn_of[conf] = self.turns:of(plugin, entity)
            timed = timed or wants_times(plugin, conf)
            self.scopes:add(plugin, entity, conf)
        end
    end
    local pickers, took = picker(o.request), timed and o.took or nil
    self.compile = compile.compiler({ shared = o.shared, pickers = pickers, turn_of = turn_of,
        took = took })
    self.long = function(phase, places)
        for _, place in ipairs(places) do
            if place.handler[phase] then
                return loop(phase, o.run_from)
            end
        end
    end
    local description = { chains = self.chains, routes = {}, identity = identity_names(o.plugins) }
    for i, route in ipairs(o.routes) do
        description.routes[i] = self:chain_of(route, route.service)
    end
    description.global = self:chain_of(nil, nil)
    description.turns, description.plugins = self.turns.list, self.turns.plugin_count
    return description, {
        pick = pickers.pick, start = pickers.start, collect = pickers.collect, choose = choose,
        turn_of = turn_of, took = took,
        rest = not timed and function(base, phase, from)
            if #base.places > MOST_INLINE then
                return loop(phase, o.run_from, from)
            end
            return self.compile(phase, base.places, base.dynamic, from)
        end or nil,
    }
end

return M
