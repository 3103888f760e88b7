-- SPDX-License-Identifier: Apache-2.0
--
-- Puts the snapshot together from checked items, and warns of what loads but does not do what its
-- author hoped. The form of the snapshot: init.lua.
local address = require 'moongate.schema.address'
local schema = require 'moongate.schema'
local suggest = require 'moongate.schema.suggest'

local M = {}

local UNUSED, SHADOWED, PATH_HANDLING, METHOD = 'MG1051', 'MG1052', 'MG1053', 'MG1055'

-- What the parser lets through (core/wire/http1.c); every other method is answered with 501.
local METHODS, SERVED = {}, {}
for name in ([[GET HEAD POST PUT DELETE OPTIONS PATCH COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH
    UNLOCK BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE NOTIFY SUBSCRIBE UNSUBSCRIBE
    PURGE MKCALENDAR LINK UNLINK SOURCE]]):gmatch('%S+') do
    METHODS[#METHODS + 1], SERVED[name] = name, true
end

local function compare(a, b)
    local ea, eb = a.entity, b.entity
    if (ea.__line or 0) ~= (eb.__line or 0) then
        return (ea.__line or 0) < (eb.__line or 0)
    end
    if (ea.__column or 0) ~= (eb.__column or 0) then
        return (ea.__column or 0) < (eb.__column or 0)
    end
    return a.seq < b.seq
end

-- The entities of a collection in the order of the file.
local function entities_of(items)
    local list, result = {}, {}
    for i, item in ipairs(items) do
        item.seq = i
        list[i] = item
    end
    table.sort(list, compare)
    for i, item in ipairs(list) do
        result[i] = item.entity
    end
    return result
end

local TIMEOUTS = {
    connect_timeout = 'upstream_connect_timeout', read_timeout = 'upstream_read_timeout',
    write_timeout = 'upstream_write_timeout',
}

-- Further tries where the service does not say: the upstream's own, or the gateway's.
local function attempts_of(gateway, host)
    for name, settings in pairs(gateway.upstreams.settings) do
        if name:lower() == host:lower() and settings.retry and settings.retry.attempts then
            return settings.retry.attempts
        end
    end
    return gateway.retry.attempts
end

local function finish_service(service, gateway, upstreams)
    service.own = {}
    for field, limit in pairs(TIMEOUTS) do
        service.own[field] = service[field] ~= nil
        service[field] = service[field] or gateway.limits[limit]
    end
    service.own.retries = service.retries ~= nil
    service.retries = service.retries or attempts_of(gateway, service.host)
    if not service.host:match('^unix:') then
        service.host = (service.host:match('^%[(.*)%]$') or service.host):lower()
    end
    service.upstream = upstreams[service.host]
end

local function finish_target(target)
    local host, port = target.target, 0
    if not host:match('^unix:') then
        host, port = address.split(host)
    end
    target.host, target.port = host, port or 8000
    table.insert(target.upstream.targets, target)
end

-- What a route asks for, as one text: two routes with the same one, the later is never reached.
local function criteria(route)
    local parts = { tostring(route.regex_priority) }
    for _, field in ipairs({ 'methods', 'hosts', 'paths', 'snis' }) do
        local values = { unpack(route[field] or {}) }
        table.sort(values)
        parts[#parts + 1] = field .. '=' .. table.concat(values, '\1')
    end
    for _, name in ipairs(schema.ordered_keys(route.headers or {})) do
        local values = { unpack(route.headers[name]) }
        table.sort(values)
        parts[#parts + 1] = name:lower() .. ':' .. table.concat(values, '\1'):lower()
    end
    return table.concat(parts, '\2')
end

local function name_of(entity)
    return entity.name and ('"%s"'):format(entity.name) or 'without a name'
end

local function warn_of_methods(item, findings)
    for i, method in ipairs(item.entity.methods or {}) do
        if not SERVED[method] then
            local path = { unpack(item.path) }
            path[#path + 1], path[#path + 2] = 'methods', i
            findings:add(path, {
                severity = 'warning', code = METHOD,
                message = ('%s is never served, its requests get 501'):format(method),
                suggestion = suggest.nearest(method, METHODS),
            })
        end
    end
end

local function warn_of_routes(items, findings)
    local seen = {}
    for _, item in ipairs(items) do
        local route = item.entity
        warn_of_methods(item, findings)
        local key = criteria(route)
        local first = seen[key]
        if route.path_handling == 'v1' then
            findings:add({ unpack(item.path), }, {
                severity = 'warning', code = PATH_HANDLING,
                message = 'path_handling v1 is treated as v0',
            })
        end
        if first and not (route.service and not route.service.enabled) then
            findings:add(item.path, {
                severity = 'warning', code = SHADOWED,
                message = ('is never reached: route %s asks for the same%s'):format(name_of(first),
                    first.__line and (', on line %d'):format(first.__line) or ''),
            })
        end
        seen[key] = first or route
    end
end

local function warn_of_upstreams(items, findings, services)
    local used = {}
    for _, service in ipairs(services) do
        used[service.host] = true
    end
    for _, item in ipairs(items) do
        if not used[item.entity.name:lower()] then
            findings:add(item.path, {
                severity = 'warning', code = UNUSED,
                message = ('no service has the host "%s": the upstream is not used')
                    :format(item.entity.name),
            })
        end
    end
end

local function sorted_items(items)
    table.sort(items, compare)
    return items
end

--- @tparam table items checked, without errors
-- @tparam table gateway validated
-- @tparam Findings findings
-- @treturn table snapshot without file, expanded and warnings
function M.build(items, gateway, findings)
    local snapshot = { gateway = gateway }
    for collection, list in pairs(items) do
        snapshot[collection] = entities_of(list)
    end
    local by_name = {}
    for _, upstream in ipairs(snapshot.upstreams) do
        by_name[upstream.name:lower()] = upstream
        upstream.targets = {}
    end
    for _, service in ipairs(snapshot.services) do
        finish_service(service, gateway, by_name)
    end
    for _, target in ipairs(snapshot.targets) do
        finish_target(target)
    end
    snapshot.targets = nil
    warn_of_routes(sorted_items(items.routes), findings)
    warn_of_upstreams(items.upstreams, findings, snapshot.services)
    return snapshot
end

return M
