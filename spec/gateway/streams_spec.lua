-- SPDX-License-Identifier: Apache-2.0
--
-- Answers that are not one piece: WebSocket tunnels, events forwarded as they come, a client of
-- HTTP/1.0, a client that goes away, pipelined requests. Where it matters what is sent when, the
-- spec plays the upstream itself.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

describe('through the gateway', function()
    local gateway, listener

    before_each(function()
        local port
        listener, port = posix.listen()
        gateway = process.gateway(process.yaml{ upstream = port })
    end)

    after_each(function()
        posix.close(listener)
        process.stop_all()
    end)

    local function deadline()
        return posix.now() + process.deadline
    end

    -- The upstream's side: an accepted connection with the request's head read.
    local function accept()
        local fd = assert(posix.accept(listener, deadline()))
        local head = ''
        repeat
            head = head .. assert(posix.read(fd, deadline()))
        until head:find('\r\n\r\n', 1, true)
        return fd, head
    end

    local function say(fd, text)
        assert(posix.send(fd, text, deadline()))
    end

    local function ask(text)
        local connection = assert(client.connect(gateway.port))
        assert(connection:send(text))
        return connection
    end

    -- Reads until what came holds the text.
    local function wait_for(connection, text)
        while not connection.kept:find(text, 1, true) do
            local ok, err = connection:fill()
            assert.is_true(ok, err)
        end
    end

    it('events arrive one by one, while the upstream still sends', function()
        local connection = ask('GET /events HTTP/1.1\r\nHost: x\r\n\r\n')
        local fd = accept()
        say(fd, 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n' ..
            'Transfer-Encoding: chunked\r\n\r\n')
        wait_for(connection, '\r\n\r\n') -- the head comes before any event
        for i = 1, 5 do
            local event = ('data: %d\n\n'):format(i)
            say(fd, ('%x\r\n%s\r\n'):format(#event, event))
            wait_for(connection, event) -- and each event before the next is sent
        end
        say(fd, '0\r\n\r\n')
        wait_for(connection, '0\r\n\r\n')
        connection:close()
        posix.close(fd)
    end)

    it('a stream that ends with its connection arrives as it comes', function()
        local connection = ask('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
        local fd = accept()
        say(fd, 'HTTP/1.1 200 OK\r\n\r\none')
        wait_for(connection, 'one')
        say(fd, 'two')
        wait_for(connection, 'two')
        posix.close(fd)
        local res = assert(connection:response())
        assert.equal('onetwo', res.body)
        connection:close()
    end)

    it('a request body goes on while it is still being sent', function()
        local connection = ask('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\none')
        local fd, seen = accept()
        while not seen:find('one', 1, true) do
            seen = seen .. assert(posix.read(fd, deadline()))
        end
        assert(connection:send('two'))
        while not seen:find('onetwo', 1, true) do
            seen = seen .. assert(posix.read(fd, deadline()))
        end
        say(fd, 'HTTP/1.1 204 No Content\r\n\r\n')
        assert.equal(204, assert(connection:response()).status)
        connection:close()
        posix.close(fd)
    end)

    it('a client of HTTP/1.0 gets a body without chunks, up to the end', function()
        local connection = ask('GET / HTTP/1.0\r\n\r\n')
        local fd, head = accept()
        assert.truthy(head:find('^GET / HTTP/1%.1\r\n'), head)
        assert.truthy(head:lower():find('\r\nhost: 127', 1, true), head)
        say(fd, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n')
        wait_for(connection, 'one') -- sent before its length can be known
        say(fd, '3\r\ntwo\r\n0\r\n\r\n')
        local res = assert(connection:response())
        assert.is_nil(res.headers['transfer-encoding'])
        assert.equal('onetwo', res.body)
        connection:close()
        posix.close(fd)
    end)

    it('a client of HTTP/1.0 may keep its connection', function()
        local connection = ask('GET /1 HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n')
        local fd = accept()
        say(fd, 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none')
        local res = assert(connection:response())
        assert.equal('one', res.body)
        assert.equal('keep-alive', (res.headers.connection or ''):lower())
        assert(connection:send('GET /2 HTTP/1.0\r\nHost: x\r\n\r\n'))
        assert.truthy(assert(posix.read(fd, deadline())):find('^GET /2 '))
        say(fd, 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo')
        assert.equal('two', assert(connection:response()).body)
        assert.is_false((connection:fill()))
        connection:close()
        posix.close(fd)
    end)

    it('pipelined requests are answered in order', function()
        local parts = {}
        for i = 1, 10 do
            parts[i] = ('GET /%d HTTP/1.1\r\nHost: x\r\n\r\n'):format(i)
        end
        local connection = ask(table.concat(parts))
        local fd
        for i = 1, 10 do
            local head
            if fd then
                head = assert(posix.read(fd, deadline()))
            else
                fd, head = accept()
            end
            assert.truthy(head:find(('^GET /%d HTTP'):format(i)), head)
            say(fd, ('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%02d'):format(i))
        end
        for i = 1, 10 do
            assert.equal(('%02d'):format(i), assert(connection:response()).body)
        end
        connection:close()
        posix.close(fd)
    end)

    local function expect_end(fd)
        local bytes = posix.read(fd, deadline())
        assert.equal('', bytes)
        posix.close(fd)
        local status = assert(gateway:wait_status(function(now)
            return now.counters.requests_active == 0
        end))
        assert.equal(0, status.counters.upstream_connections)
        return status.outcomes
    end

    it('a client that goes away before the answer ends the request upstream', function()
        local connection = ask('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
        local fd = accept()
        connection:close()
        assert.equal(1, expect_end(fd).client_abort)
    end)

    it('a client that goes away inside the answer ends the request upstream', function()
        local connection = ask('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
        local fd = accept()
        say(fd, 'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin')
        wait_for(connection, 'begin')
        connection:close()
        assert.equal(1, expect_end(fd).client_abort)
    end)

    it('a client that goes away inside its body ends the request upstream', function()
        local connection = ask('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345')
        local fd, seen = accept()
        while not seen:find('12345', 1, true) do
            seen = seen .. assert(posix.read(fd, deadline()))
        end
        connection:close()
        assert.equal(1, expect_end(fd).client_abort_request)
    end)

    it('an answer that the upstream breaks off does not look whole', function()
        local connection = ask('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
        local fd = accept()
        say(fd, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n')
        wait_for(connection, 'begin')
        posix.close(fd)
        assert.is_nil((connection:response()))
        connection:close()
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
        local connection = assert(client.connect(gateway.port))
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
        assert.is_false((connection:fill()))
        connection:close()
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
        local connection = assert(client.connect(gateway.port))
        assert(connection:send(ASK:format('/closed')))
        local res = assert(connection:response())
        assert.not_equal(101, res.status)
        assert.equal(0, gateway:status().counters.limit_tunnel_timeout)
        connection:close()
    end)

    it('on which nothing is said is closed after the route\'s time', function()
        local connection = open('/short')
        assert.is_false((connection:fill()))
        connection:close()
        assert.equal(1, gateway:status().counters.limit_tunnel_timeout)
    end)
end)
