-- SPDX-License-Identifier: Apache-2.0
local typedefs = require 'moongate.typedefs'

return {
    name = 'correlation-id',
    fields = {
        { protocols = typedefs.protocols_http },
        { config = {
            type = 'record',
            fields = {
                { header_name = typedefs.header_name{ required = true,
                    default = 'X-Correlation-ID',
                    description = 'header that carries the id (in Kong: Kong-Request-ID)' } },
                { generator = { type = 'string', required = true, default = 'uuid#counter',
                    one_of = { 'uuid', 'uuid#counter', 'tracker' },
                    description = '`uuid`: random for each request. `uuid#counter`: one UUID for'
                        .. ' a worker and reload, and a number. `tracker`: host, port, process,'
                        .. ' connection, request on it, time' } },
                { echo_downstream = { type = 'boolean', required = true, default = false,
                    description = 'put the id on the answer too' } },
            },
        } },
    },
}
