-- SPDX-License-Identifier: Apache-2.0
local cjson = require 'cjson'
local limits = require 'moongate.plugins.rate-limit.limits'
local memory = require 'moongate.plugins.rate-limit.memory'
local options = require 'moongate.plugins.rate-limit.options'
local parts = require 'moongate.key_parts'
local store_options = require 'moongate.plugins.rate-limit.store_options'
local typedefs = require 'moongate.typedefs'

local MAX_WINDOW = 366 * 24 * 3600 * 1000 -- ms
local MAX_UNITS = 1000000000
local MAX_BAN = MAX_WINDOW
local SHORT = { 'quota', 'window', 'algorithm', 'burst', 'align', 'max_delay', 'fallback_quota' }

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
        { quota = { type = 'integer', lua = true, required = is_listed, between = { 1, MAX_UNITS },
            description = 'units in a window; of concurrency: in flight. In Lua: false = the limit'
                .. ' does not apply, 0 = deny' } },
        { fallback_quota = { type = 'integer', between = { 1, MAX_UNITS },
            description = 'in place of a quota in Lua that fails; required with one' } },
        { window = { type = 'duration', also = { 'month', 'year' }, between = { 100, MAX_WINDOW },
            examples = { '1m' },
            description = 'length of the window, or a period of the calendar (UTC; fixed-window'
                .. ' only); required, but of concurrency' } },
        { algorithm = { type = 'string', one_of = { 'fixed-window', 'sliding-window',
            'token-bucket', 'gcra', 'concurrency', 'leaky-bucket', 'sliding-log' },
            not_supported_yet = { ['sliding-log'] = 'it is not built yet' },
            description = 'how requests are counted; not set: sliding-window' } },
        { burst = { type = 'integer', between = { 1, MAX_UNITS },
            description = 'units that may come at once, of leaky-bucket: that may wait; not set:'
                .. ' token-bucket the quota, gcra 1, leaky-bucket 100' } },
        { max_delay = { type = 'duration', between = { 0, 10000 },
            description = 'of leaky-bucket: how long a request may be held back; not set: 1s' } },
        { align = { type = 'string', one_of = { 'clock', 'first' },
            description = 'where a fixed window begins: at multiples of its length since the epoch'
                .. ' (UTC), or at the first request of the key; not set: clock' } },
        { group = typedefs.policy_name{ description = 'entries with the same group share the'
            .. ' counters of limits that have the same name; not set: by `scope`' } },
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

local function check_store(config)
    if config.store == 'redis' and not is_set(config.redis) then
        return nil, "store redis needs the record 'redis'", 'store'
    elseif config.store ~= 'redis' and is_set(config.redis) then
        return nil, "'redis' is of the store redis", 'redis'
    elseif config.store ~= 'redis' and config.on_store_error ~= 'local' then
        return nil, "'on_store_error' is of the store redis", 'on_store_error'
    end
    return true
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

local function check_ban(ban)
    if ban.max < ban['for'] then
        return nil, 'max is shorter than for'
    end
    return true
end

local function must_be_lua()
    return nil, 'expected lua: and an expression'
end

local function ban_time(default, description)
    return { type = 'duration', default = default, between = { 1, MAX_BAN },
        description = description }
end

local ban_fields = {
    { after = { type = 'integer', required = true, between = { 0, 1000000 },
        description = 'so many denials are only denied; the next one begins the ban' } },
    { within = ban_time('1m', 'denials of this time count') },
    { ['for'] = ban_time('1m', 'length of the first ban') },
    { factor = { type = 'number', default = 2, between = { 1, 10 },
        description = 'each ban in a row is longer by this' } },
    { max = ban_time('24h', 'but no longer than this') },
    { forget = ban_time(nil, 'after this time without a ban the next one is a first one; not set:'
        .. ' as `max`') },
    { status = { type = 'integer', default = 403, between = { 400, 599 },
        description = 'of the answer to a banned key' } },
    { extend = { type = 'boolean', default = false,
        description = "each request begins the ban's time anew" } },
}

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
        .. ' const:TEXT, lua:EXPRESSION') },
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
    { body = { type = 'any', lua = true, custom_validator = check_body,
        description = 'of a denial: text, or a map that becomes JSON; in Lua it sees limit, quota,'
            .. ' remaining, retry_after and banned; not set: problem+json' } },
    { content_type = { type = 'string', match = '^[%g ]+$',
        description = 'of a denial; not set: as the body is' } },
    { headers = { type = 'set', len_min = 1, default = { 'x-ratelimit' },
        custom_validator = check_header_sets,
        elements = { type = 'string',
            one_of = { 'x-ratelimit', 'x-ratelimit-each', 'legacy', 'ietf-11', 'none' } },
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
        description = 'where is counted: in memory of this host, or in Redis for all hosts' } },
    { redis = { type = 'record', fields = store_options.fields(),
        entity_checks = store_options.checks } },
    { on_store_error = { type = 'string', default = 'local', one_of = { 'local', 'allow', 'deny' },
        description = "what decides when Redis fails: this host's part of the limits, nothing (all"
            .. ' pass), or nothing (503); bans hold in any case' } },
    { on_exceed = { type = 'string', default = 'reject', one_of = { 'reject', 'mark' },
        description = 'what becomes of a request over a limit: it is denied, or goes on, uncharged,'
            .. ' with the names of the limits in X-RateLimit-Exceeded for the upstream' } },
    { cost = { type = 'any', lua = true, default = 1, custom_validator = options.check_cost,
        description = 'units that a request takes: 0 to 1000000, or header:NAME of the request; 0'
            .. ' is checked and not charged; what is missing or no number counts 1' } },
    { count_denied = { type = 'boolean', default = false,
        description = 'a denied request is charged too, up to the quota: who does not pause stays'
            .. ' out' } },
    { count_when = { type = 'any', lua = true, default = 'always',
        custom_validator = options.check_count_when,
        description = 'always, or statuses such as [401, 403]: other answers give the charge back;'
            .. ' in Lua it sees status' } },
    { response_cost = { type = 'any', lua = true, custom_validator = options.check_response_cost,
        description = 'the true cost when the answer is known: header:NAME of the answer' } },
    { exempt = { type = 'array', default = {}, description = 'requests that are not counted:'
        .. ' ip:CIDR, consumer:NAME, header:NAME=VALUE, path:PREFIX, method:NAME',
        elements = { type = 'string', lua = true,
            custom_validator = options.check_exemption } } },
    { ban = { type = 'record', fields = ban_fields, custom_validator = check_ban } },
    { on_denied = { type = 'string', lua = true, custom_validator = must_be_lua,
        description = 'a value in Lua that is computed after a denial, for what it does; it sees'
            .. ' limit, quota, retry_after and banned' } },
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
                { custom_entity_check = { field_sources = { 'store', 'redis', 'on_store_error' },
                    run_with_missing_fields = true, fn = check_store } },
            },
        } },
    },
}
