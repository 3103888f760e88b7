-- SPDX-License-Identifier: Apache-2.0
--
-- A chart of CPU per request in SVG: a group of bars for each scenario, a bar for each side; light
-- and dark as the reader's browser is.
local M = {}

local WIDTH, LEFT, RIGHT, ROW, GAP, TOP = 760, 210, 70, 20, 26, 66

local HEAD = [[
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="title">
<title id="title">%s</title>
<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.name { text-anchor: end } .group { font-weight: 600 } .note { fill: #57606a; font-size: 12px }
.bar { fill: #8c959f } .ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .note { fill: #8d96a0 } .bar { fill: #6e7681 } .ours { fill: #4493f8 }
}
</style>
<text class="group" x="12" y="22">%s</text>
<text class="note" x="12" y="42">%s</text>
]]

local function escape(text)
    return (text:gsub('[&<>"]', { ['&'] = '&amp;', ['<'] = '&lt;', ['>'] = '&gt;',
        ['"'] = '&quot;' }))
end

local function measured(result)
    local list, most = {}, 0
    for _, side in ipairs(result.sides) do
        if side.cpu_us then
            list[#list + 1] = side
            most = math.max(most, side.cpu_us)
        end
    end
    return list, most
end

local function name_of(side)
    local rest = side.label:match(',.*$') or ''
    return (side.title or side.label) .. rest
end

local function draw(lines, result, y)
    local sides, most = measured(result)
    if #sides == 0 then
        return y
    end
    lines[#lines + 1] = ('<text class="group" x="12" y="%d">%s</text>'):format(y + 4,
        escape(result.title))
    y = y + 14
    for _, side in ipairs(sides) do
        local width = (WIDTH - LEFT - RIGHT) * side.cpu_us / most
        lines[#lines + 1] = ('<text class="name" x="%d" y="%d">%s</text>'):format(LEFT - 8,
            y + 13, escape(name_of(side)))
        lines[#lines + 1] = ('<rect class="bar%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>')
            :format(side.peer == 'moongate' and ' ours' or '', LEFT, y + 2, width, ROW - 6)
        lines[#lines + 1] = ('<text x="%.1f" y="%d">%.1f</text>'):format(LEFT + width + 6, y + 13,
            side.cpu_us)
        y = y + ROW
    end
    return y + GAP
end

--- @tparam table results of runner.run
-- @tparam table machine
-- @tparam table names scenarios that are shown, in this order
-- @treturn string SVG
function M.svg(results, machine, names)
    local lines, y = {}, TOP
    for _, name in ipairs(names) do
        for _, result in ipairs(results) do
            if result.name == name then
                y = draw(lines, result, y)
            end
        end
    end
    local title = 'CPU of the gateway per request, microseconds: less is better'
    local note = ('one worker each, in turns; %d CPUs (%s), Linux %s, %s'):format(machine.cpus,
        machine.cpu, machine.kernel, machine.date)
    return HEAD:format(WIDTH, y, title, title, escape(note)) .. table.concat(lines, '\n')
        .. '\n</svg>\n'
end

return M
