-- SPDX-License-Identifier: Apache-2.0
-- moongate.log: lines for the error log, with plugin, file and line. A line below the configured
-- level costs one call into C and makes no string.
local runtime = require 'moongate.runtime'
local inspect = require 'moongate.pdk.log_inspect'
local serialize = require 'moongate.pdk.log_serialize'
local C = require('moongate.runtime.ffi').C

local M = {}

-- As in syslog (RFC 5424, 6.2.1).
local LEVELS = { emerg = 0, alert = 1, crit = 2, err = 3, error = 3, warn = 4, notice = 5, info = 6,
    debug = 7 }
local MAX_FRAMES = 12  -- how far to look for the caller's line

local shared = runtime.shared

-- Where the first function outside the kit stands: "plugins/x/handler.lua:12".
local function place()
    for level = 3, MAX_FRAMES do
        local info = debug.getinfo(level, 'Sl')
        if not info then
            break
        end
        if info.currentline > 0 and not info.source:find('moongate/pdk/', 1, true)
            and not info.source:find('moongate/ngx/', 1, true) then
            return info.short_src .. ':' .. info.currentline
        end
    end
    return '?'
end

--- Is a line of that level written?
-- @tparam number level 0 emerg to 7 debug
function M.is_on(level)
    return C.mg_ffi_log_enabled(shared.vm, level) ~= 0
end

--- Writes one line.
-- @tparam number level 0 emerg to 7 debug
-- @tparam string text
function M.write(level, text)
    local plugin = runtime.plugin()
    local component = plugin and 'plugin ' .. plugin or 'lua'
    local line = place() .. ': ' .. text
    C.mg_ffi_log_write(shared.vm, level, component, line, #line)
end

--- The arguments as one text, by tostring.
function M.join(...)
    local parts = { ... }
    for i = 1, select('#', ...) do
        parts[i] = tostring(parts[i])
    end
    return table.concat(parts)
end

--- log.emerg(...) to log.debug(...): the arguments are joined by tostring.
-- @function log.LEVEL
for name, level in pairs(LEVELS) do
    M[name] = function(...)
        if C.mg_ffi_log_enabled(shared.vm, level) ~= 0 then
            M.write(level, M.join(...))
        end
    end
end

--- Logs that something goes out of use: at warn level.
-- @tparam string message
-- @tparam[opt] table about { after = version, removal = version }
function M.deprecation(message, about)
    local text = tostring(message)
    if type(about) == 'table' then
        if about.after then
            text = ('%s (deprecated after %s)'):format(text, about.after)
        end
        if about.removal then
            text = ('%s (to be removed in %s)'):format(text, about.removal)
        end
    end
    M.warn(text)
end

M.inspect = inspect.new(function(text)
    if M.is_on(LEVELS.notice) then
        M.write(LEVELS.notice, text)
    end
end)
M.serialize = serialize.serialize
M.set_serialize_value = serialize.set_value

return setmetatable(M, {
    __call = function(_, ...)
        if M.is_on(LEVELS.notice) then
            M.write(LEVELS.notice, M.join(...))
        end
    end,
})
