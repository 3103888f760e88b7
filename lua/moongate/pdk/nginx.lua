-- SPDX-License-Identifier: Apache-2.0
-- moongate.nginx: what Kong's plugins ask of nginx, answered by the gateway.
local ffi = require 'ffi'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {}

local seen = ffi.new('struct mg_ffi_statistics')

--- @treturn string always "http"
function M.get_subsystem()
    return 'http'
end

--- Client connections and requests of all workers.
-- @treturn table connections_active, _reading (their head is not complete), _writing (a request is
-- under way), _waiting (idle), _accepted, _handled, and total_requests
function M.get_statistics()
    C.mg_ffi_node_statistics(runtime.shared.vm, seen)
    return {
        connections_active = seen.active,
        connections_reading = math.max(seen.active - seen.idle - seen.requests_active, 0),
        connections_writing = seen.requests_active,
        connections_waiting = seen.idle,
        connections_accepted = seen.accepted,
        connections_handled = seen.accepted,
        total_requests = seen.requests,
    }
end

return M
