-- SPDX-License-Identifier: Apache-2.0
--
-- moongate.redis with fleets of real Redis servers: a master that dies or hands over behind three
-- sentinels.
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

    it('follows a master that hands over, at most one failure a connection', function()
        assert.equal('OK', gateway:value 'return redis:set("a", 1)')
        assert.equal('1', fleet.master:ask('GET', 'a'))
        assert.equal('OK', fleet.sentinels[1]:ask('SENTINEL', 'FAILOVER', 'orders'))
        local classes = write_until(fleet.replica, 'handed over')
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
        assert.equal('mine', gateway:value 'return redis:echo("mine")')
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
