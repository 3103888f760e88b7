-- SPDX-License-Identifier: Apache-2.0
-- moongate.tracing: every method exists and does nothing; a span is an object of the same kind. So
-- instrumented plugins run, and no trace is claimed (docs/plugin-reference.md).
local M = {}

local span

local function quiet()
    return span
end

span = setmetatable({}, { __index = function() return quiet end })

--- Does nothing.
function M.process_span() end

return setmetatable(M, { __index = function() return quiet end })
