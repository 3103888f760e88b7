-- SPDX-License-Identifier: Apache-2.0
--
-- The validators of the schema language, with their fixed texts and in their fixed order: of a
-- value that breaks several, the first is reported (docs/plugin-reference.md).
--
-- `run` returns nil where the value is fine, else the fixed text, and the code of the finding with
-- true where "expected …, found …" says it better to an operator.
local cjson = require 'cjson'

local M = {}

local REFUSED = 'MG1032' -- a value of the right type that is not allowed
local NOT_A_CHOICE = 'MG1033'

local has_regex, regex = pcall(require, 'moongate.regex')

local function show(value)
    return value == cjson.null and 'null' or tostring(value)
end

local function join(list)
    local texts = {}
    for i, value in ipairs(list) do
        texts[i] = show(value)
    end
    return table.concat(texts, ', ')
end

local function contains(list, value)
    for _, item in ipairs(list) do
        if item == value then
            return true
        end
    end
    return false
end

-- Entries of a list or map, bytes of a text.
local function length(value)
    if type(value) ~= 'table' then
        return #tostring(value)
    end
    local count = 0
    for _ in pairs(value) do
        count = count + 1
    end
    return count
end

local function is_number(value)
    return type(value) == 'number'
end

local function is_string(value)
    return type(value) == 'string'
end

local UUID = '^' .. ('x'):rep(8) .. '%-' .. ('xxxx%-'):rep(3) .. ('x'):rep(12) .. '$'
UUID = UUID:gsub('x', '%%x')

--- @param value
-- @treturn boolean is it the text of a UUID?
function M.is_uuid(value)
    return is_string(value) and value:match(UUID) ~= nil
end

--- Checks that a regular expression compiles, with the gateway's own engine where it is there, else
-- that its brackets are closed.
-- @tparam string pattern
-- @treturn boolean
function M.is_regex(pattern)
    if has_regex and regex.check then
        return regex.check(pattern) and true or false
    end
    local bare = pattern:gsub('\\.', ''):gsub('%[%^?%]?[^%]]*%]', '')
    local depth = 0
    for bracket in bare:gmatch('[()]') do
        depth = depth + (bracket == '(' and 1 or -1)
        if depth < 0 then
            return false
        end
    end
    return depth == 0 and not bare:find('[', 1, true) and not pattern:match('^[*+?]')
        and not pattern:gsub('\\\\', ''):match('\\$')
end

local function match_list(value, list, wanted)
    for _, entry in ipairs(list) do
        if (value:find(entry.pattern) ~= nil) ~= wanted then
            return entry.err or ('invalid value: ' .. value)
        end
    end
end

local function match_any(value, arg)
    for _, pattern in ipairs(arg.patterns) do
        if value:find(pattern) then
            return nil
        end
    end
    return arg.err or ('invalid value: ' .. value)
end

local function exclusive_subsets(value, subsets)
    local present = {}
    for _, subset in ipairs(subsets) do
        local names = {}
        for _, item in ipairs(subset) do
            if contains(value, item) then
                names[#names + 1] = ("'%s'"):format(item)
            end
        end
        if #names > 0 then
            present[#present + 1] = '(' .. table.concat(names, ', ') .. ')'
        end
    end
    if #present > 1 then
        return 'these sets are mutually exclusive: ' .. table.concat(present, ', ')
    end
end

-- The validator's own function may fail in any way; it is a plugin author's.
local function custom(value, func)
    local ran, ok, err = pcall(func, value)
    if not ran then
        return 'the validator failed: ' .. tostring(ok)
    end
    if not ok then
        return err or 'invalid value'
    end
end

-- Each: attribute, function(value, argument) -> text or nil, and what the finding is like.
local ORDER = {
    { 'eq', function(v, x) return v ~= x and 'value must be ' .. show(x) end, plain = true },
    { 'ne', function(v, x) return v == x and 'value must not be ' .. show(x) end },
    { 'not_one_of', function(v, x)
        return contains(x, v) and 'must not be one of: ' .. join(x)
    end },
    { 'one_of', function(v, x) return not contains(x, v) and 'expected one of: ' .. join(x) end,
        plain = true, code = NOT_A_CHOICE },
    { 'gt', function(v, x)
        return is_number(v) and v <= x and 'value must be greater than ' .. show(x)
    end, plain = true },
    { 'timestamp', function(v, x)
        return x and not (is_number(v) and v > 0) and 'expected a valid timestamp'
    end },
    { 'uuid', function(v, x) return x and not M.is_uuid(v) and 'expected a valid UUID' end },
    { 'is_regex', function(v, x)
        return x and not M.is_regex(v) and 'not a valid regex: ' .. v
    end },
    { 'between', function(v, x)
        return is_number(v) and (v < x[1] or v > x[2])
            and ('value should be between %s and %s'):format(show(x[1]), show(x[2]))
    end, plain = true },
    { 'len_eq', function(v, x)
        return length(v) ~= x and 'length must be ' .. x
    end, counts = true },
    { 'len_min', function(v, x)
        return length(v) < x and 'length must be at least ' .. x
    end, counts = true },
    { 'len_max', function(v, x)
        return length(v) > x and 'length must be at most ' .. x
    end, counts = true },
    { 'starts_with', function(v, x) return v:sub(1, #x) ~= x and 'should start with: ' .. x end },
    { 'not_match', function(v, x) return v:find(x) and 'invalid value: ' .. v end },
    { 'match_none', function(v, x) return match_list(v, x, false) end },
    { 'match', function(v, x) return not v:find(x) and 'invalid value: ' .. v end },
    { 'match_all', function(v, x) return match_list(v, x, true) end },
    { 'match_any', match_any },
    { 'contains', function(v, x)
        local found = is_string(v) and v:find(x, 1, true) or (type(v) == 'table' and contains(v, x))
        return not found and 'expected to contain: ' .. show(x)
    end },
    { 'custom_validator', custom },
    { 'mutually_exclusive_subsets', exclusive_subsets },
}

--- Runs a field's validators on a value of the right type.
-- @tparam table def field definition
-- @param value
-- @treturn ?string the fixed text of the first that fails (a table from a custom validator)
-- @treturn ?string code of the finding
-- @treturn ?boolean whether expected and found tell it to an operator
function M.run(def, value)
    if value == '' and def.len_min ~= 0 then
        return 'length must be at least 1', REFUSED, false
    end
    for _, validator in ipairs(ORDER) do
        local argument = def[validator[1]]
        if argument ~= nil then
            local message = validator[2](value, argument)
            if message then
                local is_plain = validator.plain or (validator.counts and type(value) == 'table')
                return message, validator.code or REFUSED, is_plain or false
            end
        end
    end
end

return M
