-- SPDX-License-Identifier: Apache-2.0
--
-- A reader of the one form in which the gateway may write a message to an upstream. Whatever a
-- server could read in two ways is an error here.
--
--     local length, body = framing.read(bytes)     -- of the message at their start
--     local length = framing.read(bytes)           -- nil: it goes on
--     local _, _, err = framing.read(bytes)        -- it is none
local M = {}

-- Body of a chunked message that begins at a place; nil when it goes on.
local function read_chunks(text, at)
    local parts = {}
    while true do
        local line, after = text:match('^([^\r\n]*)\r\n()', at)
        if not line then
            return nil, table.concat(parts), #text - at > 16 and 'an endless chunk line' or nil
        elseif line ~= '0' and not line:match('^[1-9a-f][0-9a-f]*$') then
            return nil, nil, ('the chunk line %q'):format(line)
        end
        local size = tonumber(line, 16)
        if #text < after + size + 1 then
            parts[#parts + 1] = text:sub(after)
            return nil, table.concat(parts)
        elseif text:sub(after + size, after + size + 1) ~= '\r\n' then
            return nil, nil, 'the end of a chunk'
        elseif size == 0 then
            return after + 1, table.concat(parts)
        end
        parts[#parts + 1] = text:sub(after, after + size - 1)
        at = after + size + 2
    end
end

local function check_head(head)
    local line, fields = head:match('^([^\r\n]*)\r\n(.*)\r\n$')
    if not line or not line:match('^%u[%u-]* /[^ ]* HTTP/1%.1$') and
        line ~= 'OPTIONS * HTTP/1.1' then
        return ('the request line %q'):format(line or head)
    end
    local seen = {}
    for field in fields:gmatch('(.-)\r\n') do
        local name, value = field:match('^([%w!#$%%&\'*+.^_`|~-]+): ([^%c]*)$')
        if not name and not field:match('^[%w!#$%%&\'*+.^_`|~-]+: [^%z\1-\8\10-\31\127]*$') then
            return ('the field %q'):format(field)
        end
        name = (name or field:match('^[^:]*')):lower()
        seen[name] = (seen[name] or 0) + 1
        if value and (value:match('^[ \t]') or value:match('[ \t]$')) then
            return ('blanks around %q'):format(field)
        end
    end
    if seen.host ~= 1 or (seen['content-length'] or 0) + (seen['transfer-encoding'] or 0) > 1 then
        return 'not one Host, or more than one framing'
    end
end

--- Reads the message at the start of some bytes.
-- @tparam string text
-- @treturn number|nil its length; nil when it is incomplete or none
-- @treturn string|nil its body, or as much of it as is there
-- @treturn string|nil what is wrong with it
function M.read(text)
    local stop = text:find('\r\n\r\n', 1, true)
    if not stop then
        return nil, nil, text:match('%z') and 'a NUL' or nil
    end
    local head = text:sub(1, stop + 3)
    local err = check_head(head)
    if err then
        return nil, nil, err
    end
    local length = head:match('\r\nContent%-Length: (%d+)\r\n')
    if head:find('\r\nTransfer-Encoding: chunked\r\n', 1, true) then
        return read_chunks(text, stop + 4)
    elseif head:lower():find('\r\ntransfer-encoding:', 1, true) then
        return nil, nil, 'a transfer coding'
    end
    local last = stop + 3 + tonumber(length or 0)
    local body = text:sub(stop + 4, last)
    return #text >= last and last or nil, body
end

--- The head at the start of some bytes, or nil.
function M.head(text)
    local stop = text:find('\r\n\r\n', 1, true)
    return stop and text:sub(1, stop + 3)
end

return M
