-- SPDX-License-Identifier: Apache-2.0
-- Whose counters a limit uses (option `scope`): the part of its identity that names an entity.
local runtime = require 'moongate.runtime'

local M = {}

local function route_with(id)
    for _, route in ipairs(runtime.generation.config.routes) do
        if route.id == id then
            return route
        end
    end
    return nil
end

-- The entity that carries the entry, or several where it stands on a combination.
local function attached(conf)
    local names = {}
    for _, kind in ipairs({ 'route', 'service', 'consumer' }) do
        local id = conf[kind .. '_id']
        if id then
            names[#names + 1] = kind .. ':' .. id
        end
    end
    return #names > 0 and table.concat(names, ' ') or 'global'
end

local function service_of(conf)
    local route = conf.route_id and route_with(conf.route_id)
    return conf.service_id or route and route.service and route.service.id
end

--- The scope of a limit. Where the entry fixes the entity it is named; else each request's own is a
-- further part of the key.
-- @tparam table limit { scope =, group = name or nil }
-- @tparam table conf as handlers get it
-- @treturn string for the identity
-- @treturn table|nil part of the key (parts.lua)
function M.of(limit, conf)
    local scope = limit.scope
    if limit.group then
        return 'group:' .. limit.group
    elseif scope == 'attached' then
        return attached(conf)
    elseif scope == 'global' then
        return 'global'
    end
    local id
    if scope == 'route' then
        id = conf.route_id
    else
        id = service_of(conf)
    end
    if id then
        return scope .. ':' .. id
    end
    return scope, { kind = 'each ' .. scope }
end

return M
