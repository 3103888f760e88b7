-- SPDX-License-Identifier: Apache-2.0
local by_lua = require 'moongate.plugins.access-log.by_lua_option'
local typedefs = require 'moongate.typedefs'

return {
    name = 'udp-log',
    fields = {
        { protocols = typedefs.protocols_http },
        { config = { type = 'record', fields = {
            { host = typedefs.host{ required = true, description = 'name or address' } },
            { port = { type = 'integer', required = true, between = { 1, 65535 },
                description = 'where datagrams are taken' } },
            { timeout = { type = 'number', default = 10000,
                description = 'accepted: a datagram is not waited for' } },
            { custom_fields_by_lua = by_lua },
        } } },
    },
}
