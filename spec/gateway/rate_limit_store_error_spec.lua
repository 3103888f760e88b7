-- SPDX-License-Identifier: Apache-2.0
--
-- The plugin rate-limit when its Redis fails: what on_store_error says, bans, and how counts come
-- together again. Redis is killed, stopped, or answers with errors.
local cjson = require 'dkjson'
local limited = require 'spec.gateway.support.limited'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local wait_until = limited.wait_until

local LONG = 'window: 100d'
-- Of 40 units, by four hosts.
local ALGORITHMS = {
    ['fixed-window'] = LONG, ['sliding-window'] = LONG, ['token-bucket'] = LONG,
    gcra = LONG .. ', burst: 40',
}

describe('rate-limit, when its Redis fails,', function()
    local fleet

    before_each(function()
        fleet = limited.fleet()
    end)

    after_each(function()
        fleet:close()
    end)

    local function start(config, on_error, o)
        o = o or {}
        o.error, o.workers, o.timeout = on_error, o.workers or 1, o.timeout or '200ms'
        o.redis = 'breaker: { failures: 3, open: 100ms, max: 100ms }, ' .. (o.redis or '')
        return fleet:start(config, o)
    end

    local function counters(gateway)
        return gateway:status().counters
    end

    local function keys(pattern)
        return fleet.server:ask('KEYS', pattern)
    end

    it('answers 503 where the option is deny, and as before when Redis is back', function()
        local gateway = start('quota: 2, ' .. LONG, 'deny')
        fleet:wait(gateway, 'k', 200)
        fleet.server:kill()
        local res = fleet:wait(gateway, 'k', 503)
        assert.equal('1', res.headers['retry-after'])
        assert.equal('application/problem+json', res.headers['content-type'])
        assert.is_nil(res.headers['x-ratelimit-limit'])
        local problem = assert(cjson.decode(res.body))
        assert.equal('https://iana.org/assignments/http-problem-types#temporary-reduced-capacity',
            problem.type)
        assert.same({ 503, 1 }, { problem.status, problem.retry_after })
        assert.is_true(counters(gateway).ratelimit_store_denied > 0)
        fleet.server:start()
        fleet:wait(gateway, 'k', 200)
        fleet:wait(gateway, 'k', 429)
    end)

    it('admits all where the option is allow, and shows no limit', function()
        local gateway = start('quota: 2, ' .. LONG, 'allow')
        fleet:wait(gateway, 'k', 429)
        fleet.server:kill()
        local res = fleet:wait(gateway, 'k', 200)
        assert.is_nil(res.headers['x-ratelimit-limit'])
        assert.same({ 200, 200, 200, 200 }, fleet:statuses(gateway, 'k', 4))
        assert.is_true(counters(gateway).ratelimit_store_allowed > 4)
        fleet.server:start()
        fleet:wait(gateway, 'k', 429)
    end)

    it('lets pass what only watches, whatever the option is', function()
        local gateway = start('quota: 1, mode: shadow, ' .. LONG, 'deny')
        fleet:wait(gateway, 'k', 200)
        fleet.server:kill()
        assert.same({ 200, 200, 200 }, fleet:statuses(gateway, 'k', 3))
    end)

    -- A Redis that hangs; the gateway knows it.
    local function stop(gateway)
        fleet.server:signal('STOP')
        local before = counters(gateway).redis_breaker_opened
        wait_until(function()
            fleet:request(gateway, 'other')
            return counters(gateway).redis_breaker_opened > before
        end, 'the breaker did not open')
    end

    -- Until so much is left; looks, and charges nothing.
    local function wait_left(gateway, left)
        wait_until(function()
            local res = fleet:request(gateway, 'k', { ['X-Cost'] = '0' })
            return res.headers['x-ratelimit-remaining'] == left
        end, 'there are never ' .. left .. ' left')
    end

    for algorithm, numbers in pairs(ALGORITHMS) do
        it('decides by its part of what it knew, and adds it later, by ' .. algorithm, function()
            local gateway = start(('quota: 40, cost: "header:X-Cost", algorithm: %s, %s')
                :format(algorithm, numbers), 'local', { redis = 'instances: 4' })
            assert.same({ [200] = 20 }, limited.burst(fleet:many(20), limited.get('k')))
            stop(gateway)
            -- 10 of 40 are its own, 5 of the 20 used ones were
            assert.same({ [200] = 5, [429] = 25 }, limited.burst(fleet:many(30), limited.get('k')))
            assert.is_true(counters(gateway).ratelimit_store_local >= 30)
            fleet.server:signal('CONT')
            wait_left(gateway, '15')
            assert.equal(0, counters(gateway).ratelimit_lost)
        end)
    end

    it('knows less and less of what it knew, as the limit does', function()
        local gateway = start('quota: 40, cost: "header:X-Cost", window: 2s, '
            .. 'algorithm: token-bucket', 'local', { redis = 'instances: 2' })
        assert.same({ [200] = 40 }, limited.burst(fleet:many(40), limited.get('k')))
        stop(gateway)
        wait_left(gateway, '20') -- its part, full again after 2 s
        local statuses = limited.burst(fleet:many(60), limited.get('k'))
        assert.is_true(statuses[200] >= 20 and statuses[429] > 0)
    end)

    it('takes a fleet of one for granted until Redis has counted the hosts', function()
        local dead = ('unix: %s'):format(fleet.server.socket .. '.none')
        start('quota: 8, ' .. LONG, 'local', { place = dead })
        assert.same({ [200] = 8, [429] = 4 }, limited.burst(fleet:many(12), limited.get('k')))
    end)

    it('has its part of as many hosts as were alive', function()
        local first = start('quota: 8, ' .. LONG, 'local')
        local second = start('quota: 8, ' .. LONG, 'local')
        wait_until(function()
            return fleet.server:ask('ZCARD', 'mg:rl:hosts') == 2
        end, 'two hosts')
        local signs = fleet.server:count('commandstats', 'cmdstat_zcard:calls')
        wait_until(function() -- each has heard of the other by then
            return fleet.server:count('commandstats', 'cmdstat_zcard:calls') > signs + 3
        end, 'signs of life')
        fleet.server:kill()
        for _, gateway in ipairs({ first, second }) do
            fleet.gateways = { gateway }
            assert.same({ [200] = 4, [429] = 6 },
                limited.burst(fleet:many(10), limited.get('k')))
        end
    end)

    it('holds no more than its part of a concurrency limit, with what was held before', function()
        local upstream = process.echo().port
        local gateway = start('quota: 8, algorithm: concurrency', 'local',
            { upstream = upstream, redis = 'instances: 2, hold_ttl: 3s' })
        local function hold()
            local connection = fleet:connect(gateway)
            assert(connection:send('POST / HTTP/1.1\r\nHost: localhost\r\nX-Run: k\r\n'
                .. 'Content-Length: 2\r\nExpect: 100-continue\r\n\r\n'))
            connection:wait_for('\r\n\r\n')
            return connection.kept:match('^HTTP/1%.1 100') and connection
        end
        local held = { hold(), hold(), hold() }
        assert.equal(3, #held)
        stop(gateway)
        held[4] = hold()
        assert.truthy(held[4])
        assert.is_false(hold() or false)
        fleet.server:signal('CONT')
        wait_until(function() -- all four, and the sum
            local key = keys('*:concurrency')[1]
            return key and fleet.server:ask('ZCARD', key) == 5
        end, 'the slot that Redis did not know')
        for _, connection in ipairs(held) do
            assert(connection:send('ab'))
            assert.equal(200, assert(connection:response('POST')).status)
        end
        wait_until(function()
            return #keys('*:concurrency') == 0
        end, 'all slots are given back')
    end)

    it('gives back what it would hold for a client that has left before the answer', function()
        local gateway = start('quota: 1, algorithm: concurrency', 'deny', { timeout = '5s' })
        fleet:wait(gateway, 'k', 200)
        fleet.server:ask('CLIENT', 'PAUSE', '1500', 'ALL')
        local connection = fleet:connect(gateway)
        assert(connection:send(limited.get('k')))
        wait_until(function()
            return counters(gateway).requests_active == 1
        end, 'the request')
        connection:reset()
        wait_until(function()
            return counters(gateway).requests_active == 0
        end, 'its end')
        fleet:wait(gateway, 'k', 200)
    end)

    for _, failures in ipairs({ 3, 1000 }) do
        it(('has a slot back that was taken too late, with a breaker of %d failures')
            :format(failures), function()
            local gateway = fleet:start('quota: 3, algorithm: concurrency', { error = 'deny',
                workers = 1, timeout = '200ms', redis = ('breaker: { failures: %d, open: 100ms, '
                    .. 'max: 100ms }'):format(failures) })
            fleet:wait(gateway, 'k', 200)
            fleet.server:signal('STOP')
            local statuses = limited.burst(fleet:many(30), limited.get('k'))
            assert.same({ [503] = 30 }, statuses)
            fleet.server:signal('CONT')
            fleet:wait(gateway, 'k', 200)
            wait_until(function() -- nothing is held; what was given up is noted for hold_ttl
                local key = keys('*:concurrency')[1]
                return not (key and fleet.server:ask('ZSCORE', key, '*'))
            end, 'the slots')
            assert.equal(0, counters(gateway).ratelimit_repaired)
        end)
    end

    it('remembers for a new worker how many hosts there were', function()
        local gateway = start('quota: 8, ' .. LONG, 'local')
        fleet.server:ask('ZADD', 'mg:rl:hosts', '99999999999999', 'another')
        local signs = fleet.server:count('commandstats', 'cmdstat_zcard:calls')
        wait_until(function()
            return fleet.server:count('commandstats', 'cmdstat_zcard:calls') > signs + 1
        end, 'signs of life')
        fleet.server:kill()
        local pid = gateway:status().workers[1].pid
        posix.kill(pid, posix.signals.KILL)
        assert.truthy(gateway:wait_status(function(status)
            return status.workers[1].state == 'serving' and status.workers[1].pid ~= pid
        end))
        assert.same({ [200] = 4, [429] = 6 }, limited.burst(fleet:many(10), limited.get('k')))
    end)

    for _, option in ipairs({ 'local', 'allow', 'deny' }) do
        it('R8 keeps bans that it has met, where the option is ' .. option, function()
            local gateway = start('quota: 1, ban: { after: 0, for: 1h }, ' .. LONG, option)
            fleet:wait(gateway, 'k', 403)
            fleet.server:kill()
            assert.same({ 403, 403, 403 }, fleet:statuses(gateway, 'k', 3))
        end)
    end

    it('adds a ban that began meanwhile', function()
        local gateway = start('quota: 1, ban: { after: 0, for: 1h }, ' .. LONG, 'local')
        fleet:wait(gateway, 'other', 200)
        stop(gateway)
        assert.same({ 200, 403, 403 }, fleet:statuses(gateway, 'k', 3))
        fleet.server:signal('CONT')
        wait_until(function()
            return #keys('*:ban') == 2 -- that of `other`, too
        end, 'the bans')
        local second = start('quota: 1, ban: { after: 0, for: 1h }, ' .. LONG, 'deny')
        fleet:wait(second, 'k', 403)
    end)

    local ERRORS = {
        oom = function(server)
            server:ask('CONFIG', 'SET', 'maxmemory', '1')
            return function() server:ask('CONFIG', 'SET', 'maxmemory', '0') end
        end,
        readonly = function(server)
            server:ask('REPLICAOF', '127.0.0.1', tostring(process.free_port()))
            return function() server:ask('REPLICAOF', 'NO', 'ONE') end
        end,
        auth = function(server)
            server:ask('ACL', 'SETUSER', 'default', '-evalsha', '-eval')
            return function() server:ask('ACL', 'SETUSER', 'default', '+evalsha', '+eval') end
        end,
    }
    for reason, cause in pairs(ERRORS) do
        it('counts the reason ' .. reason, function()
            local gateway = start('quota: 5, ' .. LONG, 'deny')
            fleet:wait(gateway, 'k', 200)
            local undo = cause(fleet.server)
            fleet:wait(gateway, 'k', 503)
            assert.is_true(gateway:status().stores[1].results[reason] > 0)
            undo()
            fleet:wait(gateway, 'k', 200)
        end)
    end

    it('does not mind that Redis has forgotten the script', function()
        local gateway = start('quota: 5, ' .. LONG, 'deny', { timeout = '5s' })
        fleet:wait(gateway, 'k', 200)
        fleet.server:ask('SCRIPT', 'FLUSH')
        assert.same({ 200, 200, 200, 200, 429 }, fleet:statuses(gateway, 'k', 5))
    end)
end)
