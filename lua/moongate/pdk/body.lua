-- SPDX-License-Identifier: Apache-2.0
-- Bodies of requests: waiting for one, decoding and encoding it by its media type.
local cjson = require('cjson.safe').new()
local ffi = require 'ffi'
local args = require 'moongate.pdk.args'
local base = require 'moongate.pdk.base'
local fields = require 'moongate.pdk.fields'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {}

-- A plugin that checks a body must see what the upstream will take (RFC 8259, 4: which of two
-- members with one name counts is up to the reader).
cjson.decode_refuse_duplicate_names(true)

local FORM = 'application/x-www-form-urlencoded'
local JSON = 'application/json'
local MULTIPART = 'multipart/form-data'
local NO_MULTIPART = 'multipart bodies are not supported yet'

local ERRORS = {
    [C.MG_FFI_BODY_UNBUFFERED] = 'request body is not buffered',
    [C.MG_FFI_BODY_TOO_LARGE] = 'request body is too large',
    [C.MG_FFI_BODY_FAILED] = 'request body could not be read',
}

local view = ffi.new('struct mg_ffi_str')

-- Makes the body whole: true, or nil and why not.
local function make_whole(req)
    local result = C.mg_ffi_req_read_body(req)
    if result == 0 then
        result = C.mg_ffi_req_body_result(req, runtime.sched.wait())
    end
    if result ~= 1 then
        return nil, ERRORS[result]
    end
    return true
end

--- The whole body of a request; waits for it.
-- @tparam cdata req
-- @treturn string|nil "" when there is none
-- @treturn string|nil error
function M.read(req)
    local ok, err = make_whole(req)
    if not ok then
        return nil, err
    end
    return base.text(req, C.MG_FFI_BODY) or ''
end

-- The type without parameters, lower case.
local function media_type(text)
    return (text:match('^%s*([^;,%s]*)'):lower())
end

--- The media type of a request's body.
-- @treturn string|nil without parameters, lower case
function M.type_of(req)
    local text = fields.first(req, C.MG_FFI_REQUEST, 'content-type')
    return text and media_type(text)
end

local function decode_form(req, max)
    if C.mg_ffi_req_text(req, C.MG_FFI_BODY, view) == 0 then
        return {}
    end
    return args.decode(view.ptr, tonumber(view.len), max)
end

--- The body decoded by its type; waits for it.
-- @tparam cdata req
-- @tparam string|nil mime instead of Content-Type
-- @tparam number max arguments of a form
-- @treturn table|nil
-- @treturn string|nil error
-- @treturn string|nil media type
function M.decode(req, mime, max)
    mime = mime and media_type(mime) or M.type_of(req)
    if not mime then
        return nil, 'missing content type'
    end
    if mime == MULTIPART then
        return nil, NO_MULTIPART, mime
    elseif mime ~= FORM and mime ~= JSON then
        return nil, ("unsupported content type '%s'"):format(base.printable(mime)), mime
    end
    local ok, err = make_whole(req)
    if not ok then
        return nil, err, mime
    end
    if mime == FORM then
        local result, truncated = decode_form(req, max)
        return result, truncated, mime
    end
    local value = cjson.decode(base.text(req, C.MG_FFI_BODY) or '')
    if type(value) ~= 'table' then
        return nil, 'invalid json body', mime
    end
    return value, nil, mime
end

--- Text of a table in a media type.
-- @tparam table value
-- @tparam string mime
-- @treturn string|nil
-- @treturn string error, or the Content-Type to send
function M.encode(value, mime)
    local kind = media_type(mime)
    if kind == FORM then
        return args.encode(value), FORM
    elseif kind == JSON then
        local text, err = cjson.encode(value)
        if not text then
            return nil, err
        end
        return text, JSON
    elseif kind == MULTIPART then
        return nil, NO_MULTIPART
    end
    return base.raise('unsupported content type ' .. base.printable(mime))
end

return M
