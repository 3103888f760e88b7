-- SPDX-License-Identifier: Apache-2.0
--
-- The plugin rate-limit in mode async with what needs Redis to know more than counts: bans, denials
-- that are charged, charges that are corrected, slots. The rest: rate_limit_redis_spec.
local limited = require 'spec.gateway.support.limited'
local process = require 'spec.gateway.support.process'

local wait_for = limited.wait_for

local LONG = 'algorithm: fixed-window, window: 100d'

describe('rate-limit in mode async', function()
    local fleet

    before_each(function()
        fleet = limited.fleet()
    end)

    after_each(function()
        fleet:close()
    end)

    local function start(config, o)
        o = o or {}
        o.redis = ('mode: async, async: { interval: 20ms, over_admit_percent: %d }'):format(
            o.percent or 10)
        return fleet:start(config, o)
    end

    -- Units that Redis has counted of the only key.
    local function count()
        local key = fleet.server:ask('KEYS', '*:default:*')[1]
        local state = key and fleet.server:ask('GET', key)
        return tonumber(state and state:match('^%d+ (%d+)'))
    end

    local function with_cost(gateway, cost)
        return fleet:request(gateway, 'k', { ['X-Cost'] = tostring(cost) }).status
    end

    it('bans as sync does, and meets a ban that began elsewhere with its next units', function()
        local config = 'quota: 1000, cost: "header:X-Cost", ' .. LONG
            .. ', ban: { after: 2, within: 1h, for: 1h }'
        local first, second = start(config), start(config)
        assert.equal(200, with_cost(second, 1))
        assert.equal(200, with_cost(first, 1))
        assert.same({ 429, 429, 403, 403 }, { with_cost(first, 2000), with_cost(first, 2000),
            with_cost(first, 2000), with_cost(first, 1) })
        local admitted = 2
        wait_for(403, function()
            local status = fleet:request(second, 'k').status
            admitted = admitted + (status == 200 and 1 or 0)
            return status
        end)
        wait_for(admitted, count) -- all that was admitted is told, and nothing else
        local before = fleet:asked()
        assert.same({ 403, 403, 403 }, fleet:statuses(second, 'k', 3))
        assert.equal(before, fleet:asked())
    end)

    it('ends in time with units that wait to be told', function() -- leaks are seen under asan
        local gateway = fleet:start('quota: 100, ' .. LONG,
            { redis = 'mode: async, async: { interval: 10s }' })
        assert.same({ 200, 200, 200 }, fleet:statuses(gateway, 'k', 3))
        gateway:signal('TERM')
        assert.equal(0, gateway:wait())
    end)

    it('charges a denial up to the quota where that is asked for', function()
        local gateway = start('quota: 3, cost: 2, count_denied: true, ' .. LONG)
        assert.same({ 200, 429, 429 }, fleet:statuses(gateway, 'k', 3))
        wait_for(3, count)
    end)

    for _, config in ipairs({ 'response_cost: "lua: 0"', 'count_when: [401, 403]' }) do
        it('gives back what requests are found not to cost, by ' .. config, function()
            local upstream = process.echo().port
            local o = { upstream = upstream }
            local first = start('quota: 10, ' .. config .. ', ' .. LONG, o)
            local second = start('quota: 10, ' .. config .. ', ' .. LONG, { upstream = upstream })
            for _ = 1, 30 do
                assert.equal(200, fleet:request(first, 'k').status)
                assert.equal(200, fleet:request(second, 'k').status)
            end
            wait_for(0, count)
            for _, gateway in ipairs({ first, second }) do
                assert.equal(0, gateway:status().counters.ratelimit_lost)
            end
        end)
    end

    it('charges more where requests are found to cost more', function()
        local gateway = start('quota: 1000, response_cost: "lua: 7", ' .. LONG,
            { upstream = process.echo().port, percent = 50 })
        for _ = 1, 20 do
            assert.equal(200, fleet:request(gateway, 'k').status)
        end
        wait_for(140, count)
    end)

    it('has never more than the quota in flight, and counts other limits beside', function()
        local config = 'limits: [{ name: default, quota: 1000, ' .. LONG
            .. ' }, { name: slots, quota: 5, algorithm: concurrency }]'
        local upstream = process.echo().port
        start(config, { upstream = upstream })
        start(config, { upstream = upstream })
        local held, list = {}, fleet:many(30)
        for _, connection in ipairs(list) do
            assert(connection:send('POST / HTTP/1.1\r\nHost: localhost\r\nX-Run: k\r\n'
                .. 'Content-Length: 2\r\nExpect: 100-continue\r\n\r\n'))
        end
        for _, connection in ipairs(list) do
            connection:wait_for('\r\n\r\n')
            if connection.kept:match('^HTTP/1%.1 100') then
                held[#held + 1] = connection
            end
        end
        assert.equal(5, #held)
        wait_for(5, count)
        for _, connection in ipairs(held) do
            assert(connection:send('ab'))
            assert.equal(200, assert(connection:response('POST')).status)
        end
        fleet:wait(fleet.gateways[1], 'k', 200)
    end)
end)
