-- SPDX-License-Identifier: Apache-2.0
--
-- The fields that every entity has.
local typedefs = require 'moongate.typedefs'

local M = {}

--- A field definition with what docs/configuration.md says of it.
-- @tparam string text
-- @tparam table def it may be shared: a copy is made
-- @treturn table
function M.about(text, def)
    local copy = {}
    for name, value in pairs(def) do
        copy[name] = value
    end
    copy.description = text
    return copy
end

--- Puts an entity's schema together.
-- @tparam string name of the collection
-- @tparam table fields its own
-- @tparam[opt] table more entity_checks, shorthand_fields
-- @treturn table definition for moongate.schema
function M.entity(name, fields, more)
    local list = {
        { id = M.about('made from the name when it is not given; the same after each reload',
            typedefs.uuid) },
        { created_at = M.about('seconds since 1970', typedefs.auto_timestamp_s) },
        { updated_at = M.about('seconds since 1970', typedefs.auto_timestamp_s) },
        { tags = M.about('for people and tools; the gateway does nothing with them',
            typedefs.tags) },
        { _comment = { type = 'string', len_min = 0, description = 'not read' } },
        { _ignore = { type = 'any', description = 'not read' } },
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
