-- SPDX-License-Identifier: Apache-2.0
-- For specs of the kit without a gateway: a runtime and the leaf functions of ffi.h over a request
-- that is a Lua table. Types and constants are those of the real header.
--
--     local gateway = require 'spec.lua.support.fake_gateway'
--     local moongate, ngx = gateway.load()
--     local request = gateway.request{ path = '/x' }      -- becomes the running one
--     gateway.phase('access')
local ffi = require 'ffi'

local M = {}

local file = assert(io.open('core/script/ffi.h'))
pcall(ffi.cdef, file:read('*a'))  -- a second time in one process it is there already
file:close()

M.PHASE = { init_worker = 0, configure = 1, rewrite = 2, access = 3, response = 4,
    header_filter = 5, body_filter = 6, log = 7, timer = 8 }
local TABLES = { [0] = 'request', 'response', 'upstream' }

local leaf = {}
local anchor  -- texts that views point to

local function give(out, text)
    if text == nil then
        return 0
    end
    anchor[#anchor + 1] = text
    out.ptr, out.len = text, #text
    return 1
end

local function text_of(ptr, len)
    if type(ptr) == 'string' then
        return ptr:sub(1, tonumber(len))
    end
    return ffi.string(ptr, len)
end

-- ---- reading -----------------------------------------------------------------------------------

local TEXTS = { [0] = 'method', 'target', 'path', 'raw_path', 'query', 'host', 'peer_ip',
    'client_ip', 'request_id', 'route_id', 'route_name', 'service_id', 'service_name',
    'service_host', 'prefix', 'up_method', 'up_path', 'up_query', 'up_host', 'held_body', 'body',
    'answer', 'chunk' }
local INTS = { [0] = 'minor', 'peer_port', 'server_port', 'client_port', 'host_port', 'trusted',
    'has_query', 'connection_requests', 'body_state', 'client_gone', 'route_index', 'service_port',
    'captures', 'https_only', 'strip_path', 'status', 'up_status', 'source', 'head_sent', 'held',
    'chunk_last', 'tries' }
local MEASURES = { [0] = 'started_ms', 'total_ms', 'gateway_ms', 'upstream_ms', 'receive_ms',
    'bytes_in', 'bytes_out', 'body_bytes_in', 'body_bytes_out', 'response_buffer' }

function leaf.mg_ffi_req_text(r, which, out)
    return give(out, r[TEXTS[which]])
end

function leaf.mg_ffi_req_int(r, which)
    local value = r[INTS[which]]
    if type(value) == 'table' then
        return #value
    end
    return value == true and 1 or value or 0
end

function leaf.mg_ffi_req_measure(r, which)
    return r[MEASURES[which]] or -1
end

function leaf.mg_ffi_req_try(r, i, target, status)
    status[0] = r.tries[i + 1].status
    return give(target, r.tries[i + 1].target)
end

function leaf.mg_ffi_req_capture(r, group, name, value)
    local capture = r.captures[group + 1]
    give(name, capture.name or '')
    return give(value, capture.value)
end

-- ---- fields ------------------------------------------------------------------------------------

local function same(a, b)
    return a:lower():gsub('_', '-') == b:lower():gsub('_', '-')
end

function leaf.mg_ffi_fields_count(r, which)
    return #r.fields[TABLES[which]]
end

function leaf.mg_ffi_fields_at(r, which, i, name, value)
    local field = r.fields[TABLES[which]][i + 1]
    give(name, field[1])
    return give(value, field[2])
end

function leaf.mg_ffi_fields_find(r, which, name, _, from, out)
    local list = r.fields[TABLES[which]]
    for i = from + 1, #list do
        if same(list[i][1], name) then
            give(out, list[i][2])
            return i
        end
    end
    return 0
end

function leaf.mg_ffi_field_check(name, _, value)
    if not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
        return -1
    end
    return value:find('[%z\1-\8\10-\31\127]') and -2 or 1
end

local function change(list, kind, name, value)
    local kept = {}
    for _, field in ipairs(list) do
        if kind == 1 or field[1]:lower() ~= name:lower() then
            kept[#kept + 1] = field
        end
    end
    if kind ~= 2 then
        kept[#kept + 1] = { name, value }
    end
    return kept
end

function leaf.mg_ffi_response_field(r, kind, name, _, value)
    if r.head_sent then
        return -3
    end
    r.fields.response = change(r.fields.response, kind, name, value)
    return 1
end

function leaf.mg_ffi_request_field(r, kind, name, _, value)
    r.fields.request = change(r.fields.request, kind, name, value)
    return 1
end

-- ---- arguments ---------------------------------------------------------------------------------

local function decoded(text)
    return (text:gsub('+', ' '):gsub('%%(%x%x)', function(hex)
        return string.char(tonumber(hex, 16))
    end))
end

function leaf.mg_ffi_args_next(text, len, at, out)
    local all = text_of(text, len)
    while at < #all do
        local stop = (all:find('&', at + 1, true) or #all + 1) - 1
        local piece = all:sub(at + 1, stop)
        local name, value = piece:match('^([^=]*)=(.*)$')
        if (name or piece) ~= '' then
            give(out.name, name or piece)
            give(out.value, value or '')
            out.has_value = name and 1 or 0
            out.escaped = piece:find('[%%+]') and 1 or 0
            return stop + 1
        end
        at = stop + 1
    end
    return 0
end

function leaf.mg_ffi_args_find(text, len, wanted, _, out)
    local at = leaf.mg_ffi_args_next(text, len, 0, out)
    while at > 0 do
        if decoded(text_of(out.name.ptr, out.name.len)) == wanted then
            return 1
        end
        at = leaf.mg_ffi_args_next(text, len, at, out)
    end
    return 0
end

local function put(out, text)
    ffi.copy(out, text, #text)
    return #text
end

function leaf.mg_ffi_uri_unescape(text, len, out)
    return put(out, decoded(text_of(text, len)))
end

function leaf.mg_ffi_uri_escape(text, len, out)
    return put(out, (text_of(text, len):gsub('[^%w._~-]', function(c)
        return ('%%%02X'):format(c:byte())
    end)))
end

-- ---- towards the upstream ----------------------------------------------------------------------

function leaf.mg_ffi_up_method(r, method)
    if not ('GET HEAD POST PUT DELETE OPTIONS PATCH '):find(method .. ' ', 1, true) then
        return 0
    end
    r.up_method = method
    return 1
end

function leaf.mg_ffi_up_path(r, path)
    if path:find('[%c]') then
        return 0
    end
    r.up_path = path
    return 1
end

function leaf.mg_ffi_up_query(r, query)
    if query:find('[%c ]') then
        return 0
    end
    r.up_query = query ~= '' and query or nil
    return 1
end

function leaf.mg_ffi_up_target(r, host, _, port)
    if host:find('[ /]') then
        return 0
    end
    r.up_target = host .. ':' .. port
    return 1
end

function leaf.mg_ffi_up_upstream(r, name)
    r.up_upstream = name == 'pool' and name or nil
    return r.up_upstream and 1 or 0
end

function leaf.mg_ffi_up_retries(r, retries)
    r.up_retries = retries
    return 1
end

function leaf.mg_ffi_up_timeouts(r, connect, write, read)
    r.up_timeouts = { connect, write, read }
    return 1
end

function leaf.mg_ffi_up_buffer(r)
    r.up_buffer = true
    return 1
end

function leaf.mg_ffi_req_set_body(r, body)
    r.body = body
    return 1
end

-- request.late_body: comes when the scheduler is waited for; request.body_error: a refusal.
function leaf.mg_ffi_req_read_body(r)
    if r.late_body then
        return 0
    end
    return r.body_error or 1
end

function leaf.mg_ffi_req_body_result(r, status)
    r.body, r.late_body = r.late_body, nil
    return status == 0 and 1 or -3
end

function leaf.mg_ffi_req_consumer(r, name, _, id)
    r.consumer, r.consumer_id = name, id
    return 1
end

-- ---- the answer --------------------------------------------------------------------------------

function leaf.mg_ffi_response_status(r, status)
    if r.head_sent then
        return -3
    elseif r.status == 0 then
        return 0
    end
    r.status = status
    return 1
end

function leaf.mg_ffi_response_exit(r, status, body)
    if r.head_sent then
        return -3
    end
    r.status, r.answer, r.source = status, body, 2
    return 1
end

function leaf.mg_ffi_response_append(r, text)
    r.answer = r.answer .. text
    return 1
end

local REASONS = { [400] = 'Bad Request', [403] = 'Forbidden', [503] = 'Service Unavailable' }

function leaf.mg_ffi_status_reason(status)
    local text = REASONS[status] or ''
    anchor[#anchor + 1] = text
    return ffi.cast('const char *', text)
end

function leaf.mg_ffi_chunk_set(r, chunk)
    r.chunk = chunk
    return 1
end

function leaf.mg_ffi_chunk_last(r, last)
    r.chunk_last = last
    return 1
end

function leaf.mg_ffi_chunk_over(r, plugin)
    r.over = plugin
    return 1
end

function leaf.mg_ffi_chunk_hold(r)
    r.held_back = true
    return 1
end

-- ---- the node ----------------------------------------------------------------------------------

function leaf.mg_ffi_node_hostname(out)
    return put(out, 'node.test')
end

function leaf.mg_ffi_node_id(out)
    return put(out, '00000000-0000-8000-8000-000000000000')
end

function leaf.mg_ffi_ip_is_trusted(_, ip)
    return ip == '10.0.0.1' and 1 or 0
end

function leaf.mg_ffi_node_statistics(_, out)
    out.active, out.idle, out.accepted, out.requests, out.requests_active = 9, 3, 20, 50, 4
    return 1
end

function leaf.mg_ffi_process_id() return 4711 end
function leaf.mg_ffi_worker_id() return M.worker end
function leaf.mg_ffi_worker_count() return 2 end
function leaf.mg_ffi_sched_now() return M.now end
function leaf.mg_ffi_sched_update_time() M.now = M.now + 1 end

function leaf.mg_ffi_version()
    return ffi.cast('const char *', '0.1.0')
end

function leaf.mg_ffi_log_enabled(_, level)
    return level <= 5 and 1 or 0
end

function leaf.mg_ffi_log_write(_, level, component, text)
    M.logs[#M.logs + 1] = { level = level, component = component, text = text }
    return 1
end

-- ---- the HTTP client -----

-- M.http = { status =, fields = { { name, value } }, body =, error = } is what calls are answered
-- with; M.http.asked is the last call.
function leaf.mg_ffi_http_new()
    return M.http and ffi.cast('struct mg_ffi_http *', 1) or nil
end

function leaf.mg_ffi_http_free()
    M.http.freed = (M.http.freed or 0) + 1
end

function leaf.mg_ffi_http_field(_, name, _, value)
    local checked = leaf.mg_ffi_field_check(name, nil, value)
    M.http.sent = M.http.sent or {}
    table.insert(M.http.sent, { name, value })
    return checked
end

function leaf.mg_ffi_http_start(_, ask)
    M.http.asked = {
        host = text_of(ask.host.ptr, ask.host.len), port = ask.port,
        method = text_of(ask.method.ptr, ask.method.len),
        path = text_of(ask.path.ptr, ask.path.len),
        host_field = text_of(ask.host_field.ptr, ask.host_field.len),
        body = text_of(ask.body.ptr, ask.body.len),
        timeout_ms = ask.timeout_ms, keepalive_ms = ask.keepalive_ms,
        tls = ask.tls ~= 0 and ask.tls or nil,
    }
    return M.http.error or 0
end

function leaf.mg_ffi_http_status()
    return M.http.status
end

function leaf.mg_ffi_http_at(_, index, name, value)
    local field = M.http.fields and M.http.fields[index + 1]
    return field and give(name, field[1]) * give(value, field[2]) or 0
end

function leaf.mg_ffi_http_body(_, out)
    return give(out, M.http.body or '')
end

function leaf.mg_ffi_http_reason(_, out)
    return M.http.reason and give(out, M.http.reason) or 0
end

function leaf.mg_ffi_err_text()
    return ffi.cast('const char *', 'Connection refused')
end

-- ---- the runtime -------------------------------------------------------------------------------

local phase_name, object

--- Sets the running phase.
function M.phase(name)
    phase_name = name
    M.shared.phase = name and M.PHASE[name] or -1
end

local DEFAULTS = { method = 'GET', target = '/', path = '/', raw_path = '/', host = 'shop.test',
    peer_ip = '127.0.0.1', client_ip = '192.0.2.1', request_id = 'abc123', minor = 1,
    server_port = 8000, peer_port = 5000, client_port = 0, route_index = -1, service_port = -1,
    status = 0, response_buffer = 0, started_ms = 1500000, captures = {}, tries = {} }

--- Makes a request the running one.
-- @tparam table values members; headers: array of { name, value }
function M.request(values)
    local r = {}
    for key, value in pairs(DEFAULTS) do
        r[key] = value
    end
    for key, value in pairs(values or {}) do
        r[key] = value
    end
    r.up_query = r.up_query or r.query
    r.up_method = r.up_method or r.method
    r.fields = { request = r.headers or {}, response = r.response or {},
        upstream = r.upstream or {} }
    object = { cdata = r, number = 1 }
    return r, object
end

--- No request runs, as in a timer.
function M.no_request()
    object = nil
end

local exited = setmetatable({}, { __tostring = function() return 'exited' end })

local function runtime()
    return {
        PHASE = M.PHASE,
        shared = M.shared,
        errors = { TIMEOUT = -20005, CLOSED = -20004, INVALID = -20008, DNS = -20043 },
        generation = M.generation,
        request = function() return object end,
        ctx = function(of)
            of.ctx = of.ctx or {}
            return of.ctx
        end,
        phase = function() return phase_name end,
        plugin = function() return M.plugin end,
        conf = function() return M.conf end,
        exit = function()
            M.exits = M.exits + 1
            if phase_name ~= 'header_filter' then
                error(exited, 0)
            end
        end,
        sched = {
            wait = function() return M.wait_status end,
            sleep = function(ms) M.slept = ms end,
            timer = function(ms, fn, ...)
                M.timers[#M.timers + 1] = { ms = ms, fn = fn, ... }
                return M.timers[#M.timers]
            end,
            every = function(ms, fn, ...)
                M.timers[#M.timers + 1] = { ms = ms, every = true, fn = fn, ... }
                return M.timers[#M.timers]
            end,
        },
    }
end

--- Runs a handler that ends the request.
-- @treturn boolean whether it left by response.exit
function M.leaves(fn, ...)
    local ok, err = pcall(fn, ...)
    if not ok and err ~= exited then
        error(err, 0)
    end
    return not ok
end

--- The kit, freshly loaded over the fake.
-- @treturn table moongate
-- @treturn table ngx
function M.load()
    anchor, object, phase_name = {}, nil, nil
    M.http = nil
    M.logs, M.timers, M.exits, M.wait_status = {}, {}, 0, 0
    M.worker, M.now, M.plugin, M.conf = 0, 1500, nil, nil
    M.shared = { phase = -1, vm = false, task = 0, exiting = 0, exited = 0,
        turn = 7 }
    M.generation = { config = { routes = {}, consumers = {}, gateway = {} }, plugins = {} }
    for name in pairs(package.loaded) do
        if name:find('^moongate%.pdk') or name:find('^moongate%.ngx') or name == 'moongate.http'
            or name == 'moongate.runtime' or name == 'moongate.runtime.ffi' then
            package.loaded[name] = nil
        end
    end
    package.loaded['moongate.runtime.ffi'] = {
        C = setmetatable({}, { __index = function(_, key) return leaf[key] or ffi.C[key] end }),
        shared = M.shared,
    }
    package.loaded['moongate.runtime'] = runtime()
    return require 'moongate.pdk', require 'moongate.ngx'
end

return M
