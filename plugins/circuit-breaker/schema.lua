-- SPDX-License-Identifier: Apache-2.0
local meetings = require 'moongate.plugins.circuit-breaker.meetings'
local typedefs = require 'moongate.typedefs'

local LUA = 'it takes no values in Lua yet'
local KEYS = 'breakers by key are not built yet; there are upstream, service and route'
local RAMP = 'the ramp is not built yet; good probes close the breaker at once'
local DAY = 24 * 3600 * 1000 -- ms

local function later(reason)
    return { type = 'any', not_supported_yet = reason }
end

local function is_ramp(value)
    return value ~= 0 and value ~= '0s' and RAMP
end

local function is_set(config, name)
    return type(config[name]) == 'number' and config[name] > 0
end

local function check_rules(config)
    if not (is_set(config, 'failure_percent') or is_set(config, 'network_percent')
        or is_set(config, 'consecutive_failures')) then
        return nil, 'nothing can open this breaker: failure_percent, network_percent and'
            .. ' consecutive_failures are 0'
    end
    return true
end

local function check_window(config)
    if config.window_type == 'count' and config.min_requests > config.window_calls then
        return nil, ('min_requests (%d) can never be in a window of %d results (window_calls)')
            :format(config.min_requests, config.window_calls), 'min_requests'
    end
    return true
end

local function check_open(open)
    if open.max < open.base then
        return nil, 'max must not be less than base', 'max'
    end
    return true
end

local function check_fallback(fallback)
    for _, name in ipairs({ 'status', 'headers', 'body' }) do
        local value = fallback[name]
        local given = type(value) ~= 'userdata' and value ~= nil
        if fallback.kind ~= 'response' and given then
            return nil, ("'%s' is for the kind response only"):format(name), name
        end
    end
    return true
end

local function check_body(value)
    if type(value) ~= 'string' and type(value) ~= 'table' then
        return nil, 'expected text, a map or a list'
    end
    return true
end

local OPEN = {
    { base = { type = 'duration', between = { 100, DAY }, default = '5s',
        description = 'open time of the first opening in a row' } },
    { factor = { type = 'number', between = { 1, 10 }, default = 2,
        description = 'each further opening in a row lasts so many times longer' } },
    { max = { type = 'duration', between = { 100, DAY }, default = '60s',
        description = 'longest open time; after so long CLOSED the row starts anew' } },
    { jitter_percent = { type = 'percent', default = 10,
        description = 'by which an open time may be longer or shorter' } },
}

local HALF_OPEN = {
    { max_inflight = { type = 'integer', between = { 1, 1000 }, default = 3,
        description = 'probes at a time, over all workers' } },
    { required = { type = 'integer', between = { 1, 1000 }, default = 5,
        description = 'results that decide' } },
    { success_percent = { type = 'percent', between = { 1, 100 }, default = 60,
        description = 'share of them that must be good to close the breaker' } },
    { timeout = { type = 'duration', between = { 100, 300000 }, default = '10s',
        description = 'a probe without a response head by then is cut, and is a failure' } },
}

local FALLBACK = {
    { kind = { type = 'string', one_of = { 'error', 'response', 'upstream', 'lua', 'stale' },
        default = 'error', not_supported_yet = {
            upstream = 'fallback upstreams are not built yet', lua = LUA,
            stale = 'there is no cache yet' },
        description = '`error`: 503 with a problem document; `response`: the one given here' } },
    { status = { type = 'integer', between = { 200, 599 }, description = 'of response (503)' } },
    { headers = { type = 'map', keys = typedefs.header_name,
        values = { type = 'string', len_min = 0 }, description = 'of response' } },
    { body = { type = 'any', custom_validator = check_body,
        description = 'of response: text, or a map or list, which becomes JSON' } },
    { name = later('fallback upstreams are not built yet') },
    { code = later(LUA) },
}

local CONFIG = {
    { scope = { type = 'string', one_of = { 'upstream', 'service', 'route', 'key' },
        default = 'upstream', not_supported_yet = { key = KEYS },
        description = 'whose breaker: of the upstream (or the host and port of a service without'
            .. ' one), the service, the route' } },
    { key = later(KEYS) },
    { max_keys = later(KEYS) },
    { window_type = { type = 'string', one_of = { 'time', 'count' }, default = 'time',
        description = 'which results count: of the last `window`, or the last `window_calls`' } },
    { window = { type = 'duration', between = { 1000, 600000 }, default = '10s',
        description = 'how far back results count' } },
    { buckets = { type = 'integer', between = { 1, 60 }, default = 10,
        description = 'parts of the window; the oldest leaves as a whole' } },
    { window_calls = { type = 'integer', between = { 10, 1024 }, default = 100,
        description = 'of window_type count' } },
    { min_requests = { type = 'integer', between = { 1, 1000000 }, default = 20,
        description = 'results in the window before a share can open the breaker' } },
    { failure_percent = { type = 'percent', default = 50,
        description = 'share of failures that opens it; 0 = off' } },
    { network_percent = { type = 'percent', default = 0,
        description = 'share of failures of the network that opens it; 0 = off' } },
    { consecutive_failures = { type = 'integer', between = { 0, 1000 }, default = 5,
        description = 'failures in a row that open it, over all workers; 0 = off' } },
    { failure_statuses = { type = 'set', len_min = 1, default = { 500, 502, 503, 504 },
        elements = { type = 'integer', between = { 400, 599 } },
        description = 'answers of the upstream that are failures' } },
    { open = { type = 'record', required = true, fields = OPEN, entity_checks = {
        { custom_entity_check = { field_sources = { 'base', 'max' }, fn = check_open } } },
        description = 'how long it stays open' } },
    { half_open = { type = 'record', required = true, fields = HALF_OPEN,
        description = 'how it finds out whether the upstream is well again' } },
    { fallback = { type = 'record', required = true, fields = FALLBACK, entity_checks = {
        { custom_entity_check = { field_sources = { 'kind', 'status', 'headers', 'body' },
            run_with_missing_fields = true, fn = check_fallback } } },
        description = 'what a client gets instead' } },
    { mode = { type = 'string', one_of = { 'enforce', 'shadow' }, default = 'enforce',
        description = '`shadow`: everything but refusing' } },
    { ramp = { type = 'any', not_supported_yet = is_ramp,
        description = 'time of rising traffic after good probes; only 0 is built yet' } },
    { slow = later('slow calls are not built yet') },
    { classify = later(LUA) },
    { on_state = later(LUA) },
    { share = later('sharing between hosts is not built yet') },
}

return {
    name = 'circuit-breaker',
    fields = {
        { protocols = typedefs.protocols_http },
        { config = { type = 'record', required = true, fields = CONFIG, entity_checks = {
            { custom_entity_check = { field_sources = { 'failure_percent', 'network_percent',
                'consecutive_failures' }, fn = check_rules } },
            { custom_entity_check = { field_sources = { 'window_type', 'min_requests',
                'window_calls' }, fn = check_window } },
        } } },
    },
    check_entries = meetings.check,
    shared_memory = meetings.shared_memory,
}
