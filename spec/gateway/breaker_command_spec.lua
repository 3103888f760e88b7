-- SPDX-License-Identifier: Apache-2.0
--
-- `moongate breaker`: circuit breakers of a running gateway with two workers are shown and switched
-- by hand (B8 of the policies' tests, and B6 where it concerns on_state).
local dkjson = require 'dkjson'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local WHO = [[
function plugin:header_filter()
    moongate.response.set_header('X-Worker', ngx.worker.id())
end
]]

local PLUGINS = [[
    plugins:
    - name: who
    - name: circuit-breaker
      config:
        scope: service
        consecutive_failures: 2
        ramp: 0s
        open: { base: 30s }
        on_state: "lua: moongate.log.warn('heard ', name, ' ', from, ' ', to, ' ', reason)"
]]

describe('moongate breaker', function()
    local gateway, echo, connections

    local function yaml(o)
        o.upstream, o.workers, o.plugins = echo.port, 2, o.plugins or PLUGINS
        return process.yaml(o)
    end

    before_each(function()
        connections = {}
        echo = process.echo()
        gateway = process.gateway(yaml({}),
            { folder = process.plugins({ who = WHO }, process.PLUGIN) })
    end)

    after_each(function()
        for _, connection in ipairs(connections) do
            connection:close()
        end
        process.stop_all()
    end)

    -- A kept connection to each of the two workers.
    local function both()
        local found = {}
        local deadline = posix.now() + process.deadline
        repeat
            local connection = gateway:connect()
            connections[#connections + 1] = connection
            found[assert(connection:request('GET', '/')).headers['x-worker']] = connection
        until found['0'] and found['1'] or posix.now() > deadline
        return { assert(found['0']), assert(found['1']) }
    end

    -- The statuses that both workers answer with.
    local function ask(workers, path)
        local list = {}
        for i, connection in ipairs(workers) do
            list[i] = assert(connection:request('GET', path or '/')).status
        end
        return list
    end

    local function order(...)
        local code, out, err = gateway:command('breaker', ...)
        assert.equal(0, code, err)
        assert.equal('', err)
        return out
    end

    local function listed()
        return assert(dkjson.decode(order('--json'), 1, nil))
    end

    local function logged(pattern)
        local deadline = posix.now() + process.deadline
        repeat
            gateway:collect(posix.now() + 0.05)
        until gateway.err:find(pattern) or posix.now() > deadline
        return gateway.err:match(pattern)
    end

    local function count_logged(text)
        local count = 0
        for _ in gateway.err:gmatch(text) do
            count = count + 1
        end
        return count
    end

    it('lists what the configuration names, before the first request', function()
        assert.equal('service:echo: closed\n', order())
        local list = listed()
        assert.equal(1, list.format)
        assert.equal(1, #list.breakers)
        local breaker = list.breakers[1]
        assert.same({ 'service:echo', 'closed', 0, 0, {} }, { breaker.name, breaker.state,
            breaker.openings_in_a_row, breaker.probes_inflight, breaker.transitions })
    end)

    it('shows what has happened', function()
        local workers = both()
        ask(workers, '/?status=503')
        assert.same({ 503, 503 }, ask(workers))
        local breaker = listed().breakers[1]
        assert.equal('open', breaker.state)
        assert.is_true(breaker.left_ms > 0 and breaker.left_ms <= 33000)
        assert.equal(2, breaker.results.failure)
        assert.equal(2, breaker.rejected.open)
        assert.equal(1, breaker.openings_in_a_row)
        assert.same({ 'closed', 'open', 'consecutive' }, { breaker.transitions[1].from,
            breaker.transitions[1].to, breaker.transitions[1].reason })
        local text = order()
        assert.truthy(text:find('^service:echo: open, [%d.]+ s left, opening 1 in a row\n'), text)
        assert.truthy(text:find('ago: closed %-> open %(consecutive%)\n$'), text)
    end)

    it('B8 is obeyed by all workers with their next request', function()
        local workers = both()
        for _ = 1, 20 do
            assert.equal('service:echo: closed -> forced_open\n',
                order('service:echo', 'force-open', '--reason', 'maintenance'))
            assert.same({ 503, 503 }, ask(workers))
            assert.equal('service:echo: forced_open -> closed\n', order('service:echo', 'auto'))
            assert.same({ 200, 200 }, ask(workers))
        end
    end)

    it('B8 lets everything pass when it is forced closed, and forgets by reset', function()
        local workers = both()
        ask(workers, '/?status=503')
        assert.same({ 503, 503 }, ask(workers))
        order('service:echo', 'force-closed')
        assert.same({ 200, 200 }, ask(workers))
        for _ = 1, 5 do
            ask(workers, '/?status=503')
        end
        assert.same({ 200, 200 }, ask(workers))
        assert.equal(1, listed().breakers[1].openings_in_a_row)
        order('service:echo', 'reset')
        assert.equal(0, listed().breakers[1].openings_in_a_row)
        assert.equal('service:echo: was not switched by hand, nothing to change\n',
            order('service:echo', 'auto'))
    end)

    it('B8 ends by itself', function()
        local workers = both()
        order('service:echo', 'force-open', '--for', '700ms')
        local left = listed().breakers[1].left_ms
        assert.is_true(left <= 700)
        local deadline = posix.now() + process.deadline
        local statuses
        repeat
            posix.pause(0.01) -- a connection takes a thousand requests
            statuses = ask(workers)
        until statuses[2] == 200 or posix.now() > deadline
        assert.same({ 200, 200 }, ask(workers))
        local transitions = listed().breakers[1].transitions
        assert.same({ 'forced_open', 'closed', 'time' }, { transitions[1].from, transitions[1].to,
            transitions[1].reason })
    end)

    it('says in the error log who asked and why', function()
        order('service:echo', 'force-open', '--for', '10m', '--reason', 'new disks')
        local line = assert(logged('[^\n]*closed %-> forced_open[^\n]*'))
        assert.truthy(line:find('breaker service:echo: closed -> forced_open (forced), for 600.0 s,'
            .. ' by uid ', 1, true), line)
        assert.truthy(line:find('new disks', 1, true), line)
        assert.truthy(line:find('pid %d+'), line)
    end)

    it('B6 calls on_state once, in one worker', function()
        local workers = both()
        order('service:echo', 'force-open')
        for _ = 1, 3 do
            ask(workers)
        end
        order('service:echo', 'reset')
        for _ = 1, 3 do
            ask(workers)
        end
        assert(logged('heard service:echo forced_open closed reset'))
        assert.equal(1, count_logged('heard service:echo closed forced_open forced'))
        assert.equal(1, count_logged('heard service:echo forced_open closed reset'))
    end)

    it('survives a reload, and is gone with its entry', function()
        local workers = both()
        order('service:echo', 'force-open')
        assert.equal(0, (gateway:command('reload')))
        assert.same({ 503, 503 }, ask(workers))
        gateway:rewrite(yaml({ port = gateway.port, plugins = '    plugins: [{ name: who }]' }))
        assert.equal(0, (gateway:command('reload')))
        assert.same({ 200, 200 }, ask(workers))
        assert.equal('no breakers are configured\n', order())
        gateway:rewrite(yaml({ port = gateway.port }))
        assert.equal(0, (gateway:command('reload')))
        assert.same({ 200, 200 }, ask(workers))
        assert.equal('closed', listed().breakers[1].state)
    end)

    it('refuses what it cannot do, and says what is meant', function()
        for _, case in ipairs({
            { 1, "did you mean 'service:echo'?", 'service:ecko', 'auto' },
            { 1, "did you mean 'service:echo'?", 'echo', 'auto' },
            { 1, "there is no breaker 'upstream:nowhere'; 'moongate breaker' lists them",
                'upstream:nowhere', 'auto' },
            { 2, "did you mean 'force-open'?", 'service:echo', 'force-opn' },
            { 2, 'force-open, force-closed, auto or reset', 'service:echo', 'open-it' },
            { 2, "what is to become of 'service:echo'", 'service:echo' },
            { 2, "unexpected argument 'now'", 'service:echo', 'auto', 'now' },
            { 2, '--for goes with force-open', 'service:echo', 'auto', '--for', '1m' },
            { 2, "'soon' is no time", 'service:echo', 'force-open', '--for', 'soon' },
            { 2, 'one line', 'service:echo', 'auto', '--reason', 'two\nlines' },
            { 2, 'go with a name', '--reason', 'none' },
        }) do
            local code, out, err = gateway:command('breaker', unpack(case, 3))
            assert.equal(case[1], code, err)
            assert.equal('', out)
            assert.truthy(err:find(case[2], 1, true), err)
        end
        assert.equal('closed', listed().breakers[1].state)
    end)

    it('says that no gateway is running', function()
        gateway:stop()
        local code, _, err = gateway:command('breaker')
        assert.equal(1, code)
        assert.truthy(err:find('no gateway is running there', 1, true), err)
    end)
end)
