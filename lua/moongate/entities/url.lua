-- SPDX-License-Identifier: Apache-2.0
--
-- The `url` of a service: `http://host:port/path`, `http://[v6]:port/path`, and for a unix socket
-- `http://unix:/run/app.sock` or `http://unix:/run/app.sock:/path`.
local address = require 'moongate.schema.address'

local M = {}

local PORTS = { http = 80, https = 443, grpc = 80, grpcs = 443 }

local function split_unix(rest)
    local socket, path = rest:match('^(unix:/[^:]+):(/.*)$')
    if not socket then
        socket = rest:match('^(unix:/[^:]+)$')
    end
    return socket, path
end

--- Takes a service's url apart.
-- @tparam string url
-- @treturn ?table `{protocol, host, port, path}`; host is a name, an address without brackets, or
-- `unix:/path`
-- @treturn ?string what is wrong with it
function M.split(url)
    local scheme, rest = url:match('^(%a[%w+.-]*)://(.+)$')
    if not scheme then
        return nil, 'expected a URL such as http://127.0.0.1:8080/path'
    end
    if url:find('[?#]') then
        return nil, 'a query or fragment cannot be part of a service, only a path'
    end
    local result = { protocol = scheme:lower(), port = PORTS[scheme:lower()] }
    if rest:sub(1, 5) == 'unix:' then
        result.host, result.path = split_unix(rest)
        if not result.host then
            return nil, 'expected a unix socket as http://unix:/run/app.sock or …app.sock:/path'
        end
        return result
    end
    local authority
    authority, result.path = rest:match('^([^/]*)(/.*)$')
    authority = authority or rest
    if authority:find('@', 1, true) then
        return nil, 'a name and password cannot be part of a service: set a header in a plugin'
    end
    local host, port = address.split(authority)
    if not host then
        return nil, ('the host and port "%s" are malformed'):format(authority)
    end
    result.host, result.port = host, port or result.port
    return result
end

return M
