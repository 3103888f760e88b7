-- SPDX-License-Identifier: Apache-2.0
-- The limits of an entry as numbers: both forms of the configuration give one list, defaults filled
-- in. Pure; the schema's checks and the handler use it.
local expression = require 'moongate.schema.expression'
local parts = require 'moongate.key_parts'

local M = {}

--- Algorithm -> its number in struct mg_ffi_limit_rule.
M.algorithms = {
    ['fixed-window'] = 0, ['sliding-window'] = 1, ['token-bucket'] = 2, gcra = 3, concurrency = 4,
    ['leaky-bucket'] = 5,
}
--- Window -> its number there.
M.calendars = { month = 1, year = 2 }
M.default_algorithm = 'sliding-window'

-- With one more, products of quota and window no longer fit (core/model/limit.h).
local LARGEST_PRODUCT = 2 ^ 51

-- Default burst; nil: the algorithm has none.
local BURST = {
    ['token-bucket'] = function(quota) return quota end,
    gcra = function() return 1 end,
    ['leaky-bucket'] = function() return 100 end,
}

local DEFAULT_DELAY = 1000 -- ms

-- The quota that counts for the checks and where the one in Lua fails.
local function constant_quota(limit)
    return expression.is(limit.quota) and limit.fallback_quota or limit.quota
end

local function burst_of(limit, algorithm)
    local default = BURST[algorithm]
    return default and (limit.burst or default(constant_quota(limit))) or 0
end

-- Options that only some algorithms have.
local function check_options(limit, algorithm)
    if algorithm ~= 'concurrency' and not limit.window then
        return nil, 'a limit needs a window, such as 1m', 'window'
    elseif algorithm == 'concurrency' and limit.window then
        return nil, 'a concurrency limit has no window: it counts requests in flight', 'window'
    elseif M.calendars[limit.window] and algorithm ~= 'fixed-window' then
        return nil, ('a calendar %s is for fixed-window, not for %s'):format(limit.window,
            algorithm), 'window'
    elseif limit.burst and not BURST[algorithm] then
        return nil, ('burst is for token-bucket, gcra and leaky-bucket, not for %s')
            :format(algorithm), 'burst'
    elseif limit.align and algorithm ~= 'fixed-window' then
        return nil, ('align is for fixed-window, not for %s'):format(algorithm), 'align'
    elseif limit.align and M.calendars[limit.window] then
        return nil, ('a calendar %s begins by the clock'):format(limit.window), 'align'
    elseif limit.max_delay and algorithm ~= 'leaky-bucket' then
        return nil, ('max_delay is for leaky-bucket, not for %s'):format(algorithm), 'max_delay'
    end
    return true
end

local function check_product(limit, algorithm)
    local most = math.max(constant_quota(limit), burst_of(limit, algorithm))
    if most * limit.window > LARGEST_PRODUCT then
        return nil, ('%d units in this window are more than %s can count (at most %d);'
            .. ' fixed-window can'):format(most, algorithm, LARGEST_PRODUCT / limit.window),
            'quota'
    end
    return true
end

--- What the numbers of one limit must keep to.
-- @tparam table limit quota, fallback_quota, window (ms, or a word of the calendar), algorithm,
-- burst, max_delay (ms), align; nil where not set
-- @treturn true|nil
-- @treturn string|nil error
-- @treturn string|nil field it is about
function M.check(limit)
    local algorithm = limit.algorithm or M.default_algorithm
    if expression.is(limit.quota) and not limit.fallback_quota then
        return nil, 'a quota in Lua needs a fallback_quota, for when it fails', 'fallback_quota'
    elseif limit.fallback_quota and not expression.is(limit.quota) then
        return nil, 'fallback_quota is for a quota in Lua', 'fallback_quota'
    end
    local ok, err, field = check_options(limit, algorithm)
    if ok and algorithm ~= 'fixed-window' and algorithm ~= 'concurrency' then
        ok, err, field = check_product(limit, algorithm)
    end
    return ok, err, field
end

local function given(conf)
    if conf.limits then
        return conf.limits
    end
    return { {
        quota = conf.quota, window = conf.window, algorithm = conf.algorithm, burst = conf.burst,
        align = conf.align, max_delay = conf.max_delay, fallback_quota = conf.fallback_quota,
    } }
end

--- The limits of a checked entry.
-- @tparam table conf
-- @treturn table list of { name, algorithm, number (its own), quota, quota_text (in Lua, or nil),
-- window (ms, 0 = none), calendar (number, 0 = none), burst, max_delay, align_first, key (list of
-- parts), scope, group, shadow, max_keys }
function M.of(conf)
    local list = {}
    for i, limit in ipairs(given(conf)) do
        local algorithm = limit.algorithm or M.default_algorithm
        list[i] = {
            name = limit.name or 'default', algorithm = algorithm,
            number = M.algorithms[algorithm], quota = constant_quota(limit),
            quota_text = expression.is(limit.quota) and limit.quota or nil,
            window = type(limit.window) == 'number' and limit.window or 0,
            calendar = M.calendars[limit.window] or 0,
            burst = burst_of(limit, algorithm), max_delay = limit.max_delay or DEFAULT_DELAY,
            align_first = limit.align == 'first', key = parts.list(limit.key or conf.key),
            scope = limit.scope or conf.scope, group = limit.group or conf.group,
            shadow = (limit.mode or conf.mode) == 'shadow', max_keys = conf.max_keys,
        }
    end
    return list
end

return M
