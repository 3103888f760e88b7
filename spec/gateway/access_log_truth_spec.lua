-- SPDX-License-Identifier: Apache-2.0
--
-- What access-log lines say: why each request ended, by whom and where; and what they never say:
-- secrets, or lines that a client made up.
local client = require 'spec.gateway.support.client'
local dkjson = require 'dkjson'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local PLUGINS = {
    boom = [[
function plugin:access()
    error('boom')
end]],
    loop = [[
function plugin:header_filter()
    while true do
    end
end]],
    secretive = [[
function plugin:header_filter()
    moongate.response.set_header('Set-Cookie', 'sid=S3CRET')
    moongate.response.set_header('Location', 'https://h/cb?code=S3CRET&state=1')
end]],
}

-- ECHO, RAW and PORT stand for ports.
local CONFIG = [[
_format_version: "3.0"
plugins:
- name: access-log
  config: { fields: [method, path, status, outcome, ended_by, ended_in, body_bytes_out, bytes_out,
    tries, limit, breaker, user_agent, query] }
services:
- { name: echo, url: "http://127.0.0.1:ECHO", routes: [
    { name: echo, paths: [/echo] },
    { name: boom, paths: [/boom], plugins: [{ name: boom }] },
    { name: loop, paths: [/loop], plugins: [{ name: loop }] },
    { name: stop, paths: [/stop], plugins: [{ name: request-termination }] },
    { name: limit, paths: [/limit], plugins: [{ name: rate-limit,
      config: { quota: 1, window: 1h, key: [path] } }] },
    { name: https, paths: [/https], protocols: [https] } ] }
- { name: raw, url: "http://127.0.0.1:RAW", read_timeout: 300, retries: 0, routes: [
    { name: raw, paths: [/raw] } ] }
- { name: refused, url: "http://127.0.0.1:1", retries: 1, routes: [
    { name: refused, paths: [/refused] },
    { name: broken, paths: [/broken], plugins: [{ name: circuit-breaker,
      config: { consecutive_failures: 1, scope: route } }] } ] }
- { name: dns, url: "http://nowhere.invalid", routes: [{ name: dns, paths: [/dns] }] }
- { name: empty, host: empty, routes: [{ name: empty, paths: [/empty] }] }
upstreams:
- { name: empty }
routes:
- { name: no_service, paths: [/no_service] }
- { name: late, paths: [/late], service: { name: echo } }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:PORT" }]
  limits: { body_timeout: 200ms, response_header_bytes: 1KiB, request_body: 1KiB,
    send_timeout: 300ms }
  routes: { settings: { late: { limits: { request_timeout: 200ms } } } }
]]

describe('the access log tells', function()
    local gateway, echo, listener, taken

    local function with_plugins(folder)
        os.execute('mkdir ' .. folder .. '/plugins')
        for name, text in pairs(PLUGINS) do
            process.write(('%s/plugins/%s.lua'):format(folder, name),
                "local plugin = { PRIORITY = 1, VERSION = '0.1.0' }\n" .. text .. '\nreturn plugin')
        end
        return folder
    end

    local function start(config)
        local folder = with_plugins(process.folder())
        taken = 0
        echo = process.echo()
        local fd, port = posix.listen()
        listener = fd
        local values = { ECHO = echo.port, RAW = port, PORT = process.free_port(), DIR = folder }
        gateway = process.gateway(config:gsub('%u%u%u+', values), { folder = folder })
    end

    local function stop()
        process.stop_all()
        posix.close(listener)
    end

    -- The next lines on standard output; there must be so many.
    local function lines(count)
        local deadline = posix.now() + process.deadline
        local list
        repeat
            gateway:collect(posix.now() + 0.01)
            list = {}
            for line in gateway.out:sub(taken + 1):gmatch('([^\n]*)\n') do
                list[#list + 1] = line
            end
        until #list >= count or posix.now() > deadline
        assert.equal(count, #list)
        taken = #gateway.out
        return list
    end

    local function records(count)
        local list = {}
        for i, line in ipairs(lines(count)) do
            list[i] = assert(dkjson.decode(line, 1, nil))
        end
        return unpack(list)
    end

    local function connect(o)
        return assert(client.connect(gateway.port, o))
    end

    -- The raw upstream answers with that text (nil: not at all) and closes, or else stays open.
    local function raw(text, stays)
        return function()
            local connection = connect()
            local deadline = connection:deadline()
            assert(connection:send('GET /raw HTTP/1.1\r\nHost: x\r\n\r\n'))
            local upstream = assert(posix.accept(listener, deadline))
            assert(posix.read(upstream, deadline))
            assert(posix.send(upstream, text or '', deadline))
            if not stays then
                posix.close(upstream)
            end
            connection:response()
            if stays then
                posix.close(upstream)
            end
            connection:close()
        end
    end

    local function send_and_leave(text, when_active)
        return function()
            local connection = connect()
            assert(connection:send(text))
            assert(not when_active or gateway:wait_status(function(status)
                return status.counters.requests_active == 1
            end))
            connection:close()
        end
    end

    local function get(path)
        return function()
            assert(gateway:get(path))
        end
    end

    local function stall()
        local connection = connect({ receive_buffer = 4096 })
        assert(connection:send('GET /echo?size=64MiB HTTP/1.1\r\nHost: x\r\n\r\n'))
        assert(gateway:wait_text('"client_stalled"', nil, 'out'))
        connection:close()
    end

    local function websocket()
        local connection = connect()
        assert(connection:send('GET /echo?raw=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n'
            .. 'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
            .. 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'))
        assert.equal(101, assert(connection:response()).status)
        connection:close()
    end

    local function post(text)
        return function()
            local connection = connect()
            assert(connection:send('POST /echo HTTP/1.1\r\nHost: x\r\n' .. text))
            assert(connection:response())
            connection:close()
        end
    end

    describe('in one gateway', function()
        local counts = {}

        setup(function()
            start(CONFIG)
        end)

        teardown(stop)

        -- outcome, status, what is done, outcome of the last try (nil: any), more
        local CASES = {
            { 'ok', 200, get('/echo'), 'ok' },
            { 'ok', 500, get('/echo?status=500'), 'ok' },
            { 'upgraded', 101, websocket, 'ok' },
            { 'bad_request', 400, post('Transfer-Encoding: chunked\r\n\r\nZ\r\n') },
            { 'body_timeout', 408, post('Content-Length: 5\r\n\r\nab') },
            { 'too_large', 413,
                post('Transfer-Encoding: chunked\r\n\r\n800\r\n' .. ('a'):rep(0x800)) },
            { 'client_abort_request', 499, send_and_leave(
                'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab') },
            { 'client_abort', 499,
                send_and_leave('GET /echo?delay=60000 HTTP/1.1\r\nHost: x\r\n\r\n', true),
                'client_abort' },
            { 'client_stalled', 200, stall },
            { 'no_route', 404, get('/nowhere') },
            { 'https_required', 426, get('/https') },
            { 'no_service', 503, get('/no_service') },
            { 'plugin_answer', 503, get('/stop'), by = 'request-termination', phase = 'access' },
            { 'plugin_error', 500, get('/boom'), by = 'boom', phase = 'access' },
            { 'plugin_limit', 503, get('/loop'), 'ok', by = 'loop', phase = 'header_filter' },
            { 'deadline', 504, get('/late?delay=60000'), 'deadline' },
            { 'upstream_no_target', 503, get('/empty') },
            { 'upstream_dns', 502, get('/dns'), 'upstream_dns', tries = 2 },
            { 'upstream_refused', 502, get('/refused'), 'upstream_refused', tries = 2 },
            { 'upstream_reset', 502, raw(nil), 'upstream_reset' },
            { 'upstream_bad_response', 502, raw('SSH-2.0-OpenSSH_9.2\r\n\r\n'),
                'upstream_bad_response' },
            { 'upstream_too_large', 502,
                raw('HTTP/1.1 200 OK\r\nX: ' .. ('a'):rep(2000) .. '\r\n\r\n'),
                'upstream_too_large' },
            { 'upstream_timeout', 504, raw(nil, true), 'upstream_timeout' },
            { 'upstream_body_reset', 200, raw('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'),
                'upstream_body_reset' },
            { 'upstream_body_timeout', 200,
                raw('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc', true),
                'upstream_body_timeout' },
        }

        for _, case in ipairs(CASES) do
            local outcome, status, act, try = unpack(case)
            it(('L5 why a request ended: %s, %d'):format(outcome, status), function()
                act()
                local record = records(1)
                assert.same({ outcome, status }, { record.outcome, record.status })
                assert.same({ case.by, case.phase }, { record.ended_by, record.ended_in })
                if try then
                    assert.equal(case.tries or 1, #record.tries)
                    assert.equal(try, record.tries[#record.tries].outcome)
                end
                counts[outcome] = (counts[outcome] or 0) + 1
                assert.equal(counts[outcome], gateway:status().outcomes[outcome])
            end)
        end

        it('of a limit and a breaker what they decided', function()
            get('/limit')()
            get('/limit')()
            local _, record = records(2)
            assert.same({ 'limited', 429, 'rate-limit', 'access' },
                { record.outcome, record.status, record.ended_by, record.ended_in })
            assert.is_table(record.limit)
            get('/broken')()
            get('/broken')()
            _, record = records(2)
            assert.same({ 'breaker_open', 503, 'circuit-breaker' },
                { record.outcome, record.status, record.ended_by })
            assert.is_table(record.breaker)
            assert.same({}, record.tries)
        end)

        it('how many bytes the client got', function()
            local connection = connect()
            local res = assert(connection:request('GET', '/echo?size=1000'))
            assert(connection:request('GET', '/echo?size=1000'))
            connection:close()
            for _, record in ipairs({ records(2) }) do
                assert.equal(1000, record.body_bytes_out)
                assert.equal(#res.head + 1000, record.bytes_out)
            end
        end)

        it('L5 no line that a client made up', function()
            local evil = '"}{"status":200,\\" \t\128\255\226\128\168 \194\133 {"outcome":"ok"'
            local targets = { '/echo?%00"\\&%0d%0a{"status":200}', '/echo/"}', '/echo?a=<>`|%ff' }
            for _, target in ipairs(targets) do
                assert(gateway:get(target, { ['User-Agent'] = evil }))
            end
            local seen = 0
            for _, line in ipairs(lines(#targets)) do
                local record, at = dkjson.decode(line, 1, nil)
                assert.equal(#line + 1, at, line)
                assert.is_nil(line:find('[%z\1-\31\127]'))
                seen = seen + (record.user_agent == '"}{"status":200,\\" \t\239\191\189\239\191\189'
                    .. '\226\128\168 \194\133 {"outcome":"ok"' and 1 or 0)
            end
            assert.equal(#targets, seen)
    end)
    end)

    it('L4 no secret, in no form and no place', function()
        finally(stop)
        start(([[
_format_version: "3.0"
plugins:
- name: secretive
- name: access-log
  config:
    fields: [path, query, host, user_agent, referer, req.header.authorization, req.header.cookie,
      req.header.x-api-key, req.header.x-original-url, resp.header.set-cookie,
      resp.header.location, tries]
    sinks:
    - { type: stdout }
    - { type: file, path: DIR/combined.log, format: combined }
    - { type: file, path: DIR/custom.log, format: custom, template: 'T' }
services:
- { name: echo, url: "http://127.0.0.1:ECHO", routes: [{ name: echo, paths: [/] }] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:PORT" }]
  log: { level: debug }
]]):gsub("'T'", "'{path} {query} {referer} {req.header.authorization} {req.header.cookie} "
            .. "{resp.header.set-cookie} {resp.header.location}'"))
        local connection = connect()
        assert(connection:request('POST', '/a;password=S3CRET/b?token=S3CRET&%61PI_key=S3CRET'
            .. '&user[password]=S3CRET&next=%2Fcb%3Fcode%3DS3CRET&a=1', {
                Authorization = 'Bearer S3CRET', Cookie = 'a=S3CRET', ['X-API-Key'] = 'S3CRET',
                Referer = 'https://joe:S3CRET@h/?PassWord=S3CRET#access_token=S3CRET',
                ['X-Original-URL'] = '/x?signature=S3CRET', ['Content-Type'] = 'application/json',
            }, '{"password":"S3CRET"}'))
        connection:close()
        lines(1)
        gateway:signal('TERM')
        assert.equal(0, gateway:wait())
        local texts = { gateway.out, gateway.err, process.read(gateway.folder .. '/combined.log'),
            process.read(gateway.folder .. '/custom.log') }
        for _, text in ipairs(texts) do
            assert.is_nil(text:find('S3CRET', 1, true), text)
        end
        for _, i in ipairs({ 1, 3, 4 }) do
            assert.truthy(texts[i]:find('a=1', 1, true), texts[i]) -- the rest of the query is there
            assert.truthy(texts[i]:find('***', 1, true))
        end
    end)
end)
