-- SPDX-License-Identifier: Apache-2.0
-- ngx.var: the common names (docs/plugin-reference.md). What is not known reads as nil. `uri` and
-- `request_uri` hold the canonical path, because plugins decide by them.
local args = require 'moongate.pdk.args'
local base = require 'moongate.pdk.base'
local cookie = require 'moongate.pdk.cookie'
local fields = require 'moongate.pdk.fields'
local node = require 'moongate.pdk.node'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {}

local function text(which)
    return function(req)
        return base.text(req, which) or ''
    end
end

local function number(which)
    return function(req)
        return tostring(C.mg_ffi_req_int(req, which))
    end
end

local function constant(value)
    return function()
        return value
    end
end

local function measure(which)
    return function(req)
        return ('%d'):format(C.mg_ffi_req_measure(req, which))
    end
end

local function with_query(path_of, query_of)
    return function(req)
        local query = base.text(req, query_of)
        local path = base.text(req, path_of) or ''
        return query and path .. '?' .. query or path
    end
end

local function protocol(req)
    local version = base.version(req)
    return version and ('HTTP/%.1f'):format(version) or ''
end

local function seconds_since_start(req)
    local started = C.mg_ffi_req_measure(req, C.MG_FFI_STARTED_MS)
    local elapsed = C.mg_ffi_sched_now(runtime.shared.vm) - started / 1000
    return ('%.3f'):format(math.max(elapsed, 0))
end

local function argument(req, name)
    local query = base.text(req, C.MG_FFI_QUERY)
    local value = query and args.find(query, #query, name)
    return value == true and '' or value or nil
end

local request_uri = with_query(C.MG_FFI_PATH, C.MG_FFI_QUERY)

local readers = {
    args = text(C.MG_FFI_UP_QUERY),
    query_string = text(C.MG_FFI_UP_QUERY),
    is_args = function(req)
        return base.text(req, C.MG_FFI_UP_QUERY) and '?' or ''
    end,
    uri = text(C.MG_FFI_PATH),
    request_uri = request_uri,
    request = function(req)
        local method = base.text(req, C.MG_FFI_METHOD)
        return method and method .. ' ' .. request_uri(req) .. ' ' .. protocol(req) or ''
    end,
    request_method = text(C.MG_FFI_METHOD),
    request_id = text(C.MG_FFI_REQUEST_ID),
    request_length = measure(C.MG_FFI_BYTES_IN),
    request_time = seconds_since_start,
    scheme = constant('http'),
    https = constant(''),
    host = text(C.MG_FFI_HOST),
    content_length = function(req)
        return fields.first(req, C.MG_FFI_REQUEST, 'content-length') or ''
    end,
    content_type = function(req)
        return fields.first(req, C.MG_FFI_REQUEST, 'content-type') or ''
    end,
    hostname = constant(node.get_hostname()),
    server_name = constant('moongate'),
    server_port = number(C.MG_FFI_SERVER_PORT),
    server_protocol = protocol,
    remote_addr = text(C.MG_FFI_CLIENT_IP),
    remote_port = number(C.MG_FFI_CLIENT_PORT),
    realip_remote_addr = text(C.MG_FFI_PEER_IP),
    realip_remote_port = number(C.MG_FFI_PEER_PORT),
    connection = measure(C.MG_FFI_CONNECTION_ID),
    connection_requests = number(C.MG_FFI_CONNECTION_REQUESTS),
    status = function(req)
        return ('%03d'):format(C.mg_ffi_req_int(req, C.MG_FFI_STATUS))
    end,
    bytes_sent = measure(C.MG_FFI_BYTES_OUT),
    body_bytes_sent = measure(C.MG_FFI_BODY_BYTES_OUT),
    msec = function()
        return ('%.3f'):format(C.mg_ffi_sched_now(runtime.shared.vm))
    end,
    pid = function()
        return tostring(C.mg_ffi_process_id())
    end,
    nginx_version = constant('1.27.1'),
    upstream_status = function(req)
        local status = C.mg_ffi_req_int(req, C.MG_FFI_UP_STATUS)
        return status > 0 and tostring(status) or ''
    end,
    upstream_uri = with_query(C.MG_FFI_UP_PATH, C.MG_FFI_UP_QUERY),
    upstream_host = text(C.MG_FFI_UP_HOST),
    upstream_scheme = constant('http'),
}

local families = {
    { '^http_(.+)$', function(req, name)
        return fields.joined(req, C.MG_FFI_REQUEST, name)
    end },
    { '^sent_http_(.+)$', function(req, name)
        return fields.joined(req, C.MG_FFI_RESPONSE, name)
    end },
    { '^upstream_http_(.+)$', function(req, name)
        return fields.joined(req, C.MG_FFI_UPSTREAM, name)
    end },
    { '^arg_(.+)$', argument },
    { '^cookie_(.+)$', cookie.of },
}

local function read(req, name)
    local reader = readers[name]
    if reader then
        return reader(req)
    end
    for _, family in ipairs(families) do
        local rest = name:match(family[1])
        if rest then
            return family[2](req, rest)
        end
    end
    return nil
end

local writers = {}

function writers.args(req, value)
    if C.mg_ffi_up_query(req, value, #value) ~= 1 then
        base.raise('invalid value of variable "args"')
    end
end

-- Nothing is changed unless both parts are good.
function writers.upstream_uri(req, value)
    local path, query = value:match('^([^?]*)%??(.*)$')
    if query:find('[^!-~]') or query:find('#', 1, true)
        or C.mg_ffi_up_path(req, path, #path) ~= 1 then
        base.raise('invalid value of variable "upstream_uri"')
    end
    if query ~= '' then
        writers.args(req, query)
    end
end

function writers.upstream_host(req, value)
    fields.set(C.mg_ffi_request_field, req, 'Host', value)
end

return setmetatable(M, {
    __index = function(_, name)
        if type(name) ~= 'string' then
            return nil
        end
        return read(base.request(base.REQUEST), name)
    end,
    __newindex = function(_, name, value)
        local writer = writers[name]
        if not writer then
            base.raise(('variable "%s" not changeable'):format(base.printable(name)))
        end
        writer(base.request(base.BEFORE_UPSTREAM), value == nil and '' or tostring(value))
    end,
})
