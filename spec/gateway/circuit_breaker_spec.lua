-- SPDX-License-Identifier: Apache-2.0
--
-- The plugin circuit-breaker with real workers, which share its state, and real upstreams: one that
-- fails when it is asked to, one that is not there, one that hangs.
local client = require 'spec.gateway.support.client'
local dkjson = require 'dkjson'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

-- Says which worker answers.
local WHO = [[
local plugin = { PRIORITY = 1, VERSION = '0.1.0' }
function plugin:header_filter()
    moongate.response.set_header('X-Worker', ngx.worker.id())
end
return plugin
]]

local ROUTE = [[
    plugins:
    - name: who
    - name: circuit-breaker
      config: { ramp: 0s, %s }
]]

describe('the circuit breaker', function()
    local gateway, connections

    before_each(function()
        connections = {}
    end)

    after_each(function()
        for _, connection in ipairs(connections) do
            connection:close()
        end
        process.stop_all()
    end)

    local function yaml(port, config, o)
        return process.yaml({ upstream = port, workers = o.workers or 2, port = o.port,
            plugins = ROUTE:format(config) })
    end

    local function start(port, config, o)
        local folder = process.folder()
        os.execute('mkdir ' .. folder .. '/plugins')
        process.write(folder .. '/plugins/who.lua', WHO)
        gateway = process.gateway(yaml(port, config, o or {}), { folder = folder })
    end

    local function connect()
        local connection = assert(client.connect(gateway.port, { timeout = process.deadline }))
        connections[#connections + 1] = connection
        return connection
    end

    -- A kept connection to each of the two workers, by the worker's number.
    local function one_each()
        local found = {}
        local deadline = posix.now() + process.deadline
        repeat
            local connection = connect()
            local res = assert(connection:request('GET', '/'))
            found[tonumber(res.headers['x-worker'])] = connection
        until found[0] and found[1] or posix.now() > deadline
        return assert(found[0]), assert(found[1])
    end

    local function is_refusal(res)
        return res.status == 503 and res.body:find('temporary-reduced-capacity', 1, true) ~= nil
    end

    local function status_of(connection, path)
        local res = assert(connection:request('GET', path or '/'))
        return is_refusal(res) and 'refused' or res.status
    end

    -- Asks, each time on a connection of its own, until the answer is what is wanted.
    local function await(is_wanted)
        local deadline = posix.now() + process.deadline
        local status
        repeat
            local res = assert(gateway:get('/'))
            status = is_refusal(res) and 'refused' or res.status
        until is_wanted(status) or posix.now() > deadline
        return status
    end

    local function outlast()
        return await(function(status)
            return status ~= 'refused'
        end)
    end

    -- The transitions in the error log, 'closed -> open' and so on, when there are so many.
    local function transitions(count)
        local deadline = posix.now() + process.deadline
        local list
        repeat
            gateway:collect(posix.now() + 0.05)
            list = {}
            for change in gateway.err:gmatch('breaker upstream:%S+: (%S+ %-> %S+) %([^\n]*\n') do
                list[#list + 1] = change
            end
        until #list >= count or posix.now() > deadline
        return list
    end

    it('counts the results of all workers, and is open for all of them', function()
        start(process.echo().port, 'consecutive_failures: 4, open: { base: 30s }')
        local a, b = one_each()
        for _, connection in ipairs({ a, b, a }) do
            assert.equal(503, status_of(connection, '/?status=503'))
        end
        assert.equal(200, status_of(a)) -- not in a row
        for _, connection in ipairs({ a, b, b, a }) do
            assert.equal(503, status_of(connection, '/?status=503'))
        end
        assert.equal('refused', status_of(a))
        local res = assert(b:request('GET', '/'))
        assert.is_true(is_refusal(res))
        assert.equal('application/problem+json', res.headers['content-type'])
        local seconds = tonumber(res.headers['retry-after'])
        assert.is_true(seconds >= 27 and seconds <= 37) -- jitter, and the spread
        assert.same({ 'closed -> open' }, transitions(1))
        local name = gateway.err:match('breaker (upstream:%S+): closed')
        assert.equal(name, dkjson.decode(res.body).breaker)
    end)

    it('lets at most max_inflight probes of all workers through, then closes', function()
        start(process.echo().port, 'consecutive_failures: 2, open: { base: 300ms, max: 30s,'
            .. ' jitter_percent: 0 }, half_open: { max_inflight: 2, required: 3 }')
        local a, b = one_each()
        assert.equal(503, status_of(a, '/?status=503'))
        assert.equal(503, status_of(b, '/?status=503'))
        assert.equal('refused', status_of(a))
        assert.equal(200, outlast()) -- the first of three results
        local waiting = { a, b }
        for _ = 1, 6 do
            waiting[#waiting + 1] = connect()
        end
        for _, connection in ipairs(waiting) do
            assert(connection:send('GET /?delay=1500 HTTP/1.1\r\nHost: x\r\n\r\n'))
        end
        local refused = 0
        for _, connection in ipairs(waiting) do
            local res = assert(connection:response())
            refused = refused + (is_refusal(res) and 1 or 0)
            assert.is_true(is_refusal(res) or res.status == 200)
            assert.equal(is_refusal(res) and '1' or nil, res.headers['retry-after'])
        end
        assert.equal(#waiting - 2, refused)
        assert.equal(200, status_of(a))
        assert.equal(200, status_of(b))
        assert.same({ 'closed -> open', 'open -> half_open', 'half_open -> closed' },
            transitions(3))
    end)

    it('opens before a dead upstream, and closes when it is back', function()
        local port = process.free_port()
        start(port, 'consecutive_failures: 3, open: { base: 300ms, max: 600ms },'
            .. ' half_open: { required: 1 }')
        local a = connect()
        for _ = 1, 3 do
            assert.equal(502, status_of(a))
        end
        assert.equal('refused', status_of(a))
        assert.equal(502, outlast()) -- a probe, which fails
        assert.equal('refused', status_of(a))
        process.start({ process.binary, 'echo', '--listen', '127.0.0.1:' .. port, '--quiet' })
        assert.equal(200, await(function(status)
            return status == 200
        end))
        assert.equal(200, status_of(a))
        transitions(2)
        assert.truthy(gateway.err:find('3 of 3 results failed, 3 of them in the network', 1, true))
    end)

    it('stays as it is over reloads', function()
        local config = 'consecutive_failures: 2, open: { base: 30s }'
        local echo = process.echo()
        start(echo.port, config)
        local a = connect()
        for _ = 1, 2 do
            assert.equal(503, status_of(a, '/?status=503'))
        end
        for _ = 1, 3 do
            assert.equal(0, (gateway:command('reload')))
            for _ = 1, 10 do
                assert.equal('refused', status_of(connect()))
            end
        end
        gateway:rewrite(yaml(echo.port, config:gsub('2', '3', 1), { port = gateway.port }))
        assert.equal(0, (gateway:command('reload')))
        assert.equal('refused', status_of(connect()))
        assert.same({ 'closed -> open' }, transitions(1))
    end)

    it('cuts probes of an upstream that hangs, which never sees more of them', function()
        local fd, port = posix.listen()
        start(port, 'consecutive_failures: 1, open: { base: 100ms, max: 100ms },'
            .. ' half_open: { max_inflight: 2, required: 2, timeout: 2s }', { workers = 1 })
        local deadline = posix.now() + process.deadline
        local first = connect()
        assert(first:send('GET /a HTTP/1.1\r\nHost: x\r\n\r\n'))
        local upstream = assert(posix.accept(fd, deadline))
        assert.truthy(posix.read(upstream, deadline))
        posix.close(upstream) -- a reset: the failure that opens
        assert.equal(502, assert(first:response()).status)
        local probes, held = {}, {}
        repeat -- until the open time is over: then two reach the upstream, and hang
            local connection = connect()
            assert(connection:send('GET /b HTTP/1.1\r\nHost: x\r\n\r\n'))
            if posix.wait_two(connection.fd, fd, deadline) then
                assert.is_true(is_refusal(assert(connection:response())))
            else
                probes[#probes + 1] = connection
                held[#held + 1] = assert(posix.accept(fd, deadline))
            end
        until #probes == 2 or posix.now() > deadline
        assert.equal('refused', status_of(connect()))
        assert.is_nil(posix.accept(fd, posix.now()))
        for i = 1, 2 do
            local res = assert(probes[i]:response())
            assert.is_true(is_refusal(res))
            local sent = posix.read(held[i], posix.now() + process.deadline)
            assert.truthy(sent:find('GET /b', 1, true))
            assert.equal('', posix.read(held[i], posix.now() + process.deadline)) -- closed
            posix.close(held[i])
        end
        posix.close(fd)
        assert.equal('half_open -> open', transitions(3)[3])
    end)

    it('has the probes back that a killed worker held', function()
        start(process.echo().port, 'consecutive_failures: 1, open: { base: 100ms, max: 100ms },'
            .. ' half_open: { max_inflight: 2, required: 1, timeout: 60s }')
        local a, b = one_each()
        local workers = gateway:status().workers
        assert.equal(503, status_of(a, '/?status=503'))
        local held = 0
        local deadline = posix.now() + process.deadline
        repeat -- the worker of b takes both probes
            local connection = connect()
            assert(connection:send('GET /?delay=60000 HTTP/1.1\r\nHost: x\r\n\r\n'))
            connection.timeout = 1 -- a refusal comes at once
            local res = connection:response()
            assert.is_true(res == nil or is_refusal(res))
            held = held + (res == nil and 1 or 0)
        until held == 2 or posix.now() > deadline
        assert.equal('refused', status_of(a))
        assert.equal('refused', status_of(b))
        for _, worker in ipairs(workers) do
            assert.is_true(posix.kill(worker.pid, posix.signals.KILL))
        end
        assert.truthy(gateway:wait_status(function(status)
            for i, worker in ipairs(status.workers) do
                if worker.state ~= 'serving' or worker.pid == workers[i].pid then
                    return false
                end
            end
            return true
        end))
        assert.equal(200, outlast())
        assert.equal(200, status_of(connect()))
    end)

    it('counts resets and cut bodies as failures', function()
        start(process.echo().port, 'consecutive_failures: 1, open: { base: 30s }')
        assert.equal(502, status_of(connect(), '/?reset=1'))
        assert.equal('refused', await(function(status) -- another worker may see it a moment later
            return status == 'refused'
        end))
        gateway:stop()
        start(process.echo().port, 'min_requests: 2, failure_percent: 1, consecutive_failures: 0,'
            .. ' open: { base: 30s }')
        assert.is_nil((connect():request('GET', '/?size=100000&cut=100')))
        assert.equal('refused', await(function(status)
            return status == 'refused'
        end))
    end)
end)
