-- SPDX-License-Identifier: Apache-2.0
--
-- Under load: one of three targets fails, then all of them, then they are back. The bad one is left
-- out, the last one never is, and retries keep to their budget in any ten seconds. script/soak runs
-- it for a minute.
local load = require 'spec.gateway.support.load'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local SOAK = tonumber(os.getenv('MOONGATE_SOAK_FAILING_SECONDS'))
local SECONDS = SOAK or 4
local WINDOW = 10

local function echo_on(port)
    return process.start({ process.binary, 'echo', '--quiet', '--listen', '127.0.0.1:' .. port })
end

local function group_of(status)
    for _, upstream in ipairs(status.upstreams) do
        if upstream.name == 'group' then
            return upstream
        end
    end
end

local function count_healthy(upstream)
    local well = 0
    for _, target in ipairs(upstream.targets) do
        well = well + (target.health == 'healthy' and 1 or 0)
    end
    return well
end

local YAML = [[
_format_version: "3.0"
services: [{ name: s, host: group, retries: 3, routes: [{ name: r, paths: [/] }] }]
upstreams: [{ name: group, targets: [%s] }]
gateway:
  workers: 2
  listeners: [{ address: "127.0.0.1:%d" }]
  log: { level: crit }
  retry: { backoff: { base: 1ms, max: 5ms } }
  upstreams: { settings: { group: { outlier: { open: { base: 500ms, max: 1s }, ramp: 500ms } } } }
]]

local function sample(gateway)
    local from = posix.now()
    local upstream = group_of(gateway:status())
    assert.is_true(count_healthy(upstream) >= 1)
    return { from = from, to = posix.now(), first = upstream.requests,
        retries = upstream.retries.ok + upstream.retries.failed }
end

-- Samples of a load under which everything fails.
local function fail_for(gateway, seconds)
    local samples = {}
    local running = load.start(gateway.port)
    local deadline = posix.now() + seconds
    repeat
        samples[#samples + 1] = sample(gateway)
    until posix.now() > deadline
    assert.is_true(running:stop().failed > 0)
    samples[#samples + 1] = sample(gateway)
    return samples
end

-- A retry is counted when it is over, and was paid for when it began.
local UNDER_WAY = 16

local function expect_budget(a, b)
    local seconds = b.to - a.from
    if seconds <= WINDOW then
        local retries, first = b.retries - a.retries, b.first - a.first
        assert.is_true(retries <= 0.2 * first + 30 + 3 * seconds + UNDER_WAY,
            ('%d retries of %d requests in %.1f s'):format(retries, first, seconds))
    end
end

describe('B7 an upstream that fails under load', function()
    local gateway
    local ports, echoes = {}, {}

    setup(function()
        local lines = {}
        for i = 1, 3 do
            ports[i] = process.free_port()
            lines[i] = ('{ target: "127.0.0.1:%d" }'):format(ports[i])
            echoes[i] = i > 1 and echo_on(ports[i]) or nil
        end
        gateway = process.gateway(YAML:format(table.concat(lines, ', '), process.free_port()))
    end)

    teardown(process.stop_all)

    it('in one of its targets does so without a client that notices', function()
        local running = load.start(gateway.port)
        assert.truthy(gateway:wait_status(function(status)
            return group_of(status).ejections.consecutive >= 1 and
                group_of(status).requests > 2000
        end))
        assert.equal(0, running:stop().failed)
    end)

    it('in all of them keeps one in use, and its retries to their budget', function()
        for i = 2, 3 do
            echoes[i]:stop()
        end
        local samples = fail_for(gateway, SECONDS)
        for i, from in ipairs(samples) do
            for k = i + 1, #samples do
                expect_budget(from, samples[k])
            end
        end
        if SOAK then
            local first, last = samples[1], samples[#samples]
            local requests, retries = last.first - first.first, last.retries - first.retries
            print(('failing: %d requests, %d retries, %.3f tries a request'):format(requests,
                retries, 1 + retries / requests))
        end
    end)

    it('is back when its targets are', function()
        for i = 1, 3 do
            echo_on(ports[i])
        end
        assert.truthy(gateway:wait_status(function(status)
            assert(gateway:get('/'))
            return count_healthy(group_of(status)) == 3
        end))
        for _ = 1, 20 do
            assert.equal(200, assert(gateway:get('/')).status)
        end
    end)
end)
