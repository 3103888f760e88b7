-- SPDX-License-Identifier: Apache-2.0
--
-- Plugin entries. `config` is checked against the plugin's own schema by the loader.
local common = require 'moongate.entities.common'
local typedefs = require 'moongate.typedefs'

return common.entity('plugins', {
    { name = { type = 'string', required = true, match = '^%w[%w_-]*$',
        err = 'a plugin name has letters, digits, - and _' } },
    { instance_name = typedefs.utf8_name },
    { config = { type = 'any' } },
    { enabled = { type = 'boolean', default = true, required = true } },
    { protocols = {
        type = 'set', len_min = 1,
        elements = { type = 'string', one_of = typedefs.protocol.one_of },
    } },
    { consumer_group = { type = 'any', not_supported_yet = 'consumer groups' } },
    { ordering = { type = 'any',
        not_supported_yet = 'set gateway.plugins.settings.NAME.priority instead' } },
    { condition = { type = 'any', not_supported_yet = true } },
})
