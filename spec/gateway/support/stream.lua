-- SPDX-License-Identifier: Apache-2.0
--
-- Two sockets with the gateway between them, and both ends in the spec's hands: streams of octets
-- in pieces of random sizes, checked octet by octet as they arrive.
--
--     local a = stream.side(client_fd, { send = 4 * stream.MIB, finish = true })
--     local b = stream.side(upstream_fd, { send = 1000 })
--     stream.run(a, b)                 -- until each has what the other had to send
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local M = { MIB = 1024 * 1024 }

local Side = {}
Side.__index = Side

local SEED = tonumber(os.getenv('MOONGATE_SEED')) or os.time()
local BLOCK = 99991 -- octets that repeat; no multiple of any buffer's size
local MOST = 70000  -- octets of one piece

-- The octets of all streams, twice, so that each piece of one is a piece of this text.
local octets

local function make_octets()
    math.randomseed(SEED)
    local parts = {}
    for i = 1, BLOCK do
        parts[i] = string.char(math.random(0, 255))
    end
    local block = table.concat(parts)
    octets = block .. block
end

--- A piece of a stream, at most BLOCK octets.
-- @tparam number salt names the stream
-- @tparam number at position in it, from 0
function M.piece(salt, at, count)
    if not octets then
        make_octets()
    end
    local from = (salt * 12345 + at) % BLOCK + 1
    return octets:sub(from, from + count - 1)
end

local salts = 0

--- One end.
-- @tparam number fd
-- @tparam[opt] table o send (octets), finish (half-closes behind them), stalled (does not read),
-- most (octets of one read)
function M.side(fd, o)
    o = o or {}
    salts = salts + 1
    return setmetatable({ fd = fd, salt = salts, to_send = o.send or 0, sent = 0, got = 0,
        finish = o.finish, stalled = o.stalled, most = o.most }, Side)
end

function Side:write()
    local most = math.random() < 0.2 and math.random(1, 3) or math.random(1, MOST)
    local text = M.piece(self.salt, self.sent, math.min(most, self.to_send - self.sent))
    local taken, err = posix.send_some(self.fd, text)
    assert(taken, err)
    self.sent = self.sent + taken
end

-- Half-closes behind the last octet.
function Side:end_sending()
    if self.finish and self.sent == self.to_send and not self.finished then
        posix.shutdown_write(self.fd)
        self.finished = true
    end
end

function Side:read(from)
    local bytes, err = posix.read(self.fd, posix.now(), self.most)
    if bytes == '' then
        assert(not err, err)
        self.ended = true
    elseif bytes then
        local wanted = M.piece(from.salt, self.got, #bytes)
        assert(bytes == wanted, ('octets differ behind %d; MOONGATE_SEED=%d'):format(self.got,
            SEED))
        self.got = self.got + #bytes
    end
end

-- Whether it has sent and received all there is.
function Side:is_done(other)
    local has_all = self.got == other.to_send and (self.ended or not other.finish)
    return self.sent == self.to_send and (self.stalled or has_all)
end

--- Lets both send and receive until both are done, or nothing moves for `quiet` seconds.
-- @tparam[opt] number quiet without it, a stop is a failure
-- @treturn boolean whether both are done
function M.run(a, b, quiet)
    local deadline = posix.now() + 2 * process.deadline
    while not (a:is_done(b) and b:is_done(a)) do
        for _, side in ipairs({ a, b }) do
            side:end_sending()
            side.wants_read = not side.stalled and not side.ended
            side.wants_write = side.sent < side.to_send
        end
        local wait = quiet and math.min(deadline, posix.now() + quiet) or deadline
        if not posix.poll({ a, b }, wait) then
            assert(quiet and posix.now() < deadline, ('nothing moves: %d of %d, %d of %d octets')
                :format(a.got, b.to_send, b.got, a.to_send))
            return false
        end
        for side, other in pairs({ [a] = b, [b] = a }) do
            if side.can_write then
                side:write()
            end
            if side.can_read then
                side:read(other)
            end
        end
    end
    a:end_sending()
    b:end_sending()
    return true
end

return M
