-- SPDX-License-Identifier: Apache-2.0
-- moongate.service.response: the upstream's answer as it came (docs/plugin-reference.md).
local base = require 'moongate.pdk.base'
local cjson = require 'cjson.safe'
local fields = require 'moongate.pdk.fields'
local C = require('moongate.runtime.ffi').C

local M = {}

local RESPONSE = base.RESPONSE

--- @treturn number|nil status; nil when the upstream did not answer
function M.get_status()
    local status = C.mg_ffi_req_int(base.request(RESPONSE), C.MG_FFI_UP_STATUS)
    return status > 0 and status or nil
end

--- First value of a header.
-- @tparam string name
-- @treturn string|nil
function M.get_header(name)
    local req = base.request(RESPONSE)
    if type(name) ~= 'string' then
        base.raise('header name must be a string')
    end
    return fields.first(req, C.MG_FFI_UPSTREAM, name)
end

--- All headers, by lower-case name.
-- @tparam[opt=100] number max 1 to 1000
-- @treturn table
-- @treturn string|nil "truncated"
function M.get_headers(max)
    local req = base.request(RESPONSE)
    return fields.all(req, C.MG_FFI_UPSTREAM, base.check_max(max, 'max_headers'))
end

local function held_body(req)
    if C.mg_ffi_req_int(req, C.MG_FFI_HELD) == 0 then
        base.raise('the response is not buffered (service.request.enable_buffering asks for it)')
    end
    return base.text(req, C.MG_FFI_HELD_BODY) or ''
end

--- The whole body. Raises when the response is not buffered.
-- @treturn string
function M.get_raw_body()
    return held_body(base.request(RESPONSE))
end

--- The whole body, decoded; JSON only. Raises when the response is not buffered.
-- @treturn table|nil
-- @treturn string|nil error
-- @treturn string|nil media type
function M.get_body()
    local req = base.request(RESPONSE)
    local text = held_body(req)
    local mime = fields.first(req, C.MG_FFI_UPSTREAM, 'content-type')
    if not mime then
        return nil, 'missing content type'
    end
    mime = mime:match('^%s*([^;,%s]*)'):lower()
    if mime ~= 'application/json' then
        return nil, ("unsupported content type '%s'"):format(base.printable(mime)), mime
    end
    local value = cjson.decode(text)
    if type(value) ~= 'table' then
        return nil, 'invalid json body', mime
    end
    return value, nil, mime
end

return M
