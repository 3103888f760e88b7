-- SPDX-License-Identifier: Apache-2.0
-- The breakers of this worker: opened when the first request needs one, then found by the entry's
-- configuration and the route.
local moongate, ngx = moongate, ngx
local breakers = require 'moongate.breaker'
local cjson = require 'cjson'
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
        shadow = conf.mode == 'shadow' and 1 or 0,
    }
end

-- The notes for the access log, made once: by decision, then by state.
local function notes_of(name, conf)
    local denied = conf.mode == 'shadow' and 'shadow_denied' or 'denied'
    local notes = {}
    for kind, word in pairs({ allowed = 'allowed', probe = 'probe', denied = denied }) do
        notes[kind] = {}
        for state = 0, 2 do
            notes[kind][state] = cjson.encode({
                name = name, state = breakers.state_name(state), decision = word })
        end
    end
    return notes
end

-- The breaker, false where there is none, or nil where it could not be opened.
function Opened:open(conf, route)
    self.upstreams = self.upstreams or names.set_of(runtime.generation.config.upstreams)
    local name = names.of(conf.scope, route, self.upstreams)
    if not name then
        return false
    elseif (self.retry_at[name] or 0) > ngx.now() then
        return nil
    end
    local breaker, err = breakers.open(name, rule_of(conf))
    if not breaker then
        moongate.log.err(err, ': requests pass without it')
        self.retry_at[name] = ngx.now() + RETRY_S
        return nil
    end
    breaker.notes = notes_of(name, conf)
    return breaker
end

--- The breaker that a request meets.
-- @tparam table conf of the entry
-- @tparam table|nil route entity
-- @treturn table|nil|false of moongate.breaker, with `notes`: decision -> state -> JSON
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
        breaker = self:open(conf, route)
        by_route[route] = breaker
    end
    return breaker
end

--- @treturn Opened none yet; for one generation
function M.new()
    return setmetatable({
        by_conf = {},  -- configuration -> route -> breaker, or false where there is none
        retry_at = {}, -- name of a breaker -> s
    }, Opened)
end

return M
