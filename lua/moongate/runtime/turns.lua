-- SPDX-License-Identifier: Apache-2.0
-- Turns: a plugin with the limits of one of its configurations. Settings are looked for by instance
-- name, then by plugin name, then in the defaults (docs/plugin-reference.md).
local M = {}

local Turns = {}
Turns.__index = Turns

local REQUEST_PHASES = { 'rewrite', 'access', 'response', 'header_filter', 'body_filter' }
local NONE = {}

local function only_logs(handler)
    for _, phase in ipairs(REQUEST_PHASES) do
        if handler[phase] then
            return false
        end
    end
    return handler.log ~= nil
end

--- Numbers the plugins (by name, so that every worker numbers alike) and gives each its first turn.
-- @tparam table settings gateway.plugins: defaults, settings
-- @tparam table plugins name -> plugin; each gets `index`, `configs`, `turn`
function M.new(settings, plugins)
    local self = setmetatable({
        named = settings.settings or NONE, defaults = settings.defaults or NONE,
        list = {}, known = {}, plugin_count = 0,
    }, Turns)
    local names = {}
    for name in pairs(plugins) do
        names[#names + 1] = name
    end
    table.sort(names)
    for i, name in ipairs(names) do
        plugins[name].index, plugins[name].configs = i, {}
        plugins[name].turn = self:of(plugins[name], nil, plugins[name].handler.MUST_CONFIGURE)
    end
    self.plugin_count = #names
    return self
end

function Turns:setting(plugin, entity, key)
    local by_instance = entity and entity.instance_name and self.named[entity.instance_name] or NONE
    local by_plugin = self.named[plugin.name] or NONE
    if by_instance[key] ~= nil then
        return by_instance[key]
    elseif by_plugin[key] ~= nil then
        return by_plugin[key]
    end
    return self.defaults[key]
end

function Turns:is_open(plugin, entity)
    local on_error = self:setting(plugin, entity, 'on_error')
    if on_error == nil then
        return only_logs(plugin.handler)
    end
    return on_error == 'open'
end

--- The turn of a plugin with an entry's settings; equal ones share one.
-- @tparam table plugin
-- @tparam ?table entity
-- @tparam ?boolean closed whatever on_error says
-- @treturn number index, 1 or more
function Turns:of(plugin, entity, closed)
    local turn = {
        plugin = plugin.name, index = plugin.index,
        cpu_ms = self:setting(plugin, entity, 'cpu_ms') or 50,
        wall_ms = self:setting(plugin, entity, 'wall_ms') or 60000,
        open = not closed and self:is_open(plugin, entity),
        quarantine = self:setting(plugin, entity, 'quarantine') ~= false,
    }
    local key = ('%d %d %d %s %s'):format(turn.index, turn.cpu_ms, turn.wall_ms,
        tostring(turn.open), tostring(turn.quarantine))
    if not self.known[key] then
        table.insert(self.list, turn)
        self.known[key] = #self.list
    end
    return self.known[key]
end

--- @treturn number what decides the order, highest first
function Turns:priority(plugin, entity)
    local own = entity and not entity.consumer and entity
    return self:setting(plugin, own, 'priority') or plugin.handler.PRIORITY
end

return M
