-- SPDX-License-Identifier: Apache-2.0
--
-- What a schema may say: finds the mistakes of a schema's author before any value is checked, and
-- indexes its records (docs/plugin-reference.md).
--
-- Beside the language of Kong there are, for our own schemas:
--   types duration (milliseconds from "10s"), bytes (from "64KiB"), percent, secret, any
--   also = {false, 'auto'}      literal values that are taken besides what the type says
--   lua = true                  the text `lua:` and an expression is taken too, and stays a text
--   not_supported_yet           true, or a reason: the field may not be set; or a map of
--                               value -> true or reason, or a function of the value that gives
--                               one: these values may not
local M = {}

local function set(text)
    local result = {}
    for word in text:gmatch('%S+') do
        result[word] = true
    end
    return result
end

local COMMON = set([[
    type required default description examples reference auto unique unique_across_ws on_delete
    abstract immutable err encrypted referenceable transient deprecation eq ne one_of not_one_of
    custom_validator func indexed legacy hidden also lua not_supported_yet]])

local LENGTHS = 'len_eq len_min len_max '
local TEXT = set(LENGTHS .. [[uuid is_regex starts_with not_match match_none match match_all
    match_any contains]])
local NUMBER = set('between gt timestamp')

-- Type -> attributes besides the common ones, and attributes it must have.
local TYPES = {
    string = { may = TEXT },
    secret = { may = TEXT },
    number = { may = NUMBER },
    integer = { may = NUMBER },
    duration = { may = NUMBER },
    bytes = { may = NUMBER },
    percent = { may = NUMBER },
    boolean = { may = {} },
    any = { may = {} },
    ['function'] = { may = {} },
    json = { may = set('json_schema'), must = { 'json_schema' } },
    foreign = { may = {}, must = { 'reference' } },
    array = { may = set(LENGTHS .. 'elements contains'), must = { 'elements' } },
    set = {
        may = set(LENGTHS .. 'elements contains mutually_exclusive_subsets'),
        must = { 'elements' },
    },
    map = { may = set(LENGTHS .. 'keys values'), must = { 'keys', 'values' } },
    record = { may = set('fields entity_checks shorthand_fields'), must = { 'fields' } },
}

local CHECKS = set([[at_least_one_of conditional_at_least_one_of only_one_of distinct conditional
    mutually_required mutually_exclusive mutually_exclusive_sets custom_entity_check]])

local Reader = {}
Reader.__index = Reader

function Reader:complain(path, message)
    self.mistakes[#self.mistakes + 1] = path == '' and message or path .. ': ' .. message
end

local function sorted_keys(map)
    local keys = {}
    for key in pairs(map) do
        keys[#keys + 1] = tostring(key)
    end
    table.sort(keys)
    return keys
end

-- Reads a list of one-key tables and calls each(name, def, path) for the good ones.
function Reader:read_fields(list, path, each)
    if type(list) ~= 'table' then
        return self:complain(path, 'fields must be a list')
    end
    for i, entry in ipairs(list) do
        local name, def = nil, nil
        if type(entry) == 'table' then
            name, def = next(entry)
        end
        if type(entry) ~= 'table' then
            self:complain(('%s[%d]'):format(path, i), 'each entry in fields must be a sub-table')
        elseif name == nil then
            self:complain(('%s[%d]'):format(path, i), 'field entry table is empty')
        elseif type(name) ~= 'string' or type(def) ~= 'table' then
            self:complain(('%s[%d]'):format(path, i), 'each entry in fields must be a sub-table')
        else
            each(name, def, path == '' and name or path .. '.' .. name)
        end
    end
end

function Reader:read_checks(checks, path)
    for i, check in ipairs(checks or {}) do
        local name = type(check) == 'table' and next(check)
        if not CHECKS[name] then
            self:complain(path, ('entity check %d is unknown: %s'):format(i, tostring(name)))
        end
    end
end

--- Indexes a record: fields by name and in order.
function Reader:read_record(def, path)
    if self.index[def] then
        return
    end
    local record = { names = {}, defs = {}, shorthands = {} }
    self.index[def] = record
    self:read_fields(def.fields, path, function(name, field, field_path)
        if record.defs[name] then
            self:complain(field_path, 'declared twice')
        end
        record.names[#record.names + 1] = name
        record.defs[name] = field
        self:read_field(field, field_path)
    end)
    if def.shorthand_fields then
        self:read_fields(def.shorthand_fields, path, function(name, field, field_path)
            record.shorthands[#record.shorthands + 1] = { name = name, def = field }
            if type(field.func) ~= 'function' then
                self:complain(field_path, 'a shorthand must declare func')
            end
            self:read_field(field, field_path)
        end)
    end
    self:read_checks(def.entity_checks, path)
end

function Reader:read_attributes(def, kind, path)
    for _, name in ipairs(kind.must or {}) do
        if def[name] == nil then
            self:complain(path, ("field of type '%s' must declare '%s'"):format(def.type, name))
        end
    end
    for _, name in ipairs(sorted_keys(def)) do
        if not (COMMON[name] or kind.may[name]) then
            self:complain(path, ("field of type '%s' cannot have attribute '%s'")
                :format(def.type, name))
        end
    end
end

function Reader:read_field(def, path)
    if type(def) ~= 'table' or def.type == nil then
        return self:complain(path, 'missing type declaration')
    end
    local kind = TYPES[def.type]
    if not kind then
        return self:complain(path, ("unknown type '%s'"):format(tostring(def.type)))
    end
    self:read_attributes(def, kind, path)
    if def.elements then
        self:read_field(def.elements, path .. '.elements')
    end
    if def.keys and def.type == 'map' then
        self:read_field(def.keys, path .. '.keys')
    end
    if def.values and def.type == 'map' then
        self:read_field(def.values, path .. '.values')
    end
    if def.type == 'record' and def.fields then
        self:read_record(def, path)
    end
end

--- Reads a definition.
-- @tparam table definition `{name =, fields =, entity_checks =, shorthand_fields =}`
-- @treturn ?table index: record definition -> {names, defs, shorthands}
-- @treturn ?string the author's mistakes, one a line, each with the path of its field
function M.read(definition)
    local reader = setmetatable({ index = {}, mistakes = {} }, Reader)
    if type(definition) ~= 'table' then
        return nil, 'a schema must be a table, got ' .. type(definition)
    end
    reader:read_record(definition, '')
    if #reader.mistakes > 0 then
        return nil, table.concat(reader.mistakes, '\n')
    end
    return reader.index
end

-- `fields` of the one-file form may be a map; sorted by name it becomes a list.
local function listed(fields)
    if #fields > 0 or next(fields) == nil then
        return fields
    end
    local list = {}
    for _, name in ipairs(sorted_keys(fields)) do
        list[#list + 1] = { [name] = M.expand(fields[name]) }
    end
    return list
end

--- Turns the map form of nested `fields`, which a one-file plugin may use, into lists.
-- @tparam table def field definition
-- @treturn table def, a copy where something changed
function M.expand(def)
    if type(def) ~= 'table' then
        return def
    end
    local copy = {}
    for name, value in pairs(def) do
        copy[name] = value
    end
    for _, name in ipairs({ 'elements', 'keys', 'values' }) do
        if type(def[name]) == 'table' then
            copy[name] = M.expand(def[name])
        end
    end
    if def.type == 'record' and type(def.fields) == 'table' then
        copy.fields = listed(def.fields)
    end
    return copy
end

return M
