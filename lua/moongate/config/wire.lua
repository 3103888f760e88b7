-- SPDX-License-Identifier: Apache-2.0
--
-- An expanded configuration as text and back: a Lua chunk around JSON. JSON, because LuaJIT refuses
-- a function with more than 65,536 constants, which a table literal of 10,000 routes needs. Keys
-- are sorted: equal configurations give the same bytes, and so the same digest.
local cjson = require 'cjson'
local schema = require 'moongate.schema'

local M = {}

local json = cjson.new()
json.encode_number_precision(17) -- any double comes back as it was
json.encode_escape_forward_slash(false)

local function write(parts, value)
    if type(value) ~= 'table' then
        parts[#parts + 1] = json.encode(value)
    elseif #value > 0 then
        for i, item in ipairs(value) do
            parts[#parts + 1] = i == 1 and '[' or ','
            write(parts, item)
        end
        parts[#parts + 1] = ']'
    else
        parts[#parts + 1] = '{'
        for i, key in ipairs(schema.ordered_keys(value)) do
            parts[#parts + 1] = (i > 1 and ',' or '') .. json.encode(tostring(key)) .. ':'
            write(parts, value[key])
        end
        parts[#parts + 1] = '}'
    end
end

--- @tparam table expanded of a snapshot
-- @treturn string Lua source that returns an equal table
function M.serialize(expanded)
    local parts = {}
    write(parts, expanded)
    local text = table.concat(parts)
    local level = ''
    while text:find(']' .. level .. ']', 1, true) do
        level = level .. '='
    end
    return ("return require('cjson').decode([%s[%s]%s])"):format(level, text, level)
end

--- @tparam string text of serialize
-- @treturn ?table
-- @treturn ?string
function M.deserialize(text)
    local chunk, err = loadstring(text, '=configuration')
    if not chunk then
        return nil, err
    end
    local ok, result = pcall(chunk)
    if not ok then
        return nil, result
    end
    return result
end

return M
