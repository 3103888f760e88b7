-- SPDX-License-Identifier: Apache-2.0
-- Bodies of answers in body_filter: the chunk of a round, and collecting the whole body.
--
-- A plugin that wants the whole body takes each chunk away until the end flag comes, then gives all
-- of it on as one chunk. Each plugin collects for itself, so several may do so one behind the
-- other. C is told, so that the head waits for the end (docs/plugin-reference.md).
local base = require 'moongate.pdk.base'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {}

--- Replaces the chunk of this round; "" drops it. Raises over a cap.
function M.set(req, text)
    if C.mg_ffi_chunk_set(req, text, #text) ~= 1 then
        base.raise('the response body is larger than limits.response_buffer')
    end
end

local function collector(object)
    local ctx = runtime.ctx(object)
    local all = ctx.body
    if not all then
        all = {}
        ctx.body = all
    end
    local name = runtime.plugin() or ''
    local own = all[name]
    if not own then
        own = { size = 0 }
        all[name] = own
    end
    return own
end

--- Collects the chunk of this round.
-- @tparam cdata req
-- @tparam table object
-- @treturn string|nil the whole body in the last round
function M.whole(req, object)
    local own = collector(object)
    local chunk = base.text(req, C.MG_FFI_CHUNK)
    own.size = own.size + #chunk
    if base.over(own.size, C.mg_ffi_req_measure(req, C.MG_FFI_RESPONSE_BUFFER)) then
        local name = runtime.plugin() or 'core'
        C.mg_ffi_chunk_over(req, name, #name)
        base.raise('the response body is larger than limits.response_buffer')
    end
    own[#own + 1] = chunk
    if C.mg_ffi_req_int(req, C.MG_FFI_CHUNK_LAST) == 0 then
        C.mg_ffi_chunk_hold(req)
        M.set(req, '')
        return nil
    end
    local text = table.concat(own)
    for i = #own, 1, -1 do
        own[i] = nil
    end
    own.size = 0
    M.set(req, text)
    return text
end

--- Replaces the body by text and ends it: what still comes from the upstream is dropped.
function M.replace(req, object, text)
    local own = collector(object)
    for i = #own, 1, -1 do
        own[i] = nil
    end
    own.size = 0
    M.set(req, text)
    C.mg_ffi_chunk_last(req, 1)
end

return M
