-- SPDX-License-Identifier: Apache-2.0
local origins = require 'moongate.plugins.cors.origins'
local typedefs = require 'moongate.typedefs'

local METHODS = { 'GET', 'HEAD', 'PUT', 'PATCH', 'POST', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT' }

return {
    name = 'cors',
    fields = {
        { protocols = typedefs.protocols_http },
        { config = {
            type = 'record',
            fields = {
                { origins = { type = 'array', elements = {
                    type = 'string', custom_validator = origins.check },
                    description = '`*`, plain origins, or regular expressions that must match'
                        .. ' the whole origin; an entry without `://` is compared with host and'
                        .. ' port only. Not set: all' } },
                { headers = { type = 'array', elements = { type = 'string' },
                    description = 'Access-Control-Allow-Headers; not set: as the client asks' } },
                { exposed_headers = { type = 'array', elements = { type = 'string' },
                    description = 'Access-Control-Expose-Headers' } },
                { methods = { type = 'array', required = true, default = METHODS, elements = {
                    type = 'string', one_of = METHODS },
                    description = 'Access-Control-Allow-Methods' } },
                { max_age = { type = 'number', gt = -1,
                    description = 'seconds for which a browser may keep the preflight answer' } },
                { credentials = { type = 'boolean', required = true, default = false,
                    description = 'Access-Control-Allow-Credentials' } },
                { private_network = { type = 'boolean', required = true, default = false,
                    description = 'Access-Control-Allow-Private-Network where it is asked for' } },
                { preflight_continue = { type = 'boolean', required = true, default = false,
                    description = 'let the upstream answer preflight requests' } },
                { allow_origin_absent = { type = 'boolean', required = true, default = true,
                    description = 'also set headers where the request has no Origin' } },
            },
        } },
    },
}
