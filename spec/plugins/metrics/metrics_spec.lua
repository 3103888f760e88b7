-- SPDX-License-Identifier: Apache-2.0
-- moongate.metrics as plugins and their specs see it.
local gateway = require 'moongate.test'

local YAML = [[
_format_version: "3.0"
services:
- name: up
  url: http://127.0.0.1:9101
  routes: [{ name: all, paths: [/] }]
plugins: [{ name: meter-it }]
gateway: { metrics: { series: 100 } }
]]

local PREFIX = 'moongate_plugin_meter_it_'

describe('metrics of a plugin', function()
    local gw

    before_each(function()
        gw = gateway.start(YAML, { plugins_path = 'spec/plugins/metrics/plugins' })
    end)

    after_each(function()
        gw:stop()
    end)

    local function act(text)
        return gw:get('/', { headers = { ['X-Act'] = text } })
    end

    it('count, by labels, what handlers tell them', function()
        act('hit red')
        act('hit red')
        act('hit blue')
        act('pair x y')
        assert.equal(2, gw:metric(PREFIX .. 'hits_total', { kind = 'red' }))
        assert.equal(3, gw:metric(PREFIX .. 'hits_total'))
        assert.equal(2, gw:metric(PREFIX .. 'pairs_total', { a = 'x', b = 'y' }))
        assert.is_nil(gw:metric(PREFIX .. 'pairs_total', { a = 'y' }))
        assert.equal(4, gw:metric(PREFIX .. 'plain_total'))
        assert.equal(2, gw:metric(PREFIX .. 'configured_total')) -- halves
    end)

    it('set gauges, for all workers', function()
        act('depth 7')
        assert.equal(7, gw:metric(PREFIX .. 'depth', { queue = 'q' }))
        act('depth 3 -1.5')
        assert.equal(1.5, gw:metric(PREFIX .. 'depth', { queue = 'q' }))
    end)

    it('put values in buckets', function()
        for _, value in ipairs({ 5, 10, 11, 1000 }) do
            act('size ' .. value)
        end
        assert.equal(2, gw:metric(PREFIX .. 'size_bytes_bucket', { le = 10 }))
        assert.equal(3, gw:metric(PREFIX .. 'size_bytes_bucket', { le = 100 }))
        assert.equal(4, gw:metric(PREFIX .. 'size_bytes_bucket', { le = '+Inf' }))
        assert.equal(4, gw:metric(PREFIX .. 'size_bytes_count'))
        assert.equal(1026, gw:metric(PREFIX .. 'size_bytes_sum'))
    end)

    it('keep what was counted over a reload', function()
        act('hit red')
        assert(gw:reload(YAML))
        act('hit red')
        assert.equal(2, gw:metric(PREFIX .. 'hits_total', { kind = 'red' }))
    end)

    it('have at most metrics.series sets of values, and one for the rest', function()
        act('invent 10000')
        act('hit red')
        assert.equal(10001, gw:metric(PREFIX .. 'hits_total'))
        assert.equal(1, gw:metric(PREFIX .. 'hits_total', { kind = 'invented 1' }))
        assert.equal(9901, gw:metric(PREFIX .. 'hits_total', { kind = '__overflow__' }))
        assert.equal(9901, gw:metric('moongate_metric_series_overflow_total',
            { metric = PREFIX .. 'hits_total' }))
    end)

    it('refuse what cannot be counted', function()
        assert.equal('plugin_error', act('missing').outcome)
        assert.equal('plugin_error', act('negative').outcome)
        local texts = {}
        for i, line in ipairs(gw.logs) do
            texts[i] = line.message
        end
        local all = table.concat(texts, '\n')
        assert.truthy(all:find('no value for label "b"', 1, true), all)
        assert.truthy(all:find('a counter only rises', 1, true), all)
    end)

    it('stand beside those of the gateway', function()
        act('hit red')
        assert.equal(1, gw:metric('moongate_http_requests_total', { route = 'all', code = 200 }))
    end)

    it('are refused where they are declared wrongly', function()
        local cases = {
            { "moongate.metrics.counter('hits')", 'ends in _total: hits_total' },
            { "moongate.metrics.counter('h-its_total')", 'bad name of a metric' },
            { "moongate.metrics.gauge('g', { '__a' })", 'bad name of a label' },
            { "moongate.metrics.gauge('g', { 'a', 'a' })", 'bad name of a label' },
            { "moongate.metrics.histogram('h', { 'le' })", 'bad name of a label' },
            { "moongate.metrics.gauge('g', { 'a', 'b', 'c', 'd', 'e', 'f', 'g' })", 'at most 6' },
            { "moongate.metrics.histogram('h', {}, { buckets = { 2, 1 } })", 'rising numbers' },
            { "moongate.metrics.histogram('h', {}, { buckets = {} })", '1 to 24 buckets' },
            { "moongate.metrics.gauge(7)", 'name' },
        }
        for _, case in ipairs(cases) do
            local res = gw:get('/', { headers = { ['X-Act'] = 'declare', ['X-Code'] = case[1] } })
            assert.truthy(res.body:find(case[2], 1, true), case[1] .. ': ' .. res.body)
        end
    end)
end)
