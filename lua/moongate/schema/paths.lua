-- SPDX-License-Identifier: Apache-2.0
--
-- Paths of routes and services. The router compares canonical paths (docs/threat-model.md), so a
-- configured path must be canonical too: a prefix that is not could never match.
local validators = require 'moongate.schema.validators'

local M = {}

-- What may stand in a path unescaped (RFC 3986, 3.3), without `/` and `%`.
local UNESCAPED = "^[%w%-._~!$&'()*+,;=:@/]$"

local function canonical_escape(hex)
    local char = string.char(tonumber(hex, 16))
    return char:match('^[%w%-._~]$') and char or '%' .. hex:upper()
end

local function remove_dots(path)
    local segments = {}
    for segment in (path .. '/'):sub(2):gmatch('([^/]*)/') do
        if segment == '..' then
            if #segments > 0 then
                segments[#segments] = nil
            end
        elseif segment ~= '.' then
            segments[#segments + 1] = segment
        end
    end
    local last = path:match('[^/]*$')
    local tail = (last == '.' or last == '..') and #segments > 0 and '/' or ''
    return '/' .. table.concat(segments, '/') .. tail
end

--- The canonical form of a path: unreserved characters unescaped, escapes in upper case, no dot
-- segments, everything else that needs it escaped.
-- @tparam string path starts with `/`
-- @treturn ?string nil where a `%` is not followed by two hexadecimal digits
function M.canonical(path)
    if path:gsub('%%%x%x', ''):find('%', 1, true) then
        return nil
    end
    local plain = path:gsub('%%(%x%x)', canonical_escape)
    plain = plain:gsub('[^%%]', function(char)
        return not char:match(UNESCAPED) and ('%%%02X'):format(char:byte()) or nil
    end)
    return remove_dots(plain)
end

--- Checks a plain path: starts with `/`, no empty segments, canonical.
-- @tparam string path
-- @treturn ?boolean true
-- @treturn ?string
function M.check(path)
    if path:sub(1, 1) ~= '/' then
        return nil, 'should start with: /'
    end
    if path:find('[?#]') then
        return nil, 'a path holds no ? and no #'
    end
    if path:find('//', 1, true) then
        return nil, 'must not have empty segments'
    end
    local canonical = M.canonical(path)
    if not canonical then
        return nil, 'a % must be followed by two hexadecimal digits'
    end
    if canonical ~= path then
        return nil, ('not canonical: write "%s"'):format(canonical)
    end
    return true
end

--- Checks a route's path: a plain one, or `~` and a regular expression that begins with `/`.
-- @tparam string path
-- @treturn ?boolean true
-- @treturn ?string
function M.check_route(path)
    if path:sub(1, 1) == '~' then
        if path:sub(2, 2) ~= '/' and path:sub(2, 3) ~= '^/' then
            return nil, 'should start with: / (fixed path) or ~/ (regex path)'
        end
        if not validators.is_regex(path:sub(2)) then
            return nil, 'not a valid regex: ' .. path:sub(2)
        end
        return true
    end
    if path:sub(1, 1) ~= '/' then
        return nil, 'should start with: / (fixed path) or ~/ (regex path)'
    end
    return M.check(path)
end

return M
