-- SPDX-License-Identifier: Apache-2.0
-- Random UUIDs (RFC 9562, version 4).
--
--     local uuid = require 'moongate.uuid'
--     local id = uuid.new()             -- "9b2d3c5e-..."
local bit = require 'bit'
local ffi = require 'ffi'
local C = require('moongate.runtime.ffi').C

local M = {}

local BYTES = 16
local room = ffi.new('uint8_t[?]', BYTES)
local FORMAT = ('%02x'):rep(4) .. '-' .. ('%02x%02x-'):rep(3) .. ('%02x'):rep(6)

--- @treturn string 36 characters, lower case
function M.new()
    C.mg_ffi_random(ffi.cast('char *', room), BYTES)
    room[6] = bit.bor(bit.band(room[6], 0x0f), 0x40)
    room[8] = bit.bor(bit.band(room[8], 0x3f), 0x80)
    return FORMAT:format(room[0], room[1], room[2], room[3], room[4], room[5], room[6], room[7],
        room[8], room[9], room[10], room[11], room[12], room[13], room[14], room[15])
end

return M
