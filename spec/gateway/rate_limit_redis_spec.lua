-- SPDX-License-Identifier: Apache-2.0
--
-- The plugin rate-limit with the store redis: real workers, several gateways and a real
-- redis-server. MOONGATE_LONG=1 repeats the thousand requests of R1 a hundred times.
local limited = require 'spec.gateway.support.limited'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local redis = require 'spec.gateway.support.redis'

local wait_for = limited.wait_for

local RUNS = os.getenv('MOONGATE_LONG') and 100 or 1
local PARALLEL, LIMIT = 1000, 100

-- A window that no run is long enough to leave.
local LONG = 'window: 100d'
local ALGORITHMS = {
    ['fixed-window'] = LONG, ['sliding-window'] = LONG, ['token-bucket'] = LONG,
    gcra = LONG .. ', burst: 100',
}

describe('rate-limit with the store redis', function()
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

    local function ask(...)
        return fleet.server:ask(...)
    end

    local function keys(pattern)
        local list = ask('KEYS', pattern)
        table.sort(list)
        return list
    end

    for algorithm, numbers in pairs(ALGORITHMS) do
        it(('R1 admits exactly %d of %d parallel requests to four gateways, by %s'):format(LIMIT,
            PARALLEL, algorithm), function()
            for _ = 1, 4 do
                fleet:start(('quota: %d, algorithm: %s, %s'):format(LIMIT, algorithm, numbers))
            end
            local list = fleet:many(PARALLEL)
            for run = 1, RUNS do
                assert.same({ [200] = LIMIT, [429] = PARALLEL - LIMIT },
                    limited.burst(list, limited.get(run)))
            end
        end)
    end

    local HALF = 'POST / HTTP/1.1\r\nHost: localhost\r\nX-Run: %s\r\nContent-Length: 2\r\n'
        .. 'Expect: 100-continue\r\n\r\n'

    -- Puts requests in flight. How many are admitted: those the gateway asks for their bodies.
    local function hold(list, run)
        local held = {}
        for _, connection in ipairs(list) do
            assert(connection:send(HALF:format(run)))
        end
        for _, connection in ipairs(list) do
            connection:wait_for('\r\n\r\n')
            if connection.kept:match('^HTTP/1%.1 100') then
                held[#held + 1] = connection
            end
        end
        return held
    end

    local function finish(list)
        for _, connection in ipairs(list) do
            assert(connection:send('ab'))
            assert.equal(200, assert(connection:response('POST')).status)
        end
    end

    it('has never more than the quota in flight at two gateways, by concurrency', function()
        local upstream = process.echo().port
        for _ = 1, 2 do
            fleet:start('quota: 20, algorithm: concurrency', { upstream = upstream })
        end
        local held = hold(fleet:many(200), 'k')
        assert.equal(20, #held)
        assert.equal(429, fleet:request(fleet.gateways[1], 'k').status)
        finish(held)
        fleet:wait(fleet.gateways[2], 'k', 200)
        assert.equal(20, #hold(fleet:many(30), 'k'))
    end)

    it('R4 asks Redis once for each request, whatever the number of limits, and charges all or'
        .. ' none', function()
        local gateway = fleet:start('ban: { after: 1000 }, limits: [{ name: a, quota: 1000, '
            .. LONG .. ' }, { name: b, quota: 10, algorithm: gcra, burst: 10, ' .. LONG
            .. ' }, { name: c, quota: 5000, algorithm: fixed-window, window: year }]')
        fleet:wait(gateway, 'first', 200)
        ask('CONFIG', 'RESETSTAT')
        assert.same({ [200] = 10, [429] = PARALLEL - 10 },
            limited.burst(fleet:many(PARALLEL), limited.get('k')))
        local signs_of_life = fleet.server:count('commandstats', 'cmdstat_zadd:calls')
        assert.equal(PARALLEL, fleet.server:count('commandstats', 'cmdstat_evalsha:calls')
            - signs_of_life)
        assert.equal(0, fleet.server:count('commandstats', 'cmdstat_eval:calls'))
        local counts = {}
        for i, key in ipairs(keys('*:a:*')) do
            counts[i] = ask('GET', key):match('^%d+ (%d+) %d+$')
        end
        table.sort(counts)
        assert.same({ '1', '10' }, counts) -- of `first` and of `k`
    end)

    it('shows Redis no key of a client, only hashes that all hosts make alike', function()
        local config = 'limits: [{ name: one, quota: 5, ' .. LONG .. ' }]'
        local secret = ('secret'):rep(40)
        for _ = 1, 2 do
            local gateway = fleet:start(config, { key = 'header:A, header:B, ip' })
            fleet:request(gateway, 'k', { A = 'a', B = 'bc' })
            fleet:request(gateway, 'k', { A = 'ab', B = 'c' })
            fleet:request(gateway, 'k', { A = secret, B = 'x' })
            assert.equal('4', fleet:request(gateway, 'k', { A = 'a', B = 'bc ' .. _ })
                .headers['x-ratelimit-remaining'])
        end
        local found = keys('mg:rl:{*')
        assert.equal(5, #found)
        for _, key in ipairs(found) do
            assert.matches('^mg:rl:{[%w_-]+}:route:[%w-]+:one:sliding%-window%+8640000000$', key)
            assert.equal(22, #key:match('{(.-)}'))
        end
    end)

    it('names its keys as it is told, with an instance of gateway.redis', function()
        local gateway = fleet:start('quota: 5, window: month, algorithm: fixed-window', {
            place = 'connection: main', redis = 'prefix: shop, tag: prefix', key = 'const:all',
            more = ('  redis: { main: { unix: %s } }'):format(fleet.server.socket) })
        fleet:wait(gateway, 'k', 200)
        local found = keys('*}:*')
        assert.equal(1, #found)
        assert.matches('^{shop}:[%w_-]+:route:[%w-]+:default:fixed%-window%+month$', found[1])
        assert.same({ 'shop:hosts' }, keys('*hosts'))
    end)

    it('logs in and chooses a database as its record says', function()
        ask('ACL', 'SETUSER', 'limiter', 'on', '>secret', '~shop:*', '+@all')
        local server = fleet.server
        for i, place in ipairs({
            ('url: "redis://limiter:secret@127.0.0.1:%d/3"'):format(server.port),
            ('host: 127.0.0.1, port: %d, username: limiter, password: secret, database: 4')
                :format(server.port),
        }) do
            local gateway = fleet:start('quota: 5, ' .. LONG, { place = place
                .. ', connect_timeout: 2s, connections: 1', redis = 'prefix: shop' })
            fleet:wait(gateway, 'k', 200)
            assert.truthy(ask('INFO', 'keyspace'):find('db' .. i + 2 .. ':', 1, true))
        end
    end)

    it('asks no more than may wait', function()
        local gateway = fleet:start('quota: 500, ' .. LONG, { workers = 1,
            redis = 'max_pending: 16' })
        fleet:wait(gateway, 'k', 200)
        ask('CLIENT', 'PAUSE', '1000', 'ALL')
        local statuses = limited.burst(fleet:many(60), limited.get('k'))
        assert.equal(60, statuses[200] + statuses[503])
        assert.is_true(statuses[200] <= 16)
        assert.is_true(gateway:status().stores[1].results.overload >= 44)
    end)

    it('keeps the costs of requests apart while they wait', function()
        local gateway = fleet:start('quota: 100000, cost: "header:X-Cost", ' .. LONG)
        local list, sum = fleet:many(200), 0
        for i, connection in ipairs(list) do
            sum = sum + i
            assert(connection:send(('GET / HTTP/1.1\r\nHost: localhost\r\nX-Run: k%d\r\n'
                .. 'X-Cost: %d\r\n\r\n'):format(i % 2, i)))
        end
        for _, connection in ipairs(list) do
            assert.equal(200, assert(connection:response('GET')).status)
        end
        local left = 0
        for run = 0, 1 do
            left = left + fleet:request(gateway, 'k' .. run, { ['X-Cost'] = '0' })
                .headers['x-ratelimit-remaining']
        end
        assert.equal(200000 - sum, left)
    end)

    it('corrects a charge when the answer is known', function()
        local gateway = fleet:start('quota: 10, cost: "header:X-Cost", response_cost: "lua: 1", '
            .. LONG, { upstream = process.echo().port })
        local function remaining(cost)
            return fleet:request(gateway, 'k', { ['X-Cost'] = cost })
                .headers['x-ratelimit-remaining']
        end
        for i = 1, 3 do
            assert.equal(tostring(7 - i), remaining('4'))
            wait_for(tostring(10 - i), function()
                return remaining('0') -- looks, and charges nothing
            end)
        end
        assert.equal(0, gateway:status().counters.ratelimit_lost)
    end)

    it('leaves slots alone when it corrects a charge', function()
        local upstream = process.echo().port
        local gateway = fleet:start('response_cost: "lua: 1", limits: [{ name: a, quota: 100, '
            .. LONG .. ' }, { name: b, quota: 2, algorithm: concurrency }]',
            { upstream = upstream })
        local held = hold(fleet:many(1), 'k')
        assert.equal(1, #held)
        fleet:wait(gateway, 'k', 200)
        wait_for(1, function() -- that one's slot is given back behind its answer
            return #hold(fleet:many(3), 'k')
        end)
        assert.equal(0, gateway:status().counters.ratelimit_repaired)
    end)

    it('charges a denial up to the quota where that is asked for', function()
        local gateway = fleet:start('quota: 3, cost: 2, count_denied: true, ' .. LONG)
        assert.same({ 200, 429, 429 }, fleet:statuses(gateway, 'k', 3))
        assert.matches('^%d+ 3 0$', ask('GET', keys('*default*')[1]))
    end)

    it('bans, longer each time, and asks Redis no more while it lasts', function()
        local gateway = fleet:start('quota: 1, ' .. LONG
            .. ', ban: { after: 2, within: 1h, for: 1s, factor: 2 }')
        assert.same({ 200, 429, 429, 403, 403 }, fleet:statuses(gateway, 'k', 5))
        local state = ask('GET', keys('*:ban')[1])
        assert.equal('1', state:match('^%d+ 0 0 %d+ (%d+)$'))
        fleet:wait(gateway, 'k', 429)
        assert.same({ 429, 403 }, fleet:statuses(gateway, 'k', 2))
        assert.equal('2', ask('GET', keys('*:ban')[1]):match('(%d+)$'))
        local other = fleet:start('quota: 1, ' .. LONG
            .. ', ban: { after: 2, within: 1h, for: 1s, factor: 2 }')
        assert.equal('403', tostring(fleet:request(other, 'k').status))
        local asked = fleet.server:count('commandstats', 'cmdstat_get:calls')
        for _ = 1, 5 do
            assert.equal(403, fleet:request(other, 'k').status)
        end
        assert.equal(asked, fleet.server:count('commandstats', 'cmdstat_get:calls'))
        fleet:wait(gateway, 'k', 429)
        fleet:wait(other, 'k', 429)
    end)

    it('repairs values that are none', function()
        local gateway = fleet:start('ban: { after: 5 }, limits: [{ name: a, quota: 9, ' .. LONG
            .. ' }, { name: b, quota: 9, algorithm: concurrency }]')
        fleet:wait(gateway, 'k', 200)
        local function spoil(pattern, ...)
            local key = keys(pattern)[1]
            assert.truthy(key, pattern)
            ask('DEL', key)
            local words = { ... }
            table.insert(words, 2, key)
            ask(unpack(words))
            return key
        end
        local a = keys('*:a:*')[1]
        local state = ask('GET', a)
        for _, words in ipairs({ { 'RPUSH', 'x' }, { 'SET', 'nonsense' }, { 'SET', '1 2' },
            { 'SET', '99999999999999999999 1 0' }, { 'SET', '99999999 9 9' } }) do
            spoil('*:a:*', unpack(words))
            assert.equal('8', fleet:request(gateway, 'k').headers['x-ratelimit-remaining'])
        end
        ask('PERSIST', a)
        assert.equal('7', fleet:request(gateway, 'k').headers['x-ratelimit-remaining'])
        assert.is_true(ask('PTTL', a) > 0)
        assert.truthy(state)
        ask('SET', keys('*:a:*')[1]:gsub(':a:.*', ':b:concurrency'), 'x')
        assert.equal(200, fleet:request(gateway, 'k').status)
        assert.equal(7, gateway:status().counters.ratelimit_repaired)
    end)

    it('begins with what was used before the window was edited', function()
        local gateway = fleet:start('quota: 10, algorithm: fixed-window, align: first, ' .. LONG)
        assert.same({ [200] = 7 }, limited.burst(fleet:many(7), limited.get('k')))
        fleet:reload(gateway, 'quota: 10, algorithm: fixed-window, align: first, window: 50d')
        assert.same({ [200] = 3, [429] = 7 }, limited.burst(fleet:many(10), limited.get('k')))
        fleet:reload(gateway, 'quota: 12, algorithm: token-bucket, ' .. LONG)
        assert.same({ [200] = 2, [429] = 8 }, limited.burst(fleet:many(10), limited.get('k')))
        assert.equal(1, #keys('mg:rl:{*'))
    end)

    it('gives back what a host held that died', function()
        local upstream = process.echo().port
        local o = { upstream = upstream, redis = 'hold_ttl: 3s' }
        local config = 'quota: 4, algorithm: concurrency'
        fleet:start(config, o)
        assert.equal(3, #hold(fleet:many(3), 'k'))
        local dead = table.remove(fleet.gateways)
        local survivor = fleet:start(config, { upstream = upstream, redis = 'hold_ttl: 3s' })
        local own = hold(fleet:many(1), 'k')
        assert.equal(429, fleet:request(survivor, 'k').status)
        local workers = dead:status().workers
        posix.kill(dead.pid, posix.signals.KILL)
        for _, worker in ipairs(workers) do
            posix.kill(worker.pid, posix.signals.KILL)
        end
        fleet:wait(survivor, 'k', 200)
        local key = keys('*:default:concurrency')[1]
        wait_for(2, function() -- what is held, renewed since, and its sum
            return ask('ZCARD', key)
        end)
        finish(own)
    end)

    it('counts on a cluster, each key of a client in one slot', function()
        local cluster = redis.cluster({ replicas = 0 })
        local place = ('topology: cluster, nodes: ["127.0.0.1:%d"]'):format(
            cluster.servers[1].port)
        local gateway = fleet:start('ban: { after: 100 }, limits: [{ name: a, quota: 9, ' .. LONG
            .. ' }, { name: b, quota: 5, algorithm: gcra, burst: 5, ' .. LONG
            .. ' }, { name: c, quota: 100, algorithm: concurrency }]', { place = place })
        local other = fleet:start('limits: [{ name: a, quota: 900, key: [path], ' .. LONG
            .. ' }, { name: b, quota: 5, ' .. LONG .. ' }]',
            { place = place, redis = 'tag: prefix, prefix: other' })
        for _, each in ipairs({ gateway, other }) do
            fleet:wait(each, 'first', 200)
            fleet.gateways = { each }
            local list = fleet:many(20)
            for run = 1, 6 do
                assert.same({ [200] = 5, [429] = 15 }, limited.burst(list, limited.get(run)))
            end
        end
        local used = 0
        for _, server in ipairs(cluster.servers) do
            used = used + (#server:ask('KEYS', 'mg:rl:{*:a:*') > 0 and 1 or 0)
        end
        assert.is_true(used > 1) -- seven keys in three shares: not all in one but once in 700
    end)

    describe('in mode async', function()
        local HOSTS, PERCENT = 3, 10

        local function start_all(config, more)
            for _ = 1, HOSTS do
                fleet:start(config, { workers = 2, error = 'local', redis = ('mode: async, '
                    .. 'instances: %d, async: { interval: 20ms, over_admit_percent: %d }%s')
                    :format(HOSTS, PERCENT, more or '') })
            end
        end

        -- Units that Redis has counted of the only key.
        local function count()
            local key = keys('*:default:*')[1]
            local state = key and ask('GET', key)
            return state and state:match('^%d+ (%d+)')
        end

        for _, quota in ipairs({ 1, 20, 300 }) do
            it(('admits less than the published bound too much of %d'):format(quota), function()
                start_all(('quota: %d, algorithm: fixed-window, %s'):format(quota, LONG))
                local list, admitted = fleet:many(90), 0
                for _ = 1, 8 do
                    admitted = admitted + (limited.burst(list, limited.get('k'))[200] or 0)
                end
                local most = math.max(1, math.floor(quota * PERCENT / 100 / HOSTS))
                assert.is_true(admitted >= quota, admitted)
                assert.is_true(admitted < quota + HOSTS * most, admitted)
                wait_for(tostring(admitted), function() -- what was admitted arrives
                    return count()
                end)
            end)
        end

        it('asks Redis for many requests once', function()
            start_all('quota: 100000, ' .. LONG)
            fleet:wait(fleet.gateways[1], 'k', 200)
            ask('CONFIG', 'RESETSTAT')
            local list = fleet:many(60)
            for _ = 1, 10 do
                limited.burst(list, limited.get('k'))
            end
            wait_for('601', function()
                return count()
            end)
            assert.is_true(fleet.server:count('commandstats', 'cmdstat_evalsha:calls') < 300)
        end)

        it('sends again what was not confirmed', function()
            start_all('quota: 100000, ' .. LONG, ', breaker: { open: 100ms, max: 100ms }')
            fleet:wait(fleet.gateways[1], 'k', 200)
            local list = fleet:many(30)
            wait_for('1', function()
                return count()
            end)
            fleet.server:kill()
            assert.same({ [200] = 30 }, limited.burst(list, limited.get('k')))
            fleet.server:start()
            wait_for('30', function()
                return count()
            end)
        end)
    end)

    it('has all slots back when clients have left at any moment', function()
        local upstream = process.echo().port
        for _ = 1, 2 do
            fleet:start('quota: 50, algorithm: concurrency', { upstream = upstream })
        end
        local text = limited.get('k'):gsub('GET / ', 'GET /?delay=3 ')
        for _ = 1, 5 do
            local stay = {}
            for i, connection in ipairs(fleet:many(100)) do
                assert(connection:send(text))
                if i % 2 == 0 then
                    stay[#stay + 1] = connection
                elseif i % 3 == 0 then
                    connection:reset()
                end
            end
            for _, connection in ipairs(stay) do
                assert(connection:response('GET'))
            end
            for _, connection in ipairs(fleet.connections) do
                connection:close()
            end
            fleet.connections = {}
        end
        -- A request that is read after its client has left takes a slot for a moment, too.
        for _, gateway in ipairs(fleet.gateways) do
            assert.truthy(gateway:wait_status(function(status)
                return status.counters.connections == 0
            end))
        end
        wait_for(0, function()
            return #keys('*:default:concurrency')
        end)
        assert.equal(50, #hold(fleet:many(70), 'k'))
    end)

    it('counts the hosts that are alive', function()
        fleet:start('quota: 4, ' .. LONG)
        fleet:start('quota: 4, ' .. LONG)
        fleet:wait(fleet.gateways[1], 'k', 200)
        fleet:wait(fleet.gateways[2], 'k', 200)
        wait_for(2, function()
            return ask('ZCARD', 'mg:rl:hosts')
        end)
    end)
end)
