-- SPDX-License-Identifier: Apache-2.0
local key_parts = require 'moongate.key_parts'
local meetings = require 'moongate.plugins.circuit-breaker.meetings'
local typedefs = require 'moongate.typedefs'

local DAY = 24 * 3600 * 1000 -- ms

local function later(reason)
    return { type = 'any', not_supported_yet = reason }
end

local function check_key_part(word)
    local part, err = key_parts.parse(word)
    return part ~= nil, err
end

local function must_be_lua()
    return nil, 'expected lua: and an expression'
end

-- A value in Lua, and nothing else.
local function lua_field(description)
    return { type = 'string', lua = true, custom_validator = must_be_lua,
        description = description }
end

local function is_given(value)
    return value ~= nil and type(value) ~= 'userdata'
end

local function is_set(config, name)
    return type(config[name]) == 'number' and config[name] > 0
end

local function check_rules(config)
    if not (is_set(config, 'failure_percent') or is_set(config, 'network_percent')
        or is_set(config, 'consecutive_failures') or is_given(config.slow)) then
        return nil, 'nothing can open this breaker: failure_percent, network_percent and'
            .. ' consecutive_failures are 0, and slow is not set'
    end
    return true
end

local function check_keys(config)
    if config.scope == 'key' then
        return is_given(config.key) or nil, "the scope key needs 'key'", 'key'
    end
    for _, name in ipairs({ 'key', 'max_keys' }) do
        if is_given(config[name]) then
            return nil, ("'%s' is for the scope key only"):format(name), name
        end
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

-- Option of a fallback -> the kind that it is for.
local KIND_OF = { status = 'response', headers = 'response', body = 'response', name = 'upstream',
    code = 'lua' }

local function check_fallback(fallback)
    for _, name in ipairs({ 'status', 'headers', 'body', 'name', 'code' }) do
        if is_given(fallback[name]) and fallback.kind ~= KIND_OF[name] then
            return nil, ("'%s' is for the kind %s only"):format(name, KIND_OF[name]), name
        end
    end
    for _, name in ipairs({ 'name', 'code' }) do
        if fallback.kind == KIND_OF[name] and not is_given(fallback[name]) then
            return nil, ("the kind %s needs '%s'"):format(fallback.kind, name), name
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

local SLOW = {
    { percent = { type = 'percent', between = { 1, 100 }, default = 50,
        description = 'share of slow results that opens it' } },
    { over = { type = 'duration', between = { 1, 600000 }, default = '1s',
        description = 'a result that took longer is slow, counted from sending' } },
    { ['until'] = { type = 'string', one_of = { 'headers', 'total' }, default = 'headers',
        description = 'until the response head, or the end of the response' } },
}

local FALLBACK = {
    { kind = { type = 'string', one_of = { 'error', 'response', 'upstream', 'lua', 'stale' },
        default = 'error', not_supported_yet = { stale = 'there is no cache yet' },
        description = '`error`: 503 with a problem document; `response`: the one given here;'
            .. ' `upstream`: goes to another one; `lua`: what an expression gives' } },
    { status = { type = 'integer', between = { 200, 599 }, description = 'of response (503)' } },
    { headers = { type = 'map', keys = typedefs.header_name,
        values = { type = 'string', len_min = 0 }, description = 'of response' } },
    { body = { type = 'any', custom_validator = check_body,
        description = 'of response: text, or a map or list, which becomes JSON' } },
    { name = { type = 'string', description = 'of upstream: which one; its own breaker applies' } },
    { code = lua_field('of lua: gives status, body and headers; may use `breaker`, `state` and'
        .. ' `retry_after` (seconds); where it fails: as error') },
}

local CONFIG = {
    { scope = { type = 'string', one_of = { 'upstream', 'service', 'route', 'key' },
        default = 'upstream',
        description = 'whose breaker: of the upstream (or the host and port of a service without'
            .. ' one), the service, the route; or one for each `key` of this entry' } },
    { key = { type = 'array', len_min = 1, len_max = 6,
        elements = { type = 'string', custom_validator = check_key_part,
            not_supported_yet = key_parts.not_built },
        description = 'with scope key: the parts of the key, as of rate-limit; requests that lack'
            .. ' a part are one key' } },
    { max_keys = { type = 'integer', between = { 16, 65536 },
        description = 'with scope key: breakers at a time (1024); further keys share one' } },
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
    { slow = { type = 'record', fields = SLOW,
        description = 'opens it by the share of slow results; not set: off' } },
    { failure_statuses = { type = 'set', len_min = 1, default = { 500, 502, 503, 504 },
        elements = { type = 'integer', between = { 400, 599 } },
        description = 'answers of the upstream that are failures' } },
    { classify = lua_field('judges a result: gives failure, success, ignore, or nil = as it would'
        .. ' be; may use `status` (of the upstream, nil without a response head)') },
    { open = { type = 'record', required = true, fields = OPEN, entity_checks = {
        { custom_entity_check = { field_sources = { 'base', 'max' }, fn = check_open } } },
        description = 'how long it stays open' } },
    { half_open = { type = 'record', required = true, fields = HALF_OPEN,
        description = 'how it finds out whether the upstream is well again' } },
    { ramp = { type = 'duration', between = { 0, 600000 }, default = '10s',
        description = 'after good probes, the time over which traffic rises from 10 % to all; 0s:'
            .. ' all at once' } },
    { fallback = { type = 'record', required = true, fields = FALLBACK, entity_checks = {
        { custom_entity_check = { field_sources = { 'kind', 'status', 'headers', 'body', 'name',
            'code' },
            run_with_missing_fields = true, fn = check_fallback } } },
        description = 'what a client gets instead' } },
    { mode = { type = 'string', one_of = { 'enforce', 'shadow' }, default = 'enforce',
        description = '`shadow`: everything but refusing' } },
    { on_state = lua_field('called once for each transition; may use `name`, `from`, `to`,'
        .. ' `reason` and `counts` (total, failures, network, slow)') },
    { share = later('sharing between hosts is not built yet') },
}

return {
    name = 'circuit-breaker',
    fields = {
        { protocols = typedefs.protocols_http },
        { config = { type = 'record', required = true, fields = CONFIG, entity_checks = {
            { custom_entity_check = { field_sources = { 'failure_percent', 'network_percent',
                'consecutive_failures', 'slow' }, run_with_missing_fields = true,
                fn = check_rules } },
            { custom_entity_check = { field_sources = { 'scope', 'key', 'max_keys' },
                run_with_missing_fields = true, fn = check_keys } },
            { custom_entity_check = { field_sources = { 'window_type', 'min_requests',
                'window_calls' }, fn = check_window } },
        } } },
    },
    check_entries = meetings.check,
    shared_memory = meetings.shared_memory,
}
