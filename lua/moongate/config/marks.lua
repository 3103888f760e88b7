-- SPDX-License-Identifier: Apache-2.0
--
-- Marks of moongate.yaml: one number for line, column and length (core/script/yaml.h).
local M = {}

local FIELD = 16384

--- @tparam number mark
-- @treturn number line
-- @treturn number column
-- @treturn number length, 0 where the thing spans lines
function M.unpack(mark)
    local length = mark % FIELD
    local place = (mark - length) / FIELD
    local column = place % FIELD
    return (place - column) / FIELD, column, length
end

return M
