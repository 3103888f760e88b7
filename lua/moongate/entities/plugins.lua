-- SPDX-License-Identifier: Apache-2.0
--
-- Plugin entries. `config` is checked against the plugin's own schema by the loader.
local common = require 'moongate.entities.common'
local typedefs = require 'moongate.typedefs'

local about = common.about

return common.entity('plugins', {
    { name = { type = 'string', required = true, match = '^%w[%w_-]*$',
        err = 'a plugin name has letters, digits, - and _',
        description = 'folder or file of the plugin, such as rate-limit' } },
    { instance_name = about('a name for this entry; gateway.plugins.settings takes it too',
        typedefs.utf8_name) },
    { config = { type = 'any', description = "the plugin's own options: see its README" } },
    { enabled = { type = 'boolean', default = true, required = true,
        description = 'false: the entry is checked and not run' } },
    { protocols = {
        type = 'set', len_min = 1,
        description = 'runs only for requests that came by one of them; as the plugin says',
        elements = { type = 'string', one_of = typedefs.protocol.one_of },
    } },
    { consumer_group = { type = 'any', not_supported_yet = 'consumer groups',
        description = 'group of consumers that it is for' } },
    { ordering = { type = 'any',
        not_supported_yet = 'set gateway.plugins.settings.NAME.priority instead',
        description = 'before or after which plugins it runs' } },
    { condition = { type = 'any', not_supported_yet = true,
        description = 'requests that it is for' } },
})
