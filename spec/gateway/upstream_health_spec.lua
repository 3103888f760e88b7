-- SPDX-License-Identifier: Apache-2.0
--
-- Single targets that fail are left out, for all workers, and come back by themselves; requests
-- over an upstream's limits wait in a queue. On the real binary.
local client = require 'spec.gateway.support.client'
local metrics = require 'spec.gateway.support.metrics'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local scripted = require 'spec.gateway.support.scripted'

local function yaml(text, ports)
    ports.PORT = process.free_port()
    return (([[
_format_version: "3.0"
plugins: [{ name: access-log }]
services:
- { name: s, host: group, retries: 0, connect_timeout: 500, routes: [{ name: r, paths: [/] }] }
]] .. text):gsub('%f[%u]%u%u%u%u+%f[%U]', ports))
end

-- The targets of the upstream `group` as `moongate status` has them, by their ports.
local function targets_of(status)
    local targets = {}
    for _, upstream in ipairs(status.upstreams) do
        if upstream.name == 'group' then
            for _, target in ipairs(upstream.targets) do
                targets[tonumber(target.target:match(':(%d+)$'))] = target
            end
            return targets, upstream
        end
    end
end

local function statuses(gateway, count)
    local seen = {}
    for _ = 1, count do
        local status = assert(gateway:get('/')).status
        seen[status] = (seen[status] or 0) + 1
    end
    return seen
end

describe('a target', function()
    after_each(process.stop_all)

    local GROUP = [[
upstreams:
- { name: group, targets: [{ target: "127.0.0.1:FIRST" }, { target: "127.0.0.1:SECOND" }] }
gateway:
  workers: 2
  listeners: [{ address: "127.0.0.1:PORT" }]
  upstreams: { settings: { group: { outlier: { open: { base: 300ms }, ramp: 300ms } } } }
]]

    it('B7 that fails five times is left out by all workers, and comes back', function()
        local dead = process.free_port()
        local gateway = process.gateway(yaml(GROUP, { FIRST = process.echo().port, SECOND = dead }))
        local seen = statuses(gateway, 30)
        -- Each worker may have had one under way when the last failure came.
        assert.is_true(seen[502] >= 5 and seen[502] <= 7, seen[502])
        local targets, upstream = targets_of(gateway:status())
        assert.is_true(targets[dead].ejected >= 1)
        assert.equal(1, upstream.ejections.consecutive)
        assert.is_true(gateway:wait_text(('target 127.0.0.1:%d is left out'):format(dead)))
        local echo = process.start({ process.binary, 'echo', '--listen', '127.0.0.1:' .. dead })
        assert.truthy(echo)
        assert.truthy(gateway:wait_status(function(status)
            assert(gateway:get('/'))
            return targets_of(status)[dead].health == 'healthy'
        end))
        assert.is_true(gateway:wait_text(('target 127.0.0.1:%d is back'):format(dead)))
        assert.same({ [200] = 30 }, statuses(gateway, 30))
    end)

    it('B7 is the last one: it is not left out, whatever it does', function()
        local gateway = process.gateway(yaml(GROUP, { FIRST = process.free_port(),
            SECOND = process.free_port() }))
        assert.same({ [502] = 40 }, statuses(gateway, 40))
        local out = 0
        for _, target in pairs(targets_of(gateway:status())) do
            out = out + (target.health == 'healthy' and 0 or 1)
        end
        assert.is_true(out <= 1)
        assert.truthy(gateway:command('status'))
    end)

    it('stays out when its worker dies and over a reload', function()
        local dead = process.free_port()
        local text = yaml((GROUP:gsub('base: 300ms', 'base: 1h, max: 1h')),
            { FIRST = process.echo().port, SECOND = dead })
        local gateway = process.gateway(text)
        statuses(gateway, 30)
        assert.equal('ejected', targets_of(gateway:status())[dead].health)
        gateway:rewrite(text .. '  log: { level: info }\n')
        assert.equal(0, (gateway:command('reload')))
        posix.kill(gateway:status().workers[1].pid, 9)
        assert.truthy(gateway:wait_status(function(status)
            return status.workers[1].restarts == 1 and status.workers[1].state == 'serving'
        end))
        assert.same({ [200] = 40 }, statuses(gateway, 40))
    end)

    it('that is left out is one in the metrics, too', function()
        local status_port, dead = process.free_port(), process.free_port()
        local gateway = process.gateway(yaml((GROUP:gsub('base: 300ms', 'base: 1h, max: 1h')) ..
            ('  status: { address: "127.0.0.1:%d" }\n'):format(status_port),
            { FIRST = process.echo().port, SECOND = dead }))
        statuses(gateway, 20)
        local found = metrics.parse(assert(client.get(status_port, '/metrics')).body)
        local group = { upstream = 'group' }
        assert.equal(1, found:value('moongate_upstream_ejections_total',
            { upstream = 'group', reason = 'consecutive' }))
        assert.equal(0, found:value('moongate_upstream_target_healthy',
            { upstream = 'group', target = '127.0.0.1:' .. dead }))
        assert.equal(1, found:value('moongate_upstream_target_healthy', group))
        assert.equal(30, found:value('moongate_upstream_retry_budget', group))
    end)

    it('is left out for answers that passive checks count', function()
        local gateway = process.gateway(yaml([[
upstreams:
- name: group
  targets: [{ target: "127.0.0.1:FIRST" }, { target: "127.0.0.1:SECOND" }]
  healthchecks: { passive: { unhealthy: { http_failures: 2, http_statuses: [418] } } }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:PORT" }]
]], { FIRST = process.echo().port, SECOND = process.echo('--status', '418').port }))
        assert.same({ [200] = 18, [418] = 2 }, statuses(gateway, 20))
        local _, upstream = targets_of(gateway:status())
        assert.equal(1, upstream.ejections.passive)
    end)
end)

for _, limit in ipairs({ 'connections', 'target_connections' }) do
    describe('requests over limits.' .. limit, function()
        local gateway, upstream, records

        setup(function()
            upstream = scripted.listen()
            gateway = process.gateway(yaml([[
upstreams:
- { name: group, targets: [{ target: "127.0.0.1:FIRST" }] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:PORT" }]
  upstreams: { settings: { group: { limits: { LIMIT: 1, pending: 2 } } } }
]], { FIRST = upstream.port, LIMIT = limit }))
            records = scripted.records(gateway)
        end)

        teardown(function()
            process.stop_all()
            upstream:close()
        end)

        local function ask(path)
            return gateway:send(('GET %s HTTP/1.1\r\nHost: x\r\n\r\n'):format(path))
        end

        local function wait_pending(count)
            assert.truthy(gateway:wait_status(function(status)
                return status.counters.upstream_pending == count
            end))
        end

        local function answer(peer)
            peer:say('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
            peer:close()
        end

        it('wait, first in first out, and beyond the queue get 503 at once', function()
            local held = { ask('/1') }
            local peer = upstream:accept()
            for i = 2, 3 do
                held[i] = ask('/' .. i)
                wait_pending(i - 1)
            end
            local refused = ask('/4')
            local res = assert(refused:response())
            refused:close()
            assert.same({ 503, '1' }, { res.status, res.headers['retry-after'] })
            assert.equal('upstream_full', records:next().outcome)
            assert.equal(1, gateway:status().counters.limit_upstream_pending)
            for i = 1, 3 do
                assert.equal('/' .. i, peer.head:match('^GET (%S+)'))
                answer(peer)
                assert.equal(200, assert(held[i]:response()).status)
                held[i]:close()
                local record = records:next()
                assert.equal('ok', record.outcome)
                assert.equal(i > 1, (record.t.queue or 0) > 0)
                peer = i < 3 and upstream:accept()
            end
            wait_pending(0)
        end)

        it('leave the queue when their client leaves', function()
            local first = ask('/1')
            local peer = upstream:accept()
            local second = ask('/2')
            wait_pending(1)
            local third = ask('/3')
            wait_pending(2)
            second:close()
            assert.equal('client_abort', records:next().outcome)
            wait_pending(1)
            answer(peer)
            peer = upstream:accept()
            assert.equal('/3', peer.head:match('^GET (%S+)'))
            answer(peer)
            assert.equal(200, assert(first:response()).status)
            assert.equal(200, assert(third:response()).status)
            first:close()
            third:close()
            records:next()
            records:next()
        end)

        it('wait as long as for a connection, and get 503', function()
            local first = ask('/1')
            local peer = upstream:accept()
            local second = ask('/2')
            assert.equal(503, assert(second:response()).status)
            second:close()
            assert.equal('upstream_full', records:next().outcome)
            assert.equal(1, gateway:status().counters.limit_upstream_waited)
            answer(peer)
            assert.equal(200, assert(first:response()).status)
            first:close()
            records:next()
        end)
    end)
end
