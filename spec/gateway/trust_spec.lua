-- SPDX-License-Identifier: Apache-2.0
--
-- Whose word counts (fields of one hop, forwarding fields, identities), judged by the bytes that an
-- origin gets: one gateway that trusts nobody, one that trusts the spec's own address as a proxy.
local client = require 'spec.gateway.support.client'
local origins = require 'spec.gateway.support.origin'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local PLUGINS = {
    -- An authenticating plugin: it knows who calls, or does not care, or fails.
    identity = [[
plugin.IDENTITY_HEADERS = { 'X-Consumer-ID', 'X-Auth-User' }
function plugin:access()
    local case = moongate.request.get_query_arg('case')
    if case == 'known' then
        moongate.service.request.set_header('X-Consumer-ID', 'joe')
    elseif case == 'error' then
        error('who is that?')
    elseif case == 'loop' then
        while true do end
    end
end]],
    asleep = "plugin.IDENTITY_HEADERS = { 'X-Asleep-User' }\nfunction plugin:access() end",
    -- What a plugin sees, as fields of the answer.
    view = [[
function plugin:access()
    local request, set = moongate.request, moongate.response.set_header
    set('X-Peer', moongate.client.get_ip())
    set('X-Client', moongate.client.get_forwarded_ip())
    set('X-Seen', tostring(request.get_header_all('x-role')))
    set('X-First', tostring(request.get_header('x-role')))
    local list = request.get_headers()['x-role']
    set('X-List', type(list) == 'table' and table.concat(list, '|') or tostring(list))
end]],
}

-- ORIGIN, PORT, SIX and DIR stand for ports and the folder, TRUSTED for a list.
local CONFIG = [[
_format_version: "3.0"
plugins:
- { name: view }
- { name: rate-limit, config: { quota: 1000, window: 1h, algorithm: fixed-window, align: first,
    key: [ip] } }
- { name: asleep, enabled: false }
- name: access-log
  config: { fields: [client_ip, peer_ip, request_id], sinks: [{ type: file, path: DIR/log }] }
services:
- name: origin
  url: http://127.0.0.1:ORIGIN
  routes:
  - { name: strip, paths: [/strip] }
  - { name: identity, paths: [/identity], plugins: [{ name: identity }] }
  - { name: elsewhere, paths: [/elsewhere] }
gateway:
  workers: 1
  trusted_ips: TRUSTED
  listeners: [{ address: "127.0.0.1:PORT" }, { address: "[::1]:SIX" }]
]]

local function start(origin, trusted)
    local folder = process.plugins(PLUGINS, process.PLUGIN)
    local values = { ORIGIN = origin.port, PORT = process.free_port(), SIX = process.free_port(),
        DIR = folder, TRUSTED = trusted }
    local gateway = process.gateway(CONFIG:gsub('%u%u%u+', values), { folder = folder })
    gateway.six = '[::1]:' .. values.SIX
    return gateway
end

describe('of a peer', function()
    local origin, stranger, proxy, answer

    setup(function()
        origin = origins.listen(function()
            return answer
        end)
        stranger = start(origin, '[]')
        proxy = start(origin, '[127.0.0.1, 10.0.0.0/8, "2001:db8::/32"]')
    end)

    before_each(function()
        answer = origins.OK
        origin:reset()
    end)

    teardown(function()
        process.stop_all()
        origin:close()
    end)

    -- Sends one request on a connection of its own.
    -- @treturn table the answer
    -- @treturn table|nil what the origin got
    local function ask(place, path, fields, body)
        local connection = assert(client.connect(place, { origin = origin }))
        assert(connection:send(('%s %s HTTP/1.1\r\nHost: Gate.test:8080\r\n%s\r\n%s'):format(
            body and 'POST' or 'GET', path, fields, body or '')))
        local res = assert(connection:response())
        connection:close()
        origin:settle()
        return res, origin.requests[#origin.requests]
    end

    local function one(request, name)
        local values = origins.values(request, name)
        assert.equal(1, #values, name .. ' in ' .. request.head)
        return values[1]
    end

    -- HDR-01 -------------------------------------------------------------------------------------

    -- The gateway's own fields as a stranger's request has them.
    local function assert_own_fields(request, id)
        assert.equal('127.0.0.1', one(request, 'X-Forwarded-For'))
        assert.equal('http', one(request, 'X-Forwarded-Proto'))
        assert.equal('gate.test:8080', one(request, 'X-Forwarded-Host'))
        assert.equal(tostring(stranger.port), one(request, 'X-Forwarded-Port'))
        assert.equal('/strip/x', one(request, 'X-Forwarded-Path'))
        assert.equal('/strip', one(request, 'X-Forwarded-Prefix'))
        assert.equal('1.1 moongate', one(request, 'Via'))
        assert.equal('127.0.0.1:' .. origin.port, one(request, 'Host'))
        assert.equal(id, one(request, 'X-Request-ID'))
    end

    local OWN = 'X-Forwarded-For, x-forwarded-proto, X-FORWARDED-HOST, X-Forwarded-Port,'
        .. 'X-Forwarded-Path,,X-Forwarded-Prefix , Via, Host, X-Request-ID, X-Real-IP, Forwarded'

    it('HDR-01 its Connection cannot take a field of the gateway away', function()
        for _, fields in ipairs({ 'Connection: ' .. OWN .. '\r\n',
            'connection: keep-alive\r\nCONNECTION: ' .. OWN:lower() .. '\r\nConnection: close\r\n',
            'Connection: ' .. OWN:gsub(',', '\t ,') .. '\r\nX-Forwarded-For: 1.2.3.4\r\n' }) do
            local res, request = ask(stranger.port, '/strip/x', fields)
            assert.equal(200, res.status)
            assert_own_fields(request, res.headers['x-request-id'])
        end
    end)

    it('HDR-01 its Connection cannot take away length and coding of a body', function()
        local _, request = ask(stranger.port, '/strip/x',
            'Connection: Content-Length, Transfer-Encoding, Host\r\nContent-Length: 5\r\n', 'hello')
        assert.equal('hello', request.body)
        _, request = ask(stranger.port, '/strip/x',
            'Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n',
            '5\r\nhello\r\n0\r\n\r\n')
        assert.equal('hello', request.body)
    end)

    it('HDR-01 its Connection cannot take away what a plugin has set', function()
        local _, request = ask(stranger.port, '/identity?case=known',
            'Connection: X-Consumer-ID, x-consumer-id, X_Consumer_ID\r\nX-Consumer-ID: EVIL\r\n')
        assert.equal('joe', one(request, 'X-Consumer-ID'))
        assert.is_nil(request.head:find('EVIL', 1, true))
    end)

    it('HDR-01 fields of one hop, and those that Connection lists, end here for all', function()
        local res, request = ask(stranger.port, '/strip/x',
            'Connection: X-Role, upgrade, X-Mine\r\nX-Role: EVIL\r\nx-MINE: EVIL\r\n'
            .. 'Keep-Alive: EVIL\r\nProxy-Connection: EVIL\r\nTE: EVIL\r\nTrailer: EVIL\r\n'
            .. 'Upgrade: EVIL\r\nProxy-Authenticate: EVIL\r\nProxy-Authorization: EVIL\r\n'
            .. 'X-Kept: yes\r\n')
        assert.is_nil(request.head:find('EVIL', 1, true), request.head)
        assert.equal('yes', one(request, 'X-Kept'))
        assert.equal('nil', res.headers['x-seen']) -- the plugin does not see what does not go on
        request = select(2, ask(stranger.port, '/strip/x',
            'Expect: 100-continue\r\nContent-Length: 0\r\n'))
        assert.same({}, origins.values(request, 'Expect'))
    end)

    it('HDR-01 an upstream\'s Connection takes only its own fields away', function()
        answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Request-ID, Via, Date,'
            .. 'X-RateLimit-Limit, x-seen, Content-Length, X-Mine\r\nX-Mine: EVIL\r\n'
            .. 'Keep-Alive: EVIL\r\nProxy-Connection: EVIL\r\nTE: EVIL\r\nTrailer: EVIL\r\n'
            .. 'Upgrade: EVIL\r\nProxy-Authenticate: EVIL\r\nX-Kept: yes\r\n\r\nok'
        local res = ask(stranger.port, '/strip/x', 'X-Role: a\r\nX-Request-ID: 7\r\n')
        assert.equal('ok', res.body)
        assert.is_nil(res.head:find('EVIL', 1, true), res.head)
        assert.same({ '7', '1.1 moongate', 'a', 'yes', '2' }, { res.headers['x-request-id'],
            res.headers.via, res.headers['x-seen'], res.headers['x-kept'],
            res.headers['content-length'] })
        assert.is_not_nil(res.headers['x-ratelimit-limit'])
        assert.is_nil(res.headers.connection)
    end)

    it('HDR-01 nor in an interim answer, nor in one that opens a tunnel', function()
        local fields = 'X-Mine: EVIL\r\nKeep-Alive: EVIL\r\nX-Kept: yes\r\n\r\n'
        answer = 'HTTP/1.1 103 Early Hints\r\nConnection: x-mine\r\n' .. fields
            .. 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'
        local connection = assert(client.connect(stranger.port, { origin = origin }))
        assert(connection:send('GET /strip/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'))
        connection:expect_end()
        assert.matches('^HTTP/1%.1 103 .*X%-Kept: yes.*HTTP/1%.1 200 OK', connection.kept)
        assert.is_nil(connection.kept:find('EVIL', 1, true), connection.kept)
        answer = 'HTTP/1.1 101 Switching Protocols\r\n'
            .. 'Connection: Upgrade, X-Mine, X-Request-ID\r\nUpgrade: websocket\r\n'
            .. 'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n' .. fields -- RFC 6455, 1.3
        local res = ask(stranger.port, '/strip/x',
            'Connection: Upgrade, X-Role\r\nX-Role: EVIL\r\nUpgrade: websocket\r\n'
            .. 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n')
        assert.equal(101, res.status)
        assert.is_nil(res.head:find('EVIL', 1, true), res.head)
        assert.equal('upgrade', res.headers.connection:lower())
        assert.matches('^%x+$', res.headers['x-request-id'])
        assert.is_nil(origin.requests[2].head:find('EVIL', 1, true))
    end)

    -- HDR-02 -------------------------------------------------------------------------------------

    local FORGED = { 'Forwarded', 'X-Forwarded-For', 'X-Forwarded-Proto', 'X-Forwarded-Host',
        'X-Forwarded-Port', 'X-Forwarded-Path', 'X-Forwarded-Prefix', 'X-Forwarded-Server',
        'X-Forwarded-Anything-Else', 'X-Real-IP', 'X-Original-URL', 'X-Original-Host',
        'X-Original-Forwarded-For', 'X-Rewrite-URL', 'X-Rewrite-Path', 'X-Consumer-ID',
        'X-Auth-User', 'X-Asleep-User' }

    local function dropped(gateway)
        return gateway:status().counters.untrusted_fields_dropped
    end

    it('HDR-02 a stranger\'s forwarding and identity fields are deleted and counted', function()
        local fields = {}
        for _, name in ipairs(FORGED) do
            for _, spelling in ipairs({ name, name:lower(), name:upper(),
                (name:gsub('-', '_')) }) do
                fields[#fields + 1] = spelling .. ': EVIL\r\n'
            end
        end
        local before = dropped(stranger)
        local res, request = ask(stranger.port, '/strip/x', table.concat(fields))
        assert.is_nil(request.head:find('EVIL', 1, true), request.head)
        assert_own_fields(request, res.headers['x-request-id'])
        -- `Forwarded` has no hyphen: there its fourth spelling is the first again.
        assert.equal(before + #fields, dropped(stranger))
        assert.equal('127.0.0.1', res.headers['x-client'])
    end)

    it('HDR-02 aliases with _ are deleted from trusted peers too', function()
        local fields = {}
        for _, name in ipairs({ 'X_Forwarded_For', 'X-Forwarded_For', 'x_forwarded-host',
            'X_Real_IP', 'X_Original_URL', 'X_Rewrite-URL', 'X_Request_ID', 'X_Consumer_ID',
            'X-Auth_User', 'Content_Length', 'Transfer_Encoding', 'Proxy_Authorization' }) do
            fields[#fields + 1] = name .. ': EVIL\r\n'
        end
        local before = dropped(proxy)
        local _, request = ask(proxy.port, '/strip/x', table.concat(fields) .. 'my_field: 1\r\n')
        assert.is_nil(request.head:find('EVIL', 1, true), request.head)
        assert.equal('1', one(request, 'my_field'))
        assert.equal(before + #fields, dropped(proxy))
    end)

    it('HDR-02 a trusted proxy\'s fields stay, and the peer is added', function()
        local _, request = ask(proxy.port, '/strip/x', 'X-Forwarded-For: 9.9.9.9\r\n'
            .. 'X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.test\r\n'
            .. 'X-Forwarded-Port: 443\r\nX-Forwarded-Path: /p\r\nX-Forwarded-Prefix: /q\r\n'
            .. 'Forwarded: for=9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\n')
        for name, value in pairs({ ['X-Forwarded-For'] = '9.9.9.9, 127.0.0.1',
            ['X-Forwarded-Proto'] = 'https', ['X-Forwarded-Host'] = 'shop.test',
            ['X-Forwarded-Port'] = '443', ['X-Forwarded-Path'] = '/p',
            ['X-Forwarded-Prefix'] = '/q', Forwarded = 'for=9.9.9.9', ['X-Real-IP'] = '9.9.9.9' })
        do
            assert.equal(value, one(request, name))
        end
    end)

    local IDENTITY = 'X-Consumer-ID: EVIL\r\nX-Auth-User: EVIL\r\nx_consumer_id: EVIL\r\n'
        .. 'X-Asleep-User: EVIL\r\n'

    it('HDR-02 identities go also where their plugin is on another route, or is off', function()
        for _, path in ipairs({ '/elsewhere', '/identity?case=known', '/identity?case=skip' }) do
            local res, request = ask(stranger.port, path, IDENTITY)
            assert.equal(200, res.status)
            assert.is_nil(request.head:find('EVIL', 1, true), request.head)
        end
        assert.same({}, origins.values(origin.requests[3], 'X-Consumer-ID'))
    end)

    it('HDR-02 a plugin that fails lets no identity pass: nothing is sent', function()
        for case, status in pairs({ error = 500, loop = 503 }) do
            assert.equal(status, (ask(stranger.port, '/identity?case=' .. case, IDENTITY)).status)
        end
        assert.equal(0, origin.bytes)
    end)

    it('HDR-02 a malformed or second request id is replaced, for all the same', function()
        for _, id in ipairs({ '', 'a b', '"', '<script>', 'a\tb', 'a\195\169', 'a%0a,b',
            ('a'):rep(65), 'a;b', "a'b", 'a\\b', '{}' }) do
            local res, request = ask(stranger.port, '/strip/x', 'X-Request-ID: ' .. id .. '\r\n')
            assert.matches('^%x+$', res.headers['x-request-id'])
            assert.equal(res.headers['x-request-id'], one(request, 'X-Request-ID'))
        end
        for _, place in ipairs({ stranger.port, proxy.port }) do
            local res, request = ask(place, '/strip/x',
                'X-Request-ID: one\r\nX-Request-ID: <two>\r\nx-request-id: three\r\n')
            assert.equal('one', res.headers['x-request-id'])
            assert.matches('\r\nX%-Request%-ID: one\r\n', request.head)
            assert.is_nil(request.head:find('two', 1, true))
            assert.is_nil(request.head:find('three', 1, true))
        end
    end)

    -- X-Forwarded-For fields, the client's address, what the origin gets before the peer.
    local WALKS = {
        { { '198.51.100.1' }, '198.51.100.1' },
        { { 'EVIL, 198.51.100.1, 10.1.1.1' }, '198.51.100.1' },
        { { '1.1.1.1', '198.51.100.1', '10.1.1.1, 10.2.2.2' }, '198.51.100.1' },
        { { '10.0.0.1, 10.0.0.2' }, '10.0.0.1' },
        { { '9.9.9.9,10.0.0.1' }, '9.9.9.9' },
        { { ' 9.9.9.9 ,\t10.0.0.1 ' }, '9.9.9.9' },
        { { '9.9.9.9, , 10.0.0.1,' }, '9.9.9.9' },
        { { '2001:DB9:0::1' }, '2001:db9::1' },
        { { '9.9.9.9, 2001:db8::7' }, '9.9.9.9' },
        { { '2001:db9::1, 2001:DB8:ffff::, 10.0.0.1' }, '2001:db9::1' },
        { { '7.7.7.7, ::ffff:10.0.0.1' }, '7.7.7.7' },
        { { '::ffff:7.7.7.7, ::FFFF:a00:1' }, '7.7.7.7' },
        { { '::ffff:7.7.7.7' }, '7.7.7.7' },
        -- What is no address ends the walk at the hop behind it.
        { { '9.9.9.9, garbage' }, '127.0.0.1' },
        { { '9.9.9.9, garbage, 10.0.0.1' }, '10.0.0.1' },
        { { '9.9.9.9, 10.0.0.0/8' }, '127.0.0.1' },
        { { '9.9.9.9/0, 10.0.0.1' }, '10.0.0.1' },
        { { '9.9.9.9, 010.0.0.1' }, '127.0.0.1' },
        { { '9.9.9.9, 10.1' }, '127.0.0.1' },
        { { '9.9.9.9, fe80::1%eth0' }, '127.0.0.1' },
        { { '9.9.9.9, "10.0.0.1"' }, '127.0.0.1' },
        { { 'unknown' }, '127.0.0.1' },
        { { '' }, '127.0.0.1' },
    }

    it('HDR-02 the client is the first address from the right that is not trusted', function()
        for _, walk in ipairs(WALKS) do
            local fields = 'X-Forwarded-For: ' .. table.concat(walk[1], '\r\nX-Forwarded-For: ')
            local res, request = ask(proxy.port, '/strip/x', fields .. '\r\n')
            assert.equal(walk[2], res.headers['x-client'], fields)
            assert.equal('127.0.0.1', res.headers['x-peer'])
            assert.matches('127%.0%.0%.1$', one(request, 'X-Forwarded-For'))
            -- From a stranger it is not even looked at.
            res, request = ask(stranger.port, '/strip/x', fields .. '\r\n')
            assert.equal('127.0.0.1', res.headers['x-client'])
            assert.equal('127.0.0.1', one(request, 'X-Forwarded-For'))
        end
    end)

    it('HDR-02 an IPv6 peer is trusted by its own address only', function()
        for _, gateway in ipairs({ stranger, proxy }) do -- neither trusts ::1
            local res, request = ask(gateway.six, '/strip/x', 'X-Forwarded-For: 9.9.9.9\r\n')
            assert.equal('::1', res.headers['x-client'])
            assert.equal('::1', one(request, 'X-Forwarded-For'))
        end
        local six = start(origin, '["::1/128", "::ffff:0:0/96"]')
        local res, request = ask(six.six, '/strip/x', 'X-Forwarded-For: 9.9.9.9, ::1\r\n')
        assert.equal('9.9.9.9', res.headers['x-client'])
        assert.equal('9.9.9.9, ::1, ::1', one(request, 'X-Forwarded-For'))
        six:stop()
    end)

    it('HDR-02 log and limiter count the client by that address, however written', function()
        local function left(place, forwarded)
            local res = ask(place, '/strip/x', 'X-Forwarded-For: ' .. forwarded .. '\r\n')
            return tonumber(res.headers['x-ratelimit-remaining'])
        end
        local first = left(proxy.port, '203.0.113.5')
        for i, text in ipairs({ '::ffff:203.0.113.5', '1.1.1.1, 203.0.113.5, 10.0.0.1',
            '::FFFF:cb00:7105' }) do
            assert.equal(first - i, left(proxy.port, text), text)
        end
        first = left(stranger.port, '203.0.113.5')
        assert.equal(first - 1, left(stranger.port, '203.0.113.6'))
        local log, count
        local deadline = posix.now() + process.deadline
        repeat
            proxy:collect(posix.now() + 0.02)
            log = process.read(proxy.folder .. '/log') or ''
            count = select(2, log:gsub('"client_ip":"203.0.113.5","peer_ip":"127.0.0.1"', ''))
        until count >= 4 or posix.now() > deadline
        assert.equal(4, count)
        assert.is_nil(log:lower():find('"client_ip":"::ffff', 1, true))
    end)

    it('HDR-02 five times in a circle end with 508', function()
        local via = '1.1 moongate'
        for count = 0, 6 do
            local list = {}
            for i = 1, count do
                list[i] = i % 2 == 0 and '1.0 MOONGATE (x)' or via
            end
            origin:reset()
            local res = ask(stranger.port, '/strip/x', 'Via: 1.1 other-moongate, 1.1 a ,'
                .. table.concat(list, ',') .. '\r\nVia: 1.1 z\r\n')
            assert.equal(count < 5 and 200 or 508, res.status)
            assert.equal(count < 5 and 1 or 0, #origin.requests)
        end
        assert.equal(0, origin.bytes)
    end)

    -- HDR-03 -------------------------------------------------------------------------------------

    it('HDR-03 a rule sees all values of a field, and the origin gets them all', function()
        local res, request = ask(stranger.port, '/strip/x',
            'X-Role: user\r\nx-role: admin, root\r\nX_Role: alias\r\n')
        assert.equal('user, admin, root, alias', res.headers['x-seen'])
        assert.equal('user|admin, root', res.headers['x-list'])
        assert.equal('user', res.headers['x-first'])
        assert.same({ 'user' }, origins.values(request, 'X-Role'))
        assert.same({ 'admin, root' }, origins.values(request, 'x-role'))
        assert.same({ 'alias' }, origins.values(request, 'X_Role'))
    end)

    it('HDR-03 a field that has one value cannot come twice', function()
        for _, name in ipairs({ 'Authorization', 'Content-Type', 'Content-Range', 'Range',
            'Max-Forwards', 'Host', 'Content-Length' }) do
            for _, values in ipairs({ { '1', '1' }, { '1', '2' } }) do
                local res = ask(stranger.port, '/strip/x', ('%s: %s\r\n%s: %s\r\n'):format(name,
                    values[1], name:lower(), values[2]))
                assert.equal(400, res.status, name)
            end
        end
        assert.equal(0, origin.bytes)
    end)

    it('HDR-03 cookies are counted over all Cookie fields', function()
        local function cookies(count)
            local list = {}
            for i = 1, count do
                list[i] = 'c' .. i .. '=1'
            end
            return 'Cookie: ' .. table.concat(list, '; ') .. '\r\n'
        end
        assert.equal(200, (ask(stranger.port, '/strip/x', cookies(60) .. cookies(40))).status)
        origin:reset()
        assert.equal(400, (ask(stranger.port, '/strip/x', cookies(60) .. cookies(41))).status)
        assert.equal(400, (ask(stranger.port, '/strip/x', cookies(1) .. cookies(100))).status)
        assert.equal(0, origin.bytes)
    end)
end)
