-- SPDX-License-Identifier: Apache-2.0
-- The fields of an access-log record, and the language of templates.
local M = {}

--- What a JSON line shows where `fields` is not set, in this order.
M.default = {
    'ts', 'request_id', 'trace_id', 'span_id', 'client_ip', 'method', 'scheme', 'host', 'path',
    'protocol', 'tls', 'route', 'service', 'upstream', 'consumer', 'status', 'outcome', 'ended_by',
    'ended_in', 'bytes_in', 'bytes_out', 'body_bytes_out', 't', 'tries', 'retries', 'limit',
    'breaker', 'user_agent', 'referer', 'worker', 'generation',
}

local OPTIONAL = { 'peer_ip', 'query', 'plugin_ms', 'req_body', 'resp_body' }
local SPANS = { 'head', 'plugins', 'delay', 'queue', 'connect', 'ttfb', 'upstream', 'total' }

-- Objects and lists: JSON only.
local COMPOSITE = { tls = true, t = true, tries = true, limit = true, breaker = true,
    plugin_ms = true }

local json, text = {}, {}
for _, list in ipairs({ M.default, OPTIONAL }) do
    for _, name in ipairs(list) do
        json[name] = true
        text[name] = not COMPOSITE[name] or nil
    end
end
for _, name in ipairs(SPANS) do
    text['t.' .. name] = true
end

local function is_header(name)
    return name:match("^req%.header%.[%w!#$%%&'*+.^_`|~-]+$")
        or name:match("^resp%.header%.[%w!#$%%&'*+.^_`|~-]+$")
end

local function names_of(set)
    local names = {}
    for name in pairs(set) do
        names[#names + 1] = name
    end
    table.sort(names)
    return table.concat(names, ' ')
end

local function check(name, known)
    if known[name] or is_header(name) then
        return true
    end
    if name == 'sample' or name == 'truncated' then
        return nil, ("'%s' needs no mention: it stands where it applies"):format(name)
    end
    if name == 'req_headers' or name == 'resp_headers' then
        return nil, ('name the headers: %s.header.NAME'):format(name:match('^%a+'))
    end
    return nil, ("unknown field '%s'; there are %s, req.header.NAME and resp.header.NAME")
        :format(name, names_of(known))
end

--- Why a JSON line has no nested name of custom_fields, or has.
-- @tparam string name
-- @treturn boolean is it the name of a field of the record?
function M.is_field(name)
    return json[name] ~= nil or name == 'sample' or name == 'truncated'
        or name == 'req_headers' or name == 'resp_headers'
end

--- Can a JSON line show the field?
-- @tparam string name
-- @treturn boolean|nil
-- @treturn string|nil error
function M.check(name)
    return check(name, json)
end

--- Takes a template apart: `{status}`, `{req.header.x-a:-none}`, other text as it stands.
-- @tparam string template
-- @treturn table|nil list of { literal = } and { name =, default = }
-- @treturn string|nil error
function M.parse_template(template)
    if template:find('[%c]') then
        return nil, 'a template is one line without control characters'
    end
    local parts, at = {}, 1
    while at <= #template do
        local open = template:find('{', at, true)
        local literal = template:sub(at, (open or #template + 1) - 1)
        if literal ~= '' then
            parts[#parts + 1] = { literal = literal }
        end
        if not open then
            break
        end
        local close = template:find('}', open, true)
        if not close then
            return nil, "'{' without '}': " .. template:sub(open)
        end
        local inner = template:sub(open + 1, close - 1)
        local name, default = inner:match('^(.-):%-(.*)$')
        name = name or inner
        local ok, err = check(name, text)
        if not ok then
            return nil, err
        end
        parts[#parts + 1] = { name = name, default = default }
        at = close + 1
    end
    if #parts == 0 then
        return nil, 'the template is empty'
    end
    return parts
end

return M
