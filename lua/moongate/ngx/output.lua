-- SPDX-License-Identifier: Apache-2.0
-- ngx.say, ngx.print and ngx.exit: an answer by the plugin. The first thing printed in rewrite or
-- access makes the answer; the handler goes on and may print more, but the request does not go to
-- the upstream.
local base = require 'moongate.pdk.base'
local cjson = require 'cjson'
local error_body = require 'moongate.pdk.error_body'
local response = require 'moongate.pdk.response'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {}

local function append(req, value)
    if type(value) == 'table' then
        for i = 1, #value do
            append(req, value[i])
        end
        return
    end
    local text = value == cjson.null and 'null' or tostring(value)
    C.mg_ffi_response_append(req, text, #text)
end

-- The request, with an answer begun.
local function answer()
    local req, object = base.request(base.BEFORE_UPSTREAM)
    if C.mg_ffi_req_int(req, C.MG_FFI_STATUS) == 0 then
        local status = object.ctx and object.ctx.status or 200
        C.mg_ffi_response_exit(req, status, '', 0)
        runtime.shared.exited = runtime.shared.turn
    end
    return req
end

--- Prints to the answer: strings, numbers, booleans, nil, and arrays of them.
function M.print(...)
    local req = answer()
    for i = 1, select('#', ...) do
        append(req, (select(i, ...)))
    end
    return 1
end

--- The same, with a line end.
function M.say(...)
    M.print(...)
    append(answer(), '\n')
    return 1
end

local function exit_early(req)
    if C.mg_ffi_req_int(req, C.MG_FFI_SOURCE) == 2 then
        return runtime.exit()
    end
    return base.raise('ngx.exit with a code below 200 is not supported: return from the handler')
end

--- Ends the request with a status and what was printed, or a default body for an error. In
-- header_filter it returns.
-- @tparam number status 200 to 599; with ngx.OK what was printed is the answer
function M.exit(status)
    local req = base.request(base.ANSWER)
    base.check_type(status, 'number', 'status')
    if status < 200 then
        return exit_early(req)
    elseif status == 444 then
        return base.raise('ngx.exit(444) is not supported yet')
    end
    local printed = base.text(req, C.MG_FFI_ANSWER)
    if printed and C.mg_ffi_req_int(req, C.MG_FFI_SOURCE) == 2 then
        C.mg_ffi_response_status(req, status)
        return runtime.exit()
    elseif status >= 400 then
        return response.exit(status, {
            message = error_body.default_message(status),
            request_id = base.text(req, C.MG_FFI_REQUEST_ID),
        })
    end
    return response.exit(status)
end

return M
