-- SPDX-License-Identifier: Apache-2.0
-- ngx.req: the request by OpenResty's names. Only what is a view of, or a change to, the request as
-- the kit has it.
local args = require 'moongate.pdk.args'
local base = require 'moongate.pdk.base'
local body = require 'moongate.pdk.body'
local fields = require 'moongate.pdk.fields'
local C = require('moongate.runtime.ffi').C

local M = {}

local change = C.mg_ffi_request_field
local NO_LIMIT = 100000  -- what a max of 0 means here; the request's own limits are lower

local function limit(max)
    if max == nil then
        return 100
    end
    return max == 0 and NO_LIMIT or max
end

--- @treturn string
function M.get_method()
    return base.text(base.request(base.REQUEST), C.MG_FFI_UP_METHOD)
end

--- @treturn number|nil 1.0 or 1.1; nil where no request line could be read
function M.http_version()
    return base.version(base.request(base.REQUEST))
end

--- @treturn number seconds since the epoch, with ms
function M.start_time()
    return C.mg_ffi_req_measure(base.request(base.REQUEST), C.MG_FFI_STARTED_MS) / 1000
end

--- @treturn boolean false
function M.is_internal()
    return false
end

--- Headers by lower-case name; a look-up is blind to case and `_`.
-- @tparam[opt=100] number max 0 = no limit
function M.get_headers(max)
    return fields.all(base.request(base.REQUEST), C.MG_FFI_REQUEST, limit(max))
end

--- Replaces a header on its way to the upstream; nil removes it.
function M.set_header(name, value)
    local req = base.request(base.BEFORE_UPSTREAM)
    if value == nil then
        fields.clear(change, req, name)
    else
        fields.set(change, req, name, value)
    end
end

function M.clear_header(name)
    fields.clear(change, base.request(base.BEFORE_UPSTREAM), name)
end

--- Arguments of the query.
-- @tparam[opt=100] number max 0 = no limit
function M.get_uri_args(max)
    local query = base.text(base.request(base.REQUEST), C.MG_FFI_UP_QUERY)
    return args.decode(query or '', query and #query or 0, limit(max))
end

--- Waits for the whole body.
function M.read_body()
    local _, err = body.read(base.request(base.BODY_IN))
    if err then
        base.raise(err)
    end
end

--- The body, after read_body.
-- @treturn string|nil nil when it is empty or was not read
function M.get_body_data()
    local text = base.text(base.request(base.REQUEST), C.MG_FFI_BODY)
    return text ~= '' and text or nil
end

--- The body is always in memory.
-- @treturn nil
function M.get_body_file()
    return nil
end

--- Arguments of a form, after read_body.
-- @tparam[opt=100] number max 0 = no limit
function M.get_post_args(max)
    local text = base.text(base.request(base.REQUEST), C.MG_FFI_BODY) or ''
    return args.decode(text, #text, limit(max))
end

return M
