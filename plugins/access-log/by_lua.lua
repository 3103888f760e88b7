-- SPDX-License-Identifier: Apache-2.0
-- `custom_fields_by_lua` of the plugins with Kong's names: fields of a line, each the result of a
-- piece of Lua. It sees the redacted record, and through `kong` what of Kong's kit can be had from
-- it: no secret gets around the redaction.
local moongate = moongate
local fields = require 'moongate.plugins.access-log.fields'
local scope = require 'moongate.plugins.access-log.scope'

local M = {}

-- In the function's own lines, so that a comment at the end of the code ends there.
local FRAME = 'lua: (function(kong) local moongate = kong\n%s\nend)(kong_of(record))'

local OUT_OF_REACH = { __index = function(_, name)
    error(("'%s' is not in reach of custom_fields_by_lua"):format(tostring(name)), 2)
end }

local function constant(value)
    return function() return value end
end

local function group(functions)
    return setmetatable(functions, OUT_OF_REACH)
end

local function headers_of(list)
    return function(name)
        local value = list and list[name:lower()]
        return type(value) == 'table' and value[1] or value
    end, constant(list or {})
end

-- Kong's kit as far as the record tells.
local function kong_of(record)
    local request_header, request_headers = headers_of(record.req_headers)
    local response_header, response_headers = headers_of(record.resp_headers)
    local named = function(name) return constant(name and { name = name } or nil) end
    return group({
        ctx = moongate.ctx,
        request = group({ get_header = request_header, get_headers = request_headers,
            get_method = constant(record.method), get_path = constant(record.path),
            get_host = constant(record.host), get_scheme = constant(record.scheme) }),
        response = group({ get_header = response_header, get_headers = response_headers,
            get_status = constant(record.status) }),
        client = group({ get_ip = constant(record.peer_ip),
            get_forwarded_ip = constant(record.client_ip),
            get_consumer = constant(record.consumer and { username = record.consumer } or nil) }),
        router = group({ get_route = named(record.route), get_service = named(record.service) }),
    })
end

local env = setmetatable({ kong_of = kong_of }, { __index = scope.env })

--- Puts the fields into a configuration of access-log. One with the name of a field of the record
-- stands in its place.
-- @tparam table ours
-- @tparam table|nil custom checked
function M.apply(ours, custom)
    if not custom or next(custom) == nil then
        return
    end
    local replaced = {}
    for name, code in pairs(custom) do
        ours.custom_fields[name] = FRAME:format(code)
        replaced[name:match('^[^.]+')] = true
    end
    ours.custom_env, ours.fields = env, {}
    for _, name in ipairs(fields.default) do
        if not replaced[name] then
            table.insert(ours.fields, name)
        end
    end
end

return M
