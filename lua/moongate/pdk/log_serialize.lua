-- SPDX-License-Identifier: Apache-2.0
-- moongate.log.serialize(): the access-log table of a request, and set_serialize_value, which edits
-- it. Edits are kept until the log phase asks for the table.
local ffi = require 'ffi'
local args = require 'moongate.pdk.args'
local base = require 'moongate.pdk.base'
local fields = require 'moongate.pdk.fields'
local router = require 'moongate.pdk.router'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {}

local MAX_ENTRIES = 1000
local REDACTED = 'REDACTED'
local SECRET = { 'authorization', 'proxy-authorization' }
local SOURCES = { [0] = 'kong', 'upstream', 'exit', 'error' }
local NOTES = { own = true, upstream = true }  -- what the loader adds to entities
local MODES = { set = true, add = true, replace = true }

local target, status = ffi.new('struct mg_ffi_str'), ffi.new('int[1]')

local function headers_of(req, which)
    local headers = fields.all(req, which, MAX_ENTRIES)
    for _, name in ipairs(SECRET) do
        if rawget(headers, name) ~= nil then
            headers[name] = REDACTED
        end
    end
    return setmetatable(headers, nil)
end

local function query_of(req)
    local query = base.text(req, C.MG_FFI_QUERY)
    return query and args.decode(query, #query, MAX_ENTRIES) or {}
end

local function path_of(req)
    local query = base.text(req, C.MG_FFI_QUERY)
    local path = base.text(req, C.MG_FFI_PATH) or ''
    return query and path .. '?' .. query or path
end

local function request_of(req)
    local host = base.text(req, C.MG_FFI_HOST)
    local port = C.mg_ffi_req_int(req, C.MG_FFI_SERVER_PORT)
    local uri = path_of(req)
    return {
        id = base.text(req, C.MG_FFI_REQUEST_ID),
        uri = uri,
        url = host ~= '' and ('http://%s:%d%s'):format(host, port, uri) or nil,
        querystring = query_of(req),
        method = base.text(req, C.MG_FFI_METHOD),
        headers = headers_of(req, C.MG_FFI_REQUEST),
        size = C.mg_ffi_req_measure(req, C.MG_FFI_BYTES_IN),
    }
end

local function tries_of(req)
    local tries = {}
    for i = 0, C.mg_ffi_req_int(req, C.MG_FFI_TRIES) - 1 do
        if C.mg_ffi_req_try(req, i, target, status) == 1 then
            local text = ffi.string(target.ptr, target.len)
            local ip, port = text:match('^(.*):(%d+)$')
            tries[#tries + 1] = {
                ip = ip or text,
                port = tonumber(port),
                code = status[0] > 0 and status[0] or nil,
            }
        end
    end
    return tries
end

local function latencies_of(req)
    return {
        request = C.mg_ffi_req_measure(req, C.MG_FFI_TOTAL_MS),
        kong = C.mg_ffi_req_measure(req, C.MG_FFI_GATEWAY_MS),
        proxy = C.mg_ffi_req_measure(req, C.MG_FFI_UPSTREAM_MS),
        receive = C.mg_ffi_req_measure(req, C.MG_FFI_RECEIVE_MS),
    }
end

local function authenticated_of(object)
    local consumer, credential = object.consumer, object.credential
    if not (consumer or credential) then
        return nil
    end
    return {
        id = credential and credential.id,
        consumer_id = consumer and consumer.id,
    }
end

-- An entity as it stands in the file: without the loader's notes; what it refers to by id.
local function entity_of(entity)
    if not entity then
        return nil
    end
    local result = {}
    for key, value in pairs(entity) do
        if type(key) == 'string' and not NOTES[key] and key:sub(1, 2) ~= '__' then
            local is_reference = type(value) == 'table' and rawget(value, 'id') ~= nil
            result[key] = is_reference and { id = value.id } or value
        end
    end
    return result
end

local function build(req, object)
    local up_status = C.mg_ffi_req_int(req, C.MG_FFI_UP_STATUS)
    return {
        request = request_of(req),
        upstream_uri = base.text(req, C.MG_FFI_UP_PATH) or '',
        upstream_status = up_status > 0 and tostring(up_status) or nil,
        response = {
            status = C.mg_ffi_req_int(req, C.MG_FFI_STATUS),
            headers = headers_of(req, C.MG_FFI_RESPONSE),
            size = C.mg_ffi_req_measure(req, C.MG_FFI_BYTES_OUT),
        },
        latencies = latencies_of(req),
        tries = tries_of(req),
        authenticated_entity = authenticated_of(object),
        route = entity_of(router.route_of(req)),
        service = entity_of(router.service_of(req)),
        consumer = entity_of(object.consumer),
        client_ip = base.text(req, C.MG_FFI_CLIENT_IP),
        started_at = C.mg_ffi_req_measure(req, C.MG_FFI_STARTED_MS),
        source = SOURCES[C.mg_ffi_req_int(req, C.MG_FFI_SOURCE)],
    }
end

-- 'a.b\.c' -> { 'a', 'b.c' }
local function split_path(path)
    local keys = {}
    for key in path:gsub('\\%.', '\0'):gmatch('[^.]+') do
        keys[#keys + 1] = (key:gsub('%z', '.'))
    end
    return keys
end

-- Values inside are copied on the way, so that shared entities stay as they are.
local function copy(value)
    local result = {}
    for key, each in pairs(value) do
        result[key] = each
    end
    return result
end

local function apply(root, edit)
    local keys = split_path(edit.path)
    local at = root
    for i = 1, #keys - 1 do
        local inner = at[keys[i]]
        if type(inner) ~= 'table' then
            if inner ~= nil or edit.mode == 'replace' then
                return
            end
            inner = {}
        end
        at[keys[i]] = copy(inner)
        at = at[keys[i]]
    end
    local last = keys[#keys]
    local is_set = at[last] ~= nil
    if edit.mode == 'set' or edit.mode == 'add' and not is_set or edit.mode == 'replace' and is_set
    then
        at[last] = edit.value
    end
end

--- The access-log table. Authorization headers are REDACTED.
-- @treturn table
function M.serialize()
    local req, object = base.request(base.LOG)
    local root = build(req, object)
    local edits = object.ctx and object.ctx.log_edits
    for _, edit in ipairs(edits or {}) do
        apply(root, edit)
    end
    return root
end

--- Changes the table that serialize will give.
-- @tparam string path dots make sub-tables, `\.` is a plain dot
-- @param value string, number, boolean, table or nil (removes)
-- @tparam[opt] table opts { mode = 'set' | 'add' | 'replace' }: always, only when absent, only when
-- there
function M.set_value(path, value, opts)
    local _, object = base.request(base.REQUEST)
    base.check_type(path, 'string', 'key')
    if path == '' then
        base.raise('key must not be empty')
    end
    local mode = opts and opts.mode or 'set'
    if not MODES[mode] then
        base.raise('mode must be one of: set, add, replace')
    end
    local kind = type(value)
    if kind == 'function' or kind == 'thread' or kind == 'userdata' or kind == 'cdata' then
        base.raise('value must be nil, a number, string, boolean or table')
    end
    local ctx = runtime.ctx(object)
    local edits = ctx.log_edits or {}
    ctx.log_edits = edits
    edits[#edits + 1] = { path = path, value = value, mode = mode }
end

return M
