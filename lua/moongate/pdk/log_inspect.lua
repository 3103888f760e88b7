-- SPDX-License-Identifier: Apache-2.0
-- moongate.log.inspect(...): values as text a person can read, tables with their entries in order.
local M = {}

local MAX_DEPTH = 8      -- deeper tables show as {...}
local MAX_ENTRIES = 200  -- of one table

local function key_text(key)
    if type(key) == 'string' and key:find('^[%a_][%w_]*$') then
        return key
    end
    return '[' .. (type(key) == 'string' and ('%q'):format(key) or tostring(key)) .. ']'
end

-- Numbers first, in their order, then the rest by type and text.
local function before(a, b)
    if type(a) == 'number' and type(b) == 'number' then
        return a < b
    elseif type(a) ~= type(b) then
        return type(a) == 'number' or type(b) ~= 'number' and type(a) < type(b)
    end
    return tostring(a) < tostring(b)
end

local function sorted_keys(value)
    local keys = {}
    for key in pairs(value) do
        keys[#keys + 1] = key
    end
    table.sort(keys, before)
    return keys
end

local function render(value, depth, seen)
    if type(value) == 'string' then
        return depth == 0 and value or ('%q'):format(value)
    elseif type(value) ~= 'table' then
        return tostring(value)
    elseif seen[value] or depth == MAX_DEPTH then
        return '{...}'
    end
    seen[value] = true
    local parts = {}
    for i, key in ipairs(sorted_keys(value)) do
        if i > MAX_ENTRIES then
            parts[i] = '...'
            break
        end
        local text = render(rawget(value, key), depth + 1, seen)
        parts[i] = key == i and text or key_text(key) .. ' = ' .. text
    end
    seen[value] = nil
    return #parts == 0 and '{}' or '{ ' .. table.concat(parts, ', ') .. ' }'
end

--- One value as text; a string on its own has no quotes.
function M.render(value)
    return render(value, 0, {})
end

--- A callable table that writes its arguments; with on() and off().
-- @tparam function write gets the text
function M.new(write)
    local enabled = true
    local inspect = {
        on = function() enabled = true end,
        off = function() enabled = false end,
    }
    return setmetatable(inspect, {
        __call = function(_, ...)
            if not enabled then
                return
            end
            local parts = { ... }
            for i = 1, select('#', ...) do
                parts[i] = M.render(parts[i])
            end
            write(table.concat(parts, ' '))
        end,
    })
end

return M
