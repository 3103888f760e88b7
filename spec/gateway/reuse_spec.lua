-- SPDX-License-Identifier: Apache-2.0
--
-- Connections to upstreams that are used again: one that the upstream has closed fails no request
-- that may be repeated, no request is sent twice that may not, and bytes that came before a request
-- are never the answer to it. The worker is stopped (SIGSTOP) so that things happen between two
-- turns of its loop.
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local procfs = require 'spec.gateway.support.procfs'
local scripted = require 'spec.gateway.support.scripted'

local function answer(text)
    return ('HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s'):format(#text, text)
end

local GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
local PUT = 'PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody'
local POST = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody'
local EMPTY_POST = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n'
local NAMES = { [GET] = 'GET', [PUT] = 'PUT', [POST] = 'POST', [EMPTY_POST] = 'empty POST' }

describe('a kept connection', function()
    local upstream, gateway, worker, records

    -- No worker of these is taken for stuck.
    local function start(port, route)
        gateway = process.gateway(process.yaml{ upstream = port, gateway = [[
  plugins: { watchdog_ms: 60000 }
plugins: [{ name: access-log }]
]], plugins = route })
        worker = gateway:status().workers[1].pid
        records = scripted.records(gateway)
    end

    before_each(function()
        upstream = scripted.listen()
    end)

    after_each(function()
        process.stop_all()
        upstream:close()
    end)

    local function expect_answer(connection, text)
        local res = assert(connection:response())
        assert.same({ 200, text }, { res.status, res.body })
        assert.equal('ok', records:next().outcome)
    end

    -- A client's connection and the upstream's side of one that is idle in the pool.
    local function warm_up()
        local connection = gateway:connect()
        assert(connection:send(GET))
        local peer = upstream:accept()
        peer:say(answer('first'))
        expect_answer(connection, 'first')
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.upstream_idle == 1
        end))
        return connection, peer
    end

    -- All of it happens between two polls of the worker.
    local function at_once(...)
        assert(posix.kill(worker, posix.signals.STOP))
        assert(procfs.wait_stopped(worker))
        for _, act in ipairs({ ... }) do
            act()
        end
        assert(posix.kill(worker, posix.signals.CONT))
    end

    local ENDS = {
        ['says something'] = function(peer)
            peer:say(answer('evil'))
        end,
        ['closes'] = function(peer)
            peer:close()
        end,
        ['resets'] = function(peer)
            peer:reset()
        end,
    }

    for what, act in pairs(ENDS) do
        it(('on which the upstream %s as it is used again is not used'):format(what), function()
            start(upstream.port)
            for i, request in ipairs({ GET, PUT, POST, EMPTY_POST }) do
                for order = 1, 2 do
                    local connection, peer = warm_up()
                    local function send()
                        assert(connection:send(request))
                    end
                    local function upset()
                        act(peer)
                    end
                    at_once(order == 1 and send or upset, order == 1 and upset or send)
                    local second = upstream:accept()
                    assert.equal(NAMES[request]:match('%u+$'), second.head:match('^%u+'))
                    if request:find('body', 1, true) then
                        second:wait_for('body')
                    end
                    local text = ('%d %d'):format(i, order)
                    second:say(answer(text))
                    expect_answer(connection, text)
                    if peer.fd then
                        peer:expect_end()
                    end
                    connection:close()
                    second:close()
                    assert.truthy(gateway:wait_status(function(status)
                        return status.counters.upstream_connections == 0
                    end))
                end
            end
        end)
    end

    it('that says something while it is idle is closed', function()
        start(upstream.port)
        local connection, peer = warm_up()
        peer:say(answer('evil'))
        peer:expect_end()
        connection:close()
    end)

    it('is not one on which an answer had more than it should', function()
        start(upstream.port)
        for _, rest in ipairs({ answer('evil'), '\r\n', 'x' }) do
            for _, late in ipairs({ false, true }) do
                local connection = gateway:connect()
                assert(connection:send('HEAD / HTTP/1.1\r\nHost: x\r\n\r\n'))
                local peer = upstream:accept()
                peer:say('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n' .. (late and '' or rest))
                assert.equal(200, assert(connection:response('HEAD')).status)
                if late then
                    peer:say(rest)
                end
                peer:expect_end()
                assert(connection:send(GET))
                local second = upstream:accept()
                second:say(answer('right'))
                assert.equal('right', assert(connection:response()).body)
                connection:close()
                second:close()
            end
        end
    end)

    -- A request has gone out on a kept connection, and the connection ends without an answer.
    for _, request in ipairs({ GET, PUT, POST, EMPTY_POST }) do
        local is_repeated = request == GET or request == PUT
        it(('that ends after a %s was sent %s'):format(NAMES[request],
            is_repeated and 'fails nobody: it is sent again' or 'is not a reason to send it again'),
            function()
                start(upstream.port)
                for _, how in ipairs({ 'close', 'reset' }) do
                    local connection, peer = warm_up()
                    assert(connection:send(request))
                    peer:read_head()
                    if request:find('body', 1, true) then
                        peer:wait_for('body')
                    end
                    peer[how](peer)
                    if is_repeated then
                        local second = upstream:accept()
                        second:wait_for(request:match('body') or '')
                        second:say(answer(how))
                        local res = assert(connection:response())
                        assert.same({ 200, how }, { res.status, res.body })
                        local tries = records:next().tries
                        assert.same({ 'upstream_reset', 'ok' },
                            { tries[1].outcome, tries[2].outcome })
                        second:close()
                    else
                        assert.equal(502, assert(connection:response()).status)
                        assert.equal('upstream_reset', records:next().outcome)
                        assert.is_false(upstream:is_asked(0))
                    end
                    connection:close()
                end
            end)
    end

    -- The upstream gave up waiting for a request just when one was on its way.
    it('on which the upstream says 408 is as one that it has closed', function()
        start(upstream.port)
        local TIRED = 'HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n'
        for _, request in ipairs({ GET, PUT, POST }) do
            local connection, peer = warm_up()
            assert(connection:send(request))
            peer:read_head()
            peer:wait_for(request:match('body') or '')
            peer:say(TIRED)
            if request == POST then
                assert.equal(408, assert(connection:response()).status)
                records:next()
            else
                local second = upstream:accept()
                second:wait_for(request:match('body') or '')
                second:say(TIRED) -- of a new connection it is an answer
                assert.equal(408, assert(connection:response()).status)
                assert.equal(2, #records:next().tries)
                second:expect_end()
            end
            peer:expect_end() -- what it may still say is an answer to nothing
            connection:close()
        end
        assert.is_false(upstream:is_asked(0))
    end)

    it('that ends fails a PUT whose route keeps no body', function()
        start(upstream.port, '    request_buffering: false')
        local connection, peer = warm_up()
        assert(connection:send((PUT:gsub('body', 'bo'))))
        peer:read_head()
        assert(connection:send('dy'))
        peer:wait_for('body')
        peer:close()
        assert.equal(502, assert(connection:response()).status)
        assert.is_false(upstream:is_asked(0))
        connection:close()
    end)

    it('that ends inside an answer is never a reason to ask again', function()
        start(upstream.port)
        for _, part in ipairs({ 'H', 'HTTP/1.1 200 OK\r\nContent-Le' }) do
            local connection, peer = warm_up()
            assert(connection:send(GET))
            peer:read_head()
            peer:say(part)
            peer:close()
            assert.equal(502, assert(connection:response()).status)
            assert.equal('upstream_reset', records:next().outcome)
            assert.is_false(upstream:is_asked(0))
            connection:close()
        end
    end)

    it('is believed once: a request is repeated on a new one only', function()
        start(upstream.port)
        local first, one = warm_up()
        local second = gateway:connect()
        assert(second:send(GET))
        assert(first:send(GET))
        one:read_head()
        local two = upstream:accept()
        one:say(answer('one'))
        two:say(answer('two'))
        assert.equal(200, assert(first:response()).status)
        assert.equal(200, assert(second:response()).status)
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.upstream_idle == 2
        end))
        assert(first:send(GET))
        -- Whichever is used dies; the other one, idle still, is not tried.
        local one_is_used = posix.wait_two(one.fd, two.fd, posix.now() + process.deadline)
        local used, other = one_is_used and one or two, one_is_used and two or one
        used:read_head()
        used:close()
        local third = upstream:accept()
        third:say(answer('third'))
        assert.equal('third', assert(first:response()).body)
        assert.is_nil((posix.read(other.fd, posix.now())))
        first:close()
        second:close()
    end)

    -- libuv hands out 1024 events at a time; the rest, and what came meanwhile, in the same turn.
    it('is believed when there are more events than one poll tells of', function()
        local CLIENTS = 1500
        gateway = process.gateway(process.yaml{ upstream = process.echo().port, gateway = [[
  plugins: { watchdog_ms: 60000 }
  limits: { connections: 4000 }
  upstreams: { defaults: { keepalive: 4000, limits: { connections: 4000, requests: 4000 } } }
]] })
        worker = gateway:status().workers[1].pid
        local connections = {}
        for i = 1, CLIENTS do
            connections[i] = gateway:connect()
        end
        local function send()
            for i = 1, CLIENTS do
                assert(connections[i]:send(GET))
            end
        end
        for _ = 1, 3 do
            at_once(send)
            for i = 1, CLIENTS do
                assert.equal(200, assert(connections[i]:response()).status)
            end
        end
        local counters = gateway:status().counters
        assert.equal(3 * CLIENTS, counters.upstream_tries)
        assert.equal(0, counters.upstream_retries)
        for i = 1, CLIENTS do
            connections[i]:close()
        end
    end)

    -- What one poll cannot tell of lies behind the requests that it tells of: bytes on an idle
    -- connection would be seen only after that connection has been taken and written to.
    it('is not believed when one poll cannot tell that the upstream has spoken', function()
        local OTHERS = 1100
        gateway = process.gateway(process.yaml{ upstream = upstream.port, gateway = [[
  plugins: { watchdog_ms: 60000 }
  limits: { connections: 4000 }
]], plugins = '    hosts: [x]\n    plugins: [{ name: access-log }]' })
        worker = gateway:status().workers[1].pid
        records = scripted.records(gateway)
        local others = {}
        for i = 1, OTHERS do
            others[i] = gateway:connect()
        end
        for round = 1, 2 do
            local connection, peer = warm_up()
            local text = 'right ' .. round
            at_once(function()
                assert(connection:send(GET))
            end, function()
                for i = 1, OTHERS do
                    assert(others[i]:send('GET / HTTP/1.1\r\nHost: none\r\n\r\n'))
                end
            end, function()
                peer:say(answer('evil'))
            end)
            local second = upstream:accept()
            second:say(answer(text))
            expect_answer(connection, text)
            peer:expect_end()
            for i = 1, OTHERS do
                assert.equal(404, assert(others[i]:response()).status)
            end
            connection:close()
            second:close()
            assert.truthy(gateway:wait_status(function(status)
                return status.counters.upstream_connections == 0
            end))
        end
        for i = 1, OTHERS do
            others[i]:close()
        end
    end)

    -- New connections ----------------------------------------------------------------------------

    it('is not one that has just been made: that ends in 502', function()
        start(upstream.port)
        for _, how in ipairs({ 'close', 'reset' }) do
            local connection = gateway:connect()
            assert(connection:send(GET))
            local peer = upstream:accept()
            peer[how](peer)
            assert.equal(502, assert(connection:response()).status)
            assert.equal('upstream_reset', records:next().outcome)
            assert.is_false(upstream:is_asked(0))
            connection:close()
        end
    end)

    it('is not one on which the upstream speaks first', function()
        local full = scripted.listen_full()
        start(full.port)
        local connection = gateway:connect()
        assert(connection:send(POST))
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.upstream_tries == 1
        end))
        at_once(function()
            full:make_room()
            local peer = full:accept(true) -- when the kernel tries again, after a second
            peer:say(answer('evil'))
        end)
        -- Nothing was sent on it, so there is a second try.
        local peer = full:accept()
        peer:say(answer('right'))
        assert.equal('right', assert(connection:response()).body)
        local tries = records:next().tries
        assert.same({ 'upstream_bad_response', 'ok' }, { tries[1].outcome, tries[2].outcome })
        connection:close()
        peer:close()
        full:close()
    end)
end)
