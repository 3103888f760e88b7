-- SPDX-License-Identifier: Apache-2.0
--
-- The plugin rate-limit in mode lease: units are charged in a real Redis before they are needed,
-- by several gateways with several workers.
local limited = require 'spec.gateway.support.limited'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local wait_until = limited.wait_until

local LONG = 'algorithm: fixed-window, window: 100d'
local PARALLEL, LIMIT = 1000, 100

describe('rate-limit in mode lease', function()
    local fleet

    setup(function()
        posix.allow_descriptors(PARALLEL + 200)
    end)

    before_each(function()
        fleet = limited.fleet()
    end)

    after_each(function()
        fleet:close()
    end)

    local function start(config, lease, o)
        o = o or {}
        o.redis = ('mode: lease, lease: { %s }, %s'):format(lease, o.redis or '')
        return fleet:start(config, o)
    end

    local function asked()
        return fleet:asked()
    end

    -- Units that Redis has counted of the only key.
    local function count()
        local key = fleet.server:ask('KEYS', '*:default:*')[1]
        local state = key and fleet.server:ask('GET', key)
        return tonumber(state and state:match('^%d+ (%d+)'))
    end

    it('admits exactly 100 of 1,000 parallel requests to two gateways, and none of those behind'
        .. ' them', function()
        for _ = 1, 2 do
            start(('quota: %d, %s'):format(LIMIT, LONG), 'percent: 20, ttl: 200ms')
        end
        local admitted = limited.burst(fleet:many(PARALLEL), limited.get('k'))[200]
        local list = fleet:many(40)
        local function burst()
            assert.is_true(admitted <= LIMIT, admitted)
            admitted = admitted + (limited.burst(list, limited.get('k'))[200] or 0)
            return admitted == LIMIT
        end
        wait_until(burst, 'units that were not spent come back and are admitted')
        assert.is_true(burst() and burst())
        assert.equal(LIMIT, count())
    end)

    for algorithm, numbers in pairs({
        ['sliding-window'] = '', ['token-bucket'] = ', burst: 60', gcra = ', burst: 60',
    }) do
        it('admits no more than was charged, by ' .. algorithm, function()
            local config = ('quota: 60, window: 100d, algorithm: %s%s'):format(algorithm, numbers)
            for _ = 1, 2 do
                start(config, 'percent: 20, ttl: 200ms')
            end
            local list, admitted = fleet:many(80), 0
            wait_until(function()
                admitted = admitted + (limited.burst(list, limited.get('k'))[200] or 0)
                assert.is_true(admitted <= 60, admitted)
                return admitted == 60
            end, 'all are admitted')
            assert.same({ [429] = 80 }, limited.burst(list, limited.get('k')))
        end)
    end

    it('asks Redis for many requests once', function()
        for _ = 1, 2 do
            start('quota: 100000, ' .. LONG, 'percent: 1, ttl: 5s')
        end
        local list = fleet:many(40)
        limited.burst(list, limited.get('k')) -- all of them ask
        limited.burst(list, limited.get('k'))
        local before = asked()
        for _ = 1, 25 do
            assert.same({ [200] = 40 }, limited.burst(list, limited.get('k')))
        end
        assert.is_true(asked() - before < 200, asked() - before) -- of 1,000 requests
    end)

    it('asks as sync does where a key is asked now and then', function()
        local gateway = start('quota: 1000, ' .. LONG, 'percent: 10, ttl: 100ms', { workers = 1 })
        fleet:wait(gateway, 'k', 200)
        fleet:wait(gateway, 'other', 200)
        assert.equal(2, asked())
    end)

    it('tells of what is left as if each request had asked', function()
        local gateway = start('quota: 100, ' .. LONG, 'percent: 10, ttl: 10s', { workers = 1,
            place = ('unix: %s, connect_timeout: 2s, connections: 1'):format(fleet.server.socket) })
        for left = 99, 60, -1 do
            local headers = fleet:request(gateway, 'k').headers
            assert.equal(tostring(left), headers['x-ratelimit-remaining'])
            assert.equal('100', headers['x-ratelimit-limit'])
            assert.is_true(tonumber(headers['x-ratelimit-reset']) > 3600)
        end
        assert.is_true(asked() < 20, asked())
    end)

    it('gives back what it has not spent, and another gateway admits it', function()
        local first = start('quota: 20, ' .. LONG, 'percent: 50, ttl: 500ms', { workers = 1 })
        local second = start('quota: 20, ' .. LONG, 'percent: 50, ttl: 500ms', { workers = 1 })
        assert.same({ 200, 200 }, fleet:statuses(first, 'k', 2))
        wait_until(function()
            return count() == 12
        end, 'ten are charged for later')
        wait_until(function()
            return count() == 2
        end, 'they come back')
        fleet.gateways = { second }
        local list, admitted = fleet:many(10), 0
        wait_until(function()
            admitted = admitted + (limited.burst(list, limited.get('k'))[200] or 0)
            return admitted == 18
        end, 'all the rest')
        assert.equal(429, fleet:request(first, 'k').status)
    end)

    it('spends nothing of a window in the next one', function()
        start('quota: 10, algorithm: fixed-window, window: 1s', 'percent: 50, ttl: 10s',
            { workers = 1 })
        local list, admitted = fleet:many(30), 0
        local function window()
            return tonumber(fleet.server:ask('TIME')[1])
        end
        local first = window()
        local last
        repeat
            admitted = admitted + (limited.burst(list, limited.get('k'))[200] or 0)
            last = window()
        until last >= first + 3
        assert.is_true(admitted >= 20 and admitted <= 10 * (last - first + 1), admitted)
    end)

    it('obeys on_store_error once its units are spent', function()
        local gateway = start('quota: 1000, ' .. LONG, 'percent: 1, ttl: 10s', { workers = 1,
            error = 'deny', timeout = '200ms', redis = 'breaker: { open: 100ms, max: 100ms }' })
        fleet:statuses(gateway, 'k', 2)
        wait_until(function()
            return count() == 12
        end, 'ten are charged for later')
        fleet.server:kill()
        local statuses = fleet:statuses(gateway, 'k', 12)
        assert.same({ 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 503, 503 }, statuses)
        assert.equal(503, fleet:request(gateway, 'other').status)
        fleet.server:start()
        fleet:wait(gateway, 'k', 200)
    end)

    it('decides alone after that, where the option is local', function()
        local gateway = start('quota: 40, ' .. LONG, 'percent: 10, ttl: 10s', { workers = 1,
            error = 'local', timeout = '200ms',
            redis = 'instances: 4, breaker: { open: 100ms, max: 100ms }' })
        fleet:statuses(gateway, 'k', 2)
        wait_until(function()
            return count() == 6
        end, 'four are charged for later')
        fleet.server:kill()
        local admitted = 0
        for _, status in ipairs(fleet:statuses(gateway, 'k', 30)) do
            admitted = admitted + (status == 200 and 1 or 0)
        end
        assert.is_true(admitted >= 4 + 8 and admitted <= 4 + 10, admitted)
    end)

    it('bans as sync does, and meets a ban that began elsewhere', function()
        local config = 'quota: 20, ' .. LONG .. ', ban: { after: 1, within: 1h, for: 1h }'
        local first = start(config, 'percent: 50, ttl: 300ms', { workers = 1 })
        local second = start(config, 'percent: 50, ttl: 300ms', { workers = 1 })
        assert.same({ 200, 200 }, fleet:statuses(second, 'k', 2))
        fleet:wait(first, 'k', 403)
        fleet:wait(second, 'k', 403)
        local before = asked()
        assert.same({ 403, 403, 403 }, fleet:statuses(second, 'k', 3))
        assert.equal(before, asked())
    end)

    it('charges what requests are found to cost', function()
        local gateway = start('quota: 100, response_cost: "lua: 0", ' .. LONG,
            'percent: 10, ttl: 200ms', { workers = 1, upstream = process.echo().port })
        for _ = 1, 150 do
            assert.equal(200, fleet:request(gateway, 'k').status)
        end
        assert.is_true(asked() < 140, asked())
        wait_until(function()
            return count() == 0
        end, 'nothing is charged in the end')
        assert.equal(0, gateway:status().counters.ratelimit_lost)
    end)

    it('asks with each request where one of the limits is concurrency', function()
        local gateway = start('limits: [{ name: a, quota: 500, ' .. LONG
            .. ' }, { name: b, quota: 5, algorithm: concurrency }]', 'percent: 50',
            { workers = 1 })
        local before = asked()
        fleet:statuses(gateway, 'k', 10)
        assert.is_true(asked() - before >= 10)
    end)
end)
