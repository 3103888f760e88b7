-- SPDX-License-Identifier: Apache-2.0
--
-- Load that does not wait for answers: so many requests a second, whatever became of the ones
-- before. A process of its own; each request has an id of its own, which the answer may have to
-- bear.
--
--     local running = open_load.start(gateway.port, { rate = 500, paths = { '/a', '/b' } })
--     local from = posix.now()
--     ...
--     local records = running:stop()       -- { path =, at =, ms =, status =, word = }, by time
--     open_load.p99(records, from, posix.now())
--
-- GET PATH with X-Run: ID. `at` is when it was sent, on the clock of posix.now(); `status` is 0
-- where the connection ended. `word` is the first word of the answer's body: `own` stands for the
-- id of this request, `FOREIGN` for another number.
local posix = require 'spec.gateway.support.posix'

local M = {}

-- ---- the process -------------------------------------------------------------------------------

local Load = {}
Load.__index = Load

local MOST_CONNECTIONS = 250
local LOOK = 0.1 -- s, whether it is to stop

function Load:finish(connection, status, word)
    local now = posix.now()
    self.out:write(('%s %.6f %.3f %d %s\n'):format(connection.path, connection.at,
        (now - connection.at) * 1000, status, word))
    connection.id, connection.bytes = nil, ''
    self.busy[connection.fd] = nil
end

function Load:drop(connection)
    posix.close(connection.fd)
    self.busy[connection.fd] = nil
    self.count = self.count - 1
end

function Load:open()
    if self.count == MOST_CONNECTIONS then
        return nil
    end
    local fd = posix.connect(self.port, posix.now() + 0.5)
    if fd then
        self.count = self.count + 1
        posix.no_delay(fd)
        return { fd = fd, bytes = '' }
    end
end

local REQUEST = 'GET %s HTTP/1.1\r\nHost: localhost\r\nX-Run: %d\r\n\r\n'

-- One path after the other; with turns each for so long, and there and back (a, b, b, a), so that
-- what changes slowly does the same to all.
function Load:next_path()
    local count = #self.paths
    if self.turn == 0 then
        return self.paths[self.sent % count + 1]
    end
    local turn = math.floor((posix.now() - self.begun) / self.turn)
    local place = turn % count
    local is_back = math.floor(turn / count) % 2 == 1
    return self.paths[is_back and count - place or place + 1]
end

-- false where there is no connection for it: it waits, and that counts.
function Load:send(due)
    local connection = table.remove(self.idle) or self:open()
    if not connection then
        return false
    end
    self.sent = self.sent + 1
    connection.path = self:next_path()
    connection.id, connection.at = self.sent, self.is_late and due or posix.now()
    local text = REQUEST:format(connection.path, self.sent)
    if posix.send_some(connection.fd, text) ~= #text then
        self:finish(connection, 0, '-')
        self:drop(connection)
    else
        self.busy[connection.fd] = connection
    end
    return true
end

local function word_of(connection, body)
    local word = body:match('^%S+') or '-'
    if word == tostring(connection.id) then
        return 'own'
    end
    return word:match('^%d+$') and 'FOREIGN' or word
end

function Load:receive(connection)
    local bytes = posix.read(connection.fd, posix.now())
    if not bytes then
        return
    elseif bytes == '' then
        self:finish(connection, 0, '-')
        return self:drop(connection)
    end
    connection.bytes = connection.bytes .. bytes
    local head, stop = connection.bytes:match('^(.-)\r\n\r\n()')
    local length = head and tonumber(head:lower():match('\ncontent%-length: *(%d+)') or 0)
    if head and #connection.bytes >= stop - 1 + length then
        local status = tonumber(head:match('^HTTP/1.1 (%d+)')) or 0
        self:finish(connection, status, word_of(connection, connection.bytes:sub(stop)))
        if head:lower():find('connection: close', 1, true) then
            self:drop(connection)
        else
            self.idle[#self.idle + 1] = connection
        end
    end
end

-- Answers until then.
function Load:wait(deadline)
    local fds = {}
    for fd in pairs(self.busy) do
        fds[#fds + 1] = fd
    end
    for _, fd in ipairs(posix.wait_many(fds, deadline)) do
        self:receive(self.busy[fd])
    end
end

function Load:is_stopped()
    local file = io.open(self.path .. '.stop')
    return file and file:close()
end

function Load:run(rate)
    local step = 1 / rate
    local due = posix.now()
    local look = due
    self.begun = due
    while true do
        if posix.now() >= look then
            if self:is_stopped() then
                break
            end
            look = look + LOOK
        end
        while due <= posix.now() and self:send(due) do
            due = due + step
        end
        self.is_late = due <= posix.now() -- no connection was left
        self:wait(self.is_late and posix.now() + 0.001 or due)
    end
    local deadline = posix.now() + 10
    while next(self.busy) and posix.now() < deadline do
        self:wait(deadline)
    end
    for _, connection in pairs(self.busy) do
        self:finish(connection, 0, 'silent')
    end
    self.out:close()
end

local function run(port, rate, turn, path, ...)
    local load = setmetatable({ port = port, path = path, out = assert(io.open(path, 'w')),
        turn = turn, paths = { ... }, sent = 0, count = 0, idle = {}, busy = {} }, Load)
    load:run(rate)
end

-- ---- the spec's side ---------------------------------------------------------------------------

local Running = {}
Running.__index = Running

--- Ends the load and waits for the last answers.
-- @treturn table records
function Running:stop()
    local process = require 'spec.gateway.support.process'
    process.write(self.path .. '.stop', '')
    assert(self.process:wait(20) == 0, 'the load does not end: ' .. self.process.err)
    local records = {}
    for line in io.lines(self.path) do
        local path, at, ms, status, word = line:match('^(%S+) (%S+) (%S+) (%d+) (%S+)$')
        records[#records + 1] = { path = path, at = tonumber(at), ms = tonumber(ms),
            status = tonumber(status), word = word }
    end
    table.sort(records, function(a, b) return a.at < b.at end)
    return records
end

--- @tparam number port of the gateway
-- @tparam table o rate (requests a second), paths, turn (s that one path has all requests; else
-- each request has the next path)
function M.start(port, o)
    local process = require 'spec.gateway.support.process'
    local path = process.folder() .. '/load'
    local argv = { 'luajit', 'spec/gateway/support/open_load.lua', tostring(port),
        tostring(o.rate), tostring(o.turn or 0), path }
    for _, each in ipairs(o.paths) do
        argv[#argv + 1] = each
    end
    return setmetatable({ path = path, process = process.start(argv) }, Running)
end

--- The records that were sent in a time.
-- @tparam[opt] string path these alone
function M.between(records, from, to, path)
    local list = {}
    for _, record in ipairs(records) do
        if record.at >= from and record.at < to and (not path or record.path == path) then
            list[#list + 1] = record
        end
    end
    return list
end

--- How many there are of each word, or of each status.
function M.count(records, field)
    local counts = {}
    for _, record in ipairs(records) do
        counts[record[field]] = (counts[record[field]] or 0) + 1
    end
    return counts
end

--- The latency in milliseconds that 99 of 100 do not exceed.
function M.p99(records)
    local list = {}
    for i, record in ipairs(records) do
        list[i] = record.ms
    end
    table.sort(list)
    return list[math.max(1, math.ceil(#list * 0.99))] or 0
end

if arg and arg[0] and arg[0]:find('open_load%.lua$') then
    run(tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3]), unpack(arg, 4))
end

return M
