-- SPDX-License-Identifier: Apache-2.0
-- Loads a generation: configuration, plugins, chains. The same code runs in the checker (YAML from
-- disk) and in a worker (the expanded configuration from the bundle).
local ffi = require 'ffi'
local boot = require 'moongate.runtime.boot'
local C = require('moongate.runtime.ffi').C
local chain = require 'moongate.runtime.chain'
local loader = require 'moongate.runtime.loader'
local plans = require 'moongate.runtime.plans'
local runner = require 'moongate.runtime.runner'
local runtime = require 'moongate.runtime'
local source = require 'moongate.runtime.source'

local M = {}

-- What is wrong with PEM texts, or nil.
local function check_certificates(ca, cert, key)
    local message, texts = ffi.new('char[128]'), ffi.new('struct mg_ffi_str[3]')
    for i, text in ipairs({ ca, cert, key }) do
        texts[i - 1].ptr, texts[i - 1].len = text, #text
    end
    if C.mg_ffi_tls_check(texts, texts + 1, texts + 2, message, 128) == 0 then
        return ffi.string(message)
    end
end

local function load_snapshot(o)
    local config = require 'moongate.config'
    local folder = (o.file or ''):match('^(.*/)') or ''
    local used = false
    return config.load({
        file = o.file, text = o.text,
        expanded = o.config and config.deserialize(o.config) or nil,
        env = os.getenv, read_file = source.read, sha1 = boot.sha1,
        check_certificates = check_certificates,
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

-- In the order in which they start: by priority, as in every phase.
local function in_order(plugins)
    local list = {}
    for _, plugin in pairs(plugins) do
        list[#list + 1] = plugin
    end
    table.sort(list, function(a, b)
        if a.handler.PRIORITY ~= b.handler.PRIORITY then
            return a.handler.PRIORITY > b.handler.PRIORITY
        end
        return a.name > b.name
    end)
    return list
end

-- The report as text, or one JSON object for each finding and line.
local function format_report(findings, o)
    local report = require 'moongate.config.report'
    if not o.json then
        return report.format(findings, { source = o.text, color = o.color })
    end
    local cjson, lines = require 'cjson', {}
    for i, finding in ipairs(report.to_tables(findings)) do
        lines[i] = cjson.encode(finding) .. '\n'
    end
    return table.concat(lines)
end

-- The findings on a configuration file that cannot be read.
local function unreadable(o)
    return { errors = 1, warnings = 0, {
        file = o.file, severity = 'error', code = 'MG1012', path = '',
        message = 'the configuration cannot be read: ' .. o.unreadable,
    } }
end

--- Loads everything.
-- @tparam table o file (name of the configuration file) and text (YAML), unreadable (why there is
-- no text) or config (what config.serialize gave); or snapshot: a function that gives one (tests);
-- number of the generation
-- @treturn table|nil description of the chains, see core/script/chain.c
-- @treturn table|nil snapshot of moongate.config
-- @treturn string report: warnings, or all errors; then the other two are nil
function M.run(o)
    local snapshot, findings
    if o.snapshot then
        snapshot, findings = o.snapshot(loader), {}
    elseif o.unreadable then
        findings = unreadable(o)
    else
        snapshot, findings = load_snapshot(o)
    end
    if not snapshot then
        return nil, nil, format_report(findings, o)
    end
    local description, built = chain.build({
        plugins = snapshot.handlers, entities = snapshot.plugins, routes = snapshot.routes,
        settings = snapshot.gateway.plugins, shared = runtime.shared, request = runtime.request,
        run_from = runner.slow, took = C.mg_ffi_took,
    })
    runner.use(built, in_order(snapshot.handlers))
    plans.use(description, built.rest)
    runtime.set_chains(description)
    runtime.generation = { number = o.number or 0, config = snapshot, plugins = snapshot.handlers }
    source.keep_late()
    return description, snapshot, format_report(findings, o)
end

return M
