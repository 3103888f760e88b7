-- SPDX-License-Identifier: Apache-2.0
--
-- Active health checks on the real binary: what is asked, by how many workers, what takes a target
-- out and what brings it back, without a single request of a client.
local peers = require 'spec.gateway.support.peers'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local scripted = require 'spec.gateway.support.scripted'

local OK = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'

local function start(checks, targets, workers)
    local lines = {}
    for i, port in ipairs(targets) do
        lines[i] = ('{ target: "127.0.0.1:%d" }'):format(port)
    end
    local yaml = ([[
_format_version: "3.0"
services:
- { name: s, host: group, retries: 0, routes: [{ name: r, paths: [/] }] }
upstreams:
- name: group
  targets: [%s]
  healthchecks: %s
gateway:
  workers: %d
  listeners: [{ address: "127.0.0.1:%d" }]
  upstreams: { defaults: { outlier: { ramp: 0s } } }
]]):format(table.concat(lines, ', '), checks, workers or 1, process.free_port())
    return process.gateway(yaml), yaml
end

local function targets_of(status)
    for _, upstream in ipairs(status.upstreams) do
        if upstream.name == 'group' then
            return upstream.targets
        end
    end
end

local function health_of(status, port)
    for _, target in ipairs(targets_of(status)) do
        if target.target:match(':(%d+)$') == tostring(port) then
            return target.health
        end
    end
end

local function wait_health(gateway, port, health)
    assert.truthy(gateway:wait_status(function(status)
        return health_of(status, port) == health
    end), health)
end

describe('an active health check', function()
    after_each(process.stop_all)

    it('asks for what the configuration says, and one worker makes it', function()
        local upstream = scripted.listen()
        local gateway = start([[{ active: { http_path: "/well", timeout: 5,
    headers: { X-Check: [one, two] }, healthy: { interval: 0.4, successes: 1 } } }]],
            { upstream.port }, 3)
        for _ = 1, 4 do
            local peer = upstream:accept()
            assert.equal('GET /well HTTP/1.1', peer.head:match('^[^\r]+'))
            for _, line in ipairs({ 'Host: 127.0.0.1:' .. upstream.port, 'X-Check: one',
                'X-Check: two' }) do
                assert.truthy(peer.head:find('\r\n' .. line .. '\r\n', 1, true), peer.head)
            end
            peer:say(OK)
            peer:close()
            assert.is_false(upstream:is_asked(0.2)) -- the next one: 0.4 s after the answer
        end
        assert.truthy(gateway:wait_status(function(status)
            return targets_of(status)[1].checks_ok >= 4
        end))
        upstream:close()
    end)

    it('takes a target out and brings it back, for all workers', function()
        local good, lost = process.echo(), process.free_port()
        local gateway = start([[{ active: {
    healthy: { interval: 0.1, successes: 2 },
    unhealthy: { interval: 0.1, tcp_failures: 2 } } }]], { good.port, lost }, 2)
        wait_health(gateway, lost, 'unhealthy')
        for _ = 1, 20 do
            assert.equal(200, assert(gateway:get('/')).status)
        end
        assert.is_true(gateway:wait_text(('group: target 127.0.0.1:%d is left out'):format(lost)))
        process.start({ process.binary, 'echo', '--listen', '127.0.0.1:' .. lost })
        wait_health(gateway, lost, 'healthy')
        assert.equal(0, gateway:status().counters.upstream_connect_failures)
    end)

    it('goes on when the worker that makes it dies', function()
        local gateway = start([[{ active: {
    healthy: { interval: 0.1, successes: 1 }, unhealthy: { interval: 0.1 } } }]],
            { process.echo().port }, 2)
        for _ = 1, 2 do
            local status = gateway:wait_status(function(status)
                return targets_of(status)[1].checks_ok > 0
            end)
            for i = 1, 2 do
                posix.kill(status.workers[i].pid, posix.signals.KILL)
                local before
                assert.truthy(gateway:wait_status(function(now)
                    if now.workers[i].pid == status.workers[i].pid or
                        now.workers[i].state ~= 'serving' then
                        return false
                    end
                    local count = targets_of(now)[1].checks_ok
                    before = before or count
                    return count > before + 3
                end))
            end
        end
    end)

    it('counts statuses, and timeouts', function()
        local silent = scripted.listen()
        local busy = process.echo('--status', '503')
        local gateway = start([[{ active: { timeout: 0.2,
    healthy: { interval: 0.1 },
    unhealthy: { interval: 0.1, http_failures: 2, timeouts: 1 } } }]],
            { busy.port, silent.port, process.echo().port })
        wait_health(gateway, busy.port, 'unhealthy')
        wait_health(gateway, silent.port, 'unhealthy')
        assert.same({ 200 }, { assert(gateway:get('/')).status })
        silent:close()
    end)

    it('needs the head of an answer, and takes little of a long body', function()
        local upstream = scripted.listen()
        local gateway = start([[{ active: { timeout: 600, healthy: { interval: 0.1 } } }]],
            { upstream.port })
        for count = 1, 2 do
            upstream:accept():say('HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n'
                .. ('x'):rep(20000)) -- and no more
            assert.truthy(gateway:wait_status(function(status)
                return targets_of(status)[1].checks_ok == count
            end))
        end
        upstream:close()
    end)

    it('of the type tcp connects and asks for nothing', function()
        local upstream = scripted.listen()
        local lost = process.free_port()
        local gateway = start([[{ active: { type: tcp, timeout: 0.5,
    healthy: { interval: 0.1, successes: 1 },
    unhealthy: { interval: 0.1, tcp_failures: 1 } } }]], { upstream.port, lost })
        local peer = upstream:accept(true)
        assert.equal('', peer:expect_end())
        wait_health(gateway, lost, 'unhealthy')
        assert.equal('healthy', health_of(gateway:status(), upstream.port))
        upstream:close()
    end)

    it('that leaves less than the threshold ends requests with 503', function()
        local lost = process.free_port()
        local gateway = start([[{ threshold: 50.5, active: {
    healthy: { interval: 0.1 },
    unhealthy: { interval: 0.1, tcp_failures: 1 } } }]], { process.echo().port, lost })
        wait_health(gateway, lost, 'unhealthy')
        assert.equal(503, assert(gateway:get('/')).status)
        assert.equal(1, gateway:status().outcomes.upstream_no_target)
    end)

    it('leaves all targets in use when none is healthy and there is no threshold', function()
        local busy = process.echo('--status', '503')
        local gateway = start([[{ active: {
    healthy: { interval: 0.1 },
    unhealthy: { interval: 0.1, http_failures: 1 } } }]], { busy.port })
        wait_health(gateway, busy.port, 'unhealthy')
        assert.equal(503, assert(gateway:get('/')).status)
        assert.equal(1, gateway:status().outcomes.ok)
    end)

    it('follows a reload', function()
        local first, second = scripted.listen(), scripted.listen()
        local gateway, yaml = start('{ active: { healthy: { interval: 0.1, successes: 1 } } }',
            { first.port })
        local peer = first:accept()
        gateway:rewrite((yaml:gsub(tostring(first.port), tostring(second.port))))
        assert.equal(0, (gateway:command('reload')))
        second:accept():close()
        peer:expect_end()
        first:close()
        second:close()
    end)

    it('follows an nginx that stops and starts again', function()
        local missing = peers.missing({ 'nginx' })
        if missing then
            pending(missing)
            return
        end
        local folder = process.folder()
        assert(os.execute(("mkdir -p '%s/www'"):format(folder)) == 0)
        process.write(folder .. '/www/well', 'well')
        local nginx = peers.nginx(folder)
        local gateway = start([[{ active: { http_path: /well,
    healthy: { interval: 0.1, successes: 1 },
    unhealthy: { interval: 0.1, tcp_failures: 1, http_failures: 2 } } }]],
            { process.echo('--size', '1').port, nginx.port }, 2)
        assert.truthy(gateway:wait_status(function(status)
            local first, second = unpack(targets_of(status))
            return first.checks_ok > 2 and second.checks_ok > 2
        end))
        nginx:stop()
        wait_health(gateway, nginx.port, 'unhealthy')
        peers.nginx(folder, nginx.port)
        wait_health(gateway, nginx.port, 'healthy')
        os.remove(folder .. '/www/well') -- 404 from now on
        wait_health(gateway, nginx.port, 'unhealthy')
        for _ = 1, 10 do
            assert.equal(1, #assert(gateway:get('/')).body)
        end
    end)
end)
