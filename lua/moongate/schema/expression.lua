-- SPDX-License-Identifier: Apache-2.0
-- The text of values in Lua: `lua:` and one expression (moongate.expression computes them).
local M = {}

local PREFIX = '^lua:'

--- Is it a value in Lua?
-- @param value of an option
-- @treturn boolean
function M.is(value)
    return type(value) == 'string' and value:find(PREFIX) ~= nil
end

--- Compiles the expression.
-- @tparam string text beginning with `lua:`
-- @tparam[opt] table names that it may use
-- @treturn function|nil gives the expression as a function of the named values
-- @treturn string|nil the mistake
function M.load(text, names)
    local source = ('return function(%s) return %s\nend'):format(table.concat(names or {}, ', '),
        (text:gsub(PREFIX, '', 1)))
    local chunk, err = loadstring(source, '=lua')
    if not chunk then
        return nil, (err:gsub('^lua:%d+: ', ''):gsub("near 'end'$", 'near its end'))
    end
    return chunk
end

--- Can it be compiled?
-- @tparam string text beginning with `lua:`
-- @treturn true|nil
-- @treturn string|nil the mistake
function M.check(text)
    local chunk, err = M.load(text)
    return chunk ~= nil or nil, err
end

return M
