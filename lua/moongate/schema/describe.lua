-- SPDX-License-Identifier: Apache-2.0
--
-- The operator's words for what a field takes and for what was found in its place. The fixed texts
-- of the schema language stand in the error tables; these words are what a person reads.
local cjson = require 'cjson'
local units = require 'moongate.schema.units'

local M = {}

local LONGEST_TEXT = 40 -- characters of a value that are shown
local MOST_CHOICES = 16 -- of an enumeration

local function show(value)
    if value == cjson.null or value == nil then
        return 'null'
    end
    return tostring(value)
end

local function join(list)
    local texts = {}
    for i, value in ipairs(list) do
        if i > MOST_CHOICES then
            texts[i] = '…'
            break
        end
        texts[i] = show(value)
    end
    return table.concat(texts, ', ')
end

-- " from 1 to 10", in the unit of the field. A bound as far as `endless` is none to an operator.
local function range(def, format, endless)
    format, endless = format or show, endless or 2 ^ 31 - 2
    if def.between then
        local low, high = def.between[1], def.between[2]
        if low <= -endless and high >= endless then
            return ''
        elseif high >= endless then
            return ' from ' .. format(low)
        end
        return (' from %s to %s'):format(format(low), format(high))
    end
    if def.gt then
        return ' greater than ' .. format(def.gt)
    end
    return ''
end

local function list_size(def)
    if def.len_eq then
        return (' of %d entries'):format(def.len_eq)
    end
    if def.len_min and def.len_max then
        return (' of %d to %d entries'):format(def.len_min, def.len_max)
    end
    if def.len_min and def.len_min > 0 then
        return (' of at least %d %s'):format(def.len_min, def.len_min == 1 and 'entry' or 'entries')
    end
    return def.len_max and (' of at most %d entries'):format(def.len_max) or ''
end

local WORDS = {
    string = function() return 'text' end,
    secret = function() return 'text' end,
    boolean = function() return 'true or false' end,
    number = function(def) return 'a number' .. range(def) end,
    integer = function(def) return 'a whole number' .. range(def) end,
    percent = function(def)
        return 'a percentage' .. (def.between and range(def) or ' from 0 to 100')
    end,
    duration = function(def)
        local words = range(def, units.format_duration)
        return 'a duration' .. (words ~= '' and words or ' such as 10s or 50ms')
    end,
    bytes = function(def)
        local words = range(def, units.format_bytes, 2 ^ 53)
        return 'a size' .. (words ~= '' and words or ' such as 64KiB or 8MiB')
    end,
    array = function(def) return 'a list' .. list_size(def) end,
    set = function(def) return 'a list' .. list_size(def) end,
    map = function() return 'a map' end,
    record = function() return 'a map' end,
    foreign = function() return 'the name of an entity, or a map with its id or name' end,
    json = function() return 'JSON text' end,
    ['function'] = function() return 'a Lua function' end,
}

--- What a field takes: "a whole number from 1".
-- @tparam table def field definition
-- @treturn string
function M.expected(def)
    local words
    if def.one_of then
        words = #def.one_of == 1 and show(def.one_of[1]) or 'one of: ' .. join(def.one_of)
    elseif def.eq ~= nil then
        words = def.eq == cjson.null and 'nothing' or show(def.eq)
    else
        words = WORDS[def.type] and WORDS[def.type](def) or 'another value'
    end
    if def.also then
        words = words .. ', or ' .. join(def.also):gsub(', ', ' or ')
    end
    return def.lua and words .. ', or `lua:` and an expression' or words
end

--- What was found: `the text "ten"`.
-- @param value
-- @tparam[opt] boolean is_secret
-- @tparam[opt] string wanted type of the field, which an empty table is taken for
-- @treturn string
function M.found(value, is_secret, wanted)
    local kind = type(value)
    if value == nil or value == cjson.null then
        return 'nothing'
    end
    if kind == 'table' then
        local is_map = wanted == 'map' or wanted == 'record'
        return (#value > 0 and 'a list') or (next(value) and 'a map')
            or (is_map and 'an empty map') or 'an empty list'
    end
    if is_secret then
        return '***'
    end
    if kind == 'string' then
        local text = value:gsub('%c', '?')
        if #text > LONGEST_TEXT then
            text = text:sub(1, LONGEST_TEXT):gsub('[\192-\255]?[\128-\191]*$', '') .. '…'
        end
        return ('the text "%s"'):format(text)
    end
    if kind == 'number' then
        return 'the number ' .. ('%.14g'):format(value)
    end
    return kind == 'boolean' and tostring(value) or 'a ' .. kind
end

return M
