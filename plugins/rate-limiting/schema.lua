-- SPDX-License-Identifier: Apache-2.0
local memory = require 'moongate.plugins.rate-limit.memory'
local translate = require 'moongate.plugins.rate-limiting.translate'
local typedefs = require 'moongate.typedefs'

local value = translate.value

local function about(description, def)
    def.description = description
    return def
end

-- A longer period with a lower limit would make the shorter one pointless; Kong refuses it too.
local function check_periods(config)
    local shorter
    for _, period in ipairs(translate.periods) do
        local limit = value(config[period.name])
        if limit and shorter and limit < config[shorter] then
            return nil, ('the limit for %s (%g) is lower than that for %s (%g)'):format(period.name,
                limit, shorter, config[shorter]), period.name
        end
        shorter = limit and period.name or shorter
    end
    if not shorter then
        return nil, 'there is no limit: set second, minute, hour, day, month or year'
    end
    return true
end

local function check_key(config)
    if config.limit_by == 'header' and not value(config.header_name) then
        return nil, 'limit_by header needs header_name', 'header_name'
    elseif config.limit_by == 'path' and not value(config.path) then
        return nil, 'limit_by path needs path', 'path'
    end
    return true
end

-- The same entries with rate-limit's names, for what looks at all of them together; and the entry
-- that each was made of.
local function translated(entries)
    local list, origin = {}, {}
    for i, entry in ipairs(entries) do
        list[i] = setmetatable({ config = assert(translate.translate(entry.config)) },
            { __index = entry })
        origin[list[i]] = entry
    end
    return list, origin
end

local function check_entries(entries, gateway)
    local list, origin = translated(entries)
    local found = memory.check_entries(list, gateway)
    for _, finding in ipairs(found) do
        finding.entry = origin[finding.entry]
        finding.path = { 'config' } -- its options have other names here
    end
    return found
end

local function check_whole(config)
    if config.policy == 'redis' and not translate.redis(config).host then
        return nil, 'policy redis needs redis.host', 'policy'
    end
    local ours, err = translate.translate(config)
    return ours ~= nil, err
end

local function check_sync_rate(rate)
    if rate == -1 or rate >= 0.02 then
        return true
    end
    return nil, 'expected -1 or seconds from 0.02'
end

local function redis_fields(prefix, name)
    local said = name == '' and '' or ' (redis.%s)'
    local function field(key, text, def)
        return { [prefix .. key] = about(text .. said:format(key), def) }
    end
    return {
        field('host', 'of the server', typedefs.host{}),
        field('port', 'of the server; not set: 6379', { type = 'integer', between = { 1, 65535 } }),
        field('username', 'to log in', { type = 'string', referenceable = true }),
        field('password', 'to log in',
            { type = 'string', referenceable = true, encrypted = true }),
        field('database', 'number of the database; not set: 0', { type = 'integer',
            between = { 0, 15 } }),
        field('timeout', 'milliseconds, at most 5000; not set: 20 for a reply, 100 to connect',
            { type = 'integer', between = { 1, 2 ^ 31 - 2 } }),
        field('ssl', 'TLS', { type = 'boolean' }),
        field('ssl_verify', 'the certificate must be trusted; not set: yes', { type = 'boolean' }),
        field('server_name', 'the name it must have; not set: the host', typedefs.host{}),
    }
end

local function period_fields()
    local list = {}
    for i, period in ipairs(translate.periods) do
        list[i] = { [period.name] = { type = 'number', gt = 0, between = { 0, 1000000000 },
            description = ('requests of one %s (UTC)'):format(period.name) } }
    end
    return list
end

local fields = period_fields()
for _, field in ipairs({
    { limit_by = { type = 'string', default = 'consumer', one_of = { 'consumer', 'credential', 'ip',
        'service', 'header', 'path', 'consumer-group' },
        not_supported_yet = { ['consumer-group'] = 'consumer groups' },
        description = 'what is counted apart; where a request has it not, its address' } },
    { header_name = typedefs.header_name{ description = 'with limit_by header' } },
    { path = { type = 'string', match = '^/', description = 'with limit_by path: requests of this'
        .. ' path are one count, others go by address' } },
    { policy = { type = 'string', default = 'local', one_of = { 'local', 'redis', 'cluster' },
        not_supported_yet = { cluster = "Kong's database; local is exact over the workers of a"
            .. ' host, redis over hosts' },
        description = 'where is counted' } },
    { fault_tolerant = { type = 'boolean', default = true,
        description = 'when Redis fails: let all pass, or answer 503' } },
    { redis = { type = 'record', fields = redis_fields('', ''),
        description = 'the server, with policy redis' } },
    { hide_client_headers = { type = 'boolean', default = false,
        description = 'no X-RateLimit and RateLimit fields' } },
    { error_code = { type = 'integer', default = 429, between = { 400, 599 },
        description = 'status of a denial' } },
    { error_message = { type = 'string', default = 'API rate limit exceeded',
        description = 'message in the body of a denial' } },
    { sync_rate = { type = 'number', default = -1, custom_validator = check_sync_rate,
        description = 'with policy redis: seconds between two looks at Redis, at most 10 count;'
            .. ' -1: with each request' } },
}) do
    fields[#fields + 1] = field
end
for _, field in ipairs(redis_fields('redis_', 'redis')) do
    fields[#fields + 1] = field
end

return {
    name = 'rate-limiting',
    check_entries = check_entries,
    shared_memory = function(entries)
        return memory.needed((translated(entries)))
    end,
    fields = {
        { protocols = typedefs.protocols_http },
        { config = { type = 'record', fields = fields, entity_checks = {
            { custom_entity_check = { field_sources = { 'second', 'minute', 'hour', 'day', 'month',
                'year' }, run_with_missing_fields = true, fn = check_periods } },
            { custom_entity_check = { field_sources = { 'limit_by', 'header_name', 'path' },
                run_with_missing_fields = true, fn = check_key } },
        }, custom_validator = check_whole } },
    },
}
