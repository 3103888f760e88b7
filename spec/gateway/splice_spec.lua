-- SPDX-License-Identifier: Apache-2.0
--
-- Large bodies whose length is known and that nobody looks at go through a pipe instead of the
-- worker's memory. What holds for others holds for them: each octet arrives, in order and once, the
-- log counts it, a cut at either side is a cut at the other, limits and deadlines are kept, and
-- nothing that comes behind the body is passed on.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local scripted = require 'spec.gateway.support.scripted'

local YAML = [[
_format_version: "3.0"
plugins:
- { name: access-log, config: { sinks: [{ type: stdout }] } }
services:
- { name: s, url: "http://127.0.0.1:%d", retries: 0, read_timeout: 1000,
    routes: [{ name: r, paths: [/], strip_path: false }] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
  limits: { send_timeout: 1s, request_buffer: 16KiB }
]]

local KIB = 1024
-- On both sides of where splicing begins (64 KiB are left when the first read is through), and of
-- what one pipe holds.
local SIZES = { 64 * KIB, 127 * KIB, 128 * KIB, 129 * KIB, 144 * KIB, 300001, 320 * KIB,
    2000003 }

-- Octets that differ from each other wherever they are shifted by.
local parts = {}
for i = 1, 300000 do
    parts[i] = ('%07d'):format(i)
end
local OCTETS = table.concat(parts)

local function head_of(size)
    return ('HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n'):format(size)
end

describe('a body that is spliced', function()
    local gateway, upstream, records

    before_each(function()
        upstream = scripted.listen()
        gateway = process.gateway(YAML:format(upstream.port, process.free_port()))
        records = scripted.records(gateway)
    end)

    after_each(function()
        process.stop_all()
        upstream:close()
    end)

    local function connect(o)
        local connection = assert(client.connect(gateway.port, o))
        connection.timeout = process.deadline
        return connection
    end

    local function ask(connection)
        assert(connection:send('GET / HTTP/1.1\r\nHost: x\r\n\r\n'))
    end

    -- Sends while the other side may wait for us to read.
    local function move(from, text, to, expected)
        local sent = 0
        while #to.kept < expected do
            if sent < #text then
                sent = sent + assert(posix.send_some(from.fd, text:sub(sent + 1,
                    sent + 100000)))
            end
            if posix.wait_readable(to.fd, posix.now() + (sent < #text and 0 or process.deadline))
            then
                assert(to:fill())
            end
        end
    end

    -- Of the process's descriptors, what kind each is.
    local function count_pipes()
        local worker = gateway:status().workers[1].pid
        local listing = io.popen(('ls -l /proc/%d/fd 2>/dev/null'):format(worker))
        local _, count = listing:read('*a'):gsub('pipe:', '')
        listing:close()
        return count
    end

    it('arrives whole, and the connections go on', function()
        local connection = connect()
        local before = count_pipes()
        local peer
        for i, size in ipairs(SIZES) do
            ask(connection)
            peer = peer or upstream:accept(true)
            peer:read_head()
            move(peer, head_of(size) .. OCTETS:sub(i, i + size - 1), connection, size)
            local res = assert(connection:response())
            assert.is_true(res.body == OCTETS:sub(i, i + size - 1), size .. ' differ')
            assert.equal('', connection.kept)
            local record = records:next()
            assert.equal('ok', record.outcome)
            assert.equal(size, record.body_bytes_out)
        end
        assert.is_true(count_pipes() > before) -- else nothing of this was tested
        connection:close()
        peer:close()
    end)

    it('arrives whole on its way up', function()
        local connection = connect()
        local before = count_pipes()
        local peer
        for i, size in ipairs(SIZES) do
            local body = OCTETS:sub(i, i + size - 1)
            local head = ('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n'):format(size)
            assert(connection:send(head))
            peer = peer or upstream:accept(true)
            local got = peer:read_head()
            assert.equal(tostring(size), got:lower():match('content%-length: (%d+)'))
            move(connection, body, peer, size)
            assert.is_true(peer:take(size) == body, size .. ' differ')
            assert.equal('', peer.kept)
            peer:say('HTTP/1.1 204 No Content\r\n\r\n')
            assert.equal(204, assert(connection:response()).status)
            local record = records:next()
            assert.equal('ok', record.outcome)
            assert.is_true(record.bytes_in > size)
        end
        assert.is_true(count_pipes() > before)
        connection:close()
        peer:close()
    end)

    it('is copied where the process has no descriptors for a pipe', function()
        local connection = connect()
        ask(connection)
        local peer = upstream:accept(true)
        peer:read_head()
        peer:say('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
        assert(connection:response())
        records:next()
        local before = count_pipes()
        local worker = gateway:status().workers[1].pid
        assert.equal(0, os.execute(('prlimit --pid %d --nofile=3:'):format(worker)))
        ask(connection)
        peer:read_head()
        move(peer, head_of(#OCTETS) .. OCTETS, connection, #OCTETS)
        assert.is_true(assert(connection:response()).body == OCTETS, 'differ')
        assert.equal(#OCTETS, records:next().body_bytes_out)
        assert.equal(before, count_pipes())
        connection:close()
        peer:close()
    end)

    -- A body of 2,000,000 of which so many octets come, and what the client has got of it when its
    -- connection has ended.
    local function begin(count)
        local connection = connect()
        ask(connection)
        local peer = upstream:accept()
        move(peer, head_of(2000000) .. OCTETS:sub(1, count), connection, count)
        return connection, peer
    end

    local function expect_cut(connection, count)
        local got = connection:expect_end():match('\r\n\r\n(.*)$')
        assert.is_true(#got <= count and got == OCTETS:sub(1, #got))
    end

    it('is cut when the upstream ends', function()
        local connection, peer = begin(1000000)
        peer:close()
        expect_cut(connection, 1000000)
        assert.not_equal('ok', records:next().outcome)
    end)

    it('is cut when the upstream resets', function()
        local connection, peer = begin(1000000)
        peer:reset()
        expect_cut(connection, 1000000)
        assert.not_equal('ok', records:next().outcome)
    end)

    it('is cut when the upstream falls silent', function()
        local connection, peer = begin(1000000)
        peer:expect_end()
        expect_cut(connection, 1000000)
        assert.equal('upstream_body_timeout', records:next().outcome)
    end)

    it('ends at the upstream when the client goes', function()
        local connection, peer = begin(1000000)
        connection:close()
        peer:expect_end()
        assert.equal('client_abort', records:next().outcome)
    end)

    it('ends at the upstream when the client does not read', function()
        local connection = connect({ receive_buffer = 4096 })
        ask(connection)
        local peer = upstream:accept()
        peer:say(head_of(1000000000))
        local is_open = true
        while is_open do -- until it is reset
            is_open = posix.send_some(peer.fd, OCTETS) ~= nil
            posix.pause(0.01)
        end
        peer:close()
        assert.equal('client_stalled', records:next().outcome)
        connection:close()
    end)

    it('brings nothing that comes behind it', function()
        local connection = connect()
        ask(connection)
        local peer = upstream:accept()
        local size = 600000
        move(peer, head_of(size) .. OCTETS:sub(1, size - 1), connection, size - 60000)
        peer:say(OCTETS:sub(size, size) .. 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse')
        expect_cut(connection, size - 1)
        peer:expect_end()
        assert.not_equal('ok', records:next().outcome)
    end)

    it('leaves no pipe behind that was not empty', function()
        local before = count_pipes()
        for _ = 1, 3 do
            local connection = connect({ receive_buffer = 4096 })
            ask(connection)
            local peer = upstream:accept()
            peer:say(head_of(1000000000))
            local idle = 0
            while idle < 5 do -- the pipe holds what the client does not take
                local sent = assert(posix.send_some(peer.fd, OCTETS))
                idle = sent == 0 and idle + 1 or 0
                posix.pause(0.01)
            end
            connection:reset()
            peer:expect_end()
            records:next()
        end
        assert.equal(before, count_pipes())
    end)
end)
