-- SPDX-License-Identifier: Apache-2.0
--
-- R9, R10: a Redis that dies, hangs, is slow, or answers with errors, under load. Each plugin does
-- what it declares, no request gets another's reply, and all is well soon after. The suite looks
-- at counts; `script/chaos redis` runs each fault longer and measures times.
local chaos = require 'spec.gateway.support.chaos'
local client = require 'spec.gateway.support.client'
local fault_proxy = require 'spec.gateway.support.fault_proxy'
local process = require 'spec.gateway.support.process'
local redis = require 'spec.gateway.support.redis'

-- What the proxy does: mode, its number, the reasons that may be counted.
local OF_THE_NETWORK = {
    { 'delay', 5, {}, name = 'is slow, within the timeout', is_harmless = true, is_slow = true },
    { 'delay', 1000, { 'timeout' }, name = 'is slow, beyond the timeout' },
    { 'half', 0, { 'timeout' }, name = 'sends half replies' },
    { 'cut', 0, { 'refused' }, name = 'ends in the middle of replies' },
    { 'garbage', 0, { 'protocol' }, name = 'sends garbage' },
    { 'hole', 0, { 'timeout' }, name = 'is behind a black hole' },
    { 'refuse', 0, { 'refused' }, name = 'refuses connections' },
    { 'reset', 0, { 'refused' }, name = 'resets connections' },
    { 'drop', 0, { 'timeout', 'refused' }, name = 'loses SYNs' },
}

describe('R10 a Redis that', function()
    local server, proxy, place, rig, patient

    setup(function()
        server = redis.server()
        proxy = fault_proxy.start(server.port)
        place = ('host: 127.0.0.1, port: %d'):format(proxy.port)
        rig, patient = chaos.rig(place), chaos.rig(place, chaos.PATIENT)
    end)

    teardown(process.stop_all)

    local function ask(...)
        local reply = server:ask(...)
        assert.is_true(type(reply) ~= 'table' or reply.error == nil,
            type(reply) == 'table' and reply.error)
        return reply
    end

    local function set(name, value)
        assert.equal('OK', ask('CONFIG', 'SET', name, value))
    end

    for _, fault in ipairs(OF_THE_NETWORK) do
        it(fault.name, function()
            local on = fault.is_harmless and patient or rig
            on:run{ name = fault.name, reasons = fault[3], is_harmless = fault.is_harmless,
                is_slow = fault.is_slow,
                start = function() proxy:set(fault[1], fault[2]) end,
                stop = function() proxy:set('pass') end }
        end)
    end

    local function it_survives(name, fault)
        fault.name = name
        it(name, function()
            (fault.is_harmless and patient or rig):run(fault)
        end)
    end

    it_survives('is killed', { reasons = { 'refused' },
        start = function() server:kill() end, stop = function() server:start() end })

    it_survives('R9 is stopped, and goes on', { reasons = { 'timeout' },
        start = function() server:signal('STOP') end, stop = function() server:signal('CONT') end })

    it_survives('has no memory left', { reasons = { 'oom' },
        start = function() set('maxmemory', '1') end, stop = function() set('maxmemory', '0') end })

    it_survives('has become a replica', { reasons = { 'readonly' },
        start = function() ask('REPLICAOF', '127.0.0.1', process.free_port()) end,
        stop = function() ask('REPLICAOF', 'NO', 'ONE') end })

    it_survives('has lost its master', { reasons = { 'masterdown' },
        start = function()
            set('replica-serve-stale-data', 'no')
            ask('REPLICAOF', '127.0.0.1', process.free_port())
        end,
        stop = function()
            ask('REPLICAOF', 'NO', 'ONE')
            set('replica-serve-stale-data', 'yes')
        end })

    it_survives('wants a password all at once', { reasons = { 'auth', 'refused' },
        log = 'no connection to "main" reason=auth',
        start = function()
            server.login = { 'default', 'secret' }
            server:ask('CONFIG', 'SET', 'requirepass', 'secret')
            ask('CLIENT', 'KILL', 'TYPE', 'normal')
        end,
        stop = function()
            set('requirepass', '')
            server.login = nil
        end })

    it_survives('has the wrong type in a key', { reasons = { 'wrongtype' }, spares_limits = true,
        start = function()
            for i = 0, chaos.KEYS - 1 do
                ask('EVAL', "redis.call('DEL', KEYS[1]) redis.call('LPUSH', KEYS[1], 'x')", 1,
                    'c:' .. i)
            end
        end,
        stop = function() ask('FLUSHALL') end })

    it_survives('forgets its scripts', { reasons = {}, is_harmless = true,
        start = function() ask('SCRIPT', 'FLUSH') end, stop = function() end })

    it_survives('has to load its data', { reasons = { 'loading', 'refused' },
        log = 'no connection to "main" reason=loading',
        start = function()
            ask('EVAL', "for i = 1, 3000 do redis.call('SET', 'x' .. i, i) end", 0)
            ask('SAVE')
            server:kill()
            server.arguments = { '--key-load-delay', '2000',
                '--loading-process-events-interval-bytes', '1024' }
            server:start()
            server.arguments = {}
        end,
        stop = function()
            set('key-load-delay', '0')
            redis.wait(function()
                return server:ask('INFO', 'persistence'):match('\nloading:0')
            end, 'Redis has loaded its data')
        end })

    -- What waits for a connection says nothing of Redis: the connection does. Else a worker that is
    -- about to connect opens the breaker for all, again and again.
    it('takes longer to connect to than a request waits', function()
        local hasty = chaos.rig(place, { timeout = '200ms', connect = '5s',
            breaker = '{ open: 100ms, max: 200ms }' })
        proxy:set('refuse')
        redis.wait(function()
            return not hasty:is_well()
        end, 'it is gone')
        proxy:set('greet', 600)
        local list = {}
        for i = 1, 40 do -- to both workers
            list[i] = assert(client.connect(hasty.gateway.port, { timeout = process.deadline }))
        end
        redis.wait(function()
            return hasty:count_well(list) == #list
        end, 'all workers have connected')
        proxy:set('pass')
    end)
end)
