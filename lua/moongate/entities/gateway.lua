-- SPDX-License-Identifier: Apache-2.0
--
-- The `gateway:` section (docs/configuration.md): every key with its type and default. Durations
-- become milliseconds and sizes bytes. What is specified and not built is refused where it is set.
--
-- 0 means "none" or "unlimited" for request_timeout, body_total_timeout,
-- body_min_rate, request_body, drain_timeout of plugins and drain_delay; elsewhere 0 is refused.
-- `limits.connections` and `workers` are nil where they are to be derived.
local address = require 'moongate.schema.address'
local common = require 'moongate.entities.common'
local limits = require 'moongate.entities.limits'
local redis = require 'moongate.entities.redis'
local typedefs = require 'moongate.typedefs'
local upstream_settings = require 'moongate.entities.upstream_settings'

local LEVELS = { 'debug', 'info', 'notice', 'warn', 'error', 'err', 'crit', 'alert', 'emerg' }
local MOST_MS = 2 ^ 31 - 2

local about = common.about
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

local function later(reason, description)
    return { type = 'any', not_supported_yet = reason, description = description }
end

-- Accepts what is in force anyway.
local function unless_default(default, reason, def)
    def.not_supported_yet = function(value)
        return value ~= default and reason or nil
    end
    return def
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
            examples = { '0.0.0.0:8000' },
            description = 'address and port, [::]:port (IPv6 alone), or unix:/path' } },
        { tls = { type = 'boolean', default = false, not_supported_yet = { [true] = NO_TLS },
            description = 'clients speak TLS' } },
        { http2 = { type = 'boolean', default = false,
            not_supported_yet = { [true] = 'HTTP/2' },
            description = 'offer HTTP/2' } },
        { proxy_protocol = { type = 'boolean', default = false,
            not_supported_yet = { [true] = 'the PROXY protocol' },
            description = 'a load balancer tells the client address in front of the bytes' } },
        { backlog = about('connections that wait to be accepted', count(1024, 1, 65535)) },
        { merge_slashes = about('// in a path is /', flag(true)) },
        { encoded_slash = { type = 'string', default = 'refuse', one_of = { 'refuse', 'keep' },
            description = '%2F and %5C in a path: refused with 400, or left as they are' } },
        { utf8 = { type = 'string', default = 'strict', one_of = { 'strict', 'any' },
            description = 'strict: a path that is not UTF-8 is refused with 400' } },
    },
}

-- Plugins -----------------------------------------------------------------------------

local function plugin_settings(default)
    return {
        { on_error = { type = 'string', one_of = { 'closed', 'open' },
            description = 'an error of the plugin: the request fails, or goes on without it' } },
        { cpu_ms = { type = 'integer', default = default and 50 or nil, between = { 1, 60000 },
            description = 'CPU time between two waits; one phase may use ten times as much' } },
        { wall_ms = { type = 'integer', default = default and 60000 or nil,
            between = { 1, MOST_MS },
            description = 'one phase from start to end, waits included' } },
    }
end

local named_plugin = plugin_settings(false)
named_plugin[#named_plugin + 1] = {
    priority = { type = 'integer', between = { -2 ^ 31, 2 ^ 31 - 1 },
        description = "instead of the plugin's own PRIORITY: higher runs earlier" },
}
named_plugin[#named_plugin + 1] = {
    quarantine = about('true unless set: after 3 limits in 10 s it is left out 10 s', flag(nil)),
}

-- The section ------------------------------------------------------------------------------------

return {
    name = 'gateway',
    fields = {
        { workers = { type = 'integer', between = { 1, 1024 }, also = { 'auto' },
            description = 'worker processes; auto, as when not set: one for each CPU' } },
        { user = about('user that the workers change to; the master must be root', text()) },
        { shared_memory = about('for the state of limits and breakers, and statistics',
            size('64MiB', 1024 * 1024, 2 ^ 40)) },
        { listeners = {
            type = 'array', len_min = 1, len_max = 64,
            default = { { address = '0.0.0.0:8000' } }, elements = listener,
            description = 'where clients connect',
        } },
        { status = record({
            { address = { type = 'string', also = { false, 'off' }, custom_validator = is_listener,
                description = 'health and metrics over HTTP; as a listener, or off. Not set:'
                    .. ' 127.0.0.1:8100 where that is free' } },
        }) },
        { admin = later('the admin listener', 'administration over HTTP') },
        { trusted_ips = { type = 'array', default = {}, elements = typedefs.ip_or_cidr,
            description = 'peers whose `X-Forwarded-*` headers are believed' } },
        { limits = record(limits.fields(true)) },
        { retry = record(upstream_settings.retry(true)) },
        { upstreams = record({
            { defaults = record(upstream_settings.defaults()) },
            { settings = settings(upstream_settings.named()) },
        }) },
        { routes = record({
            { settings = settings({
                { limits = { type = 'record', fields = limits.route_fields() } },
                { websocket = about('let connections be upgraded', flag(true)) },
                { trailers = later('passing trailers on', 'fields behind a body to pass on') },
            }) },
        }) },
        { redis = {
            type = 'map', default = {}, keys = typedefs.policy_name,
            values = { type = 'record', fields = redis.fields('50ms'),
                entity_checks = redis.checks },
            description = 'connections by name, for plugins and policies',
        } },
        { dns = record({
            { timeout = about('for one try', ms('2s', 1, 60000)) },
            { tries = about('questions before giving up', count(2, 1, 10)) },
            { stale = about('an address is used so long after its end when no new one can be had',
                ms('3600s', 0)) },
            { negative = about('a failure is remembered for it', ms('1s', 0, 3600000)) },
        }) },
        { log = record({
            { level = { type = 'string', default = 'notice', one_of = LEVELS,
                description = 'what is less important is not written' } },
            { error_log = about('stderr, or a file', text('stderr')) },
        }) },
        { tracing = later('tracing', 'spans of requests') },
        { metrics = record({
            { series = about('of one metric, by its labels; what comes later is __overflow__',
                count(2000, 100, 100000)) },
        }) },
        { headers = record({
            { request_id = about('header that carries the id of a request; false: none',
                typedefs.header_name({ default = 'X-Request-ID', also = { false } })) },
            { via = { type = 'string', default = 'moongate', match = '^[%w.:_-]+$',
                also = { false }, description = 'name in Via; false: no Via' } },
            { server = { type = 'string', also = { true, false }, default = true,
                description = 'Server of answers that the gateway makes; false: none' } },
            { latency = unless_default(false, 'times in headers',
                about('tell times in headers of the answer', flag(false))) },
            { kong_names = unless_default(false, "Kong's header names",
                about("Kong's `X-Kong-*` headers", flag(false))) },
        }) },
        { shutdown = record({
            { drain_delay = about('go on accepting for so long after SIGTERM', ms('0s', 0)) },
            { drain_timeout = about('requests under way may take so long; then they are cut',
                ms('30s', 1)) },
        }) },
        { plugins = record({
            { path = { type = 'array', default = { 'plugins' }, elements = { type = 'string' },
                description = 'folders of plugins, relative to the file; our own come last' } },
            { lua_path = about('put in front of package.path', text()) },
            { lua_cpath = about('put in front of package.cpath', text()) },
            { defaults = record(plugin_settings(true)) },
            { settings = settings(named_plugin) },
            { watchdog_ms = { type = 'integer', default = 2000, between = { 100, MOST_MS },
                description = 'a worker in which nothing moves for it is killed and replaced' } },
            { init_timeout = about('to build a generation, init_worker included', ms('10s', 1)) },
            { max_generations = about('that requests still hold; above it a reload is refused',
                count(8, 2, 64)) },
            { drain_timeout = about('requests on an old generation are cut after it; 0: never',
                ms(0, 0)) },
            { shared_dicts = later('ngx.shared', 'dictionaries and their sizes') },
            { cache = later('moongate.cache', 'size of the shared cache') },
            { vars = later('ngx.var names of your own', 'texts readable as ngx.var.NAME') },
            { legacy = { type = 'boolean', default = false,
                not_supported_yet = { [true] = 'pre-1.0 plugins' },
                description = 'modules that plugins before 1.0 need' } },
        }) },
    },
}
