-- SPDX-License-Identifier: Apache-2.0
--
-- An upstream in the spec's own process that keeps every byte it gets. It runs while a connection
-- of the client that knows it waits, so a spec stays one sequence of steps:
--
--     local origin = origins.listen()                     -- origin.port
--     local connection = client.connect(gateway.port, { origin = origin })
--     connection:request('GET', '/a')
--     assert.equal('GET /a HTTP/1.1', origin.requests[1].line)
--     assert.equal(0, origin.bytes)                       -- after a request that was refused
--     origin:close()
--
-- What a refused request would have sent lies in the kernel before its answer does, so after the
-- answer one look is enough: `settle`.
local posix = require 'spec.gateway.support.posix'

local M = {}
local Origin = {}
Origin.__index = Origin

M.OK = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'

--- Listens on a free port of 127.0.0.1.
-- @tparam[opt] function answer of a request: the text to send, nil = end the connection
function M.listen(answer)
    local fd, port = posix.listen()
    return setmetatable({
        fd = fd, port = port, answer = answer or function() return M.OK end, kept = {},
        requests = {}, bytes = 0, connections = 0,
    }, Origin)
end

--- Forgets what came so far.
function Origin:reset()
    self.requests, self.bytes, self.connections = {}, 0, 0
end

local function drop(self, fd)
    posix.close(fd)
    self.kept[fd] = nil
end

--- Ends all connections and stops listening.
function Origin:close()
    for fd in pairs(self.kept) do
        drop(self, fd)
    end
    posix.close(self.fd)
end

-- The octets of a chunked body that begins at a place, and where it ends; nil until all is there.
local function chunks(text, at)
    local parts = {}
    while true do
        local size, data = text:match('^(%x+)\r\n()', at)
        if not size then
            return nil
        end
        local length = tonumber(size, 16)
        if #text < data + length + 1 then
            return nil
        elseif length == 0 then
            return table.concat(parts), data + 2
        end
        parts[#parts + 1] = text:sub(data, data + length - 1)
        at = data + length + 2
    end
end

-- Takes one request off the text of a connection; nil until all of it is there.
local function take(text)
    local stop = text:find('\r\n\r\n', 1, true)
    if not stop then
        return nil
    end
    local head = text:sub(1, stop + 3)
    local line = head:match('^[^\r\n]*')
    local request = { head = head, line = line, method = line:match('^%S*'),
        target = line:match('^%S+ (.*) HTTP/1%.1$') }
    local lower = head:lower()
    local length = tonumber(lower:match('\r\ncontent%-length: (%d+)\r\n') or 0)
    local from = stop + 4
    if lower:find('\r\ntransfer-encoding: chunked\r\n', 1, true) then
        request.body, from = chunks(text, from)
    elseif #text >= from + length - 1 then
        request.body, from = text:sub(from, from + length - 1), from + length
    end
    if not request.body then
        return nil
    end
    return request, text:sub(from)
end

--- All values of a field in a head, in their order; a name of another case or with `_` is another.
-- @tparam table request or anything else with a head
-- @treturn table
function M.values(request, name)
    local values = {}
    for found, value in request.head:gmatch('\r\n([^:\r\n]+): ([^\r\n]*)') do
        if found == name then
            values[#values + 1] = value
        end
    end
    return values
end

local function serve(self, fd)
    local bytes = posix.read(fd, posix.now())
    if not bytes then
        return
    elseif bytes == '' then
        drop(self, fd)
        return
    end
    self.bytes = self.bytes + #bytes
    self.kept[fd] = self.kept[fd] .. bytes
    local request, rest = take(self.kept[fd])
    while request do
        self.kept[fd] = rest
        self.requests[#self.requests + 1] = request
        local answer = self.answer(request)
        if not answer then
            drop(self, fd)
            return
        end
        posix.send(fd, answer, posix.now() + 1)
        request, rest = take(rest)
    end
end

-- One look at all of its descriptors, and the other one.
local function turn(self, other, deadline)
    local fds, is_other = { self.fd, other }, false
    for fd in pairs(self.kept) do
        fds[#fds + 1] = fd
    end
    for _, fd in ipairs(posix.wait_many(fds, deadline)) do
        if fd == other then
            is_other = true
        elseif fd == self.fd then
            local accepted = posix.accept(self.fd, posix.now())
            if accepted then
                self.kept[accepted] = ''
                self.connections = self.connections + 1
            end
        else
            serve(self, fd)
        end
    end
    return is_other
end

--- Serves until the descriptor is readable.
-- @treturn boolean false when the time is over
function Origin:serve_until(fd, deadline)
    while not turn(self, fd, deadline) do
        if posix.now() >= deadline then
            return false
        end
    end
    return true
end

--- Takes what has come by now.
function Origin:settle()
    turn(self, nil, posix.now())
    turn(self, nil, posix.now())
end

return M
