-- SPDX-License-Identifier: Apache-2.0
--
-- Random ways to write one request target: known canonical paths in other escapes, with more
-- slashes and dot segments; hosts in other letters, with a final dot or the default port; queries
-- with bytes that may not stand there. And the same with one thing in them that must be refused.
-- Uses math.random: whoever calls it sets the seed.
local M = {}

local random = math.random

local function pick(list)
    return list[random(#list)]
end

local function escape(byte)
    return (random(2) == 1 and '%%%02x' or '%%%02X'):format(byte)
end

-- Paths ------------------------------------------------------------------------------------------

-- What may stand in place of one slash. Canonical paths have no segment that `..` could not take
-- away again.
local SLASHES = { '//', '///', '/./', '/%2e/', '/.//', '/x/../', '/%78/../', '/x/%2E%2e/',
    '/x/y/../.%2e/', '//x//..//', '/x/./../', '/;p=1/../' }
local ENDS = { '/', '//', '/.', '/%2E', '/./', '/x/..', '/x/.%2e', '/x/%2e%2E/' }

local RAW = { ['%22'] = '"', ['%3C'] = '<', ['%3E'] = '>', ['%5B'] = '[', ['%5D'] = ']',
    ['%5E'] = '^', ['%60'] = '`', ['%7B'] = '{', ['%7C'] = '|', ['%7D'] = '}' }

-- A canonical path as symbols: bytes and escapes.
local function symbols_of(path)
    local list, at = {}, 1
    while at <= #path do
        list[#list + 1] = path:match('^%%%x%x', at) or path:sub(at, at)
        at = at + #list[#list]
    end
    return list
end

local known = {} -- path -> symbols

local function symbols(path)
    known[path] = known[path] or symbols_of(path)
    return known[path]
end

-- Another way to write one symbol. `density` is how many of ten are changed.
local function disguise(symbol, is_last, density)
    if random(10) > density then
        return symbol
    elseif symbol == '/' then
        return pick(is_last and ENDS or SLASHES)
    elseif #symbol == 3 then
        return random(2) == 1 and RAW[symbol] or escape(tonumber(symbol:sub(2), 16))
    elseif symbol:match('[%w%-._~]') then
        return escape(symbol:byte())
    end
    return symbol
end

--- Writes a canonical path in another way.
-- @tparam string path
-- @tparam[opt] string extra put between two symbols: what must be refused
-- @treturn string
function M.path(path, extra)
    local list, parts = symbols(path), {}
    local density = random(0, 9)
    for i, symbol in ipairs(list) do
        parts[i] = disguise(symbol, i == #list, density)
    end
    if extra then
        table.insert(parts, random(#parts) + 1, extra)
    end
    return table.concat(parts)
end

-- What cannot be in a path, wherever it stands: of steps 2 and 4 of the rule. The last ones climb
-- above the root from any known path.
local REFUSED = { '#', '\\', '%', '%g1', '%4', '%zz', '%%34', '%2f', '%2F', '%5c', '%5C', '%00',
    '%0a', '%0D', '%1f', '%7f', '%7F', '%ff', '%FE', '%c0%ae', '%c0%af', '%C1%81', '%e0%80%af',
    '%f0%80%80%af', '%ed%a0%80', '%f4%90%80%80', '%80', '%c3', '%e2%82', '\128', '\195\169',
    '\255', '\1', '\31', '\127', '/..;/', '/..;x=1/', '/%2e%2e;/', '/.;/', '/.%3b/', '/..%3Bx/',
    '/.;x', '/..;', ('/..'):rep(12), ('/%2e%2E'):rep(12), ('/.%2e'):rep(12) .. '/' }

--- Writes a canonical path in a way that must be refused, whatever else is changed.
-- @treturn string
-- @treturn string what is in it
function M.refused_path(path)
    local extra = pick(REFUSED)
    -- Of what may be cut off by a following digit or dot, the end is made sure.
    if extra:match('%%%x?$') or extra:match('%.%.;?$') or extra == '/.;x' then
        extra = extra .. (extra:sub(1, 1) == '/' and '/' or '/g')
    end
    return M.path(path, extra), extra
end

-- Queries ----------------------------------------------------------------------------------------

local ARGUMENTS = { 'a=1', 'b=%41', 'c=%zz', 'd="x"', 'e[]=1', 'f=%2F..%2f', 'g=/../', 'h=+', 'i',
    'j=%', 'l={|}', 'm=\\', 'n=a=b', 'o=%00', '=p', 'q=<script>', 'r=?&&s', 't=%e2%82%ac', 'u=`^' }
local LEGAL = "[%w%-._~!$&'()*+,;=:@/?]"

--- @treturn string a query with its `?`, or nothing
function M.query()
    if random(2) == 1 then
        return ''
    end
    local list = {}
    for i = 1, random(0, 4) do
        list[i] = pick(ARGUMENTS)
    end
    return '?' .. table.concat(list, '&')
end

--- What a query becomes: bytes that may not stand there are escaped, and a `%` that begins no
-- escape (RFC 3986, 3.4).
function M.canonical_query(query)
    return query:sub(1, 1) .. query:sub(2):gsub('()(.)', function(at, char)
        if char == '%' and query:find('^%x%x', at + 2) or char ~= '%' and char:match(LEGAL) then
            return char
        end
        return ('%%%02X'):format(char:byte())
    end)
end

-- Hosts ------------------------------------------------------------------------------------------

local function other_case(text)
    return (text:gsub('%a', function(letter)
        return random(2) == 1 and letter:upper() or letter:lower()
    end))
end

local IP6 = { ['[2001:db8::1]'] = { '[2001:db8::1]', '[2001:0DB8:0:0::0001]',
    '[2001:DB8:0:0:0:0:0:1]', '[2001:db8:0::0.0.0.1]' } }

--- Writes a host in another way.
-- @tparam string name canonical, without port
-- @tparam[opt] number port given; else none, or the default one
-- @treturn string
function M.host(name, port)
    local text = IP6[name] and pick(IP6[name]) or other_case(name)
    if not IP6[name] and name:match('%a') and random(3) == 1 then
        text = text .. '.'
    end
    return text .. (port and ':' .. port or pick{ '', '', ':', ':80', ':0080' })
end

return M
