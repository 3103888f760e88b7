-- SPDX-License-Identifier: Apache-2.0
--
-- A2: all three policies under load while what they stand on fails in turn: Redis hangs (R9), an
-- upstream hangs (B2), a log collector dies (L1). Nothing piles up in the workers, and the
-- metrics are clean. `script/soak policies_soak` goes round for 15 minutes.
local open_load = require 'spec.gateway.support.open_load'
local peers = require 'spec.gateway.support.peers'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local procfs = require 'spec.gateway.support.procfs'
local redis = require 'spec.gateway.support.redis'
local client = require 'spec.gateway.support.client'
local dkjson = require 'dkjson'

local SECONDS = tonumber(os.getenv('MOONGATE_SOAK_POLICIES_SECONDS'))
local RATE = 100
local FAULT = SECONDS and 5 or 0.3 -- s that each of three lasts; as long again between them
local ROUNDS = SECONDS and math.max(4, math.floor(SECONDS / (6 * FAULT))) or 2
-- Memory may grow for so many rounds: until as many requests have waited at a time, for each of
-- the faults, as ever will, and the garbage collector has found its pace.
local WARM_UP = math.floor(ROUNDS / 2)
local MOST_SLOPE = 64 * 1024 -- bytes a round: the garbage collector moves it more, to and fro
local MOST_FILES = 1   -- descriptors a round: connections of the load come and go

local YAML = [[
_format_version: "3.0"
services:
- name: echo
  url: http://127.0.0.1:%d
  read_timeout: 1000
  routes: [{ name: echo, paths: ["/"] }]
plugins:
- name: rate-limit
  config: { key: [const:all], quota: 1000000, window: 1h, algorithm: fixed-window, store: redis,
    redis: { host: 127.0.0.1, port: %d } }
- { name: circuit-breaker, config: { consecutive_failures: 5, open: { base: 1s, max: 2s } } }
- name: access-log
  config: { sinks: [{ type: http, url: "http://127.0.0.1:%d/", timeout: 200ms }],
    queue: { entries: 500, flush: 50ms }, retry: { max: 200ms, for: 10m } }
gateway:
  workers: 2
  listeners: [{ address: "127.0.0.1:%d" }]
  status: { address: "127.0.0.1:%d" }
  limits: { keepalive_timeout: 1h } # the load does not look at connections that it does not use
]]

-- By least squares, for points 1 apart.
local function slope_of(list)
    local n, sx, sy, sxx, sxy = #list, 0, 0, 0, 0
    for x, y in ipairs(list) do
        sx, sy, sxx, sxy = sx + x, sy + y, sxx + x * x, sxy + x * y
    end
    return (n * sxy - sx * sy) / (n * sxx - sx * sx)
end

describe('A2 the three policies', function()
    local missing = peers.missing({ 'node' })
    local echo, store, collector, gateway, folder, status_port

    local function start_collector(port)
        collector = process.start({ 'node', 'spec/gateway/support/collector.mjs',
            folder .. '/collected', tostring(port or 0) })
        assert(collector:wait_text('\n', nil, 'out'), collector.err)
        return assert(dkjson.decode(collector.out, 1, nil)).http
    end

    teardown(process.stop_all)

    -- Own memory and descriptors of both workers.
    local function used()
        local bytes, files = 0, 0
        for _, worker in ipairs(gateway:status().workers) do
            bytes = bytes + procfs.anonymous_bytes(worker.pid)
            files = files + procfs.open_files(worker.pid)
        end
        return bytes, files
    end

    local function go_round(collector_port)
        store:signal('STOP')
        posix.pause(FAULT)
        store:signal('CONT')
        posix.pause(FAULT)
        echo:signal('STOP')
        posix.pause(FAULT)
        echo:signal('CONT')
        posix.pause(FAULT)
        collector:signal('KILL')
        collector:wait()
        posix.pause(FAULT)
        start_collector(collector_port)
        posix.pause(FAULT)
    end

    local function check_metrics()
        local tool = os.getenv('PROMTOOL') or 'promtool'
        local response = assert(client.get(status_port, '/metrics'))
        assert.equal(200, response.status)
        if os.execute(('command -v %s >/dev/null'):format(tool)) == 0 then
            local path = process.write(folder .. '/metrics', response.body)
            assert.equal(0, os.execute(('%s check metrics <%s >%s.out 2>&1'):format(tool, path,
                path)), process.read(path .. '.out'))
        end
    end

    it('leave nothing behind while what they stand on fails in turn', function()
        if missing then pending(missing) return end
        folder, status_port = process.folder(), process.free_port()
        echo, store = process.echo('--size', '100'), redis.server()
        local collector_port = start_collector()
        gateway = process.gateway(YAML:format(echo.port, store.port, collector_port,
            process.free_port(), status_port), { folder = folder })
        local running = open_load.start(gateway.port, { rate = RATE, paths = { '/' } })
        local memory, files = {}, {}
        for round = 1, ROUNDS do
            go_round(collector_port)
            local bytes, open = used()
            if round > WARM_UP then
                memory[#memory + 1], files[#files + 1] = bytes, open
            end
        end
        local records = running:stop()
        local statuses = open_load.count(records, 'status')
        if SECONDS then
            local slope = slope_of(memory)
            print(('%d rounds, %d requests, %d answered 200; the second half: %.2f to %.2f MB, '
                .. 'slope %.0f bytes a round; %d to %d descriptors'):format(ROUNDS, #records,
                statuses[200], memory[1] / 1e6, memory[#memory] / 1e6, slope, files[1],
                files[#files]))
            assert.is_true(slope < MOST_SLOPE, slope)
            assert.is_true(slope_of(files) < MOST_FILES, slope_of(files))
        end
        check_metrics()
        for status in pairs(statuses) do
            assert.is_true(status == 200 or status == 503 or status == 504 or status == 502, status)
        end
        assert.is_true(statuses[200] > #records / 4, statuses[200])
    end)
end)
