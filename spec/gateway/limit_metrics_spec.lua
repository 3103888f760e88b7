-- SPDX-License-Identifier: Apache-2.0
--
-- What /metrics tells of rate-limit beside its decisions: bans, delays, parts of keys that are
-- missing, buckets that run over. Of a gateway with two workers.
local client = require 'spec.gateway.support.client'
local limited = require 'spec.gateway.support.limited'
local metrics = require 'spec.gateway.support.metrics'
local process = require 'spec.gateway.support.process'

describe('metrics of rate-limit', function()
    local echo, gateway, status_port

    before_each(function()
        echo, status_port = process.echo(), process.free_port()
    end)

    after_each(process.stop_all)

    local function start(config)
        gateway = process.gateway(process.yaml({ upstream = echo.port, workers = 2,
            plugins = '    plugins: [{ name: rate-limit, config: ' .. config .. ' }]\n',
            gateway = ('  status: { address: "127.0.0.1:%d" }\n'):format(status_port) }))
    end

    local function get(fields)
        return assert(client.get(gateway.port, '/', fields)).status
    end

    local function value(name, labels)
        local found = metrics.parse(assert(client.get(status_port, '/metrics')).body)
        return found:value('moongate_ratelimit_' .. name, labels)
    end

    local function await(wanted, name, labels)
        limited.wait_until(function()
            return value(name, labels) == wanted
        end, ('%s = %d'):format(name, wanted))
    end

    it('count bans by the limit that denied, and the keys that are banned now', function()
        start('{ limits: [{ name: many, quota: 1000, window: 1h }, { name: few, quota: 1,'
            .. ' window: 1h }], key: ["header:x-key"], ban: { after: 1, within: 1m, for: 1h } }')
        assert.equal(0, value('banned_keys'))
        for _, name in ipairs({ 'a', 'b' }) do
            local statuses = {}
            for i = 1, 4 do
                statuses[i] = get({ ['X-Key'] = name })
            end
            assert.same({ 200, 429, 403, 403 }, statuses)
        end
        assert.equal(2, value('bans_total', { policy = 'few' }))
        assert.equal(0, value('bans_total', { policy = 'many' }))
        await(2, 'banned_keys')
    end)

    it('count parts of keys that are missing, by limit and part', function()
        start('{ limits: [{ name: each, quota: 100, window: 1h }, { name: both, quota: 100,'
            .. ' window: 1h, key: [consumer, "header:X-Key"] }], key: ["header:X-Key"] }')
        assert.equal(0, value('key_missing_total', { policy = 'each', part = 'header:x-key' }))
        get({ ['X-Key'] = 'a' })
        get()
        get()
        assert.equal(2, value('key_missing_total', { policy = 'each', part = 'header:x-key' }))
        assert.equal(2, value('key_missing_total', { policy = 'both', part = 'header:x-key' }))
        assert.equal(3, value('key_missing_total', { policy = 'both', part = 'consumer' }))
    end)

    it('count missing parts alike where the plan makes the key', function()
        start('{ quota: 100, window: 1h, key: [ip, "header:X-Key"] }')
        get()
        get({ ['X-Key'] = 'a' })
        assert.equal(1, value('key_missing_total', { policy = 'default', part = 'header:x-key' }))
    end)

    it('count a cost that is missing', function()
        start('{ quota: 100, window: 1h, cost: "header:X-Cost" }')
        get()
        get({ ['X-Cost'] = '2' })
        assert.equal(1, value('key_missing_total', { policy = 'default', part = 'cost' }))
    end)

    it('tell by limit how many decisions fell into an overflow bucket', function()
        start('{ limits: [{ name: one, quota: 1000, window: 1h }], max_keys: 1024,'
            .. ' key: ["header:x-key"] }')
        for i = 1, 80 do -- one network has a sixteenth of the keys: 64
            assert.equal(200, get({ ['X-Key'] = 'key' .. i }))
        end
        assert.equal(16, value('overflow_total', { policy = 'one' }))
    end)

    it('show delays, and only those requests as sleeping whose client waits', function()
        start('{ quota: 1, window: 100ms, algorithm: leaky-bucket, burst: 100, max_delay: 10s }')
        assert.equal(200, get())
        assert.equal(200, get()) -- after its turn has come
        assert.equal(1, value('delay_seconds_count'))
        assert.equal(0, value('sleepers'))
        local waiting = {}
        for i = 1, 40 do
            waiting[i] = assert(client.connect(gateway.port))
            waiting[i]:send('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
        end
        limited.wait_until(function()
            return value('delay_seconds_count') >= 40
        end, 'the delays')
        assert.is_true(value('sleepers') > 0)
        for _, connection in ipairs(waiting) do
            connection:close()
        end
        await(0, 'sleepers')
    end)
end)
