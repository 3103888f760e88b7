-- SPDX-License-Identifier: Apache-2.0
-- Which entries of the configuration meet in one breaker. They must agree in everything but the
-- fallback: the breaker can follow one rule only.
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
        if key ~= 'fallback' and not is_equal(a[key], b[key]) and (not found or key < found) then
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

-- Calls each(name, entry) for every breaker and entry that may use it.
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
            local name = names.of(entry.config.scope, route, upstreams)
            if name then
                each(name, entry)
            end
        end
    end
end

--- For moongate.config: entries that meet in one breaker and differ.
-- @tparam table entries validated
-- @tparam table _ the section gateway
-- @tparam table entities { routes =, upstreams = }
-- @treturn table list of { entry =, path =, message = }
function M.check(entries, _, entities)
    local first, found, told = {}, {}, {}
    each_meeting(entries, entities, function(name, entry)
        local other = first[name] or entry
        first[name] = other
        local option = other ~= entry and difference(other.config, entry.config)
        if option and not told[entry] then
            told[entry] = true
            found[#found + 1] = { entry = entry, path = { 'config' }, message = (
                "this entry and %s meet in the breaker %s, but differ in '%s'; they may differ in"
                .. ' fallback only'):format(text_of(other), name, option) }
        end
    end)
    return found
end

--- For the plan of shared memory: how many breakers the entries need.
-- @tparam table entries validated
-- @tparam table entities { routes =, upstreams = }
-- @treturn table { breakers = }
function M.shared_memory(entries, entities)
    local seen, count = {}, 0
    each_meeting(entries, entities, function(name)
        if not seen[name] then
            seen[name] = true
            count = count + 1
        end
    end)
    return { breakers = count }
end

return M
