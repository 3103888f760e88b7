-- SPDX-License-Identifier: Apache-2.0
--
-- Loads a configuration: YAML text, or the expanded tree of an earlier load, to a snapshot.
--
--     local config = require 'moongate.config'
--     local snapshot, findings = config.load{
--         file = 'conf/moongate.yml', text = text,
--         env = os.getenv, read_file = function(path) … end,      -- text or nil, err
--         load_plugin = function(name, settings) … end, plugin_names = function() … end }
--
-- Everything wrong is found in one run; with any error the snapshot is nil. `findings`
-- (findings.lua) is an array in the order of the file, with the counts `errors` and `warnings`;
-- print it with moongate.config.report.
--
-- load_plugin(name, settings) gives { name =, handler =, schema = definition, source = } or nil and
-- { message =, searched = {…} } (places in words, only where no such plugin exists). settings is
-- the validated `gateway.plugins`, or nil where `gateway:` has errors. A definition may carry
-- check_entries(entries, gateway, entities), which looks at all entries of the plugin together
-- (plugins.lua).
--
-- SNAPSHOT
--   file          name of the file
--   gateway       the section `gateway:` with its defaults; durations in ms, sizes in bytes; a
--                 listener also has host and port, or path (of a unix socket)
--   services routes upstreams consumers plugins     arrays in the order of the file, disabled too
--   handlers      plugin name -> what load_plugin gave
--   expanded      { file, now, tree, places }: all a later load needs, without YAML, environment
--                 and files. config.serialize makes text of it, config.deserialize reads that, and
--                 config.load{ expanded = …, load_plugin = … } gives an equal snapshot
--   warnings      the findings, as above
-- Every entity has id, created_at, updated_at, __line, __column, its fields (docs/configuration.md)
-- with their defaults, and references as the very tables: route.service, plugin.route,
-- plugin.service, plugin.consumer, service.upstream (whose name is the host), upstream.targets.
--   service       timeouts and retries are filled from gateway.limits and gateway.retry;
--                 service.own says which were explicit: own.read_timeout == true. host is lower
--                 case, an IPv6 address without brackets, or unix:/path
--   target        host and port (8000 unless given; 0 for unix:/path) besides `target`, and weight
--   plugin        config is validated against its schema; plugin is what load_plugin gave. enabled
--                 false and protocols without http and https stay in: whoever builds chains skips
local cjson = require 'cjson'
local collect = require 'moongate.config.collect'
local expand = require 'moongate.config.expand'
local Findings = require 'moongate.config.findings'
local gateway_section = require 'moongate.config.gateway'
local header = require 'moongate.config.header'
local plugins = require 'moongate.config.plugins'
local resolve = require 'moongate.config.resolve'
local schema = require 'moongate.schema'
local snapshots = require 'moongate.config.snapshot'
local trust = require 'moongate.config.trust'
local wire = require 'moongate.config.wire'
local yaml = require 'moongate.yaml'

local M = {}

local SYNTAX, DUPLICATE_KEY, TOO_LARGE, TRAP = 'MG1002', 'MG1003', 'MG1004', 'MG1006'

local function is_tab(text, place)
    local number = 0
    for line in (text .. '\n'):gmatch('(.-)\n') do
        number = number + 1
        if number == place.line then
            return line:match('^ *\t') ~= nil
        end
    end
end

-- The two messages of libyaml's behind which there is nearly always a wrong indentation.
local INDENTATION = 'is this line, or the one above, indented wrongly, or a "- " missing?'
local HINTS = {
    ['mapping values are not allowed in this context'] = INDENTATION,
    ['did not find expected key'] = INDENTATION,
    ["did not find expected '-' indicator"] = INDENTATION,
}

local function syntax_hint(text, err)
    if is_tab(text, err) then
        return 'YAML takes no tabs for indentation'
    end
    return HINTS[err.message:match('^(.-) %(') or err.message]
end

-- Parses the text. Gives the state of a load, or nil and the findings.
local function read_text(o)
    local tree, marks, notes = yaml.parse(o.text)
    local findings = Findings.new({ file = o.file, tree = tree, marks = notes and marks })
    if not notes then
        local err = marks
        findings:add({}, {
            code = err.limit and TOO_LARGE or SYNTAX, message = err.message,
            line = err.line, column = err.column, length = 0,
            hint = syntax_hint(o.text, err),
        })
        return nil, findings:finish()
    end
    for _, note in ipairs(notes) do
        findings:add({}, {
            severity = note.severity, code = note.kind == 'trap' and TRAP or DUPLICATE_KEY,
            message = note.message, line = note.line, column = note.column, length = note.length,
        })
    end
    local function keys_of(map)
        return marks[map] and marks[map].order or schema.ordered_keys(map)
    end
    return { tree = tree, findings = findings, keys_of = keys_of, now = o.now or 0 }
end

local function read_expanded(o)
    local expanded = o.expanded or { tree = o.tree }
    return {
        tree = expanded.tree, now = expanded.now or o.now or 0,
        keys_of = schema.ordered_keys, expanded = expanded,
        findings = Findings.new({
            file = o.file or expanded.file, tree = expanded.tree, places = expanded.places,
        }),
    }
end

local function nothing()
    return nil
end

local function no_plugins()
    return {}
end

local function folder_of(file)
    return (file or ''):match('^(.*/)') or ''
end

local function read_nothing()
    return nil, 'no files are read here'
end

local function expand_references(load, o)
    return expand.run(load.tree, {
        env = o.env or nothing,
        read_file = o.read_file or read_nothing,
        folder = folder_of(o.file),
        vaults = header.vaults(load.tree),
        fail = function(path, err)
            load.findings:add(path, err)
        end,
    })
end

local function read_certificates(load, items, o)
    trust.run(load.tree, items.plugins, {
        findings = load.findings, soft = load.soft, keys_of = load.keys_of,
        read_file = o.read_file or read_nothing, folder = folder_of(o.file),
        check = o.check_certificates,
    })
end

-- Entity places, so that a later load knows the lines.
local function places_of(items, findings)
    local places = {}
    for _, list in pairs(items) do
        for _, item in ipairs(list) do
            places[Findings.path_text(item.path)] = findings:mark(item.path)
        end
    end
    return places
end

-- What plugins may look at when they check their entries.
local function entities_of(items)
    local lists = {}
    for _, collection in ipairs({ 'routes', 'services', 'upstreams' }) do
        lists[collection] = {}
        for i, item in ipairs(items[collection]) do
            lists[collection][i] = item.entity
        end
    end
    return lists
end

-- Everything behind parsing and expansion.
local function build(load, o)
    local findings, tree = load.findings, load.tree
    header.check(tree, findings)
    local items = collect.run(tree, findings, load.keys_of, cjson.null)
    if load.soft then
        read_certificates(load, items, o)
    end
    local gateway = gateway_section.read(tree, findings, load.soft)
    header.convert_paths(tree, items.routes)
    resolve.run(items, { findings = findings, soft = load.soft, now = load.now, sha1 = o.sha1 })
    local plugin_names = o.plugin_names or no_plugins
    local loaded = plugins.run(items.plugins, {
        findings = findings, soft = load.soft, gateway = gateway, plugin_names = plugin_names,
        entities = entities_of(items),
        load_plugin = o.load_plugin or function()
            return nil, { searched = {} }
        end,
    })
    if gateway then
        gateway_section.check(gateway, findings, items, loaded, plugin_names)
    end
    if findings.errors > 0 then
        return nil
    end
    local snapshot = snapshots.build(items, gateway, findings)
    snapshot.file = findings.file
    snapshot.handlers = {}
    for name, known in pairs(loaded) do
        snapshot.handlers[name] = known.plugin
    end
    snapshot.expanded = load.expanded or {
        file = findings.file, now = load.now, tree = tree, places = places_of(items, findings),
    }
    return snapshot
end

--- Loads a configuration.
-- @tparam table o file, and text (YAML), or expanded (of an earlier snapshot), or tree (a plain
-- tree without places); env, read_file, load_plugin, plugin_names: see above; now (s since the
-- epoch, for created_at; give the file's own time, so that the expanded form and its digest depend
-- on the file alone; 0 by default); sha1 (text -> 40 hexadecimal digits); check_certificates
-- (trust.lua)
-- @treturn ?table snapshot
-- @treturn table findings
function M.load(o)
    local load, failed
    if o.text then
        load, failed = read_text(o)
        if not load then
            return nil, failed
        end
    else
        load = read_expanded(o)
    end
    if type(load.tree) ~= 'table' or #load.tree > 0 then
        header.report_no_map(load.tree, load.findings)
        return nil, load.findings:finish()
    end
    if o.text then
        load.soft = expand_references(load, o)
    end
    local snapshot = build(load, o)
    local findings = load.findings:finish()
    if snapshot then
        snapshot.warnings = findings
    end
    return snapshot, findings
end

M.serialize = wire.serialize
M.deserialize = wire.deserialize

return M
