-- SPDX-License-Identifier: Apache-2.0
--
-- How much of an answer waits inside the worker for a client that does not read: 64 KiB, in a pipe
-- as in its memory, and with response_buffering: false only what one read of the upstream brought.
-- Neither holds up an answer for a client that reads. What is inside is what the gateway has taken
-- from one socket and not yet given to the other.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local procfs = require 'spec.gateway.support.procfs'
local sock_diag = require 'spec.gateway.support.sock_diag'
local scripted = require 'spec.gateway.support.scripted'

local KEPT = 64 * 1024
local OCTETS = ('o'):rep(65536)
local COUNTED = 'HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n' -- goes through a pipe
local CLOSED = 'HTTP/1.1 200 OK\r\n\r\n' -- ends with the connection: is copied

local YAML = [[
_format_version: "3.0"
services:
- { name: s, url: "http://127.0.0.1:%d", routes: [
    { name: buffers, paths: [/buffers] },
    { name: passes, paths: [/passes], response_buffering: false } ] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
]]

describe('of an answer', function()
    local gateway, worker, upstream

    before_each(function()
        upstream = scripted.listen()
        gateway = process.gateway(YAML:format(upstream.port, process.free_port()))
        worker = gateway:status().workers[1].pid
    end)

    after_each(function()
        process.stop_all()
        upstream:close()
    end)

    local function ask(path, said)
        local connection = assert(client.connect(gateway.port, { receive_buffer = 4096 }))
        connection.timeout = process.deadline
        assert(connection:send(('GET %s HTTP/1.%d\r\nHost: x\r\n\r\n'):format(path,
            said == CLOSED and 0 or 1)))
        local peer = upstream:accept()
        peer:say(said)
        local head = assert(connection:take_until('\r\n\r\n'))
        return connection, peer, head
    end

    -- Sends until nothing moves any more; how many octets the upstream's kernel has taken.
    local function fill_up(peer)
        local sent, rests = 0, false
        repeat
            local more = assert(posix.send_some(peer.fd, OCTETS))
            local is_full = more == 0 and rests
            sent, rests = sent + more, more == 0 and procfs.wait_rest(worker)
        until is_full
        assert.is_true(procfs.wait_rest(worker))
        return sent
    end

    local function bytes_inside(connection, peer, sent)
        local own, other = posix.ports(peer.fd)
        local taken = sent - (sock_diag.queues(own, other))
        local _, unread = sock_diag.queues(other, own)
        own, other = posix.ports(connection.fd)
        local _, received = sock_diag.queues(own, other)
        local given = #connection.kept + received + sock_diag.queues(other, own)
        return taken - unread - given
    end

    local function inside_on(path, said)
        local connection, peer = ask(path, said)
        local inside = bytes_inside(connection, peer, fill_up(peer))
        connection:close()
        peer:close()
        return inside
    end

    it('64 KiB wait as a rule', function()
        assert.equal(KEPT, inside_on('/buffers', CLOSED))
    end)

    it('no more than 64 KiB wait in a pipe', function()
        local inside = inside_on('/buffers', COUNTED)
        assert.is_true(inside > 0 and inside <= KEPT, inside .. ' bytes')
    end)

    it('what one read has left over waits without response_buffering', function()
        -- That may be the whole read, but not again and again.
        local least = math.huge
        for _ = 1, 5 do
            local inside = inside_on('/passes', COUNTED)
            assert.is_true(inside > 0 and inside <= KEPT, inside .. ' bytes')
            least = math.min(least, inside)
            if least < KEPT then
                break
            end
        end
        assert.is_true(least < KEPT)
    end)

    it('each octet is passed on at once to a client that reads', function()
        for _, path in ipairs({ '/buffers', '/passes' }) do
            local connection, peer = ask(path, COUNTED)
            for i = 1, 20 do
                local octet = string.char(96 + i)
                peer:say(octet)
                assert.equal(octet, assert(connection:take(1)))
            end
            connection:close()
            peer:close()
        end
    end)
end)
