-- SPDX-License-Identifier: Apache-2.0
--
-- An expanded configuration as text and back: a Lua chunk around JSON. JSON, because LuaJIT refuses
-- a function with more than 65,536 constants, which a table literal of 10,000 routes needs.
local cjson = require 'cjson'

local M = {}

local json = cjson.new()
json.encode_number_precision(17) -- any double comes back as it was
json.encode_escape_forward_slash(false)

--- @tparam table expanded of a snapshot
-- @treturn string Lua source that returns an equal table
function M.serialize(expanded)
    local text = json.encode(expanded)
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
