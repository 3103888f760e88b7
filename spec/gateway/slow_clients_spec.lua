-- SPDX-License-Identifier: Apache-2.0
--
-- Many clients that take their time: they read slowly, send slowly, stall, or do nothing. Each
-- costs the worker a bounded piece of memory, others are served meanwhile, and when they go nothing
-- stays behind. Unix sockets, so that the kernel holds little itself. The suite has 150 of each
-- kind, script/soak 1,000.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local procfs = require 'spec.gateway.support.procfs'
local scripted = require 'spec.gateway.support.scripted'

local SOAK = tonumber(os.getenv('MOONGATE_SOAK_CLIENTS'))
-- A sanitizer keeps freed memory for a while, so nothing is measured under it.
local IS_MEASURED = os.getenv('MOONGATE_PRESET') ~= 'asan'
local SLOW = SOAK or (IS_MEASURED and 150 or 30)
local IDLE = IS_MEASURED and 5000 or 500
local STALLED = IS_MEASURED and 20 or 15
local FIRST = 10 -- before anything is measured: what is made once is made

local MOST_SLOW = 80 * 1024     -- bytes of the worker for each
local MOST_STALLED = 300 * 1024 -- one that sent at full speed to an upstream that takes nothing
local MOST_IDLE = 5e6           -- all of them together

local YAML = [[
_format_version: "3.0"
services:
- { name: echo, url: "http://unix:DIR/echo", routes: [{ name: echo, paths: [/] }] }
- { name: stuck, url: "http://127.0.0.1:STUCK", routes: [{ name: stuck, paths: [/stuck] }] }
gateway:
  workers: 1
  listeners: [{ address: "unix:DIR/in" }]
  limits: { connections: 20000, request_body: 0, body_min_rate: 0, header_timeout: 10m,
    body_timeout: 10m, send_timeout: 10m, keepalive_timeout: 10m }
  upstreams: { defaults: { limits: { connections: 20000, requests: 20000 } } }
]]

describe('clients that', function()
    local folder, gateway, worker, stuck

    -- A new worker for each kind: the memory that one kind gives back would be another's for free.
    before_each(function()
        posix.allow_descriptors(IDLE + SLOW + 500)
        folder = process.folder()
        local echo = process.start({ process.binary, 'echo', '--listen',
            'unix:' .. folder .. '/echo', '--quiet' })
        assert(echo:wait_text('listening'))
        stuck = scripted.listen(4096)
        gateway = process.gateway(YAML:gsub('%u%u%u+', { DIR = folder, STUCK = stuck.port }),
            { folder = folder })
        worker = gateway:status().workers[1].pid
    end)

    after_each(function()
        process.stop_all()
        stuck:close()
    end)

    local function connect()
        local connection = assert(client.connect(folder .. '/in'))
        connection.timeout = process.deadline
        return connection
    end

    local function is_served()
        local connection = connect()
        for i = 1, 20 do
            local path = '/others/' .. i
            local res = assert(connection:request('GET', path))
            assert.equal(200, res.status)
        end
        connection:close()
    end

    local function wait_for(name, count)
        assert.truthy(gateway:wait_status(function(status)
            return status.counters[name] == count
        end))
        assert.is_true(procfs.wait_rest(worker))
    end

    -- What each of the clients that begin costs, once the first ones have come. They are served
    -- alongside, and leave nothing.
    local function cost_of(count, gauge, begin, finish)
        local clients = {}
        local function open_to(number)
            for i = #clients + 1, number do
                clients[i] = begin(connect())
            end
            wait_for(gauge, number)
            return procfs.anonymous_bytes(worker)
        end
        local before = open_to(FIRST)
        local bytes = open_to(count) - before
        is_served()
        for _, connection in ipairs(clients) do
            connection:close()
        end
        if finish then
            finish()
        end
        wait_for('connections', 0)
        wait_for('requests_active', 0)
        return bytes, bytes / (count - FIRST)
    end

    local function expect_cost(what, each, most)
        assert.is_true(not IS_MEASURED or each <= most, ('%.0f bytes each'):format(each))
        if SOAK then
            print(('    %s: %.1f KB each'):format(what, each / 1024))
        end
    end

    it('read slowly', function()
        local _, each = cost_of(SLOW, 'requests_active', function(connection)
            assert(connection:send('GET /?size=4MiB HTTP/1.1\r\nHost: x\r\n\r\n'))
            assert(connection:take_until('\r\n\r\n'))
            connection.kept = ''
            return connection
        end)
        expect_cost('slow readers', each, MOST_SLOW)
    end)

    it('read slowly what comes in chunks', function()
        local _, each = cost_of(SLOW, 'requests_active', function(connection)
            assert(connection:send('GET /?size=4MiB&chunked HTTP/1.1\r\nHost: x\r\n\r\n'))
            assert(connection:take_until('\r\n\r\n'))
            connection.kept = ''
            return connection
        end)
        expect_cost('slow readers of chunks', each, MOST_SLOW)
    end)

    it('send their head slowly', function()
        local _, each = cost_of(SLOW, 'connections', function(connection)
            assert(connection:send('GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ' .. ('s'):rep(4000)))
            return connection
        end)
        expect_cost('slow heads', each, MOST_SLOW)
    end)

    it('send their body slowly', function()
        local _, each = cost_of(SLOW, 'requests_active', function(connection)
            assert(connection:send('POST / HTTP/1.1\r\nHost: x\r\n' ..
                'Content-Length: 1000000\r\n\r\n' .. ('s'):rep(4000)))
            return connection
        end)
        expect_cost('slow bodies', each, MOST_SLOW)
    end)

    it('send as fast as they can to an upstream that takes nothing', function()
        local octets = ('s'):rep(65536)
        local _, each = cost_of(STALLED, 'requests_active', function(connection)
            assert(connection:send('POST /stuck HTTP/1.1\r\nHost: x\r\n' ..
                'Content-Length: 100000000\r\n\r\n'))
            connection.timeout = 0.1
            repeat
                local sent = connection:send(octets)
            until not sent
            return connection
        end, function() -- a client that is not read is missed only when there is something to do
            for _ = 1, STALLED do
                stuck:accept(true):close()
            end
        end)
        expect_cost('stalled uploads', each, MOST_STALLED)
    end)

    it('do nothing', function()
        local bytes, each = cost_of(IDLE, 'connections_idle', function(connection)
            return connection
        end)
        assert.is_true(not IS_MEASURED or bytes <= MOST_IDLE, ('%.1f MB'):format(bytes / 1e6))
        expect_cost('idle clients', each, MOST_IDLE / IDLE)
    end)
end)
