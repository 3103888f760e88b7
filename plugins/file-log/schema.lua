-- SPDX-License-Identifier: Apache-2.0
local by_lua = require 'moongate.plugins.access-log.by_lua_option'
local typedefs = require 'moongate.typedefs'

return {
    name = 'file-log',
    fields = {
        { protocols = typedefs.protocols_http },
        { config = { type = 'record', fields = {
            { path = { type = 'string', required = true, match = '^[^*&%%\\`]+$',
                err = 'not a valid filename',
                description = 'of the file, which is made if missing' } },
            { reopen = { type = 'boolean', default = false,
                description = 'look at the path with each write, instead of once a second' } },
            { custom_fields_by_lua = by_lua },
        } } },
    },
}
