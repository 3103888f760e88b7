-- SPDX-License-Identifier: Apache-2.0
--
-- Makes entities of items: checks their fields, resolves references to tables, finds duplicate
-- names, and gives ids to those that have none (docs/configuration.md): the same file gives the
-- same ids, wherever its lines move.
local cjson = require 'cjson'
local entities = require 'moongate.entities'
local schema = require 'moongate.schema'
local suggest = require 'moongate.schema.suggest'
local uuid = require 'moongate.config.uuid'
local validators = require 'moongate.schema.validators'

local M = {}

local UNKNOWN_REFERENCE, DUPLICATE, SAME_ID, TWO_PARENTS, MISSING =
    'MG1041', 'MG1042', 'MG1044', 'MG1045', 'MG1021'
local ROOT = 'fd02801f-0957-4a15-a55a-c8d9606f30b5'

local null = cjson.null

local Resolver = {}
Resolver.__index = Resolver

local function extend(path, key)
    local result = { unpack(path) }
    result[#result + 1] = key
    return result
end

local function is_set(value)
    return value ~= nil and value ~= null
end

-- Fields -----------------------------------------------------------------------------------------

function Resolver:check_fields(item)
    local about = entities.collections[item.collection]
    local entity, _, flat = about.schema:validate(item.raw, { soft = self.soft })
    if not entity then
        self.findings:add_schema_errors(item.path, flat)
        item.broken = true
        entity = {}
        for _, field in ipairs({ 'id', 'name', unpack(about.unique) }) do
            local value = item.raw[field] -- others may still refer to it
            entity[field] = type(value) == 'string' and value or nil
        end
    end
    for field in pairs(about.children) do
        entity[field] = nil
    end
    for field in pairs(about.refs) do
        entity[field] = nil
    end
    entity._comment, entity._ignore = nil, nil
    entity.created_at = entity.created_at or self.now
    entity.updated_at = entity.updated_at or self.now
    entity.__line, entity.__column = self.findings:line(item.path)
    item.entity = entity
end

-- Names ------------------------------------------------------------------------------------------

function Resolver:index_names(collection)
    local index = {}
    self.index[collection] = index
    for _, field in ipairs(entities.collections[collection].unique) do
        index[field] = {}
        for _, item in ipairs(self.items[collection]) do
            local value = item.entity[field]
            local first = value ~= nil and index[field][value]
            if first then
                local line = first.entity.__line
                self.findings:add(extend(item.path, field), {
                    code = DUPLICATE,
                    message = ('another %s has the %s "%s"'):format(
                        entities.collections[collection].noun, field, value)
                        .. (line and (', on line %d'):format(line) or ''),
                })
            elseif value ~= nil then
                index[field][value] = item
            end
        end
    end
end

local function find_item(self, collection, value)
    local index = self.index[collection]
    for _, field in ipairs(entities.collections[collection].unique) do
        if index[field][value] then
            return index[field][value]
        end
    end
    for _, item in ipairs(validators.is_uuid(value) and self.items[collection] or {}) do
        if item.entity.id == value then
            return item
        end
    end
end

local function names_of(self, collection)
    local field = entities.collections[collection].unique[1]
    local names = {}
    for name in pairs(self.index[collection][field]) do
        names[#names + 1] = name
    end
    return names, field
end

-- References -------------------------------------------------------------------------------------

-- What a reference was written as: a text, and where the text stands.
local function reference_text(value, path)
    if type(value) ~= 'table' then
        return value, path
    end
    for _, key in ipairs({ 'id', 'name', 'username', 'custom_id' }) do
        if is_set(value[key]) then
            return value[key], extend(path, key)
        end
    end
end

function Resolver:report_unknown(item, field, collection, text, path)
    local noun = entities.collections[collection].noun
    local names, name_field = names_of(self, collection)
    local suggestion = suggest.nearest(text, names)
    local near = suggestion and self.index[collection][name_field][suggestion]
    self.findings:add(path, {
        code = UNKNOWN_REFERENCE, message = ('no %s is called "%s"'):format(noun, text),
        fixed = ("invalid reference '%s: %s' (no such entry in '%s')")
            :format(field, text, collection),
        suggestion = suggestion, suggestion_line = near and near.entity.__line,
    })
    item.broken = true
end

-- The item that a written reference means; nil after a report.
function Resolver:find_written(item, field, collection, is_parent)
    local path = extend(item.path, field)
    local text, text_path = reference_text(item.raw[field], path)
    if type(text) ~= 'string' then
        item.broken = true
        self.findings:add_mismatch(path, 'a name, or a map with an id or name', item.raw[field])
        return nil
    end
    local target = find_item(self, collection, text)
    if item.parent and not (is_parent and target == item.parent) then
        item.broken = true
        self.findings:add(path, {
            code = TWO_PARENTS, at_key = true,
            message = 'an entity with two parents must stand at the top level',
        })
        return nil
    end
    if not target then
        self:report_unknown(item, field, collection, text, text_path)
        return nil
    end
    item.written = item.written or {}
    item.written[field] = text
    return target
end

function Resolver:resolve_reference(item, field, collection)
    local value = item.raw[field]
    local is_parent = item.parent_field == field
    local target
    if (self.soft and self.soft[item.raw] or {})[field] == false then
        item.broken = true -- its expansion failed and was reported
    elseif is_set(value) then
        target = self:find_written(item, field, collection, is_parent)
    elseif is_parent then
        target = item.parent
    end
    if target then
        item.entity[field] = target.entity
        item.broken = item.broken or target.broken
    end
end

function Resolver:resolve_references(item)
    local about = entities.collections[item.collection]
    for _, field in ipairs(schema.ordered_keys(about.refs)) do
        self:resolve_reference(item, field, about.refs[field])
    end
    for _, field in ipairs(about.required or {}) do
        if not item.entity[field] and not item.broken then
            self.findings:add(extend(item.path, field), {
                code = MISSING, message = 'required, but not set', fixed = 'required field missing',
            })
        end
    end
end

-- Ids --------------------------------------------------------------------------------------------

-- The same text for the same values, whatever the order of the keys.
local function digest_text(value, skip)
    if type(value) ~= 'table' then
        return type(value) == 'string' and ('%q'):format(value) or tostring(value)
    end
    local parts = {}
    for _, key in ipairs(schema.ordered_keys(value)) do
        if not (skip and skip(key)) then
            parts[#parts + 1] = tostring(key) .. '=' .. digest_text(value[key])
        end
    end
    return '{' .. table.concat(parts, ',') .. '}'
end

-- A parent's id, or the name as it is written, or nothing.
local function scope_part(item, field)
    if item.parent_field == field then
        return item.parent.entity.id
    end
    return item.written and item.written[field] or ''
end

local function key_of(item)
    local about = entities.collections[item.collection]
    local entity = item.entity
    if item.collection == 'plugins' then
        return ('plugins:*:%s:%s:%s:%s'):format(entity.name, scope_part(item, 'route'),
            scope_part(item, 'service'), scope_part(item, 'consumer'))
    elseif item.collection == 'targets' then
        return ('targets:*:%s:%s'):format(scope_part(item, 'upstream'), entity.target)
    end
    local name = about.unique[1] and entity[about.unique[1]]
    if name then
        return name
    end
    local parent = item.parent and item.parent.entity.id or ''
    return parent .. digest_text(item.raw, function(key)
        return about.children[key] ~= nil or key == '_comment' or key == '_ignore'
    end)
end

function Resolver:give_id(item)
    local entity, collection = item.entity, item.collection
    if not entity.id and not item.broken then
        local space = self.spaces[collection] or uuid.v5(ROOT, collection, self.sha1)
        self.spaces[collection] = space
        local key = key_of(item)
        local seen = self.keys[collection .. key] or 0
        self.keys[collection .. key] = seen + 1
        entity.id = uuid.v5(space, seen > 0 and ('%s#%d'):format(key, seen) or key, self.sha1)
    end
    local first = entity.id and self.ids[collection .. entity.id]
    if first and not item.broken then
        self.findings:add(extend(item.path, 'id'), {
            code = SAME_ID, message = ('another %s has the id %s'):format(
                entities.collections[collection].noun, entity.id)
                .. (first.__line and (', on line %d'):format(first.__line) or ''),
        })
    elseif entity.id then
        self.ids[collection .. entity.id] = entity
    end
end

--- Adds `entity` to each item, and `broken` to those that are in error.
-- @tparam table items of moongate.config.collect
-- @tparam table o findings, soft, now (s since the epoch), sha1 (or nil)
function M.run(items, o)
    local self = setmetatable({
        items = items, findings = o.findings, soft = o.soft, now = o.now, sha1 = o.sha1,
        index = {}, spaces = {}, keys = {}, ids = {},
    }, Resolver)
    for _, collection in ipairs(entities.order) do
        for _, item in ipairs(items[collection]) do
            self:check_fields(item)
        end
        self:index_names(collection)
    end
    for _, collection in ipairs(entities.order) do
        for _, item in ipairs(items[collection]) do
            self:resolve_references(item)
            self:give_id(item)
        end
    end
end

return M
