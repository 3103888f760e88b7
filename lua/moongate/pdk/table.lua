-- SPDX-License-Identifier: Apache-2.0
-- moongate.table
local base = require 'moongate.pdk.base'

local M = {}

--- A table with room for narr list entries and nrec named ones.
-- @tparam number narr
-- @tparam number nrec
-- @function new
M.new = require 'table.new'

--- Removes all entries, keeps the room.
-- @tparam table t
-- @function clear
M.clear = require 'table.clear'

--- A new table with the entries of both; b wins. Shallow.
-- @tparam table|nil a
-- @tparam table|nil b
-- @treturn table
function M.merge(a, b)
    if a ~= nil then
        base.check_type(a, 'table', 't1')
    end
    if b ~= nil then
        base.check_type(b, 'table', 't2')
    end
    local result = {}
    for key, value in pairs(a or {}) do
        result[key] = value
    end
    for key, value in pairs(b or {}) do
        result[key] = value
    end
    return result
end

return M
