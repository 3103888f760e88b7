-- SPDX-License-Identifier: Apache-2.0
--
-- Findings as people read them (docs/operating.md) and as machines do:
--
--     moongate.yml:5:5: services[0]: unknown key "raed_timeout" [MG1023]
--         5 |     raed_timeout: 5000
--           |     ^^^^^^^^^^^^ did you mean "read_timeout"?
--     1 error, 0 warnings. Nothing was loaded; a running gateway keeps its configuration.
local M = {}

local LONGEST_LINE = 160 -- characters of a source line that are shown
local COLORS = {
    error = '\27[31m', warning = '\27[33m', notice = '\27[36m', dim = '\27[2m', bold = '\27[1m',
}
local RESET = '\27[0m'

local function paint(text, color, is_on)
    return is_on and COLORS[color] .. text .. RESET or text
end

local function split_lines(text)
    local lines = {}
    for line in (text .. '\n'):gmatch('(.-)\r?\n') do
        lines[#lines + 1] = line
    end
    return lines
end

-- Byte position of a character, counted from 1, and the number of characters.
local function characters(line)
    local starts = {}
    for at in line:gmatch('()[^\128-\191]') do
        starts[#starts + 1] = at
    end
    return starts
end

-- The part of the line around the column, and the column in it; tabs become spaces.
local function window(line, column)
    local starts = characters(line)
    local first = 1
    if column > LONGEST_LINE - 20 then
        first = column - (LONGEST_LINE - 40)
    end
    local last = math.min(#starts, first + LONGEST_LINE - 1)
    local from, to = starts[first] or #line + 1, (starts[last + 1] or #line + 1) - 1
    local text = line:sub(from, to):gsub('\t', ' '):gsub('[%z\1-\31\127]', '?')
    local lead, tail = first > 1 and '…' or '', last < #starts and '…' or ''
    return lead .. text .. tail, column - first + (first > 1 and 2 or 1), #starts
end

local function help_text(finding)
    local parts = {}
    if finding.suggestion then
        parts[1] = ('did you mean "%s"%s?'):format(finding.suggestion,
            finding.suggestion_line and (' (line %d)'):format(finding.suggestion_line) or '')
    end
    parts[#parts + 1] = finding.hint
    return #parts > 0 and ' ' .. table.concat(parts, ' ') or ''
end

local function head_text(finding, color)
    local place = finding.file or 'configuration'
    if finding.line then
        place = ('%s:%d:%d'):format(place, finding.line, finding.column)
    end
    local path = finding.path ~= '' and finding.path .. ': ' or ''
    local kind = finding.severity ~= 'error' and paint(finding.severity, finding.severity, color)
        .. ': ' or ''
    return ('%s: %s%s%s %s'):format(paint(place, 'bold', color), kind, path, finding.message,
        paint(('[%s]'):format(finding.code), finding.severity, color))
end

local function add_source(lines, finding, source, color)
    local line = finding.line and source and not finding.is_secret and source[finding.line]
    if not line then
        local help = help_text(finding)
        if help ~= '' then
            lines[#lines + 1] = '     ' .. help
        end
        return
    end
    local text, column, width = window(line, finding.column)
    local length = math.max(1, math.min(finding.length or 0, width - finding.column + 1))
    lines[#lines + 1] = ('%5d | %s'):format(finding.line, text)
    lines[#lines + 1] = ('      | %s%s%s'):format((' '):rep(column - 1),
        paint(('^'):rep(length), finding.severity, color), help_text(finding))
end

local function count_text(count, noun)
    return ('%d %s%s'):format(count, noun, count == 1 and '' or 's')
end

--- The last line of a report.
-- @tparam table findings of config.load
-- @treturn string
function M.summary(findings)
    local text = ('%s, %s.'):format(count_text(findings.errors, 'error'),
        count_text(findings.warnings, 'warning'))
    if findings.errors > 0 then
        text = text .. ' Nothing was loaded; a running gateway keeps its configuration.'
    end
    return text
end

--- The whole report.
-- @tparam table findings of config.load
-- @tparam[opt] table o source (text of the file, for the lines under each finding), color
-- @treturn string ends with a line end; empty where there is nothing to say
function M.format(findings, o)
    o = o or {}
    if #findings == 0 then
        return ''
    end
    local source = o.source and split_lines(o.source)
    local lines = {}
    for _, finding in ipairs(findings) do
        lines[#lines + 1] = head_text(finding, o.color)
        add_source(lines, finding, source, o.color)
    end
    lines[#lines + 1] = M.summary(findings)
    return table.concat(lines, '\n') .. '\n'
end

--- One finding for `--json`.
-- @tparam table finding
-- @treturn table
function M.to_table(finding)
    local suggestion = finding.suggestion
    return {
        file = finding.file, line = finding.line, column = finding.column,
        end_column = finding.column and finding.column + (finding.length or 0),
        severity = finding.severity, code = finding.code, path = finding.path,
        message = finding.message, suggestion = suggestion,
        expected = finding.expected, found = finding.found,
    }
end

--- All findings for `--json`, an array of tables.
-- @tparam table findings
-- @treturn table
function M.to_tables(findings)
    local list = {}
    for i, finding in ipairs(findings) do
        list[i] = M.to_table(finding)
    end
    return list
end

return M
