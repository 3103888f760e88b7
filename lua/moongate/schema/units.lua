-- SPDX-License-Identifier: Apache-2.0
--
-- Durations and sizes as operators write them: `50ms 10s 5m 1h 1d 1w`, `64KiB 8MiB 1GiB`.
local M = {}

local DURATIONS = { -- milliseconds, largest first
    { 'w', 7 * 24 * 3600 * 1000 }, { 'd', 24 * 3600 * 1000 }, { 'h', 3600 * 1000 },
    { 'm', 60 * 1000 }, { 's', 1000 }, { 'ms', 1 },
}
local SIZES = { { 'GiB', 1024 ^ 3 }, { 'MiB', 1024 ^ 2 }, { 'KiB', 1024 }, { 'B', 1 } }

local LARGEST = 2 ^ 53 -- up to here a double is exact

local function parse(text, units)
    local number, unit = text:match('^(%d+%.?%d*)(%a+)$')
    for _, entry in ipairs(units) do
        if number and entry[1] == unit then
            local value = tonumber(number) * entry[2]
            return value == math.floor(value) and value < LARGEST and value or nil
        end
    end
end

local function format(value, units, zero)
    if value == 0 then
        return zero
    end
    for _, entry in ipairs(units) do
        if value % entry[2] == 0 then
            return ('%.0f%s'):format(value / entry[2], entry[1])
        end
    end
    return tostring(value)
end

--- Milliseconds of a duration, or nil where the text is none (or no whole milliseconds).
-- @tparam string text
-- @treturn ?number ms
function M.parse_duration(text)
    return parse(text, DURATIONS)
end

--- A duration in its largest whole unit: 60000 -> "1m".
-- @tparam number ms
-- @treturn string
function M.format_duration(ms)
    return format(ms, DURATIONS, '0s')
end

--- Bytes of a size with a unit, or nil where the text is none.
-- @tparam string text
-- @treturn ?number bytes
function M.parse_bytes(text)
    return parse(text, SIZES)
end

--- A size in its largest whole unit: 65536 -> "64KiB".
-- @tparam number bytes
-- @treturn string
function M.format_bytes(bytes)
    return (format(bytes, SIZES, '0'):gsub('^(%d+)B$', '%1'))
end

return M
