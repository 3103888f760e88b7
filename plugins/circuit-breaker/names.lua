-- SPDX-License-Identifier: Apache-2.0
-- The names of breakers: scope and entity, as in `upstream:orders`. Who has the same name has the
-- same breaker, in all workers and over reloads.
local bit = require 'bit'

local M = {}

local MAX_BYTES = 95 -- MG_BREAKER_NAME of core/base/shm_records.h, without its end
local MARK_BYTES = 9
local MAX_KEYS = 1024 -- where the option is not set

-- A longer name is cut; a digest of the whole keeps it apart from others (Bernstein's hash).
local function fit(name)
    if #name <= MAX_BYTES then
        return name
    end
    local hash = 5381
    for i = 1, #name do
        hash = bit.tobit(hash * 33 + name:byte(i))
    end
    return name:sub(1, MAX_BYTES - MARK_BYTES) .. '~' .. bit.tohex(hash)
end

local function entity_name(entity)
    return entity and (entity.name or entity.id)
end

-- The entity that balances where there is one, else where the service's requests go.
local function upstream_name(service, upstreams)
    local host = service.host:lower()
    if upstreams[host] or host:sub(1, 5) == 'unix:' then
        return host
    end
    return ('%s:%d'):format(host, service.port or 80)
end

--- The names of upstreams, to look a service's host up in.
-- @tparam table upstreams entities
-- @treturn table set
function M.set_of(upstreams)
    local set = {}
    for _, upstream in ipairs(upstreams) do
        if upstream.name then
            set[upstream.name:lower()] = true
        end
    end
    return set
end

--- Which breaker has the keys of an entry: that of the entity that carries it.
-- @tparam table entry the plugin's entity
-- @treturn string
function M.of_keys(entry)
    local parts = {}
    for _, scope in ipairs({ 'route', 'service', 'consumer' }) do
        local entity = entry[scope]
        if entity then
            parts[#parts + 1] = ('%s:%s'):format(scope, entity.name or entity.username or entity.id)
        end
    end
    return fit('key:' .. (parts[1] and table.concat(parts, '+') or 'all'))
end

--- How many breakers by key an entry may have.
-- @tparam table config
-- @treturn number 0: its scope is another
function M.max_keys(config)
    if config.scope ~= 'key' then
        return 0
    end
    return type(config.max_keys) == 'number' and config.max_keys or MAX_KEYS
end

--- Which breaker a route's requests meet.
-- @tparam string scope upstream, service or route
-- @tparam table route entity
-- @tparam table upstreams of set_of
-- @treturn string|nil nil: the route has no service
function M.of(scope, route, upstreams)
    local service, name = route.service, nil
    if scope == 'route' then
        name = entity_name(route)
    elseif scope == 'service' then
        name = entity_name(service)
    elseif service and service.host then
        name = upstream_name(service, upstreams)
    end
    return name and fit(scope .. ':' .. name)
end

--- The breaker of an upstream entity.
-- @tparam string upstream its name
-- @treturn string
function M.of_upstream(upstream)
    return fit('upstream:' .. upstream:lower())
end

return M
