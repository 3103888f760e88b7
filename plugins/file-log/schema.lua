-- SPDX-License-Identifier: Apache-2.0
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
            { custom_fields_by_lua = { type = 'any',
                not_supported_yet = 'access-log takes values in Lua, as custom_fields' } },
        } } },
    },
}
