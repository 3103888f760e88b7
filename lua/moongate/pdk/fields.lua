-- SPDX-License-Identifier: Apache-2.0
-- The header tables of a request as plugins see them: that of the request, of the answer, and of
-- the upstream's answer. Reading makes no string but the one that is returned.
local ffi = require 'ffi'
local base = require 'moongate.pdk.base'
local C = require('moongate.runtime.ffi').C

local M = {}

local name_out, value_out = ffi.new('struct mg_ffi_str'), ffi.new('struct mg_ffi_str')

--- First value of a field.
-- @tparam cdata req
-- @tparam number which MG_FFI_REQUEST, MG_FFI_RESPONSE or MG_FFI_UPSTREAM
-- @tparam string name blind to case, `_` equals `-`
-- @treturn string|nil
function M.first(req, which, name)
    if C.mg_ffi_fields_find(req, which, name, #name, 0, value_out) == 0 then
        return nil
    end
    return ffi.string(value_out.ptr, value_out.len)
end

--- All values of a field, joined by ", ".
-- @treturn string|nil
function M.joined(req, which, name)
    local at = C.mg_ffi_fields_find(req, which, name, #name, 0, value_out)
    if at == 0 then
        return nil
    end
    local all = ffi.string(value_out.ptr, value_out.len)
    at = C.mg_ffi_fields_find(req, which, name, #name, at, value_out)
    while at > 0 do
        all = all .. ', ' .. ffi.string(value_out.ptr, value_out.len)
        at = C.mg_ffi_fields_find(req, which, name, #name, at, value_out)
    end
    return all
end

local loose = {
    __index = function(self, key)
        if type(key) ~= 'string' then
            return nil
        end
        return rawget(self, (key:lower():gsub('_', '-')))
    end,
}

--- All fields: lower-case names, repeated ones are arrays; a look-up is blind to case and `_`.
-- @tparam number max fields at most
-- @treturn table
-- @treturn string|nil "truncated" when there were more
function M.all(req, which, max)
    local result = {}
    local count = C.mg_ffi_fields_count(req, which)
    for i = 0, math.min(count, max) - 1 do
        C.mg_ffi_fields_at(req, which, i, name_out, value_out)
        local name = ffi.string(name_out.ptr, name_out.len):lower()
        local value = ffi.string(value_out.ptr, value_out.len)
        local before = result[name]
        if before == nil then
            result[name] = value
        elseif type(before) == 'table' then
            before[#before + 1] = value
        else
            result[name] = { before, value }
        end
    end
    setmetatable(result, loose)
    if count > max then
        return result, 'truncated'
    end
    return result
end

-- A header value as text: string, number or boolean. nil for anything else.
local function scalar(value)
    local kind = type(value)
    if kind == 'string' then
        return value
    end
    return (kind == 'number' or kind == 'boolean') and tostring(value) or nil
end

local function check(name, value)
    local text = scalar(value)
    if not text then
        base.raise(('invalid header value for "%s": got %s, expected string, number or boolean')
            :format(base.printable(name), type(value)))
    end
    base.check_change(C.mg_ffi_field_check(name, #name, text, #text), name)
    return text
end

local function check_name(name)
    if type(name) ~= 'string' then
        base.raise('header name must be a string')
    end
end

local function put(change, req, kind, name, value)
    local text = check(name, value)
    base.check_change(change(req, kind, name, #name, text, #text), name)
end

--- Removes all fields with the name.
-- @tparam function change mg_ffi_response_field or mg_ffi_request_field; so in the next two
function M.clear(change, req, name)
    check_name(name)
    base.check_change(change(req, C.MG_FFI_CLEAR, name, #name, '', 0), name)
end

--- Adds a field.
-- @tparam value string, number, boolean, or an array of them
function M.add(change, req, name, value)
    check_name(name)
    if type(value) ~= 'table' then
        put(change, req, C.MG_FFI_ADD, name, value)
        return
    end
    for i = 1, #value do
        check(name, value[i])
    end
    for i = 1, #value do
        put(change, req, C.MG_FFI_ADD, name, value[i])
    end
end

--- Replaces a field.
-- @tparam value string, number, boolean, or an array of them
function M.set(change, req, name, value)
    check_name(name)
    if type(value) ~= 'table' then
        put(change, req, C.MG_FFI_SET, name, value)
        return
    end
    for i = 1, #value do
        check(name, value[i])
    end
    M.clear(change, req, name)
    M.add(change, req, name, value)
end

--- Checks a table of fields without changing anything; raises at the first bad one.
function M.check_all(headers)
    if type(headers) ~= 'table' then
        base.raise('headers must be a table')
    end
    for name, value in pairs(headers) do
        check_name(name)
        if type(value) ~= 'table' then
            check(name, value)
        else
            for i = 1, #value do
                check(name, value[i])
            end
        end
    end
end

return M
