-- SPDX-License-Identifier: Apache-2.0
--
-- Limits of the upstream's side, on the real binary: at the limit an answer passes, one above it is
-- refused; each refusal has its status, its counter and its outcome in the access log, and the
-- connection is never used again. Timeouts: what they end, and what they leave alone.
local dkjson = require 'dkjson'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local scripted = require 'spec.gateway.support.scripted'

local WANTS = [[
return { PRIORITY = 1, VERSION = '0.1.0', body_filter = function()
    moongate.response.get_raw_body()
end }
]]

-- UPSTREAM, FULL, PORT stand for ports.
local YAML = [[
_format_version: "3.0"
plugins: [{ name: access-log }]
services:
- { name: s, url: "http://127.0.0.1:UPSTREAM", read_timeout: 10000, retries: 0, routes: [
    { name: plain, paths: [/] },
    { name: short, paths: [/short] },
    { name: wants, paths: [/wants], plugins: [{ name: wants }] } ] }
- { name: slow, url: "http://127.0.0.1:UPSTREAM", read_timeout: 200, retries: 0, routes: [
    { name: slow, paths: [/slow] } ] }
- { name: full, url: "http://127.0.0.1:FULL", connect_timeout: 200, retries: 0, routes: [
    { name: full, paths: [/full] } ] }
- { name: few, host: few, port: 80, retries: 0, routes: [{ name: few, paths: [/few] }] }
- { name: narrow, host: narrow, port: 80, retries: 0, routes: [
    { name: narrow, paths: [/narrow] }] }
upstreams:
- { name: few, targets: [{ target: "127.0.0.1:UPSTREAM" }] }
- { name: narrow, targets: [{ target: "127.0.0.1:UPSTREAM" }] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:PORT" }]
  upstreams:
    defaults: { keepalive: 2, keepalive_idle: 300ms }
    settings:
      few: { limits: { requests: 2 } }
      narrow: { limits: { connections: 2, pending: 0 } }
  limits:
    response_header_bytes: 1000
    interim_responses: 3
    response_buffer: 1000
    chunk_line: 20
    chunk_extensions: 30
    trailers: 2
  routes: { settings: { short: { limits: { request_timeout: 200ms } } } }
]]

describe('an upstream\'s limit', function()
    local gateway, upstream, records, full

    setup(function()
        upstream = scripted.listen()
        full = scripted.listen_full()
        gateway = process.gateway(YAML:gsub('%u%u%u+', { UPSTREAM = upstream.port,
            FULL = full.port, PORT = process.free_port() }),
            { folder = process.plugins({ wants = WANTS }) })
        records = scripted.records(gateway)
    end)

    teardown(function()
        process.stop_all()
        upstream:close()
        full:close()
    end)

    local function get(path)
        return gateway:send(('GET %s HTTP/1.1\r\nHost: x\r\n\r\n'):format(path))
    end

    local function counter(name)
        return gateway:status().counters[name]
    end

    -- What one answer of the upstream, which comes in one piece, leads to.
    local function expect(case, answer, passes)
        local before = case.counter and counter(case.counter) or 0
        local connection = get(case.path or '/')
        local peer = upstream:accept()
        peer:say(answer)
        local res = connection:response()
        local record = records:next()
        connection:close()
        if passes then
            peer:close()
            assert.same({ 200, 'ok' }, { res and res.status, record.outcome })
        else
            peer:expect_end()
            assert.equal(case.outcome, record.outcome)
            assert.equal(case.try or case.outcome, record.tries[1].outcome)
            assert.equal(case.by, record.ended_by)
            assert.equal(case.status, res and res.status)
        end
        if case.counter then
            assert.equal(before + (passes and 0 or 1), counter(case.counter))
        end
    end

    -- One below, at, and one above.
    local function expect_edge(case, answer_of)
        for extra = -1, 1 do
            expect(case, answer_of(extra), extra <= 0)
        end
    end

    local HEAD = 'HTTP/1.1 200 OK\r\n'

    it('of the bytes of a head gives 502', function()
        expect_edge({ status = 502, outcome = 'upstream_too_large',
            counter = 'limit_response_header_bytes' }, function(extra)
            local fields = 'Connection: close\r\nContent-Length: 0\r\nX-A: '
            return HEAD .. fields .. ('v'):rep(1000 - #fields - 2 + extra) .. '\r\n\r\n'
        end)
    end)

    it('of the count of fields gives 502', function()
        expect_edge({ status = 502, outcome = 'upstream_too_large',
            counter = 'limit_response_header_bytes' }, function(extra)
            return HEAD .. 'Content-Length: 0\r\n' .. ('a:\r\n'):rep(199 + extra) .. '\r\n'
        end)
    end)

    it('of interim answers gives 502', function()
        expect_edge({ status = 502, outcome = 'upstream_too_large',
            counter = 'limit_interim_responses' }, function(extra)
            return ('HTTP/1.1 103 Early Hints\r\n\r\n'):rep(3 + extra) .. HEAD ..
                'Content-Length: 0\r\n\r\n'
        end)
    end)

    it('of a body that a plugin wants whole gives 502', function()
        expect_edge({ path = '/wants', status = 502, outcome = 'upstream_too_large', try = 'ok',
            by = 'wants', counter = 'limit_response_buffer' }, function(extra)
            local bytes = 1000 + extra
            return HEAD .. ('Content-Length: %d\r\n\r\n'):format(bytes) .. ('b'):rep(bytes)
        end)
    end)

    it('of a body that a plugin wants whole leaves no octet of it behind', function()
        for _, fails in ipairs({ 'is over', 'ends early' }) do
            local connection = get('/wants')
            local peer = upstream:accept()
            peer:say(HEAD .. 'Content-Length: 2000\r\n\r\n' .. ('b'):rep(100))
            if fails == 'is over' then
                peer:say(('b'):rep(1000))
            else
                peer:close()
            end
            local res = assert(connection:response())
            assert.equal(502, res.status)
            assert.equal(502, assert(dkjson.decode(res.body), res.body).status)
            records:next()
            connection:close()
            peer:close()
        end
    end)

    local CHUNKED = HEAD .. 'Transfer-Encoding: chunked\r\n\r\n'

    it('of a chunk\'s line gives 502', function()
        expect_edge({ status = 502, outcome = 'upstream_bad_response',
            counter = 'limit_chunk_line' },
            function(extra)
                return CHUNKED .. '1;' .. ('e'):rep(18 + extra) .. '\r\nx\r\n0\r\n\r\n'
            end)
    end)

    it('of chunk extensions gives 502', function()
        expect_edge({ status = 502, outcome = 'upstream_bad_response',
            counter = 'limit_chunk_extensions' }, function(extra)
            return CHUNKED .. '1;' .. ('e'):rep(14) .. '\r\nx\r\n1;' .. ('e'):rep(14 + extra) ..
                '\r\nx\r\n0\r\n\r\n'
        end)
    end)

    it('of trailers gives 502', function()
        expect_edge({ status = 502, outcome = 'upstream_bad_response', counter = 'limit_trailers' },
            function(extra)
                return CHUNKED .. '1\r\nx\r\n0\r\n' .. ('X-T: 1\r\n'):rep(2 + extra) .. '\r\n'
            end)
    end)

    -- Times --------------------------------------------------------------------------------------

    it('of the time to connect gives 504', function()
        local connection = get('/full')
        assert.equal(504, assert(connection:response()).status)
        connection:close()
        assert.equal('upstream_connect_timeout', records:next().outcome)
        assert.equal(1, counter('limit_upstream_connect_timeout'))
    end)

    it('of its silence gives 504 before the head', function()
        local connection = get('/slow')
        local peer = upstream:accept()
        assert.equal(504, assert(connection:response()).status)
        assert.equal('upstream_timeout', records:next().outcome)
        assert.equal(1, counter('limit_upstream_read_timeout'))
        connection:close()
        peer:expect_end()
    end)

    it('of its silence cuts a body, and no sooner than it is silent', function()
        local connection = get('/slow')
        local peer = upstream:accept()
        peer:say(HEAD .. 'Content-Length: 100\r\n\r\n')
        -- Together longer than the limit; each pause is shorter.
        for _ = 1, 6 do
            assert.is_nil((posix.read(peer.fd, posix.now() + 0.06)))
            peer:say('octet ')
        end
        connection:expect_cut()
        local record = records:next()
        assert.same({ 200, 'upstream_body_timeout', 36 },
            { record.status, record.outcome, record.body_bytes_out })
        assert.equal(2, counter('limit_upstream_read_timeout'))
        connection:close()
        peer:expect_end()
    end)

    it('of the whole request gives 504, or cuts what has begun', function()
        for i, begun in ipairs({ false, true }) do
            local connection = get('/short')
            local peer = upstream:accept()
            if begun then
                peer:say(HEAD .. 'Content-Length: 100\r\n\r\nbegin')
            end
            local res = connection:response()
            assert.equal(not begun and 504 or nil, res and res.status)
            assert.equal('deadline', records:next().outcome)
            assert.equal(i, counter('limit_request_timeout'))
            connection:close()
            peer:expect_end()
        end
    end)

    -- Counts -------------------------------------------------------------------------------------

    for path, name in pairs({ ['/few'] = 'limit_upstream_requests',
        ['/narrow'] = 'limit_upstream_connections' }) do
        it(('of requests on %s gives 503 at once'):format(path), function()
            local held, peers = {}, {}
            for i = 1, 2 do
                held[i] = get(path)
                peers[i] = upstream:accept()
            end
            local refused = get(path)
            local res = assert(refused:response())
            refused:close()
            assert.same({ 503, '1' }, { res.status, res.headers['retry-after'] })
            assert.equal('upstream_full', records:next().outcome)
            assert.equal(1, counter(name))
            for i = 1, 2 do
                peers[i]:say(HEAD .. 'Content-Length: 0\r\n\r\n')
                assert.equal(200, assert(held[i]:response()).status)
                assert.equal('ok', records:next().outcome)
                held[i]:close()
                peers[i]:close()
            end
        end)
    end

    it('of idle connections closes the oldest, then each when it is too old', function()
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.upstream_idle == 0
        end))
        local held, peers = {}, {}
        local too_many, too_old = counter('limit_upstream_keepalive'),
            counter('limit_upstream_keepalive_idle')
        for i = 1, 3 do
            held[i] = get('/')
            peers[i] = upstream:accept()
        end
        for i = 1, 3 do
            peers[i]:say(HEAD .. 'Content-Length: 0\r\n\r\n')
            assert.equal(200, assert(held[i]:response()).status)
            held[i]:close()
        end
        peers[1]:expect_end()
        assert.equal(too_many + 1, counter('limit_upstream_keepalive'))
        peers[2]:expect_end()
        peers[3]:expect_end()
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.limit_upstream_keepalive_idle == too_old + 2
        end))
        assert.equal(0, counter('upstream_connections'))
    end)
end)
