-- SPDX-License-Identifier: Apache-2.0
--
-- moongate.redis with fleets of real Redis servers: a master that dies or hands over behind three
-- sentinels; a cluster whose slots move and whose master dies.
local asking = require 'spec.gateway.support.asking'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local redis = require 'spec.gateway.support.redis'

describe('moongate.redis with sentinels', function()
    local fleet, gateway

    setup(function()
        fleet = redis.sentinels('orders')
        gateway = asking.gateway(('{ topology: sentinel, nodes: %s, sentinel: { master: orders },'
            .. ' timeout: 200ms, connect_timeout: 200ms }'):format(fleet:nodes()), { workers = 2 })
    end)

    teardown(process.stop_all)

    -- Writes until that has reached the server; how often it failed, by class.
    local function write_until(server, text)
        local classes, deadline = {}, posix.now() + process.deadline
        while server:ask('GET', 'n') ~= text or server:ask('ROLE')[1] ~= 'master' do
            local answer = gateway:ask(('return redis:set("n", %q)'):format(text))
            if answer.value ~= 'OK' then
                classes[answer.class] = (classes[answer.class] or 0) + 1
                posix.pause(0.01)
            end
            assert(posix.now() < deadline, 'the new master is never asked')
        end
        return classes
    end

    it('listens to each sentinel, with each worker', function()
        for _, sentinel in ipairs(fleet.sentinels) do
            redis.wait(function()
                local _, count = sentinel:ask('CLIENT', 'LIST'):gsub(' sub=2 ', '')
                return count == 2
            end, 'the workers listen')
        end
    end)

    -- What the leader of a failover and the others say: redis_failover_test.c plays it.
    local function check_news(leader, other)
        local promoted, switched = leader:read(), other:read()
        assert.equal('+promoted-slave', promoted[2])
        assert.is_truthy(promoted[3]:match('^slave %S+ [%d.]+ %d+ @ orders [%d.]+ %d+$'),
            promoted[3])
        assert.equal('+switch-master', switched[2])
        assert.is_truthy(switched[3]:match('^orders [%d.]+ %d+ [%d.]+ %d+$'), switched[3])
        leader:close()
        other:close()
    end

    it('follows a master that hands over, at most one failure a connection', function()
        assert.equal('OK', gateway:value 'return redis:set("a", 1)')
        assert.equal('1', fleet.master:ask('GET', 'a'))
        local leader, other = redis.connect(fleet.sentinels[1].port),
            redis.connect(fleet.sentinels[2].port)
        leader:ask('SUBSCRIBE', '+promoted-slave')
        other:ask('SUBSCRIBE', '+switch-master')
        assert.equal('OK', fleet.sentinels[1]:ask('SENTINEL', 'FAILOVER', 'orders'))
        local classes = write_until(fleet.replica, 'handed over')
        check_news(leader, other)
        local failures = 0
        for class, count in pairs(classes) do
            failures = failures + (class == 'readonly' and 0 or count)
        end
        assert.is_true(failures <= 4, failures .. ' failures') -- 2 workers with 2 connections
    end)

    it('follows when the master is killed', function()
        fleet:wait_following()
        fleet.master:kill()
        local classes = write_until(fleet.replica, 'alive')
        assert.is_nil(classes.other)
        assert.is_nil(classes.protocol)
        local deadline = posix.now() + process.deadline
        local answer
        local in_a_row = 0
        repeat -- either worker may answer: both have to follow
            answer = gateway:ask 'return redis:set("a", 1)'
            in_a_row = answer.value == 'OK' and in_a_row + 1 or 0
        until in_a_row == 10 or posix.now() > deadline
        assert.equal('OK', answer.value)
    end)

    it('goes on without its sentinels', function()
        local opened = gateway:status().stores[1].opened
        for _, sentinel in ipairs(fleet.sentinels) do
            sentinel:kill()
        end
        for _ = 1, 20 do
            assert.equal('OK', gateway:value 'return redis:set("a", 2)')
        end
        assert.equal(opened, gateway:status().stores[1].opened)
    end)
end)

describe('moongate.redis with a cluster', function()
    local cluster, gateway, patient

    local function start(timeout)
        return asking.gateway(('{ topology: cluster, nodes: ["127.0.0.1:%d"], timeout: %s,'
            .. ' connect_timeout: %s }'):format(cluster.servers[1].port, timeout, timeout),
            { workers = 2 })
    end

    -- Of the patient one no command fails, however long a busy machine or a server that keeps
    -- its clients back while it hands over: it follows MOVED and ASK, and nothing else comes.
    setup(function()
        cluster = redis.cluster()
        gateway, patient = start('500ms'), start('5s')
    end)

    teardown(process.stop_all)

    -- Many keys over all slots.
    local WRITE = [[
        local failed = 0
        for i = 1, 200 do
            if redis:set('k' .. i, i) ~= 'OK' then failed = failed + 1 end
        end
        return failed
    ]]
    -- The same; what was said in place of OK.
    local FAILURES = [[
        local list = { '' }
        for i = 1, 200 do
            local ok, err, class = redis:set('k' .. i, i)
            if ok ~= 'OK' then list[#list + 1] = class .. ': ' .. err end
        end
        return list
    ]]
    local READ = [[
        local wrong = 0
        for i = 1, 200 do
            if redis:get('k' .. i) ~= tostring(i) then wrong = wrong + 1 end
        end
        return wrong
    ]]

    it('sends each command to the server of its slot', function()
        assert.equal(0, gateway:value(WRITE))
        assert.equal(0, gateway:value(READ))
        local moved = gateway:status().stores[1].results.moved
        assert.is_nil(moved)
        assert.same({ '1', '2', '3' }, gateway:value [[
            redis:pipeline({ { 'SET', '{a}1', 1 }, { 'SET', '{b}', 2 }, { 'SET', '{c}', 3 } })
            return redis:pipeline({ { 'GET', '{a}1' }, { 'GET', '{b}' }, { 'GET', '{c}' } })]])
    end)

    it('follows a slot that moves, key by key', function()
        local SLOT = 15495 -- of "a"
        local from = cluster:owner(SLOT)
        local to = cluster:add()
        local set = gateway:ask 'return redis:mset("{a}1", "one", "{a}2", "two")'
        assert.same({ ok = true, value = 'OK' }, set)
        cluster:begin_move(SLOT, from, to)
        assert.equal('one', gateway:value 'return redis:get("{a}1")')
        assert.equal('OK', gateway:value 'return redis:set("{a}new", "asked")')    -- ASK
        assert.equal('asked', gateway:value 'return redis:get("{a}new")')
        assert.same({ gateway:value 'return redis:get("{a}gone") == ngx.null', 'x' },
            { true, gateway:value 'return redis:run(script, { "{a}s" }, { "x" })[2]' })
        cluster:move_keys(SLOT, from, to, 1)
        local answer = gateway:ask 'return redis:mget("{a}1", "{a}2")'             -- TRYAGAIN
        assert.equal('tryagain', answer.class)
        cluster:move_keys(SLOT, from, to, 100)
        assert.same({ 'one', 'two' }, gateway:value 'return redis:mget("{a}1", "{a}2")')
        cluster:end_move(SLOT, from, to)
        assert.equal('two', gateway:value 'return redis:get("{a}2")')              -- MOVED
        assert.equal('one', gateway:value 'return redis:get("{a}1")')
        assert.equal('x', gateway:value 'return redis:get("{a}s")')
        local results = gateway:status().stores[1].results
        assert.is_true(results.ask >= 4 and results.moved >= 1 and results.tryagain == 2)
        assert.equal(0, gateway:status().stores[1].opened)
    end)

    it('loses nothing while hundreds of slots move', function()
        assert.equal(0, patient:value(WRITE))
        local resharding = cluster:reshard(cluster:owner(15495), 400)
        local rounds = 0
        repeat
            assert.same({ '' }, patient:value(FAILURES))
            assert.equal(0, patient:value(READ))
            rounds = rounds + 1
        until resharding:wait(0.01)
        assert.equal(0, resharding.code, resharding.err)
        assert.is_true(rounds >= 2, rounds .. ' rounds')
        assert.equal(0, gateway:value(READ))
        assert.equal(0, patient:status().stores[1].opened)
    end)

    it('follows a master that hands over', function()
        local old = cluster:owner(16383) -- one of the first three, which have replicas
        local new = cluster:replica_of(old)
        assert.equal('OK', new:ask('CLUSTER', 'FAILOVER'))
        redis.wait(function()
            assert.same({ '' }, patient:value(FAILURES))
            return new:ask('ROLE')[1] == 'master' and new:count('commandstats', 'cmdstat_set:calls')
                > 0 and patient:value(READ) == 0
        end, 'the new master is used')
        assert.equal(0, patient:status().stores[1].opened)
    end)

    it('serves what is left when a master dies, and its replica when that is promoted', function()
        assert.equal(0, gateway:value(WRITE))
        cluster:owner(16383):kill()
        local deadline = posix.now() + process.deadline
        local failed
        local in_a_row = 0
        repeat -- either worker may answer: both have to learn it
            failed = gateway:value(WRITE) + gateway:value(READ)
            in_a_row = failed == 0 and in_a_row + 1 or 0
            assert.is_true(failed < 400, 'all servers fail')
        until in_a_row == 10 or posix.now() > deadline
        assert.equal(0, failed)
    end)
end)
