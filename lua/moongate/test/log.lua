-- SPDX-License-Identifier: Apache-2.0
-- Lines of the error log (core/base/log.h) as tables.
local M = {}

--- @tparam string line "TIME LEVEL COMPONENT: message"; a plugin's has its place in front of it
-- @treturn table { time, level, component, plugin = name or nil, place = "file:line" or nil,
-- message, line }
function M.parse(line)
    local time, level, component, message = line:match('^(%S+) (%S+) (.-): (.*)$')
    if not time then
        return { message = line, line = line }
    end
    local plugin = component:match('^plugin (.+)$')
    local place, rest
    if plugin or component == 'lua' then
        place, rest = message:match('^(/?[^:]+%.lua:%d+): (.*)$')
    end
    return { time = time, level = level, component = component, plugin = plugin, place = place,
        message = rest or message, line = line }
end

--- Appends the lines of a text.
function M.append(list, text)
    for line in text:gmatch('[^\n]+') do
        list[#list + 1] = M.parse(line)
    end
end

return M
