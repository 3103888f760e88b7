-- SPDX-License-Identifier: Apache-2.0
--
-- The nearest word to a misspelt one: "did you mean".
local M = {}

-- How far a suggestion may be from a word of this length: short words have too many neighbours.
local function allowed_distance(length)
    if length <= 2 then
        return 0
    end
    return length <= 4 and 1 or 2
end

--- Edit distance of two texts: insertions, deletions, replacements, and swaps of neighbours
-- (Damerau-Levenshtein, no character edited twice).
-- @tparam string a
-- @tparam string b
-- @tparam[opt] number most distance above which the exact figure does not matter
-- @treturn number the distance; above `most`, some number above it
function M.distance(a, b, most)
    most = most or math.huge
    if math.abs(#a - #b) > most then
        return math.abs(#a - #b)
    end
    local before, last = {}, {}
    for j = 0, #b do
        last[j] = j
    end
    for i = 1, #a do
        local row = { [0] = i }
        local best = i
        local ca = a:byte(i)
        for j = 1, #b do
            local cb = b:byte(j)
            local cost = ca == cb and 0 or 1
            local value = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
            if i > 1 and j > 1 and ca == b:byte(j - 1) and a:byte(i - 1) == cb then
                value = math.min(value, before[j - 2] + 1)
            end
            row[j] = value
            best = math.min(best, value)
        end
        if best > most then
            return best
        end
        before, last = last, row
    end
    return last[#b]
end

local function plain(word)
    return (word:lower():gsub('[-_ ]', '_'))
end

--- The candidate nearest to a word, within two edits (fewer for short words), without regard to
-- case and to `-` against `_`. Of equally near ones the first in alphabetical order.
-- @tparam string word
-- @tparam {string,...} candidates
-- @treturn ?string
function M.nearest(word, candidates)
    local wanted = plain(word)
    local most = allowed_distance(#wanted)
    local found, found_distance
    for _, candidate in ipairs(candidates) do
        if type(candidate) == 'string' and candidate ~= word then
            local distance = M.distance(wanted, plain(candidate), most)
            if distance <= most and (not found or distance < found_distance
                or (distance == found_distance and candidate < found)) then
                found, found_distance = candidate, distance
            end
        end
    end
    return found
end

return M
