-- SPDX-License-Identifier: Apache-2.0
-- The limits of an entry as numbers: both forms of the configuration give one list, defaults filled
-- in. Pure; the schema's checks and the handler use it.
local parts = require 'moongate.plugins.rate-limit.parts'

local M = {}

--- Algorithm -> its number in struct mg_ffi_limit_rule.
M.algorithms = {
    ['fixed-window'] = 0, ['sliding-window'] = 1, ['token-bucket'] = 2, gcra = 3, concurrency = 4,
}
M.default_algorithm = 'sliding-window'

-- With one more, products of quota and window no longer fit (core/model/limit.h).
local LARGEST_PRODUCT = 2 ^ 51

local function is_bucket(algorithm)
    return algorithm == 'token-bucket' or algorithm == 'gcra'
end

local function burst_of(limit, algorithm)
    if not is_bucket(algorithm) then
        return 0
    end
    return limit.burst or algorithm == 'gcra' and 1 or limit.quota
end

--- What the numbers of one limit must keep to.
-- @tparam table limit quota, window (ms), algorithm, burst, align; nil where not set
-- @treturn true|nil
-- @treturn string|nil error
-- @treturn string|nil field it is about
function M.check(limit)
    local algorithm = limit.algorithm or M.default_algorithm
    local is_window = algorithm ~= 'concurrency'
    if is_window and not limit.window then
        return nil, 'a limit needs a window, such as 1m', 'window'
    elseif not is_window and limit.window then
        return nil, 'a concurrency limit has no window: it counts requests in flight', 'window'
    elseif limit.burst and not is_bucket(algorithm) then
        return nil, ('burst is for token-bucket and gcra, not for %s'):format(algorithm), 'burst'
    elseif limit.align and algorithm ~= 'fixed-window' then
        return nil, ('align is for fixed-window, not for %s'):format(algorithm), 'align'
    elseif is_window and algorithm ~= 'fixed-window' then
        local most = math.max(limit.quota, burst_of(limit, algorithm))
        if most * limit.window > LARGEST_PRODUCT then
            return nil, ('%d units in this window are more than %s can count (at most %d);'
                .. ' fixed-window can'):format(most, algorithm, LARGEST_PRODUCT / limit.window),
                'quota'
        end
    end
    return true
end

local function given(conf)
    if conf.limits then
        return conf.limits
    end
    return { {
        quota = conf.quota, window = conf.window, algorithm = conf.algorithm, burst = conf.burst,
        align = conf.align,
    } }
end

--- The limits of a checked entry.
-- @tparam table conf
-- @treturn table list of { name, algorithm, number (its own), quota, window (ms, 0 = none),
-- burst, align_first, key (list of parts), scope, shadow, max_keys }
function M.of(conf)
    local list = {}
    for i, limit in ipairs(given(conf)) do
        local algorithm = limit.algorithm or M.default_algorithm
        list[i] = {
            name = limit.name or 'default', algorithm = algorithm,
            number = M.algorithms[algorithm], quota = limit.quota, window = limit.window or 0,
            burst = burst_of(limit, algorithm), align_first = limit.align == 'first',
            key = parts.list(limit.key or conf.key), scope = limit.scope or conf.scope,
            shadow = (limit.mode or conf.mode) == 'shadow', max_keys = conf.max_keys,
        }
    end
    return list
end

return M
