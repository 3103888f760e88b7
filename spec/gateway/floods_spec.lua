-- SPDX-License-Identifier: Apache-2.0
--
-- Floods: more connections than may be, clients that never read their refusal, heads without end,
-- a process without descriptors. Whoever is connected is served on, what is too much is refused and
-- counted, the worker's descriptors and memory stay within their bounds, and afterwards all is as
-- it was.
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local procfs = require 'spec.gateway.support.procfs'

local MOST = 20      -- limits.connections
local ANSWERED = 16  -- refused connections that are answered at a time
local FLOOD = 300
local IS_MEASURED = os.getenv('MOONGATE_PRESET') ~= 'asan'

describe('in a flood', function()
    local gateway, worker

    local function start(limits)
        gateway = process.gateway(process.yaml{ upstream = process.echo().port,
            gateway = '  limits: ' .. limits })
        worker = gateway:status().workers[1].pid
    end

    after_each(process.stop_all)

    local function expect_served(connections)
        for i, connection in ipairs(connections) do
            local res = assert(connection:request('GET', '/' .. i))
            assert.equal(200, res.status)
        end
    end

    local function expect_shed(connection)
        local res = assert(connection:response())
        assert.same({ 503, '1', 'close' }, { res.status, res.headers['retry-after'],
            res.headers.connection })
        assert.equal('', assert(connection:take_rest()))
        connection:close()
    end

    local function wait_for(name, value)
        assert.truthy(gateway:wait_status(function(status)
            return status.counters[name] == value
        end), name)
    end

    local function open(count)
        local connections = {}
        for i = 1, count do
            connections[i] = gateway:connect()
        end
        return connections
    end

    local function close_all(connections)
        for _, connection in ipairs(connections) do
            connection:close()
        end
    end

    it('of connections, one more than may be is told so, and one less is served', function()
        start(('{ connections: %d }'):format(MOST))
        local connections = open(MOST)
        expect_served(connections)
        expect_shed(gateway:connect())
        expect_served(connections)
        assert.equal(1, gateway:status().counters.limit_connections)
        table.remove(connections):close()
        wait_for('connections', MOST - 1)
        connections[MOST] = gateway:connect()
        expect_served(connections)
        assert.equal(1, gateway:status().counters.limit_connections)
        close_all(connections)
    end)

    it('of connections, each is answered or closed at once; descriptors stay bounded', function()
        start(('{ connections: %d }'):format(MOST))
        local before = procfs.open_files(worker)
        local connections = open(MOST)
        expect_served(connections)
        local flood = open(FLOOD)
        wait_for('limit_connections', FLOOD)
        -- A client and its upstream each, and those that are being told.
        assert.is_true(procfs.open_files(worker) <= before + 2 * MOST + ANSWERED)
        expect_served(connections)
        local answered = 0
        for _, connection in ipairs(flood) do
            local res = connection:response()
            if res then
                assert.equal(503, res.status)
                answered = answered + 1
            end
            connection:close()
        end
        assert.is_true(answered >= ANSWERED, answered .. ' answers')
        close_all(connections)
        wait_for('connections', 0)
        connections = open(MOST)
        expect_served(connections)
        assert.equal(FLOOD, gateway:status().counters.limit_connections)
        close_all(connections)
    end)

    it('of bad requests, clients that keep their end open do not use up descriptors', function()
        start(('{ connections: %d }'):format(MOST))
        local first = open(1)
        expect_served(first)
        local before = procfs.open_files(worker)
        local flood = {}
        for i = 1, 3 * MOST do
            flood[i] = gateway:connect()
            flood[i]:send('nonsense\r\n\r\n')
        end
        assert.truthy(gateway:wait_status(function(status)
            return status.outcomes.bad_request + status.counters.limit_connections == 3 * MOST
        end))
        assert.is_true(gateway:status().counters.limit_connections >= 2 * MOST)
        assert.is_true(procfs.open_files(worker) <= before + 2 * MOST + ANSWERED)
        expect_served(first)
        -- They are cut after a while, without anything that they do.
        assert.truthy(gateway:wait_status(function()
            return procfs.open_files(worker) <= before
        end))
        expect_served(first)
        close_all(flood)
        close_all(first)
    end)

    it('of header fields, each head ends at its limit and leaves nothing', function()
        start('{ header_bytes: 32KiB }')
        local good = open(1)
        expect_served(good)
        local rss = procfs.anonymous_bytes(worker)
        local lines = ('X-Flood: 0123456789\r\n'):rep(3000) -- twice the limit
        local endless = ('X'):rep(65536)
        for i = 1, FLOOD do
            local connection = gateway:connect()
            connection:send('GET / HTTP/1.1\r\nHost: x\r\n' .. (i % 2 == 0 and lines or endless))
            local res = assert(connection:response())
            assert.equal(431, res.status)
            connection:close()
            if i % 10 == 0 then
                expect_served(good)
            end
        end
        local grown = procfs.anonymous_bytes(worker) - rss
        assert.is_true(not IS_MEASURED or grown < 1e6, ('%.1f MB'):format(grown / 1e6))
        local counters = gateway:status().counters
        assert.equal(FLOOD, counters.limit_header_bytes + counters.limit_header_count +
            counters.limit_header_name + counters.limit_header_line)
        close_all(good)
    end)

    it('of connections without descriptors for them, those that are there are served', function()
        start('{ connections: 1000 }')
        local connections = open(4)
        expect_served(connections)
        local files = procfs.open_files(worker)
        assert.equal(0, os.execute(('prlimit --pid %d --nofile=%d:'):format(worker, files + 6)))
        local flood = open(60)
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.accept_errors > 0
        end))
        expect_served(connections)
        assert.equal('serving', gateway:status().state)
        -- No turn after turn in which accept fails: it is tried about ten times a second.
        local errors, began = gateway:status().counters.accept_errors, posix.now()
        posix.pause(0.3)
        local rate = (gateway:status().counters.accept_errors - errors) / (posix.now() - began)
        assert.is_true(rate < 50, ('%.0f a second'):format(rate))
        assert.equal(0, os.execute(('prlimit --pid %d --nofile=%d:'):format(worker, 1024)))
        local last = open(1)
        expect_served(last)
        close_all(last)
        close_all(flood)
        close_all(connections)
    end)
end)
