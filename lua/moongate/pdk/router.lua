-- SPDX-License-Identifier: Apache-2.0
-- moongate.router: the entities that a request is routed by. They are shared by all requests of the
-- generation and not to be changed.
local base = require 'moongate.pdk.base'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {}

--- The route entity of a live request; no phase check.
-- @tparam cdata req
-- @treturn table|nil
function M.route_of(req)
    local index = C.mg_ffi_req_int(req, C.MG_FFI_ROUTE_INDEX)
    if index < 0 then
        return nil
    end
    return runtime.generation.config.routes[index + 1]
end

--- The service entity of a live request; no phase check.
-- @tparam cdata req
-- @treturn table|nil
function M.service_of(req)
    local route = M.route_of(req)
    return route and route.service
end

--- The route that matched.
-- @treturn table|nil
function M.get_route()
    return M.route_of(base.request(base.ROUTED))
end

--- The service of the route.
-- @treturn table|nil
function M.get_service()
    return M.service_of(base.request(base.ROUTED))
end

return M
