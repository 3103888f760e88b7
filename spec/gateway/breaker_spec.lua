-- SPDX-License-Identifier: Apache-2.0
--
-- Circuit breakers under load with real workers: B2 and B6 of the policies' tests. The suite takes
-- seconds; script/soak breaker gives B2 five minutes (MOONGATE_SOAK_SECONDS), five workers and the
-- default times.
local dkjson = require 'dkjson'
local load = require 'spec.gateway.support.load'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local sock_diag = require 'spec.gateway.support.sock_diag'

local SOAK = tonumber(os.getenv('MOONGATE_SOAK_BREAKER_SECONDS'))
local SECONDS = SOAK or 5

local SHORT = 'open: { base: 500ms, max: 2s, jitter_percent: 0 }, ramp: 1s,'
    .. ' half_open: { max_inflight: 3, required: 3, timeout: 400ms }'
local LONG = 'half_open: { timeout: 2s }'

local YAML = [[
_format_version: "3.0"
services:
- name: hanging
  url: http://127.0.0.1:%d
  read_timeout: %d
  retries: 0
  routes: [{ name: all, paths: [/], strip_path: false }]
plugins: [{ name: circuit-breaker, config: { scope: service, %s } }]
gateway:
  workers: %d
  listeners: [{ address: "127.0.0.1:%d" }]
]]

describe('a circuit breaker under load', function()
    after_each(process.stop_all)

    local function breaker_of(gateway)
        local code, out, err = gateway:command('breaker', '--json')
        assert.equal(0, code, err)
        return assert(dkjson.decode(out, 1, nil)).breakers[1]
    end

    local function await(gateway, holds)
        local deadline = posix.now() + process.deadline
        local breaker, held
        repeat
            breaker = breaker_of(gateway)
            held = holds(breaker)
        until held or posix.now() > deadline
        assert.is_true(held, breaker.state)
        return breaker
    end

    -- How many connections the upstream on that port had open at one time. A look takes a while, in
    -- which one may end and another begin; what two looks in a row show was there between them.
    local function exchanges(port)
        local first, count = sock_diag.established(port)
        if count == 0 then
            return 0
        end
        local both = 0
        for other in pairs((sock_diag.established(port))) do
            both = both + (first[other] and 1 or 0)
        end
        return both
    end

    -- The open times that the error log tells, in seconds.
    local function open_times(gateway)
        gateway:collect(posix.now())
        local list = {}
        for seconds in gateway.err:gmatch('open for ([%d.]+) s') do
            list[#list + 1] = tonumber(seconds)
        end
        return list
    end

    it('B2 lets an upstream that hangs see no more than its probes', function()
        local config, workers = SOAK and LONG or SHORT, SOAK and 5 or 2
        local port = process.echo('--delay', '600000').port
        local own = process.free_port()
        local function yaml(read_timeout)
            return YAML:format(port, read_timeout, config, workers, own)
        end
        local gateway = process.gateway(yaml(SOAK and 1000 or 300))
        local running = load.start(gateway.port, { connections = 8 })
        await(gateway, function(breaker)
            return breaker.state ~= 'closed'
        end)
        gateway:rewrite(yaml(60000)) -- from now on nothing but the probe's limit ends one
        assert.equal(0, (gateway:command('reload')))
        await(gateway, function(breaker)
            return breaker.openings_in_a_row >= 2 and breaker.state == 'open'
                and select(2, sock_diag.established(port)) == 0
        end)
        local most, deadline = 0, posix.now() + SECONDS
        repeat
            most = math.max(most, exchanges(port))
            gateway:collect(posix.now() + 0.01)
        until posix.now() > deadline
        local result = running:stop()
        local breaker = breaker_of(gateway)
        assert.is_true(most >= 1 and most <= 3, most .. ' exchanges at a time')
        assert.is_true(breaker.results.network == breaker.results.failure)
        assert.is_true(breaker.openings_in_a_row >= 3)
        assert.is_true(breaker.rejected.open > 100)
        local nominal = SOAK and { 5, 10, 20, 40, 60 } or { 0.5, 1, 2 }
        for i, seconds in ipairs(open_times(gateway)) do
            local wanted = nominal[math.min(i, #nominal)]
            assert.is_true(math.abs(seconds - wanted) <= wanted * 0.1 + 0.05, seconds .. ' s')
        end
        if SOAK then
            print(('%d requests, at most %d exchanges, open times %s'):format(result.requests, most,
                table.concat(open_times(gateway), ' ')))
        end
    end)

    it('B6 keeps state, openings and probes over a reload while it is half open', function()
        local echo = process.echo()
        local config = 'ramp: 0s, consecutive_failures: 1, half_open: { max_inflight: 2,'
            .. ' required: 2, timeout: 60s }, open: { base: 100ms, max: 60s, jitter_percent: 0 }'
        local own = process.free_port()
        local function yaml(more)
            return YAML:format(echo.port, 60000, config .. more, 2, own)
        end
        local gateway = process.gateway(yaml(''))
        assert.equal(503, gateway:get('/?status=503').status)
        local probe
        local deadline = posix.now() + process.deadline
        repeat -- until one is admitted as a probe, and hangs
            local connection = gateway:send('GET /?delay=5000 HTTP/1.1\r\nHost: x\r\n\r\n')
            connection.timeout = 0.5 -- a refusal comes at once
            if not connection:response() then
                probe = connection
            end
        until probe or posix.now() > deadline
        local before = await(gateway, function(breaker)
            return breaker.state == 'half_open' and breaker.probes_inflight == 1
        end)
        gateway:rewrite(yaml(', failure_percent: 60'))
        assert.equal(0, (gateway:command('reload')))
        local after = breaker_of(gateway)
        assert.same({ 'half_open', before.epoch, 1, 1 }, { after.state, after.epoch,
            after.openings_in_a_row, after.probes_inflight })
        probe.timeout = process.deadline
        assert.equal(200, assert(probe:response()).status) -- which counts: the epoch is the same
        assert.equal(0, breaker_of(gateway).probes_inflight)
        assert.equal(200, gateway:get('/').status)
        await(gateway, function(breaker)
            return breaker.state == 'closed'
        end)
        assert.equal(1, breaker_of(gateway).openings_in_a_row)
    end)

    it('B6 has the probes of a killed worker back with its death', function()
        local echo = process.echo()
        local gateway = process.gateway(YAML:format(echo.port, 60000, 'ramp: 0s,'
            .. ' consecutive_failures: 1, half_open: { max_inflight: 2, required: 1,'
            .. ' timeout: 60s }, open: { base: 100ms, max: 60s }', 2, process.free_port()))
        local before = gateway:status().workers
        assert.equal(503, gateway:get('/?status=503').status)
        local deadline = posix.now() + process.deadline
        repeat
            gateway:send('GET /?delay=60000 HTTP/1.1\r\nHost: x\r\n\r\n')
        until breaker_of(gateway).probes_inflight == 2 or posix.now() > deadline
        assert.equal(503, gateway:get('/').status)
        for _, worker in ipairs(before) do
            assert.is_true(posix.kill(worker.pid, posix.signals.KILL))
        end
        assert.truthy(gateway:wait_status(function(status) -- the master has seen both deaths
            return status.workers[1].pid ~= before[1].pid and status.workers[2].pid ~= before[2].pid
        end))
        local breaker = breaker_of(gateway)
        assert.same({ 'half_open', 0 }, { breaker.state, breaker.probes_inflight })
    end)
end)
