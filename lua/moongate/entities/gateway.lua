-- SPDX-License-Identifier: Apache-2.0
--
-- The `gateway:` section (plugin-interface.md, 9.5): every key with its type and default. Durations
-- become milliseconds and sizes bytes. What is specified and not built is refused where it is set.
--
-- 0 means "none" or "unlimited" for request_timeout, body_total_timeout,
-- body_min_rate, request_body, drain_timeout of plugins and drain_delay; elsewhere 0 is refused.
-- `limits.connections` and `workers` are nil where they are to be derived.
local address = require 'moongate.schema.address'
local limits = require 'moongate.entities.limits'
local typedefs = require 'moongate.typedefs'

local LEVELS = { 'debug', 'info', 'notice', 'warn', 'error', 'err', 'crit', 'alert', 'emerg' }
local MOST_MS = 2 ^ 31 - 2

local ms, size, count = limits.duration, limits.size, limits.count

local function flag(default)
    return { type = 'boolean', default = default }
end

local function text(default)
    return { type = 'string', default = default }
end

local function record(fields)
    return { type = 'record', required = true, fields = fields }
end

local function later(reason)
    return { type = 'any', not_supported_yet = reason or true }
end

local function settings(fields)
    return {
        type = 'map', default = {},
        keys = { type = 'string' },
        values = { type = 'record', fields = fields },
    }
end

-- Listeners --------------------------------------------------------------------------------------

local function is_listener(value)
    if value:match('^unix:/.') then
        if #value > #'unix:' + 107 then
            return nil, 'the path of a unix socket has at most 107 bytes'
        end
        return true
    end
    local host, port = address.split(value)
    if not host or not port or port == 0 then
        return nil, 'expected ADDRESS:PORT, [ADDRESS]:PORT or unix:/path'
    end
    if not address.is_ip(host) then
        return nil, 'the address to listen on is an IP address: 127.0.0.1, 0.0.0.0, [::1] or [::]'
    end
    return true
end

local NO_TLS = 'TLS listeners'

local listener = {
    type = 'record',
    fields = {
        { address = { type = 'string', required = true, custom_validator = is_listener,
            examples = { '0.0.0.0:8000' } } },
        { tls = { type = 'boolean', default = false, not_supported_yet = { [true] = NO_TLS } } },
        { http2 = { type = 'boolean', default = false,
            not_supported_yet = { [true] = 'HTTP/2' } } },
        { proxy_protocol = { type = 'boolean', default = false,
            not_supported_yet = { [true] = 'the PROXY protocol' } } },
        { backlog = count(1024, 1, 65535) },
        { merge_slashes = flag(true) },
        { encoded_slash = { type = 'string', default = 'refuse', one_of = { 'refuse', 'keep' } } },
        { utf8 = { type = 'string', default = 'strict', one_of = { 'strict', 'any' } } },
    },
}

-- Upstreams, plugins -----------------------------------------------------------------------------

local function upstream_settings(default)
    local function value(number)
        return default and number or nil
    end
    local no_link_local
    if default then
        no_link_local = false
    end
    return {
        { keepalive = count(value(64), 0, 65535) },
        { keepalive_idle = ms(value('55s'), 1) },
        { limits = {
            type = 'record', required = default,
            fields = {
                { connections = count(value(1024), 1, 1000000) },
                { pending = count(value(128), 0, 1000000) },
                { requests = count(value(1024), 1, 1000000) },
            },
        } },
        { outlier = later('ejection of single targets') },
        { allow_link_local = flag(no_link_local) },
    }
end

local named_upstream = upstream_settings(false)
named_upstream[#named_upstream + 1] = {
    retry = later("retries of one upstream: set its services' retries"),
}

local function plugin_settings(default)
    return {
        { on_error = { type = 'string', one_of = { 'closed', 'open' } } },
        { cpu_ms = { type = 'integer', default = default and 50 or nil, between = { 1, 60000 } } },
        { wall_ms = { type = 'integer', default = default and 60000 or nil,
            between = { 1, MOST_MS } } },
    }
end

local named_plugin = plugin_settings(false)
named_plugin[#named_plugin + 1] = {
    priority = { type = 'integer', between = { -2 ^ 31, 2 ^ 31 - 1 } },
}
named_plugin[#named_plugin + 1] = { quarantine = flag(nil) }

-- The section ------------------------------------------------------------------------------------

return {
    name = 'gateway',
    fields = {
        { workers = { type = 'integer', between = { 1, 1024 }, also = { 'auto' } } },
        { user = text() },
        { shared_memory = size('64MiB', 1024 * 1024, 2 ^ 40) },
        { listeners = {
            type = 'array', len_min = 1, len_max = 64,
            default = { { address = '0.0.0.0:8000' } }, elements = listener,
        } },
        { status = later('the status listener') },
        { admin = later('the admin listener') },
        { trusted_ips = { type = 'array', default = {}, elements = typedefs.ip_or_cidr } },
        { limits = record(limits.fields(true)) },
        { retry = record({
            { attempts = count(1, 0, 5) },
            { on = later('choosing what is retried') },
            { methods = later('choosing what is retried') },
            { per_try_timeout = later() },
            { backoff = later() },
            { budget = later() },
        }) },
        { upstreams = record({
            { defaults = record(upstream_settings(true)) },
            { settings = settings(named_upstream) },
        }) },
        { routes = record({
            { settings = settings({
                { limits = { type = 'record', fields = limits.route_fields() } },
                { websocket = flag(true) },
                { trailers = { type = 'set', default = {}, elements = typedefs.header_name } },
            }) },
        }) },
        { redis = later('Redis') },
        { dns = record({
            { timeout = ms('2s', 1, 60000) },
            { tries = count(2, 1, 10) },
            { stale = ms('3600s', 0) },
            { negative = ms('1s', 0, 3600000) },
        }) },
        { log = record({
            { level = { type = 'string', default = 'notice', one_of = LEVELS } },
            { error_log = text('stderr') },
        }) },
        { tracing = later('tracing') },
        { metrics = later('metrics') },
        { headers = record({
            { request_id = typedefs.header_name({ default = 'X-Request-ID', also = { false } }) },
            { via = { type = 'string', default = 'moongate', match = '^[%w.:_-]+$',
                also = { false } } },
            { server = { type = 'string', also = { true, false }, default = true } },
            { latency = flag(false) },
            { kong_names = flag(false) },
        }) },
        { shutdown = record({
            { drain_delay = ms('0s', 0) },
            { drain_timeout = ms('30s', 1) },
        }) },
        { plugins = record({
            { path = { type = 'array', default = { 'plugins' }, elements = { type = 'string' } } },
            { lua_path = text() },
            { lua_cpath = text() },
            { defaults = record(plugin_settings(true)) },
            { settings = settings(named_plugin) },
            { watchdog_ms = { type = 'integer', default = 2000, between = { 100, MOST_MS } } },
            { init_timeout = ms('10s', 1) },
            { max_generations = count(8, 2, 64) },
            { drain_timeout = ms(0, 0) },
            { shared_dicts = later('ngx.shared') },
            { cache = later('moongate.cache') },
            { vars = later('ngx.var names of your own') },
            { legacy = { type = 'boolean', default = false,
                not_supported_yet = { [true] = 'pre-1.0 plugins' } } },
        }) },
    },
}
