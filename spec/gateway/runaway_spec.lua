-- SPDX-License-Identifier: Apache-2.0
--
-- A plugin that never ends, on one route: its request is given up after cpu_ms of CPU time, again
-- and again, and the requests of the other route do not notice more than a pause.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local procfs = require 'spec.gateway.support.procfs'

-- A hundred in script/soak.
local SOAK = tonumber(os.getenv('MOONGATE_SOAK_STOPS'))
local TIMES = SOAK or 20
local CPU_MS = 50
local SLACK_MS = 20
-- Under sanitizers the answer alone costs more than that: there only the stop itself is looked at.
local MOST_MS = os.getenv('MOONGATE_PRESET') == 'asan' and math.huge or CPU_MS + SLACK_MS

local PLUGIN = [[
local plugin = { PRIORITY = 1000, VERSION = '0.1.0' }
local loops = {}

loops['for'] = function()
    local sum = 0
    for i = 1, math.huge do
        sum = sum + i % 7
    end
    return sum
end

loops['while'] = function()
    while true do end
end

loops['goto'] = function()
    ::again::
    goto again
end

loops['repeat over tables and strings'] = function()
    repeat
        local list = {}
        for i = 1, 50 do
            list[i] = ('x'):rep(i) .. i
        end
        table.sort(list)
    until #list == 0
end

loops['tail call'] = function()
    local function call(n)
        return call(n + 1)
    end
    return call(1)
end

loops['recursion'] = function()
    local function call(n)
        return 1 + call(n + 1)
    end
    while true do
        pcall(call, 1)
    end
end

loops['pcall'] = function()
    while true do
        pcall(function()
            while true do end
        end)
    end
end

loops['error handler'] = function()
    xpcall(error, function()
        while true do end
    end, 'x')
end

loops['coroutine'] = function()
    while true do
        coroutine.wrap(function()
            for i = 1, math.huge do
                coroutine.yield(i)
            end
        end)()
    end
end

loops['nested coroutine'] = function()
    local inner = coroutine.wrap(function()
        while true do end
    end)
    return inner()
end

loops['comparator'] = function()
    table.sort({ 1, 2, 3 }, function()
        while true do end
    end)
end

loops['metamethod'] = function()
    local object = setmetatable({}, { __index = function()
        while true do end
    end })
    return object.x
end

loops['gsub callback'] = function()
    return (('x'):rep(10):gsub('x', function()
        while true do end
    end))
end

function plugin:access()
    loops[moongate.request.get_header('X-Kind')]()
end

return plugin
]]

local KINDS = { 'for', 'while', 'goto', 'repeat over tables and strings', 'tail call', 'recursion',
    'pcall', 'error handler', 'coroutine', 'nested coroutine', 'comparator', 'metamethod',
    'gsub callback' }

local YAML = [[
_format_version: "3.0"
services:
- name: echo
  url: http://127.0.0.1:%d
  routes:
  - name: a
    paths: [/a]
    plugins: [{ name: runaway }]
  - name: b
    paths: [/b]
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
  plugins: { watchdog_ms: 30000, settings: { runaway: { cpu_ms: %d, quarantine: false } } }
]]

describe('an endless loop in a plugin', function()
    local gateway, worker

    setup(function()
        local folder = process.folder()
        os.execute('mkdir ' .. folder .. '/plugins')
        process.write(folder .. '/plugins/runaway.lua', PLUGIN)
        gateway = process.gateway(YAML:format(process.echo().port, process.free_port(), CPU_MS),
            { folder = folder })
        worker = gateway:status().workers[1].pid
    end)

    teardown(process.stop_all)

    -- CPU time is that of the worker from before the request to after its answer, so the little
    -- that the answer costs is in it.
    local function stop_once(connection, kind)
        local before = procfs.cpu_ms(worker)
        local answer = assert(connection:request('GET', '/a', { ['X-Kind'] = kind }))
        local used = procfs.cpu_ms(worker) - before
        assert.equal(503, answer.status, answer.body)
        assert.equal('application/problem+json', answer.headers['content-type'])
        return used
    end

    for _, kind in ipairs(KINDS) do
        it(('(%s) is stopped each time, soon after %d ms of CPU'):format(kind, CPU_MS), function()
            local connection = assert(client.connect(gateway.port))
            local times = {}
            for i = 1, TIMES do
                times[i] = stop_once(connection, kind)
            end
            connection:close()
            table.sort(times)
            if SOAK then
                print(('    %s: median %.1f ms, longest %.1f and %.1f ms of %d'):format(kind,
                    times[math.ceil(TIMES / 2)], times[TIMES - 1], times[TIMES], TIMES))
            end
            -- Where the host takes a virtual CPU away, the kernel books that time on who ran: one
            -- such jump says nothing about the limiter, a second one of the same kind does.
            assert.is_true(times[TIMES - 1] <= MOST_MS, ('%.1f ms'):format(times[TIMES - 1]))
        end)
    end

    it('leaves no request of another route without its answer', function()
        local a, b = assert(client.connect(gateway.port)), assert(client.connect(gateway.port))
        for i = 1, TIMES do
            local kind = KINDS[i % #KINDS + 1]
            assert(a:send(('GET /a HTTP/1.1\r\nHost: x\r\nX-Kind: %s\r\n\r\n'):format(kind)))
            -- While the loop runs, and so that some come before it and some behind it.
            for _ = 1, 5 do
                assert.equal(200, assert(b:request('GET', '/b')).status)
            end
            assert.equal(503, assert(a:response()).status)
        end
        a:close()
        b:close()
    end)

    it('is counted, and neither restarted nor quarantined', function()
        local status = gateway:status()
        assert.equal(worker, status.workers[1].pid)
        assert.is_true(posix.is_alive(worker))
        assert.equal(TIMES * (#KINDS + 1), status.outcomes.plugin_limit)
        assert.equal(status.outcomes.plugin_limit, status.counters.limit_cpu_ms)
        assert.equal(0, status.counters.plugin_quarantined)
        assert.equal(5 * TIMES, status.outcomes.ok)
    end)
end)
