-- SPDX-License-Identifier: Apache-2.0
--
-- What is tried once more, on the real binary: after which failures and answers, how often, never a
-- POST of which a byte was sent, never without its whole body, and never more than the budget.
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local scripted = require 'spec.gateway.support.scripted'

local OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
local BUSY = 'HTTP/1.1 503 Busy\r\nRetry-After: %d\r\nContent-Length: 4\r\n\r\nbusy'

-- FIRST, SECOND, DEAD, PORT stand for ports.
local YAML = [[
_format_version: "3.0"
plugins: [{ name: access-log }]
services:
- { name: usual, host: usual, routes: [{ name: usual, paths: [/usual] }] }
- { name: eager, host: eager, routes: [{ name: eager, paths: [/eager] }] }
- { name: never, host: eager, retries: 0, routes: [{ name: never, paths: [/never] }] }
- { name: hasty, host: hasty, routes: [{ name: hasty, paths: [/hasty] }] }
- { name: patient, host: patient, routes: [{ name: patient, paths: [/patient] }] }
- { name: dead, url: "http://127.0.0.1:DEAD", retries: 5, routes: [
    { name: dead, paths: [/dead] } ] }
upstreams:
- { name: usual, targets: [{ target: "127.0.0.1:FIRST" }] }
- { name: eager, targets: [{ target: "127.0.0.1:FIRST" }] }
- { name: hasty, targets: [{ target: "127.0.0.1:FIRST" }] }
- { name: patient, targets: [{ target: "127.0.0.1:FIRST" }] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:PORT" }]
  retry: { backoff: { base: 2ms, max: 4ms } }
  limits: { request_buffer: 1KiB }
  upstreams:
    settings:
      eager: { retry: { attempts: 2, on: [reset-before-headers, head-timeout, 502] } }
      hasty: { retry: { on: [head-timeout], per_try_timeout: 150ms } }
      patient: { retry: { on: [reset-before-headers], backoff: { base: 1h, max: 1h } } }
]]

describe('a request', function()
    local gateway, upstream, records

    setup(function()
        upstream = scripted.listen()
        gateway = process.gateway((YAML:gsub('%u%u%u%u+', { FIRST = upstream.port,
            DEAD = process.free_port(), PORT = process.free_port() })))
        records = scripted.records(gateway)
    end)

    teardown(function()
        process.stop_all()
        upstream:close()
    end)

    local function ask(path, method, body)
        return gateway:send(('%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s'):format(method or 'GET', path,
            body and ('Content-Length: %d\r\n'):format(#body) or '', body or ''))
    end

    -- The answer, with the record of the access log.
    local function finish(connection)
        local res = assert(connection:response())
        connection:close()
        return res, records:next()
    end

    local function nobody_asks()
        assert.is_false(upstream:is_asked(0.2))
    end

    -- The next attempt, to which the upstream does something.
    local function attempt(answer)
        local peer = upstream:accept()
        if answer then
            peer:say(answer)
        end
        peer:close()
        return peer
    end

    it('that was sent is not sent again when its connection ends', function()
        local connection = ask('/usual')
        attempt()
        local res, record = finish(connection)
        assert.same({ 502, 'upstream_reset', 1, 0 },
            { res.status, record.outcome, #record.tries, record.retries })
        nobody_asks()
    end)

    it('is sent again after that where the upstream says so, two times at most', function()
        local connection = ask('/eager')
        attempt()
        attempt()
        attempt(OK)
        local res, record = finish(connection)
        assert.same({ 200, 'ok', 2 }, { res.status, record.outcome, record.retries })
        assert.same({ 'upstream_reset', 'upstream_reset', 'ok' }, { record.tries[1].outcome,
            record.tries[2].outcome, record.tries[3].outcome })
        connection = ask('/eager')
        attempt()
        attempt()
        attempt()
        assert.equal(502, finish(connection).status)
        nobody_asks()
    end)

    it('B7 that is a POST is never sent again, once a byte of it went out', function()
        for _, answer in ipairs({ false, 'HTTP/1.1 502 Bad\r\nContent-Length: 3\r\n\r\nbad',
            BUSY:format(0) }) do
            for _, path in ipairs({ '/eager', '/usual' }) do
                local connection = ask(path, 'POST', 'once')
                attempt(answer)
                local res = finish(connection)
                assert.equal(answer and tonumber(answer:match(' (%d+)')) or 502, res.status)
                nobody_asks()
            end
        end
    end)

    it('is not sent again when the service says so', function()
        local connection = ask('/never')
        attempt()
        assert.equal(502, finish(connection).status)
        nobody_asks()
    end)

    it('is sent again after a 503 that asks for it soon', function()
        local connection = ask('/usual')
        attempt(BUSY:format(0))
        attempt(OK)
        local res, record = finish(connection)
        assert.same({ 200, 'ok', 1, 503, 200 }, { res.status, res.body, record.retries,
            record.tries[1].status, record.tries[2].status })
    end)

    it('waits the second that a 503 of the only target asks for', function()
        local connection = ask('/usual')
        attempt(BUSY:format(1))
        assert.is_false(upstream:is_asked(0.5))
        attempt(OK)
        assert.equal(200, finish(connection).status)
    end)

    it('gets a 503 that asks for patience, and the last of several', function()
        local connection = ask('/usual')
        attempt(BUSY:format(2))
        local res, record = finish(connection)
        assert.same({ 503, 'busy', 0 }, { res.status, res.body, record.retries })
        connection = ask('/usual')
        attempt(BUSY:format(0))
        attempt(BUSY:format(0))
        res, record = finish(connection)
        assert.same({ 503, 'busy', 1 }, { res.status, res.body, record.retries })
        nobody_asks()
    end)

    it('is sent again after a status that the upstream names', function()
        local connection = ask('/eager')
        attempt('HTTP/1.1 502 Bad\r\nContent-Length: 3\r\n\r\nbad')
        attempt(OK)
        assert.equal('ok', finish(connection).body)
    end)

    it('is sent again when one try takes too long', function()
        local connection = ask('/hasty')
        local silent = upstream:accept()
        attempt(OK)
        silent:expect_end()
        local res, record = finish(connection)
        assert.same({ 200, 'upstream_timeout' }, { res.status, record.tries[1].outcome })
        assert.equal(1, gateway:status().counters.limit_upstream_per_try_timeout)
    end)

    it('takes its body along', function()
        local body = ('b'):rep(1000)
        local connection = ask('/eager', 'PUT', body)
        for i = 1, 2 do
            local peer = upstream:accept()
            assert.equal(body, peer:take(#body))
            if i == 2 then
                peer:say(OK)
            end
            peer:close()
        end
        assert.equal(200, finish(connection).status)
    end)

    it('whose body is not kept is not sent again', function()
        local connection = gateway:send('PUT /eager HTTP/1.1\r\nHost: x\r\n' ..
            'Content-Length: 5000\r\n\r\n')
        local peer = upstream:accept()
        assert(connection:send(('b'):rep(5000)))
        assert(peer:take(5000))
        peer:close()
        assert.equal(502, finish(connection).status)
        nobody_asks()
    end)

    it('is not sent again when its client has left meanwhile', function()
        local connection = ask('/patient')
        attempt()
        assert.is_true(gateway:wait_text('trying again'))
        connection:close()
        local record = records:next()
        assert.same({ 'client_abort', 1 }, { record.outcome, #record.tries })
        assert.equal(0, gateway:status().counters.requests_active)
    end)

    it('is tried again from a budget when everything fails', function()
        local before = gateway:status().counters
        local begun = posix.now()
        local count = 200
        for _ = 1, count do
            local connection = ask('/dead')
            assert.equal(502, (finish(connection)).status)
        end
        local seconds = posix.now() - begun
        local after = gateway:status().counters
        local retries = after.upstream_retries - before.upstream_retries
        assert.equal(count + retries, after.upstream_tries - before.upstream_tries)
        assert.is_true(retries <= 0.2 * count + 30 + 3 * seconds, retries)
        assert.is_true(retries >= 60, retries)
    end)
end)

describe('B7 with everything failing after it was sent', function()
    after_each(process.stop_all)

    it('tries stay within the budget, a POST is tried once, and a target stays', function()
        local lines = {}
        for i = 1, 3 do
            lines[i] = ('{ target: "127.0.0.1:%d" }'):format(process.echo().port)
        end
        local gateway = process.gateway(([[
_format_version: "3.0"
plugins: [{ name: access-log }]
services: [{ name: s, host: group, retries: 5, routes: [{ name: r, paths: [/] }] }]
upstreams: [{ name: group, targets: [%s] }]
gateway:
  workers: 2
  listeners: [{ address: "127.0.0.1:%d" }]
  retry: { on: [connect-failure, reset-before-send, reset-before-headers],
    backoff: { base: 1ms, max: 1ms } }
]]):format(table.concat(lines, ', '), process.free_port()))
        local records = scripted.records(gateway)
        local begun, posts = posix.now(), 0
        for i = 1, 200 do
            local method = i % 4 == 0 and 'POST' or 'GET'
            local connection = gateway:send(method .. ' /?reset=1 HTTP/1.1\r\nHost: x\r\n' ..
                'Content-Length: 4\r\nConnection: close\r\n\r\nonce')
            assert.equal(502, assert(connection:response()).status)
            connection:close()
        end
        local seconds = posix.now() - begun
        for _ = 1, 200 do
            local record = records:next()
            if record.method == 'POST' then
                posts = posts + 1
                assert.same({ 1, 0 }, { #record.tries, record.retries })
            end
        end
        local status = gateway:status()
        local retries = status.counters.upstream_tries - 200
        assert.equal(50, posts)
        assert.is_true(retries >= 60 and retries <= 0.2 * 200 + 30 + 3 * seconds, retries)
        for _, upstream in ipairs(status.upstreams) do
            if upstream.name == 'group' then
                local well = 0
                for _, target in ipairs(upstream.targets) do
                    well = well + (target.health == 'healthy' and 1 or 0)
                end
                assert.is_true(well >= 2) -- half of three, rounded down, may be out
                assert.equal(retries, upstream.retries.failed)
                assert.is_true(upstream.retries.budget > 0)
            end
        end
    end)
end)
