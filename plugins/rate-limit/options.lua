-- SPDX-License-Identifier: Apache-2.0
-- What the words of `exempt`, `cost`, `response_cost` and `count_when` may be. Pure: the schema
-- asks here; exempt.lua and cost.lua use what was checked.
local address = require 'moongate.schema.address'

local M = {}

local TOKEN = "[%w!#$%%&'*+.^_`|~-]+" -- RFC 9110, 5.6.2
local MOST_UNITS = 1000000

local EXEMPTIONS = {
    ip = function(rest)
        return address.is_ip(rest) or address.is_cidr(rest),
            'expected an address or a range such as 10.0.0.0/8'
    end,
    consumer = function() return true end,
    header = function(rest)
        return rest:match('^' .. TOKEN .. '=') ~= nil, 'expected header:NAME=VALUE'
    end,
    path = function(rest)
        return rest:sub(1, 1) == '/', 'expected a path that begins with /'
    end,
    method = function(rest)
        return rest:match('^%u+$') ~= nil, 'expected a method in capitals'
    end,
}

--- A word of `exempt` that is no value in Lua.
-- @tparam string word
-- @treturn true|nil
-- @treturn string|nil error
function M.check_exemption(word)
    local kind, rest = word:match('^(%a+):(.+)$')
    local check = EXEMPTIONS[kind]
    if not check then
        return nil, ("'%s' exempts nothing: ip:CIDR, consumer:NAME, header:NAME=VALUE, path:PREFIX,"
            .. ' method:NAME or lua:EXPRESSION'):format(word)
    end
    local ok, err = check(rest)
    if not ok then
        return nil, ("'%s': %s"):format(word, err)
    end
    return true
end

local function is_header(value)
    return type(value) == 'string' and value:match('^header:' .. TOKEN .. '$') ~= nil
end

--- `cost`, where it is no value in Lua.
-- @param value
-- @treturn true|nil
-- @treturn string|nil error
function M.check_cost(value)
    if is_header(value) or type(value) == 'number' and value == math.floor(value) and value >= 0
        and value <= MOST_UNITS then
        return true
    end
    return nil, ('expected a whole number from 0 to %d, header:NAME or lua:EXPRESSION')
        :format(MOST_UNITS)
end

--- `response_cost`, where it is no value in Lua.
-- @param value
-- @treturn true|nil
-- @treturn string|nil error
function M.check_response_cost(value)
    if is_header(value) then
        return true
    end
    return nil, 'expected header:NAME or lua:EXPRESSION'
end

--- `count_when`, where it is no value in Lua.
-- @param value
-- @treturn true|nil
-- @treturn string|nil error
function M.check_count_when(value)
    local list = type(value) == 'table' and #value > 0 and value or nil
    for _, status in ipairs(list or {}) do
        if type(status) ~= 'number' or status ~= math.floor(status) or status < 100
            or status > 599 then
            list = nil
        end
    end
    if value == 'always' or list then
        return true
    end
    return nil, "expected 'always', a list of statuses such as [401, 403], or lua:EXPRESSION"
end

return M
