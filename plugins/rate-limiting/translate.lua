-- SPDX-License-Identifier: Apache-2.0
-- A configuration with Kong's names as one of rate-limit's, checked and with its defaults.
local cjson = require 'cjson'
local definition = require 'moongate.plugins.rate-limit.schema'
local schema = require 'moongate.schema'

local M = {}

-- Kong's counting: windows of the clock (UTC), months and years of the calendar.
M.periods = {
    { name = 'second', window = '1s' },
    { name = 'minute', window = '1m' },
    { name = 'hour', window = '1h' },
    { name = 'day', window = '24h' },
    { name = 'month', window = 'month' },
    { name = 'year', window = 'year' },
}

local REDIS = { 'host', 'port', 'username', 'password', 'database', 'timeout', 'ssl', 'ssl_verify',
    'server_name' }

local MOST_INTERVAL = 10000 -- ms

local config_schema = (function()
    for _, field in ipairs(definition.fields) do
        if field.config then
            return assert(schema.new({ name = 'rate-limit', fields = field.config.fields,
                entity_checks = field.config.entity_checks }))
        end
    end
end)()

--- @return the value, or nil where it is not set
function M.value(value)
    if value == cjson.null then
        return nil
    end
    return value
end

local value = M.value

-- Kong admits while fewer than N were admitted, which for 2.5 is three.
local function limits_of(conf)
    local limits = {}
    for _, period in ipairs(M.periods) do
        local quota = value(conf[period.name])
        if quota then
            limits[#limits + 1] = { name = period.name, quota = math.ceil(quota),
                window = period.window, algorithm = 'fixed-window' }
        end
    end
    return limits
end

local function key_of(conf)
    local by = conf.limit_by
    if by == 'service' then
        return { 'const:all' }, 'service'
    elseif by == 'header' then
        return { 'header:' .. conf.header_name }
    elseif by == 'path' then
        return { ('lua: moongate.request.get_path() == %q and "path"'):format(conf.path) }
    end
    return { by }
end

--- What is set of the servers, in the record `redis` or with the old names in front of it.
-- @tparam table conf
-- @treturn table by Kong's names
function M.redis(conf)
    local record, found = value(conf.redis) or {}, {}
    for _, name in ipairs(REDIS) do
        found[name] = value(record[name])
        if found[name] == nil then
            found[name] = value(conf['redis_' .. name])
        end
    end
    return found
end

-- Seconds between two looks of Kong at Redis, as an interval of mode async: those of rate-limit are
-- 20ms to 10s, and a shorter one only counts more truly.
local function async_of(sync_rate)
    if sync_rate == -1 then
        return nil
    end
    return { interval = ('%dms'):format(math.min(sync_rate * 1000, MOST_INTERVAL)) }
end

local function redis_of(conf)
    local redis = M.redis(conf)
    local async = async_of(conf.sync_rate)
    local timeout = redis.timeout and ('%dms'):format(math.min(redis.timeout, 5000))
    return {
        host = redis.host, port = redis.port, username = redis.username, password = redis.password,
        database = redis.database, timeout = timeout, connect_timeout = timeout,
        tls = redis.ssl and { enabled = true, verify = redis.ssl_verify ~= false,
            server_name = redis.server_name } or nil,
        mode = async and 'async' or 'sync', async = async,
    }
end

local function raw(conf)
    local key, scope = key_of(conf)
    local is_remote = conf.policy == 'redis'
    return {
        limits = limits_of(conf), key = key, scope = scope or 'attached', key_missing = 'ip',
        ipv6_prefix = 128, status = conf.error_code, body = { message = conf.error_message },
        headers = conf.hide_client_headers and { 'none' } or { 'x-ratelimit-each', 'legacy' },
        retry_after_jitter = { percent = 0 },
        store = is_remote and 'redis' or 'local', redis = is_remote and redis_of(conf) or nil,
        on_store_error = is_remote and (conf.fault_tolerant and 'allow' or 'deny') or nil,
    }
end

--- @tparam table conf checked by the schema of rate-limiting
-- @treturn table|nil as rate-limit's own; nil where rate-limit refuses it
-- @treturn string|nil why
function M.translate(conf)
    local ours, _, flat = config_schema:validate(raw(conf))
    if not ours then
        return nil, ('%s: %s'):format(table.concat(flat[1].path or {}, '.'), flat[1].message)
    end
    return ours
end

return M
