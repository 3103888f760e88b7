-- SPDX-License-Identifier: Apache-2.0
--
-- A proxy in front of a TCP server that does to its clients what networks and dying servers do. It
-- is a process of its own; the spec tells it what to do over a second port.
--
--     local proxy = fault_proxy.start(server.port)       -- clients connect to proxy.port
--     proxy:set('delay', 500)                            -- back: proxy:set('pass')
--
--   pass        as if it were not there
--   delay MS    replies are held for so long
--   greet MS    the first reply of a connection is held for so long
--   half        half of each reply comes at once, the rest when it passes again
--   cut         half of a reply comes, and then the end
--   garbage     other bytes come in place of replies
--   hole        nothing moves in either direction; what was sent arrives when it passes again
--   refuse      nobody listens, and open connections end
--   reset       connections are reset, new ones too
--   drop        open connections are reset, and SYNs stay without an answer
local posix = require 'spec.gateway.support.posix'

local M = {}

-- ---- the process -------------------------------------------------------------------------------

local Proxy = {}
Proxy.__index = Proxy

local GARBAGE = '\0garbage\255\r\n'
local MOST_WAIT = 1 -- s, of a poll

function Proxy:listen()
    if not self.listener then
        self.listener, self.port = posix.listen(nil, nil, self.port)
    end
end

function Proxy:unlisten()
    if self.listener then
        posix.close(self.listener)
        self.listener = nil
    end
end

-- The queue of connections that nobody accepts is full: the kernel drops what comes.
function Proxy:fill_queue()
    self:unlisten()
    self.listener = posix.listen(nil, 0, self.port)
    for _ = 1, 4 do
        self.waiting[#self.waiting + 1] = posix.connect(self.port, posix.now() + 0.02)
    end
end

function Proxy:close_pair(pair, how)
    for _, side in ipairs({ pair.client, pair.server }) do
        if how == 'reset' then
            posix.reset(side.fd)
        else
            posix.close(side.fd)
        end
    end
    self.pairs[pair] = nil
end

function Proxy:close_pairs(how)
    for pair in pairs(self.pairs) do
        self:close_pair(pair, how)
    end
end

-- What to do to all that is open when a mode begins.
local ON_ENTRY = {
    refuse = function(self)
        self:unlisten()
        self:close_pairs()
    end,
    reset = function(self)
        self:close_pairs('reset')
    end,
    drop = function(self)
        self:fill_queue()
        self:close_pairs('reset')
    end,
}

function Proxy:enter(mode, number)
    for _, fd in ipairs(self.waiting) do
        posix.close(fd)
    end
    if #self.waiting > 0 then
        self:unlisten()
        self.waiting = {}
    end
    self.mode, self.delay = mode, (tonumber(number) or 0) / 1000
    if ON_ENTRY[mode] then
        ON_ENTRY[mode](self)
    end
    if mode ~= 'refuse' then
        self:listen()
    end
    for pair in pairs(self.pairs) do
        if pair.is_broken then
            self:close_pair(pair)
        end
    end
end

function Proxy:accept()
    local fd = self.listener and posix.accept(self.listener, posix.now())
    if not fd then
        return
    elseif self.mode == 'reset' then
        return posix.reset(fd)
    end
    local target = posix.connect(self.target, posix.now() + 1)
    if not target then
        return posix.close(fd)
    end
    posix.no_delay(fd)
    posix.no_delay(target)
    local pair = { client = { fd = fd, queue = {} },
        server = { fd = target, queue = {} } }
    pair.client.pair, pair.server.pair = pair, pair
    self.pairs[pair] = true
end

-- Puts bytes of the server into the client's queue; an item is { due, bytes }.
function Proxy:reply(pair, bytes)
    local queue, now = pair.client.queue, posix.now()
    if self.mode == 'half' or self.mode == 'cut' then
        local half = math.floor(#bytes / 2)
        queue[#queue + 1] = { due = pair.is_held and math.huge or now, bytes = bytes:sub(1, half) }
        queue[#queue + 1] = { due = math.huge, bytes = bytes:sub(half + 1) }
        pair.is_held = true
    elseif self.mode == 'garbage' then
        queue[#queue + 1] = { due = now, bytes = GARBAGE }
        pair.is_broken = true
    else
        local is_held = self.mode ~= 'greet' or not pair.is_greeted
        queue[#queue + 1] = { due = is_held and now + self.delay or now, bytes = bytes }
        pair.is_greeted = true
    end
end

function Proxy:receive(pair, from, to)
    local bytes = posix.read(from.fd, posix.now())
    if bytes == '' then
        self:close_pair(pair)
    elseif bytes and to == pair.client then
        self:reply(pair, bytes)
    elseif bytes then
        to.queue[#to.queue + 1] = { due = 0, bytes = bytes }
    end
end

-- Writes what is due; false when the connection is gone.
local function write_due(side, now, all)
    while side.queue[1] and (all or side.queue[1].due <= now) do
        local item = side.queue[1]
        local sent = posix.send_some(side.fd, item.bytes)
        if not sent then
            return false
        elseif sent < #item.bytes then
            item.bytes = item.bytes:sub(sent + 1)
            return true
        end
        table.remove(side.queue, 1)
    end
    return true
end

function Proxy:write(pair)
    local now, passes = posix.now(), self.mode == 'pass'
    if self.mode == 'hole' then
        return
    elseif passes then
        pair.is_held = false
    end
    if not write_due(pair.server, now, true) or not write_due(pair.client, now, passes) then
        self:close_pair(pair)
    elseif self.mode == 'cut' and pair.is_held then
        self:close_pair(pair)
    end
end

-- When something has to be written next.
function Proxy:next_due()
    local due = posix.now() + MOST_WAIT
    for pair in pairs(self.pairs) do
        local first = pair.client.queue[1]
        if first and self.mode ~= 'hole' then
            due = math.min(due, first.due)
        end
    end
    return due
end

function Proxy:control()
    local bytes = posix.read(self.control_fd, posix.now())
    if bytes == '' then
        posix.close(self.control_fd)
        self.control_fd = nil
    elseif bytes then
        self:enter(bytes:match('^(%a+) ?(%d*)'))
        assert(posix.send(self.control_fd, 'ok\n', posix.now() + 1))
    end
end

function Proxy:turn()
    local sides = { { fd = self.control_listener, wants_read = true } }
    if self.control_fd then
        sides[2] = { fd = self.control_fd, wants_read = true, on_read = self.control }
    end
    if self.listener and self.mode ~= 'drop' then
        sides[#sides + 1] = { fd = self.listener, wants_read = true, on_read = self.accept }
    end
    for pair in pairs(self.pairs) do
        for _, side in ipairs({ pair.client, pair.server }) do
            side.wants_read, side.can_read = self.mode ~= 'hole', false
            sides[#sides + 1] = side
        end
    end
    posix.poll(sides, self:next_due())
    for _, side in ipairs(sides) do
        local pair = side.pair
        if side.can_read and side.on_read then
            side.on_read(self)
        elseif side.can_read and pair and self.pairs[pair] then
            self:receive(pair, side, side == pair.client and pair.server or pair.client)
        end
    end
    if sides[1].can_read then
        self.control_fd = posix.accept(self.control_listener, posix.now())
    end
    for pair in pairs(self.pairs) do
        self:write(pair)
    end
end

local function run(target)
    local proxy = setmetatable({ target = target, mode = 'pass', delay = 0, pairs = {},
        waiting = {} }, Proxy)
    local control_port
    proxy.control_listener, control_port = posix.listen()
    proxy:listen()
    io.stdout:write(('%d %d\n'):format(proxy.port, control_port))
    io.stdout:flush()
    while true do
        proxy:turn()
    end
end

-- ---- the spec's side ---------------------------------------------------------------------------

local Handle = {}
Handle.__index = Handle

--- Changes the mode; it holds when this returns.
function Handle:set(mode, number)
    local deadline = posix.now() + 10
    assert(posix.send(self.fd, ('%s %d\n'):format(mode, number or 0), deadline))
    if posix.read(self.fd, deadline) ~= 'ok\n' then
        self.process:collect(posix.now())
        error('the proxy does not answer: ' .. self.process.err, 2)
    end
end

--- @tparam number target port of 127.0.0.1
-- @treturn Handle port
function M.start(target)
    local process = require 'spec.gateway.support.process'
    local running = process.start({ 'luajit', 'spec/gateway/support/fault_proxy.lua',
        tostring(target) })
    assert(running:wait_text('\n', 10, 'out'), running.err)
    local port, control = running.out:match('(%d+) (%d+)')
    local fd = assert(posix.connect(tonumber(control), posix.now() + 10))
    return setmetatable({ port = tonumber(port), fd = fd, process = running }, Handle)
end

if arg and arg[0] and arg[0]:find('fault_proxy%.lua$') then
    run(tonumber(arg[1]))
end

return M
