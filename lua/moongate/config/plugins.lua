-- SPDX-License-Identifier: Apache-2.0
--
-- Loads the plugins that a file names, checks each entry's config against the plugin's own schema,
-- and finds two entries of one plugin with the same scope.
local kong_plugins = require 'moongate.config.kong_plugins'
local schema = require 'moongate.schema'
local suggest = require 'moongate.schema.suggest'

local M = {}

local UNKNOWN_PLUGIN, NOT_LOADED, BAD_SCHEMA, SAME_SCOPE, REFUSED, RAW_PATH =
    'MG1024', 'MG1025', 'MG1026', 'MG1043', 'MG1032', 'MG1054'
local SCOPES = { 'route', 'service', 'consumer' }

local Plugins = {}
Plugins.__index = Plugins

local function extend(path, ...)
    local result = { unpack(path) }
    for _, part in ipairs({ ... }) do
        result[#result + 1] = part
    end
    return result
end

function Plugins:report_unknown(path, name, err)
    local hint = kong_plugins.hint(name) or #err.searched > 0
        and 'searched: ' .. table.concat(err.searched, ', ') or nil
    self.findings:add(path, {
        code = UNKNOWN_PLUGIN, message = ('no plugin is called "%s"'):format(name), hint = hint,
        fixed = ("plugin '%s' not enabled; add it to the 'plugins' configuration property")
            :format(name),
        suggestion = suggest.nearest(name, self.plugin_names()),
    })
end

-- A rule about the path as sent can be walked around (moongate.runtime.lint).
function Plugins:warn_of_raw_path(path, name, places)
    if places and #places > 0 then
        self.findings:add(path, {
            severity = 'warning', code = RAW_PATH,
            message = ('plugin "%s" reads the path as sent, not the one that the gateway routes by')
                :format(name),
            hint = table.concat(places, ', '),
        })
    end
end

-- Loads a plugin once. A failure is reported for the first entry, an unknown name for each.
function Plugins:load(name, path)
    local known = self.loaded[name]
    if known == nil then
        local plugin, err = self.load_plugin(name, self.gateway and self.gateway.plugins)
        known = { plugin = plugin, err = err }
        self.loaded[name] = known
        if plugin then
            self:warn_of_raw_path(path, name, plugin.raw_accessors)
            local compiled, mistakes = schema.new(plugin.schema)
            known.schema = compiled
            if not compiled then
                self.findings:add(path, {
                    code = BAD_SCHEMA,
                    message = ('the schema of plugin "%s" is wrong: %s'):format(name, mistakes),
                })
            end
        elseif not err.searched then
            self.findings:add(path, { code = NOT_LOADED, message = err.message })
        end
    end
    if known.err and known.err.searched then
        self:report_unknown(path, name, known.err)
    end
    return known.schema and known
end

-- What the plugin's schema gets to see of an entry.
local function input_of(item, compiled)
    local entity, input = item.entity, {}
    for _, scope in ipairs(SCOPES) do
        if compiled:field(scope) and entity[scope] then
            input[scope] = { id = entity[scope].id }
        end
    end
    if compiled:field('protocols') then
        input.protocols = item.raw.protocols
    end
    if compiled:field('name') then
        input.name = entity.name
    end
    input.config = item.raw.config
    if input.config == nil and compiled:field('config') then
        input.config = {} -- so that its defaults are filled in
    end
    return input
end

local DEFAULT_PROTOCOLS = { 'grpc', 'grpcs', 'http', 'https' }

function Plugins:check_config(item, known)
    local entity, compiled = item.entity, known.schema
    local input = input_of(item, compiled)
    local result, _, flat = compiled:validate(input, { soft = self.soft })
    if result then
        entity.config = result.config or {}
        entity.protocols = result.protocols or entity.protocols or DEFAULT_PROTOCOLS
        return
    end
    for _, error in ipairs(flat) do
        local scope = error.path[1]
        if #error.path == 1 and error.message == 'value must be null' and entity[scope] then
            error.message = ('plugin "%s" cannot be set on a %s'):format(entity.name, scope)
        end
    end
    self.findings:add_schema_errors(item.path, flat)
    item.broken = true
end

function Plugins:check_scope(item)
    local parts = { item.entity.name }
    for _, scope in ipairs(SCOPES) do
        parts[#parts + 1] = item.entity[scope] and item.entity[scope].id or '-'
    end
    local key = table.concat(parts, ' ')
    local first = self.scopes[key]
    if not first then
        self.scopes[key] = item
        return
    end
    local line = first.entity.__line
    self.findings:add(extend(item.path, 'name'), {
        code = SAME_SCOPE,
        message = ('plugin "%s" is set twice for the same %s'):format(item.entity.name,
            self.scope_text(item.entity)) .. (line and (', first on line %d'):format(line) or ''),
    })
end

function Plugins.scope_text(entity)
    local names = {}
    for _, scope in ipairs(SCOPES) do
        if entity[scope] then
            names[#names + 1] = scope
        end
    end
    return #names > 0 and table.concat(names, ', ') or 'scope (all requests)'
end

-- A plugin may look at all its entries together: definition.check_entries(entries, gateway,
-- entities) gives a list of { entry = one of them, path = {'config', …} or nil, severity = or nil,
-- message = }. entities: { routes =, services =, upstreams = }, arrays.
function Plugins:check_together(items)
    local entries, places = {}, {}
    for _, item in ipairs(items) do
        local name = item.entity.name
        if not item.broken and name then
            entries[name] = entries[name] or {}
            table.insert(entries[name], item.entity)
            places[item.entity] = item.path
        end
    end
    for _, name in ipairs(schema.ordered_keys(entries)) do
        local check = self.loaded[name].plugin.schema.check_entries
        local ran, list = true, nil
        if check then
            ran, list = pcall(check, entries[name], self.gateway, self.entities)
        end
        if not ran then
            list = { { entry = entries[name][1], message = 'check_entries failed: '
                .. tostring(list) } }
        end
        for _, found in ipairs(list or {}) do
            self.findings:add(extend(places[found.entry], unpack(found.path or {})), {
                severity = found.severity, code = REFUSED, message = found.message,
            })
        end
    end
end

--- Checks all plugin entries; their entities get `config`, `protocols` and `plugin` (what
-- load_plugin returned).
-- @tparam table items plugin items, resolved
-- @tparam table o findings, soft, gateway (validated, or nil), load_plugin, plugin_names, entities
-- (for check_entries)
-- @treturn table name -> { plugin =, schema = }
function M.run(items, o)
    local self = setmetatable({
        findings = o.findings, soft = o.soft, gateway = o.gateway,
        load_plugin = o.load_plugin, plugin_names = o.plugin_names, entities = o.entities,
        loaded = {}, scopes = {},
    }, Plugins)
    for _, item in ipairs(items) do
        local name = item.entity.name
        local is_name = type(name) == 'string' and name:match('^%w[%w_-]*$')
        local known = is_name and self:load(name, extend(item.path, 'name'))
        if known then
            self:check_config(item, known)
            item.entity.plugin = known.plugin
        else
            item.broken = true
        end
        if name and not item.broken then
            self:check_scope(item)
        end
    end
    if self.gateway then
        self:check_together(items)
    end
    return self.loaded
end

return M
