-- SPDX-License-Identifier: Apache-2.0
-- Loads a generation: configuration, plugins, chains. The same code runs in the checker (YAML from
-- disk) and in a worker (the expanded configuration from the bundle).
local boot = require 'moongate.runtime.boot'
local chain = require 'moongate.runtime.chain'
local loader = require 'moongate.runtime.loader'
local runner = require 'moongate.runtime.runner'
local runtime = require 'moongate.runtime'
local source = require 'moongate.runtime.source'

local M = {}

local function load_snapshot(o)
    local config = require 'moongate.config'
    local folder = (o.file or ''):match('^(.*/)') or ''
    local used = false
    return config.load({
        file = o.file, text = o.text,
        expanded = o.config and config.deserialize(o.config) or nil,
        env = os.getenv, read_file = source.read, sha1 = boot.sha1,
        plugin_names = loader.names,
        load_plugin = function(name, settings)
            if not used then
                used = true
                loader.use(settings or { path = { 'plugins' } }, folder:gsub('/$', ''))
            end
            return loader.plugin(name)
        end,
    })
end

local function by_index(plugins)
    local list = {}
    for _, plugin in pairs(plugins) do
        list[plugin.index] = plugin
    end
    return list
end

--- Loads everything.
-- @tparam table o file (name of the configuration file) and text (YAML) or config (what
-- config.serialize gave); or snapshot: a function that gives one (tests); number of the generation
-- @treturn table|nil description of the chains, see core/script/chain.c
-- @treturn table|nil snapshot of moongate.config
-- @treturn table findings of moongate.config; with errors the other two are nil
function M.run(o)
    local snapshot, findings
    if o.snapshot then
        snapshot, findings = o.snapshot(loader), { errors = 0, warnings = 0 }
    else
        snapshot, findings = load_snapshot(o)
    end
    if not snapshot then
        return nil, nil, findings
    end
    local description, built = chain.build({
        plugins = snapshot.handlers, entities = snapshot.plugins, routes = snapshot.routes,
        settings = snapshot.gateway.plugins, shared = runtime.shared, request = runtime.request,
        run_from = runner.slow,
    })
    runner.use(built, by_index(snapshot.handlers))
    runtime.set_chains(description)
    runtime.generation = { number = o.number or 0, config = snapshot, plugins = snapshot.handlers }
    return description, snapshot, findings
end

--- Every Lua source that was loaded, for the bundle.
-- @treturn table sorted array of { name, path, text }
function M.sources()
    local list = {}
    for name, found in pairs(source.loaded) do
        list[#list + 1] = { name, found.path, found.text }
    end
    table.sort(list, function(a, b)
        return a[1] < b[1]
    end)
    return list
end

return M
