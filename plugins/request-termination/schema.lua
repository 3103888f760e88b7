-- SPDX-License-Identifier: Apache-2.0
local typedefs = require 'moongate.typedefs'

return {
    name = 'request-termination',
    fields = {
        { protocols = typedefs.protocols_http },
        { config = {
            type = 'record',
            fields = {
                { status_code = { type = 'integer', required = true, default = 503,
                    between = { 100, 599 }, description = 'status of the answer' } },
                { message = { type = 'string',
                    description = 'message in the body that the gateway makes: JSON, HTML, XML or'
                        .. ' text, as the client accepts. Not set: by status' } },
                { content_type = { type = 'string',
                    description = 'Content-Type of `body`; not set: JSON' } },
                { body = { type = 'string',
                    description = 'the whole body instead; not together with `message`' } },
                { echo = { type = 'boolean', required = true, default = false,
                    description = 'answer with what the gateway received, as JSON' } },
                { trigger = typedefs.header_name{
                    description = 'end only requests that carry this header or query argument' } },
            },
            entity_checks = {
                { mutually_exclusive_sets = { set1 = { 'message' },
                    set2 = { 'content_type', 'body' } } },
                { conditional = { if_field = 'content_type', if_match = { len_min = 1 },
                    then_field = 'body', then_match = { required = true },
                    then_err = "'content_type' needs 'body'" } },
            },
        } },
    },
}
