-- SPDX-License-Identifier: Apache-2.0
-- Arguments of query strings and forms: `a=1&b` to { a = '1', b = true } and back. An empty value
-- is '', repeated keys become arrays, an empty key is dropped, `+` is a space.
local ffi = require 'ffi'
local base = require 'moongate.pdk.base'
local C = require('moongate.runtime.ffi').C

local M = {}

local arg = ffi.new('struct mg_ffi_arg')
local ROOM_BYTES = 16384  -- more than a request target may have
local room = ffi.new('char[?]', ROOM_BYTES)

-- Room for bytes; its content lives until the next call.
local function scratch(bytes)
    return bytes <= ROOM_BYTES and room or ffi.new('char[?]', bytes)
end

local function decoded(text)
    local len = tonumber(text.len)
    if arg.escaped == 0 then
        return ffi.string(text.ptr, len)
    end
    local place = scratch(len)  -- decoding makes nothing longer
    return ffi.string(place, C.mg_ffi_uri_unescape(text.ptr, len, place))
end

local function value_of(found)
    if found.has_value == 0 then
        return true
    end
    return decoded(found.value)
end

--- First value of an argument.
-- @tparam cdata|string text
-- @tparam number len of text, bytes
-- @tparam string name
-- @treturn string|boolean|nil true for a bare key
function M.find(text, len, name)
    if C.mg_ffi_args_find(text, len, name, #name, arg) == 0 then
        return nil
    end
    return value_of(arg)
end

--- All arguments.
-- @tparam cdata|string text
-- @tparam number len of text, bytes
-- @tparam number max arguments at most
-- @treturn table
-- @treturn string|nil "truncated" when there were more
function M.decode(text, len, max)
    local result, count = {}, 0
    local at = C.mg_ffi_args_next(text, len, 0, arg)
    while at > 0 do
        if count == max then
            return result, 'truncated'
        end
        count = count + 1
        local name, value = decoded(arg.name), value_of(arg)
        local before = result[name]
        if before == nil then
            result[name] = value
        elseif type(before) == 'table' then
            before[#before + 1] = value
        else
            result[name] = { before, value }
        end
        at = C.mg_ffi_args_next(text, len, at, arg)
    end
    return result
end

--- Escapes all but unreserved characters (RFC 3986, 2.3).
function M.escape(text)
    local place = scratch(3 * #text)
    return ffi.string(place, C.mg_ffi_uri_escape(text, #text, place))
end

local function encode_one(parts, name, value)
    local kind = type(value)
    if value == true then
        parts[#parts + 1] = M.escape(name)
    elseif kind == 'string' or kind == 'number' then
        parts[#parts + 1] = M.escape(name) .. '=' .. M.escape(tostring(value))
    elseif value ~= false then
        base.raise(('invalid value of argument "%s": got %s'):format(base.printable(name), kind))
    end
end

--- Text of a table of arguments, sorted by name. true gives a bare key, false is left out, arrays
-- repeat the key; raises on other values.
-- @tparam table args
-- @treturn string
function M.encode(args)
    local names, by_name = {}, {}
    for name, value in pairs(args) do
        if type(name) ~= 'string' and type(name) ~= 'number' then
            base.raise('argument names must be strings')
        end
        name = tostring(name)
        names[#names + 1] = name
        by_name[name] = value
    end
    table.sort(names)
    local parts = {}
    for _, name in ipairs(names) do
        local value = by_name[name]
        if type(value) == 'table' then
            for _, each in ipairs(value) do
                encode_one(parts, name, each)
            end
        else
            encode_one(parts, name, value)
        end
    end
    return table.concat(parts, '&')
end

return M
