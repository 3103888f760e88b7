-- SPDX-License-Identifier: Apache-2.0
--
-- What the kernel knows of TCP connections over 127.0.0.1 (sock_diag(7)). /proc/net/tcp tells it
-- too, but lists all connections of the machine: with ten thousand in TIME_WAIT a look takes long.
local bit = require 'bit'
local ffi = require 'ffi'
local posix = require 'spec.gateway.support.posix'

local C = ffi.C

ffi.cdef [[
struct mgt_diag_id { uint8_t source_port[2], peer_port[2]; uint8_t source[16], peer[16];
                     uint32_t interface, cookie[2]; };
struct mgt_diag_ask { uint32_t length; uint16_t type, flags; uint32_t sequence, port;
                      uint8_t family, protocol, extensions, pad; uint32_t states;
                      struct mgt_diag_id id; };
struct mgt_diag_head { uint32_t length; uint16_t type, flags; uint32_t sequence, port; };
struct mgt_diag_answer { struct mgt_diag_head head; uint8_t family, state, timer, retransmits;
                         struct mgt_diag_id id; uint32_t expires, received, sent, user, inode; };
long recv(int fd, void *buffer, size_t bytes, int flags);
]]

local AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG, SOCK_CLOEXEC = 16, 3, 4, 524288
local AF_INET, IPPROTO_TCP, ESTABLISHED = 2, 6, 1
local SOCK_DIAG_BY_FAMILY, NLMSG_ERROR, NLMSG_DONE = 20, 2, 3
local NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
local ANY = 0xffffffff
local BUFFER_BYTES = 64 * 1024

local M = {}

local function set_port(field, port)
    field[0], field[1] = bit.rshift(port, 8), bit.band(port, 255)
end

local function port_of(field)
    return field[0] * 256 + field[1]
end

local function question(port)
    local ask = ffi.new('struct mgt_diag_ask')
    ask.length, ask.type, ask.flags = ffi.sizeof(ask), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST
    ask.family, ask.protocol, ask.states = AF_INET, IPPROTO_TCP, ANY
    set_port(ask.id.source_port, port)
    return ask
end

-- Calls fn with each answer.
local function ask_kernel(ask, fn)
    local fd = C.socket(AF_NETLINK, bit.bor(SOCK_RAW, SOCK_CLOEXEC), NETLINK_SOCK_DIAG)
    assert(fd >= 0, 'no sock_diag')
    assert(C.send(fd, ask, ffi.sizeof(ask), 0) == ffi.sizeof(ask))
    local buffer = ffi.new('uint8_t[?]', BUFFER_BYTES)
    local is_done = false
    while not is_done do
        local left = tonumber(C.recv(fd, buffer, BUFFER_BYTES, 0))
        assert(left > 0, 'no answer of sock_diag')
        local at = 0
        while left - at >= ffi.sizeof('struct mgt_diag_head') do
            local answer = ffi.cast('struct mgt_diag_answer *', buffer + at)
            if answer.head.type == NLMSG_DONE or answer.head.type == NLMSG_ERROR then
                is_done = true
                break
            end
            fn(answer)
            at = at + bit.band(answer.head.length + 3, bit.bnot(3))
        end
        is_done = is_done or ask.flags == NLM_F_REQUEST
    end
    posix.close(fd)
end

--- What the kernel holds of a connection, seen from one end.
-- @tparam number port of this end
-- @tparam number peer port of the other
-- @treturn number|nil bytes sent and not acknowledged; nil when there is no such connection
-- @treturn number bytes received and not read
function M.queues(port, peer)
    local ask = question(port)
    set_port(ask.id.peer_port, peer)
    for _, address in ipairs({ ask.id.source, ask.id.peer }) do
        address[0], address[3] = 127, 1
    end
    ask.id.cookie[0], ask.id.cookie[1] = ANY, ANY
    local sent, received
    ask_kernel(ask, function(answer)
        sent, received = answer.sent, answer.received
    end)
    return sent, received or 0
end

--- The connections that are established on a port.
-- @tparam number port of this end
-- @treturn {[number]=boolean} by the ports of the other ends
-- @treturn number how many
function M.established(port)
    local ask = question(port)
    ask.flags, ask.states = bit.bor(NLM_F_REQUEST, NLM_F_DUMP), bit.lshift(1, ESTABLISHED)
    local peers, count = {}, 0
    ask_kernel(ask, function(answer)
        peers[port_of(answer.id.peer_port)], count = true, count + 1
    end)
    return peers, count
end

return M
