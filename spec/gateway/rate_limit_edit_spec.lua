-- SPDX-License-Identifier: Apache-2.0
--
-- R6: reloads and edits of a limit under load: of the quota, there and back, and of the window. And
-- R8: bans in both stores over a reload and the death of a worker, and without Redis.
-- MOONGATE_LONG=1 reloads a hundred times.
local limited = require 'spec.gateway.support.limited'
local load = require 'spec.gateway.support.load'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local LONG_FORM = os.getenv('MOONGATE_LONG')
local RELOADS = LONG_FORM and 100 or 4
local EARLY = 0.05 -- s
local LONG = 'window: 100d'

describe('R6 a limit that is edited under load', function()
    local gateway

    after_each(process.stop_all)

    -- The routes / and /other, each with a count of its own.
    local function yaml(config, port)
        local plugins = ([[
    plugins:
    - { name: rate-limit, config: { key: [const:all], %s } }
    - { name: request-termination, config: { status_code: 200 } }
]]):format(config)
        return process.yaml({ workers = 2, port = port,
            plugins = plugins .. '  - name: other\n    paths: [/other]\n' .. plugins,
            gateway = '  limits: { connection_requests: 1000000000 }\n' })
    end

    local function start(config)
        local port = process.free_port()
        gateway = process.gateway(yaml(config, port))
        gateway.own_port = port
    end

    local function reload(config)
        gateway:rewrite(yaml(config, gateway.own_port))
        local code, _, err = gateway:command('reload')
        assert.equal(0, code, err)
    end

    local function allowed()
        return gateway:status().counters.ratelimit_allowed
    end

    local function quota(count)
        return ('quota: %d, algorithm: fixed-window, align: first, %s'):format(count, LONG)
    end

    -- Load on one path while something is done; how much was admitted.
    local function admitted_while(path, fn)
        local before = allowed()
        local running = load.start(gateway.port, { connections = 16, path = path })
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.ratelimit_denied > 0
        end))
        fn()
        local denied = gateway:status().counters.ratelimit_denied
        assert.truthy(gateway:wait_status(function(status) -- and goes on
            return status.counters.ratelimit_denied > denied + 100
        end))
        local result = running:stop()
        assert.is_true(result.requests > 1000)
        return allowed() - before
    end

    it('admits the quota, exactly, over reloads that do not change it', function()
        start(quota(100))
        assert.equal(100, admitted_while('/', function()
            for _ = 1, RELOADS do
                reload(quota(100))
            end
        end))
        assert.equal(RELOADS + 1, gateway:status().generation)
    end)

    it('admits no more than the highest quota that was in force', function()
        start(quota(100))
        assert.equal(100, admitted_while('/', function()
            for i = 1, RELOADS do
                reload(quota(i % 2 == 1 and 50 or 100))
            end
        end))
        -- where the lower one was first, nothing is above it until it is raised
        reload(quota(50))
        assert.equal(100, admitted_while('/other', function()
            for i = 1, RELOADS do
                reload(quota(i % 2 == 1 and 100 or 50))
            end
        end))
    end)

    it('lets no key over its new quota when the window changes', function()
        start(quota(100))
        assert.equal(100, admitted_while('/', function() end))
        local edited = 'quota: %d, algorithm: %s, align: first, window: 50d'
        assert.equal(20, admitted_while('/', function()
            for i = 1, 3 do -- what was used counts: 20 more are free of 120
                reload(edited:format(i == 3 and 120 or 80, 'fixed-window'))
            end
        end))
    end)
end)

describe('R8 a ban', function()
    local fleet, options

    before_each(function()
        fleet = limited.fleet()
    end)

    after_each(function()
        fleet:close()
    end)

    local BAN = 'quota: 1, %s, algorithm: fixed-window, align: first, '
        .. 'ban: { after: 2, within: 1h, for: %s, factor: 2 }'

    local function start(length, store)
        options = { place = store == 'local' and 'unix: /none' or nil, error = 'local',
            timeout = '2s', redis = 'breaker: { failures: 1, open: 100ms, max: 100ms }' }
        local gateway = fleet:start(BAN:format(LONG, length), options)
        if store == 'redis' then
            fleet:wait(gateway, 'other', 200)
        end
        return gateway
    end

    local function kill_workers(gateway)
        for number, worker in ipairs(gateway:status().workers) do
            posix.kill(worker.pid, posix.signals.KILL)
            assert.truthy(gateway:wait_status(function(status)
                local now = status.workers[number]
                return now.state == 'serving' and now.pid ~= worker.pid
            end))
        end
    end

    for _, store in ipairs({ 'local', 'redis' }) do
        it('outlives reloads and workers, in the store ' .. store, function()
            local gateway = start('1h', store)
            assert.same({ 200, 429, 429, 403, 403 }, fleet:statuses(gateway, 'k', 5))
            fleet:reload(gateway, BAN:format(LONG, '1h'))
            assert.same({ 403, 403 }, fleet:statuses(gateway, 'k', 2))
            kill_workers(gateway)
            assert.same({ 403, 403 }, fleet:statuses(gateway, 'k', 2))
            assert.equal(200, fleet:request(gateway, 'z').status)
            if store == 'redis' then
                fleet.server:kill()
                assert.same({ 403, 403 }, fleet:statuses(gateway, 'k', 2))
                kill_workers(gateway)
                assert.same({ 403, 403 }, fleet:statuses(gateway, 'k', 2))
            end
        end)

        -- A busy machine sees the end late; the beginning may be a loop's turn ago.
        it('lasts longer each time, in the store ' .. store, function()
            local gateway = start('1s', store)
            assert.same({ 200, 429 }, fleet:statuses(gateway, 'k', 2))
            for n = 0, 1 do
                assert.same({ 429 }, fleet:statuses(gateway, 'k', 1))
                local begun = posix.now()
                local res = fleet:request(gateway, 'k')
                assert.equal(403, res.status)
                assert.is_true(tonumber(res.headers['retry-after']) >= 2 ^ n)
                fleet:reload(gateway, BAN:format(LONG, '1s'))
                fleet:wait(gateway, 'k', 429) -- the first denial of the next one
                local seconds = posix.now() - begun
                assert.is_true(seconds >= 2 ^ n - EARLY, seconds)
                if LONG_FORM then
                    print(('%s: a ban of %d s took %.3f s'):format(store, 2 ^ n, seconds))
                end
            end
        end)
    end
end)
