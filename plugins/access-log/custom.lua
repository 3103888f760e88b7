-- SPDX-License-Identifier: Apache-2.0
-- `custom_fields` with values in Lua: computed for each request, once for all sinks.
local cjson = require 'cjson'
local scope = require 'moongate.plugins.access-log.scope'

local M = {}

local WANTED = 'text, a number, a boolean or a flat table of them'

local Fields = {}
Fields.__index = Fields

--- Sets a value at a name with dots.
-- @tparam table at
-- @tparam string name
-- @param value
function M.set(at, name, value)
    local first, rest = name:match('^([^.]+)%.(.+)$')
    if not first then
        at[name] = value
        return
    end
    at[first] = at[first] or {}
    M.set(at[first], rest, value)
end

--- Has it values in Lua?
-- @tparam table custom
-- @treturn boolean
function M.are_computed(custom)
    for _, value in pairs(custom) do
        if scope.is_expression(value) then
            return true
        end
    end
    return false
end

--- Of a checked configuration that has some.
-- @tparam table custom
-- @tparam table reader takes secrets out of texts
-- @tparam table|nil env globals in reach, other than those of all values in Lua
-- @treturn table
function M.new(custom, reader, env)
    local list = {}
    for name, value in pairs(custom) do
        list[#list + 1] = { name = name, value = value, expression = scope.is_expression(value)
            and scope.compile(value, 'custom_fields.' .. name, env) or nil }
    end
    table.sort(list, function(a, b) return a.name < b.name end)
    return setmetatable({ list = list, reader = reader }, Fields)
end

-- As it may stand in a line, or nil.
local function clean(reader, value)
    local kind = type(value)
    if kind == 'string' then
        return reader:clean(value)
    elseif kind == 'number' then
        return value == value and value ~= 1 / 0 and value ~= -1 / 0 and value or nil
    elseif kind == 'boolean' then
        return value
    end
end

local function clean_table(reader, value)
    local copy = {}
    for key, one in pairs(value) do
        local cleaned = clean(reader, one)
        if cleaned == nil or (type(key) ~= 'string' and type(key) ~= 'number') then
            return nil
        end
        copy[type(key) == 'string' and reader:clean(key) or key] = cleaned
    end
    return copy
end

-- An absent value is no mistake.
local function compute(self, field, record)
    local ok, value = field.expression(record)
    if not ok or value == nil or value == cjson.null then
        return nil
    end
    local shown
    if type(value) == 'table' then
        shown = clean_table(self.reader, value)
    else
        shown = clean(self.reader, value)
    end
    if shown == nil then
        field.expression:refuse(value, WANTED)
    end
    return shown
end

--- The members of a JSON line.
-- @tparam table record
-- @treturn string each with a comma before it
function Fields:members(record)
    local tree = {}
    for _, field in ipairs(self.list) do
        local value = field.value
        if field.expression then
            value = compute(self, field, record)
        end
        if value ~= nil then
            M.set(tree, field.name, value)
        end
    end
    local ok, text = pcall(cjson.encode, tree) -- a sparse array, for one
    return ok and #text > 2 and ',' .. text:sub(2, -2) or ''
end

return M
