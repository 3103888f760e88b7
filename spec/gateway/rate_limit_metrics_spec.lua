-- SPDX-License-Identifier: Apache-2.0
--
-- What the metrics say of the plugin rate-limit and of the Redis that it counts in.
local client = require 'spec.gateway.support.client'
local limited = require 'spec.gateway.support.limited'
local metrics = require 'spec.gateway.support.metrics'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local PREFIX = 'moongate_ratelimit_'

describe('the metrics of rate-limit', function()
    local fleet

    before_each(function()
        fleet = limited.fleet()
    end)

    after_each(function()
        fleet:close()
    end)

    local function start(config, o)
        o = o or {}
        local port = process.free_port()
        o.more = ('  status: { address: "127.0.0.1:%d" }\n'):format(port)
        local gateway = fleet:start(config, o)
        gateway.status_port = port
        return gateway
    end

    local function value(gateway, name, labels)
        local res = assert(client.get(gateway.status_port, '/metrics'))
        assert.equal(200, res.status)
        return metrics.parse(res.body):value(PREFIX .. name, labels)
    end

    local function wait_for(wanted, gateway, name, labels)
        local deadline = posix.now() + process.deadline
        local found
        repeat
            found = value(gateway, name, labels)
        until found == wanted or posix.now() > deadline
        assert.equal(wanted, found)
    end

    it('count requests that were admitted when a limit was near', function()
        local gateway = start('limits: [{ name: few, quota: 10, window: 100d },'
            .. ' { name: many, quota: 100, window: 100d }]')
        fleet:statuses(gateway, 'k', 12)
        assert.equal(2, value(gateway, 'near_total', { policy = 'few' })) -- 1 left, 0 left
        assert.equal(0, value(gateway, 'near_total', { policy = 'many' }))
    end)

    local BOUNDS = {
        { 'mode: sync, instances: 3', 'sliding-window', 0 },
        { 'mode: async, instances: 3', 'sliding-window', 3 * 16 }, -- 5 % of 1000 by 3
        { 'mode: lease, instances: 3', 'sliding-window', 3 * 2 * 25 }, -- by 2 workers
        { 'mode: lease, instances: 3', 'fixed-window', 0 },
    }
    for _, case in ipairs(BOUNDS) do
        it(('publish that %d units may be too much by %s, %s'):format(case[3], case[2], case[1]),
            function()
                local gateway = start('limits: [{ name: x, quota: 1000, window: 100d, algorithm: '
                    .. case[2] .. ' }]', { redis = case[1] })
                assert.equal(case[3], value(gateway, 'over_admit_bound', { policy = 'x' }))
            end)
    end

    it('tell of hosts that come', function()
        local config = 'limits: [{ name: x, quota: 20, window: 100d }]'
        local gateway = start(config, { redis = 'mode: async' })
        wait_for(1, gateway, 'instances')
        assert.equal(1, value(gateway, 'over_admit_bound', { policy = 'x' }))
        start(config, { redis = 'mode: async' })
        wait_for(2, gateway, 'instances')
        fleet:wait(gateway, 'k', 200)
        fleet:wait(gateway, 'k', 200) -- each worker may be the one
        assert.equal(2, value(gateway, 'over_admit_bound', { policy = 'x' }))
    end)

    it('tell how long limits were decided without Redis', function()
        local gateway = start('quota: 100, window: 100d', { error = 'local', timeout = '200ms',
            redis = 'breaker: { failures: 3, open: 100ms, max: 100ms }' })
        fleet:wait(gateway, 'k', 200)
        assert.equal(0, value(gateway, 'fallback_active'))
        assert.equal(0, value(gateway, 'fallback_seconds_total'))
        fleet.server:kill()
        fleet:statuses(gateway, 'k', 5)
        wait_for(1, gateway, 'fallback_active')
        local before = value(gateway, 'fallback_seconds_total')
        assert.is_true(value(gateway, 'fallback_seconds_total') >= before)
        fleet.server:start()
        wait_for(0, gateway, 'fallback_active')
        local total = value(gateway, 'fallback_seconds_total')
        assert.is_true(total >= before and total > 0)
        assert.equal(total, value(gateway, 'fallback_seconds_total'))
    end)
end)
