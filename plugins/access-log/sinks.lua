-- SPDX-License-Identifier: Apache-2.0
-- The options of sinks: what each type takes, and what becomes of it in moongate.access_log.open.
local cjson = require 'cjson'
local text_of = require 'moongate.schema.expression'
local typedefs = require 'moongate.typedefs'
local url = require 'moongate.plugins.access-log.url'

local M = {}

local LATER = { otlp = 'sinks of OTLP are not built yet' }

M.FACILITIES = { 'kern', 'user', 'mail', 'daemon', 'auth', 'syslog', 'lpr', 'news', 'uucp', 'cron',
    'authpriv', 'ftp', 'ntp', 'audit', 'alert', 'clock', 'local0', 'local1', 'local2', 'local3',
    'local4', 'local5', 'local6', 'local7' }

-- Which options a type takes besides those of all; `true`: it must be there.
local OPTIONS = {
    stdout = {}, stderr = {},
    file = { path = true, mode = false, reopen_check = false },
    udp = { host = true, port = true, retry = false },
    tcp = { host = true, port = true, transport = false, tls = false, retry = false,
        connect = false, timeout = false },
    syslog = { host = false, port = false, socket = false, transport = false, tls = false,
        facility = false, tag = false, retry = false, connect = false, timeout = false },
    http = { url = true, headers = false, encoding = false, gzip = false, connect = false,
        timeout = false, tls = false, retry = false },
    lua = { ['function'] = true, retry = false },
}

local RETRIES = { udp = true, tcp = true, syslog = true, http = true, lua = true }
local BATCHES = { http = true, lua = true }

local function check_url(value)
    local parts, err = url.parse(value)
    return parts ~= nil, err
end

local function check_function(value)
    if not text_of.is(value) then
        return nil, 'expected `lua:` and an expression'
    end
    return true
end

local function duration(least, most, description, default)
    return { type = 'duration', between = { least, most }, default = default,
        description = description }
end

local function pem(description)
    return { type = 'string', match = '%-%-%-%-%-BEGIN ',
        err = 'expected the text of a PEM file: write ${file:PATH} for a file',
        description = description .. ' (the text of a PEM file)' }
end

--- What of retries; one more way for the entry and for a sink.
-- @tparam boolean defaults are they set?
-- @treturn table field
function M.retry(defaults)
    return { type = 'record', required = defaults, fields = {
        { first = duration(1, 60000, 'until a failure is tried again; doubles each time',
            defaults and '50ms' or nil) },
        { max = duration(1, 3600000, 'but no longer than this', defaults and '30s' or nil) },
        { ['for'] = duration(1, 86400000,
            'then the lines are dropped, a batch at a time, and counted',
            defaults and '60s' or nil) },
    }, description = 'of sinks over the network' }
end

--- The fields of a sink that only it has.
-- @treturn table list
function M.fields()
    return {
        { type = { type = 'string', required = true,
            one_of = { 'stdout', 'stderr', 'file', 'syslog', 'udp', 'tcp', 'http', 'lua', 'otlp' },
            not_supported_yet = LATER, description = 'where lines go' } },
        { path = { type = 'string', description = 'of a file' } },
        { mode = { type = 'string', match = '^0?[0-7][0-7][0-7]$',
            err = "expected a mode as text, such as '0640'",
            description = "of a file that is made ('0640')" } },
        { reopen_check = duration(1, 3600000, 'how often the path is looked at (1s)') },
        { host = typedefs.host{ description = 'of syslog, udp, tcp: name or address' } },
        { port = { type = 'integer', between = { 1, 65535 },
            description = 'of syslog (514, by TLS 6514), udp, tcp' } },
        { socket = { type = 'string', starts_with = '/', len_max = 107,
            description = 'of syslog: a unix socket for datagrams, such as /dev/log' } },
        { transport = { type = 'string', one_of = { 'udp', 'tcp', 'tls' },
            description = 'of syslog (udp) and tcp (tcp)' } },
        { facility = { type = 'string', one_of = M.FACILITIES,
            description = 'of syslog (local0)' } },
        { tag = { type = 'string', match = '^[\33-\126]+$', len_max = 48,
            err = 'expected printable ASCII without blanks',
            description = 'of syslog: who speaks (moongate)' } },
        { url = { type = 'string', custom_validator = check_url,
            examples = { 'http://127.0.0.1:9428/insert/jsonline' }, description = 'of http' } },
        { headers = { type = 'map', keys = typedefs.header_name, len_max = 32,
            values = { type = 'string', referenceable = true, encrypted = true,
                match = '^[^%c]*$', err = 'expected text of one line' },
            description = 'of http: further fields of the request, such as authorization' } },
        { encoding = { type = 'string', one_of = { 'ndjson', 'json' },
            description = 'of http: a line each, or one array (ndjson)' } },
        { gzip = { type = 'boolean', description = 'of http: batches are packed (true)' } },
        { connect = duration(1, 600000, 'of tcp, syslog over tcp and http: longest wait for a'
            .. ' connection (1s)') },
        { timeout = duration(1, 600000, 'of http: longest wait for an answer (5s); of tcp: how long'
            .. ' nothing may be taken (30s)') },
        { ['function'] = { type = 'string', lua = true, custom_validator = check_function,
            examples = { "lua: require('my.collector').send(lines)" },
            description = 'of lua: run on a batch of lines; false or an error: again, later' } },
        { tls = { type = 'record', fields = {
            { verify = { type = 'boolean', default = true,
                description = 'the certificate must be trusted and have the name' } },
            { server_name = typedefs.host{
                description = 'the name it must have; not set: the host' } },
            { ca = pem('who is trusted; not set: the list of the system') },
            { cert = pem('our own certificate, for servers that ask') },
            { key = { type = 'secret', description = 'its key, the text of a PEM file' } },
        }, description = 'of https, and of syslog and tcp with the transport tls' } },
    }
end

local function is_set(value)
    return value ~= nil and value ~= cjson.null
end

local function check_syslog(sink)
    if is_set(sink.socket) == is_set(sink.host) then
        return nil, 'syslog needs either a host or a socket'
    elseif is_set(sink.socket) and (is_set(sink.port) or is_set(sink.transport)) then
        return nil, "'port' and 'transport' do not go with a socket"
    end
    return true
end

-- TLS is asked for in one way, and the record only says how.
local function check_tls(sink)
    local wants = sink.transport == 'tls'
    if sink.type == 'http' then
        local parts = url.parse(sink.url)
        wants = not parts or parts.tls
    end
    if is_set(sink.tls) and not wants then
        return nil, sink.type == 'http' and "'tls' needs an https url"
            or "'tls' needs transport: tls"
    elseif is_set(sink.tls) and is_set(sink.tls.cert) ~= is_set(sink.tls.key) then
        return nil, "'tls.cert' and 'tls.key' belong together"
    end
    return true
end

local function check_queue(sink)
    for _, name in ipairs({ 'batch', 'flush' }) do
        if is_set(sink.queue) and is_set(sink.queue[name])
            and not BATCHES[sink.type] then
            return nil, ("'queue.%s' is for http and lua: others do not send batches"):format(name)
        end
    end
    return true
end

--- Does what a sink sets fit its type?
-- @tparam table sink
-- @treturn boolean|nil
-- @treturn string|nil the mistake
function M.check(sink)
    local takes = OPTIONS[sink.type]
    for _, field in ipairs(takes and M.fields() or {}) do
        local name = next(field)
        if name ~= 'type' and is_set(sink[name]) and takes[name] == nil then
            return nil, ("'%s' is not for %s"):format(name, sink.type)
        elseif takes[name] and not is_set(sink[name]) then
            return nil, ("%s needs '%s'"):format(sink.type, name)
        end
    end
    if takes and is_set(sink.retry) and not RETRIES[sink.type] then
        return nil, ("'retry' is not for %s"):format(sink.type)
    elseif sink.type == 'tcp' and sink.transport == 'udp' then
        return nil, "write type: udp instead of transport: udp"
    elseif sink.type == 'syslog' then
        local ok, err = check_syslog(sink)
        if not ok then
            return nil, err
        end
    end
    local ok, err = check_tls(sink)
    if not ok then
        return nil, err
    end
    return check_queue(sink)
end

-- --- what is opened --------------------------------------------------------------------------

local function facility_number(name)
    for i, one in ipairs(M.FACILITIES) do
        if one == name then
            return i - 1
        end
    end
end

local function bracketed(host)
    return host:find(':', 1, true) and host:sub(1, 1) ~= '[' and '[' .. host .. ']' or host
end

local function header_lines(headers)
    local lines = {}
    for name, value in pairs(headers or {}) do
        lines[#lines + 1] = name .. ': ' .. value .. '\n'
    end
    table.sort(lines) -- equal settings are equal texts
    return table.concat(lines)
end

-- How TLS is spoken, where it is.
local function secure(target, tls)
    tls = tls or {}
    target.tls, target.no_verify = true, tls.verify == false
    target.server_name, target.ca, target.cert, target.key = tls.server_name, tls.ca, tls.cert,
        tls.key
    return target
end

local open = {}

function open.stdout()
    return { kind = 'stdout', name = 'stdout' }
end

function open.stderr()
    return { kind = 'stderr', name = 'stderr' }
end

function open.file(sink)
    return { kind = 'file', name = sink.path, path = sink.path,
        mode = tonumber(sink.mode or '0640', 8), reopen_check = sink.reopen_check or 1000 }
end

function open.udp(sink)
    return { kind = 'datagram', host = sink.host, port = sink.port,
        name = ('udp://%s:%d'):format(bracketed(sink.host), sink.port) }
end

function open.tcp(sink)
    local is_tls = sink.transport == 'tls'
    local target = { kind = 'tcp', host = sink.host, port = sink.port,
        connect = sink.connect or 1000, timeout = sink.timeout or 30000,
        name = ('%s://%s:%d'):format(is_tls and 'tls' or 'tcp', bracketed(sink.host), sink.port) }
    return is_tls and secure(target, sink.tls) or target
end

open.tls = open.tcp

function open.syslog(sink)
    local target
    local transport = sink.transport or 'udp'
    local port = sink.port or transport == 'tls' and 6514 or 514
    if sink.socket then
        target = { kind = 'datagram', path = sink.socket, name = 'syslog:' .. sink.socket }
    else
        target = open[transport]({ host = sink.host, port = port, connect = sink.connect,
            timeout = sink.timeout, transport = transport, tls = sink.tls })
        target.name = 'syslog+' .. target.name
    end
    target.syslog = true
    target.facility = facility_number(sink.facility or 'local0')
    target.tag = sink.tag or 'moongate'
    return target
end

function open.http(sink, form)
    local parts = url.parse(sink.url)
    local encoding = sink.encoding or 'ndjson'
    local content_type = encoding ~= 'ndjson' and 'application/json'
        or form == 'json' and 'application/x-ndjson' or 'text/plain; charset=utf-8'
    local target = { kind = 'http', host = parts.host, port = parts.port, target = parts.target,
        host_field = parts.authority, name = parts.name, method = sink.method or 'POST',
        headers = header_lines(sink.headers), encoding = encoding,
        content_type = sink.content_type or content_type, gzip = sink.gzip ~= false,
        connect = sink.connect or 1000, timeout = sink.timeout or 5000,
        keepalive = sink.keepalive or 60000 }
    return parts.tls and secure(target, sink.tls) or target
end

function open.lua()
    return { kind = 'lua' }
end

--- Where a checked sink writes, for moongate.access_log.open.
-- @tparam table sink
-- @tparam string form of its lines
-- @tparam table retry of the entry
-- @treturn table its name is missing where the type is lua
function M.target(sink, form, retry)
    local target = open[sink.type](sink, form)
    local own = sink.retry or {}
    target.first, target.max = own.first or retry.first, own.max or retry.max
    target['for'] = own['for'] or retry['for']
    return target
end

return M
