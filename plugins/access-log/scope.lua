-- SPDX-License-Identifier: Apache-2.0
-- Values in Lua of the access log. They see the redacted record and what plugins left in
-- `moongate.ctx`, not the rest of the plugin API: no secret gets around the redaction.
local moongate = moongate
local expression = require 'moongate.expression'

local M = {}

local OUT_OF_REACH = 'only record and moongate.ctx are in reach of the access log'

local api = setmetatable({}, { __index = function(_, name)
    if name == 'ctx' then
        return moongate.ctx
    end
    error(OUT_OF_REACH, 2)
end })

--- The globals in reach.
M.env = {
    moongate = api, kong = api, string = string, math = math, tostring = tostring,
    tonumber = tonumber, type = type, pairs = pairs, ipairs = ipairs, select = select,
}

M.is_expression = expression.is

--- Compiles a checked value; it is called with the record.
-- @tparam string text
-- @tparam string option
-- @tparam table|nil env other globals in reach
-- @treturn table Expression
function M.compile(text, option, env)
    return expression.compile(text, { option = option, names = { 'record' }, env = env or M.env })
end

return M
