-- SPDX-License-Identifier: Apache-2.0
--
-- Runs a scenario: starts its sides, lets them take turns, and makes medians of what was measured.
-- The gateways stand on CPU 0, load and origin (and Redis) on CPU 1.
--
--     local result = runner.run(scenario, peers, options, say)
--     -- result.sides[i]: label, peer, title, reason (of one that is left out), rounds (a list),
--     -- cpu_us, rate, p50_us, p99_us, p999_us, failed, open = { rate, p50_us, ... }, calls,
--     -- rss_bytes, fresh_pss_bytes, bytes_each
local measure = require 'bench.suite.measure'
local process = require 'spec.gateway.support.process'
local redis = require 'spec.gateway.support.redis'

local M = {}

local FIGURES = { 'cpu_us', 'rate', 'p50_us', 'p99_us', 'p999_us' }
local OPEN_LEAST = 50 -- requests a second
local CALLS_SECONDS = 0.5

--- The value in the middle; nil of an empty list.
function M.median(list)
    local sorted = {}
    for i, value in ipairs(list) do
        sorted[i] = value
    end
    table.sort(sorted)
    local middle = math.ceil(#sorted / 2)
    return #sorted % 2 == 1 and sorted[middle] or sorted[middle]
        and (sorted[middle] + sorted[middle + 1]) / 2
end

local function medians(rounds)
    local found = { failed = 0, requests = 0 }
    for _, figure in ipairs(FIGURES) do
        local list = {}
        for _, round in ipairs(rounds) do
            list[#list + 1] = round[figure]
        end
        found[figure] = M.median(list)
    end
    for _, round in ipairs(rounds) do
        found.failed = found.failed + round.failed
        found.requests = found.requests + round.requests
    end
    return found
end

local function start_origin(body)
    local origin = process.start({ 'taskset', '-c', '1', process.absolute, 'echo', '--listen',
        '127.0.0.1:0', '--size', tostring(body), '--quiet' })
    assert(origin:wait_text('\n'), 'the origin did not start: ' .. origin.err)
    return tonumber(origin.err:match('listening on 127%.0%.0%.1:(%d+)'))
end

local function start_redis()
    local server = redis.server()
    os.execute(('taskset -a -p -c 1 %d >/dev/null'):format(server.process.pid))
    return server.port
end

-- Sides that can run here; the others stay in the result with their reason.
local function open_side(side, module, place, entry)
    entry.reason = measure.reason(side, module, place)
    if entry.reason then
        return nil
    end
    local ok, found = pcall(measure.open, side, module, place)
    if not ok then
        entry.reason = tostring(found):match('^[^\n]*')
        return nil
    end
    found.entry = entry
    return found
end

local function open_sides(scenario, peers, result, place)
    local opened = {}
    for _, side in ipairs(scenario.sides) do
        local module = peers[side.peer]
        if module then -- else it was not asked for
            local entry = { label = side.label or side.peer, peer = side.peer,
                title = module.title }
            result.sides[#result.sides + 1] = entry
            opened[#opened + 1] = open_side(side, module, place, entry)
        end
    end
    return opened
end

local function connect_all(opened, scenario, options)
    local ready = {}
    for _, side in ipairs(opened) do
        local count = options.connections or side.side.connections or 64
        local ok, err = pcall(side.connect, side, count, scenario.body or 1024)
        if ok then
            side.entry.connections = count
            ready[#ready + 1] = side
        else
            side.entry.reason = tostring(err):match('^[^\n]*')
        end
    end
    return ready
end

local function take_turns(sides, count, run)
    local rounds = {}
    for i = 1, #sides do
        rounds[i] = {}
    end
    for round = 1, count do
        for step = 1, #sides do
            local at = (step + round) % #sides + 1 -- each round begins with another one
            rounds[at][round] = run(sides[at])
        end
    end
    return rounds
end

local function run_closed(sides, options)
    for _, side in ipairs(sides) do
        side:burst(options.seconds) -- until all is compiled, allocated and connected
    end
    local rounds = take_turns(sides, options.rounds, function(side)
        return side:burst(options.seconds)
    end)
    for i, side in ipairs(sides) do
        side.entry.rounds = rounds[i]
        for key, value in pairs(medians(rounds[i])) do
            side.entry[key] = value
        end
    end
end

-- A third of what the slower of Moongate and nginx can do; of what a slow side itself can do.
local function open_rate(sides)
    local least = math.huge
    for _, side in ipairs(sides) do
        if side.entry.peer:find('^nginx') or side.entry.peer == 'moongate' then
            least = math.min(least, side.entry.rate)
        end
    end
    return function(side)
        return math.max(OPEN_LEAST, math.floor(math.min(least, side.entry.rate) / 3))
    end
end

local function run_open(sides, options)
    local rate = open_rate(sides)
    local rounds = take_turns(sides, options.rounds, function(side)
        return side:burst(options.seconds, rate(side))
    end)
    for i, side in ipairs(sides) do
        side.entry.open = medians(rounds[i])
        side.entry.open.rounds = rounds[i]
        side.entry.open.rate = rate(side)
    end
end

-- The same work on each side: a line for each request, but for the last ones in a buffer.
local function check_log(side)
    local lines = side:log_lines()
    assert(lines >= 0.9 * side.entry.requests, ('%s has logged %d lines of %d requests'):format(
        side.entry.label, lines, side.entry.requests))
end

local function run_load(sides, scenario, options, say)
    say(('  %d rounds of %g s on each of %d sides'):format(options.rounds, options.seconds,
        #sides))
    run_closed(sides, options)
    if scenario.open_loop then
        run_open(sides, options)
    end
    for _, side in ipairs(sides) do
        if side.side.setup and side.side.setup.policies then
            check_log(side)
        end
        side.entry.rss_bytes = measure.memory(side.pids, 'Rss')
        if scenario.calls and options.calls then
            side.entry.calls = side:calls(math.min(options.seconds, CALLS_SECONDS))
        end
    end
end

-- What each connection that rests costs, once the first hundred have brought all that is shared.
local function run_idle(opened, count)
    local few = 100
    for _, side in ipairs(opened) do
        local entry = side.entry
        entry.fresh_pss_bytes = side.fresh_pss_bytes
        local ok, err = pcall(function()
            side:connect(few, 1024)
            local before = measure.memory(side.pids, 'Anonymous')
            local first = side.load
            side.load = nil
            side:connect(count - few, 1024)
            entry.rss_bytes = measure.memory(side.pids, 'Rss')
            entry.bytes_each = (measure.memory(side.pids, 'Anonymous') - before) / (count - few)
            entry.connections = count
            first:stop()
        end)
        if not ok then
            entry.reason = tostring(err):match('^[^\n]*')
        end
        side:close()
    end
end

--- Runs one scenario.
-- @tparam table scenario
-- @tparam {string=table} peers modules by name
-- @tparam table options rounds, seconds, connections, calls
-- @tparam function say gets lines that tell how far it is
-- @treturn table name, title, sides
function M.run(scenario, peers, options, say)
    local result = { name = scenario.name, title = scenario.title, sides = {} }
    local place = { origin = start_origin(scenario.body or 1024),
        redis = scenario.redis and start_redis() or nil }
    local opened = open_sides(scenario, peers, result, place)
    if scenario.idle then
        run_idle(opened, scenario.idle)
    else
        local ready = connect_all(opened, scenario, options)
        if #ready > 0 then
            run_load(ready, scenario, options, say)
        end
    end
    process.stop_all()
    return result
end

return M
