-- SPDX-License-Identifier: Apache-2.0
--
-- Takes a file's tree apart into items, one for each entity, nested or not:
--
--   { collection =, raw = (table of the file), path = {'services', 1, 'routes', 2},
--     parent = item or nil, parent_field = 'service' or nil }
local entities = require 'moongate.entities'
local suggest = require 'moongate.schema.suggest'

local M = {}

local NOTICE, UNKNOWN_KEY, LATER = 'MG1020', 'MG1023', 'MG1027'

local Collector = {}
Collector.__index = Collector

local function extend(path, ...)
    local result = { unpack(path) }
    for _, part in ipairs({ ... }) do
        result[#result + 1] = part
    end
    return result
end

local function is_list(value)
    return type(value) == 'table' and (#value > 0 or next(value) == nil)
end

function Collector:add_item(name, raw, path, parent, parent_field)
    if type(raw) ~= 'table' or #raw > 0 then
        return self.findings:add_mismatch(path, 'a map that describes one entity', raw)
    end
    local item = {
        collection = name, raw = raw, path = path, parent = parent, parent_field = parent_field,
    }
    local list = self.items[name]
    list[#list + 1] = item
    for _, child in ipairs(self.keys_of(raw)) do
        local field = entities.collections[name].children[child]
        if field then
            self:add_list(child, raw[child], extend(path, child), item, field)
        end
    end
end

function Collector:add_list(name, list, path, parent, parent_field)
    if list == self.null then
        return
    end
    if not is_list(list) then
        return self.findings:add_mismatch(path, 'a list', list)
    end
    for i, raw in ipairs(list) do
        self:add_item(name, raw, extend(path, i), parent, parent_field)
    end
end

local function known_sections()
    local names = { unpack(entities.sections) }
    for name in pairs(entities.collections) do
        names[#names + 1] = name
    end
    return names
end

local IGNORED = { _info = true, _workspace = true }
local SECTIONS = {}
for _, name in ipairs(entities.sections) do
    SECTIONS[name] = true
end

function Collector:read_section(name, value)
    if entities.collections[name] then
        return self:add_list(name, value, { name })
    end
    local reason = entities.not_supported[name]
    if reason then
        if value ~= self.null and not (is_list(value) and #value == 0) then
            self.findings:add({ name }, {
                code = LATER, message = 'not supported yet: ' .. reason, at_key = true,
            })
        end
    elseif IGNORED[name] then
        self.findings:add({ name }, {
            severity = 'notice', code = NOTICE, message = 'is ignored', at_key = true,
        })
    elseif not SECTIONS[name] then
        self.findings:add({ name }, {
            code = UNKNOWN_KEY, message = ('unknown key "%s"'):format(name),
            fixed = 'unknown field', at_key = true, shown = 0,
            suggestion = suggest.nearest(name, known_sections()),
        })
    end
end

--- @tparam table tree
-- @tparam Findings findings
-- @tparam function keys_of map -> its keys in the order of the file
-- @param null the value of null
-- @treturn table collection -> array of items, in the order of the file
function M.run(tree, findings, keys_of, null)
    local self = setmetatable({
        findings = findings, keys_of = keys_of, null = null, items = {},
    }, Collector)
    for name in pairs(entities.collections) do
        self.items[name] = {}
    end
    for _, name in ipairs(keys_of(tree)) do
        self:read_section(name, tree[name])
    end
    return self.items
end

return M
