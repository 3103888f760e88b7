-- SPDX-License-Identifier: Apache-2.0
--
-- R13: fleets of Redis servers that change under load: a master that hands over or dies behind
-- three sentinels, and a cluster in which the slots in use move. `script/chaos redis_fleet` has
-- more load and measures times.
local chaos = require 'spec.gateway.support.chaos'
local open_load = require 'spec.gateway.support.open_load'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local redis = require 'spec.gateway.support.redis'

local PROMOTED = 1 -- s, until all is well with a new master
-- From when a sentinel first names a new master until it is used. That a replica has become a
-- master is known to nobody before: sentinels look once a second, in steps of 0.1 s, and write down
-- what they saw. Of the 0.88 to 1.0 s from the promotion to the use all but this is theirs.
local NAMED = 0.1 -- s
-- Of two workers to four masters: each may fail once (and with it what was under way on it).
local CONNECTIONS = 16

describe('R13 sentinels', function()
    local fleet

    before_each(function()
        fleet = redis.sentinels('orders')
    end)

    local function rig(times)
        return chaos.rig(('topology: sentinel, nodes: %s, sentinel: { master: orders }'):format(
            fleet:nodes()), times)
    end

    after_each(process.stop_all)

    local function is_named()
        for _, sentinel in ipairs(fleet.sentinels) do
            local address = sentinel:ask('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'orders')
            if address[2] == tostring(fleet.replica.port) then
                return true
            end
        end
        return false
    end

    local function is_used()
        return fleet.replica:count('commandstats', 'cmdstat_evalsha:calls') > 0
    end

    local function wait_promoted()
        redis.wait(function()
            return fleet.replica:ask('ROLE')[1] == 'master'
        end, 'the replica is promoted')
        local promoted = posix.now()
        redis.wait(function() return is_named() or is_used() end, 'a sentinel names it')
        local named = posix.now()
        redis.wait(is_used, 'the new master is used')
        local used = posix.now()
        if chaos.seconds then
            print(('named %.3f s after the promotion, used %.3f s after that'):format(
                named - promoted, used - named))
            assert.is_true(used - named <= NAMED, used - named)
        end
    end

    it('hand over a master', function()
        rig(chaos.PATIENT):run{ name = 'hand over', reasons = { 'readonly' }, is_harmless = true,
            recovery = PROMOTED, hold = 0, stop = wait_promoted, may_fail = CONNECTIONS,
            start = function()
                assert.equal('OK', fleet.sentinels[1]:ask('SENTINEL', 'FAILOVER', 'orders'))
            end }
    end)

    it('replace a master that is killed', function()
        rig():run{ name = 'replace a dead master', reasons = { 'refused' }, recovery = PROMOTED,
            hold = 0, stop = wait_promoted, start = function() fleet.master:kill() end }
    end)
end)

describe('R13 a cluster', function()
    local cluster, rig

    setup(function()
        cluster = redis.cluster({ replicas = 0 })
        rig = chaos.rig(('topology: cluster, nodes: ["127.0.0.1:%d"]'):format(
            cluster.servers[1].port), chaos.PATIENT)
    end)

    teardown(process.stop_all)

    -- Slots of the keys that the load uses.
    local function slots_in_use()
        local slots = {}
        for i = 0, chaos.KEYS - 1 do
            slots[i + 1] = cluster.servers[1]:ask('CLUSTER', 'KEYSLOT', 'c:' .. i)
        end
        return slots
    end

    it('whose slots in use move to a new server, which has no scripts', function()
        local slots, to = slots_in_use(), cluster:add()
        local records = rig:run{ name = 'a live reshard', reasons = { 'ask', 'moved' },
            spares_limits = true, is_slow = true, hold = 0, stop = function() end,
            start = function()
                for _, slot in ipairs(slots) do
                    local from = cluster:owner(slot)
                    cluster:begin_move(slot, from, to)
                    local before = rig:result('ask')
                    redis.wait(function()
                        return rig:result('ask') > before
                            or cluster:move_keys(slot, from, to, 100) > 0
                    end, 'the slot is in use')
                    cluster:move_keys(slot, from, to, 100)
                    cluster:end_move(slot, from, to)
                end
            end }
        local words = open_load.count(open_load.between(records, 0, math.huge, '/ask'), 'word')
        local failed = (words.refused or 0) + (words.timeout or 0) + (words.open or 0)
        assert.is_true(failed <= CONNECTIONS, failed .. ' failures')
        assert.is_nil(words.ask or words.moved or words.noscript)
        assert.is_true(rig:result('moved') > 0)
        assert.equal(0, rig.gateway:status().stores[1].opened)
    end)
end)

-- In short: redis_fleet_spec.lua. With much load the pause in which a master hands over opens the
-- breaker, and the new map is a reason to look again at once.
if chaos.seconds then
    describe('R13 a cluster with replicas', function()
        teardown(process.stop_all)

        it('in which a master hands over', function()
            local cluster = redis.cluster()
            local rig = chaos.rig(('topology: cluster, nodes: ["127.0.0.1:%d"]'):format(
                cluster.servers[1].port))
            local key = cluster.servers[1]:ask('CLUSTER', 'KEYSLOT', 'c:0')
            local new = cluster:replica_of(cluster:owner(key))
            rig:run{ name = 'hand over of a cluster', reasons = { 'moved' }, is_harmless = true,
                recovery = PROMOTED, hold = 0,
                start = function() assert.equal('OK', new:ask('CLUSTER', 'FAILOVER')) end,
                stop = function()
                    redis.wait(function()
                        return new:ask('ROLE')[1] == 'master'
                    end, 'the replica is promoted')
                end }
        end)
    end)
end
