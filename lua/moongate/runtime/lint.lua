-- SPDX-License-Identifier: Apache-2.0
-- What in a plugin's text deserves a warning of `moongate check`: reading the request target as it
-- was sent. The gateway routes, checks, counts and forwards the canonical one, so a rule about the
-- other can be walked around (`/%61dmin`, `/x/../admin`).
--
-- A line where it is meant, in a log or a signature, says so in a comment: -- lint: raw
local M = {}

local RAW = { 'get_raw_path', 'get_raw_target' }
local MEANT = '%-%-.*lint: raw'

--- Where a text names an accessor of the raw target. Comments do not count.
-- @tparam string text
-- @treturn table list of { line =, name = }
function M.raw_accessors(text)
    local found, number = {}, 0
    for line in (text .. '\n'):gmatch('([^\n]*)\n') do
        number = number + 1
        local code = line:gsub('%-%-.*$', '')
        for _, name in ipairs(RAW) do
            if code:find('%f[%w_]' .. name .. '%f[^%w_]') and not line:find(MEANT) then
                found[#found + 1] = { line = number, name = name }
            end
        end
    end
    return found
end

--- The same of all modules of a plugin.
-- @tparam string prefix name of the plugin's module
-- @tparam table loaded module name -> { path =, text = }
-- @treturn table list of "PATH:LINE: NAME", sorted
function M.of_plugin(prefix, loaded)
    local places = {}
    for module, source in pairs(loaded) do
        if module == prefix or module:sub(1, #prefix + 1) == prefix .. '.' then
            for _, found in ipairs(M.raw_accessors(source.text)) do
                places[#places + 1] = ('%s:%d: %s'):format(source.path, found.line, found.name)
            end
        end
    end
    table.sort(places)
    return places
end

return M
