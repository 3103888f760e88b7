-- SPDX-License-Identifier: Apache-2.0
--
-- Every state that an exchange can rest in, as cases: each brings one exchange to its state, on a
-- service with a listening socket of its own, and stays there until something ends it. A case says
-- which states of core/flow it covers, so that one without a case is found.
--
--     local case = states.cases[1]             -- { name =, covers =, gone =, broken =, ... }
--     case:open(gateway, folder)
--     case:reach()
--     case:leave('reset')                      -- the client; case:break_off('end'): the upstream
--     case:close()
--
-- unseen: the gateway has all from the client and writes nothing to it, so it cannot see it leave.
-- gone, broken: status and outcome in the access log when the client leaves or the upstream breaks
-- off; gone = false: there is no request yet, broken = nil: there is nothing that could break.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local sock_diag = require 'spec.gateway.support.sock_diag'

local M = { cases = {} }

local Case = {}
Case.__index = Case

local function deadline()
    return posix.now() + process.deadline
end

-- ---- what handlers do ---------------------------------------------------------------------------

-- A handler waits when the request's path names its phase: /access/sleep. It notes so in the file
-- `events`, and ends waiting when there is a file `release`.
M.PLUGIN = [[
local FOLDER, SIDE = '@FOLDER@', @SIDE@
local kinds = {}

local function note(text)
    local file = assert(io.open(FOLDER .. '/events', 'a'))
    file:write(text .. '\n')
    file:close()
end

local function is_released()
    local file = io.open(FOLDER .. '/release')
    return file and file:close()
end

function kinds.sleep()
    while not is_released() do
        moongate.sleep(0.01)
    end
end

function kinds.yield()
    while not is_released() do
        coroutine.yield()
    end
end

function kinds.coroutine()
    coroutine.wrap(function()
        pcall(kinds.sleep)
    end)()
end

function kinds.timer()
    local done
    assert(ngx.timer.at(0, function()
        kinds.sleep()
        done = true
    end))
    while not done do
        moongate.sleep(0.01)
    end
end

function kinds.http()
    moongate.http.request{ url = 'http://127.0.0.1:' .. SIDE, timeout = 600 }
end

function kinds.redis()
    while not is_released() do
        moongate.redis.instance('default'):get('key') -- five seconds at most
        moongate.sleep(0.01)
    end
end

function kinds.body()
    moongate.request.get_raw_body()
end

local function enter(phase)
    local path = moongate.request.get_path()
    local place, kind = path:match('^/([%a_]+)/(%a+)')
    if place == phase and kinds[kind] then
        note('waiting ' .. path)
        kinds[kind]()
    end
end

local plugin = { PRIORITY = 1000, VERSION = '0.1.0' }
for phase in ('@PHASES@'):gmatch('[%a_]+') do
    plugin[phase] = function()
        enter(phase)
    end
end
return plugin
]]

M.PLUGINS = { waits = 'rewrite access log', heads = 'header_filter', holds = 'response',
    filters = 'body_filter' }

-- ---- a case -------------------------------------------------------------------------------------

--- Listens for the upstream's side.
function Case:open(gateway, folder)
    self.gateway, self.folder = gateway, folder
end

function Case:listen()
    self.listener, self.port = posix.listen(nil, self.backlog)
end

function Case:connect(o)
    self.connection = assert(client.connect(self.gateway.port, o))
    self.connection.timeout = process.deadline
end

function Case:send(text)
    assert(self.connection:send(text))
end

--- Sends a request's head, with the fields.
function Case:ask(fields, rest, method)
    if not self.connection then
        self:connect()
    end
    self:send(('%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s'):format(method or 'GET', self.path,
        fields or '', rest or ''))
end

--- The upstream's side: takes a connection and reads a head.
function Case:accept()
    self.fd = assert(posix.accept(self.listener, deadline()), 'no connection for ' .. self.name)
    self:read_head()
end

function Case:read_head()
    local seen = ''
    repeat
        local bytes = assert(posix.read(self.fd, deadline()))
        assert(bytes ~= '', 'the gateway has closed')
        seen = seen .. bytes
    until seen:find('\r\n\r\n', 1, true)
end

function Case:answer(text)
    assert(posix.send(self.fd, text, deadline()))
end

--- Waits until the client has the text.
function Case:take(text)
    local connection = self.connection
    while not connection.kept:find(text, 1, true) do
        assert(connection:fill())
    end
end

function Case:until_waiting()
    local wanted = 'waiting ' .. self.path .. '\n'
    local limit = deadline()
    while not (process.read(self.folder .. '/events') or ''):find(wanted, 1, true) do
        assert(posix.now() < limit, self.path .. ' does not wait')
        posix.poll({}, posix.now() + 0.002)
    end
end

local WAYS = {
    reset = posix.reset,
    ['end'] = posix.close,
}

--- The client leaves: by reset or end, or by half an end, after which it could still read.
function Case:leave(how)
    if how == 'half' then
        posix.shutdown_write(self.connection.fd)
        return
    end
    WAYS[how](self.connection.fd)
    self.connection.fd = nil
end

--- The upstream, or who else is waited for, breaks off.
function Case:break_off(how)
    if self.side then
        WAYS[how](self.side)
        self.side = nil
    elseif self.fd then
        WAYS[how](self.fd)
        self.fd = nil
    else
        posix.close(self.listener)
        self.listener = nil
    end
end

function Case:close()
    if self.connection then
        self.connection:close()
        self.connection = nil
    end
    for _, name in ipairs({ 'fd', 'side', 'listener' }) do
        if self[name] then
            posix.close(self[name])
            self[name] = nil
        end
    end
    for _, fd in ipairs(self.fillers or {}) do
        posix.close(fd)
    end
    self.fillers = nil
end

local function add(case)
    case.path = case.path or '/' .. case.name
    case.name = case.name or case.path:sub(2)
    table.insert(M.cases, setmetatable(case, Case))
end

--- A copy that can be opened.
function M.new(case)
    local copy = {}
    for key, value in pairs(case) do
        copy[key] = value
    end
    return setmetatable(copy, Case)
end

-- Sends until nothing is taken any more.
local function fill(fd)
    local piece = ('x'):rep(65536)
    while posix.poll({ { fd = fd, wants_write = true } }, posix.now() + 0.1) do
        assert(posix.send_some(fd, piece))
    end
end

-- ---- before and between requests ----------------------------------------------------------------

local OK = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n'
local CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
local BODY = '0123456789'

add{ name = 'fresh', covers = 'CLIENT_IDLE', gone = false, reach = Case.connect }

add{ name = 'head', covers = 'CLIENT_HEAD', gone = false, reach = function(case)
    case:connect()
    case:send('GET /head HTTP/1.1\r\nHos')
end }

add{ name = 'idle', covers = 'CLIENT_IDLE', gone = { 200, 'ok' }, complete = true,
    reach = function(case)
        case:ask()
        case:accept()
        case:answer(OK .. BODY)
        assert(case.connection:response())
    end }

add{ name = 'lingering', covers = 'CLIENT_CLOSED', gone = { 200, 'ok' }, complete = true,
    reach = function(case)
        case:ask('Connection: close\r\n')
        case:accept()
        case:answer(OK .. BODY)
        assert(case.connection:response())
    end }

-- ---- waiting for handlers -----------------------------------------------------------------------

local UPSTREAM_SIDE = { header_filter = true, body_filter = true, response = true, log = true }
local OF_PHASE = { header_filter = { 'heads' }, body_filter = { 'filters' },
    response = { 'holds' } }

-- The connection that moongate.http has made; the redis server is stopped, so it says nothing.
local function take_side(case)
    if case.path:find('/http', 1, true) then
        case.side = assert(posix.accept(case.sides.listener, deadline()))
        assert(posix.read(case.side, deadline()))
    end
end

local function reach_handler(phase, sent)
    return function(case)
        case:ask()
        if UPSTREAM_SIDE[phase] then
            case:accept()
            case:answer(OK .. sent)
        end
        case:until_waiting()
        take_side(case)
    end
end

-- What goes on behind the handler when only what it waited for has broken.
local function goes_on(phase)
    return not UPSTREAM_SIDE[phase] and function(case)
        case:accept()
        case:answer(OK .. BODY)
    end or nil
end

local function add_handler(phase, kind, covers, more)
    local case = { path = ('/%s/%s'):format(phase, kind), covers = covers,
        plugins = OF_PHASE[phase], gone = { 499, 'client_abort' },
        complete = UPSTREAM_SIDE[phase], reach = reach_handler(phase, BODY) }
    if kind == 'http' then
        case.broken, case.go_on = { 200, 'ok' }, goes_on(phase)
    end
    for key, value in pairs(more or {}) do
        case[key] = value
    end
    add(case)
end

for _, kind in ipairs({ 'sleep', 'yield', 'coroutine', 'timer', 'http', 'redis' }) do
    add_handler('rewrite', kind, 'EXCHANGE_REWRITE CLIENT_BUSY UPSTREAM_OFF')
    add_handler('access', kind, 'EXCHANGE_ACCESS')
    add_handler('log', kind, 'EXCHANGE_LOG', { gone = { 200, 'ok' } })
    for _, phase in ipairs({ 'response', 'header_filter', 'body_filter' }) do
        add_handler(phase, kind, phase == 'body_filter' and 'EXCHANGE_BODY UPSTREAM_DONE' or
            'EXCHANGE_HEAD')
    end
end

for _, phase in ipairs({ 'rewrite', 'access' }) do
    add{ path = ('/%s/body'):format(phase), covers = 'CLIENT_BODY',
        gone = { 499, 'client_abort_request' }, reach = function(case)
            case:ask('Content-Length: 10\r\n', '0123', 'POST')
            case:until_waiting()
        end }
    add{ path = ('/%s/sleep/body'):format(phase), covers = 'CLIENT_BODY',
        gone = { 499, 'client_abort_request' }, reach = function(case)
            case:ask('Content-Length: 10\r\n', '0123', 'POST')
            case:until_waiting()
            case:send('45')
        end }
end

-- While the upstream is in the middle of its body and not read: its end is seen behind the wait,
-- when the head is out.
for _, phase in ipairs({ 'header_filter', 'body_filter' }) do
    add{ path = ('/%s/sleep/half'):format(phase), covers = 'UPSTREAM_BODY', cut = true,
        plugins = OF_PHASE[phase], gone = { 499, 'client_abort' },
        broken = { 200, 'upstream_body_reset' }, reach = reach_handler(phase, '01234') }
end

-- ---- on the way to the upstream -----------------------------------------------------------------

-- A backlog that is full: the kernel does not answer any more, and asks again after a second.
add{ name = 'connecting', covers = 'EXCHANGE_UPSTREAM UPSTREAM_DIALLING', backlog = 0,
    gone = { 499, 'client_abort' }, broken = { 502, 'upstream_refused' }, reach = function(case)
        case.fillers = {}
        repeat
            local fd = posix.connect(case.port, posix.now() + 0.1)
            table.insert(case.fillers, fd)
        until not fd
        case:ask()
    end }

add{ name = 'waiting', covers = 'EXCHANGE_UPSTREAM UPSTREAM_READY', gone = { 499, 'client_abort' },
    broken = { 502, 'upstream_reset' }, reach = function(case)
        case:ask()
        case:accept()
    end }

-- The idle connection is gone when the request comes: it is sent once more.
add{ name = 'repeated', covers = 'UPSTREAM_READY', gone = { 499, 'client_abort' }, requests = 2,
    broken = { 502, 'upstream_reset' }, reach = function(case)
        case:ask()
        case:accept()
        case:answer(OK .. BODY)
        assert(case.connection:response())
        case:ask()
        case:read_head()
        posix.close(case.fd)
        case:accept()
    end }

add{ name = 'pipelined', covers = 'CLIENT_BUSY', gone = { 499, 'client_abort' },
    reach = function(case)
        case:ask(nil, 'GET /never HTTP/1.1\r\nHost: x\r\n\r\n')
        case:accept()
    end }

add{ name = 'continue', covers = 'CLIENT_BODY', gone = { 499, 'client_abort_request' },
    broken = { 502, 'upstream_reset' }, reach = function(case)
        case:ask('Content-Length: 10\r\nExpect: 100-continue\r\n', nil, 'POST')
        case:accept()
        case:take('HTTP/1.1 100 Continue\r\n\r\n')
    end }

add{ name = 'sending', covers = 'CLIENT_BODY UPSTREAM_READY', broken = { 502, 'upstream_reset' },
    gone = { 499, 'client_abort_request' }, cut = true, reach = function(case)
        case:ask('Content-Length: 10\r\n', '0123', 'POST')
        case:accept()
    end }

-- So much that the gateway reads neither the client nor its end.
add{ name = 'sending/stalled', covers = 'CLIENT_BODY', unread = true, cut = true,
    gone = { 499, 'client_abort_request' }, broken = { 502, 'upstream_reset' },
    reach = function(case)
        case:ask('Content-Length: 900000000\r\n', nil, 'POST')
        case:accept()
        fill(case.connection.fd)
    end }

add{ name = 'head/part', covers = 'UPSTREAM_READY', gone = { 499, 'client_abort' },
    broken = { 502, 'upstream_reset' }, reach = function(case)
        case:ask()
        case:accept()
        case:answer('HTTP/1.1 200 OK\r\nContent-Le')
    end }

add{ name = 'interim', covers = 'UPSTREAM_READY', gone = { 499, 'client_abort' },
    broken = { 502, 'upstream_reset' }, reach = function(case)
        case:ask()
        case:accept()
        case:answer('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n')
        case:take('HTTP/1.1 103')
    end }

-- ---- on the way back ----------------------------------------------------------------------------

add{ name = 'early', covers = 'EXCHANGE_BODY', gone = { 200, 'client_abort_request' }, cut = true,
    broken = { 200, 'upstream_body_reset' }, reach = function(case)
        case:ask('Content-Length: 10\r\n', '0123', 'POST')
        case:accept()
        case:answer(OK .. '01234')
        case:take('01234')
    end }

add{ name = 'holding', covers = 'EXCHANGE_HOLD', plugins = { 'holds' },
    gone = { 499, 'client_abort' }, broken = { 502, 'upstream_body_reset' },
    reach = function(case)
        case:ask()
        case:accept()
        case:answer(OK .. '01234')
    end }

add{ name = 'body', covers = 'EXCHANGE_BODY UPSTREAM_BODY', gone = { 200, 'client_abort' },
    broken = { 200, 'upstream_body_reset' }, cut = true, reach = function(case)
        case:ask()
        case:accept()
        case:answer(CHUNKED .. '5\r\n01234\r\n')
        case:take('01234')
    end }

add{ name = 'body/filtered', covers = 'EXCHANGE_BODY', plugins = { 'filters' }, cut = true,
    gone = { 200, 'client_abort' }, broken = { 200, 'upstream_body_reset' },
    reach = function(case)
        case:ask()
        case:accept()
        case:answer(CHUNKED .. '5\r\n01234\r\n')
        case:take('01234')
    end }

-- The client does not read, the upstream is not read.
add{ name = 'body/stalled', covers = 'EXCHANGE_BODY', gone = { 200, 'client_abort' }, cut = true,
    broken = { 200, 'upstream_body_reset' }, reach = function(case)
        case:connect({ receive_buffer = 4096 })
        case:ask()
        case:accept()
        case:answer('HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n')
        fill(case.fd)
    end }

-- Octets that the gateway holds for the client beyond what the kernel does.
local function queued(case, sent)
    local own, other = posix.ports(case.connection.fd)
    local unsent = sock_diag.queues(other, own)
    local _, unread = sock_diag.queues(own, other)
    return sent - unsent - unread
end

-- More than so many of them, and not only between a read of the gateway and its write.
local function stays_queued(case, sent, octets)
    for _ = 1, 10 do
        if queued(case, sent) <= octets then
            return false
        end
        posix.pause(0.01)
    end
    return true
end

local function until_read(case)
    local limit = deadline()
    repeat
        local own, other = posix.ports(case.fd)
        local _, unread = sock_diag.queues(other, own)
        assert(posix.now() < limit, 'the gateway does not read: ' .. tostring(unread))
    until unread == 0
end

-- All is taken from the upstream, and waits for the client in the gateway. That is known by what
-- the kernel holds of it.
add{ name = 'flush', covers = 'EXCHANGE_FLUSH UPSTREAM_DONE', gone = { 200, 'client_abort' },
    complete = true, reach = function(case)
        case:connect({ receive_buffer = 4096 })
        case:ask()
        case:accept()
        posix.no_delay(case.fd)
        case:answer(CHUNKED)
        local piece = ('8000\r\n%s\r\n'):format(('x'):rep(32768))
        local sent = 0
        repeat
            case:answer(piece)
            sent = sent + #piece
            until_read(case)
        until stays_queued(case, sent, 16384)
        case:answer('0\r\n\r\n')
        until_read(case)
    end }

-- ---- tunnels ------------------------------------------------------------------------------------

local UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' ..
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
local SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n' ..
    'Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n'

add{ path = '/header_filter/sleep/switch', covers = 'EXCHANGE_HEAD', plugins = { 'heads' },
    gone = { 499, 'client_abort' }, broken = { 101, 'upgraded' }, cut = true,
    reach = function(case)
        case:ask(UPGRADE)
        case:accept()
        case:answer(SWITCH .. 'behind')
        case:until_waiting()
    end }

local function tunnel(name, more, unseen)
    add{ name = name, covers = 'EXCHANGE_TUNNEL CLIENT_TUNNEL UPSTREAM_TUNNEL', cut = true,
        gone = { 101, 'upgraded' }, broken = { 101, 'upgraded' }, tunnel = true, unseen = unseen,
        reach = function(case)
            case:connect({ receive_buffer = 4096 })
            case:ask(UPGRADE)
            case:accept()
            case:answer(SWITCH)
            case:take('\r\n\r\n')
            more(case)
        end }
end

tunnel('tunnel', function(case)
    case:send('there')
    assert(posix.read(case.fd, deadline()))
    case:answer('back')
    case:take('back')
end)

tunnel('tunnel/client/stalled', function(case)
    fill(case.fd)
end)

tunnel('tunnel/client/ended', function(case)
    posix.shutdown_write(case.connection.fd)
    assert(posix.read(case.fd, deadline()) == '')
end, true)

tunnel('tunnel/upstream/ended', function(case)
    posix.shutdown_write(case.fd)
    assert(posix.read(case.connection.fd, deadline()) == '')
end)

return M
