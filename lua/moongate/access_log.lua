-- SPDX-License-Identifier: Apache-2.0
-- Access-log lines: what a line shows, compiled in C, and the sink where it goes. For the plugin
-- access-log; made in `configure`, written in `log`.
--
--     local log, err = access_log.open({
--         form = 'json', fields = { 'ts', 'status' }, max_line = 16384,
--         client_ip = 'full', action = 'mask', headers = { 'cookie' }, names = { 'token' },
--         sink = { kind = 'file', name = '/var/log/a.log', path = '/var/log/a.log', mode = 416,
--                  reopen_check = 1000, queue_bytes = 1048576, queue_entries = 1024,
--                  drop = 'oldest', batch = 200, flush = 1000, first = 50, max = 30000,
--                  ['for'] = 60000 } })
--
-- Sinks over the network (kinds datagram, tcp, http) also take what core/net/sink_settings.h names;
-- times are milliseconds.
--     log:write()
local ffi = require 'ffi'
local cjson = require 'cjson'
local base = require 'moongate.pdk.base'
local C = require('moongate.runtime.ffi').C
local shared = require('moongate.runtime.ffi').shared

local M = {}

local MESSAGE_BYTES = 512
local FORMS = { json = 0, combined = 1, custom = 2 }
local CLIENT_IPS = { full = 0, prefix = 1, hash = 2, none = 3 }
local ACTIONS = { mask = 0, hash = 1, remove = 2 }
local SINKS = { stdout = 0, stderr = 1, file = 2, datagram = 3, tcp = 4, http = 5, lua = 6 }
local ENCODINGS = { ndjson = 0, json = 1, single = 2 }
local TEXTS = { 'path', 'name', 'host', 'tag', 'method', 'target', 'host_field', 'headers',
    'content_type', 'server_name', 'ca', 'cert', 'key' }
local INFO = 6 -- severity of syslog

local request, LOG = base.request, base.LOG

local methods = {}
local meta = { __index = methods }

local function text_of(view, text)
    view.ptr, view.len = text, #text
end

local function new_record(settings)
    local form = ffi.new('struct mg_ffi_log_form')
    form.form = FORMS[settings.form]
    form.client_ip = CLIENT_IPS[settings.client_ip]
    form.action = ACTIONS[settings.action]
    form.line_bytes = settings.max_line
    text_of(form.hash_key, settings.hash_key or '')
    form.request_body, form.response_body = settings.request_body or 0, settings.response_body or 0
    text_of(form.body_types, settings.body_types or '')
    return ffi.gc(C.mg_ffi_log_record(shared.vm, form), C.mg_ffi_log_record_free)
end

local function hide(record, settings)
    for is_header, list in pairs({ [0] = settings.names, [1] = settings.headers }) do
        for _, name in ipairs(list) do
            if C.mg_ffi_log_hide(record, is_header, name, #name) == 0 then
                return nil, ("'%s' cannot be redacted: 1 to 64 bytes"):format(name)
            end
        end
    end
    return true
end

-- fields: names; template: list of { literal = } and { name =, default = }; constants: list of
-- { key =, json = }.
local function fill(record, settings)
    local function add(name, default)
        if C.mg_ffi_log_field(record, name, #name, default, #default) == 0 then
            return nil, ("there is no field '%s' in a line of this form"):format(name)
        end
        return true
    end
    for _, name in ipairs(settings.fields or {}) do
        local ok, err = add(name, '')
        if not ok then
            return nil, err
        end
    end
    for _, part in ipairs(settings.template or {}) do
        if part.literal then
            C.mg_ffi_log_literal(record, part.literal, #part.literal)
        else
            local ok, err = add(part.name, part.default or '')
            if not ok then
                return nil, err
            end
        end
    end
    for _, constant in ipairs(settings.constants or {}) do
        C.mg_ffi_log_constant(record, constant.key, #constant.key, constant.json, #constant.json)
    end
    return true
end

local function open_sink(settings)
    local target = ffi.new('struct mg_ffi_log_target')
    local message = ffi.new('char[?]', MESSAGE_BYTES)
    target.kind = SINKS[settings.kind]
    for _, name in ipairs(TEXTS) do
        text_of(target[name], settings[name] or '')
    end
    target.mode = settings.mode or 0
    target.reopen_ms = settings.reopen_check or 0
    target.port = settings.port or 0
    target.syslog = settings.syslog and 1 or 0
    target.tls, target.no_verify = settings.tls and 1 or 0, settings.no_verify and 1 or 0
    target.facility = settings.facility or 0
    target.encoding = ENCODINGS[settings.encoding or 'ndjson']
    target.gzip = settings.gzip and 1 or 0
    target.connect_ms, target.timeout_ms = settings.connect or 0, settings.timeout or 0
    target.first_ms, target.max_ms = settings.first, settings.max
    target.for_ms = settings['for']
    target.batch, target.flush_ms = settings.batch, settings.flush
    target.keepalive_ms = settings.keepalive or 0
    target.queue_bytes = settings.queue_bytes
    target.queue_entries = settings.queue_entries
    target.drop_newest = settings.drop == 'newest' and 1 or 0
    local sink = C.mg_ffi_log_sink(shared.vm, target, message, MESSAGE_BYTES)
    if sink == nil then
        return nil, ffi.string(message)
    end
    return ffi.gc(sink, C.mg_ffi_log_sink_free)
end

local function compile(settings)
    local record = new_record(settings)
    local ok, err = hide(record, settings)
    if ok then
        ok, err = fill(record, settings)
    end
    return ok and record or nil, err
end

--- Compiles a line and opens its sink. A sink with equal settings is shared with other entries and
-- with the generation before.
-- @tparam table settings see above; checked by the plugin's schema
-- @treturn table|nil
-- @treturn string|nil error: what and where
function M.open(settings)
    local record, err = compile(settings)
    if not record then
        return nil, err
    end
    local sink, why = open_sink(settings.sink)
    if not sink then
        return nil, why
    end
    return setmetatable({ record = record, sink = sink }, meta)
end

--- Writes the line of the running request. In the log phase only; never waits.
-- @tparam[opt=6] number severity for syslog
-- @tparam[opt=''] string members further ones of a JSON line, each with a comma before it
function methods:write(severity, members)
    members = members or ''
    C.mg_ffi_log_line(request(LOG), self.record, self.sink, members, #members, severity or INFO)
end

--- What writes a line into each of the logs, for every request, without Lua.
-- @tparam table logs of M.open
-- @treturn cdata plan, see docs/plugin-reference.md
function M.plan(logs)
    local plan = ffi.gc(C.mg_ffi_log_plan(), C.mg_ffi_log_plan_free)
    for _, log in ipairs(logs) do
        C.mg_ffi_log_plan_add(plan, log.record, log.sink)
    end
    return plan
end

local view = ffi.new('struct mg_ffi_str')
local about = ffi.new('struct mg_ffi_log_about')

--- Lines that wait in a sink of the kind lua, for whoever delivers them. Between this and `taken`
-- no others are given.
-- @treturn table|nil list of texts; nil: there is nothing to be delivered now
function methods:take()
    if C.mg_ffi_log_take(self.sink, view) == 0 then
        return nil
    end
    local lines = {}
    for line in ffi.string(view.ptr, view.len):gmatch('([^\n]*)\n') do
        lines[#lines + 1] = line
    end
    return lines
end

--- What became of them.
-- @tparam boolean delivered false: the same lines come again, later
function methods:taken(delivered)
    C.mg_ffi_log_taken(self.sink, delivered and 1 or 0)
end

local readers = {}
local reader_meta = { __index = readers }

--- Compiles a record for expressions.
-- @tparam table settings as for open, without a sink; form json
-- @treturn table|nil
-- @treturn string|nil error
function M.reader(settings)
    local record, err = compile(settings)
    if not record then
        return nil, err
    end
    return setmetatable({ record = record }, reader_meta)
end

--- The record of the running request, redacted. In the log phase only.
-- @treturn table
function readers:read()
    C.mg_ffi_log_text(request(LOG), self.record, view)
    return cjson.decode(ffi.string(view.ptr, view.len))
end

--- A text without what looks like a secret argument.
-- @tparam string text
-- @treturn string
function readers:clean(text)
    C.mg_ffi_log_clean(request(LOG), self.record, text, #text, view)
    return ffi.string(view.ptr, view.len)
end

--- What decides whether the running request gets a line. In the log phase only.
-- @treturn cdata struct mg_ffi_log_about, until the next call
-- @treturn string its outcome
function M.about()
    C.mg_ffi_log_about(request(LOG), about)
    return about, ffi.string(about.outcome.ptr, about.outcome.len)
end

--- Counts a request that gets no line.
-- @tparam string reason when or sample
function M.filtered(reason)
    C.mg_ffi_log_filtered(shared.vm, reason == 'when' and 0 or 1)
end

--- Is there an outcome of that name?
-- @tparam string word
-- @treturn boolean
function M.is_outcome(word)
    return C.mg_ffi_log_is_outcome(word, #word) ~= 0
end

--- Lines of the sink so far, of all who share it in this worker.
-- @treturn table written, dropped, queued
function methods:counts()
    local counts = ffi.new('double[3]')
    C.mg_ffi_log_counts(self.sink, counts)
    return { written = counts[0], dropped = counts[1], queued = counts[2] }
end

return M
