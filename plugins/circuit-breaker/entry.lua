-- SPDX-License-Identifier: Apache-2.0
-- One entry of the configuration, made ready: its values in Lua are compiled.
local breakers = require 'moongate.breaker'
local expression = require 'moongate.expression'

local M = {}

local function compiled(text, option, names)
    return text and expression.compile(text, { option = option, names = names }) or nil
end

-- Breakers by key and other upstreams to go to are the hooks' own.
local function plan_of(conf)
    if conf.scope == 'key' or conf.fallback.kind == 'upstream' then
        return nil
    end
    return breakers.plan(conf.failure_statuses)
end

--- @tparam table conf checked
-- @treturn table { conf =, plan =, keys =, classify =, on_state =, code = } plan, keys and
-- expressions, or nil
function M.new(conf)
    return {
        plan = plan_of(conf),
        conf = conf,
        keys = conf.scope == 'key' and breakers.keys(conf.key) or nil,
        classify = compiled(conf.classify, 'classify', { 'status' }),
        on_state = compiled(conf.on_state, 'on_state', { 'name', 'from', 'to', 'reason',
            'counts' }),
        code = compiled(conf.fallback.code, 'fallback.code', { 'breaker', 'state',
            'retry_after' }),
    }
end

return M
