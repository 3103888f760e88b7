-- SPDX-License-Identifier: Apache-2.0
-- The URL of a log collector: http[s]://host[:port][/path][?query].
local M = {}

--- The parts of a URL.
-- @tparam string text
-- @treturn table|nil { tls =, host =, port =, target = path and query, authority = of Host, name =
--   what it is called in logs and metrics: without the query, which may hold a key }
-- @treturn string|nil the mistake
function M.parse(text)
    local scheme, authority, rest = text:match('^(%a[%w+.-]*)://([^/?#]*)([^#]*)$')
    scheme = scheme and scheme:lower()
    if scheme ~= 'http' and scheme ~= 'https' then
        return nil, 'expected a URL such as http://logs.example:9000/path'
    elseif authority:find('@', 1, true) then
        return nil, 'user and password do not belong here: set the header authorization'
    end
    local host, port = authority:match('^(%[[%x:.]+%]):?(%d*)$')
    if not host then
        host, port = authority:match('^([%w._-]+):?(%d*)$')
    end
    local number = port == '' and (scheme == 'https' and 443 or 80) or tonumber(port)
    if not host or not number or number < 1 or number > 65535 or rest:find('[^\33-\126]') then
        return nil, 'expected a URL such as http://logs.example:9000/path'
    end
    local target = rest:sub(1, 1) == '/' and rest or '/' .. rest
    return { tls = scheme == 'https', host = host, port = number, target = target,
        authority = authority, name = scheme .. '://' .. authority .. target:match('^[^?]*') }
end

return M
