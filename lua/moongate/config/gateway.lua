-- SPDX-License-Identifier: Apache-2.0
--
-- The `gateway:` section: its schema, and what only the whole file can tell (that the names under
-- `settings` exist, and that listeners do not collide).
local address = require 'moongate.schema.address'
local cjson = require 'cjson'
local schema = require 'moongate.schema'
local suggest = require 'moongate.schema.suggest'

local M = {}

local UNKNOWN_REFERENCE, DUPLICATE, REFUSED = 'MG1041', 'MG1042', 'MG1032'

local section = assert(schema.new(require 'moongate.entities.gateway'))

-- Adds host and port, or path, to each listener.
local function split_listeners(gateway, findings)
    local seen = {}
    for i, listener in ipairs(gateway.listeners) do
        local text = listener.address
        if seen[text] then
            findings:add({ 'gateway', 'listeners', i, 'address' }, {
                code = DUPLICATE, message = ('another listener has the address "%s"'):format(text),
            })
        end
        seen[text] = true
        listener.path = text:match('^unix:(.+)$')
        if not listener.path then
            listener.host, listener.port = address.split(text)
        end
    end
    local status = gateway.status.address
    if status and seen[status] then
        findings:add({ 'gateway', 'status', 'address' }, {
            code = DUPLICATE, message = ('a listener has the address "%s"'):format(status),
        })
    end
end

--- Validates the section.
-- @tparam table tree of the file
-- @tparam Findings findings
-- @tparam table soft
-- @treturn ?table the section with its defaults; nil where it has errors
function M.read(tree, findings, soft)
    local raw = tree.gateway
    if raw == nil or raw == cjson.null then
        raw = {}
    end
    local gateway, _, flat = section:validate(raw, { soft = soft })
    if not gateway then
        findings:add_schema_errors({ 'gateway' }, flat)
        return nil
    end
    split_listeners(gateway, findings)
    return gateway
end

local function names_in(items, ...)
    local names = {}
    for _, item in ipairs(items) do
        for _, field in ipairs({ ... }) do
            if item.entity[field] then
                names[item.entity[field]] = true
            end
        end
    end
    return names
end

-- Reports each key of gateway.SECTION.settings that is not among the names.
local function check_names(gateway, findings, part, noun, names)
    for _, name in ipairs(schema.ordered_keys(gateway[part].settings)) do
        if not names[name] then
            findings:add({ 'gateway', part, 'settings', name }, {
                code = UNKNOWN_REFERENCE, at_key = true,
                message = ('no %s is called "%s"'):format(noun, name),
                suggestion = suggest.nearest(name, schema.ordered_keys(names)),
            })
        end
    end
end

local function check_identity(gateway, findings, loaded)
    for name, known in pairs(loaded) do
        local handler = known.plugin and known.plugin.handler
        local names = type(handler) == 'table' and handler.IDENTITY_HEADERS
        local own = gateway.plugins.settings[name]
        if names and own and own.on_error == 'open' then
            findings:add({ 'gateway', 'plugins', 'settings', name, 'on_error' }, {
                code = REFUSED,
                message = ('plugin "%s" tells the upstream who calls: it cannot be open on errors')
                    :format(name),
            })
        end
    end
end

--- Checks the section against the rest of the file.
-- @tparam table gateway validated
-- @tparam Findings findings
-- @tparam table items
-- @tparam table loaded plugins by name
-- @tparam function plugin_names
function M.check(gateway, findings, items, loaded, plugin_names)
    local plugins = names_in(items.plugins, 'name', 'instance_name')
    for _, name in ipairs(plugin_names()) do
        plugins[name] = true
    end
    check_names(gateway, findings, 'plugins', 'plugin or instance', plugins)
    check_names(gateway, findings, 'routes', 'route', names_in(items.routes, 'name'))
    local upstreams = names_in(items.upstreams, 'name')
    for host in pairs(names_in(items.services, 'host')) do
        upstreams[host] = true
    end
    check_names(gateway, findings, 'upstreams', 'upstream or host of a service', upstreams)
    check_identity(gateway, findings, loaded)
end

return M
