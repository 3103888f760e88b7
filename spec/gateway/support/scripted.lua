-- SPDX-License-Identifier: Apache-2.0
--
-- An upstream that the spec plays itself, byte by byte; and what the access log says of it.
--
--     local upstream = scripted.listen()                  -- upstream.port
--     local peer = upstream:accept()                      -- peer.head is the request's head
--     peer:say('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
--     peer:expect_end()                                   -- the gateway has closed it
--     upstream:close()
--     local record = scripted.records(gateway):next()     -- the next line on its stdout
local client = require 'spec.gateway.support.client'
local dkjson = require 'dkjson'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local M = {}

-- Connections ------------------------------------------------------------------------------------

local Peer = {}

-- Methods of client connections, and those below.
local function new_peer(fd)
    local connection = client.adopt(fd, process.deadline)
    local inherited = getmetatable(connection).__index
    return setmetatable(connection, { __index = function(_, name)
        return Peer[name] or inherited[name]
    end })
end

--- Reads a request's head, which is also kept as peer.head.
function Peer:read_head()
    self.head = assert(self:take_until('\r\n\r\n'))
    return self.head
end

function Peer:say(text)
    assert(self:send(text))
end

-- Upstreams --------------------------------------------------------------------------------------

local Upstream = {}
Upstream.__index = Upstream

--- @tparam[opt] number receive_buffer of accepted connections, bytes
function M.listen(receive_buffer)
    local fd, port = posix.listen(receive_buffer)
    return setmetatable({ fd = fd, port = port }, Upstream)
end

--- An upstream whose queue is full: a connect hangs there until make_room, and then until the
-- kernel tries again, which is after a second.
function M.listen_full()
    local fd, port = posix.listen(nil, 0)
    local upstream = setmetatable({ fd = fd, port = port, queued = {} }, Upstream)
    repeat
        local queued = posix.connect(port, posix.now() + 0.05)
        upstream.queued[#upstream.queued + 1] = queued
    until not queued
    return upstream
end

function Upstream:make_room()
    for _, queued in ipairs(self.queued) do
        posix.close(assert(posix.accept(self.fd, posix.now() + process.deadline)))
        posix.close(queued)
    end
    self.queued = {}
end

--- The next connection; its first request's head is read unless bare is true.
function Upstream:accept(bare)
    local fd = assert(posix.accept(self.fd, posix.now() + process.deadline), 'nobody connects')
    local peer = new_peer(fd)
    if not bare then
        peer:read_head()
    end
    return peer
end

--- Whether somebody connects within so many seconds.
function Upstream:is_asked(seconds)
    return posix.wait_readable(self.fd, posix.now() + seconds)
end

function Upstream:close()
    for _, queued in ipairs(self.queued or {}) do
        posix.close(queued)
    end
    posix.close(self.fd)
end

-- Lines of the access log ------------------------------------------------------------------------

local Records = {}
Records.__index = Records

--- Reads the JSON lines of a gateway's standard output.
function M.records(gateway)
    return setmetatable({ gateway = gateway, taken = 0 }, Records)
end

--- The next line, waited for.
-- @treturn table
function Records:next()
    local deadline = posix.now() + process.deadline
    local at
    repeat
        at = self.gateway.out:find('\n', self.taken + 1, true)
    until at or not (self.gateway:collect(deadline) or posix.now() < deadline)
    assert(at, 'no line in the access log')
    local line = self.gateway.out:sub(self.taken + 1, at - 1)
    self.taken = at
    return assert(dkjson.decode(line, 1, nil), line)
end

--- The line of a request; those before it are passed over.
-- @tparam string id as in X-Request-Id
-- @treturn table
function Records:of(id)
    local record
    repeat
        record = self:next()
    until record.request_id == id
    return record
end

--- Lines that have come and were not taken.
function Records:count()
    repeat
        local came = self.gateway:collect(posix.now())
    until not came
    local _, count = self.gateway.out:sub(self.taken + 1):gsub('\n', '')
    return count
end

return M
