-- SPDX-License-Identifier: Apache-2.0
-- moongate.http: requests to other services (docs/plugin-reference.md). The handler waits,
-- the worker does not. Connections are pooled per host; those of https verify the server by the
-- system's list of authorities.
--
--     local answer, err = moongate.http.request{ url = 'http://127.0.0.1:9000/check', timeout = 2 }
--     if answer and answer.status == 200 then ... answer.body ... answer.headers['x-user'] ...
local ffi = require 'ffi'
local base = require 'moongate.pdk.base'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {}

local DEFAULT_TIMEOUT = 10   -- seconds, for everything
local DEFAULT_KEEPALIVE = 60 -- seconds that a connection may idle

local PORTS = { http = 80, https = 443 }
local VERIFIED, UNVERIFIED = 1, 2

local name_view, value_view = ffi.new('struct mg_ffi_str'), ffi.new('struct mg_ffi_str')
local errors = runtime.errors
local ERRORS = {
    [errors.TIMEOUT] = 'timeout',
    [errors.CLOSED] = 'closed',
    [errors.INVALID] = 'invalid request',
}

local function error_text(status, host)
    if status == errors.DNS then
        return host .. ' could not be resolved'
    end
    local text = ERRORS[status] or ffi.string(C.mg_ffi_err_text(status))
    return (text:gsub('^%u%l', string.lower))
end

--- The parts of a URL.
-- @tparam string url
-- @treturn table|nil { host, port, path }
-- @treturn string|nil error
function M.parse(url)
    local scheme, authority, rest = url:match('^([%a][%w+.-]*)://([^/?#]*)([^#]*)')
    if not scheme then
        return nil, 'invalid url'
    end
    local default = PORTS[scheme:lower()]
    if not default then
        return nil, 'unsupported scheme ' .. base.printable(scheme)
    elseif authority:find('@', 1, true) then
        return nil, 'credentials in a url are not supported'
    end
    local host, port = authority:match('^(%[[%x:.]+%]):?(%d*)$')
    if not host then
        host, port = authority:match('^([^:%[%]]+):?(%d*)$')
    end
    local number = port == '' and default or tonumber(port)
    if not host or not number or number > 65535 then
        return nil, 'invalid url'
    end
    if rest:sub(1, 1) ~= '/' then
        rest = '/' .. rest
    end
    return { host = host, port = number, path = rest, is_secure = scheme:lower() == 'https',
        authority = port == '' and host or host .. ':' .. number }
end

-- A byte that would end a line of the request is a mistake of the caller's, as in the setters.
local function check_line(text, what)
    base.check_type(text, 'string', what)
    if text:find('%c') then
        base.raise(('%s must not have control bytes: "%s"'):format(what, base.printable(text)))
    end
end

local function check_seconds(value, default, what)
    if value == nil then
        return default
    end
    if type(value) ~= 'number' or value ~= value or value < 0 then
        base.raise(what .. ' must be a number of seconds, 0 or more')
    end
    return value
end

-- Calls fn(name, text) for each value of each header; raises on what is no header.
local function each_header(headers, fn)
    for name, value in pairs(headers or {}) do
        base.check_type(name, 'string', 'header name')
        for _, each in ipairs(type(value) == 'table' and value or { value }) do
            local kind = type(each)
            if kind ~= 'string' and kind ~= 'number' then
                base.raise(('invalid value of header "%s"'):format(base.printable(name)))
            end
            fn(name, tostring(each))
        end
    end
end

-- Host among the headers, else the URL's.
local function put_headers(http, headers, authority)
    local host = authority
    each_header(headers, function(name, text)
        if name:lower() == 'host' then
            host = text
        end
        base.check_change(C.mg_ffi_http_field(http, name, #name, text, #text), name)
    end)
    return host
end

local loose = {
    __index = function(self, key)
        return type(key) == 'string' and rawget(self, (key:lower():gsub('_', '-'))) or nil
    end,
}

local function answer_of(http)
    local headers, index = {}, 0
    while C.mg_ffi_http_at(http, index, name_view, value_view) == 1 do
        local name = ffi.string(name_view.ptr, name_view.len):lower()
        local value = ffi.string(value_view.ptr, value_view.len)
        headers[name] = headers[name] and headers[name] .. ', ' .. value or value
        index = index + 1
    end
    C.mg_ffi_http_body(http, value_view)
    return {
        status = C.mg_ffi_http_status(http),
        headers = setmetatable(headers, loose),
        body = ffi.string(value_view.ptr, value_view.len),
    }
end

local function put_text(place, text)
    place.ptr, place.len = text, #text
end

-- The texts must stay referenced until C has copied them, so they are arguments here.
local function start(http, target, method, host_field, body, timeout, keepalive, verify)
    local ask = ffi.new('struct mg_ffi_http_ask')
    put_text(ask.host, target.host)
    put_text(ask.path, target.path)
    put_text(ask.method, method)
    put_text(ask.host_field, host_field)
    put_text(ask.body, body)
    ask.port = target.port
    ask.tls = target.is_secure and (verify and VERIFIED or UNVERIFIED) or 0
    ask.timeout_ms, ask.keepalive_ms = timeout * 1000, keepalive * 1000
    return C.mg_ffi_http_start(http, ask)
end

local function perform(http, target, options, body, timeout, keepalive)
    local host_field = put_headers(http, options.headers, target.authority)
    local method = options.method or 'GET'
    local status = start(http, target, method, host_field, body, timeout, keepalive,
        options.ssl_verify ~= false)
    if status == 0 then
        status = runtime.sched.wait()
    end
    if status ~= 0 then
        if C.mg_ffi_http_reason(http, value_view) == 1 then
            return nil, ffi.string(value_view.ptr, value_view.len)
        end
        return nil, error_text(status, target.host)
    end
    return answer_of(http)
end

--- Sends a request and waits for the whole answer.
-- @tparam table options url, method ("GET"), headers, body (string), timeout (10 s, for
-- everything), keepalive (60 s; 0 closes the connection), ssl_verify (true; false: any server is
-- trusted)
-- @treturn table|nil { status, headers, body }; header names in lower case
-- @treturn string|nil error: "timeout", "closed", "connection refused", "NAME could not be
-- resolved" and the like; of https "certificate verify failed: hostname mismatch" and the like
function M.request(options)
    base.check_type(options, 'table', 'options')
    check_line(options.url, 'url')
    if options.method ~= nil then
        check_line(options.method, 'method')
    end
    if options.headers ~= nil then
        base.check_type(options.headers, 'table', 'headers')
    end
    if options.ssl_verify ~= nil then
        base.check_type(options.ssl_verify, 'boolean', 'ssl_verify')
    end
    local body = options.body == nil and '' or options.body
    base.check_type(body, 'string', 'body')
    local timeout = check_seconds(options.timeout, DEFAULT_TIMEOUT, 'timeout')
    local keepalive = check_seconds(options.keepalive, DEFAULT_KEEPALIVE, 'keepalive')
    local target, err = M.parse(options.url)
    if not target then
        return nil, err
    end
    local http = C.mg_ffi_http_new(runtime.shared.vm)
    if http == nil then
        return nil, 'no request can be made here'
    end
    http = ffi.gc(http, C.mg_ffi_http_free)  -- the collector frees what an error leaves behind
    local answer
    answer, err = perform(http, target, options, body, timeout, keepalive)
    ffi.gc(http, nil)
    C.mg_ffi_http_free(http)
    return answer, err
end

return M
