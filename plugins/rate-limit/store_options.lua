-- SPDX-License-Identifier: Apache-2.0
-- The option `redis`: where limits are counted when the store is Redis. Its servers are either an
-- instance of `gateway.redis` or written out with the fields of one (moongate.entities.redis).
local places = require 'moongate.entities.redis'
local units = require 'moongate.schema.units'

local M = {}

local is_set = places.is_set

local TIMEOUT = '20ms'
local MOST_INSTANCES = 10000

-- What an instance of gateway.redis has itself.
local function of_instance(name)
    return name ~= 'timeout' and name ~= 'connect_timeout'
end

-- A field without its default, which is filled in where the servers are written out.
local function open_field(name, def)
    local copy = {}
    for key, value in pairs(def) do
        copy[key] = value
    end
    if def.default ~= nil then
        copy.default = nil
        copy.description = ('%s; not set: %s'):format(def.description, def.default)
    end
    if def.type == 'record' then
        copy.required = nil
    end
    return { [name] = copy }
end

local function check_instances(value)
    if value == 'auto' or type(value) == 'number' and value == math.floor(value) and value >= 1
        and value <= MOST_INSTANCES then
        return true
    end
    return nil, ("expected 'auto' or a whole number from 1 to %d"):format(MOST_INSTANCES)
end

local function check_prefix(value)
    if #value <= 64 and value:match('^[^{}%c ]+$') then
        return true
    end
    return nil, 'expected 1 to 64 bytes without braces and spaces'
end

local INTERVAL, OVER_ADMIT = '100ms', 5 -- percent
local LEASE, LEASE_TTL = 5, '1s' -- percent

--- The fields of the record.
-- @treturn table list of one-key tables
function M.fields()
    local list = {
        { connection = { type = 'string',
            description = 'name of an instance of gateway.redis; in place of host, unix, url or'
                .. ' nodes' } },
    }
    for _, field in ipairs(places.fields(TIMEOUT)) do
        local name, def = next(field)
        list[#list + 1] = open_field(name, def)
    end
    for _, field in ipairs({
        { prefix = { type = 'string', default = 'mg:rl', custom_validator = check_prefix,
            description = 'all keys begin with it; keeps installations apart' } },
        { tag = { type = 'string', default = 'key', one_of = { 'key', 'prefix' },
            description = 'which part of a key tells the slot of a cluster: the hash of the'
                .. " request's key, or the prefix (all in one slot)" } },
        { mode = { type = 'string', default = 'sync', one_of = { 'sync', 'async', 'lease' },
            description = 'sync: each request asks Redis, once; lease: units are charged there some'
                .. ' at a time, before they are needed; async: a host decides by what it knows and'
                .. ' tells Redis afterwards' } },
        { instances = { type = 'any', default = 'auto', custom_validator = check_instances,
            description = 'hosts that share the limits, for the part of each when Redis is gone;'
                .. ' auto: those that say in Redis that they are alive' } },
        { hold_ttl = { type = 'duration', default = '60s', between = { 3000, 3600000 },
            description = 'what a concurrency limit holds is renewed every third of this; a dead'
                .. ' host gives it back after it' } },
        { lease = { type = 'record', fields = {
            { percent = { type = 'number', default = LEASE, between = { 0.1, 50 },
                description = 'of the quota, at least one unit for each worker: so much of it a'
                    .. ' host charges at a time. Nothing too much is admitted in a fixed window;'
                    .. ' elsewhere at most so much for each host' } },
            { ttl = { type = 'duration', default = LEASE_TTL, between = { 100, 10000 },
                description = 'what is not spent after this is given back' } },
        } } },
        { async = { type = 'record', fields = {
            { interval = { type = 'duration', default = INTERVAL, between = { 20, 10000 },
                description = 'Redis is told so often' } },
            { over_admit_percent = { type = 'number', default = OVER_ADMIT, between = { 0.1, 50 },
                description = 'of the quota: so much may be admitted too much, by all hosts'
                    .. ' together; of a small quota less than one for each host' } },
        } } },
    }) do
        list[#list + 1] = field
    end
    return list
end

local function default_of(def)
    if def.type == 'duration' then
        return units.parse_duration(def.default)
    elseif def.type == 'record' then
        local record = {}
        for _, field in ipairs(def.fields) do
            local name, inner = next(field)
            record[name] = default_of(inner)
        end
        return record
    end
    return def.default
end

-- The fields of an instance, with their defaults.
local function written_out(record)
    local place = {}
    for _, field in ipairs(places.fields(TIMEOUT)) do
        local name, def = next(field)
        if is_set(record[name]) then
            place[name] = record[name]
        elseif def.default ~= nil or def.type == 'record' and def.required then
            place[name] = default_of(def)
        end
    end
    return place
end

--- The rules over the record.
-- @tparam table record
-- @treturn true|nil
-- @treturn string|nil error
-- @treturn string|nil field it is about
function M.check(record)
    for _, mode in ipairs({ 'async', 'lease' }) do
        if is_set(record[mode]) and record.mode ~= mode then
            return nil, ("'%s' is of the mode %s"):format(mode, mode), mode
        end
    end
    if not is_set(record.connection) then
        local place = written_out(record)
        if place.topology == 'single' and not (place.host or place.unix or place.url) then
            return nil, "there is no server: set 'connection', 'host', 'unix' or 'url'"
        end
        return places.check(place)
    end
    for _, field in ipairs(places.fields(TIMEOUT)) do
        local name = next(field)
        if of_instance(name) and is_set(record[name]) then
            return nil, ("'%s' is of the instance of gateway.redis that 'connection' names")
                :format(name), name
        end
    end
    return true
end

--- How a host goes before Redis.
-- @tparam table record checked, of mode async
-- @treturn table { interval = ms, over_admit_percent = }
function M.async(record)
    local async = is_set(record.async) and record.async or {}
    return {
        interval = async.interval or units.parse_duration(INTERVAL),
        over_admit_percent = async.over_admit_percent or OVER_ADMIT,
    }
end

--- How much a host charges before it is needed.
-- @tparam table record checked, of mode lease
-- @treturn table { percent =, ttl = ms }
function M.lease(record)
    local lease = is_set(record.lease) and record.lease or {}
    return {
        percent = lease.percent or LEASE,
        ttl = lease.ttl or units.parse_duration(LEASE_TTL),
    }
end

--- For a record definition.
M.checks = {
    { custom_entity_check = {
        field_sources = (function()
            local names = { 'connection', 'mode', 'async', 'lease' }
            for _, field in ipairs(places.fields(TIMEOUT)) do
                names[#names + 1] = next(field)
            end
            return names
        end)(),
        run_with_missing_fields = true, fn = M.check,
    } },
}

--- Where the limits of a checked record are counted.
-- @tparam table record
-- @tparam table|nil instances gateway.redis
-- @treturn table|nil { name =, place = fields of an instance, timeout = ms }; nil: there is no such
-- instance
function M.resolve(record, instances)
    local timeout = is_set(record.timeout) and record.timeout or units.parse_duration(TIMEOUT)
    if not is_set(record.connection) then
        local place = written_out(record)
        return { name = 'rate-limit ' .. record.prefix, place = place, timeout = timeout }
    end
    local instance = is_set(instances) and instances[record.connection]
    if not is_set(instance) then
        return nil
    end
    local place = {}
    for name, value in pairs(instance) do
        place[name] = value
    end
    if is_set(record.connect_timeout) then
        place.connect_timeout = record.connect_timeout
    end
    return { name = record.connection, place = place, timeout = timeout }
end

return M
