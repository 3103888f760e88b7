-- SPDX-License-Identifier: Apache-2.0
--
-- The plugin rate-limit with the store redis: real workers, several gateways and a real
-- redis-server. MOONGATE_LONG=1 repeats the thousand requests of R1 a hundred times.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local redis = require 'spec.gateway.support.redis'

local RUNS = os.getenv('MOONGATE_LONG') and 100 or 1
local PARALLEL, LIMIT = 1000, 100

-- A window that no run is long enough to leave.
local LONG = 'window: 100d'
local ALGORITHMS = {
    ['fixed-window'] = LONG, ['sliding-window'] = LONG, ['token-bucket'] = LONG,
    gcra = LONG .. ', burst: 100',
}

describe('rate-limit with the store redis', function()
    local server, gateways, connections

    setup(function()
        posix.allow_descriptors(2 * PARALLEL + 200)
    end)

    before_each(function()
        connections, gateways = {}, {}
        server = redis.server()
    end)

    after_each(function()
        for _, connection in ipairs(connections) do
            connection:close()
        end
        process.stop_all()
    end)

    -- Each value of X-Run is a key of its own. o: redis (more of the record), error, upstream, port
    local function yaml(config, o)
        local last = o.upstream and '' or '    - { name: request-termination, '
            .. 'config: { status_code: 200 } }'
        return process.yaml({
            workers = o.workers or 2, port = o.port, upstream = o.upstream, plugins = ([[
    plugins:
    - name: rate-limit
      config: { key: [header:X-Run], %s, store: redis, on_store_error: %s,
        redis: { unix: %s, timeout: %s, connect_timeout: 2s, %s } }
%s]]):format(config, o.error or 'deny', server.socket, o.timeout or '5s', o.redis or '', last),
            gateway = '  limits: { body_timeout: 5m, body_min_rate: 0, header_timeout: 5m }',
        })
    end

    local function start(config, o)
        o = o or {}
        o.port = process.free_port()
        local gateway = process.gateway(yaml(config, o))
        gateway.options = o
        gateways[#gateways + 1] = gateway
        return gateway
    end

    local function connect(gateway)
        local connection = assert(client.connect(gateway.port, { timeout = process.deadline }))
        connections[#connections + 1] = connection
        return connection
    end

    local function request(gateway, run, method)
        local connection = connect(gateway)
        local res = assert(connection:request(method or 'GET', '/', { ['X-Run'] = run or 'k' }))
        connection:close()
        connections[#connections] = nil
        return res
    end

    -- So many connections, in turn to each gateway.
    local function many(count)
        local list = {}
        for i = 1, count do
            list[i] = connect(gateways[i % #gateways + 1])
        end
        return list
    end

    -- Sends a text on all connections before it reads the first answer.
    local function burst(list, text)
        local statuses = {}
        for _, connection in ipairs(list) do
            assert(connection:send(text))
        end
        for _, connection in ipairs(list) do
            local res = assert(connection:response('GET'))
            statuses[res.status] = (statuses[res.status] or 0) + 1
        end
        return statuses
    end

    local function get(run)
        return ('GET / HTTP/1.1\r\nHost: localhost\r\nX-Run: %s\r\n\r\n'):format(run)
    end

    -- Asks until a request is answered with one of these statuses.
    local function wait_status(gateway, run, wanted)
        local deadline = posix.now() + process.deadline
        local res
        repeat
            res = request(gateway, run)
        until wanted[res.status] or posix.now() > deadline
        assert(wanted[res.status], res.status)
        return res
    end

    describe('R1:', function()
        for algorithm, numbers in pairs(ALGORITHMS) do
            it(('admits exactly %d of %d parallel requests to two gateways, by %s'):format(LIMIT,
                PARALLEL, algorithm), function()
                for _ = 1, 2 do
                    start(('quota: %d, algorithm: %s, %s'):format(LIMIT, algorithm, numbers))
                end
                local list = many(PARALLEL)
                for run = 1, RUNS do
                    assert.same({ [200] = LIMIT, [429] = PARALLEL - LIMIT }, burst(list, get(run)))
                end
            end)
        end
    end)

    it('R4: asks Redis once for each request, whatever the number of limits, and charges all or'
        .. ' none', function()
        local gateway = start('ban: { after: 1000 }, limits: [{ name: a, quota: 1000, ' .. LONG
            .. ' }, { name: b, quota: 10, algorithm: gcra, burst: 10, ' .. LONG
            .. ' }, { name: c, quota: 5000, algorithm: fixed-window, window: year }]')
        wait_status(gateway, 'first', { [200] = true })
        server:ask('CONFIG', 'RESETSTAT')
        local beats = 'cmdstat_zadd:calls' -- signs of life
        local statuses = burst(many(100), get('k'))
        assert.same({ [200] = 10, [429] = 90 }, statuses)
        assert.equal(100, server:count('commandstats', 'cmdstat_evalsha:calls')
            - server:count('commandstats', beats))
        assert.equal(0, server:count('commandstats', 'cmdstat_eval:calls'))
        for _, key in ipairs(server:ask('KEYS', '*:a:*')) do
            local bucket, used = server:ask('GET', key):match('^(%d+) (%d+) %d+$')
            assert.truthy(bucket)
            assert.truthy(used == '10' or used == '1', used) -- those of k and of first
        end
    end)
end)
