-- SPDX-License-Identifier: Apache-2.0
-- HTTP/1.1 messages as the tests write and read them: whole, in memory. The gateway has its own
-- parser in C; this one is on the other side of both its connections.
local M = {}

-- ---- headers -----------------------------------------------------------------------------------

local Headers = {}

function Headers.__index(headers, name)
    local key = type(name) == 'string' and rawget(headers, name:lower())
    return key or nil
end

--- A table of fields whose names are compared without case: string, or array when repeated.
-- @tparam[opt] table fields array of { name, value }
-- @treturn table keys in lower case
function M.headers(fields)
    local headers = {}
    for _, field in ipairs(fields or {}) do
        local name, value = field[1]:lower(), field[2]
        local before = headers[name]
        if before == nil then
            headers[name] = value
        elseif type(before) == 'table' then
            before[#before + 1] = value
        else
            headers[name] = { before, value }
        end
    end
    return setmetatable(headers, Headers)
end

--- The first value of a field.
function M.first(headers, name)
    local value = headers[name:lower()]
    return type(value) == 'table' and value[1] or value
end

-- ---- writing -----------------------------------------------------------------------------------

local function field_lines(lines, headers)
    local names = {}
    for name in pairs(headers) do
        names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local values = headers[name]
        for _, value in ipairs(type(values) == 'table' and values or { values }) do
            lines[#lines + 1] = name .. ': ' .. tostring(value)
        end
    end
end

local function has(headers, wanted)
    for name in pairs(headers) do
        if name:lower() == wanted then
            return true
        end
    end
    return false
end

--- Text of a message.
-- @tparam string first line
-- @tparam table headers name -> value or array of values
-- @tparam string body
-- @tparam[opt] boolean no_length leave Content-Length out of a message without a body
function M.write(first, headers, body, no_length)
    local lines = { first }
    field_lines(lines, headers)
    if not has(headers, 'content-length') and not has(headers, 'transfer-encoding')
        and not (no_length and body == '') then
        lines[#lines + 1] = 'Content-Length: ' .. #body
    end
    lines[#lines + 1] = '\r\n'
    return table.concat(lines, '\r\n') .. body
end

-- ---- reading -----------------------------------------------------------------------------------

local function read_chunks(bytes, at)
    local parts = {}
    while true do
        local _, stop, size = bytes:find('^(%x+)[^\r\n]*\r\n', at)
        if not stop then
            return nil
        end
        size = tonumber(size, 16)
        if size == 0 then
            local _, last = bytes:find('^\r\n', stop + 1)
            if not last then
                _, last = bytes:find('\r\n\r\n', stop + 1, true)
            end
            return last and table.concat(parts), last
        elseif #bytes < stop + size + 2 then
            return nil
        end
        parts[#parts + 1] = bytes:sub(stop + 1, stop + size)
        at = stop + size + 3
    end
end

local function read_head(bytes)
    local _, stop = bytes:find('\r\n\r\n', 1, true)
    if not stop then
        return nil
    end
    local first = bytes:match('^[^\r\n]*')
    local fields = {}
    for line in bytes:sub(#first + 3, stop - 2):gmatch('([^\r\n]+)\r\n') do
        local name, value = line:match('^([^:]+):[ \t]*(.-)[ \t]*$')
        fields[#fields + 1] = name and { name, value }
    end
    return first, M.headers(fields), stop
end

-- Body of the message whose head ends at `stop`, and where it ends; nil while it is not whole.
local function read_body(bytes, headers, stop, rest_is_body, ended)
    local coding = M.first(headers, 'transfer-encoding')
    local length = tonumber(M.first(headers, 'content-length'))
    if coding and coding:lower():find('chunked', 1, true) then
        return read_chunks(bytes, stop + 1)
    elseif length then
        if #bytes < stop + length then
            return nil
        end
        return bytes:sub(stop + 1, stop + length), stop + length
    elseif rest_is_body then
        if ended then
            return bytes:sub(stop + 1), #bytes
        end
        return nil
    end
    return '', stop
end

--- Reads one request off the front of bytes.
-- @treturn table|nil { method, target, headers, body }; nil while it is not whole
-- @treturn number how many bytes it took
function M.read_request(bytes)
    local first, headers, stop = read_head(bytes)
    if not first then
        return nil
    end
    local body, used = read_body(bytes, headers, stop, false, false)
    if not body then
        return nil
    end
    local method, target = first:match('^(%S+) (%S+)')
    return { method = method, target = target, headers = headers, body = body }, used
end

--- Reads one answer off the front of bytes; interim answers (1xx) are passed over.
-- @tparam string bytes
-- @tparam string method of the request
-- @tparam boolean ended no more bytes come
-- @treturn table|nil { status, reason, headers, body }; nil while it is not whole
-- @treturn number how many bytes it took
function M.read_response(bytes, method, ended)
    local first, headers, stop = read_head(bytes)
    if not first then
        return nil
    end
    local status = tonumber(first:match('^HTTP/1%.%d (%d%d%d)'))
    if not status then
        return nil
    end
    if status >= 100 and status < 200 and status ~= 101 then
        local answer, used = M.read_response(bytes:sub(stop + 1), method, ended)
        return answer, used and used + stop
    end
    local answer = { status = status, reason = first:match('^%S+ %d+ ?(.*)$'), headers = headers }
    if method == 'HEAD' or status == 101 or status == 204 or status == 304 then
        answer.body = ''
        return answer, stop
    end
    local used
    answer.body, used = read_body(bytes, headers, stop, true, ended)
    if not answer.body then
        return nil
    end
    return answer, used
end

-- ---- forms and queries -------------------------------------------------------------------------

local function decode(text)
    return (text:gsub('+', ' '):gsub('%%(%x%x)', function(hex)
        return string.char(tonumber(hex, 16))
    end))
end

local function encode(value)
    return (tostring(value):gsub('[^%w._~-]', function(byte)
        return ('%%%02X'):format(byte:byte())
    end))
end

--- Arguments of a query or form: name -> value, true without `=`, or an array.
function M.decode_args(text)
    local args = {}
    for part in (text or ''):gmatch('[^&]+') do
        local name, value = part:match('^([^=]*)=(.*)$')
        if name then
            value = decode(value)
        else
            name, value = part, true
        end
        name = decode(name)
        local before = args[name]
        if before == nil then
            args[name] = value
        elseif type(before) == 'table' then
            before[#before + 1] = value
        else
            args[name] = { before, value }
        end
    end
    return args
end

--- The reverse; a string is taken as it is. Names are in order.
function M.encode_args(args)
    if type(args) == 'string' then
        return args
    end
    local names, parts = {}, {}
    for name in pairs(args) do
        names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local values = args[name]
        for _, value in ipairs(type(values) == 'table' and values or { values }) do
            parts[#parts + 1] = encode(name)
                .. (value == true and '' or '=' .. encode(value))
        end
    end
    return table.concat(parts, '&')
end

return M
