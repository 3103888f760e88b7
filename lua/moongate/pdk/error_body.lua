-- SPDX-License-Identifier: Apache-2.0
-- Bodies of response.error: JSON, HTML, XML or text, chosen by Accept (RFC 9110, 12.5.1). The
-- message is always escaped, so that a client's bytes in it cannot become markup.
local cjson = require 'cjson.safe'
local ffi = require 'ffi'
local C = require('moongate.runtime.ffi').C

local M = {}

local JSON = 'application/json; charset=utf-8'
local HTML = 'text/html; charset=utf-8'
local XML = 'application/xml; charset=utf-8'
local PLAIN = 'text/plain; charset=utf-8'

-- media range -> type of the body; what is not named here does not choose
local RANGES = {
    ['application/json'] = JSON,
    ['application/problem+json'] = JSON,
    ['application/*'] = JSON,
    ['*/*'] = JSON,
    ['text/html'] = HTML,
    ['application/xhtml+xml'] = HTML,
    ['text/*'] = PLAIN,
    ['text/plain'] = PLAIN,
    ['application/xml'] = XML,
    ['text/xml'] = XML,
}

local ENTITIES = { ['&'] = '&amp;', ['<'] = '&lt;', ['>'] = '&gt;', ['"'] = '&quot;',
    ["'"] = '&#39;' }

local function escape(text)
    return (text:gsub('[&<>"\']', ENTITIES):gsub('[%z\1-\8\11\12\14-\31]', ''))
end

--- The type that a client likes best; JSON when it does not say.
-- @tparam string|nil accept value of Accept
-- @treturn string value of Content-Type
function M.choose(accept)
    local best, best_quality = JSON, 0
    for element in (accept or ''):gmatch('[^,]+') do
        local range = element:match('^%s*([^;%s]+)')
        local quality = tonumber(element:match(';%s*[qQ]%s*=%s*([%d.]+)') or 1) or 0
        local kind = range and RANGES[range:lower()]
        if kind and quality > best_quality then
            best, best_quality = kind, quality
        end
    end
    return best
end

--- The message for a status that was given none.
-- @tparam number status
-- @treturn string
function M.default_message(status)
    if status == 500 then
        return 'An unexpected error occurred'
    end
    local reason = ffi.string(C.mg_ffi_status_reason(status))
    return reason ~= '' and reason or 'Error'
end

local WRITERS = {
    [JSON] = function(_, message, request_id)
        return cjson.encode({ message = message, request_id = request_id })
    end,
    [HTML] = function(status, message, request_id)
        return ('<!doctype html>\n<html><head><meta charset="utf-8"><title>%d</title></head>\n'
            .. '<body><h1>%s</h1>\n<p>request id: %s</p></body></html>\n')
            :format(status, escape(message), escape(request_id))
    end,
    [XML] = function(_, message, request_id)
        return ('<?xml version="1.0" encoding="UTF-8"?>\n<error>\n  <message>%s</message>\n'
            .. '  <requestid>%s</requestid>\n</error>\n')
            :format(escape(message), escape(request_id))
    end,
    [PLAIN] = function(_, message, request_id)
        return ('%s\nrequest id: %s\n'):format(message, request_id)
    end,
}

--- The body.
-- @tparam string kind what choose returned
-- @tparam number status
-- @tparam string message
-- @tparam string request_id
-- @treturn string
function M.write(kind, status, message, request_id)
    return WRITERS[kind](status, message, request_id)
end

return M
