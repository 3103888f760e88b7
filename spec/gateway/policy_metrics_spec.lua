-- SPDX-License-Identifier: Apache-2.0
--
-- Metrics by plugin, by store and by breaker, of a gateway with two workers.
local client = require 'spec.gateway.support.client'
local limited = require 'spec.gateway.support.limited'
local metrics = require 'spec.gateway.support.metrics'
local process = require 'spec.gateway.support.process'
local redis = require 'spec.gateway.support.redis'

-- By the path: answers, fails, waits, or never ends.
local TRIAL = [[
local ways = {
    ['/exit'] = function() moongate.response.exit(204) end,
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
function plugin:header_filter()
    if moongate.request.get_path() == '/replace' then
        moongate.response.exit(418)
    end
end
]]

-- Behind it: one that takes its time, and one that does not.
local SLOW = [[
plugin.PRIORITY = 0
function plugin:access()
    local sum = 0
    for i = 1, 1e5 do
        sum = (sum + i * i) % 1000003
    end
    self.sum = sum
end
function plugin:header_filter() end
function plugin:log() end
]]
local QUICK = [[
plugin.PRIORITY = -1
function plugin:access() end
]]

describe('metrics', function()
    local echo, gateway

    before_each(function()
        echo = process.echo()
    end)

    after_each(process.stop_all)

    local function start(plugins, more, workers)
        local port = process.free_port()
        gateway = process.gateway(process.yaml({ upstream = echo.port, workers = workers or 2,
            plugins = plugins, gateway = ('  status: { address: "127.0.0.1:%d" }\n'):format(port)
                .. (more or '') }), { folder = process.plugins({ trial = TRIAL, slow = SLOW,
                quick = QUICK }, process.PLUGIN) })
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

    it('count what each handler did', function()
        start('    plugins: [{ name: trial }, { name: slow }, { name: quick },'
            .. ' { name: access-log }, { name: rate-limit, config: { quota: 155, window: 1d } }]\n')
        local plan = { ['/'] = 140, ['/wait'] = 4, ['/exit'] = 7, ['/fail'] = 3, ['/loop'] = 1 }
        for path, times in pairs(plan) do
            for _ = 1, times do
                assert(client.get(gateway.port, path))
            end
        end
        for _ = 1, 2 do
            assert.equal(429, assert(client.get(gateway.port, '/')).status)
        end
        local found
        local function runs(plugin, phase, outcome)
            return found:value('moongate_plugin_runs_total', { plugin = plugin, phase = phase,
                outcome = outcome, route = 'echo' })
        end
        limited.wait_until(function() -- log comes after the answer
            found = scrape()
            return runs('slow', 'log', 'ok') == 157
        end, 'the runs of the last request')
        assert.same({ 144, 7, 3, 1 }, { runs('trial', 'access', 'ok'),
            runs('trial', 'access', 'exit'), runs('trial', 'access', 'error'),
            runs('trial', 'access', 'limit') })
        assert.same({ 144, 157, 144 }, { runs('slow', 'access', 'ok'), runs('slow', 'log', 'ok'),
            runs('quick', 'access', 'ok') })
        assert.same({ 155, 2, 157 }, { runs('rate-limit', 'access', 'ok'),
            runs('rate-limit', 'access', 'exit'), runs('access-log', 'log', 'ok') })
        assert.is_nil(runs('slow', 'access', 'exit'))
        assert.is_nil(runs('trial', 'log'))
    end)

    it('count an exit in header_filter as that, of the plugin that made the answer', function()
        start('    plugins: [{ name: trial }, { name: slow }]\n')
        for path, status in pairs({ ['/replace'] = 418, ['/'] = 200 }) do
            for _ = 1, 140 do -- so that some runs are among those that are measured
                assert.equal(status, assert(client.get(gateway.port, path)).status)
            end
        end
        local found = scrape()
        local function runs(plugin, outcome)
            return found:value('moongate_plugin_runs_total', { plugin = plugin,
                phase = 'header_filter', outcome = outcome, route = 'echo' })
        end
        assert.same({ 140, 140, 280 }, { runs('trial', 'exit'), runs('trial', 'ok'),
            runs('slow', 'ok') })
    end)

    it('have the time of waits, and an estimate of the CPU time', function()
        start('    plugins: [{ name: trial }, { name: slow }, { name: quick }]\n', nil, 1)
        for _ = 1, 3 do
            assert(client.get(gateway.port, '/wait'))
        end
        for _ = 1, 400 do
            assert(client.get(gateway.port, '/'))
        end
        local found = scrape()
        local function value(name, plugin)
            return found:value('moongate_plugin_' .. name, { plugin = plugin, phase = 'access' })
        end
        assert.equal(3, value('wait_seconds_count', 'trial'))
        assert.is_true(value('wait_seconds_sum', 'trial') >= 0.002)
        local count = value('cpu_seconds_count', 'slow') -- of 806 runs of chains one in 127
        assert.is_true(count > 0 and count % 127 == 0, count)
        assert.equal(count, value('cpu_seconds_count', 'quick'))
        local slow, quick = value('cpu_seconds_sum', 'slow'), value('cpu_seconds_sum', 'quick')
        assert.is_true(slow > 10 * quick, ('%g against %g'):format(slow, quick))
    end)

    it('say which plugin is in quarantine, until a reload', function()
        start('    plugins: [{ name: trial }]\n',
            '  plugins: { settings: { trial: { cpu_ms: 10 } } }\n', 1)
        for _ = 1, 3 do
            assert(client.get(gateway.port, '/loop'))
        end
        local function quarantined()
            return scrape():value('moongate_plugin_quarantined', { plugin = 'trial' })
        end
        assert.equal(1, quarantined())
        assert.equal(503, assert(client.get(gateway.port, '/')).status)
        assert.equal(0, (gateway:command('reload')))
        assert.equal(0, quarantined())
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
