-- SPDX-License-Identifier: Apache-2.0
--
-- Targets of an upstream. The loader adds `host` and `port`, split off `target`.
local address = require 'moongate.schema.address'
local common = require 'moongate.entities.common'

local function is_target(value)
    if value:match('^unix:/.+') then
        return true
    end
    local host, port = address.split(value)
    if not host or port == 0 then
        return nil, 'Invalid target; not a valid hostname or ip address: ' .. value
    end
    return true
end

return common.entity('targets', {
    { target = { type = 'string', required = true, custom_validator = is_target,
        examples = { '10.0.0.1:8000' },
        description = 'address or name, and port (8000 where there is none); or unix:/path' } },
    { weight = { type = 'integer', default = 100, between = { 0, 65535 },
        description = 'share of the requests, compared with the other targets; 0: none' } },
})
