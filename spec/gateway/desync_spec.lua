-- SPDX-License-Identifier: Apache-2.0
--
-- Classes of attacks that need a certain upstream or plugin, SMG-05 to SMG-09 and SMG-11: answers
-- before the body, bodies of another length, requests that plugins make, rewritten bodies, tunnels
-- that are none. Client and upstream are played step by step.
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local scripted = require 'spec.gateway.support.scripted'

local PLUGINS = {
    -- Asks another service in the middle of a request, and answers with the answer.
    asks = [[
return { PRIORITY = 1, VERSION = '0.1.0', access = function(_, conf)
    local answer, err = moongate.http.request{ url = 'http://127.0.0.1:PORT/asked',
        method = moongate.request.get_query_arg('method'),
        body = moongate.request.get_query_arg('body') }
    moongate.response.exit(200, answer and answer.body or err)
end }]],
    -- Tries CR and LF in each part of such a request.
    breaks = [[
local function attempts(c)
    local url = 'http://127.0.0.1:PORT/'
    return {
        path = { url = url .. c .. 'X: 1' },
        query = { url = url .. '?' .. c .. 'X: 1' },
        host = { url = 'http://127.0.0.1' .. c .. ':PORT/' },
        port = { url = 'http://127.0.0.1:PORT' .. c .. '/' },
        scheme = { url = 'http' .. c .. '://127.0.0.1:PORT/' },
        method = { url = url, method = 'GET / HTTP/1.1' .. c .. 'X: 1' .. c .. c },
        name = { url = url, headers = { ['X' .. c .. 'Y'] = '1' } },
        value = { url = url, headers = { X = '1' .. c .. 'Y: 1' } },
        list = { url = url, headers = { X = { '1', c } } },
        host_field = { url = url, headers = { Host = 'a' .. c .. 'X: 1' } },
    }
end
return { PRIORITY = 1, VERSION = '0.1.0', access = function()
    local quiet, tried = {}, 0
    for _, c in ipairs({ '\r\n', '\r', '\n', '\0' }) do
        for part, options in pairs(attempts(c)) do
            tried = tried + 1
            if pcall(moongate.http.request, options) then
                quiet[#quiet + 1] = part
            end
        end
    end
    moongate.response.exit(200, tried .. ' tried; not raised: ' .. table.concat(quiet, ' '))
end }]],
    -- Puts another body in the place of the client's.
    replaces = [[
return { PRIORITY = 1, VERSION = '0.1.0', access = function()
    moongate.service.request.set_raw_body(moongate.request.get_query_arg('body'))
end }]],
    -- The same with the answer's.
    rewrites = [[
return { PRIORITY = 1, VERSION = '0.1.0', body_filter = function()
    if moongate.response.get_raw_body() then
        moongate.response.set_raw_body('another body')
    end
end }]],
    -- Doubles each piece of the answer as it passes.
    doubles = [[
return { PRIORITY = 1, VERSION = '0.1.0', body_filter = function()
    if ngx.arg[1] then
        ngx.arg[1] = ngx.arg[1] .. ngx.arg[1]
    end
end }]],
}

local YAML = [[
_format_version: "3.0"
services:
- name: s
  url: http://127.0.0.1:%d
  routes:
  - { name: plain, paths: [/] }
  - { name: asks, paths: [/asks], plugins: [{ name: asks }] }
  - { name: breaks, paths: [/breaks], plugins: [{ name: breaks }] }
  - { name: replaces, paths: [/replaces], plugins: [{ name: replaces }] }
  - { name: rewrites, paths: [/rewrites], plugins: [{ name: rewrites }] }
  - { name: doubles, paths: [/doubles], plugins: [{ name: doubles }] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
]]

local GET = 'GET %s HTTP/1.1\r\nHost: a\r\n\r\n'
local OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
local LENGTH = 'Content-Length: 46\r\n'
local SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: a\r\nX-A: 1234\r\n\r\n' -- 46 bytes
local CHUNKED = 'Transfer-Encoding: chunked\r\n'

describe('a connection stays in step', function()
    local gateway, upstream

    setup(function()
        upstream = scripted.listen()
        local sources = {}
        for name, source in pairs(PLUGINS) do
            sources[name] = source:gsub('PORT', upstream.port)
        end
        gateway = process.gateway(YAML:format(upstream.port, process.free_port()),
            { folder = process.plugins(sources) })
    end)

    teardown(function()
        process.stop_all()
        upstream:close()
    end)

    local function send(text)
        return gateway:send(text)
    end

    local function post(...)
        return gateway:post(...)
    end

    local function expect(connection, status, body)
        local res = assert(connection:response())
        assert.same({ status, body or res.body }, { res.status, res.body })
        return res
    end

    -- The next request of anybody comes on a new connection and is answered as itself.
    local function expect_fresh()
        local connection = send(GET:format('/next'))
        local peer = upstream:accept()
        assert.truthy(peer.head:match('^GET /next HTTP/1%.1\r\n'))
        peer:say('HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnext')
        expect(connection, 200, 'next')
        peer:close()
        connection:close()
        assert.is_false(upstream:is_asked(0))
    end

    -- The same on a connection that the upstream has already.
    local function expect_kept(peer)
        local connection = send(GET:format('/next'))
        assert.truthy(peer:read_head():match('^GET /next HTTP/1%.1\r\n'))
        assert.equal('', peer.kept)
        peer:say('HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnext')
        expect(connection, 200, 'next')
        peer:expect_end()
        connection:close()
    end

    it('SMG-05 when the final answer comes before the body that is expected', function()
        local connection = post('/', 'Expect: 100-continue\r\n' .. LENGTH)
        local peer = upstream:accept()
        assert.is_nil(peer.head:lower():find('\r\nexpect:', 1, true))
        peer:say(OK)
        local res = expect(connection, 200, 'ok')
        assert.equal('close', res.headers.connection)
        connection:send(SMUGGLED)
        assert.equal('', peer:expect_end())
        connection:close()
        expect_fresh()
    end)

    it('SMG-05 when the upstream answers the head of a body that is a request', function()
        local connection = post('/', LENGTH)
        local peer = upstream:accept()
        peer:say(OK)
        expect(connection, 200, 'ok')
        connection:send(SMUGGLED)
        assert.equal('', peer:expect_end())
        connection:close()
        expect_fresh()
    end)

    it('SMG-05 when the body goes on after the answer has begun, to its end', function()
        for _, framing in ipairs({ LENGTH, CHUNKED }) do
            local octets = framing == LENGTH and SMUGGLED or '2e\r\n' .. SMUGGLED .. '\r\n0\r\n\r\n'
            local connection = post('/', framing, octets:sub(1, 10))
            local peer = upstream:accept()
            peer:wait_for('GET') -- some of the octets
            peer:say('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no')
            assert(connection:take_until('\r\n\r\n'))
            assert(connection:send(octets:sub(11)))
            peer:wait_for('X-A: 1234\r\n\r\n')
            peer:say('k')
            connection:take_rest()
            peer:expect_end()
            connection:close()
            expect_fresh()
        end
    end)

    it('SMG-05 when the upstream says 100 Continue itself, again and again', function()
        local connection = post('/', 'Expect: 100-continue\r\nContent-Length: 2\r\n')
        local peer = upstream:accept()
        peer:say('HTTP/1.1 100 Continue\r\n\r\n')
        assert.equal('HTTP/1.1 100 Continue\r\n\r\n', assert(connection:take_until('\r\n\r\n')))
        connection:send('hi')
        peer:wait_for('hi')
        peer:take(2)
        peer:say('HTTP/1.1 100 Continue\r\n\r\n' .. OK)
        assert.truthy(assert(connection:take_until('\r\n\r\n')):match('^HTTP/1%.1 200 OK\r\n'))
        assert.equal('ok', connection:take(2))
        connection:close()
        expect_kept(peer)
    end)

    it('SMG-06 when the client ends before its body does', function()
        for _, octets in ipairs({ '', SMUGGLED:sub(1, 45) }) do
            for _, leave in ipairs({ 'close', 'reset' }) do
                local connection = post('/', LENGTH, octets)
                local peer = upstream:accept()
                peer:wait_for(octets)
                connection[leave](connection)
                assert.equal(octets, peer:expect_end())
                expect_fresh()
            end
        end
    end)

    it('SMG-06 when the client ends inside its chunks', function()
        local connection = post('/', CHUNKED, '2e\r\n' .. SMUGGLED)
        local peer = upstream:accept()
        peer:wait_for(SMUGGLED)
        connection:close()
        assert.is_nil(peer:expect_end():find('0\r\n\r\n$'))
        expect_fresh()
    end)

    it('SMG-06 when the client sends more than its length', function()
        local connection = post('/', 'Content-Length: 2\r\n', 'hi' .. SMUGGLED)
        local peer = upstream:accept()
        assert.equal('hi', peer:take(2))
        peer:say(OK)
        expect(connection, 200, 'ok')
        assert.truthy(peer:read_head():match('^GET /smuggled HTTP/1%.1\r\n')) -- a request, as ever
        peer:say(OK)
        expect(connection, 200, 'ok')
        connection:close()
        expect_kept(peer)
    end)

    it('SMG-06 when the upstream sends less or more than its length', function()
        local connection = send(GET:format('/'))
        local peer = upstream:accept()
        peer:say('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok')
        assert.truthy(connection:take_until('ok'))
        peer:close()
        local rest, err = connection:take_rest()
        assert.is_nil(rest) -- a reset
        assert.not_equal('timeout', err)
        connection:close()
        connection = send(GET:format('/'))
        peer = upstream:accept()
        peer:say(OK .. 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil')
        expect(connection, 502)
        peer:expect_end()
        connection:close()
        expect_fresh()
    end)

    it('SMG-07 when HEAD is answered with a body, and a request follows it', function()
        for _, body in ipairs({ 'evil', OK }) do
            local connection = send('HEAD / HTTP/1.1\r\nHost: a\r\n\r\n' .. GET:format('/after'))
            local peer = upstream:accept()
            peer:say(('HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s'):format(#body, body))
            assert.equal(200, assert(connection:response('HEAD')).status)
            peer:expect_end()
            peer = upstream:accept()
            assert.truthy(peer.head:match('^GET /after '))
            peer:say('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter')
            expect(connection, 200, 'after')
            connection:close()
            expect_kept(peer)
        end
    end)

    it('SMG-07 when the body of HEAD comes late, after the next request is on its way', function()
        local connection = send('HEAD / HTTP/1.1\r\nHost: a\r\n\r\n')
        local peer = upstream:accept()
        peer:say('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n')
        assert.equal(200, assert(connection:response('HEAD')).status)
        peer:say('evil')
        peer:expect_end() -- the idle connection has bytes that nobody asked for
        connection:close()
        expect_fresh()
    end)

    it('SMG-07 when interim answers come without end', function()
        local connection = send(GET:format('/'))
        local peer = upstream:accept()
        local sent, storm = 0, ('HTTP/1.1 102 Processing\r\n\r\n'):rep(1000)
        while sent < 100000 and peer:send(storm) do
            sent = sent + 1000
        end
        local head = assert(connection:take_until('\r\n\r\n'))
        local interims = 0
        while head:match('^HTTP/1%.1 1') do
            interims = interims + 1
            head = assert(connection:take_until('\r\n\r\n'))
        end
        assert.truthy(head:match('^HTTP/1%.1 502 '))
        assert.is_true(interims <= 8)
        peer:close()
        connection:close()
        expect_fresh()
    end)

    it('SMG-08 a plugin\'s request inherits nothing of the client\'s', function()
        for _, framing in ipairs({ LENGTH, CHUNKED }) do
            local octets = framing == LENGTH and SMUGGLED or '2e\r\n' .. SMUGGLED .. '\r\n0\r\n\r\n'
            for _, case in ipairs({ { 'method=GET', '' }, { 'method=HEAD', '' },
                { 'method=POST', 'Content-Length: 0\r\n' },
                { 'method=PUT&body=hi', 'Content-Length: 2\r\n', 'hi' } }) do
                local connection = post('/asks?' .. case[1], 'X-Evil: 1\r\nCookie: a=b\r\n' ..
                    'Expect: 100-continue\r\nRange: bytes=0-1\r\n' .. framing, octets)
                local peer = upstream:accept()
                assert.equal(('%s /asked HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n'):format(
                    case[1]:match('=(%u+)'), upstream.port, case[2]), peer.head)
                assert.equal(case[3] or '', peer:take(#(case[3] or '')))
                peer:say('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
                expect(connection, 200, '')
                connection:close()
                assert.equal('', peer:expect_end())
            end
        end
    end)

    it('SMG-08 a plugin\'s request with a line end in any part raises', function()
        local connection = send(GET:format('/breaks'))
        expect(connection, 200, '40 tried; not raised: ')
        connection:close()
        assert.is_false(upstream:is_asked(0))
    end)

    it('SMG-09 when a plugin replaces the request\'s body: its length is the new one\'s', function()
        for _, framing in ipairs({ LENGTH, CHUNKED }) do
            local octets = framing == LENGTH and SMUGGLED or '2e\r\n' .. SMUGGLED .. '\r\n0\r\n\r\n'
            for _, body in ipairs({ '', 'hi', ('x'):rep(100) }) do
                local connection = post('/replaces?body=' .. body, framing, octets)
                local peer = upstream:accept()
                assert.truthy(peer.head:find(('\r\nContent-Length: %d\r\n'):format(#body), 1, true))
                assert.is_nil(peer.head:find('Transfer-Encoding', 1, true))
                assert.equal(body, peer:take(#body))
                peer:say(OK)
                expect(connection, 200, 'ok')
                connection:close()
                assert.equal('', peer.kept)
                peer:close()
            end
        end
    end)

    local ANSWERS = {
        length = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
        chunks = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    }

    for framing, answer in pairs(ANSWERS) do
        it(('SMG-09 when a plugin rewrites an answer with %s'):format(framing), function()
            for path, body in pairs({ ['/rewrites'] = 'another body', ['/doubles'] = 'okok' }) do
                local connection = send(GET:format(path) .. GET:format('/'))
                local peer = upstream:accept()
                peer:say(answer)
                expect(connection, 200, body)
                peer:read_head()
                peer:say(OK)
                expect(connection, 200, 'ok')
                assert.equal('', connection.kept)
                connection:close()
                peer:close()
            end
        end)
    end

    local UPGRADE = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' ..
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
    local ACCEPT = 'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n'
    local SWITCH = 'HTTP/1.1 101 Switching Protocols\r\n%s\r\n'

    local BAD_SWITCHES = {
        ['without the accepted key'] = 'Upgrade: websocket\r\nConnection: Upgrade\r\n',
        ['with another key'] = 'Upgrade: websocket\r\nConnection: Upgrade\r\n' ..
            'Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n',
        ['to another protocol'] = 'Upgrade: h2c\r\nConnection: Upgrade\r\n' .. ACCEPT,
        ['without Upgrade'] = 'Connection: Upgrade\r\n' .. ACCEPT,
        ['with a length'] = 'Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 4\r\n' ..
            ACCEPT,
        ['with a coding'] = 'Upgrade: websocket\r\nConnection: Upgrade\r\n' .. CHUNKED .. ACCEPT,
    }

    for what, fields in pairs(BAD_SWITCHES) do
        it(('SMG-11 no tunnel by a 101 %s'):format(what), function()
            local connection = send(UPGRADE .. 'raw bytes of the client')
            local peer = upstream:accept()
            peer:say(SWITCH:format(fields) .. 'raw bytes of the upstream')
            local res = expect(connection, 502)
            assert.is_nil((res.head .. res.body .. connection.kept):find('raw bytes', 1, true))
            assert.equal('', peer:expect_end())
            connection:close()
            expect_fresh()
        end)
    end

    it('SMG-11 no tunnel by another answer: bytes behind the request are the next one', function()
        for _, status in ipairs({ '200 OK', '426 Upgrade Required', '400 Bad Request' }) do
            local connection = send(UPGRADE .. GET:format('/after'))
            local peer = upstream:accept()
            assert.equal('', peer.kept)
            peer:say(('HTTP/1.1 %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' ..
                'Content-Length: 2\r\n\r\nno'):format(status))
            expect(connection, tonumber(status:match('%d+')), 'no')
            assert.truthy(peer:read_head():match('^GET /after HTTP/1%.1\r\n'))
            peer:say(OK)
            expect(connection, 200, 'ok')
            connection:close()
            peer:close()
        end
    end)

    it('SMG-11 no raw bytes before a right 101; all of them after it', function()
        local connection = send(UPGRADE .. 'early')
        local peer = upstream:accept()
        assert.equal('', peer.kept)
        assert.is_false(posix.wait_readable(peer.fd, posix.now() + 0.05))
        peer:say(SWITCH:format('Upgrade: websocket\r\nConnection: Upgrade\r\n' .. ACCEPT) .. 'back')
        assert.truthy(assert(connection:take_until('\r\n\r\n')):match('^HTTP/1%.1 101 '))
        assert.equal('back', connection:take(4))
        assert.equal('early', peer:take(5))
        connection:close()
        peer:expect_end()
    end)
end)
