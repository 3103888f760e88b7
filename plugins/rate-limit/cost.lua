-- SPDX-License-Identifier: Apache-2.0
-- Units that a request takes: the option `cost` before it, `response_cost` and `count_when` when
-- its answer is known.
local expression = require 'moongate.expression'
local fields = require 'moongate.pdk.fields'
local C = require('moongate.runtime.ffi').C

local M = {}

local MOST = 1000000

-- A number that stands for units, else nil. Fractions round up.
local function units(value)
    local number = tonumber(value)
    if number and number >= 0 and number < math.huge then
        return math.min(MOST, math.ceil(number))
    end
    return nil
end

-- function(req) -> units, or nil where there is no usable number; `which` table of fields
local function reader(option, text, which)
    local name = text:match('^header:(.+)$')
    if name then
        return function(req)
            return units(fields.first(req, which, name))
        end
    end
    local value = expression.compile(text, { option = option })
    return function()
        local ok, result = value()
        local number = ok and units(result) or nil
        if ok and not number then
            value:refuse(result, 'a number from 0')
        end
        return number
    end
end

--- The cost of a request.
-- @param value of the option
-- @treturn number|nil constant; nil where the function has to be asked
-- @treturn function|nil function(req) -> units, or nil: missing or no number, which counts 1
function M.of_request(value)
    if type(value) == 'number' then
        return value
    end
    return nil, reader('cost', value, C.MG_FFI_REQUEST)
end

-- function(status) -> boolean
local function status_filter(value)
    if type(value) == 'table' then
        local counted = {}
        for _, status in ipairs(value) do
            counted[status] = true
        end
        return function(status)
            return counted[status] == true
        end
    end
    local condition = expression.compile(value, { option = 'count_when', names = { 'status' } })
    return function(status)
        local ok, result = condition(status)
        return not ok or result ~= nil and result ~= false -- on error the charge stays
    end
end

--- What becomes of a charge when the answer is known.
-- @tparam table conf checked
-- @treturn function|nil function(req, status) -> units that it was, nil = as charged; nil where
-- nothing is ever corrected
function M.of_answer(conf)
    if conf.count_when == 'always' and not conf.response_cost then
        return nil
    end
    local counts = conf.count_when ~= 'always' and status_filter(conf.count_when)
    local true_cost = conf.response_cost
        and reader('response_cost', conf.response_cost, C.MG_FFI_RESPONSE)
    return function(req, status)
        if counts and not counts(status) then
            return 0
        end
        return true_cost and true_cost(req) or nil
    end
end

return M
