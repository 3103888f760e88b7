-- SPDX-License-Identifier: Apache-2.0
local by_lua = require 'moongate.plugins.access-log.by_lua_option'
local typedefs = require 'moongate.typedefs'

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
            { tls = { type = 'boolean', default = false,
                description = 'speak TLS; the certificate is verified' } },
            { tls_sni = typedefs.host{ description = 'the name it must have; not set: host' } },
            { custom_fields_by_lua = by_lua },
        } } },
    },
}
