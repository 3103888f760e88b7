-- SPDX-License-Identifier: Apache-2.0
--
-- Consumers: who calls.
local common = require 'moongate.entities.common'
local typedefs = require 'moongate.typedefs'

return common.entity('consumers', {
    { username = typedefs.utf8_name },
    { custom_id = { type = 'string', unique = true } },
}, {
    entity_checks = { { at_least_one_of = { 'username', 'custom_id' } } },
})
