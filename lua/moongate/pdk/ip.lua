-- SPDX-License-Identifier: Apache-2.0
-- moongate.ip
local base = require 'moongate.pdk.base'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {}

--- Is the address in gateway.trusted_ips?
-- @tparam string ip
-- @treturn boolean
function M.is_trusted(ip)
    base.check_type(ip, 'string', 'ip')
    return C.mg_ffi_ip_is_trusted(runtime.shared.vm, ip, #ip) == 1
end

return M
