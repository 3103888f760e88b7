-- SPDX-License-Identifier: Apache-2.0
-- Which entries of the configuration meet in one breaker. They must agree in everything but
-- fallback and on_state: the breaker can follow one rule only.
local names = require 'moongate.plugins.circuit-breaker.names'
local scopes = require 'moongate.runtime.scope'

local M = {}

local PLUGIN = { name = 'circuit-breaker', handler = {} } -- for the look-up by scope

local function is_equal(a, b)
    if type(a) ~= 'table' or type(b) ~= 'table' then
        return a == b
    end
    for key, value in pairs(a) do
        if not is_equal(value, b[key]) then
            return false
        end
    end
    for key in pairs(b) do
        if a[key] == nil then
            return false
        end
    end
    return true
end

local MAY_DIFFER = { fallback = true, on_state = true }

-- The first option, by name, in which two entries differ.
local function difference(a, b)
    local keys = {}
    for _, config in ipairs({ a, b }) do
        for key in pairs(config) do
            keys[key] = true
        end
    end
    local found
    for key in pairs(keys) do
        local differs = not MAY_DIFFER[key] and not is_equal(a[key], b[key])
        if differs and (not found or key < found) then
            found = key
        end
    end
    return found
end

local function place_of(entry)
    for _, scope in ipairs({ 'route', 'service', 'consumer' }) do
        local entity = entry[scope]
        if entity then
            return ('the one of %s %s'):format(scope, entity.name or entity.username or entity.id)
        end
    end
    return 'the one for all requests'
end

local function text_of(entry)
    return place_of(entry) .. (entry.__line and (' on line %d'):format(entry.__line) or '')
end

-- Does the entry take part? (moongate.runtime.chain leaves out the same ones.)
local function is_used(entry)
    local serves_http = not entry.protocols
    for _, protocol in ipairs(entry.protocols or {}) do
        serves_http = serves_http or protocol == 'http' or protocol == 'https'
    end
    return entry.enabled ~= false and serves_http
end

-- Calls each(name, entry, route) for every breaker and entry that may use it, by each route.
local function each_meeting(entries, entities, each)
    local all = scopes.new()
    for _, entry in ipairs(entries) do
        if is_used(entry) then
            all:add(PLUGIN, entry, entry)
        end
    end
    local upstreams = names.set_of(entities.upstreams)
    for _, route in ipairs(entities.routes) do
        local found = all:find(PLUGIN, route, route.service) or { fallback = false }
        local users = found.fallback and { found.fallback } or {}
        for _, entry in pairs(found.by or {}) do
            users[#users + 1] = entry
        end
        for _, entry in ipairs(users) do
            local name = entry.config.scope == 'key' and names.of_keys(entry)
                or names.of(entry.config.scope, route, upstreams)
            if name then
                each(name, entry, route)
            end
        end
    end
end

-- Entries that meet in one breaker and differ.
local function differences(meetings)
    local first, found, told = {}, {}, {}
    for _, meeting in ipairs(meetings) do
        local name, entry = meeting.name, meeting.entry
        local other = first[name] or entry
        first[name] = other
        local option = other ~= entry and difference(other.config, entry.config)
        if option and not told[entry] then
            told[entry] = true
            found[#found + 1] = { entry = entry, path = { 'config' }, message = (
                "this entry and %s meet in the breaker %s, but differ in '%s'; they may differ in"
                .. ' fallback and on_state only'):format(text_of(other), name, option) }
        end
    end
    return found
end

-- Where the requests of each breaker go instead: name -> { names }.
local function detours(meetings)
    local all = {}
    for _, meeting in ipairs(meetings) do
        local fallback = meeting.entry.config.fallback
        if fallback.kind == 'upstream' then
            all[meeting.name] = all[meeting.name] or {}
            table.insert(all[meeting.name], names.of_upstream(fallback.name))
        end
    end
    return all
end

-- Does the way over fallbacks lead from one breaker to another?
local function leads(all, from, to, seen)
    if from == to then
        return true
    elseif seen[from] then
        return false
    end
    seen[from] = true
    for _, next_one in ipairs(all[from] or {}) do
        if leads(all, next_one, to, seen) then
            return true
        end
    end
    return false
end

-- Fallbacks to upstreams that there are not, and those that come back to where they began.
local function bad_detours(meetings, upstreams)
    local all, found, told = detours(meetings), {}, {}
    for _, meeting in ipairs(meetings) do
        local entry = meeting.entry
        local fallback, message = entry.config.fallback, nil
        if fallback.kind == 'upstream' and not told[entry] then
            if not upstreams[fallback.name:lower()] then
                message = ("there is no upstream '%s'"):format(fallback.name)
            elseif leads(all, names.of_upstream(fallback.name), meeting.upstream, {})
                or leads(all, names.of_upstream(fallback.name), meeting.name, {}) then
                message = ("the fallback leads back to %s: that would be a loop")
                    :format(meeting.upstream)
            end
        end
        if message then
            told[entry] = true
            found[#found + 1] = { entry = entry, path = { 'config', 'fallback', 'name' },
                message = message }
        end
    end
    return found
end

--- For moongate.config: entries that meet in one breaker and differ, and fallbacks that lead
-- nowhere or back.
-- @tparam table entries validated
-- @tparam table _ the section gateway
-- @tparam table entities { routes =, upstreams = }
-- @treturn table list of { entry =, path =, message = }
function M.check(entries, _, entities)
    local upstreams, meetings = names.set_of(entities.upstreams), {}
    each_meeting(entries, entities, function(name, entry, route)
        meetings[#meetings + 1] = { name = name, entry = entry,
            upstream = names.of('upstream', route, upstreams) or name }
    end)
    local found = differences(meetings)
    for _, finding in ipairs(bad_detours(meetings, upstreams)) do
        found[#found + 1] = finding
    end
    return found
end

--- Which entry each breaker follows: entries that meet agree.
-- @tparam table generation its configuration
-- @treturn table name -> entity
function M.by_name(generation)
    local entries, found = {}, {}
    for _, entry in ipairs(generation.plugins) do
        if entry.name == PLUGIN.name then
            entries[#entries + 1] = entry
        end
    end
    each_meeting(entries, generation, function(name, entry)
        found[name] = found[name] or entry
    end)
    return found
end

--- For the plan of shared memory: which breakers the entries need.
-- @tparam table entries validated
-- @tparam table entities { routes =, upstreams = }
-- @treturn table { breakers =, breaker_names =, keyed_breakers = }
function M.shared_memory(entries, entities)
    local seen, list, keys = {}, {}, 0
    each_meeting(entries, entities, function(name, entry)
        if not seen[name] then
            seen[name] = true
            list[#list + 1] = name
            keys = keys + names.max_keys(entry.config)
        end
    end)
    table.sort(list)
    return { breakers = #list, breaker_names = list, keyed_breakers = keys }
end

return M
