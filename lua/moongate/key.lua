-- SPDX-License-Identifier: Apache-2.0
-- The key of a request: what its parts resolve to, handed to C piece by piece, without making a Lua
-- string where the request has the bytes already.
--
--     local missing = key.build(set, req, object, list, prefixes)
--
-- A part's name is in the identity of the limit (plugins/rate-limit/policy.lua), so its value alone
-- goes into the key. Tags keep a value apart from what stands for a missing one.
local ffi = require 'ffi'
local args = require 'moongate.pdk.args'
local expression = require 'moongate.expression'
local cookie = require 'moongate.pdk.cookie'
local fields = require 'moongate.pdk.fields'
local C = require('moongate.runtime.ffi').C

local M = {}

local VALUE, ADDRESS_INSTEAD, SHARED = 1, 2, 3 -- tags

local view = ffi.new('struct mg_ffi_str')
local arg = ffi.new('struct mg_ffi_arg')

local function put(set, text)
    if text == nil or text == '' then
        return false
    end
    C.mg_ffi_limits_text(set, VALUE, text, #text)
    return true
end

-- A text that C knows by a number.
local function text_of(which)
    return function(set, req)
        if C.mg_ffi_req_text(req, which, view) == 0 or view.len == 0 then
            return false
        end
        C.mg_ffi_limits_text(set, VALUE, view.ptr, view.len)
        return true
    end
end

-- Kind -> function(set, req, object, part, prefixes): whether there is something.
local RESOLVERS = {
    method = text_of(C.MG_FFI_METHOD), path = text_of(C.MG_FFI_PATH),
    host = text_of(C.MG_FFI_HOST), route = text_of(C.MG_FFI_ROUTE_ID),
    service = text_of(C.MG_FFI_SERVICE_ID),
}

-- Parts that the option `scope` adds: never missing, all requests without the entity are one.
for _, kind in ipairs({ 'route', 'service' }) do
    RESOLVERS['each ' .. kind] = function(set, req)
        if not RESOLVERS[kind](set, req) then
            C.mg_ffi_limits_text(set, SHARED, '', 0)
        end
        return true
    end
end

function RESOLVERS.ip(set, req, _, _, prefixes)
    C.mg_ffi_limits_address(set, VALUE, req, prefixes.ipv4, prefixes.ipv6)
    return true
end

function RESOLVERS.const()
    return true
end

function RESOLVERS.consumer(set, _, object)
    local consumer = object.consumer
    return put(set, consumer and (consumer.id or consumer.username))
end

function RESOLVERS.credential(set, _, object)
    local credential = object.credential
    return put(set, credential and (credential.id or credential.key))
end

-- A field that is there several times counts with all its values (RFC 9110, 5.3).
function RESOLVERS.header(set, req, _, part)
    local name = part.name
    local at = C.mg_ffi_fields_find(req, C.MG_FFI_REQUEST, name, #name, 0, view)
    if at == 0 then
        return false
    end
    local ptr, len = view.ptr, view.len
    if C.mg_ffi_fields_find(req, C.MG_FFI_REQUEST, name, #name, at, view) > 0 then
        return put(set, fields.joined(req, C.MG_FFI_REQUEST, name))
    elseif len == 0 then
        return false
    end
    C.mg_ffi_limits_text(set, VALUE, ptr, len)
    return true
end

function RESOLVERS.query(set, req, _, part)
    local name = part.name
    if C.mg_ffi_req_text(req, C.MG_FFI_QUERY, view) == 0
        or C.mg_ffi_args_find(view.ptr, view.len, name, #name, arg) == 0
        or arg.value.len == 0 then
        return false
    elseif arg.escaped ~= 0 then
        return put(set, args.find(view.ptr, tonumber(view.len), name))
    end
    C.mg_ffi_limits_text(set, VALUE, arg.value.ptr, arg.value.len)
    return true
end

function RESOLVERS.cookie(set, req, _, part)
    return put(set, cookie.of(req, part.name))
end

-- M.compute gave the value before.
function RESOLVERS.lua(set, _, _, part)
    return put(set, part.value)
end

--- The value of a part in Lua, for part.value. May wait, so before a key is begun.
-- @tparam table part of M.prepare
-- @treturn string|nil
function M.compute(part)
    local ok, value = part.expression()
    if not ok or not value then
        return nil
    elseif type(value) == 'number' then
        return tostring(value)
    elseif type(value) ~= 'string' then
        part.expression:refuse(value, 'text, a number, nil or false')
        return nil
    end
    return value
end

--- Parts as build takes them: expressions are compiled.
-- @tparam table list of parts (key_parts.lua)
-- @treturn table list
function M.prepare(list)
    local ready = {}
    for i, part in ipairs(list) do
        ready[i] = part
        if part.kind == 'lua' then
            ready[i] = { kind = 'lua', name = part.name,
                expression = expression.compile('lua:' .. part.name, { option = 'key' }) }
        end
    end
    return ready
end

--- Begins a key and adds its parts. The parts that the request does not have are counted, and stood
-- for as `missing` says.
-- @tparam cdata set struct mg_ffi_limits *
-- @tparam cdata req
-- @tparam table object the runtime's, of the request
-- @tparam table list of M.prepare
-- @tparam table prefixes { ipv4 =, ipv6 = } bits
-- @tparam string missing option key_missing
-- @treturn boolean false: a part is missing, and the limit is not to be decided by this key
function M.build(set, req, object, list, prefixes, missing)
    C.mg_ffi_limits_key(set)
    local complete = true
    for i = 1, #list do
        local part = list[i]
        if not RESOLVERS[part.kind](set, req, object, part, prefixes) then
            C.mg_ffi_limits_missing(set, part.counter or -1)
            if missing == 'ip' then
                C.mg_ffi_limits_address(set, ADDRESS_INSTEAD, req, prefixes.ipv4, prefixes.ipv6)
            elseif missing == 'shared' then
                C.mg_ffi_limits_text(set, SHARED, '', 0)
            else
                complete = false
            end
        end
    end
    return complete
end

return M
