-- SPDX-License-Identifier: Apache-2.0
-- moongate.service: where the request goes (docs/plugin-reference.md).
local base = require 'moongate.pdk.base'
local C = require('moongate.runtime.ffi').C

local M = {}

local BEFORE = base.BEFORE_UPSTREAM
local MAX_TIMEOUT_MS = 2 ^ 31 - 2

--- This address instead of the service's: no balancing, no retries to others.
-- @tparam string host name, address, or "unix:/path"
-- @tparam number port 0 to 65535
function M.set_target(host, port)
    local req = base.request(BEFORE)
    base.check_type(host, 'string', 'host')
    base.check_integer(port, 0, 65535, 'port')
    if C.mg_ffi_up_target(req, host, #host, port) ~= 1 then
        base.raise('invalid host: ' .. base.printable(host))
    end
end

--- Balances over the targets of that upstream.
-- @tparam string name of a configured upstream
-- @treturn boolean|nil true
-- @treturn string|nil error
function M.set_upstream(name)
    local req = base.request(BEFORE)
    base.check_type(name, 'string', 'host')
    if C.mg_ffi_up_upstream(req, name, #name) ~= 1 then
        return nil, ('could not find an upstream named "%s"'):format(base.printable(name))
    end
    return true
end

--- @tparam number retries tries after the first, 0 to 32767
function M.set_retries(retries)
    local req = base.request(BEFORE)
    base.check_integer(retries, 0, 32767, 'retries')
    C.mg_ffi_up_retries(req, retries)
end

--- @tparam number connect ms; as the others 1 to 2^31 - 2
-- @tparam number write ms
-- @tparam number read ms
function M.set_timeouts(connect, write, read)
    local req = base.request(BEFORE)
    base.check_integer(connect, 1, MAX_TIMEOUT_MS, 'connect_timeout')
    base.check_integer(write, 1, MAX_TIMEOUT_MS, 'write_timeout')
    base.check_integer(read, 1, MAX_TIMEOUT_MS, 'read_timeout')
    C.mg_ffi_up_timeouts(req, connect, write, read)
end

return M
