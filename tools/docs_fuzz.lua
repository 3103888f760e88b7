-- SPDX-License-Identifier: Apache-2.0
--
-- The table of docs/fuzzing.md, from the two ledgers that script/fuzz writes:
--
--   tools/fuzz/runs.csv       day,target,executions,seconds of CPU,1 = it ended with a finding
--   tools/fuzz/coverage.csv   target,lines of the files it is for,lines that its corpus reaches
local source = require 'tools.source'

local M = {}

local function rows(path)
    local list = {}
    for line in source.read(path):gmatch('[^\n]+') do
        local row = {}
        for cell in line:gmatch('[^,]+') do
            row[#row + 1] = tonumber(cell) or cell
        end
        list[#list + 1] = row
    end
    return list
end

local function targets()
    local list = {}
    for _, path in ipairs(source.files('.', { 'tools/fuzz' }, { 'c' })) do
        list[#list + 1] = path:match('tools/fuzz/fuzz_([%w_]+)%.c$')
    end
    table.sort(list)
    return list
end

local function sums()
    local all = {}
    for _, row in ipairs(rows('tools/fuzz/runs.csv')) do
        local sum = all[row[2]] or { executions = 0, seconds = 0, findings = 0 }
        sum.executions = sum.executions + row[3]
        sum.seconds = sum.seconds + row[4]
        sum.findings = sum.findings + row[5]
        all[row[2]] = sum
    end
    return all
end

local function coverage()
    local all = {}
    for _, row in ipairs(rows('tools/fuzz/coverage.csv')) do
        all[row[1]] = ('%.1f %% of %d'):format(row[3] / row[2] * 100, row[2])
    end
    return all
end

--- A row for each target.
-- @treturn string Markdown
function M.table()
    local runs, covered = sums(), coverage()
    local lines = {
        '| Target | Executions | CPU minutes | Runs with a finding | Lines reached by its corpus |',
        '|---|--:|--:|--:|--:|',
    }
    for _, target in ipairs(targets()) do
        local run = runs[target] or { executions = 0, seconds = 0, findings = 0 }
        lines[#lines + 1] = ('| `%s` | %.1f M | %.1f | %d | %s |'):format(target,
            run.executions / 1e6, run.seconds / 60, run.findings, covered[target] or 'not measured')
    end
    return table.concat(lines, '\n') .. '\n'
end

return M
