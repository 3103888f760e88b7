-- SPDX-License-Identifier: Apache-2.0
--
-- Metrics by plugin, by store and by breaker, of a gateway with two workers.
local client = require 'spec.gateway.support.client'
local metrics = require 'spec.gateway.support.metrics'
local process = require 'spec.gateway.support.process'
local redis = require 'spec.gateway.support.redis'

-- By the path: fails, waits, or never ends.
local TRIAL = [[
local ways = {
    ['/fail'] = function() error('as planned') end,
    ['/wait'] = function() ngx.sleep(0.001) end,
    ['/loop'] = function() while true do end end,
}
function plugin:access()
    local way = ways[moongate.request.get_path()]
    if way then
        way()
    end
end
]]

describe('metrics', function()
    local echo, gateway

    before_each(function()
        echo = process.echo()
    end)

    after_each(process.stop_all)

    local function start(plugins, more)
        local port = process.free_port()
        gateway = process.gateway(process.yaml({ upstream = echo.port, workers = 2,
            plugins = plugins, gateway = ('  status: { address: "127.0.0.1:%d" }\n'):format(port)
                .. (more or '') }), { folder = process.plugins({ trial = TRIAL }, process.PLUGIN) })
        gateway.status_port = port
    end

    local function scrape()
        return metrics.parse(assert(client.get(gateway.status_port, '/metrics')).body)
    end

    it('count failures and waits by plugin', function()
        start('    plugins: [{ name: trial }]\n')
        for path, times in pairs({ ['/fail'] = 3, ['/wait'] = 2, ['/loop'] = 1, ['/'] = 4 }) do
            for _ = 1, times do
                assert(client.get(gateway.port, path))
            end
        end
        local found = scrape()
        local function failures(reason)
            return found:value('moongate_plugin_failures_total',
                { plugin = 'trial', reason = reason })
        end
        assert.equal(3, failures('error'))
        assert.equal(1, failures('limit'))
        assert.equal(2, found:value('moongate_plugin_yields_total', { plugin = 'trial' }))
    end)

    it('have the time of each operation of a store', function()
        local server = redis.server()
        start(('    plugins: [{ name: rate-limit, config: { quota: 100, window: 1d, store: redis,'
            .. ' redis: { host: 127.0.0.1, port: %d } } }]\n'):format(server.port))
        for _ = 1, 20 do
            assert.equal(200, assert(client.get(gateway.port, '/')).status)
        end
        local found = scrape()
        local operations = found:value('moongate_store_operations_total', { result = 'ok' })
        local count = found:value('moongate_store_operation_duration_seconds_count')
        assert.is_true(operations >= 20, operations)
        assert.is_true(count >= operations, ('%d of %d'):format(count, operations))
    end)

    it('count the keys that have no breaker of their own, and the command tells', function()
        start('    plugins: [{ name: circuit-breaker, config: { scope: key, key: ["header:x-key"],'
            .. ' max_keys: 16, consecutive_failures: 1 } }]\n')
        for i = 1, 40 do
            assert(client.get(gateway.port, '/?status=503', { ['X-Key'] = 'key' .. i }))
        end
        local overflowed = scrape():value('moongate_breaker_overflow_total')
        assert.is_true(overflowed > 0)
        local code, text = gateway:command('breaker')
        assert.equal(0, code)
        assert.truthy(text:find((', %d requests with keys that found no place'):format(overflowed),
            1, true), text)
    end)
end)
