-- SPDX-License-Identifier: Apache-2.0
--
-- The fields that every entity has.
local typedefs = require 'moongate.typedefs'

local M = {}

--- Puts an entity's schema together.
-- @tparam string name of the collection
-- @tparam table fields its own
-- @tparam[opt] table more entity_checks, shorthand_fields
-- @treturn table definition for moongate.schema
function M.entity(name, fields, more)
    local list = {
        { id = typedefs.uuid },
        { created_at = typedefs.auto_timestamp_s },
        { updated_at = typedefs.auto_timestamp_s },
        { tags = typedefs.tags },
        { _comment = { type = 'string', len_min = 0 } },
        { _ignore = { type = 'any' } },
    }
    for _, field in ipairs(fields) do
        list[#list + 1] = field
    end
    local definition = { name = name, fields = list }
    for key, value in pairs(more or {}) do
        definition[key] = value
    end
    return definition
end

return M
