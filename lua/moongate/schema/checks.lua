-- SPDX-License-Identifier: Apache-2.0
--
-- Entity checks: rules over several fields of one record, with the fixed texts of
-- docs/plugin-reference.md. Names of fields may be dotted paths.
--
-- A check sees the processed record, defaults included. A field that is in error takes the checks
-- on it out, but for the first five kinds.
local cjson = require 'cjson'

local M = {}

local CHECK_FAILED, MISSING = 'MG1034', 'MG1021'
local null = cjson.null

local function each_part(path)
    return path:gmatch('[^.]+')
end

local function get(record, path)
    local value = record
    for part in each_part(path) do
        if type(value) ~= 'table' then
            return nil
        end
        value = value[part]
    end
    return value
end

local function set(record, path, value)
    local parts = {}
    for part in each_part(path) do
        parts[#parts + 1] = part
    end
    local at = record
    for i = 1, #parts - 1 do
        if type(at[parts[i]]) ~= 'table' then
            at[parts[i]] = {}
        end
        at = at[parts[i]]
    end
    at[parts[#parts]] = value
end

local function is_filled(value)
    if value == nil or value == null or value == '' then
        return false
    end
    return type(value) ~= 'table' or next(value) ~= nil
end

local function quoted(names)
    local texts = {}
    for i, name in ipairs(names) do
        texts[i] = ("'%s'"):format(name)
    end
    return table.concat(texts, ', ')
end

local function count_filled(entity, names)
    local count = 0
    for _, name in ipairs(names) do
        if is_filled(get(entity, name)) then
            count = count + 1
        end
    end
    return count
end

-- The definition of a (dotted) field.
local function find_def(schema, record, path)
    local def
    for part in each_part(path) do
        if not record then
            return nil
        end
        def = record.defs[part]
        record = def and schema.index[def]
    end
    return def
end

local function merged(def, match)
    local result = {}
    for _, source in ipairs({ def or {}, match }) do
        for k, v in pairs(source) do
            result[k] = v
        end
    end
    result.default = nil
    result.type = result.type or 'any'
    return result
end

local function one_of_text(names)
    return 'at least one of these fields must be non-empty: ' .. quoted(names)
end

local CHECKS = {}

function CHECKS.at_least_one_of(self, names)
    if count_filled(self.entity, names) == 0 then
        return one_of_text(names)
    end
end

function CHECKS.conditional_at_least_one_of(self, arg)
    local value = get(self.entity, arg.if_field)
    local names, text
    if self:applies(arg.if_field, arg.if_match, value) then
        names, text = arg.then_at_least_one_of, arg.then_err
    elseif arg.else_match and self:applies(arg.if_field, arg.else_match, value) then
        names, text = arg.else_then_at_least_one_of, arg.else_then_err
    end
    if names and count_filled(self.entity, names) == 0 then
        return text and text:format(quoted(names)) or one_of_text(names)
    end
end

function CHECKS.only_one_of(self, names)
    if count_filled(self.entity, names) ~= 1 then
        return 'exactly one of these fields must be non-empty: ' .. quoted(names)
    end
end

function CHECKS.distinct(self, names)
    local seen = {}
    for _, name in ipairs(names) do
        local value = get(self.entity, name)
        if value ~= nil and value ~= null then
            if seen[value] then
                return 'values of these fields must be distinct: ' .. quoted(names)
            end
            seen[value] = true
        end
    end
end

function CHECKS.conditional(self, arg)
    if not self:applies(arg.if_field, arg.if_match, get(self.entity, arg.if_field)) then
        return nil
    end
    local ok, err = self:fits(arg.then_field, arg.then_match, get(self.entity, arg.then_field))
    if ok then
        return nil
    end
    if arg.then_err then
        return arg.then_err, arg.then_field, err, true
    end
    return ("failed conditional validation given value of field '%s'"):format(arg.if_field),
        arg.then_field, err
end

function CHECKS.mutually_required(self, names)
    local count = count_filled(self.entity, names)
    if count > 0 and count < #names then
        return 'all or none of these fields must be set: ' .. quoted(names)
    end
end

function CHECKS.mutually_exclusive(self, names)
    if count_filled(self.entity, names) > 1 then
        return 'only one or none of these fields must be set: ' .. quoted(names)
    end
end

function CHECKS.mutually_exclusive_sets(self, arg)
    if count_filled(self.entity, arg.set1) > 0 and count_filled(self.entity, arg.set2) > 0 then
        return ('these sets are mutually exclusive: (%s), (%s)')
            :format(quoted(arg.set1), quoted(arg.set2))
    end
end

function CHECKS.custom_entity_check(self, arg)
    local entity = {}
    for _, name in ipairs(arg.field_sources) do
        local value = get(self.entity, name)
        set(entity, name, value == nil and (arg.run_with_missing_fields and null or nil) or value)
    end
    local ran, ok, err, field = pcall(arg.fn, entity)
    if not ran then
        return 'the entity check failed: ' .. tostring(ok)
    end
    if not ok then
        return err or 'entity check failed', field and tostring(field)
    end
end

-- Kind -> the fields it names, and whether it runs though one of them is in error.
local function fields_of(kind, arg)
    if kind == 'conditional' then
        return { arg.if_field, arg.then_field }, true
    elseif kind == 'conditional_at_least_one_of' then
        local names = { arg.if_field, unpack(arg.then_at_least_one_of) }
        for _, name in ipairs(arg.else_then_at_least_one_of or {}) do
            names[#names + 1] = name
        end
        return names, true
    elseif kind == 'mutually_exclusive_sets' then
        local names = { unpack(arg.set1) }
        for _, name in ipairs(arg.set2) do
            names[#names + 1] = name
        end
        return names, false
    elseif kind == 'custom_entity_check' then
        return arg.field_sources, arg.run_with_invalid_fields
    end
    return arg, kind == 'at_least_one_of' or kind == 'only_one_of' or kind == 'distinct'
end

local METHODS = {}
METHODS.__index = METHODS

-- Does a field's value fit its own definition with the attributes of `match` on top?
function METHODS:fits(name, match, value)
    local def = merged(find_def(self.schema, self.record, name), match)
    if self.schema.index[def] == nil and def.type == 'record' then
        def.type = 'any' -- the record itself was checked already
    end
    return self.schema:matches(self.walk, def, value)
end

-- Does a condition hold? An unset field fits only what asks for null.
function METHODS:applies(name, match, value)
    if value == nil and match.eq ~= null then
        return false
    end
    return self:fits(name, match, value)
end

-- Where a check blames one field, the finding stands there and says both.
function METHODS:complain(message, field, detail)
    local list = self.errors['@entity'] or {}
    self.errors['@entity'] = list
    list[#list + 1] = message
    local entered = 0
    for part in each_part(field or '') do
        self.walk:enter(part)
        entered = entered + 1
    end
    self.walk:fail(message, { code = CHECK_FAILED, detail = detail })
    for _ = 1, entered do
        self.walk:leave()
    end
end

-- Puts an error on a (dotted) field that has none yet.
function METHODS:blame(name, err)
    if get(self.errors, name) == nil then
        set(self.errors, name, err)
    end
end

-- Are all fields there that the check cannot do without? Those missing are reported.
function METHODS:has_fields(names, may_miss)
    local complete = true
    for _, name in ipairs(names) do
        if not may_miss and get(self.entity, name) == nil then
            complete = false
            self:blame(name, 'field required for entity check')
            self.walk:enter(name)
            self.walk:fail('field required for entity check', { code = MISSING })
            self.walk:leave()
        end
    end
    return complete
end

function METHODS:is_invalid(names)
    for _, name in ipairs(names) do
        if get(self.errors, name) ~= nil or self.errors[name:match('^[^.]+')] ~= nil then
            return true
        end
    end
    return false
end

function METHODS:is_unread(names)
    for _, name in ipairs(names) do
        if get(self.errors, name) == self.walk.UNREAD then
            return true
        end
    end
    return false
end

function METHODS:run_one(kind, arg)
    local names, runs_with_invalid = fields_of(kind, arg)
    if self:is_unread(names) or (not runs_with_invalid and self:is_invalid(names)) then
        return
    end
    local is_custom = kind == 'custom_entity_check'
    if is_custom and not self:has_fields(names, arg.run_with_missing_fields) then
        return
    end
    local message, field, err, is_whole = CHECKS[kind](self, arg)
    if message then
        self:complain(message, field, type(err) == 'string' and not is_whole and err or nil)
        if field then
            self:blame(field, err or message)
        end
    end
end

--- Runs the checks of a record and adds to its errors.
-- @tparam Schema schema
-- @tparam Walk walk
-- @tparam table def the record's definition
-- @tparam table record its index
-- @tparam table entity the processed record
-- @tparam table errors
function M.run(schema, walk, def, record, entity, errors)
    if not def.entity_checks then
        return
    end
    local self = setmetatable({
        schema = schema, walk = walk, record = record, entity = entity, errors = errors,
    }, METHODS)
    for _, check in ipairs(def.entity_checks) do
        local kind, arg = next(check)
        self:run_one(kind, arg)
    end
end

return M
