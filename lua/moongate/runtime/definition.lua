-- SPDX-License-Identifier: Apache-2.0
-- Checks what a plugin's files returned, and makes one form of its two layouts: handler and schema
-- (docs/plugin-reference.md).
local typedefs = require 'moongate.typedefs'

local M = {}

local METHODS = { 'init_worker', 'configure', 'rewrite', 'access', 'response', 'header_filter',
    'body_filter', 'log' }
local ENTITIES = { consumer = 'no_consumer', route = 'no_route', service = 'no_service' }

local function is_integer(value)
    return type(value) == 'number' and value == math.floor(value) and math.abs(value) < 2 ^ 53
end

-- The fixed texts that plugin authors know.
local function check_numbers(name, handler)
    if not is_integer(handler.PRIORITY) then
        return nil, ('Plugin "%s" cannot be loaded because its PRIORITY field is not a valid'
            .. ' integer number, got: "%s"'):format(name, tostring(handler.PRIORITY))
    end
    local version = handler.VERSION
    if type(version) ~= 'string' or not version:match('^%d+%.%d+%.%d+$') then
        return nil, ('Plugin "%s" cannot be loaded because its VERSION field does not follow the'
            .. ' "x.y.z" format, got: "%s"'):format(name, tostring(version))
    end
    return true
end

local function check_methods(name, handler)
    for _, method in ipairs(METHODS) do
        local fn = handler[method]
        if fn ~= nil and type(fn) ~= 'function' then
            return nil, ('plugin "%s": %s must be a function, got a %s')
                :format(name, method, type(fn))
        end
    end
    if handler.response and (handler.header_filter or handler.body_filter) then
        return nil, ("Plugin %q can't be loaded because it implements both `response` and"
            .. ' `header_filter` or `body_filter` methods'):format(name)
    end
    local headers = handler.IDENTITY_HEADERS
    if headers ~= nil and type(headers) ~= 'table' then
        return nil, ('plugin "%s": IDENTITY_HEADERS must be an array of names'):format(name)
    end
    return true
end

-- A map of fields becomes the array of one-key tables that the schema language wants, sorted by
-- name.
local function field_list(map)
    local names, fields = {}, {}
    for field in pairs(map) do
        names[#names + 1] = field
    end
    table.sort(names, function(a, b)
        return tostring(a) < tostring(b)
    end)
    for i, field in ipairs(names) do
        local def = map[field]
        if type(field) == 'number' then
            fields[i] = def
        else
            if type(def) == 'table' and type(def.fields) == 'table' and #def.fields == 0 then
                local copy = {}
                for k, v in pairs(def) do
                    copy[k] = v
                end
                copy.fields = field_list(def.fields)
                def = copy
            end
            fields[i] = { [field] = def }
        end
    end
    return fields
end

local function schema_of_handler(name, handler)
    local config = {
        type = 'record', required = true, fields = field_list(handler.config or {}),
        entity_checks = handler.checks,
    }
    local fields = { { protocols = typedefs.protocols_http }, { config = config } }
    for entity, flag in pairs(ENTITIES) do
        if handler[flag] then
            table.insert(fields, 1, { [entity] = typedefs[flag] })
        end
    end
    return { name = name, fields = fields }
end

local function defaults(handler)
    if handler.PRIORITY == nil then
        handler.PRIORITY = 1000
    end
    if handler.VERSION == nil then
        handler.VERSION = '0.0.0'
    end
end

local function check_layout(name, handler, schema, place)
    if type(handler) ~= 'table' then
        return nil, ('plugin "%s": its file must return a table, got a %s')
            :format(name, type(handler))
    elseif place.single then
        defaults(handler)
        if handler.config ~= nil and type(handler.config) ~= 'table' then
            return nil, ('plugin "%s": config must be a table of fields'):format(name)
        end
        return true
    elseif schema == nil then
        return nil, ('plugin "%s" has no schema.lua beside its handler.lua'):format(name)
    elseif type(schema) ~= 'table' then
        return nil, ('plugin "%s": schema.lua must return a table, got a %s')
            :format(name, type(schema))
    elseif handler.config ~= nil and not place.rock then
        return nil, ('plugin "%s" has both a config map and a schema.lua'):format(name)
    end
    return true
end

--- @tparam string name
-- @param handler what its file returned
-- @param schema what schema.lua returned, nil when there is none
-- @tparam table place { single =, folder =, rock = }
-- @treturn table|nil { name =, handler =, schema = }; nil, err
function M.check(name, handler, schema, place)
    local ok, err = check_layout(name, handler, schema, place)
    if ok then
        ok, err = check_numbers(name, handler)
    end
    if ok then
        ok, err = check_methods(name, handler)
    end
    if not ok then
        return nil, err
    end
    return { name = name, handler = handler, schema = schema or schema_of_handler(name, handler) }
end

return M
