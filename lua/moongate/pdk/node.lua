-- SPDX-License-Identifier: Apache-2.0
-- moongate.node: the machine and this worker.
local ffi = require 'ffi'
local base = require 'moongate.pdk.base'
local C = require('moongate.runtime.ffi').C

local M = {}

local NAME_BYTES = 256  -- HOST_NAME_MAX is 64 on Linux
local UNITS = { b = 1, k = 2 ^ 10, m = 2 ^ 20, g = 2 ^ 30 }

local function ask(fill)
    local room = ffi.new('char[?]', NAME_BYTES)
    local len = fill(room, NAME_BYTES)
    return len > 0 and ffi.string(room, len) or nil
end

-- Both are fixed for the life of a process.
local id = ask(C.mg_ffi_node_id)
local hostname = ask(C.mg_ffi_node_hostname)

--- UUID of this node; the same after a restart.
-- @treturn string
function M.get_id()
    return id
end

--- @treturn string
function M.get_hostname()
    return hostname
end

--- Memory of the Lua states. Only this worker's is known to it.
-- @tparam[opt="b"] string unit b, k, m or g
-- @tparam[opt=2] number scale decimals, with k, m and g
-- @treturn table { workers_lua_vms = { { pid, http_allocated_gc } }, lua_shared_dicts = {} }
function M.get_memory_stats(unit, scale)
    unit = unit == nil and 'b' or unit
    base.check_type(unit, 'string', 'unit')
    local size = UNITS[unit:lower()]
    if not size then
        base.raise('invalid unit "' .. base.printable(unit) .. '" (expected b, k, m or g)')
    end
    scale = scale == nil and 2 or scale
    base.check_integer(scale, 0, 9, 'scale')
    local bytes = collectgarbage('count') * 1024
    local text = ('%.' .. scale .. 'f %siB'):format(bytes / size, unit:upper())
    return {
        workers_lua_vms = {
            {
                pid = C.mg_ffi_process_id(),
                http_allocated_gc = size == 1 and math.floor(bytes) or text,
            },
        },
        lua_shared_dicts = {},
    }
end

return M
