-- SPDX-License-Identifier: Apache-2.0
-- What the checker tells of a loaded generation: the parts of the bundle, and which plugins run for
-- a route (core/script/checker.c).
local boot = require 'moongate.runtime.boot'
local runtime = require 'moongate.runtime'
local source = require 'moongate.runtime.source'

local M = {}

local DEFAULT_STATUS = '127.0.0.1:8100'

-- ---- sources
-- -------------------------------------------------------------------------------------

-- All modules of our own, since some are required only when they are needed.
local function note_own(folder, prefix)
    for _, file in ipairs(boot.list(folder)) do
        local module = file:match('^(.+)%.lua$')
        if module == 'init' then
            source.note(prefix, folder .. '/' .. file)
        elseif module then
            source.note(prefix .. '.' .. module, folder .. '/' .. file)
        elseif not file:find('.', 1, true) then
            note_own(folder .. '/' .. file, prefix .. '.' .. file)
        end
    end
end

local function sources()
    note_own(boot.lua_path .. '/moongate', 'moongate')
    local list = {}
    for name, found in pairs(source.loaded) do
        list[#list + 1] = { name = 'lua:' .. name, data = found.path .. '\n' .. found.text }
    end
    table.sort(list, function(a, b)
        return a.name < b.name
    end)
    return list
end

-- ---- summary
-- -------------------------------------------------------------------------------------

local function sorted_keys(map)
    local keys = {}
    for key in pairs(map) do
        if type(key) ~= 'string' or key:sub(1, 2) ~= '__' then
            keys[#keys + 1] = key
        end
    end
    table.sort(keys, function(a, b)
        return tostring(a) < tostring(b)
    end)
    return keys
end

-- Fields that say nothing of what an entity does.
local SKIPPED = { created_at = true, updated_at = true, plugin = true }

-- The same text for the same content; another entity counts by its id.
local function canonical(value, parts, is_top)
    if type(value) ~= 'table' then
        parts[#parts + 1] = type(value) == 'function' and 'function' or tostring(value)
        return
    elseif not is_top and value.id and value.__line then
        parts[#parts + 1] = tostring(value.id)
        return
    end
    parts[#parts + 1] = '{'
    for _, key in ipairs(sorted_keys(value)) do
        if not (is_top and SKIPPED[key]) then
            parts[#parts + 1] = tostring(key) .. '='
            canonical(value[key], parts, false)
            parts[#parts + 1] = ';'
        end
    end
    parts[#parts + 1] = '}'
end

local function digest(value)
    local parts = {}
    canonical(value, parts, true)
    return boot.sha1(table.concat(parts)):sub(1, 16)
end

local KINDS = {
    { 'service', 'services' }, { 'route', 'routes' }, { 'upstream', 'upstreams' },
    { 'consumer', 'consumers' }, { 'plugin', 'plugins' },
}

-- Lines "KIND NAME DIGEST", for the words of a reload.
local function summary(snapshot)
    local lines = {}
    for _, kind in ipairs(KINDS) do
        for _, entity in ipairs(snapshot[kind[2]]) do
            local name = entity.id
            if kind[1] == 'plugin' then
                name = entity.name .. ' ' .. entity.id
            end
            lines[#lines + 1] = ('%s %s %s\n'):format(kind[1], name, digest(entity))
        end
    end
    lines[#lines + 1] = ('gateway settings %s\n'):format(digest(snapshot.gateway))
    return table.concat(lines)
end

-- ---- plan
-- ----------------------------------------------------------------------------------------

-- Adds up every number called `max_keys`.
local function count_keys(value)
    local sum = 0
    for key, item in pairs(value) do
        if type(item) == 'table' then
            sum = sum + count_keys(item)
        elseif key == 'max_keys' and type(item) == 'number' then
            sum = sum + item
        end
    end
    return sum
end

local function count_keys_of(entries)
    local sum = 0
    for _, entity in ipairs(entries) do
        sum = sum + count_keys(entity.config)
    end
    return sum
end

-- Shared memory that the plugins ask for. A plugin's schema may say it: shared_memory(entries,
-- snapshot) gives { limit_cells =, breakers =, breaker_names =, keyed_breakers = }; else its
-- `max_keys` are added up as limit_cells.
local function needs(snapshot)
    local entries = {}
    local sum = { limit_cells = 0, breakers = 0, keyed_breakers = 0, breaker_names = {} }
    for _, entity in ipairs(snapshot.plugins) do
        if entity.enabled ~= false then
            entries[entity.name] = entries[entity.name] or {}
            table.insert(entries[entity.name], entity)
        end
    end
    for name, list in pairs(entries) do
        local ask = snapshot.handlers[name].schema.shared_memory
        local wanted = ask and ask(list, snapshot) or { limit_cells = count_keys_of(list) }
        for _, key in ipairs({ 'limit_cells', 'breakers', 'keyed_breakers' }) do
            sum[key] = sum[key] + (wanted[key] or 0)
        end
        for _, breaker in ipairs(wanted.breaker_names or {}) do
            table.insert(sum.breaker_names, breaker)
        end
    end
    return sum
end

-- Empty: none.
local function status_address(given)
    if given == nil then
        return DEFAULT_STATUS
    end
    return given and given ~= 'off' and given or ''
end

local function plan(snapshot)
    local gateway = snapshot.gateway
    local wanted = needs(snapshot)
    local listeners = {}
    for i, listener in ipairs(gateway.listeners) do
        listeners[i] = { address = listener.address, backlog = listener.backlog }
    end
    local status = gateway.status.address
    return {
        workers = tonumber(gateway.workers) or 0, shared_memory = gateway.shared_memory,
        user = gateway.user or '',
        limit_cells = wanted.limit_cells, breakers = wanted.breakers,
        keyed_breakers = wanted.keyed_breakers, metric_series = gateway.metrics.series,
        status = status_address(status), status_given = status ~= nil and 1 or 0,
        watchdog_ms = gateway.plugins.watchdog_ms, init_timeout = gateway.plugins.init_timeout,
        drain_delay = gateway.shutdown.drain_delay, drain_timeout = gateway.shutdown.drain_timeout,
        dns_timeout = gateway.dns.timeout, dns_tries = gateway.dns.tries,
        dns_stale = gateway.dns.stale, dns_negative = gateway.dns.negative,
        error_log = gateway.log.error_log or '', log_level = gateway.log.level,
        listeners = listeners,
    }
end

--- The parts of a bundle.
-- @treturn table { entries = { { name =, data = }, ... }, plan = { ... } }
function M.bundle()
    local snapshot = runtime.generation.config
    local entries = sources()
    table.insert(entries, 1, { name = 'file', data = snapshot.file })
    table.insert(entries, 2, {
        name = 'config', data = require('moongate.config').serialize(snapshot.expanded),
    })
    table.insert(entries, 3, { name = 'summary', data = summary(snapshot) })
    table.insert(entries, 4, { name = 'ffi.h', data = boot.ffi_source })
    table.insert(entries, 5, {
        name = 'breakers', data = table.concat(needs(snapshot).breaker_names, '\n'),
    })
    return { entries = entries, plan = plan(snapshot) }
end

-- ---- explain
-- -------------------------------------------------------------------------------------

local PHASES = { 'rewrite', 'access', 'response', 'header_filter', 'body_filter', 'log' }

local function phases_of(handler)
    local names = {}
    for _, phase in ipairs(PHASES) do
        if handler[phase] then
            names[#names + 1] = phase
        end
    end
    return table.concat(names, ' ')
end

local function scope_of(conf)
    local parts = {}
    for _, scope in ipairs({ 'route', 'service', 'consumer' }) do
        if conf and conf[scope .. '_id'] then
            parts[#parts + 1] = scope
        end
    end
    return #parts > 0 and table.concat(parts, '+') or conf and 'global' or 'consumer'
end

--- The plugins of a chain in their order.
-- @tparam number chain index, from 0
-- @treturn table array of { name =, priority =, phases = 'access log', scope = 'route', id =,
-- instance =, by_consumer = whether the consumer may change the configuration, source = file }
function M.chain(chain)
    local list = {}
    for i, place in ipairs(runtime.base(chain).places) do
        local conf = place.found.fallback or nil
        list[i] = {
            name = place.name, priority = place.priority, phases = phases_of(place.handler),
            scope = scope_of(conf), id = conf and conf.__plugin_id or '',
            instance = conf and conf.plugin_instance_name or '',
            by_consumer = place.dynamic, source = place.plugin.source or '',
        }
    end
    return list
end

return M
