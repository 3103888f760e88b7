-- SPDX-License-Identifier: Apache-2.0
--
-- The schema engine: one language for entities, `gateway:` and plugin configurations
-- (docs/plugin-reference.md; our additions in definition.lua).
--
--     local schema = require 'moongate.schema'
--     local s = assert(schema.new({ name = 'tenant', fields = { { config = { … } } } }))
--     local value, errors, flat = s:validate(input)
--
-- `value` is a new table: defaults filled in, sets made, shorthands expanded, durations and sizes
-- as numbers, unset fields nil. On errors it is nil, `errors` has the shape of the input, and
-- `flat` lists them with their places: { path = {'config', 'limits', 1, 'quota'}, code =, message
-- = (the language's fixed text), expected =, found =, word =, choices =, example =, hint = }.
local cjson = require 'cjson'
local checks = require 'moongate.schema.checks'
local definition = require 'moongate.schema.definition'
local expression = require 'moongate.schema.expression'
local types = require 'moongate.schema.types'
local validators = require 'moongate.schema.validators'
local Walk = require 'moongate.schema.walk'

local M = {}
local Schema = {}
Schema.__index = Schema

-- Codes of findings; the loader's own are in moongate.config.
local MISSING, UNKNOWN_KEY, LATER = 'MG1021', 'MG1023', 'MG1027'
local WRONG_TYPE, REFUSED = 'MG1031', 'MG1032'

local null = cjson.null

local function copy(value)
    if type(value) ~= 'table' then
        return value
    end
    local result = {}
    for k, v in pairs(value) do
        result[k] = copy(v)
    end
    return setmetatable(result, getmetatable(value))
end

local function is_array(value)
    if type(value) ~= 'table' then
        return false
    end
    local count = 0
    for _ in pairs(value) do
        count = count + 1
    end
    return count == #value
end

-- A list that also answers by value: set['get'] is true. Numbers are found by position first.
local function make_set(list)
    local members = {}
    local result = {}
    for _, value in ipairs(list) do
        if not members[value] then
            members[value] = true
            result[#result + 1] = value
        end
    end
    return setmetatable(result, { __index = members })
end

local function is_listed(list, value)
    for _, item in ipairs(list or {}) do
        if item == value then
            return true
        end
    end
    return false
end

-- What `not_supported_yet` says about a value: a sentence or nil.
local function later(def, value)
    local mark = def.not_supported_yet
    if type(mark) == 'function' then
        mark = mark(value)
    elseif type(mark) == 'table' then
        mark = type(value) ~= 'table' and mark[value]
    end
    if not mark then
        return nil
    end
    return mark == true and 'not supported yet' or 'not supported yet: ' .. mark
end

--- The keys of a map: whole numbers first, then texts, each sorted.
-- @tparam table map
-- @treturn table array
function M.ordered_keys(map)
    local keys = {}
    for key in pairs(map) do
        keys[#keys + 1] = key
    end
    table.sort(keys, function(a, b)
        if type(a) == type(b) then
            return a < b
        end
        return type(a) == 'number'
    end)
    return keys
end

-- Elements of a list. Returns the new list, or nil and the errors by position.
function Schema:read_list(walk, def, value)
    if not is_array(value) then
        local text = def.type == 'set' and 'expected a set' or 'expected an array'
        return nil, walk:refuse(def, value, text, WRONG_TYPE, true)
    end
    local result, errors = {}, nil
    for i, item in ipairs(value) do
        walk:enter(i)
        local read, err = self:read_entry(walk, def.elements, item, value, i)
        walk:leave()
        if err then
            errors = errors or {}
            errors[i] = err
        end
        result[i] = read
    end
    if errors then
        return nil, errors
    end
    return def.type == 'set' and make_set(result) or result
end

local function number_key(def, key)
    if type(key) == 'string' and (def.type == 'number' or def.type == 'integer') then
        return tonumber(key) or key
    end
    return key
end

function Schema:read_map(walk, def, value)
    if type(value) ~= 'table' or #value > 0 then
        return nil, walk:refuse(def, value, 'expected a map', WRONG_TYPE, true)
    end
    local result, errors = {}, nil
    for _, key in ipairs(M.ordered_keys(value)) do
        walk:enter(key)
        local name, err = self:read_entry(walk, def.keys, number_key(def.keys, key))
        local read
        if err then
            walk.flat[#walk.flat].at_key = true
        else
            read, err = self:read_entry(walk, def.values, value[key], value, key)
        end
        walk:leave()
        if err then
            errors = errors or {}
            errors[key] = err
        else
            result[name] = read
        end
    end
    if errors then
        return nil, errors
    end
    return result
end

-- An entry of a list or map: never null.
function Schema:read_entry(walk, def, value, container, key)
    if value == null or value == nil then
        return nil, walk:fail('required field missing', { code = MISSING })
    end
    return self:read_value(walk, def, value, container, key)
end

local READERS = { array = 'read_list', set = 'read_list', map = 'read_map', record = 'read_record' }

local function check_expression(walk, value)
    local ok, message = expression.check(value)
    return not ok and walk:fail('not a Lua expression: ' .. message, { code = REFUSED }) or nil
end

-- A value that is not nil, of any type. Returns what to use, or nil and its error.
function Schema:read_value(walk, def, value, container, key)
    local source = walk:source_of(container, key)
    if source == false then
        return nil, Walk.UNREAD
    elseif source then
        value = types.coerce(def, value)
        container[key] = value
    end
    local outer = walk.source
    walk.source = source
    local result, err
    if later(def, value) then
        err = walk:fail(later(def, value), { code = LATER })
    elseif is_listed(def.also, value) then
        result = value
    elseif def.lua and expression.is(value) then
        result, err = value, check_expression(walk, value)
    else
        result, err = self:read_typed(walk, def, value)
    end
    walk.source = outer
    return result, err
end

function Schema:read_typed(walk, def, value)
    local result, err
    local reader = READERS[def.type]
    if reader then
        result, err = self[reader](self, walk, def, value)
    else
        local scalar = types.SCALARS[def.type]
        result = scalar.test(value, walk, def)
        if result == nil then
            err = walk:refuse(def, value, scalar.text, WRONG_TYPE, true)
            walk.flat[#walk.flat].hint = types.hint(def, value)
        end
    end
    if err then
        return nil, err
    end
    local message, code, plain = validators.run(def, result)
    if message then
        return nil, walk:refuse(def, value, message, code, plain)
    end
    return result
end

-- A field of a record, which may be unset. Fills defaults in.
function Schema:read_field(walk, def, value, container, key)
    if value == nil or value == null then
        if def.default ~= nil and def.default ~= null then
            walk.in_default = walk.in_default + 1
            local result, err = self:read_value(walk, def, copy(def.default))
            walk.in_default = walk.in_default - 1
            return result, err
        end
        if def.type == 'record' and def.required then
            return self:read_value(walk, def, {})
        end
        if def.ne == null then
            return nil, walk:fail(def.err or 'value must not be null', { code = REFUSED })
        end
        if def.required and not def.auto then
            return nil, walk:fail('required field missing', { code = MISSING })
        end
        return nil
    end
    if def.eq == null then
        return nil, walk:refuse(def, value, 'value must be null', REFUSED, false)
    end
    return self:read_value(walk, def, value, container, key)
end

-- Expands one shorthand into `input`. Notes in `origin` which fields came out of it.
function Schema:read_shorthand(walk, shorthand, input, origin, container)
    local name, def = shorthand.name, shorthand.def
    local value = input[name]
    input[name] = nil
    if value == nil or value == null then
        return nil
    end
    local read, err = self:read_value(walk, def, value, container, name)
    if err then
        return err
    end
    local ran, fields, reason = pcall(def.func, read)
    if not ran or (fields == nil and reason) then
        return walk:refuse(def, value, ran and reason or tostring(fields), REFUSED, false)
    end
    for field, new in pairs(fields or {}) do
        local present = input[field]
        if def.deprecation and present ~= nil and present ~= null then
            if type(new) ~= 'table' and new ~= present then
                return walk:fail(("both '%s' and '%s' are set, to different values")
                    :format(name, field), { code = REFUSED })
            end
        else
            input[field], origin[field] = new, name
        end
    end
end

-- Gives the input with shorthands expanded, which fields came out of them, and whether some could
-- not: then nobody can say which fields are missing.
function Schema:read_shorthands(walk, record, value, errors)
    local input, origin, input_is_partial = value, {}, false
    for _, shorthand in ipairs(record.shorthands) do
        if value[shorthand.name] ~= nil then
            if input == value then
                input = {}
                for k, v in pairs(value) do
                    input[k] = v
                end
            end
            walk:enter(shorthand.name)
            local err = self:read_shorthand(walk, shorthand, input, origin, value)
            walk:leave()
            errors[shorthand.name] = err
            input_is_partial = input_is_partial or err ~= nil
        end
    end
    return input, origin, input_is_partial
end

local function report_unknown(walk, record, input, errors)
    local choices
    for _, key in ipairs(M.ordered_keys(input)) do
        if record.defs[key] == nil then
            if not choices then
                choices = { unpack(record.names) }
                for _, shorthand in ipairs(record.shorthands) do
                    choices[#choices + 1] = shorthand.name
                end
            end
            walk:enter(key)
            errors[key] = walk:fail('unknown field',
                { code = UNKNOWN_KEY, word = key, choices = choices })
            walk:leave()
        end
    end
end

function Schema:read_record(walk, def, value)
    if type(value) ~= 'table' or (#value > 0 and is_array(value)) then
        return nil, walk:refuse(def, value, 'expected a record', WRONG_TYPE, true)
    end
    local record = self.index[def]
    local errors, result = {}, {}
    local input, origin, is_partial = self:read_shorthands(walk, record, value, errors)
    report_unknown(walk, record, input, errors)
    for _, name in ipairs(record.names) do
        walk:enter(origin[name] or name)
        local container = not origin[name] and value or nil
        local read, err
        if not (is_partial and input[name] == nil) then
            read, err = self:read_field(walk, record.defs[name], input[name], container, name)
        end
        walk:leave()
        result[name] = read
        errors[name] = errors[name] or err
    end
    checks.run(self, walk, def, record, result, errors)
    if next(errors) then
        return nil, errors
    end
    return result
end

--- Is the value what the field definition takes? Nothing is reported; nil counts as null.
-- @tparam Walk walk
-- @tparam table def
-- @param value
-- @treturn boolean
-- @return the error, where it is not
function Schema:matches(walk, def, value)
    local _, err
    if value == nil and def.eq ~= nil and def.eq ~= null then
        return false, 'value must be ' .. tostring(def.eq)
    end
    _, err = self:read_field(walk:aside(), def, value)
    return err == nil, err
end

--- Checks an input against the schema.
-- @tparam table input
-- @tparam[opt] table opts see moongate.schema.walk
-- @treturn ?table the processed value; nil on errors
-- @treturn ?table errors in the shape of the input
-- @treturn ?table flat list of the errors
function Schema:validate(input, opts)
    local walk = Walk.new(opts)
    local result, errors = self:read_record(walk, self.definition, input)
    if errors then
        return nil, errors, walk.flat
    end
    return result
end

--- The definition of a top-level field.
-- @tparam string name
-- @treturn ?table
function Schema:field(name)
    return self.index[self.definition].defs[name]
end

--- Compiles a schema.
-- @tparam table def `{name =, fields =, entity_checks =, shorthand_fields =}`
-- @treturn ?Schema
-- @treturn ?string the mistakes in it, one a line
function M.new(def)
    local index, mistakes = definition.read(def)
    if not index then
        return nil, mistakes
    end
    return setmetatable({ name = def.name, definition = def, index = index }, Schema)
end

--- The definition of a one-file plugin's `config` map (docs/plugin-reference.md).
-- @tparam string name
-- @tparam table config field name -> field definition; nested `fields` may be such maps
-- @tparam[opt] table entity_checks
-- @treturn table definition for `new`
function M.plugin_definition(name, config, entity_checks)
    local typedefs = require 'moongate.typedefs'
    local record = definition.expand({ type = 'record', required = true, fields = config or {} })
    record.entity_checks = entity_checks
    return {
        name = name,
        fields = { { protocols = typedefs.protocols_http }, { config = record } },
    }
end

return M
