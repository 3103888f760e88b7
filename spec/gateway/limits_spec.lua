-- SPDX-License-Identifier: Apache-2.0
--
-- Limits of a request, on the real binary: at the limit it passes, one above it is refused with
-- its status, a problem body, the end of the connection, a count and an outcome in the log. A route
-- may have limits of its own.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local scripted = require 'spec.gateway.support.scripted'
local dkjson = require 'dkjson'

local YAML = [[
_format_version: "3.0"
plugins: [{ name: access-log }]
services:
- name: echo
  url: http://127.0.0.1:%d
  routes:
  - { name: plain, paths: [/] }
  - { name: small, paths: [/small] }
  - { name: large, paths: [/large] }
  - { name: total, paths: [/total] }
  - { name: rate, paths: [/rate] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
  limits:
    request_body: 1000
    request_line: 100
    header_bytes: 1000
    header_line: 300
    header_name: 40
    header_count: 10
    query_args: 5
    cookies: 3
    chunk_line: 20
    chunk_extensions: 30
    trailers: 2
    connection_requests: 4
    keepalive_timeout: 300ms
    header_timeout: 300ms
    body_timeout: 300ms
  routes:
    settings:
      small:
        limits:
          request_body: 10
          query_args: 1
          cookies: 1
          chunk_line: 16
          body_timeout: 100ms
          send_timeout: 200ms
      large: { limits: { request_body: 5000, query_args: 10, body_timeout: 10s } }
      total: { limits: { body_total_timeout: 400ms } }
      rate: { limits: { body_min_rate: 100, body_timeout: 10s } }
]]

local OUTCOMES = { [200] = 'ok', [400] = 'bad_request', [408] = 'body_timeout',
    [413] = 'too_large', [414] = 'too_large', [431] = 'too_large' }

describe('a limit', function()
    local gateway, records

    setup(function()
        gateway = process.gateway(YAML:format(process.echo().port, process.free_port()))
        records = scripted.records(gateway)
    end)

    teardown(process.stop_all)

    local function count_of(name)
        return gateway:status().counters['limit_' .. name]
    end

    -- Sends bytes on a new connection; a refusal must be whole and end the connection.
    local function answer_to(bytes)
        local connection = assert(client.connect(gateway.port))
        assert(connection:send(bytes))
        local res = assert(connection:response())
        if res.status ~= 200 then
            local problem = assert(dkjson.decode(res.body), res.body)
            assert.equal('application/problem+json', res.headers['content-type'])
            assert.equal(res.status, problem.status)
            assert.equal(res.headers['x-request-id'], problem.request_id)
            assert.equal('string', type(problem.message))
            assert.equal('close', res.headers.connection)
            assert.equal('', connection:expect_end())
        end
        connection:close()
        local record = records:of(res.headers['x-request-id'])
        assert.equal(res.status, record.status)
        assert.equal(OUTCOMES[res.status], record.outcome)
        return res.status
    end

    local function expect(status, counter, bytes)
        local before = count_of(counter)
        assert.equal(status, answer_to(bytes))
        assert.equal(before + (status == 200 and 0 or 1), count_of(counter))
    end

    local function with_length(path, bytes)
        return ('POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s'):format(path, bytes,
            ('b'):rep(bytes))
    end

    local function in_chunks(path, bytes)
        local parts = { ('POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n')
            :format(path) }
        for at = 0, bytes - 1, 7 do
            local count = math.min(7, bytes - at)
            parts[#parts + 1] = ('%x\r\n%s\r\n'):format(count, ('b'):rep(count))
        end
        return table.concat(parts) .. '0\r\n\r\n'
    end

    for _, case in ipairs({ { '/', 1000 }, { '/small', 10 }, { '/large', 5000 } }) do
        local path, most = case[1], case[2]
        it(('of %d bytes of body holds on %s, by length and by chunks'):format(most, path),
            function()
                for _, body in ipairs({ with_length, in_chunks }) do
                    expect(200, 'request_body', body(path, most - 1))
                    expect(200, 'request_body', body(path, most))
                    expect(413, 'request_body', body(path, most + 1))
                end
            end)
    end

    it('of arguments may be a route\'s own', function()
        for path, most in pairs({ ['/'] = 5, ['/small'] = 1, ['/large'] = 10 }) do
            local query = ('&a=1'):rep(most):sub(2)
            expect(200, 'query_args', ('GET %s?%s HTTP/1.1\r\nHost: x\r\n\r\n'):format(path, query))
            expect(400, 'query_args',
                ('GET %s?%s&b HTTP/1.1\r\nHost: x\r\n\r\n'):format(path, query))
        end
    end)

    it('of the request line gives 414', function()
        local around = #'GET / HTTP/1.1'
        for extra, status in pairs({ [-1] = 200, [0] = 200, [1] = 414 }) do
            local path = ('p'):rep(100 - around + extra)
            expect(status, 'request_line', ('GET /%s HTTP/1.1\r\nHost: x\r\n\r\n'):format(path))
        end
    end)

    it('of a header line gives 431', function()
        for extra, status in pairs({ [-1] = 200, [0] = 200, [1] = 431 }) do
            local value = ('v'):rep(300 - #'X-A: ' + extra)
            expect(status, 'header_line',
                ('GET / HTTP/1.1\r\nHost: x\r\nX-A: %s\r\n\r\n'):format(value))
        end
    end)

    it('of a header name gives 431', function()
        for extra, status in pairs({ [-1] = 200, [0] = 200, [1] = 431 }) do
            local name = ('n'):rep(40 + extra)
            expect(status, 'header_name',
                ('GET / HTTP/1.1\r\nHost: x\r\n%s: 1\r\n\r\n'):format(name))
        end
    end)

    it('of the count of headers gives 431', function()
        for extra, status in pairs({ [-1] = 200, [0] = 200, [1] = 431 }) do
            local lines = ('X-A: 1\r\n'):rep(9 + extra)
            expect(status, 'header_count', 'GET / HTTP/1.1\r\nHost: x\r\n' .. lines .. '\r\n')
        end
    end)

    it('of all headers together gives 431', function()
        local fields = 'Host: x\r\n' .. ('X-A: ' .. ('v'):rep(200) .. '\r\n'):rep(4) .. 'X-B: '
        for extra, status in pairs({ [-1] = 200, [0] = 200, [1] = 431 }) do
            local value = ('v'):rep(1000 - #fields - 2 + extra)
            expect(status, 'header_bytes', 'GET / HTTP/1.1\r\n' .. fields .. value ..
                '\r\n\r\n')
        end
    end)

    it('of cookies may be a route\'s own', function()
        for path, most in pairs({ ['/'] = 3, ['/small'] = 1 }) do
            for extra, status in pairs({ [-1] = 200, [0] = 200, [1] = 400 }) do
                local cookies = most + extra > 0 and
                    ('Cookie: a=1%s\r\n'):format(('; b=2'):rep(most + extra - 1)) or ''
                expect(status, 'cookies',
                    ('GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n'):format(path, cookies))
            end
        end
    end)

    local CHUNKED = 'POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'

    it('of a chunk\'s line may be a route\'s own', function()
        for path, most in pairs({ ['/'] = 20, ['/small'] = 16 }) do
            for extra, status in pairs({ [-1] = 200, [0] = 200, [1] = 400 }) do
                local line = '1;' .. ('e'):rep(most + extra - 2)
                expect(status, 'chunk_line',
                    CHUNKED:format(path) .. line .. '\r\nx\r\n0\r\n\r\n')
            end
        end
    end)

    it('of all chunk extensions gives 400', function()
        for extra, status in pairs({ [-1] = 200, [0] = 200, [1] = 400 }) do
            expect(status, 'chunk_extensions', CHUNKED:format('/') ..
                '1;' .. ('e'):rep(14) .. '\r\nx\r\n1;' .. ('e'):rep(14 + extra) ..
                '\r\nx\r\n0\r\n\r\n')
        end
    end)

    it('of trailers gives 400', function()
        for extra, status in pairs({ [-1] = 200, [0] = 200, [1] = 400 }) do
            expect(status, 'trailers', CHUNKED:format('/') .. '1\r\nx\r\n0\r\n' ..
                ('X-T: 1\r\n'):rep(2 + extra) .. '\r\n')
            expect(status, 'trailers', CHUNKED:format('/') .. '1\r\nx\r\n0\r\nX-T: ' ..
                ('v'):rep(8192 - #'X-T: \r\n' + extra) .. '\r\n\r\n')
        end
    end)

    it('of requests on a connection ends it with the answer to the last', function()
        local before = count_of('connection_requests')
        local connection = assert(client.connect(gateway.port))
        for i = 1, 4 do
            local res = assert(connection:request('GET', '/'))
            assert.equal(200, res.status)
            assert.equal(i == 4 and 'close' or nil, res.headers.connection)
        end
        assert.equal('', connection:expect_end())
        assert.equal(before + 1, count_of('connection_requests'))
    end)

    it('of the time in which a client takes nothing may be a route\'s own', function()
        local connection = assert(client.connect(gateway.port, { receive_buffer = 4096 }))
        assert(connection:send('GET /small?size=67108864 HTTP/1.1\r\nHost: x\r\n\r\n'))
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.limit_send_timeout == 1
        end, 10)) -- elsewhere it is 30 s
        connection:close()
        assert.equal(1, gateway:status().outcomes.client_stalled)
    end)

    it('of the time for a head gives 408, however busily it comes', function()
        local before = count_of('header_timeout')
        local connection = assert(client.connect(gateway.port))
        assert(connection:send('GET / HTTP/1.1\r\nX-A: '))
        while connection:send('v') and not posix.wait_readable(connection.fd, posix.now() + 0.02)
        do
            assert.equal('', connection.kept)
        end
        local res = assert(connection:response())
        assert.equal(408, res.status)
        connection:close()
        assert.equal('header_timeout', records:of(res.headers['x-request-id']).outcome)
        assert.equal(before + 1, count_of('header_timeout'))
    end)

    -- Sends octet after octet until there is an answer; how many.
    local function trickle(path)
        local connection = assert(client.connect(gateway.port))
        assert(connection:send(('POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n')
            :format(path)))
        local octets = 0
        while not posix.wait_readable(connection.fd, posix.now() + 0.05) do
            assert(connection:send('o'))
            octets = octets + 1
        end
        local res = assert(connection:response())
        connection:close()
        assert.equal(408, res.status)
        assert.equal('body_timeout', records:of(res.headers['x-request-id']).outcome)
        return octets
    end

    it('of the time for a whole body gives 408, however busily it comes', function()
        local before = count_of('body_total_timeout')
        assert.is_true(trickle('/total') > 1)
        assert.equal(before + 1, count_of('body_total_timeout'))
    end)

    it('of the least rate of a body gives 408, after a time of grace', function()
        local before, idle = count_of('body_min_rate'), count_of('body_timeout')
        trickle('/rate')
        assert.equal(before + 1, count_of('body_min_rate'))
        assert.equal(idle, count_of('body_timeout'))
    end)

    it('of the time between two requests closes the connection without a byte', function()
        local before = count_of('keepalive_timeout')
        for _, requests in ipairs({ 0, 1 }) do
            local connection = assert(client.connect(gateway.port))
            for _ = 1, requests do
                assert.equal(200, assert(connection:request('GET', '/')).status)
            end
            assert.equal('', assert(connection:take_rest()))
            connection:close()
        end
        assert.equal(before + 2, count_of('keepalive_timeout'))
    end)

    it('of the time between two parts of a body gives 408, also the route\'s own', function()
        local begin = 'POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345'
        expect(408, 'body_timeout', begin:format('/'))
        expect(408, 'body_timeout', begin:format('/small'))
        -- Ten seconds on this route: the answer comes when the rest has, long after 300 ms.
        local connection = assert(client.connect(gateway.port))
        assert(connection:send(begin:format('/large')))
        expect(408, 'body_timeout', begin:format('/'))
        expect(408, 'body_timeout', begin:format('/'))
        assert(connection:send('67890'))
        assert.equal(200, assert(connection:response()).status)
        connection:close()
    end)

    it('of one request does not touch the next', function()
        local connection = assert(client.connect(gateway.port))
        for _ = 1, 2 do
            assert(connection:send(with_length('/large', 5000) .. with_length('/small', 10)))
            assert.equal(200, assert(connection:response()).status)
            assert.equal(200, assert(connection:response()).status)
        end
        connection:close()
    end)
end)
