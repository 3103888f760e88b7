-- SPDX-License-Identifier: Apache-2.0
--
-- Services: where requests go. connect_timeout, read_timeout, write_timeout and retries have no
-- default here: where they are unset the loader fills in those of `gateway.limits` and
-- `gateway.retry`, as an operator may have set them.
local address = require 'moongate.schema.address'
local common = require 'moongate.entities.common'
local typedefs = require 'moongate.typedefs'
local url = require 'moongate.entities.url'

local about = common.about

local NO_TLS = 'TLS to upstreams'
local NO_STREAM = 'anything but HTTP'
local NO_GRPC = 'gRPC'

local timeout = typedefs.timeout({ between = { 1, 2 ^ 31 - 2 } })

local function is_host(value)
    if address.is_host(value) or value:match('^unix:/.+') then
        return true
    end
    return nil, 'not a host name, an address or unix:/path: ' .. value
end

return common.entity('services', {
    { name = about('how routes and plugins refer to it', typedefs.utf8_name) },
    { protocol = {
        type = 'string', default = 'http', one_of = typedefs.protocol.one_of,
        description = 'what is spoken to the upstream',
        not_supported_yet = {
            https = NO_TLS, wss = NO_TLS, ws = 'write http, which carries WebSocket too',
            grpc = NO_GRPC, grpcs = NO_GRPC,
            tcp = NO_STREAM, tls = NO_STREAM, tls_passthrough = NO_STREAM, udp = NO_STREAM,
        },
    } },
    { host = { type = 'string', required = true, custom_validator = is_host,
        description = 'host name, address, name of an upstream, or unix:/path' } },
    { port = about('not used where host is an upstream', typedefs.port({ default = 80 })) },
    { path = about('put in front of the path that the route leaves over', typedefs.path) },
    { retries = { type = 'integer', between = { 0, 32767 },
        description = 'further tries after a failure; not set: gateway.retry.attempts' } },
    { connect_timeout = about('to connect, ms; not set: gateway.limits.upstream_connect_timeout',
        timeout) },
    { write_timeout = about('without progress, ms; not set: gateway.limits.upstream_write_timeout',
        timeout) },
    { read_timeout = about('without a byte, ms; not set: gateway.limits.upstream_read_timeout',
        timeout) },
    { enabled = { type = 'boolean', default = true,
        description = 'false: its routes do not exist' } },
    { client_certificate = { type = 'any', not_supported_yet = NO_TLS,
        description = 'certificate shown to the upstream' } },
    { tls_verify = { type = 'any', not_supported_yet = NO_TLS,
        description = "check the upstream's certificate" } },
    { tls_verify_depth = { type = 'any', not_supported_yet = NO_TLS,
        description = 'longest chain of certificates' } },
    { ca_certificates = { type = 'any', not_supported_yet = NO_TLS,
        description = 'who may have signed it' } },
}, {
    shorthand_fields = {
        { url = { type = 'string', func = url.split, examples = { 'http://127.0.0.1:8080' },
            description = 'protocol, host, port and path in one' } },
    },
})
