-- SPDX-License-Identifier: Apache-2.0
-- Which origins a configuration allows. An entry is `*`, a plain origin, or a regular expression
-- that is matched against the whole origin (with the scheme if the entry names one, else host and
-- port).
local regex = require 'moongate.regex'

local M = {}

local PLAIN = '^[%w.:/%-]+$'
local DEFAULT_PORTS = { http = '80', https = '443' }

-- Host and port; two steps, since a pattern for both tries each end of a long host.
local function split(authority)
    local colon = authority:find(':', 1, true)
    if not colon then
        return authority, ''
    end
    local port = authority:sub(colon + 1)
    if colon > 1 and port:find('^%d*$') then
        return authority:sub(1, colon - 1), port
    end
end

-- Lower case, without the scheme's own port: browsers leave it out.
local function normalize(origin)
    local scheme, authority = origin:lower():match('^(%a[%w+.-]*)://([^/]+)$')
    local host, port = split(authority or ':')
    if not host then
        return origin:lower(), origin:lower()
    end
    if port ~= '' and port ~= DEFAULT_PORTS[scheme] then
        host = host .. ':' .. port
    end
    return scheme .. '://' .. host, host
end

--- Can the entry be used?
-- @tparam string entry
-- @treturn boolean|nil true
-- @treturn string|nil error
function M.check(entry)
    if entry == '*' or entry:find(PLAIN) then
        return true
    end
    local ok, err = regex.check(entry)
    if not ok then
        return nil, ("'%s' is neither an origin nor a valid regex: %s"):format(entry, err)
    end
    return true
end

local function compile(entry)
    if entry:find(PLAIN) then
        local whole, host = normalize(entry)
        local has_scheme = entry:find('://', 1, true)
        return { text = has_scheme and whole or host, has_scheme = has_scheme }
    end
    return {
        regex = assert(regex.new('^(?:' .. entry .. ')$')),
        has_scheme = entry:find('://', 1, true) ~= nil,
    }
end

local function make(list)
    local rule = { entries = {} }
    for _, entry in ipairs(list or {}) do
        if entry == '*' then
            rule.any = true
        else
            rule.entries[#rule.entries + 1] = compile(entry)
        end
    end
    rule.any = rule.any or #rule.entries == 0
    if #(list or {}) == 1 and list[1] ~= '*' and list[1]:find(PLAIN) then
        rule.only = list[1]
    end
    return rule
end

local rules = setmetatable({}, { __mode = 'k' })  -- made once for each configuration

--- The rule of a configuration.
-- @tparam table conf
-- @treturn table any: everybody; only: the one plain origin
function M.rule(conf)
    local rule = rules[conf]
    if not rule then
        rule = make(conf.origins)
        rules[conf] = rule
    end
    return rule
end

--- Is that origin allowed?
-- @tparam table rule
-- @tparam string origin value of the request's Origin
-- @treturn boolean
function M.is_allowed(rule, origin)
    local whole, host = normalize(origin)
    for _, entry in ipairs(rule.entries) do
        local subject = entry.has_scheme and whole or host
        if entry.text == subject or entry.regex and entry.regex:test(subject) then
            return true
        end
    end
    return false
end

return M
