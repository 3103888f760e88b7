-- SPDX-License-Identifier: Apache-2.0
--
-- The Lua half of fuzz_config.c: loads a text as the checker does, but with an environment and
-- files of its own, and checks what came of it. Returns load(text) -> snapshot or nil.
local boot = require 'moongate.runtime.boot'
local config = require 'moongate.config'
local loader = require 'moongate.runtime.loader'
local report = require 'moongate.config.report'

local ENVIRONMENT = { A = 'a value', PORT = '8080', EMPTY = '', LINES = 'a\nb: c' }
local FILES = { ['conf/secret'] = 's3cret\n', ['conf/list'] = '- a\n- b' }

-- Only plugins that come with the gateway: a text must not make us run files of its choice.
loader.use({ path = {} }, '')
local known = {}
for _, name in ipairs(loader.names()) do
    known[name] = true
end

local function load_plugin(name)
    if not known[name] then
        return nil, { message = 'not there', searched = { 'nowhere' } }
    end
    return loader.plugin(name)
end

local function options(more)
    local o = {
        file = 'conf/moongate.yml', env = function(name) return ENVIRONMENT[name] end,
        read_file = function(path)
            if FILES[path] then
                return FILES[path]
            end
            return nil, 'no such file'
        end,
        sha1 = boot.sha1, load_plugin = load_plugin, plugin_names = loader.names,
    }
    for key, value in pairs(more) do
        o[key] = value
    end
    return o
end

local SEVERITIES = { error = true, warning = true, notice = true }

local function check_finding(finding, lines)
    assert(SEVERITIES[finding.severity], 'severity')
    assert(finding.code:match('^MG%d%d%d%d$'), 'code')
    assert(type(finding.message) == 'string' and finding.message ~= '', 'message')
    if finding.line then
        assert(finding.line >= 1 and finding.line <= lines and finding.column >= 1, 'place')
    end
end

local function check_findings(findings, text)
    local _, lines = text:gsub('[\r\n\133\226]', '')
    local errors = 0
    for _, finding in ipairs(findings) do
        check_finding(finding, lines + 2)
        errors = errors + (finding.severity == 'error' and 1 or 0)
    end
    assert(errors == findings.errors, 'count of errors')
    local printed = report.format(findings, { source = text, color = true })
    assert(type(printed) == 'string' and (#findings == 0 or #printed > 0), 'report')
    assert(#report.to_tables(findings) == #findings, 'tables')
end

return function(text)
    local snapshot, findings = config.load(options({ text = text }))
    check_findings(findings, text)
    assert((snapshot == nil) == (findings.errors > 0), 'a snapshot exactly without errors')
    if not snapshot then
        return nil
    end
    -- A worker loads the expanded form, and must come to the same.
    local expanded = config.serialize(snapshot.expanded)
    local again, later = config.load(options({ expanded = assert(config.deserialize(expanded)) }))
    assert(again and later.errors == 0, 'the expanded form is refused')
    assert(config.serialize(again.expanded) == expanded, 'the expanded form has changed')
    assert(#again.routes == #snapshot.routes and #again.services == #snapshot.services, 'entities')
    return snapshot, again
end
