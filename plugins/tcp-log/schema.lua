-- SPDX-License-Identifier: Apache-2.0
local typedefs = require 'moongate.typedefs'

local TLS = 'TLS to log sinks is not built yet'

return {
    name = 'tcp-log',
    fields = {
        { protocols = typedefs.protocols_http },
        { config = { type = 'record', fields = {
            { host = typedefs.host{ required = true, description = 'name or address' } },
            { port = { type = 'integer', required = true, between = { 1, 65535 },
                description = 'where lines are taken' } },
            { timeout = { type = 'number', default = 10000, between = { 1, 600000 },
                description = 'milliseconds to connect, and that nothing may be taken' } },
            { keepalive = { type = 'number', default = 60000,
                description = 'accepted: the connection stays open anyway' } },
            { tls = { type = 'boolean', default = false, not_supported_yet = { [true] = TLS },
                description = 'only false' } },
            { tls_sni = { type = 'any', not_supported_yet = TLS } },
            { custom_fields_by_lua = { type = 'any',
                not_supported_yet = 'access-log takes values in Lua, as custom_fields' } },
        } } },
    },
}
