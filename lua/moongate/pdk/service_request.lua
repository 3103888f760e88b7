-- SPDX-License-Identifier: Apache-2.0
-- moongate.service.request: what goes to the upstream (docs/plugin-reference.md). Setters
-- raise on anything that cannot stand in a message.
local ffi = require 'ffi'
local args = require 'moongate.pdk.args'
local base = require 'moongate.pdk.base'
local body = require 'moongate.pdk.body'
local fields = require 'moongate.pdk.fields'
local C = require('moongate.runtime.ffi').C

local M = {}

local BEFORE = base.BEFORE_UPSTREAM
local change = C.mg_ffi_request_field
local view, arg = ffi.new('struct mg_ffi_str'), ffi.new('struct mg_ffi_arg')

--- Holds the whole answer of the upstream, so that service.response.get_raw_body works.
function M.enable_buffering()
    C.mg_ffi_up_buffer(base.request(BEFORE))
end

--- @tparam string scheme "http"; "https" is not built yet
function M.set_scheme(scheme)
    base.request(BEFORE)
    base.check_type(scheme, 'string', 'scheme')
    if scheme == 'https' then
        base.raise('scheme https is not supported yet')
    elseif scheme ~= 'http' then
        base.raise('invalid scheme: ' .. base.printable(scheme))
    end
end

--- The whole path for the upstream, that of the service included. In rewrite the router overwrites
-- it.
-- @tparam string path starts with "/"; escaped where needed
function M.set_path(path)
    local req = base.request(BEFORE)
    base.check_type(path, 'string', 'path')
    if path:sub(1, 1) ~= '/' then
        base.raise('path must start with /')
    end
    if C.mg_ffi_up_path(req, path, #path) ~= 1 then
        base.raise('invalid path: ' .. base.printable(path))
    end
end

--- @tparam string method upper case, one that the gateway serves
function M.set_method(method)
    local req = base.request(BEFORE)
    base.check_type(method, 'string', 'method')
    if method ~= method:upper() or C.mg_ffi_up_method(req, method, #method) ~= 1 then
        base.raise('invalid method: ' .. base.printable(method))
    end
end

local function put_query(req, query)
    if C.mg_ffi_up_query(req, query, #query) ~= 1 then
        base.raise('invalid query: ' .. base.printable(query))
    end
end

--- @tparam string query as it goes on the wire, without "?"; "" takes it away
function M.set_raw_query(query)
    local req = base.request(BEFORE)
    base.check_type(query, 'string', 'query')
    put_query(req, query)
end

--- @tparam table query arguments, sorted by key in the result
function M.set_query(query)
    local req = base.request(BEFORE)
    base.check_type(query, 'table', 'args')
    put_query(req, args.encode(query))
end

-- The query without the arguments of that name, in its order and spelling.
local function without(query, len, name)
    local kept, begin = {}, 0
    local at = C.mg_ffi_args_next(query, len, 0, arg)
    while at > 0 do
        local stop = math.min(at - 1, len)
        local piece = ffi.string(query + begin, stop - begin)
        if args.find(piece, #piece, name) == nil then
            kept[#kept + 1] = piece
        end
        begin = at
        at = C.mg_ffi_args_next(query, len, at, arg)
    end
    return table.concat(kept, '&')
end

--- Removes every argument of that name from the query.
-- @tparam string name
function M.clear_query_arg(name)
    local req = base.request(BEFORE)
    base.check_type(name, 'string', 'query argument name')
    if C.mg_ffi_req_text(req, C.MG_FFI_UP_QUERY, view) == 0 then
        return
    end
    if args.find(view.ptr, view.len, name) ~= nil then
        put_query(req, without(view.ptr, tonumber(view.len), name))
    end
end

--- Replaces a header; Host also sets the upstream's host and raises on what is none.
-- @tparam string name
-- @tparam value string, number, boolean or an array of them
function M.set_header(name, value)
    fields.set(change, base.request(BEFORE), name, value)
end

--- Adds a header.
function M.add_header(name, value)
    fields.add(change, base.request(BEFORE), name, value)
end

--- Removes all headers of that name.
function M.clear_header(name)
    fields.clear(change, base.request(BEFORE), name)
end

--- Checks all, then replaces each.
-- @tparam table headers
function M.set_headers(headers)
    local req = base.request(BEFORE)
    fields.check_all(headers)
    for name, value in pairs(headers) do
        fields.set(change, req, name, value)
    end
end

local function put_body(req, text)
    if C.mg_ffi_req_set_body(req, text, #text) ~= 1 then
        base.raise('the request body is being read')
    end
end

--- Replaces the body, and Content-Length with it.
-- @tparam string text
function M.set_raw_body(text)
    local req = base.request(BEFORE)
    base.check_type(text, 'string', 'body')
    put_body(req, text)
end

--- Replaces the body by a table, encoded as form or JSON; sets Content-Type.
-- @tparam table value
-- @tparam[opt] string mime else the request's
-- @treturn boolean|nil true
-- @treturn string|nil error
function M.set_body(value, mime)
    local req = base.request(BEFORE)
    base.check_type(value, 'table', 'args')
    if mime ~= nil then
        base.check_type(mime, 'string', 'mimetype')
    end
    mime = mime or body.type_of(req)
    if not mime then
        return nil, 'missing content type'
    end
    local text, err_or_type = body.encode(value, mime)
    if not text then
        return nil, err_or_type
    end
    put_body(req, text)
    fields.set(change, req, 'Content-Type', err_or_type)
    return true
end

return M
