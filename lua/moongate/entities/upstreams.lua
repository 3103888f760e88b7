-- SPDX-License-Identifier: Apache-2.0
--
-- Upstreams: a host name whose requests are spread over targets (docs/upstreams.md).
local address = require 'moongate.schema.address'
local common = require 'moongate.entities.common'
local typedefs = require 'moongate.typedefs'

local about = common.about

local LONGEST_S = 65535
local HASH_ON = {
    'none', 'consumer', 'ip', 'header', 'cookie', 'path', 'query_arg', 'uri_capture',
}
local CHECK_TYPES = { 'http', 'tcp', 'https', 'grpc', 'grpcs' }
local NO_TLS = 'TLS to upstreams'

-- Seconds between two checks.
local function interval(which)
    return { type = 'number', default = 0, between = { 0, LONGEST_S },
        description = ('seconds between two checks of a target that is %s; 0: none'):format(which) }
end

-- Not built: refused where checks are on.
local function check_later(value)
    local on = false
    for _, kind in ipairs({ 'healthy', 'unhealthy' }) do
        local it = value[kind]
        on = on or (type(it) == 'table' and type(it.interval) == 'number' and it.interval > 0)
    end
    local kind = value.type
    return on and (kind == 'https' or kind == 'grpc' or kind == 'grpcs')
        and ('active health checks of the type %s'):format(kind)
end

local function statuses(default, description)
    return {
        type = 'array', default = default, description = description,
        elements = { type = 'integer', between = { 100, 999 } },
    }
end

local function record(fields)
    return { type = 'record', required = true, fields = fields }
end

local function check_type()
    return { type = 'string', default = 'http', one_of = CHECK_TYPES,
        description = 'what is asked for' }
end

-- How many of a kind make a target healthy or unhealthy.
local function tally(description)
    return { type = 'integer', default = 0, between = { 0, 255 }, description = description }
end

local SUCCESSES = 'so many in a row make a target healthy'
local TCP_FAILURES = 'so many failed connections make a target unhealthy'
local TIMEOUTS = 'so many timeouts make a target unhealthy'
local HTTP_FAILURES = 'so many answers of http_statuses make a target unhealthy'

local active = record({
    { type = check_type() },
    { timeout = { type = 'number', default = 1, between = { 0, LONGEST_S },
        description = 'seconds until a check has failed' } },
    { concurrency = { type = 'integer', default = 10, between = { 1, 2 ^ 31 },
        description = 'checks at a time' } },
    { http_path = about('path that is asked for', typedefs.path({ default = '/' })) },
    { https_sni = about('server name of a check by TLS', typedefs.sni) },
    { https_verify_certificate = { type = 'boolean', default = true,
        description = 'a bad certificate fails the check' } },
    { headers = { type = 'map', keys = typedefs.header_name,
        description = 'sent with a check',
        values = { type = 'array', elements = { type = 'string' } } } },
    { healthy = record({
        { interval = interval('healthy') },
        { http_statuses = statuses({ 200, 302 }, 'taken for a success') },
        { successes = tally(SUCCESSES) },
    }) },
    { unhealthy = record({
        { interval = interval('not') },
        { http_statuses = statuses({ 429, 404, 500, 501, 502, 503, 504, 505 },
            'taken for a failure') },
        { tcp_failures = tally(TCP_FAILURES) },
        { timeouts = tally(TIMEOUTS) },
        { http_failures = tally(HTTP_FAILURES) },
    }) },
})
active.not_supported_yet = check_later

local passive = record({
    { type = check_type() },
    { healthy = record({
        { http_statuses = statuses({ 200, 201, 202, 203, 204, 205, 206, 207, 208, 226,
            300, 301, 302, 303, 304, 305, 306, 307, 308 }, 'taken for a success') },
        { successes = tally(SUCCESSES) },
    }) },
    { unhealthy = record({
        { http_statuses = statuses({ 429, 500, 503 }, 'taken for a failure') },
        { tcp_failures = tally(TCP_FAILURES) },
        { timeouts = tally(TIMEOUTS) },
        { http_failures = tally(HTTP_FAILURES) },
    }) },
})

local function is_name(value)
    if address.is_name(value) then
        return true
    end
    return nil, 'Invalid name; must be a valid hostname: ' .. value
end

-- hash_on: header needs hash_on_header, and so on, for both hashes.
local function needs(field, value, then_field)
    return { conditional = {
        if_field = field, if_match = { eq = value },
        then_field = then_field, then_match = { required = true },
        then_err = ("%s '%s' needs '%s'"):format(field, value, then_field),
    } }
end

local hash_fields = {}
for _, name in ipairs({ 'hash_on', 'hash_fallback' }) do
    local with = ('with %s: '):format(name)
    hash_fields[#hash_fields + 1] = { [name] = {
        type = 'string', default = 'none', one_of = HASH_ON,
        description = name == 'hash_on' and 'what consistent-hashing keeps together'
            or 'used where hash_on finds nothing',
    } }
    hash_fields[#hash_fields + 1] = {
        [name .. '_header'] = about(with .. 'header, its name', typedefs.header_name),
    }
    hash_fields[#hash_fields + 1] = {
        [name .. '_query_arg'] = { type = 'string', description = with .. 'query_arg, its name' },
    }
    hash_fields[#hash_fields + 1] = { [name .. '_uri_capture'] = {
        type = 'string', description = with .. 'uri_capture, name of the group',
    } }
end

local fields = {
    { name = { type = 'string', required = true, unique = true, custom_validator = is_name,
        description = 'a host name: services with that host are spread over the targets' } },
    { algorithm = {
        type = 'string', default = 'round-robin',
        one_of = { 'round-robin', 'consistent-hashing', 'least-connections', 'latency' },
        description = 'how a target is picked',
    } },
    { hash_on_cookie = about('with cookie: its name; set on the answer where it was missing',
        typedefs.cookie_name) },
    { hash_on_cookie_path = about('with cookie: its path', typedefs.path({ default = '/' })) },
    { slots = { type = 'integer', default = 10000, between = { 10, 65536 },
        description = 'size of the ring of consistent-hashing' } },
    { host_header = about('Host for the targets', typedefs.host_with_optional_port) },
    { client_certificate = { type = 'any', not_supported_yet = NO_TLS,
        description = 'certificate shown to the targets' } },
    { use_srv_name = { type = 'boolean', default = false,
        not_supported_yet = { [true] = 'targets by SRV record' },
        description = 'Host is the name that the SRV record gives' } },
    { healthchecks = record({
        { threshold = { type = 'number', default = 0, between = { 0, 100 },
            description = 'percentage of the weight: when less is healthy, 503; 0: none' } },
        { active = active },
        { passive = passive },
    }) },
}
for _, field in ipairs(hash_fields) do
    fields[#fields + 1] = field
end

return common.entity('upstreams', fields, {
    entity_checks = {
        needs('hash_on', 'header', 'hash_on_header'),
        needs('hash_on', 'cookie', 'hash_on_cookie'),
        needs('hash_on', 'query_arg', 'hash_on_query_arg'),
        needs('hash_on', 'uri_capture', 'hash_on_uri_capture'),
        needs('hash_fallback', 'header', 'hash_fallback_header'),
        needs('hash_fallback', 'cookie', 'hash_on_cookie'),
        needs('hash_fallback', 'query_arg', 'hash_fallback_query_arg'),
        needs('hash_fallback', 'uri_capture', 'hash_fallback_uri_capture'),
    },
})
