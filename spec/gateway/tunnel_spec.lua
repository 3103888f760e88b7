-- SPDX-License-Identifier: Apache-2.0
--
-- Upgraded connections through the real gateway. The spec plays the upstream: it says what the
-- answer to the upgrade is, and when, and what of the raw bytes is read.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local procfs = require 'spec.gateway.support.procfs'
local stream = require 'spec.gateway.support.stream'

local IS_MEASURED = os.getenv('MOONGATE_PRESET') ~= 'asan'
local SIZE = tonumber(os.getenv('MOONGATE_SOAK_TUNNEL')) or IS_MEASURED and 8 * stream.MIB or
    2 * stream.MIB
local TUNNELS = 8 -- at a time
-- What the kernel may keep of one direction of a tunnel, and more than that.
local KEPT = 2 * procfs.socket_bytes()
local ENDLESS = KEPT + 16 * stream.MIB

-- The key of RFC 6455, 1.3, and the answer that belongs to it.
local KEY, ACCEPT = 'dGhlIHNhbXBsZSBub25jZQ==', 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
local UPGRADE = { 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: ' .. KEY }
local SWITCH = { 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Accept: ' .. ACCEPT }

local YAML = [[
_format_version: "3.0"
services:
- name: origin
  url: http://127.0.0.1:%d
  read_timeout: 500
  routes:
  - { name: open, paths: [/], strip_path: false }
  - { name: closed, paths: [/closed], strip_path: false }
  - { name: seen, paths: [/seen], strip_path: false, plugins: [{ name: cors }] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
  routes: { settings: { closed: { websocket: false } } }
]]

local function lines(first, fields, rest)
    return table.concat({ first, unpack(fields) }, '\r\n') .. '\r\n\r\n' .. (rest or '')
end

local function without(fields, name)
    local kept = {}
    for _, field in ipairs(fields) do
        if field:match('^[^:]+'):lower() ~= name:lower() then
            kept[#kept + 1] = field
        end
    end
    return kept
end

local function with(fields, ...)
    local all = { ... }
    for _, field in ipairs(all) do
        fields = without(fields, field:match('^[^:]+'))
    end
    for _, field in ipairs(fields) do
        table.insert(all, field)
    end
    return all
end

describe('an upgrade', function()
    local listener, gateway, worker

    setup(function()
        local port
        listener, port = posix.listen()
        gateway = process.gateway(YAML:format(port, process.free_port()))
        worker = gateway:status().workers[1].pid
    end)

    teardown(function()
        posix.close(listener)
        process.stop_all()
    end)

    local function deadline()
        return posix.now() + process.deadline
    end

    local function ask(path, fields, rest, line)
        local connection = assert(client.connect(gateway.port))
        connection.timeout = process.deadline
        local first = (line or 'GET %s HTTP/1.1'):format(path)
        assert(connection:send(lines(first, with(fields, 'Host: x'), rest)))
        return connection
    end

    -- The upstream's side: a connection with the request's head read, which must be all of it.
    local function accept()
        local fd = assert(posix.accept(listener, deadline()))
        local head = ''
        repeat
            head = head .. assert(posix.read(fd, deadline()))
        until head:find('\r\n\r\n', 1, true)
        return fd, head
    end

    local function answer(fd, fields, rest, first)
        assert(posix.send(fd, lines(first or 'HTTP/1.1 101 Switching Protocols', fields, rest),
            deadline()))
    end

    local function expect_rest()
        assert.truthy(gateway:wait_status(function(now)
            local c = now.counters
            return c.requests_active == 0 and c.connections == 0 and c.tunnels == 0 and
                c.upstream_connections == c.upstream_idle
        end))
        assert.equal(worker, gateway:status().workers[1].pid)
    end

    local function open(o)
        o = o or {}
        local connection = ask(o.path or '/', UPGRADE)
        local fd = accept()
        answer(fd, SWITCH)
        assert.equal(101, assert(connection:response()).status)
        assert.equal('', connection.kept)
        return connection, fd
    end

    local function close(connection, fd)
        connection:close()
        posix.close(fd)
        expect_rest()
    end

    describe('that is agreed on', function()
        it('M20 shows the upstream what it asks for, and the client what was agreed', function()
            local more = with(UPGRADE, 'Sec-WebSocket-Protocol: chat, superchat',
                'Sec-WebSocket-Extensions: permessage-deflate', 'Origin: http://site')
            local connection = ask('/seen', more)
            local fd, head = accept()
            for _, field in ipairs(more) do
                local name, value = field:match('^([^:]+): (.*)$')
                assert.truthy(head:lower():find(('\r\n%s: %s\r\n'):format(name, value):lower(), 1,
                    true), head)
            end
            answer(fd, with(SWITCH, 'Sec-WebSocket-Protocol: chat', 'X-Other: 1'))
            local res = assert(connection:response())
            assert.equal(101, res.status)
            assert.equal('websocket', res.headers.upgrade)
            assert.equal('upgrade', res.headers.connection:lower())
            assert.equal(ACCEPT, res.headers['sec-websocket-accept'])
            assert.equal('chat', res.headers['sec-websocket-protocol'])
            assert.equal('1', res.headers['x-other'])
            assert.equal('*', res.headers['access-control-allow-origin']) -- header_filter saw it
            assert.is_nil(res.headers['content-length'])
            assert.is_nil(res.headers['transfer-encoding'])
            close(connection, fd)
        end)

        it('carries octets both ways at once, in pieces of any size', function()
            local connection, fd = open()
            stream.run(stream.side(connection.fd, { send = SIZE }),
                stream.side(fd, { send = SIZE }))
            close(connection, fd)
        end)

        it('carries what came with the heads', function()
            for _, size in ipairs({ 1, 65535, 65536, 65537, 1000000 }) do
                local connection = assert(client.connect(gateway.port))
                local a = stream.side(connection.fd, { send = size + 10, finish = true })
                -- The head and the first octets in one write, the rest when there is room for it.
                local first = math.min(size, 30000)
                assert(connection:send(lines('GET / HTTP/1.1', with(UPGRADE, 'Host: x'),
                    stream.piece(a.salt, 0, first))))
                a.sent = first
                while a.sent < size and posix.poll({ { fd = connection.fd, wants_write = true } },
                    posix.now() + 0.2) do
                    a:write()
                end
                local fd = accept()
                -- None of it before the upstream has agreed.
                assert.is_nil((posix.read(fd, posix.now() + 0.1)))
                local b = stream.side(fd, { send = size, finish = true })
                first = math.min(size, 30000)
                answer(fd, SWITCH, stream.piece(b.salt, 0, first))
                b.sent = first
                local head = lines('HTTP/1.1 101 Switching Protocols', {}):sub(1, 12)
                local got = ''
                while not got:find('\r\n\r\n', 1, true) do
                    got = got .. assert(posix.read(connection.fd, deadline(), 1))
                end
                assert.equal(head, got:sub(1, #head))
                stream.run(a, b)
                close(connection, fd)
            end
        end)

        for _, who in ipairs({ 'client', 'upstream' }) do
            it('holds the other side back when the ' .. who .. ' does not read', function()
                local connection, fd = open()
                local stalled = stream.side(who == 'client' and connection.fd or fd,
                    { send = stream.MIB, stalled = true })
                local other = stream.side(who == 'client' and fd or connection.fd,
                    { send = ENDLESS })
                local before = procfs.anonymous_bytes(worker)
                -- The stalled side may still send.
                repeat
                    assert.is_false(stream.run(stalled, other, 0.3))
                until other.got == stalled.to_send
                assert.is_true(other.sent < KEPT + stream.MIB, other.sent)
                if IS_MEASURED then
                    local more = procfs.anonymous_bytes(worker) - before
                    assert.is_true(more < stream.MIB, more)
                end
                stalled.stalled = false
                other.to_send = other.sent + stream.MIB
                assert.is_true(stream.run(stalled, other))
                close(connection, fd)
            end)
        end

        it('is not ended when an upstream that does not read says something', function()
            local connection, fd = open()
            local silent = stream.side(fd, { stalled = true })
            local other = stream.side(connection.fd, { send = ENDLESS })
            assert.is_false(stream.run(silent, other, 0.3))
            assert(posix.send(fd, 'x', deadline()))
            assert.equal('x', posix.read(connection.fd, deadline()))
            posix.pause(1) -- twice the read_timeout of the service
            assert.equal(1, gateway:status().counters.tunnels)
            silent.stalled = false
            other.to_send = other.sent
            assert.is_true(stream.run(silent, other))
            close(connection, fd)
        end)

        it('costs a worker little when nobody reads', function()
            local pairs_of_sides = {}
            local before = procfs.anonymous_bytes(worker)
            for i = 1, TUNNELS do
                local connection, fd = open()
                local a = stream.side(connection.fd, { send = ENDLESS, stalled = true })
                local b = stream.side(fd, { send = ENDLESS, stalled = true })
                assert.is_false(stream.run(a, b, 0.1))
                pairs_of_sides[i] = { connection, fd, a, b }
            end
            if IS_MEASURED then
                local more = procfs.anonymous_bytes(worker) - before
                assert.is_true(more < TUNNELS * 2 * 256 * 1024, more)
            end
            for _, pair in ipairs(pairs_of_sides) do
                for _, side in ipairs({ pair[3], pair[4] }) do
                    side.stalled = false
                    side.to_send = side.sent
                end
                assert.is_true(stream.run(pair[3], pair[4]))
            end
            for _, pair in ipairs(pairs_of_sides) do
                pair[1]:close()
                posix.close(pair[2])
            end
            expect_rest()
        end)

        it('stays open over a reload', function()
            local connection, fd = open()
            assert.equal(0, (gateway:command('reload')))
            local status = gateway:status()
            assert.equal(1, status.counters.tunnels)
            stream.run(stream.side(connection.fd, { send = 300000, finish = true }),
                stream.side(fd, { send = 300000, finish = true }))
            close(connection, fd)
        end)
    end)

    describe('whose one side has ended', function()
        for _, first in ipairs({ 'client', 'upstream' }) do
            it('goes on for the other, after the ' .. first, function()
                local connection, fd = open()
                local ends = { client = connection.fd, upstream = fd }
                local ended = ends[first]
                ends[first] = nil
                local _, other = next(ends)
                local a = stream.side(ended, { send = 200000, finish = true })
                local b = stream.side(other)
                stream.run(a, b)
                assert.is_true(b.ended)
                assert.equal(1, gateway:status().counters.tunnels)
                b.to_send, b.finish = SIZE / 4, true
                stream.run(a, b)
                assert.is_true(a.ended)
                close(connection, fd)
            end)

            it('loses nothing when the other reads slowly, after the ' .. first, function()
                local connection = ask('/', UPGRADE)
                local fd = accept()
                answer(fd, SWITCH)
                assert.equal(101, assert(connection:response()).status)
                local fds = first == 'client' and { connection.fd, fd } or { fd, connection.fd }
                local a = stream.side(fds[1], { send = 64 * stream.MIB })
                local b = stream.side(fds[2], { stalled = true, most = 4000 })
                assert.is_false(stream.run(a, b, 0.3)) -- all buffers are full
                a.to_send, a.finish = a.sent, true
                -- Everything it has to say is said; the other is in no hurry.
                a:end_sending()
                b.stalled = false
                stream.run(a, b)
                assert.is_true(b.ended)
                close(connection, fd)
            end)

            it('is not waited for longer than for an answer, after the ' .. first, function()
                local connection, fd = open()
                local before = gateway:status().counters.limit_tunnel_timeout
                posix.shutdown_write(first == 'client' and connection.fd or fd)
                assert.equal('', posix.read(first == 'client' and fd or connection.fd, deadline()))
                -- tunnel_timeout is ten minutes, read_timeout half a second
                assert.equal('', posix.read(first == 'client' and connection.fd or fd, deadline()))
                assert.equal(before + 1, gateway:status().counters.limit_tunnel_timeout)
                close(connection, fd)
            end)

            it('ends for both when it breaks, the ' .. first, function()
                local connection, fd = open()
                local broken = first == 'client' and connection.fd or fd
                local other = first == 'client' and fd or connection.fd
                posix.reset(broken)
                assert.equal('', (posix.read(other, deadline())))
                posix.close(other)
                expect_rest()
            end)
        end
    end)

    -- It has said its last words and is gone, while the client still sends: those words arrive.
    it('brings the last words of an upstream that has left', function()
        for _ = 1, 10 do
            local connection, fd = open()
            assert(connection:send('x')) -- not read: its close is a reset
            assert(posix.send(fd, 'last words', deadline()))
            posix.close(fd)
            local got = ''
            repeat
                assert(posix.send_some(connection.fd, 'more') or true)
                local bytes = assert(posix.read(connection.fd, deadline()))
                got = got .. bytes
            until bytes == ''
            assert.equal('last words', got)
            connection:close()
        end
        expect_rest()
    end)

    describe('that the upstream', function()
        local FIRST = 'HTTP/1.1 101 Switching Protocols'
        local BAD = {
            ['has another Accept'] = with(SWITCH, 'Sec-WebSocket-Accept: ' .. KEY),
            ['has no Accept'] = without(SWITCH, 'Sec-WebSocket-Accept'),
            ['has an empty Accept'] = with(SWITCH, 'Sec-WebSocket-Accept:'),
            ['has an Accept in another case'] = with(SWITCH,
                'Sec-WebSocket-Accept: ' .. ACCEPT:upper()),
            ['has a longer Accept'] = with(SWITCH, 'Sec-WebSocket-Accept: ' .. ACCEPT .. '='),
            ['has two Accepts'] = { 'Sec-WebSocket-Accept: x', unpack(SWITCH) },
            ['has two Accepts, the right one first'] = { SWITCH[1], SWITCH[2], SWITCH[3],
                'Sec-WebSocket-Accept: x' },
            ['has no Upgrade'] = without(SWITCH, 'Upgrade'),
            ['switches to h2c'] = with(SWITCH, 'Upgrade: h2c'),
            ['switches to two protocols'] = with(SWITCH, 'Upgrade: websocket, h2c'),
            ['switches twice'] = { 'Upgrade: h2c', unpack(SWITCH) },
            ['gives a length'] = with(SWITCH, 'Content-Length: 6'),
            ['gives a coding'] = with(SWITCH, 'Transfer-Encoding: chunked'),
        }
        for what, fields in pairs(BAD) do
            it('SMG-11 is a 502 when its 101 ' .. what, function()
                local connection = ask('/', UPGRADE, 'early!')
                local fd = accept()
                answer(fd, fields, 'secret', FIRST)
                local res = assert(connection:response())
                assert.equal(502, res.status)
                assert.is_nil((res.head .. res.body .. connection.kept):find('secret', 1, true))
                -- No raw byte the other way either, and the connection is not used again.
                assert.equal('', posix.read(fd, deadline()))
                close(connection, fd)
            end)
        end

        it('SMG-11 is a 502 when its 101 is of HTTP/1.0', function()
            local connection = ask('/', UPGRADE)
            local fd = accept()
            answer(fd, SWITCH, '', 'HTTP/1.0 101 Switching Protocols')
            assert.equal(502, assert(connection:response()).status)
            close(connection, fd)
        end)

        local NOT_ASKED = {
            ['nobody asked to upgrade'] = { {} },
            ['the route forbids it'] = { UPGRADE, path = '/closed' },
            ['h2c was asked for'] = { { 'Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c',
                'HTTP2-Settings: AAMAAABkAAQAAP__' } },
            ['h2c was asked for as well'] = { with(UPGRADE, 'Upgrade: websocket, h2c') },
            ['h2c was asked for in a line of its own'] = { { 'Upgrade: h2c', unpack(UPGRADE) } },
            ['Connection does not name it'] = { without(UPGRADE, 'Connection') },
            ['the key is missing'] = { without(UPGRADE, 'Sec-WebSocket-Key') },
            ['there are two keys'] = { { 'Sec-WebSocket-Key: eA==', unpack(UPGRADE) } },
            ['the client speaks HTTP/1.0'] = { UPGRADE, line = 'GET %s HTTP/1.0' },
            ['the method is POST'] = { with(UPGRADE, 'Content-Length: 0'),
                line = 'POST %s HTTP/1.1' },
            ['the request has a body'] = { with(UPGRADE, 'Content-Length: 2'), rest = 'ab' },
        }
        for what, case in pairs(NOT_ASKED) do
            it('M20 does not see when ' .. what .. ', and may not grant', function()
                local connection = ask(case.path or '/', case[1], case.rest, case.line)
                local fd, head = accept()
                local seen = head:lower()
                assert.is_nil(seen:find('\r\nupgrade:', 1, true), head)
                assert.is_nil(seen:find('\r\nconnection: [^\r]*upgrade'), head)
                assert.is_nil(seen:find('http2-settings', 1, true), head)
                answer(fd, SWITCH, 'secret')
                local res = assert(connection:response())
                assert.equal(502, res.status)
                assert.is_nil((res.body .. connection.kept):find('secret', 1, true))
                posix.close(fd)
                connection:close()
                expect_rest()
            end)
        end

        for _, status in ipairs({ 200, 304, 400, 403, 404, 426, 503 }) do
            it(('M20 may refuse with %d: an answer like any other'):format(status), function()
                local connection = ask('/', UPGRADE)
                local fd = accept()
                local body = status == 304 and '' or 'no'
                answer(fd, { 'Content-Length: ' .. #body, 'X-Why: it is so' }, body,
                    ('HTTP/1.1 %d Whatever'):format(status))
                local res = assert(connection:response())
                assert.equal(status, res.status)
                assert.equal(body, res.body)
                assert.equal('it is so', res.headers['x-why'])
                -- Both connections stay in use.
                assert(connection:send('GET /next HTTP/1.1\r\nHost: x\r\n\r\n'))
                assert.truthy(assert(posix.read(fd, deadline())):find('^GET /next '))
                answer(fd, { 'Content-Length: 4' }, 'next', 'HTTP/1.1 200 OK')
                assert.equal('next', assert(connection:response()).body)
                connection:close()
                posix.close(fd)
                expect_rest()
            end)
        end

        it('SMG-11 refuses: what the client sent ahead is parsed as a request', function()
            local connection = ask('/', UPGRADE, '\129\1x')
            local fd = accept()
            answer(fd, { 'Content-Length: 2' }, 'no', 'HTTP/1.1 200 OK')
            assert.equal(200, assert(connection:response()).status)
            assert.equal(400, assert(connection:response()).status)
            assert.is_nil((posix.read(fd, posix.now() + 0.1)))
            connection:close()
            posix.close(fd)
            expect_rest()
        end)
    end)
end)
