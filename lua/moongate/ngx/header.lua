-- SPDX-License-Identifier: Apache-2.0
-- ngx.header: headers of the answer. `_` in a name means `-`; nil removes.
local base = require 'moongate.pdk.base'
local fields = require 'moongate.pdk.fields'
local response = require 'moongate.pdk.response'
local C = require('moongate.runtime.ffi').C

return setmetatable({}, {
    __index = function(_, name)
        local req = base.request(base.REQUEST)
        return fields.first(req, C.MG_FFI_RESPONSE, tostring(name))
    end,
    __newindex = function(_, name, value)
        if type(name) ~= 'string' then
            base.raise('header name must be a string')
        end
        local dashed = name:gsub('_', '-')
        if value == nil then
            response.clear_header(dashed)
        else
            response.set_header(dashed, value)
        end
    end,
})
