-- SPDX-License-Identifier: Apache-2.0
-- The breakers of this worker: opened when the first request needs one, then found by the entry's
-- configuration and the route.
local moongate, ngx = moongate, ngx
local breakers = require 'moongate.breaker'
local cjson = require 'cjson'
local entry = require 'moongate.plugins.circuit-breaker.entry'
local meetings = require 'moongate.plugins.circuit-breaker.meetings'
local names = require 'moongate.plugins.circuit-breaker.names'
local runtime = require 'moongate.runtime'

local M = {}

local RETRY_S = 10 -- after a breaker could not be opened

local Opened = {}
Opened.__index = Opened

-- What struct mg_ffi_breaker_rule wants to know.
local function rule_of(conf)
    return {
        by_count = conf.window_type == 'count' and 1 or 0,
        buckets = conf.buckets, window_calls = conf.window_calls, window_ms = conf.window,
        min_requests = conf.min_requests, consecutive = conf.consecutive_failures,
        failure_percent = conf.failure_percent, network_percent = conf.network_percent,
        probes = conf.half_open.max_inflight, probe_results = conf.half_open.required,
        probe_success_percent = conf.half_open.success_percent,
        open_base_ms = conf.open.base, open_factor = conf.open.factor,
        open_max_ms = conf.open.max, open_jitter_percent = conf.open.jitter_percent,
        ramp_ms = conf.ramp, max_keys = names.max_keys(conf),
        slow_percent = conf.slow and conf.slow.percent or 0,
        slow_over_ms = conf.slow and conf.slow.over or 0,
        slow_until_end = conf.slow and conf.slow['until'] == 'total' and 1 or 0,
        shadow = conf.mode == 'shadow' and 1 or 0,
    }
end

-- The notes for the access log, made once: by decision, then by state.
local function notes_of(name, conf)
    local denied = conf.mode == 'shadow' and 'shadow_denied' or 'denied'
    local notes = {}
    for kind, word in pairs({ allowed = 'allowed', probe = 'probe', fallback = 'fallback',
        denied = denied }) do
        notes[kind] = {}
        for state = 0, breakers.STATES - 1 do
            notes[kind][state] = cjson.encode({
                name = name, state = breakers.state_name(state), decision = word })
        end
    end
    return notes
end

-- The breaker of that name, or nil where it could not be opened.
function Opened:open(conf, name)
    if (self.retry_at[name] or 0) > ngx.now() then
        return nil
    end
    local breaker, err = breakers.open(name, rule_of(conf))
    if not breaker then
        moongate.log.err(err, ': requests pass without it')
        self.retry_at[name] = ngx.now() + RETRY_S
        return nil
    end
    breaker.notes = notes_of(name, conf)
    breaker.entry = self.entries[conf]
    return breaker
end

local function entity_of(id)
    for _, entity in ipairs(runtime.generation.config.plugins) do
        if entity.id == id then
            return entity
        end
    end
    return nil
end

-- The same; false where the route has none.
function Opened:open_of_route(conf, route)
    self.upstreams = self.upstreams or names.set_of(runtime.generation.config.upstreams)
    local name = conf.scope == 'key' and names.of_keys(entity_of(conf.__plugin_id))
        or names.of(conf.scope, route, self.upstreams)
    return name ~= nil and self:open(conf, name)
end

--- The breaker that a request meets.
-- @tparam table conf of the entry
-- @tparam table|nil route entity
-- @treturn table|nil|false of moongate.breaker, with `notes`: decision -> state -> JSON, and
-- `entry` (entry.lua)
function Opened:of_route(conf, route)
    if not route then
        return nil
    end
    local by_route = self.by_conf[conf]
    if not by_route then
        by_route = {}
        self.by_conf[conf] = by_route
    end
    local breaker = by_route[route]
    if breaker == nil then
        breaker = self:open_of_route(conf, route)
        by_route[route] = breaker
        local plan = self.entries[conf].plan
        if plan and breaker ~= nil then
            plan:meet(breaker, breaker and breaker.notes.allowed)
        end
    end
    return breaker
end

--- The breaker of an upstream that requests are sent to instead.
-- @tparam string upstream
-- @treturn table|nil|false none: no entry is in force there
function Opened:of_upstream(upstream)
    local breaker = self.by_upstream[upstream]
    if breaker == nil then
        local name = names.of_upstream(upstream)
        self.by_name = self.by_name or meetings.by_name(runtime.generation.config)
        local entity = self.by_name[name]
        breaker = entity ~= nil and self:open(self.by_id[entity.id], name)
        self.by_upstream[upstream] = breaker
    end
    return breaker
end

--- @tparam table|nil configs of the generation's entries
-- @treturn Opened none yet; for one generation
function M.new(configs)
    local self = setmetatable({
        entries = {},     -- configuration -> entry
        by_id = {},       -- id of the plugin's entity -> configuration
        by_conf = {},     -- configuration -> route -> breaker, or false where there is none
        by_upstream = {}, -- name -> breaker, or false where there is none
        retry_at = {},    -- name of a breaker -> s
    }, Opened)
    for _, conf in ipairs(configs or {}) do
        self.entries[conf] = entry.new(conf)
        self.by_id[conf.__plugin_id] = conf
    end
    return self
end

return M
