-- SPDX-License-Identifier: Apache-2.0
--
-- Consumers: who calls.
local common = require 'moongate.entities.common'
local typedefs = require 'moongate.typedefs'

local about = common.about

return common.entity('consumers', {
    { username = about('name of the consumer; other entities refer to it', typedefs.utf8_name) },
    { custom_id = { type = 'string', unique = true,
        description = 'what your other systems call the consumer' } },
}, {
    entity_checks = { { at_least_one_of = { 'username', 'custom_id' } } },
})
