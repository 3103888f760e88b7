-- SPDX-License-Identifier: Apache-2.0
--
-- What a run has found, for people and for programs: tables in Markdown, the bars, JSON.
local cjson = require 'cjson'
local runner = require 'bench.suite.runner'
local launch = require 'bench.peers.launch'

local M = {}

--- The machine and the versions of all that was measured.
-- @tparam {string=table} peers
-- @treturn table
function M.machine(peers)
    local versions = {}
    for name, peer in pairs(peers) do
        versions[name] = not peer.missing() and peer.version() or nil
    end
    local cpu = launch.output('cat /proc/cpuinfo'):match('model name%s*:%s*([^\n]+)')
    local _, cpus = launch.output('cat /proc/cpuinfo'):gsub('processor%s*:', '')
    return { cpu = cpu, cpus = cpus, versions = versions,
        kernel = launch.output('cat /proc/sys/kernel/osrelease'):match('^[%d.]+'),
        system = launch.output('cat /etc/os-release'):match('PRETTY_NAME="([^"]*)"'),
        date = os.date('!%Y-%m-%d') }
end

local function find(results, scenario, label)
    for _, result in ipairs(results) do
        for _, side in ipairs(result.name == scenario and result.sides or {}) do
            if side.label == label then
                return side
            end
        end
    end
end

local function value_of(side, figure)
    if figure == 'open_p99_us' then
        return side.open and side.open.p99_us
    end
    return side[figure]
end

local function rounds_of(side, figure)
    return figure == 'open_p99_us' and side.open and side.open.rounds or side.rounds
end

--- The ratio of two sides: the median of the ratios of each round where there are rounds.
-- @treturn number|nil
function M.ratio(of, to, figure)
    local a, b = rounds_of(of, figure), rounds_of(to, figure)
    local key = figure == 'open_p99_us' and 'p99_us' or figure
    local list = {}
    for i = 1, a and b and #a or 0 do
        if a[i][key] and b[i] and b[i][key] then
            list[#list + 1] = a[i][key] / b[i][key]
        end
    end
    if #list > 0 then
        return runner.median(list)
    end
    local x, y = value_of(of, figure), value_of(to, figure)
    return x and y and x / y
end

--- Holds the bars against the results.
-- @treturn table of { bar =, value =, met = } or { bar =, reason = }
function M.judge(results, bars)
    local list = {}
    for _, bar in ipairs(bars) do
        local of, to = find(results, bar.scenario, bar.of), nil
        if of then
            to = bar.to and find(results, bar.scenario, bar.to)
            local value
            if bar.to then
                value = to and M.ratio(of, to, bar.figure)
            else
                value = value_of(of, bar.figure)
            end
            list[#list + 1] = { bar = bar, value = value, met = value and value <= bar.at_most,
                reason = not value and (of.reason or to and to.reason or 'not measured') or nil }
        end
    end
    return list
end

local function number(format, value)
    return value and format:format(value) or ''
end

local COLUMNS = {
    { 'side', function(s) return s.label end },
    { 'CPU µs', function(s) return number('%.1f', s.cpu_us) end },
    { 'to first', function(s) return number('%.2f', s.to_first) end },
    { 'calls', function(s) return number('%.2f', s.calls) end },
    { 'req/s', function(s) return number('%.0f', s.rate) end },
    { 'p50 ms', function(s) return number('%.2f', s.p50_us and s.p50_us / 1000) end },
    { 'p99 ms', function(s) return number('%.2f', s.p99_us and s.p99_us / 1000) end },
    { 'p99.9 ms', function(s) return number('%.2f', s.p999_us and s.p999_us / 1000) end },
    { 'fixed req/s', function(s) return number('%.0f', s.open and s.open.rate) end },
    { 'its p50 ms', function(s) return number('%.2f', s.open and s.open.p50_us / 1000) end },
    { 'its p99 ms', function(s) return number('%.2f', s.open and s.open.p99_us / 1000) end },
    { 'its p99.9 ms', function(s) return number('%.2f', s.open and s.open.p999_us / 1000) end },
    { 'RSS MB', function(s) return number('%.1f', s.rss_bytes and s.rss_bytes / 1e6) end },
    { 'fresh PSS MB', function(s)
        return number('%.1f', s.fresh_pss_bytes and s.fresh_pss_bytes / 1e6)
    end },
    { 'B a connection', function(s) return number('%.0f', s.bytes_each) end },
    { 'failed', function(s) return s.failed and s.failed > 0 and tostring(s.failed) or '' end },
}

-- Columns in which no side has a value are left out.
local function columns_of(sides)
    local list = {}
    for _, column in ipairs(COLUMNS) do
        for _, side in ipairs(sides) do
            if column[2](side) ~= '' then
                list[#list + 1] = column
                break
            end
        end
    end
    return list
end

--- A scenario as a table in Markdown, and a line for each side that was left out.
function M.table(result)
    local sides, left_out = {}, {}
    for _, side in ipairs(result.sides) do
        if side.reason then
            left_out[#left_out + 1] = ('Left out: %s (%s).'):format(side.label, side.reason)
        else
            sides[#sides + 1] = side
            side.to_first = side.cpu_us and M.ratio(side, sides[1], 'cpu_us')
        end
    end
    local lines = { ('### %s: %s'):format(result.name, result.title), '' }
    if #sides > 0 then
        local columns, names, rule = columns_of(sides), {}, {}
        for i, column in ipairs(columns) do
            names[i], rule[i] = column[1], i == 1 and '---' or '--:'
        end
        lines[#lines + 1] = '| ' .. table.concat(names, ' | ') .. ' |'
        lines[#lines + 1] = '|' .. table.concat(rule, '|') .. '|'
        for _, side in ipairs(sides) do
            local cells = {}
            for i, column in ipairs(columns) do
                cells[i] = column[2](side)
            end
            lines[#lines + 1] = '| ' .. table.concat(cells, ' | ') .. ' |'
        end
        lines[#lines + 1] = ''
    end
    for _, line in ipairs(left_out) do
        lines[#lines + 1] = line
    end
    return table.concat(lines, '\n') .. (#left_out > 0 and '\n' or '')
end

local UNITS = { cpu_us = 'CPU', open_p99_us = 'p99 at the fixed rate', rss_bytes = 'RSS',
    fresh_pss_bytes = 'PSS of a fresh worker, MB', bytes_each = 'own memory, B a connection' }

--- The bars as a table in Markdown.
function M.bars(verdicts)
    local lines = { '| scenario | what | bar | measured | |', '|---|---|--:|--:|---|' }
    for _, verdict in ipairs(verdicts) do
        local bar = verdict.bar
        local scale = bar.figure == 'fresh_pss_bytes' and 1e6 or 1
        local form = bar.to and '%.2f' or bar.figure == 'fresh_pss_bytes' and '%.1f' or '%.0f'
        lines[#lines + 1] = ('| %s | %s: %s%s | ≤ %s | %s | %s |'):format(bar.scenario,
            UNITS[bar.figure], bar.of, bar.to and ' to ' .. bar.to or '',
            form:format(bar.at_most / scale), number(form, verdict.value and verdict.value / scale),
            verdict.met and 'met' or verdict.value and '**not met**' or verdict.reason)
    end
    return table.concat(lines, '\n') .. '\n'
end

--- One line about the machine, one with the versions.
function M.heading(machine)
    local names, versions = {}, {}
    for name in pairs(machine.versions) do
        names[#names + 1] = name
    end
    table.sort(names)
    for i, name in ipairs(names) do
        versions[i] = name .. ' ' .. machine.versions[name]
    end
    return ('%d CPUs (%s), Linux %s, %s, %s.\n%s.\n'):format(machine.cpus, machine.cpu,
        machine.kernel, machine.system, machine.date, table.concat(versions, '; '))
end

--- All of it as JSON.
function M.json(machine, results, verdicts, options)
    local bars = {}
    for i, verdict in ipairs(verdicts) do
        local bar = verdict.bar
        bars[i] = { scenario = bar.scenario, figure = bar.figure, of = bar.of, to = bar.to,
            at_most = bar.at_most, value = verdict.value, met = verdict.met,
            reason = verdict.reason }
    end
    return cjson.encode({ version = 1, machine = machine, rounds = options.rounds,
        seconds = options.seconds, scenarios = results, bars = bars })
end

return M
