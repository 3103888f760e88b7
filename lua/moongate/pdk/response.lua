-- SPDX-License-Identifier: Apache-2.0
-- moongate.response: the answer to the client (docs/plugin-reference.md).
--
-- What is set before there is an answer is recorded in C and replayed on the upstream's head. exit
-- makes an answer here; runtime.exit then leaves the handler.
local cjson = require 'cjson.safe'
local base = require 'moongate.pdk.base'
local chunks = require 'moongate.pdk.chunks'
local error_body = require 'moongate.pdk.error_body'
local fields = require 'moongate.pdk.fields'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {}

local ANSWER, RESPONSE = base.ANSWER, base.RESPONSE
local change = C.mg_ffi_response_field
local SOURCES = { [0] = 'error', 'service', 'exit', 'error' }
local TOO_LATE = 'headers have already been sent'

--- @treturn number status of the answer
function M.get_status()
    return C.mg_ffi_req_int(base.request(RESPONSE), C.MG_FFI_STATUS)
end

--- First value of a header of the answer.
-- @tparam string name
-- @treturn string|nil
function M.get_header(name)
    local req = base.request(RESPONSE)
    if type(name) ~= 'string' then
        base.raise('header name must be a string')
    end
    return fields.first(req, C.MG_FFI_RESPONSE, name)
end

--- All headers of the answer, by lower-case name.
-- @tparam[opt=100] number max 1 to 1000
-- @treturn table
-- @treturn string|nil "truncated"
function M.get_headers(max)
    local req = base.request(RESPONSE)
    return fields.all(req, C.MG_FFI_RESPONSE, base.check_max(max, 'max_headers'))
end

--- Who made the answer.
-- @treturn string "service", "exit" (a plugin) or "error" (the gateway, or a failing plugin)
function M.get_source()
    return SOURCES[C.mg_ffi_req_int(base.request(RESPONSE), C.MG_FFI_SOURCE)]
end

local function check_status(status, low)
    if type(status) ~= 'number' or status < low or status > 599
        or status ~= math.floor(status) then
        base.raise(('code must be a number between %d and 599'):format(low))
    end
end

--- Changes the status. Before there is an answer it is kept for an exit without one of its own
-- (ngx.say), and the upstream's status replaces it.
-- @tparam number status 100 to 599
function M.set_status(status)
    local req, object = base.request(ANSWER)
    check_status(status, 100)
    local result = C.mg_ffi_response_status(req, status)
    if result == C.MG_FFI_TOO_LATE then
        base.raise(TOO_LATE)
    elseif result == 0 then
        runtime.ctx(object).status = status
    end
end

-- Framing is the gateway's.
local function is_framing(name)
    if type(name) == 'string' and #name == 17 and
        name:lower():gsub('_', '-') == 'transfer-encoding' then
        require('moongate.pdk.log').warn('Transfer-Encoding cannot be set by a plugin: ignored')
        return true
    end
    return false
end

local function check_not_sent(req)
    if C.mg_ffi_req_int(req, C.MG_FFI_HEAD_SENT) == 1 then
        base.raise(TOO_LATE)
    end
end

--- Replaces a header.
-- @tparam string name
-- @tparam value string, number, boolean or an array of strings
function M.set_header(name, value)
    local req = base.request(ANSWER)
    check_not_sent(req)
    if not is_framing(name) then
        fields.set(change, req, name, value)
    end
end

--- Adds a header.
function M.add_header(name, value)
    local req = base.request(ANSWER)
    check_not_sent(req)
    if not is_framing(name) then
        fields.add(change, req, name, value)
    end
end

--- Removes all headers of that name.
function M.clear_header(name)
    local req = base.request(ANSWER)
    check_not_sent(req)
    fields.clear(change, req, name)
end

--- Checks all, then replaces each.
-- @tparam table headers
function M.set_headers(headers)
    local req = base.request(ANSWER)
    check_not_sent(req)
    fields.check_all(headers)
    for name, value in pairs(headers) do
        if not is_framing(name) then
            fields.set(change, req, name, value)
        end
    end
end

--- In body_filter: nil until the end of the body, then all of it.
-- @tparam[opt] table opts { decode = true } is not supported yet
-- @treturn string|nil
function M.get_raw_body(opts)
    local req, object = base.request(base.BODY_FILTER)
    if opts ~= nil then
        base.check_type(opts, 'table', 'opts')
        if opts.decode then
            base.raise('decode is not supported yet')
        end
    end
    return chunks.whole(req, object)
end

--- In body_filter: replaces the body and ends it.
-- @tparam string text
function M.set_raw_body(text)
    local req, object = base.request(base.BODY_FILTER)
    base.check_type(text, 'string', 'body')
    chunks.replace(req, object, text)
end

local function has_content_type(headers)
    for name in pairs(headers) do
        if name:lower():gsub('_', '-') == 'content-type' then
            return true
        end
    end
    return false
end

-- Fills the answer and leaves the handler, where the phase allows it.
local function finish(req, status, text, kind, headers)
    local result = C.mg_ffi_response_exit(req, status, text, #text)
    if result ~= 1 then
        base.raise(TOO_LATE)
    end
    if kind and not (headers and has_content_type(headers)) then
        fields.set(change, req, 'Content-Type', kind)
    end
    if headers then
        for name, value in pairs(headers) do
            if not is_framing(name) then
                fields.set(change, req, name, value)
            end
        end
    end
    return runtime.exit()
end

local function check_headers(headers)
    if headers ~= nil then
        if type(headers) ~= 'table' then
            base.raise('headers must be a nil or table')
        end
        fields.check_all(headers)
    end
end

--- Answers now. Does not return, but in header_filter.
-- @tparam number status 100 to 599
-- @tparam[opt] string|table body a table becomes JSON
-- @tparam[opt] table headers
function M.exit(status, body, headers)
    local req = base.request(ANSWER)
    check_not_sent(req)
    check_status(status, 100)
    check_headers(headers)
    if body == nil then
        return finish(req, status, '', nil, headers)
    elseif type(body) == 'string' then
        return finish(req, status, body, nil, headers)
    elseif type(body) ~= 'table' then
        base.raise('body must be a nil, string or table')
    end
    local text, err = cjson.encode(body)
    if not text then
        base.raise('body cannot be encoded as JSON: ' .. err)
    end
    return finish(req, status, text, 'application/json; charset=utf-8', headers)
end

--- Answers with an error in the form that the client accepts: JSON, HTML, XML or text. Does not
-- return, but in header_filter.
-- @tparam number status 400 to 599
-- @tparam[opt] string|table message a default per status; a table goes out as JSON
-- @tparam[opt] table headers
function M.error(status, message, headers)
    local req = base.request(ANSWER)
    check_not_sent(req)
    check_status(status, 400)
    check_headers(headers)
    if type(message) == 'table' then
        return M.exit(status, message, headers)
    elseif message ~= nil and type(message) ~= 'string' then
        base.raise('message must be a nil, string or table')
    end
    local kind = error_body.choose(fields.joined(req, C.MG_FFI_REQUEST, 'accept'))
    local text = error_body.write(kind, status, message or error_body.default_message(status),
        base.text(req, C.MG_FFI_REQUEST_ID) or '')
    return finish(req, status, text, kind, headers)
end

return M
