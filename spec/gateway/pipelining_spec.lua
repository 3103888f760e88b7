-- SPDX-License-Identifier: Apache-2.0
--
-- Requests that come before the answer to the one ahead of them: each is answered, in order and
-- once; what waits is bounded; and a client that ends its side, or resets, or is refused in the
-- middle, ends them all.
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local procfs = require 'spec.gateway.support.procfs'
local scripted = require 'spec.gateway.support.scripted'

local MANY = 100
local IS_MEASURED = os.getenv('MOONGATE_PRESET') ~= 'asan'

describe('requests in a row', function()
    local gateway, upstream, records

    before_each(function()
        upstream = scripted.listen()
    end)

    after_each(function()
        process.stop_all()
        upstream:close()
    end)

    local function start(port)
        gateway = process.gateway(process.yaml{ upstream = port,
            gateway = 'plugins: [{ name: access-log }]' })
        records = scripted.records(gateway)
    end

    -- GET, HEAD and POST with a body of either framing, told apart by their sizes.
    local function request(i)
        local head = ('%%s /?size=%d HTTP/1.1\r\nHost: x\r\n'):format(i)
        local kind = i % 4
        if kind == 0 then
            return 'GET', head:format('GET') .. '\r\n'
        elseif kind == 1 then
            return 'HEAD', head:format('HEAD') .. '\r\n'
        elseif kind == 2 then
            return 'POST', head:format('POST') .. 'Content-Length: 7\r\n\r\nGET / H'
        end
        return 'POST', head:format('POST') ..
            'Transfer-Encoding: chunked\r\n\r\n3\r\nGET\r\n4\r\n / H\r\n0\r\n\r\n'
    end

    local function expect_answers(connection, methods)
        for i, method in ipairs(methods) do
            local res = assert(connection:response(method))
            assert.equal(200, res.status)
            assert.equal(tostring(i), res.headers['content-length'])
        end
        assert.equal('', connection.kept)
    end

    it('are answered in order, a hundred at once', function()
        start(process.echo().port)
        local methods, parts = {}, {}
        for i = 1, MANY do
            methods[i], parts[i] = request(i)
        end
        local text = table.concat(parts)
        local connection = gateway:connect()
        assert(connection:send(text))
        expect_answers(connection, methods)
        -- However they are cut.
        for at = 1, #text, 37 do
            assert(connection:send(text:sub(at, at + 36)))
        end
        expect_answers(connection, methods)
        connection:close()
        local status = gateway:status()
        assert.equal(2 * MANY, status.counters.requests)
        assert.equal(2 * MANY, status.outcomes.ok)
    end)

    it('wait in the kernel while the first is not answered, and are all answered then', function()
        start(upstream.port)
        local worker = gateway:status().workers[1].pid
        local connection = gateway:connect()
        assert(connection:send('GET /0 HTTP/1.1\r\nHost: x\r\n\r\n'))
        local peer = upstream:accept()
        local before = procfs.anonymous_bytes(worker)
        local field = 'X-Large: ' .. ('l'):rep(7000) .. '\r\n'
        local sent = 0
        connection.timeout = 0.2
        repeat
            sent = sent + 1
        until sent == 2000 or not connection:send(('GET /%d HTTP/1.1\r\nHost: x\r\n%s\r\n')
            :format(sent, field))
        connection.timeout = process.deadline
        assert.is_true(procfs.wait_rest(worker))
        local grown = procfs.anonymous_bytes(worker) - before
        assert.is_true(not IS_MEASURED or grown < 400 * 1024, ('%d bytes'):format(grown))
        for i = 0, 20 do
            if i > 0 then
                peer:read_head()
            end
            assert.truthy(peer.head:find(('^GET /%d HTTP'):format(i)), peer.head:sub(1, 40))
            peer:say(('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%02d'):format(i))
            assert.equal(('%02d'):format(i), assert(connection:response()).body)
        end
        connection:close()
        peer:close()
    end)

    -- What comes behind something that ends the connection is never looked at.
    local ENDS = {
        ['a malformed one'] = 'GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n',
        ['a last one'] = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
        ['an old one'] = 'GET / HTTP/1.0\r\nHost: x\r\n\r\n',
    }
    for what, text in pairs(ENDS) do
        it('end with ' .. what, function()
            start(upstream.port)
            local connection = gateway:connect()
            assert(connection:send(text .. 'GET /behind HTTP/1.1\r\nHost: x\r\n\r\n'))
            if not what:find('malformed', 1, true) then
                local peer = upstream:accept()
                peer:say('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
                peer:close()
            end
            local res = assert(connection:response())
            assert.equal('close', res.headers.connection)
            assert.equal('', assert(connection:take_rest()))
            connection:close()
            assert.equal(1, gateway:status().counters.requests)
            assert.is_false(upstream:is_asked(0))
        end)
    end

    local LEAVES = {
        ['ends its side'] = function(connection)
            posix.shutdown_write(connection.fd)
        end,
        ['closes'] = function(connection)
            connection:close()
        end,
        ['resets'] = function(connection)
            connection:reset()
        end,
    }
    for how, leave in pairs(LEAVES) do
        it(('end when the client %s: the one under way is given up'):format(how), function()
            start(upstream.port)
            local connection = gateway:connect()
            assert(connection:send('GET /0 HTTP/1.1\r\nHost: x\r\n\r\n'))
            local peer = upstream:accept()
            leave(connection)
            peer:expect_end()
            local record = records:next()
            assert.same({ '/0', 499, 'client_abort' },
                { record.path, record.status, record.outcome })
            assert.truthy(gateway:wait_status(function(status)
                return status.counters.connections == 0 and status.counters.requests_active == 0
            end))
            assert.equal(1, gateway:status().counters.requests)
            connection:close()
        end)
    end
end)

-- Each takes 8 ms of CPU in a plugin, which is no limit's affair: together they take more than the
-- watchdog waits for a worker that does not move.
describe('requests that take their time', function()
    local BUSY = [[
function plugin:access()
    local from = os.clock()
    repeat until os.clock() - from > 0.008
    return moongate.response.exit(200, 'done')
end
]]
    local COUNT, WATCHDOG_MS = 200, 1000
    local GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
    local gateway, worker

    before_each(function()
        gateway = process.gateway(process.yaml{ gateway = ([[
  plugins: { watchdog_ms: %d, settings: { busy: { quarantine: false } } }
plugins: [{ name: busy }]
]]):format(WATCHDOG_MS) }, { folder = process.plugins({ busy = BUSY }, process.PLUGIN) })
        worker = gateway:status().workers[1].pid
    end)

    after_each(process.stop_all)

    -- All of it lies there when the worker looks.
    local function send_at_once(connections, text)
        assert(posix.kill(worker, posix.signals.STOP))
        assert(procfs.wait_stopped(worker))
        for _, connection in ipairs(connections) do
            assert(connection:send(text))
        end
    end

    local function go_on()
        assert(posix.kill(worker, posix.signals.CONT))
    end

    local function expect_same_worker()
        local status = gateway:status()
        assert.same({ worker, 0 }, { status.workers[1].pid, status.workers[1].restarts })
    end

    it('are no reason to take a worker for stuck, on many connections', function()
        local connections = {}
        for i = 1, COUNT do
            connections[i] = gateway:connect()
        end
        send_at_once(connections, GET)
        go_on()
        for i = 1, COUNT do
            assert.equal(200, assert(connections[i]:response()).status)
            connections[i]:close()
        end
        expect_same_worker()
    end)

    it('wait for those of others when they come in a row, and are all answered', function()
        local hasty, other = gateway:connect(), gateway:connect()
        send_at_once({ hasty }, GET:rep(COUNT))
        assert(other:send(GET))
        go_on()
        assert.equal(200, assert(other:response()).status)
        local seen = hasty.kept .. (posix.read(hasty.fd, posix.now()) or '')
        local _, ahead = seen:gsub('HTTP/1.1 200', '')
        assert.is_true(ahead < COUNT / 2, ahead)
        hasty.kept = seen
        for _ = 1, COUNT do
            assert.equal(200, assert(hasty:response()).status)
        end
        assert.equal('', hasty.kept)
        expect_same_worker()
        hasty:close()
        other:close()
    end)

    it('are answered before a drain ends them', function()
        local hasty = gateway:connect()
        send_at_once({ hasty }, GET:rep(20))
        go_on()
        assert.equal(200, assert(hasty:response()).status)
        gateway:signal('TERM')
        for i = 2, 20 do
            local res = assert(hasty:response())
            assert.equal(200, res.status)
            if res.headers.connection == 'close' then
                break -- what is behind it may be sent again elsewhere
            end
            assert.is_true(i < 20)
        end
        hasty:close()
        assert.equal(0, gateway:wait())
    end)
end)
