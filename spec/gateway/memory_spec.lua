-- SPDX-License-Identifier: Apache-2.0
--
-- Idle, a worker and its connections are small (script/bench idle opens 9,000 of them). And nothing
-- piles up: under requests through every plugin we ship and one of the operator's, the worker's
-- memory stops growing after the warm-up, and no descriptor stays open.
local client = require 'spec.gateway.support.client'
local load = require 'spec.gateway.support.load'
local peers = require 'spec.gateway.support.peers'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local procfs = require 'spec.gateway.support.procfs'

local SOAK = tonumber(os.getenv('MOONGATE_SOAK_REQUESTS'))
local REQUESTS = SOAK or 30000
local WARM_UP = SOAK and 100000 or 40000
local SAMPLES = 30
-- The slope that counts as none; bytes a request. The garbage collector moves the figure up and
-- down by half a megabyte, which over the short run looks like a slope of 30; in the soak no lost
-- allocation, however small, is below it.
local MOST_SLOPE = SOAK and 0.5 or 64
local IS_MEASURED = os.getenv('MOONGATE_PRESET') ~= 'asan'
if not IS_MEASURED then
    REQUESTS, WARM_UP = 3000, 1000
end

local PLUGIN = [[
local plugin = { PRIORITY = 900, VERSION = '0.1.0' }

function plugin:access()
    moongate.sleep(0)
    moongate.ctx.plugin.seen = { path = moongate.request.get_path() .. '?' }
    moongate.service.request.set_header('X-Seen', moongate.ctx.plugin.seen.path)
end

function plugin:header_filter()
    moongate.response.set_header('X-Time', tostring(math.random()))
end

function plugin:body_filter()
    moongate.response.set_raw_body(moongate.response.get_raw_body())
end

function plugin:log()
    moongate.ctx.plugin.seen = nil
end

return plugin
]]

local YAML = [[
_format_version: "3.0"
services:
- name: echo
  url: http://127.0.0.1:%d
  routes:
  - name: echo
    paths: ["/", "~/orders/(?<id>[0-9]+)$"]
plugins:
- { name: own }
- { name: correlation-id }
- { name: cors }
- { name: rate-limit, config: { quota: 100000000, window: 60s } }
- { name: circuit-breaker, config: { consecutive_failures: 5 } }
- name: access-log
  config: { sinks: [{ type: file, path: "%s/access.log" }] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
]]

-- Slope of the line through the points, by least squares.
local function slope_of(points)
    local n, sx, sy, sxx, sxy = #points, 0, 0, 0, 0
    for _, point in ipairs(points) do
        sx, sy = sx + point.x, sy + point.y
        sxx, sxy = sxx + point.x * point.x, sxy + point.x * point.y
    end
    return (n * sxy - sx * sy) / (n * sxx - sx * sx)
end

describe('a worker that answers many requests', function()
    local gateway, worker
    local missing = peers.missing({ 'wrk' })

    setup(function()
        local folder = process.plugins({ own = PLUGIN })
        gateway = process.gateway(YAML:format(process.echo('--size', '1024').port, folder,
            process.free_port()), { folder = folder })
        worker = gateway:status().workers[1].pid
    end)

    teardown(process.stop_all)

    local function run_to(requests)
        local status = assert(gateway:wait_status(function(now)
            return now.counters.requests >= requests
        end, 600))
        return status.counters.requests
    end

    local function wait_quiet()
        assert.truthy(gateway:wait_status(function(now)
            return now.counters.connections == 0
        end))
    end

    -- How many connections to the upstream stay idle in the pool depends on the load's timing.
    local function files_without_pool()
        return procfs.open_files(worker) - gateway:status().counters.upstream_connections
    end

    it('neither grows nor keeps descriptors', function()
        if missing then
            pending(missing)
            return
        end
        local first = load.start(gateway.port, { connections = 32, path = '/orders/7' })
        run_to(WARM_UP)
        assert.equal(0, first:stop().failed)
        wait_quiet()
        local files = files_without_pool()

        local second = load.start(gateway.port, { connections = 32, path = '/orders/7' })
        local begin = gateway:status().counters.requests
        local points = {}
        for i = 1, SAMPLES do
            points[i] = { x = run_to(begin + REQUESTS * i / SAMPLES) }
            points[i].y = procfs.rss_bytes(worker)
        end
        local result = second:stop()
        assert.equal(0, result.failed, result.text)
        wait_quiet()

        local slope = slope_of(points)
        local text = ('%d requests: RSS %.2f to %.2f MB, slope %.3f bytes a request, %d files')
            :format(points[SAMPLES].x - begin, points[1].y / 1e6, points[SAMPLES].y / 1e6, slope,
                files)
        assert.is_true(not IS_MEASURED or slope <= MOST_SLOPE, text)
        assert.is_true(files_without_pool() <= files, text)
        local status = gateway:status()
        -- What was under way when the load ended was given up by wrk.
        local given_up = status.outcomes.client_abort
        assert.equal(status.counters.requests, status.outcomes.ok + given_up)
        assert.is_true(given_up <= 64)
        assert.equal(0, status.workers[1].restarts)
        if SOAK then
            print('    ' .. text)
        end
    end)
end)

describe('an idle worker', function()
    local IDLE = 2000
    local MOST_RSS = 15e6
    local MOST_EACH = 1024

    teardown(process.stop_all)

    it('is small, and so is each idle connection', function()
        posix.allow_descriptors(IDLE + 200)
        local gateway = process.gateway(process.yaml{ upstream = process.echo().port,
            gateway = ('  limits: { connections: %d }'):format(2 * IDLE) })
        local worker = gateway:status().workers[1].pid
        assert.is_true(not IS_MEASURED or procfs.rss_bytes(worker) <= MOST_RSS)
        local connections = {}
        local function open_to(count)
            for i = #connections + 1, count do
                connections[i] = assert(client.connect(gateway.port))
                assert.equal(200, assert(connections[i]:request('GET', '/')).status)
            end
            assert.truthy(gateway:wait_status(function(status)
                return status.counters.connections_idle == count
            end))
            return procfs.anonymous_bytes(worker)
        end
        local before = open_to(100)
        local each = (open_to(IDLE) - before) / (IDLE - 100)
        assert.is_true(not IS_MEASURED or each <= MOST_EACH, ('%.0f bytes'):format(each))
        for _, connection in ipairs(connections) do
            connection:close()
        end
    end)
end)
