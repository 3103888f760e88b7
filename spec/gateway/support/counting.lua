-- SPDX-License-Identifier: Apache-2.0
--
-- An upstream that counts how many requests it has at a time; a process of its own.
--
--     local upstream = counting.start(20)          -- answers after 20 ms; upstream.port
--     local most, total = upstream:counts()
--
-- A request is there from its head to its answer, or to the end of its connection. When one comes,
-- those whose connections have ended meanwhile are taken out first: what a gateway closed before it
-- sent this one is over.
local posix = require 'spec.gateway.support.posix'

local M = {}

local ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
local MOST = 250 -- connections

-- ---- the process -------------------------------------------------------------------------------

local Upstream = {}
Upstream.__index = Upstream

function Upstream:tell()
    local file = assert(io.open(self.path .. '.new', 'w'))
    file:write(('%d %d\n'):format(self.most, self.total))
    file:close()
    assert(os.rename(self.path .. '.new', self.path))
end

function Upstream:drop(fd)
    posix.close(fd)
    self.peers[fd], self.due[fd] = nil, nil
end

-- What connections have sent; an empty text is an end.
function Upstream:receive(fd)
    local bytes = posix.read(fd, posix.now())
    if bytes == '' then
        self:drop(fd)
    elseif bytes then
        self.peers[fd] = self.peers[fd] .. bytes
    end
end

local function keys_of(set)
    local list = {}
    for key in pairs(set) do
        list[#list + 1] = key
    end
    return list
end

function Upstream:begin(fd)
    self.peers[fd] = self.peers[fd]:gsub('^.-\r\n\r\n', '')
    self.due[fd] = posix.now() + self.delay
    self.total = self.total + 1
    for _, each in ipairs(posix.wait_many(keys_of(self.due), 0)) do
        self:receive(each) -- of this one, too: it may have waited to be accepted
    end
    self.most = math.max(self.most, #keys_of(self.due))
    self:tell()
end

function Upstream:answer()
    local now = posix.now()
    for _, fd in ipairs(keys_of(self.due)) do
        if self.due[fd] <= now then
            self.due[fd] = nil
            if posix.send_some(fd, ANSWER) ~= #ANSWER then
                self:drop(fd)
            end
        end
    end
end

function Upstream:turn()
    local fds = keys_of(self.peers)
    if #fds < MOST then
        fds[#fds + 1] = self.fd
    end
    for _, fd in ipairs(posix.wait_many(fds, posix.now() + 0.002)) do
        if fd == self.fd then
            local peer = posix.accept(fd, posix.now())
            if peer then
                self.peers[peer] = ''
            end
        elseif self.peers[fd] then
            self:receive(fd)
        end
    end
    for _, fd in ipairs(keys_of(self.peers)) do
        if self.peers[fd] and not self.due[fd] and self.peers[fd]:find('\r\n\r\n', 1, true) then
            self:begin(fd)
        end
    end
    self:answer()
end

local function run(path, delay)
    local fd, port = posix.listen()
    local upstream = setmetatable({ fd = fd, path = path, delay = delay, peers = {}, due = {},
        most = 0, total = 0 }, Upstream)
    upstream:tell()
    print(port)
    io.stdout:flush()
    while true do
        upstream:turn()
    end
end

-- ---- the spec's side ---------------------------------------------------------------------------

local Running = {}
Running.__index = Running

--- @treturn number the most requests at a time
-- @treturn number requests that came
function Running:counts()
    local most, total = assert(io.open(self.path)):read('*n', '*n')
    return most, total
end

--- @tparam number delay of each answer, ms
function M.start(delay)
    local process = require 'spec.gateway.support.process'
    local path = process.folder() .. '/counts'
    local started = process.start({ 'luajit', 'spec/gateway/support/counting.lua', path,
        tostring(delay) })
    assert(started:wait_text('\n', nil, 'out'), started.err)
    return setmetatable({ path = path, port = tonumber(started.out), process = started }, Running)
end

if arg and arg[0] and arg[0]:find('counting%.lua$') then
    run(arg[1], tonumber(arg[2]) / 1000)
end

return M
