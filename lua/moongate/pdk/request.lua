-- SPDX-License-Identifier: Apache-2.0
-- moongate.request: what the client sent (docs/plugin-reference.md). Reads make no Lua value
-- but the one they return.
local ffi = require 'ffi'
local args = require 'moongate.pdk.args'
local base = require 'moongate.pdk.base'
local body = require 'moongate.pdk.body'
local fields = require 'moongate.pdk.fields'
local C = require('moongate.runtime.ffi').C

local M = {}

local REQUEST = base.REQUEST
local view = ffi.new('struct mg_ffi_str')
local name_view = ffi.new('struct mg_ffi_str')

--- Scheme of the connection. TLS is not built yet, so it is always plain.
-- @treturn string "http"
function M.get_scheme()
    base.request(REQUEST)
    return 'http'
end

--- Name in Host, lower case, without the port.
-- @treturn string "" in log, where the head was refused
function M.get_host()
    return base.text(base.request(REQUEST), C.MG_FFI_HOST)
end

--- Port of the listener.
-- @treturn number
function M.get_port()
    return C.mg_ffi_req_int(base.request(base.NOT_INIT), C.MG_FFI_SERVER_PORT)
end

--- Version of the client's message.
-- @treturn number|nil 1.0 or 1.1; nil in log, where no request line could be read
function M.get_http_version()
    return base.version(base.request(REQUEST))
end

--- Method of the request.
-- @treturn string|nil upper case; nil in log, where no request line could be read
function M.get_method()
    return base.text(base.request(REQUEST), C.MG_FFI_METHOD)
end

--- Canonical path, without the query.
-- @treturn string|nil nil in log, where no target could be read
function M.get_path()
    return base.text(base.request(REQUEST), C.MG_FFI_PATH)
end

--- Canonical path, and the query with its `?` when there is one.
-- @treturn string
function M.get_path_with_query()
    local req = base.request(REQUEST)
    local query = base.text(req, C.MG_FFI_QUERY)
    local path = base.text(req, C.MG_FFI_PATH)
    return query and path .. '?' .. query or path
end

--- Path as sent: not what the gateway routes by.
-- @treturn string
function M.get_raw_path()
    return base.text(base.request(REQUEST), C.MG_FFI_RAW_PATH)
end

--- Request target as sent: not what the gateway routes by.
-- @treturn string
function M.get_raw_target()
    return base.text(base.request(REQUEST), C.MG_FFI_TARGET)
end

--- Text after `?`.
-- @treturn string "" if there is none
function M.get_raw_query()
    return base.text(base.request(REQUEST), C.MG_FFI_QUERY) or ''
end

--- First value of a query argument.
-- @tparam string name
-- @treturn string|boolean|nil true for a bare key
function M.get_query_arg(name)
    local req = base.request(REQUEST)
    if type(name) ~= 'string' then
        base.raise('query argument name must be a string')
    end
    if C.mg_ffi_req_text(req, C.MG_FFI_QUERY, view) == 0 then
        return nil
    end
    return args.find(view.ptr, view.len, name)
end

--- All query arguments; repeated keys are arrays, bare keys true.
-- @tparam[opt=100] number max 1 to 1000
-- @treturn table
-- @treturn string|nil "truncated"
function M.get_query(max)
    local req = base.request(REQUEST)
    max = base.check_max(max, 'max_args')
    if C.mg_ffi_req_text(req, C.MG_FFI_QUERY, view) == 0 then
        return {}
    end
    return args.decode(view.ptr, tonumber(view.len), max)
end

local function check_name(name)
    if type(name) ~= 'string' then
        base.raise('header name must be a string')
    end
end

--- First value of a header. Decisions should use get_header_all.
-- @tparam string name
-- @treturn string|nil
function M.get_header(name)
    local req = base.request(REQUEST)
    check_name(name)
    return fields.first(req, C.MG_FFI_REQUEST, name)
end

--- All values of a header, joined by ", " (RFC 9110, 5.3).
-- @tparam string name
-- @treturn string|nil
function M.get_header_all(name)
    local req = base.request(REQUEST)
    check_name(name)
    return fields.joined(req, C.MG_FFI_REQUEST, name)
end

--- All headers, by lower-case name; repeated ones are arrays.
-- @tparam[opt=100] number max 1 to 1000
-- @treturn table
-- @treturn string|nil "truncated"
function M.get_headers(max)
    local req = base.request(REQUEST)
    return fields.all(req, C.MG_FFI_REQUEST, base.check_max(max, 'max_headers'))
end

--- The whole body; waits for it.
-- @treturn string|nil "" when there is none
-- @treturn string|nil error
function M.get_raw_body()
    return body.read(base.request(base.BODY_IN))
end

--- The body, decoded by its type: form or JSON. JSON with a name twice in one object is an error.
-- @tparam[opt] string mime instead of the request's Content-Type
-- @tparam[opt=100] number max arguments of a form
-- @treturn table|nil
-- @treturn string|nil error
-- @treturn string|nil mime type
function M.get_body(mime, max)
    local req = base.request(base.BODY_IN)
    if mime ~= nil then
        base.check_type(mime, 'string', 'mimetype')
    end
    return body.decode(req, mime, base.check_max(max, 'max_args'))
end

--- What the groups of the route's regex took.
-- @treturn table { unnamed = { [0] = whole, ... }, named = { ... } }
function M.get_uri_captures()
    local req = base.request(REQUEST)
    local unnamed, named = {}, {}
    for group = 0, C.mg_ffi_req_int(req, C.MG_FFI_CAPTURES) - 1 do
        if C.mg_ffi_req_capture(req, group, name_view, view) == 1 then
            local value = ffi.string(view.ptr, view.len)
            unnamed[group] = value
            if name_view.len > 0 then
                named[ffi.string(name_view.ptr, name_view.len)] = value
            end
        end
    end
    return { unnamed = unnamed, named = named }
end

--- When the request began.
-- @treturn number ms since the epoch
function M.get_start_time()
    return C.mg_ffi_req_measure(base.request(REQUEST), C.MG_FFI_STARTED_MS)
end

-- A forwarding header of a trusted peer; others lost theirs before any plugin ran.
local function forwarded(req, name)
    if C.mg_ffi_req_int(req, C.MG_FFI_PEER_TRUSTED) == 0 then
        return nil
    end
    return fields.first(req, C.MG_FFI_REQUEST, name)
end

--- @treturn string "http" or "https", as a trusted peer says it
function M.get_forwarded_scheme()
    local scheme = forwarded(base.request(REQUEST), 'x-forwarded-proto')
    return scheme and scheme:lower() or 'http'
end

--- @treturn string host as a trusted peer says it, lower case, no port
function M.get_forwarded_host()
    local host = forwarded(base.request(REQUEST), 'x-forwarded-host')
    if not host then
        return M.get_host()
    end
    return (host:lower():gsub(':%d+$', ''))
end

--- @treturn number port as a trusted peer says it
function M.get_forwarded_port()
    local req = base.request(REQUEST)
    local port = tonumber(forwarded(req, 'x-forwarded-port'))
    return port or C.mg_ffi_req_int(req, C.MG_FFI_SERVER_PORT)
end

--- @treturn string path as a trusted peer says it
function M.get_forwarded_path()
    return forwarded(base.request(REQUEST), 'x-forwarded-path') or M.get_path()
end

--- Prefix that a trusted peer, or else this route, takes off the path.
-- @treturn string|nil
function M.get_forwarded_prefix()
    local req = base.request(REQUEST)
    local prefix = forwarded(req, 'x-forwarded-prefix')
    if prefix or C.mg_ffi_req_int(req, C.MG_FFI_STRIP_PATH) == 0 then
        return prefix
    end
    prefix = base.text(req, C.MG_FFI_PREFIX)
    return prefix ~= '' and prefix ~= '/' and prefix or nil
end

return M
