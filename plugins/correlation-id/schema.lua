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
                    default = 'X-Correlation-ID', description = 'header that carries the id' } },
                { generator = { type = 'string', required = true, default = 'uuid#counter',
                    one_of = { 'uuid', 'uuid#counter', 'tracker' },
                    description = 'how an id is made' } },
                { echo_downstream = { type = 'boolean', required = true, default = false,
                    description = 'put the id on the answer too' } },
            },
        } },
    },
}
