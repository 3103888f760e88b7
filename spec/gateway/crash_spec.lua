-- SPDX-License-Identifier: Apache-2.0
--
-- Workers that die or hang: replaced at once, on the same listening socket, with the culprit named.
local client = require 'spec.gateway.support.client'
local load = require 'spec.gateway.support.load'
local metrics = require 'spec.gateway.support.metrics'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local procfs = require 'spec.gateway.support.procfs'
local scripted = require 'spec.gateway.support.scripted'

-- A C call that never ends: no CPU limit of ours reaches it.
local STUCK = [[
local plugin = { PRIORITY = 1000, VERSION = '0.1.0' }
function plugin:access()
    if moongate.request.get_path() == '/stuck' then
        return (('a?'):rep(28) .. ('a'):rep(28)):rep(2):find(('a?'):rep(40) .. ('a'):rep(40) .. 'b')
    end
end
return plugin
]]

describe('a worker', function()
    after_each(process.stop_all)

    local function gateway_with(plugin, o)
        local folder = process.folder()
        os.execute('mkdir ' .. folder .. '/plugins')
        process.write(folder .. '/plugins/culprit.lua', plugin)
        o.plugins = '    plugins: [{ name: culprit }]'
        return process.gateway(process.yaml(o), { folder = folder })
    end

    it('that is killed under load is replaced, and no connection is refused', function()
        local echo = process.echo('--size', '100')
        local gateway = process.gateway(process.yaml{ upstream = echo.port, workers = 2 })
        local victim = gateway:status().workers[1].pid
        local running = load.start(gateway.port, { connections = 8 })
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.requests > 100
        end))
        assert.is_true(posix.kill(victim, posix.signals.KILL))
        local status = assert(gateway:wait_status(function(now)
            return now.workers[1].state == 'serving' and now.workers[1].pid ~= victim
        end))
        assert.equal(1, status.workers[1].restarts)
        assert.equal(1, status.counters.worker_restarts_crash)
        local before = status.counters.requests
        assert.truthy(gateway:wait_status(function(now)
            return now.counters.requests > before + 100
        end))
        local result = running:stop()
        -- Only what was under way in the dead worker failed: one request a connection at most.
        assert.is_true(result.failed <= 8, result.text)
        assert.truthy(result.text:find('connect 0,', 1, true) or result.failed == 0, result.text)
        assert.truthy(gateway.err:find('worker 0 died of signal 9', 1, true)
            or gateway:wait_text('worker 0 died of signal 9'))
    end)

    it('that dies leaves its queue of connections to its replacement', function()
        local echo = process.echo()
        local gateway = process.gateway(process.yaml{ upstream = echo.port })
        local pid = gateway:status().workers[1].pid
        assert.is_true(posix.kill(pid, posix.signals.STOP))
        assert.is_true(procfs.wait_stopped(pid))
        local waiting = {}
        for i = 1, 20 do
            waiting[i] = assert(client.connect(gateway.port))
            assert(waiting[i]:send('GET / HTTP/1.1\r\nHost: x\r\n\r\n'))
        end
        assert.is_true(posix.kill(pid, posix.signals.KILL))
        for i = 1, 20 do
            waiting[i].timeout = process.deadline
            assert.equal(200, assert(waiting[i]:response()).status)
            waiting[i]:close()
        end
    end)

    it('that dies leaves a count of the requests that were under way in it', function()
        local upstream, status_port = scripted.listen(), process.free_port()
        local gateway = process.gateway(process.yaml{ upstream = upstream.port,
            gateway = ('  status: { address: "127.0.0.1:%d" }\n'):format(status_port) })
        local clients, peers = {}, {}
        for i = 1, 3 do
            clients[i] = gateway:send('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
            peers[i] = upstream:accept()
        end
        peers[1]:say('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
        assert.equal(200, assert(clients[1]:response()).status)
        local pid = gateway:status().workers[1].pid
        assert.is_true(posix.kill(pid, posix.signals.KILL))
        local status = assert(gateway:wait_status(function(now)
            return now.workers[1].state == 'serving' and now.workers[1].pid ~= pid
        end))
        assert.equal(2, status.outcomes.worker_died)
        local found = metrics.parse(assert(client.get(status_port, '/metrics')).body)
        assert.equal(2, found:value('moongate_http_requests_total', { outcome = 'worker_died' }))
        assert.equal(0, found:value('moongate_http_requests_active'))
        upstream:close()
    end)

    it('PTH-07 that hangs in a Lua pattern is killed by the watchdog, which names the plugin',
        function()
        local status_port = process.free_port()
        local gateway = gateway_with(STUCK, { gateway = ('  status: { address: "127.0.0.1:%d" }\n'
            .. '  plugins: { watchdog_ms: 500 }'):format(status_port) })
        local pid = gateway:status().workers[1].pid
        local connection = assert(client.connect(gateway.port))
        assert(connection:send('GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n'))
        assert.is_true(gateway:wait_text('and is killed'))
        local line = gateway.err:match('[^\n]*and is killed[^\n]*')
        assert.truthy(line:find('plugin="culprit"', 1, true), line)
        assert.truthy(line:find('phase=access', 1, true), line)
        assert.truthy(line:find('route="echo"', 1, true), line)
        connection:expect_cut()
        local status = assert(gateway:wait_status(function(now)
            return now.workers[1].state == 'serving' and now.workers[1].pid ~= pid
        end))
        assert.equal(1, status.counters.worker_restarts_stuck)
        local found = metrics.parse(assert(client.get(status_port, '/metrics')).body)
        assert.equal(1, found:value('moongate_worker_restarts_total',
            { reason = 'stuck', plugin = 'culprit' }))
        assert.equal(1, found:value('moongate_worker_restarts_total'))
    end)

    it('that only waits is not taken for a stuck one', function()
        local gateway = process.gateway(process.yaml{
            gateway = '  plugins: { watchdog_ms: 100 }' })
        local started = posix.now()
        local status = assert(gateway:wait_status(function()
            return posix.now() > started + 1.5 -- six looks of the watchdog
        end))
        assert.equal(0, status.workers[1].restarts)
    end)

    it('that keeps dying is not restarted without end', function()
        local gateway = process.gateway(process.yaml{})
        local dead
        local deadline = posix.now() + process.deadline
        repeat -- five deaths count, each within a second of being ready; a slow machine needs more
            local status = assert(gateway:wait_status(function(now)
                return gateway.err:find('keeps dying at its start', 1, true)
                    or now.workers[1].state == 'serving' and now.workers[1].pid ~= dead
            end))
            gateway:collect(posix.now())
            local over = gateway.err:find('keeps dying at its start', 1, true)
            if not over then
                dead = status.workers[1].pid
                assert.is_true(posix.kill(dead, posix.signals.KILL))
            end
        until over or posix.now() > deadline
        assert.is_true(gateway:wait_text('keeps dying at its start'))
        -- After the wait it comes back.
        assert.truthy(gateway:wait_status(function(now)
            return now.workers[1].state == 'serving'
        end))
    end)
end)
