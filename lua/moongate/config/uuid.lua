-- SPDX-License-Identifier: Apache-2.0
--
-- SHA-1 (FIPS 180-4) and name-based UUIDs, version 5 (RFC 9562, 5.5): the ids of entities that have
-- none of their own. Not for secrets.
local bit = require 'bit'

local band, bor, bxor, bnot = bit.band, bit.bor, bit.bxor, bit.bnot
local rol, rshift, lshift, tobit, tohex = bit.rol, bit.rshift, bit.lshift, bit.tobit, bit.tohex

local M = {}

local function be32(value)
    return string.char(band(rshift(value, 24), 255), band(rshift(value, 16), 255),
        band(rshift(value, 8), 255), band(value, 255))
end

-- The message in whole blocks of 64 bytes: a bit, zeros, and the length in bits.
local function pad(message)
    local bits = #message * 8
    local zeros = (55 - #message) % 64
    return message .. '\128' .. ('\0'):rep(zeros) .. be32(math.floor(bits / 2 ^ 32)) .. be32(bits)
end

local function schedule(block, at, words)
    for i = 0, 15 do
        local a, b, c, d = block:byte(at + i * 4, at + i * 4 + 3)
        words[i] = bor(lshift(a, 24), lshift(b, 16), lshift(c, 8), d)
    end
    for i = 16, 79 do
        words[i] = rol(bxor(words[i - 3], words[i - 8], words[i - 14], words[i - 16]), 1)
    end
end

local function mix(round, b, c, d)
    if round < 20 then
        return bor(band(b, c), band(bnot(b), d)), 0x5a827999
    elseif round < 40 then
        return bxor(b, c, d), 0x6ed9eba1
    elseif round < 60 then
        return bor(band(b, c), band(b, d), band(c, d)), 0x8f1bbcdc
    end
    return bxor(b, c, d), 0xca62c1d6
end

--- @tparam string message
-- @treturn string 40 hexadecimal digits
function M.sha1(message)
    local h0, h1, h2, h3, h4 = 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0
    local text, words = pad(message), {}
    for at = 1, #text, 64 do
        schedule(text, at, words)
        local a, b, c, d, e = h0, h1, h2, h3, h4
        for round = 0, 79 do
            local f, k = mix(round, b, c, d)
            local sum = tobit(rol(a, 5) + f + e + k + words[round])
            a, b, c, d, e = sum, a, rol(b, 30), c, d
        end
        h0, h1, h2 = tobit(h0 + a), tobit(h1 + b), tobit(h2 + c)
        h3, h4 = tobit(h3 + d), tobit(h4 + e)
    end
    return tohex(h0) .. tohex(h1) .. tohex(h2) .. tohex(h3) .. tohex(h4)
end

local function bytes_of(uuid)
    return (uuid:gsub('-', ''):gsub('%x%x', function(hex)
        return string.char(tonumber(hex, 16))
    end))
end

--- @tparam string namespace a UUID
-- @tparam string name
-- @tparam[opt] function sha1 text -> 40 hexadecimal digits, where a faster one is at hand
-- @treturn string UUID
function M.v5(namespace, name, sha1)
    local hex = (sha1 or M.sha1)(bytes_of(namespace) .. name)
    local variant = tohex(bor(band(tonumber(hex:sub(17, 17), 16), 3), 8), 1)
    return ('%s-%s-5%s-%s%s-%s'):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(14, 16), variant,
        hex:sub(18, 20), hex:sub(21, 32))
end

return M
