-- SPDX-License-Identifier: Apache-2.0
-- What all entries of rate-limit are together: the shared memory they need, and what a person
-- should know of them.
local limits = require 'moongate.plugins.rate-limit.limits'
local parts = require 'moongate.key_parts'
local store_options = require 'moongate.plugins.rate-limit.store_options'
local units = require 'moongate.schema.units'

local M = {}

local KEY_BYTES = 64
-- Plugins that find out who calls have priorities above this one.
local LOWEST_AUTHENTICATION = 1000
local DEFAULT_PRIORITY = 910

--- Shared memory that the entries ask for.
-- @tparam table entries checked
-- @treturn table { limit_cells =, breakers = 0 }
function M.needed(entries)
    local cells = 0
    for _, entry in ipairs(entries) do
        local redis = entry.config.store == 'redis' and entry.config.redis
        local each = redis and redis.mode == 'async' and 3 or 1 -- with what is known and unsent
        cells = cells + #limits.of(entry.config) * entry.config.max_keys * each
        if entry.config.ban then
            cells = cells + math.ceil(entry.config.max_keys / 4)
        end
    end
    return { limit_cells = cells, breakers = 0 }
end

local function priority_of(entry, settings)
    local own = settings[entry.instance_name or ''] or settings[entry.name] or {}
    return own.priority or DEFAULT_PRIORITY
end

local function asks_who_calls(config)
    for _, limit in ipairs(limits.of(config)) do
        for _, part in ipairs(limit.key) do
            if part.kind == 'consumer' or part.kind == 'credential' then
                return part.kind
            end
        end
    end
    return nil
end

local function warnings(entry, settings, found)
    local config = entry.config
    if config.status == 503 then
        found[#found + 1] = { entry = entry, path = { 'config', 'status' }, severity = 'warning',
            message = '503 tells clients that the server is ill; 429 is the status of a limit' }
    end
    local who = asks_who_calls(config)
    if who and priority_of(entry, settings) > LOWEST_AUTHENTICATION then
        found[#found + 1] = { entry = entry, path = { 'config' }, severity = 'warning',
            message = ('the key has a %s, but with priority %d the limit runs before plugins that'
                .. ' authenticate'):format(who, priority_of(entry, settings)) }
    end
end

-- Limits of one name in one group are one counter: what makes it that must be the same.
local function check_group(limit, entry, members, found)
    local key = limit.group .. '/' .. limit.name
    local other = members[key]
    if not other then
        members[key] = limit
        return
    end
    for _, field in ipairs({ 'algorithm', 'window', 'calendar', 'shadow' }) do
        if limit[field] ~= other[field] then
            found[#found + 1] = { entry = entry, path = { 'config' },
                message = ("group '%s': limit '%s' has another %s than in the entry %s"):format(
                    limit.group, limit.name, field == 'calendar' and 'window'
                    or field == 'shadow' and 'mode' or field, other.entry) }
            return
        end
    end
    if parts.text(limit.key) ~= parts.text(other.key) then
        found[#found + 1] = { entry = entry, path = { 'config' },
            message = ("group '%s': limit '%s' has another key than in the entry %s"):format(
                limit.group, limit.name, other.entry) }
    end
end

-- How a person finds an entry again.
local function place_of(entry)
    for _, kind in ipairs({ 'route', 'service', 'consumer' }) do
        local owner = entry[kind]
        if type(owner) == 'table' and (owner.name or owner.id) then
            return ('of %s %s'):format(kind, owner.name or owner.id)
        end
    end
    return entry.instance_name or 'that is global'
end

local function check_groups(entry, members, found)
    for _, limit in ipairs(limits.of(entry.config)) do
        if limit.group then
            limit.entry = place_of(entry)
            check_group(limit, entry, members, found)
        end
    end
end

-- Do all limits of an entry, and its ban, count by one key?
local function has_one_key(config)
    local first = config.ban and parts.text(parts.list(config.key))
    for _, limit in ipairs(limits.of(config)) do
        local text = parts.text(limit.key)
            .. (limit.scope ~= 'attached' and not limit.group and limit.scope or '')
        if first and text ~= first then
            return false
        end
        first = text
    end
    return true
end

local function check_store(entry, gateway, found)
    local config = entry.config
    if config.store ~= 'redis' then
        return
    end
    local store = store_options.resolve(config.redis, gateway.redis)
    if not store then
        found[#found + 1] = { entry = entry, path = { 'config', 'redis', 'connection' },
            message = ("gateway.redis has no '%s'"):format(config.redis.connection) }
    elseif store.place.topology == 'cluster' and config.redis.tag == 'key'
        and not has_one_key(config) then
        found[#found + 1] = { entry = entry, path = { 'config', 'redis', 'tag' },
            message = 'the limits count by different keys, which a cluster may keep in different'
                .. " slots: set tag to 'prefix'" }
    end
    if config.redis.mode ~= 'sync' and config.ban and not has_one_key(config) then
        found[#found + 1] = { entry = entry, path = { 'config', 'ban' },
            message = ('in mode %s the ban and all limits have to count by one key: bans that began'
                .. ' at other hosts are met with the counts'):format(config.redis.mode) }
    end
end

--- Looks at all entries together; see moongate.config.plugins.
-- @tparam table entries checked
-- @tparam table gateway the section `gateway:`
-- @treturn table list of findings
function M.check_entries(entries, gateway)
    local found, settings = {}, gateway.plugins and gateway.plugins.settings or {}
    local enabled, members = {}, {}
    for _, entry in ipairs(entries) do
        if entry.enabled ~= false then
            enabled[#enabled + 1] = entry
            warnings(entry, settings, found)
            check_groups(entry, members, found)
            check_store(entry, gateway, found)
        end
    end
    local bytes = M.needed(enabled).limit_cells * KEY_BYTES
    if bytes > gateway.shared_memory then
        found[#found + 1] = { entry = enabled[#enabled], path = { 'config', 'max_keys' },
            message = ('the keys of all limits need %s, gateway.shared_memory is %s: raise it above'
                .. ' the sum, or lower max_keys'):format(units.format_bytes(bytes),
                units.format_bytes(gateway.shared_memory)) }
    end
    return found
end

return M
