-- SPDX-License-Identifier: Apache-2.0
--
-- A raw HTTP/1.1 client for specs: what is sent is what the spec wrote, every wait has a deadline.
--
--     local connection = assert(client.connect(port))
--     local res = assert(connection:request('GET', '/orders', { ['X-Key'] = 'k' }))
--     assert.equal(200, res.status)                   -- res.headers['x-request-id'], res.body
--     connection:close()
local posix = require 'spec.gateway.support.posix'

local DEFAULT_TIMEOUT = 10 -- seconds

local M = {}
local Connection = {}
Connection.__index = Connection

--- @tparam number|string place port of 127.0.0.1, '[::1]:PORT', or path of a unix socket
-- @tparam[opt] table o timeout (seconds of each wait), receive_buffer (bytes), origin (an origin of
-- this process, which serves while the connection waits)
-- @treturn Connection|nil
-- @treturn string what went wrong
function M.connect(place, o)
    o = o or {}
    local timeout = o.timeout or DEFAULT_TIMEOUT
    local fd, err = posix.connect(place, posix.now() + timeout, o.receive_buffer)
    if not fd then
        return nil, err
    end
    local connection = M.adopt(fd, timeout)
    connection.origin = o.origin
    return connection
end

--- A connection from a descriptor, such as one that was accepted.
-- @tparam number fd
-- @tparam[opt] number timeout seconds of each wait
-- @treturn Connection
function M.adopt(fd, timeout)
    return setmetatable({ fd = fd, timeout = timeout or DEFAULT_TIMEOUT, kept = '' }, Connection)
end

function Connection:deadline()
    return posix.now() + self.timeout
end

function Connection:close()
    if self.fd then
        posix.close(self.fd)
        self.fd = nil
    end
end

--- Ends it with a reset.
function Connection:reset()
    posix.reset(self.fd)
    self.fd = nil
end

--- @treturn boolean
-- @treturn string what went wrong
function Connection:send(text)
    return posix.send(self.fd, text, self:deadline())
end

--- Adds what comes to self.kept.
-- @treturn boolean whether something came
-- @treturn string 'timeout', 'closed' or what went wrong
function Connection:fill()
    local deadline = self:deadline()
    if self.origin and not self.origin:serve_until(self.fd, deadline) then
        return false, 'timeout'
    end
    local bytes, err = posix.read(self.fd, deadline)
    if not bytes then
        return false, 'timeout'
    elseif bytes == '' then
        return false, err or 'closed'
    end
    self.kept = self.kept .. bytes
    return true
end

--- Reads until what has come, and was not taken, holds the text.
function Connection:wait_for(text)
    while not self.kept:find(text, 1, true) do
        assert(self:fill())
    end
end

--- Takes so many bytes.
-- @treturn string|nil
-- @treturn string what went wrong
function Connection:take(count)
    while #self.kept < count do
        local ok, err = self:fill()
        if not ok then
            return nil, err
        end
    end
    local bytes = self.kept:sub(1, count)
    self.kept = self.kept:sub(count + 1)
    return bytes
end

--- Takes all up to and with the mark.
-- @treturn string|nil
-- @treturn string what went wrong
function Connection:take_until(mark)
    local at
    repeat
        at = self.kept:find(mark, 1, true)
        if not at then
            local ok, err = self:fill()
            if not ok then
                return nil, err
            end
        end
    until at
    return self:take(at + #mark - 1)
end

--- Takes all until the peer's end.
-- @treturn string|nil
-- @treturn string what went wrong: not an orderly end
function Connection:take_rest()
    local ok, err
    repeat
        ok, err = self:fill()
    until not ok
    if err ~= 'closed' then
        return nil, err
    end
    return self:take(#self.kept)
end

--- Waits for the peer's end, in whatever way it comes, and closes the connection.
-- @treturn string what had come before and was not taken
function Connection:expect_end()
    local ok, err
    repeat
        ok, err = self:fill()
    until not ok
    assert(err ~= 'timeout', 'the connection is still open')
    self:close()
    return self.kept
end

local function take_chunks(self)
    local parts = {}
    while true do
        local line, err = self:take_until('\r\n')
        local size = line and tonumber(line:match('^%x+'), 16)
        if not size then
            return nil, err or 'bad chunk'
        end
        local data
        data, err = self:take(size + 2)
        if not data then
            return nil, err
        elseif size == 0 then
            return table.concat(parts)
        end
        parts[#parts + 1] = data:sub(1, -3)
    end
end

local function parse_head(text)
    local status = tonumber(text:match('^HTTP/1%.[01] (%d%d%d)'))
    local headers = {}
    for name, value in text:gmatch('\r\n([^:\r\n]+):%s*([^\r\n]*)') do
        name = name:lower()
        headers[name] = headers[name] and headers[name] .. ', ' .. value or value
    end
    return status, headers
end

--- Reads one response; 1xx but 101 are skipped.
-- @tparam[opt] string method HEAD has no body
-- @treturn table|nil { status =, headers =, body = }
-- @treturn string what went wrong
function Connection:response(method)
    local head, err = self:take_until('\r\n\r\n')
    if not head then
        return nil, err
    end
    local status, headers = parse_head(head)
    local res = { status = status, headers = headers, head = head, body = '' }
    if status >= 100 and status < 200 and status ~= 101 then
        return self:response(method)
    elseif method == 'HEAD' or status == 101 or status == 204 or status == 304 then
        return res
    elseif headers['transfer-encoding'] then
        res.body, err = take_chunks(self)
    elseif headers['content-length'] then
        res.body, err = self:take(tonumber(headers['content-length']))
    else
        res.body, err = self:take_rest()
    end
    if not res.body then
        return nil, err
    end
    return res
end

--- Waits for the peer's end, which comes before a response is whole, and closes the connection.
function Connection:expect_cut()
    local res, err = self:response()
    assert(not res, 'the response is whole')
    assert(err ~= 'timeout' and err ~= 'bad chunk', err)
    self:close()
end

local function request_text(method, path, headers, body)
    local lines = { ('%s %s HTTP/1.1'):format(method, path) }
    local seen = {}
    for name, value in pairs(headers or {}) do
        lines[#lines + 1] = name .. ': ' .. value
        seen[name:lower()] = true
    end
    if not seen.host then
        lines[#lines + 1] = 'Host: localhost'
    end
    if body then
        lines[#lines + 1] = 'Content-Length: ' .. #body
    end
    return table.concat(lines, '\r\n') .. '\r\n\r\n' .. (body or '')
end

--- Sends a request and reads its response.
-- @treturn table|nil as response
-- @treturn string what went wrong
function Connection:request(method, path, headers, body)
    local ok, err = self:send(request_text(method, path, headers, body))
    if not ok then
        return nil, err
    end
    return self:response(method)
end

--- One request on a connection of its own.
function M.request(place, method, path, headers, body)
    local connection, err = M.connect(place)
    if not connection then
        return nil, err
    end
    local res
    res, err = connection:request(method, path, headers, body)
    connection:close()
    return res, err
end

function M.get(place, path, headers)
    return M.request(place, 'GET', path, headers)
end

return M
