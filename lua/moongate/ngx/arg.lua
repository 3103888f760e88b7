-- SPDX-License-Identifier: Apache-2.0
-- ngx.arg in body_filter: [1] is the chunk (nil or "" drops it), [2] the end flag.
local base = require 'moongate.pdk.base'
local chunks = require 'moongate.pdk.chunks'
local C = require('moongate.runtime.ffi').C

return setmetatable({}, {
    __index = function(_, key)
        local req = base.request(base.BODY_FILTER)
        if key == 1 then
            return base.text(req, C.MG_FFI_CHUNK)
        elseif key == 2 then
            return C.mg_ffi_req_int(req, C.MG_FFI_CHUNK_LAST) == 1
        end
        return nil
    end,
    __newindex = function(_, key, value)
        local req = base.request(base.BODY_FILTER)
        if key == 1 then
            if value ~= nil and type(value) ~= 'string' and type(value) ~= 'number' then
                base.raise('a chunk must be a string or nil')
            end
            chunks.set(req, value == nil and '' or tostring(value))
        elseif key == 2 then
            C.mg_ffi_chunk_last(req, value and 1 or 0)
        else
            base.raise('ngx.arg has only [1] and [2]')
        end
    end,
})
