-- SPDX-License-Identifier: Apache-2.0
-- pcall and xpcall that cannot catch what must not be caught: a limit (CPU, wall, quarantine) and
-- response.exit where it has to unwind. C, or runtime.exit, sets shared.unwind before the one value
-- `limit` is raised; the wrappers test the flag and not the value, since an error inside an xpcall
-- handler loses the value (docs/plugin-reference.md).
local boot = require 'moongate.runtime.boot'
local shared = require('moongate.runtime.ffi').shared

local M = {}

--- The value that is raised; printed as the limit that was reached.
M.limit = setmetatable({}, { __tostring = boot.limit_text, __metatable = 'limit' })

--- The functions as they were, for the runtime's own use.
M.raw = { pcall = pcall, xpcall = xpcall }

local raw_pcall, raw_xpcall, limit = pcall, xpcall, M.limit

--- Raises the limit value once more when the code that just ended was stopped.
function M.rethrow()
    if shared.unwind ~= 0 then
        error(limit, 0)
    end
end

local function checked(...)
    if shared.unwind ~= 0 then
        error(limit, 0)
    end
    return ...
end

--- As the standard function, but limits pass through.
function M.pcall(fn, ...)
    return checked(raw_pcall(fn, ...))
end

-- A handler runs before the stack is unwound, for a limit even inside the hook that raises it,
-- where no further hook can stop it: plugin code must not run there.
local guarded = setmetatable({}, { __mode = 'kv' })

local function guard_handler(handler)
    local wrapper = function(...)
        if shared.unwind ~= 0 then
            return limit
        end
        return handler(...)
    end
    guarded[handler] = wrapper
    return wrapper
end

--- As the standard function, but limits pass through, and handlers do not see them.
function M.xpcall(fn, handler, ...)
    return checked(raw_xpcall(fn, handler and (guarded[handler] or guard_handler(handler)), ...))
end

return M
