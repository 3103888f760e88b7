-- SPDX-License-Identifier: Apache-2.0
-- Cookies of a request (RFC 6265, 4.2.1). A client writes them, so they are taken apart step by
-- step: a pattern that tries one way after the other takes seconds for a few thousand bytes.
local fields = require 'moongate.pdk.fields'
local C = require('moongate.runtime.ffi').C

local M = {}

local SPACE, TAB = (' '):byte(), ('\t'):byte()

local function is_blank(byte)
    return byte == SPACE or byte == TAB
end

local function trim(text)
    local from, to = 1, #text
    while from <= to and is_blank(text:byte(from)) do
        from = from + 1
    end
    while to >= from and is_blank(text:byte(to)) do
        to = to - 1
    end
    return text:sub(from, to)
end

--- Value of the first cookie with that name in the text of a Cookie field.
-- @tparam string text
-- @tparam string name
-- @treturn string|nil without blanks around it
function M.find(text, name)
    for pair in text:gmatch('[^;,]+') do
        local equals = pair:find('=', 1, true)
        if equals and trim(pair:sub(1, equals - 1)) == name then
            return trim(pair:sub(equals + 1))
        end
    end
    return nil
end

--- The same over all Cookie fields of a request.
-- @tparam cdata req
-- @tparam string name
-- @treturn string|nil
function M.of(req, name)
    local all = fields.joined(req, C.MG_FFI_REQUEST, 'cookie')
    return all and M.find(all, name)
end

return M
