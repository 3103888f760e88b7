-- SPDX-License-Identifier: Apache-2.0
--
-- Tables of options for the documents, made from the schemas that the gateway checks by: one row
-- for each key, with what it takes, its default and the schema's own description.
local describe = require 'moongate.schema.describe'

local M = {}

local HEADER = '| Key | Takes | Default | Meaning |\n|---|---|---|---|\n'

local function cell(text)
    return (text:gsub('|', '\\|'):gsub('\n', ' '))
end

-- Values of an enumeration that can be used today, and those that cannot.
local function choices(def)
    local now, later = {}, {}
    local refused = type(def.not_supported_yet) == 'table' and def.not_supported_yet or {}
    for _, value in ipairs(def.one_of or {}) do
        table.insert(refused[value] and later or now, value)
    end
    return now, later
end

local function copy_with(def, name, value)
    local copy = {}
    for k, v in pairs(def) do
        copy[k] = v
    end
    copy[name] = value
    return copy
end

local function list_of(def)
    local kind = def.elements.type == 'record' and 'maps' or M.takes(def.elements)
    local words = 'a list of ' .. kind:gsub('^one of: ', ': ')
    if kind:match('^an? ') then
        words = 'a list, each ' .. kind
    end
    local size = describe.expected(def):gsub('^a list ?o?f? ?', '')
    return words:gsub(' :', ':') .. (size ~= '' and '; ' .. size or '')
end

--- What a field takes, in the words of the error messages.
-- @tparam table def field definition
-- @treturn string
function M.takes(def)
    if def.type == 'array' or def.type == 'set' then
        return list_of(def)
    elseif def.type == 'map' and def.values.type ~= 'record' then
        return 'a map to ' .. M.takes(def.values)
    elseif def.type == 'any' then
        local later = def.not_supported_yet -- a function refuses some values only
        return later and type(later) ~= 'function' and '' or 'anything'
    end
    return describe.expected(copy_with(def, 'one_of', def.one_of and choices(def)))
end

local function show_table(value)
    local parts = {}
    for _, item in ipairs(value) do
        parts[#parts + 1] = M.show(item)
    end
    if #value > 0 or next(value) == nil then
        return '[' .. table.concat(parts, ', ') .. ']'
    end
    for key, item in pairs(value) do
        parts[#parts + 1] = key .. ': ' .. M.show(item)
    end
    table.sort(parts)
    return '{ ' .. table.concat(parts, ', ') .. ' }'
end

--- A value as one writes it in the file.
-- @treturn string
function M.show(value)
    if type(value) == 'table' then
        return show_table(value)
    end
    return tostring(value)
end

local function default_of(def)
    if def.default ~= nil then
        local text = M.show(def.default)
        if def.type == 'map' and text == '[]' then
            text = '{}'
        end
        return '`' .. text .. '`'
    end
    return def.required and def.type ~= 'record' and 'required' or ''
end

local ODD_VALUES = { {}, 'lua:return 1', 1 }  -- one of them is refused, whatever a field takes

-- What a function that refuses values says of them.
local function reason_of(refuse)
    for _, value in ipairs(ODD_VALUES) do
        local ok, reason = pcall(refuse, value)
        if ok and type(reason) == 'string' then
            return reason
        end
    end
end

-- Why a field without a description is refused; true without a reason; nil when it is not.
local function refusal(def)
    local later = def.not_supported_yet
    if def.description or type(later) == 'table' then
        return nil
    elseif type(later) == 'function' then
        return reason_of(later)
    end
    return later
end

-- What of the field cannot be used yet, or nil.
local function later_of(def)
    local later = def.not_supported_yet or (def.elements and def.elements.not_supported_yet)
    if type(later) == 'function' then
        local which = def.default ~= nil and '**Other' or '**Some'
        local reason = reason_of(later)
        return which .. ' values: not supported yet' .. (reason and '**: ' .. reason or '**') .. '.'
    elseif type(later) == 'table' then
        local names = {}
        for value in pairs(later) do
            names[#names + 1] = tostring(value)
        end
        table.sort(names)
        return ('**Not supported yet: %s.**'):format(table.concat(names, ', '))
    end
    local reason = refusal(def)
    if type(reason) == 'string' then
        return '**Not supported yet**: ' .. reason .. '.'
    end
    return later and '**Not supported yet.**' or nil
end

local function meaning_of(def)
    local text = def.description or ''
    if def.examples then
        text = text .. '; example: `' .. M.show(def.examples[1]) .. '`'
    end
    local later = later_of(def)
    return later and text .. (text ~= '' and '. ' or '') .. later or text
end

local Writer = {}
Writer.__index = Writer

function Writer:row(path, def)
    self.rows[#self.rows + 1] = ('| `%s` | %s | %s | %s |\n'):format(path, cell(M.takes(def)),
        cell(default_of(def)), cell(meaning_of(def)))
    if not def.description and not refusal(def) then
        self.missing[#self.missing + 1] = path
    end
end

local function names_of(fields)
    local names = {}
    for i, entry in ipairs(fields) do
        names[i] = '`' .. next(entry) .. '`'
    end
    return table.concat(names, ', ')
end

-- A record that has been shown under another key is only named.
function Writer:brief_row(path, fields)
    self.rows[#self.rows + 1] = ('| `%s` | a map |  | values of its own: %s |\n'):format(path,
        names_of(fields))
end

function Writer:field(path, def)
    if self.brief[path] then
        return self:brief_row(path, def.fields)
    end
    local inner, suffix = nil, ''
    if def.type == 'record' then
        inner = def
    elseif def.elements and def.elements.type == 'record' then
        inner, suffix = def.elements, '[]'
    elseif def.type == 'map' and def.values.type == 'record' then
        inner, suffix = def.values, '.NAME'
    end
    if not inner or def.description then
        self:row(path, def)
    end
    if inner then
        self:fields(path .. suffix, inner)
    end
end

function Writer:fields(prefix, record)
    for _, list in ipairs({ record.fields or {}, record.shorthand_fields or {} }) do
        for _, entry in ipairs(list) do
            local name, def = next(entry)
            if not (self.skip[name] and prefix == self.root) and not def.hidden then
                self:field(prefix == '' and name or prefix .. '.' .. name, def)
            end
        end
    end
end

--- The table of a record's fields.
-- @tparam table record definition
-- @tparam[opt] table o root (text in front of the keys), skip (set of names at the top), brief (set
-- of paths whose fields are only named)
-- @treturn string Markdown
-- @treturn table paths of fields without a description
function M.table_of(record, o)
    o = o or {}
    local writer = setmetatable({
        rows = {}, missing = {}, skip = o.skip or {}, brief = o.brief or {}, root = o.root or '',
    }, Writer)
    writer:fields(writer.root, record)
    return HEADER .. table.concat(writer.rows), writer.missing
end

return M
