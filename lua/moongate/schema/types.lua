-- SPDX-License-Identifier: Apache-2.0
--
-- The scalar types: which Lua values they take and what they make of them.
--
-- Each: test(value, walk, def) -> the value to use, or nil; and the fixed text for anything else.
local cjson = require 'cjson'
local units = require 'moongate.schema.units'

local M = {}

local function is_number(value)
    return type(value) == 'number' and value == value
end

local function as(kind)
    return function(value)
        if type(value) == kind then
            return value
        end
    end
end

-- A bare number is milliseconds only in a schema's own default; 0 needs no unit.
local function duration(value, walk)
    if type(value) == 'string' then
        return units.parse_duration(value)
    end
    if is_number(value) and (value == 0 or walk.in_default > 0) then
        return value
    end
end

local function bytes(value)
    if type(value) == 'string' then
        return units.parse_bytes(value)
    end
    if is_number(value) and value >= 0 and value == math.floor(value) then
        return value
    end
end

-- The part of JSON Schema that fits in a plugin's schema: type, required, properties, items, enum.
local JSON_TYPES = {
    object = function(v) return type(v) == 'table' and #v == 0 end,
    array = function(v) return type(v) == 'table' and (#v > 0 or next(v) == nil) end,
    string = function(v) return type(v) == 'string' end,
    number = is_number,
    integer = function(v) return is_number(v) and v == math.floor(v) end,
    boolean = function(v) return type(v) == 'boolean' end,
    null = function(v) return v == cjson.null end,
}

local function fits(value, schema)
    local kind = schema.type and JSON_TYPES[schema.type]
    if kind and not kind(value) then
        return false
    end
    for _, name in ipairs(type(value) == 'table' and schema.required or {}) do
        if value[name] == nil then
            return false
        end
    end
    for name, property in pairs(type(value) == 'table' and schema.properties or {}) do
        if value[name] ~= nil and not fits(value[name], property) then
            return false
        end
    end
    for _, item in ipairs(type(value) == 'table' and schema.items and value or {}) do
        if not fits(item, schema.items) then
            return false
        end
    end
    for i, choice in ipairs(schema.enum or {}) do
        if choice == value then
            break
        elseif i == #schema.enum then
            return false
        end
    end
    return true
end

local function json(value, _, def)
    if type(value) ~= 'string' then
        return nil
    end
    local ok, decoded = pcall(cjson.decode, value)
    local schema = def.json_schema.inline or def.json_schema
    if ok and fits(decoded, schema) then
        return value
    end
end

M.SCALARS = {
    string = { test = as('string'), text = 'expected a string' },
    secret = { test = as('string'), text = 'expected a string' },
    boolean = { test = as('boolean'), text = 'expected a boolean' },
    number = {
        test = function(v) return is_number(v) and v or nil end,
        text = 'expected a number',
    },
    percent = {
        test = function(v) return is_number(v) and v >= 0 and v <= 100 and v or nil end,
        text = 'expected a number from 0 to 100',
    },
    integer = {
        test = function(v) return is_number(v) and v == math.floor(v) and v or nil end,
        text = 'expected an integer',
    },
    ['function'] = { test = as('function'), text = 'expected a function' },
    duration = { test = duration, text = 'expected a duration with a unit, such as 10s or 50ms' },
    bytes = { test = bytes, text = 'expected a size in bytes, such as 65536 or 64KiB' },
    json = { test = json, text = 'expected valid JSON that fits its json_schema' },
    any = { test = function(v) return v end, text = 'expected a value' },
    foreign = {
        test = function(v) return type(v) == 'table' and v or nil end,
        text = 'expected a record',
    },
}

local NUMBERS = { number = true, integer = true, percent = true, bytes = true }

--- Turns the text of an expanded scalar into what the field's type asks for, where it can be.
-- @tparam table def
-- @param value
-- @return the number or boolean, else the value as it is
function M.coerce(def, value)
    if type(value) ~= 'string' then
        return value
    end
    if NUMBERS[def.type] and value:match('^[-+]?[%d.]') then
        return tonumber(value) or value
    end
    if def.type == 'boolean' and (value == 'true' or value == 'false') then
        return value == 'true'
    end
    return value
end

--- Adds what the type alone cannot hold: a bare number where a duration stands.
-- @tparam table def
-- @param value
-- @treturn ?string hint
function M.hint(def, value)
    if def.type == 'duration' and type(value) == 'number' then
        return ('write %ss or %sms'):format(value, value)
    end
end

return M
