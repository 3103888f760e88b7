-- SPDX-License-Identifier: Apache-2.0
--
-- Answers that are not one piece: WebSocket tunnels, events forwarded as they come, a client of
-- HTTP/1.0, a client that goes away, pipelined requests. Where it matters what is sent when, the
-- spec plays the upstream itself.
local process = require 'spec.gateway.support.process'
local scripted = require 'spec.gateway.support.scripted'

describe('through the gateway', function()
    local gateway, upstream

    before_each(function()
        upstream = scripted.listen()
        gateway = process.gateway(process.yaml{ upstream = upstream.port })
    end)

    after_each(function()
        process.stop_all()
        upstream:close()
    end)

    local GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'

    it('events arrive one by one, while the upstream still sends', function()
        local connection = gateway:send('GET /events HTTP/1.1\r\nHost: x\r\n\r\n')
        local peer = upstream:accept()
        peer:say('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n' ..
            'Transfer-Encoding: chunked\r\n\r\n')
        connection:wait_for('\r\n\r\n') -- the head comes before any event
        for i = 1, 5 do
            local event = ('data: %d\n\n'):format(i)
            peer:say(('%x\r\n%s\r\n'):format(#event, event))
            connection:wait_for(event) -- and each event before the next is sent
        end
        peer:say('0\r\n\r\n')
        connection:wait_for('0\r\n\r\n')
        connection:close()
        peer:close()
    end)

    it('a stream that ends with its connection arrives as it comes', function()
        local connection = gateway:send(GET)
        local peer = upstream:accept()
        peer:say('HTTP/1.1 200 OK\r\n\r\none')
        connection:wait_for('one')
        peer:say('two')
        connection:wait_for('two')
        peer:close()
        local res = assert(connection:response())
        assert.equal('onetwo', res.body)
        connection:close()
    end)

    it('a request body goes on while it is still being sent', function()
        local connection = gateway:post('/', 'Content-Length: 6\r\n', 'one')
        local peer = upstream:accept()
        peer:wait_for('one')
        assert(connection:send('two'))
        peer:wait_for('onetwo')
        peer:say('HTTP/1.1 204 No Content\r\n\r\n')
        assert.equal(204, assert(connection:response()).status)
        connection:close()
        peer:close()
    end)

    it('a client of HTTP/1.0 gets a body without chunks, up to the end', function()
        local connection = gateway:send('GET / HTTP/1.0\r\n\r\n')
        local peer = upstream:accept()
        assert.truthy(peer.head:find('^GET / HTTP/1%.1\r\n'), peer.head)
        assert.truthy(peer.head:lower():find('\r\nhost: 127', 1, true), peer.head)
        peer:say('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n')
        connection:wait_for('one') -- sent before its length can be known
        peer:say('3\r\ntwo\r\n0\r\n\r\n')
        local res = assert(connection:response())
        assert.is_nil(res.headers['transfer-encoding'])
        assert.equal('onetwo', res.body)
        connection:close()
        peer:close()
    end)

    it('a client of HTTP/1.0 may keep its connection', function()
        local connection = gateway:send(
            'GET /1 HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n')
        local peer = upstream:accept()
        peer:say('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none')
        local res = assert(connection:response())
        assert.equal('one', res.body)
        assert.equal('keep-alive', (res.headers.connection or ''):lower())
        assert(connection:send('GET /2 HTTP/1.0\r\nHost: x\r\n\r\n'))
        assert.truthy(peer:read_head():find('^GET /2 '))
        peer:say('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo')
        assert.equal('two', assert(connection:response()).body)
        assert.equal('', connection:expect_end())
        peer:close()
    end)

    it('pipelined requests are answered in order', function()
        local parts = {}
        for i = 1, 10 do
            parts[i] = ('GET /%d HTTP/1.1\r\nHost: x\r\n\r\n'):format(i)
        end
        local connection = gateway:send(table.concat(parts))
        local peer = upstream:accept()
        for i = 1, 10 do
            local head = i == 1 and peer.head or peer:read_head()
            assert.truthy(head:find(('^GET /%d HTTP'):format(i)), head)
            peer:say(('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%02d'):format(i))
        end
        for i = 1, 10 do
            assert.equal(('%02d'):format(i), assert(connection:response()).body)
        end
        connection:close()
        peer:close()
    end)

    local function outcomes_after_end(peer)
        peer:expect_end()
        local status = assert(gateway:wait_status(function(now)
            return now.counters.requests_active == 0
        end))
        assert.equal(0, status.counters.upstream_connections)
        return status.outcomes
    end

    it('a client that goes away before the answer ends the request upstream', function()
        local connection = gateway:send(GET)
        local peer = upstream:accept()
        connection:close()
        assert.equal(1, outcomes_after_end(peer).client_abort)
    end)

    it('a client that goes away inside the answer ends the request upstream', function()
        local connection = gateway:send(GET)
        local peer = upstream:accept()
        peer:say('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin')
        connection:wait_for('begin')
        connection:close()
        assert.equal(1, outcomes_after_end(peer).client_abort)
    end)

    it('a client that goes away inside its body ends the request upstream', function()
        local connection = gateway:post('/', 'Content-Length: 10\r\n', '12345')
        local peer = upstream:accept()
        peer:wait_for('12345')
        connection:close()
        assert.equal(1, outcomes_after_end(peer).client_abort_request)
    end)

    it('an answer that the upstream breaks off does not look whole', function()
        local connection = gateway:send(GET)
        local peer = upstream:accept()
        peer:say('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n')
        connection:wait_for('begin')
        peer:close()
        connection:expect_cut()
        assert.truthy(gateway:wait_status(function(now)
            return now.outcomes.upstream_body_reset == 1
        end))
    end)
end)

describe('a WebSocket', function()
    local echo, gateway
    -- The key of RFC 6455, 1.3, and the answer that belongs to it.
    local KEY, ACCEPT = 'dGhlIHNhbXBsZSBub25jZQ==', 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    local ASK = 'GET %s HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n' ..
        'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ' .. KEY ..
        '\r\n\r\n'

    setup(function()
        echo = process.echo()
        gateway = process.gateway(([[
_format_version: "3.0"
services:
- name: echo
  url: http://127.0.0.1:%d
  routes:
  - { name: open, paths: [/] }
  - { name: closed, paths: [/closed] }
  - { name: short, paths: [/short] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
  routes:
    settings:
      closed: { websocket: false }
      short: { limits: { tunnel_timeout: 300ms } }
]]):format(echo.port, process.free_port()))
    end)

    teardown(process.stop_all)

    -- A text message of at most 125 bytes with a mask of four bytes (RFC 6455, 5.2).
    local function frame(opcode, text)
        local mask = { 0x37, 0xfa, 0x21, 0x3d }
        local bytes = {}
        for i = 1, #text do
            bytes[i] = string.char(bit.bxor(text:byte(i), mask[(i - 1) % 4 + 1]))
        end
        return string.char(0x80 + opcode, 0x80 + #text, unpack(mask)) .. table.concat(bytes)
    end

    local function wait_kept(connection, bytes)
        while #connection.kept < #bytes do
            local ok, err = connection:fill()
            assert.is_true(ok, err)
        end
        assert.equal(bytes, connection.kept:sub(1, #bytes))
        connection.kept = connection.kept:sub(#bytes + 1)
    end

    local function open(path, more)
        local connection = gateway:connect()
        assert(connection:send(ASK:format(path) .. (more or '')))
        local res = assert(connection:response())
        assert.equal(101, res.status)
        assert.equal('websocket', res.headers.upgrade:lower())
        assert.equal('upgrade', res.headers.connection:lower())
        assert.equal(ACCEPT, res.headers['sec-websocket-accept'])
        return connection
    end

    it('carries messages both ways until it is closed', function()
        local connection = open('/ws')
        for i = 1, 20 do
            local text = ('message %d'):format(i)
            assert(connection:send(frame(1, text)))
            wait_kept(connection, string.char(0x81, #text) .. text)
        end
        assert.equal(1, gateway:status().counters.tunnels)
        assert(connection:send(frame(8, '\3\232')))
        wait_kept(connection, string.char(0x88, 2) .. '\3\232')
        assert.equal('', connection:expect_end())
        local status = assert(gateway:wait_status(function(now)
            return now.counters.tunnels == 0
        end))
        assert.equal(0, status.counters.upstream_connections)
    end)

    it('may send before it has the answer', function()
        local connection = open('/ws', frame(1, 'early'))
        wait_kept(connection, string.char(0x81, 5) .. 'early')
        connection:close()
    end)

    it('carries a megabyte each way unchanged', function()
        local connection = open('/ws?raw=1')
        local parts = {}
        for i = 1, 16 do
            parts[i] = (('%08d'):format(i)):rep(8192)
            assert(connection:send(parts[i]))
            wait_kept(connection, parts[i])
        end
        connection:close()
    end)

    it('is not opened where the route forbids it', function()
        local connection = gateway:connect()
        assert(connection:send(ASK:format('/closed')))
        local res = assert(connection:response())
        assert.not_equal(101, res.status)
        assert.equal(0, gateway:status().counters.limit_tunnel_timeout)
        connection:close()
    end)

    it('on which nothing is said is closed after the route\'s time', function()
        local connection = open('/short')
        assert.equal('', connection:expect_end())
        assert.equal(1, gateway:status().counters.limit_tunnel_timeout)
    end)
end)
