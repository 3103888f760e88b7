-- SPDX-License-Identifier: Apache-2.0
local cjson = require 'cjson'
local limits = require 'moongate.plugins.rate-limit.limits'
local memory = require 'moongate.plugins.rate-limit.memory'
local parts = require 'moongate.plugins.rate-limit.parts'
local typedefs = require 'moongate.typedefs'

local LUA = 'values in Lua are not built yet'
local REDIS = 'the store redis is not built yet'
local MAX_WINDOW = 366 * 24 * 3600 * 1000 -- ms
local MAX_UNITS = 1000000000
local SHORT = { 'quota', 'window', 'algorithm', 'burst', 'align' }

local function is_lua(value)
    return type(value) == 'string' and value:sub(1, 4) == 'lua:' and LUA
end

-- A field of which only the value that is in force anyway can be set.
local function fixed(value, reason, description)
    return { type = 'any', default = value, description = description,
        not_supported_yet = function(given)
            return given ~= value and reason
        end }
end

local function is_set(value)
    return value ~= nil and value ~= cjson.null
end

local function check_key_part(word)
    local part, err = parts.parse(word)
    return part ~= nil, err
end

local function key_field(default, description)
    return {
        type = 'array', len_min = 1, len_max = 6, default = default, description = description,
        elements = { type = 'string', custom_validator = check_key_part,
            not_supported_yet = parts.not_built },
    }
end

local function scope_field(default, description)
    return { type = 'string', default = default, description = description,
        one_of = { 'attached', 'route', 'service', 'global' } }
end

local function mode_field(default, description)
    return { type = 'string', default = default, one_of = { 'enforce', 'shadow' },
        description = description }
end

-- What makes a limit, in the list and in the short form.
local function number_fields(is_listed)
    return {
        { quota = { type = 'integer', required = is_listed, between = { 1, MAX_UNITS },
            not_supported_yet = is_lua,
            description = 'requests in a window; of concurrency: in flight' } },
        { window = { type = 'duration', between = { 100, MAX_WINDOW }, examples = { '1m' },
            not_supported_yet = { month = 'windows of the calendar are not built yet',
                year = 'windows of the calendar are not built yet' },
            description = 'length of the window; required, but of concurrency' } },
        { algorithm = { type = 'string', one_of = { 'fixed-window', 'sliding-window',
            'token-bucket', 'gcra', 'concurrency', 'leaky-bucket', 'sliding-log' },
            not_supported_yet = { ['leaky-bucket'] = 'it is not built yet',
                ['sliding-log'] = 'it is not built yet' },
            description = 'how requests are counted; not set: sliding-window' } },
        { burst = { type = 'integer', between = { 1, MAX_UNITS },
            description = 'requests that may come at once; not set: token-bucket the quota,'
                .. ' gcra 1' } },
        { align = { type = 'string', one_of = { 'clock', 'first' },
            description = 'where a fixed window begins: at multiples of its length since the epoch'
                .. ' (UTC), or at the first request of the key; not set: clock' } },
        { max_delay = { type = 'any', not_supported_yet = 'leaky-bucket is not built yet' } },
        { fallback_quota = { type = 'any', not_supported_yet = LUA } },
        { group = { type = 'any', not_supported_yet = 'groups are not built yet' } },
    }
end

-- The numbers of a limit without the nulls of unset fields.
local function check_numbers(entity)
    local limit = {}
    for _, name in ipairs(SHORT) do
        limit[name] = is_set(entity[name]) and entity[name] or nil
    end
    return limits.check(limit)
end

local function check_names(list)
    local seen = {}
    for i, limit in ipairs(list) do
        local name = limit.name
        if not name and #list > 1 then
            return nil, ('limit %d of %d needs a name'):format(i, #list)
        elseif name and seen[name] then
            return nil, ("two limits are called '%s'"):format(name)
        end
        seen[name or ''] = true
    end
    return true
end

-- Either `limits`, or one limit at the top.
local function check_form(config)
    local short
    for _, name in ipairs(SHORT) do
        short = short or is_set(config[name]) and name
    end
    if is_set(config.limits) then
        if short then
            return nil, ("'limits' and '%s' cannot both be: write the limit into the list")
                :format(short), short
        end
        return true
    elseif not is_set(config.quota) then
        return nil, "there is no limit: set 'limits', or 'quota' and 'window'"
    end
    return check_numbers(config)
end

local function check_body(value)
    if type(value) ~= 'string' and type(value) ~= 'table' then
        return nil, 'expected text or a map'
    elseif type(value) == 'table' and not pcall(cjson.encode, value) then
        return nil, 'expected a map that can be written as JSON'
    end
    return true
end

local function check_header_sets(list)
    for _, name in ipairs(list) do
        if name == 'none' and #list > 1 then
            return nil, "'none' stands alone"
        end
    end
    return true
end

local listed = number_fields(true)
table.insert(listed, 1, { name = typedefs.policy_name{
    description = "names the limit in headers, answers and logs; required where there are several;"
        .. " not set: default" } })
for _, field in ipairs({
    { key = key_field(nil, "as `key`; not set: the entry's") },
    { scope = scope_field(nil, "as `scope`; not set: the entry's") },
    { mode = mode_field(nil, "as `mode`; not set: the entry's") },
}) do
    listed[#listed + 1] = field
end

local config = {
    { limits = { type = 'array', len_min = 1, len_max = 16, custom_validator = check_names,
        description = 'the limits, decided together; or one in the short form: `quota`, `window`,'
            .. ' `algorithm`, `burst`, `align`',
        elements = { type = 'record', fields = listed, entity_checks = {
            { custom_entity_check = { field_sources = SHORT, run_with_missing_fields = true,
                fn = check_numbers } },
        } } } },
}
for _, field in ipairs(number_fields(false)) do
    config[#config + 1] = field
end
for _, field in ipairs({
    { key = key_field({ 'ip' }, 'what is counted apart, all parts together: ip, consumer,'
        .. ' credential, header:NAME, cookie:NAME, query:NAME, path, method, host, route, service,'
        .. ' const:TEXT') },
    { ipv4_prefix = { type = 'integer', default = 32, between = { 8, 32 },
        description = 'bits of an IPv4 address that count' } },
    { ipv6_prefix = { type = 'integer', default = 64, between = { 16, 128 },
        description = 'bits of an IPv6 address that count' } },
    { key_missing = { type = 'string', default = 'ip', one_of = { 'ip', 'skip', 'shared', 'deny' },
        description = 'where a part of the key is not in the request: the client address stands for'
            .. ' it, the limit does not apply, all such requests are one key, or 403' } },
    { scope = scope_field('attached', 'whose counters: those of what the entry stands on, of each'
        .. ' route, of each service, or one for all') },
    { mode = mode_field('enforce', 'shadow: count and log, and let everything pass') },
    { status = { type = 'integer', default = 429, between = { 400, 599 },
        description = 'status of a denial' } },
    { body = { type = 'any', custom_validator = check_body, not_supported_yet = is_lua,
        description = 'of a denial: text, or a map that becomes JSON; not set: problem+json' } },
    { content_type = { type = 'string', match = '^[%g ]+$',
        description = 'of a denial; not set: as the body is' } },
    { headers = { type = 'set', len_min = 1, default = { 'x-ratelimit' },
        custom_validator = check_header_sets,
        elements = { type = 'string',
            one_of = { 'x-ratelimit', 'x-ratelimit-each', 'legacy', 'ietf-11', 'none' },
            not_supported_yet = { ['ietf-11'] = 'the fields of the draft are not built yet' } },
        description = 'which sets of header fields answers get; `none` alone: none' } },
    { retry_after_jitter = { type = 'record', required = true, fields = {
        { percent = { type = 'percent', default = 10,
            description = 'up to this share of the waiting time is added to Retry-After' } },
        { max = { type = 'duration', default = '5s', between = { 0, 60000 },
            description = 'but no more than this' } },
    } } },
    { max_keys = { type = 'integer', default = 65536, between = { 1024, 16777216 },
        description = 'keys that each limit counts at a time, 64 bytes of shared memory each; a'
            .. ' sixteenth of them for one network; more keys share a counter with ten times the'
            .. ' quota' } },
    { store = { type = 'string', default = 'local', one_of = { 'local', 'redis' },
        not_supported_yet = { redis = REDIS }, description = 'where is counted' } },
    { redis = { type = 'any', not_supported_yet = REDIS } },
    { on_store_error = fixed('local', REDIS, 'what decides when the store fails') },
    { on_exceed = fixed('reject', 'marking requests is not built yet',
        'what becomes of a request over a limit') },
    { cost = fixed(1, 'costs are not built yet', 'units that a request takes') },
    { count_denied = fixed(false, 'it is not built yet', 'whether a denial is charged') },
    { count_when = fixed('always', 'it is not built yet', 'which answers are charged') },
    { response_cost = { type = 'any', not_supported_yet = 'costs are not built yet' } },
    { exempt = { type = 'any', not_supported_yet = 'exemptions are not built yet' } },
    { ban = { type = 'any', not_supported_yet = 'bans are not built yet' } },
    { on_denied = { type = 'any', not_supported_yet = LUA } },
}) do
    config[#config + 1] = field
end

return {
    name = 'rate-limit',
    check_entries = memory.check_entries,
    shared_memory = memory.needed,
    fields = {
        { protocols = typedefs.protocols_http },
        { config = {
            type = 'record', fields = config,
            entity_checks = {
                { custom_entity_check = { field_sources = { 'limits', unpack(SHORT) },
                    run_with_missing_fields = true, fn = check_form } },
            },
        } },
    },
}
