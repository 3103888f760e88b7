-- SPDX-License-Identifier: Apache-2.0
-- Which configuration of a plugin applies (docs/plugin-reference.md). The most specific wins,
-- nothing is merged:
--
--   route+service+consumer > route+consumer > service+consumer > route+service > consumer > route
--   > service > global
local M = {}

local Scopes = {}
Scopes.__index = Scopes

--- @treturn Scopes empty
function M.new()
    return setmetatable({ by_plugin = {}, count = 0 }, Scopes)
end

local function key_of(route, service)
    return (route and route.id or '-') .. ' ' .. (service and service.id or '-')
end

--- Adds a configuration where its entry says.
-- @tparam table plugin
-- @tparam table entity with route, service, consumer as tables, or nil
-- @tparam table conf
function Scopes:add(plugin, entity, conf)
    local handler = plugin.handler
    if handler.no_route and entity.route or handler.no_service and entity.service
        or handler.no_consumer and entity.consumer then
        return
    end
    local entries = self.by_plugin[plugin] or { plain = {}, consumers = {}, merged = {} }
    self.by_plugin[plugin] = entries
    self.count = self.count + 1
    local key = key_of(entity.route, entity.service)
    local place = { conf = conf, number = self.count }
    if entity.consumer then
        entries.consumers[key] = entries.consumers[key] or {}
        entries.consumers[key][entity.consumer.id] = place
    else
        entries.plain[key] = place
    end
end

-- The consumers' configurations of some scopes, most specific first; one table for each combination
-- of scopes, since thousands of routes may share the same thousands of consumers.
local function merge(plugin, entries, keys)
    local present = {}
    for _, key in ipairs(keys) do
        if entries.consumers[key] then
            present[#present + 1] = key
        end
    end
    if #present == 0 then
        return nil, ''
    end
    local name = table.concat(present, ',')
    local merged = entries.merged[name]
    if not merged then
        merged = {}
        for _, key in ipairs(present) do
            for id, place in pairs(entries.consumers[key]) do
                merged[id] = merged[id] or place.conf
            end
        end
        entries.merged[name] = merged
    end
    return merged, plugin.name .. ' ' .. name
end

local function consumer_keys(route, service, has_both)
    local keys = { key_of(route, nil) }
    if service then
        table.insert(keys, 1, key_of(route, service))
        keys[#keys + 1] = key_of(nil, service)
    end
    if not has_both then -- route+service stands above a consumer's own
        keys[#keys + 1] = key_of(nil, nil)
    end
    return keys
end

--- What holds for a plugin on a route.
-- @tparam table plugin
-- @tparam ?table route nil: requests without a route
-- @tparam ?table service
-- @treturn table|nil { fallback = configuration or false, by = { consumer id -> configuration } or
-- nil, key = text that is equal for equal results }
function Scopes:find(plugin, route, service)
    local entries = self.by_plugin[plugin]
    if not entries then
        return nil
    end
    local plain = entries.plain
    local both = route and service and plain[key_of(route, service)]
    local place = both or route and plain[key_of(route, nil)]
        or service and plain[key_of(nil, service)] or plain[key_of(nil, nil)]
    local by, name
    if route then
        by, name = merge(plugin, entries, consumer_keys(route, service, both))
    end
    if not place and not by then
        return nil
    end
    return {
        fallback = place and place.conf or false, by = by,
        key = (place and place.number or '-') .. (by and '?' .. name or ''),
    }
end

return M
