-- SPDX-License-Identifier: Apache-2.0
--
-- A gateway whose upstream is the spec itself, which keeps every byte it gets. Messages of the
-- corpus are sent whole or in pieces; each piece is read by the gateway before the next one is
-- sent. That is known from two requests, one after the other, on another connection to the same
-- worker: the second one is read in a later turn of the loop than the piece.
--
--     local rig = recorder.new()
--     setup(function() rig:start() end)
--     teardown(function() rig:stop() end)
--     local err = rig:run(message, recorder.WHOLE)    -- nil, or what is not as the corpus says
local framing = require 'spec.gateway.support.framing'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local YAML = [[
_format_version: "3.0"
services:
- name: recorder
  url: http://127.0.0.1:%d
  routes:
  - { name: all, paths: [/], strip_path: false, preserve_host: true }
  - { name: server, methods: [OPTIONS], strip_path: false, preserve_host: true }
  - { name: plain, paths: [/plain], strip_path: false, preserve_host: true }
routes:
- { name: ping, hosts: [ping.invalid] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
  headers: { request_id: false }
  limits: { connection_requests: 1000000 }
  routes: { settings: { plain: { websocket: false } } }
]]

local PING = 'GET / HTTP/1.1\r\nHost: ping.invalid\r\n\r\n'
local CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n'
local OK = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'
local OWN = 'X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: %s\r\n' ..
    'X-Forwarded-Port: %d\r\nX-Forwarded-Path: %s\r\nVia: 1.%d moongate\r\n'

local SENTINEL = {
    bytes = 'GET /sentinel HTTP/1.1\r\nHost: sentinel\r\n\r\n',
    upstream = 'GET /sentinel HTTP/1.1\r\nHost: sentinel\r\n{own}\r\n',
}

-- Longer messages are not cut at every byte, but at so many places.
local MOST_PLACES = 400
local MOST_BYTES = 1000

local M = { WHOLE = {} }
local Rig = {}
Rig.__index = Rig

function M.new()
    return setmetatable({ got = '' }, Rig)
end

--- Starts the gateway.
function Rig:start()
    self.listening, self.port = posix.listen()
    self.gateway = process.gateway(YAML:format(self.port, process.free_port()))
    self.ping_connection = self.gateway:connect()
end

--- Ends it and whatever else the spec has started.
function Rig:stop()
    self.ping_connection:close()
    self:drop_upstream()
    posix.close(self.listening)
    process.stop_all()
end

--- A request on a connection of its own: the next one, at the gateway and at the upstream, after
-- whatever was sent before.
-- @treturn string|nil what is not as it should be
function Rig:check_next()
    local connection = self:connect()
    local err = self:after(connection, { status = 200 })
    connection:close()
    return err
end

--- Waits until the gateway has read what was sent before.
function Rig:ping()
    local connection = self.ping_connection
    for _ = 1, 2 do
        assert(connection:send(PING))
        assert(assert(connection:response()).status == 503)
    end
end

--- Messages refused so far, by reason.
-- @treturn {string=number}
function Rig:refused()
    return self.gateway:status().refused
end

-- The upstream's side ----------------------------------------------------------------------------

local function deadline()
    return posix.now() + process.deadline
end

function Rig:drop_upstream()
    if self.upstream then
        posix.close(self.upstream)
        self.upstream = nil
    end
    self.got = ''
end

--- Takes what the gateway has sent by now.
-- @treturn boolean whether the connection has ended
function Rig:look()
    if not self.upstream then
        self.upstream = posix.accept(self.listening, posix.now())
        if self.upstream then
            posix.no_delay(self.upstream)
        end
    end
    while self.upstream do
        local bytes = posix.read(self.upstream, posix.now())
        if not bytes then
            return false
        elseif bytes == '' then
            return true
        end
        self.got = self.got .. bytes
    end
    return false
end

-- An idle connection that the gateway has ended is none any more.
function Rig:forget_ended()
    if self.upstream and self:look() and self.got == '' then
        self:drop_upstream()
    end
end

-- Waits for bytes of the gateway, or for its answer to the client; 100 Continue is none.
-- @treturn boolean whether the client was answered
function Rig:wait_upstream(connection)
    local up, down = posix.wait_two(self.upstream or self.listening, connection.fd, deadline())
    if down and not up then
        local more = connection:fill()
        if connection.kept:sub(1, #CONTINUE) == CONTINUE then
            connection.kept = connection.kept:sub(#CONTINUE + 1)
        end
        return not more or connection.kept ~= ''
    end
    return not up
end

-- Reads until the message at the start of what came is whole, and takes it off.
-- @treturn string|nil message
-- @treturn string what is wrong
function Rig:take_message(connection)
    while true do
        self:forget_ended()
        local ended = self:look()
        local length, _, err = framing.read(self.got)
        if err then
            return nil, ('upstream: %s in %q'):format(err, self.got)
        elseif length then
            local message = self.got:sub(1, length)
            self.got = self.got:sub(length + 1)
            return message
        elseif ended and self.got ~= '' then
            return nil, ('the upstream got no more than %q'):format(self.got)
        elseif self:wait_upstream(connection) then
            return nil, ('nothing upstream; the client got %q'):format(connection.kept)
        end
    end
end

-- What the corpus expects, with the gateway's own fields and the upstream's address in it.
function Rig:expand(text, minor)
    text = text:gsub('{origin}', '127.0.0.1:' .. self.port)
    local host = text:match('\r\nHost: ([^\r\n]*)') or ''
    local path = text:match('^%S+ ([^ ?]*)') or ''
    return (text:gsub('{own}', function()
        return OWN:format(host, self.gateway.port, path, minor)
    end):gsub('X%-Forwarded%-Host: ' .. '127%.0%.0%.1:%d+\r\n', '')) -- none was sent
end

-- The same head and the same octets; chunks may be cut otherwise when the message came in pieces.
local function is_same(got, expected, exact)
    if exact or got == expected then
        return got == expected
    end
    local _, got_body = framing.read(got)
    local _, expected_body = framing.read(expected)
    return framing.head(got) == framing.head(expected) and got_body == expected_body
end

-- The beginning of a message, and not all of it.
local function is_part(got, expected)
    local length, body = framing.read(got)
    if got == '' or (not framing.head(got) and expected:sub(1, #got) == got) then
        return true
    end
    local _, all = framing.read(expected)
    return not length and framing.head(got) == framing.head(expected) and
        all:sub(1, #body) == body
end

-- The client's side ------------------------------------------------------------------------------

function Rig:connect()
    local connection = self.gateway:connect()
    posix.no_delay(connection.fd)
    return connection
end

local function pieces_of(bytes, cuts)
    local pieces, from = {}, 1
    for _, cut in ipairs(cuts) do
        pieces[#pieces + 1] = bytes:sub(from, cut)
        from = cut + 1
    end
    pieces[#pieces + 1] = bytes:sub(from)
    return pieces
end

-- Sends the pieces; the gateway may have closed its side after one of them.
function Rig:send(connection, bytes, cuts)
    local pieces = pieces_of(bytes, cuts)
    local waits = #pieces > 1 and not cuts.at_once
    if waits then
        self:ping() -- accepted by now
    end
    for at, piece in ipairs(pieces) do
        if not connection:send(piece) then
            return
        end
        if waits and at < #pieces then
            self:ping()
        end
    end
end

--- All places at which a message can be cut in two; of a long one, some.
-- @tparam table message
-- @treturn table
function M.places(message)
    local places, step = {}, math.max(1, math.floor(#message.bytes / MOST_PLACES))
    for at = 1, #message.bytes - 1, step do
        places[#places + 1] = at
    end
    return places
end

--- The cuts that make pieces of one byte; of a long message, of some bytes.
-- @tparam table message
-- @treturn table
function M.everywhere(message)
    local cuts, step = {}, math.max(1, math.floor(#message.bytes / MOST_BYTES))
    for at = 1, #message.bytes - 1, step do
        cuts[#cuts + 1] = at
    end
    return cuts
end

--- Adds how often a message that is sent once is refused for which reason.
-- @tparam table message
-- @tparam {string=number} reasons
function M.add_reasons(message, reasons)
    for _, verdict in ipairs(message.verdicts) do
        if verdict.reason then
            reasons[verdict.reason] = (reasons[verdict.reason] or 0) + 1
        end
    end
end

local function is_refusal(res)
    return res.headers.connection == 'close' and
        res.headers['content-type'] == 'application/problem+json' and
        res.body:find('"request_id":', 1, true) ~= nil
end

local function response_of(connection, status, method)
    local res, err = connection:response(method)
    if not res then
        return nil, 'no answer: ' .. tostring(err)
    elseif res.status ~= status then
        return nil, ('status %d instead of %d'):format(res.status, status)
    end
    return res
end

local function expect_end(connection)
    local ok, err = connection:fill()
    if ok then
        return ('more than the answer: %q'):format(connection.kept)
    elseif err == 'timeout' then
        return 'the connection was not closed'
    end
end

-- Verdicts ---------------------------------------------------------------------------------------

function Rig:is_accepted(connection, verdict, minor, exact)
    local message, err = self:take_message(connection)
    if not message then
        return err
    end
    local expected = self:expand(verdict.upstream, minor)
    if not is_same(message, expected, exact) then
        return ('upstream got %q instead of %q'):format(message, expected)
    end
    assert(posix.send(self.upstream, OK, deadline()))
    local _, wrong = response_of(connection, verdict.status, message:match('^%u+'))
    return wrong
end

function Rig:is_refused(connection, verdict, minor)
    local res, err = response_of(connection, verdict.status)
    if not res then
        return err
    elseif not is_refusal(res) then
        return ('no refusal: %q'):format(res.head)
    end
    err = expect_end(connection)
    local ended = self:look()
    if err or self.got == '' then
        if ended then
            self:drop_upstream()
        end
        return err
    elseif not verdict.partial then
        return ('upstream got %q'):format(self.got)
    elseif not ended then
        posix.wait_readable(self.upstream, deadline())
        ended = self:look()
    end
    local got = self.got
    self:drop_upstream()
    if not ended or not is_part(got, self:expand(verdict.upstream, minor)) then
        return ('upstream got %q'):format(got)
    end
end

function Rig:judge(connection, verdict, minor, exact)
    if verdict.status == 200 then
        return self:is_accepted(connection, verdict, minor, exact)
    elseif verdict.reason then
        return self:is_refused(connection, verdict, minor)
    end
    local _, err = response_of(connection, verdict.status)
    return err
end

-- After the last answer: the end, or another request that is understood.
function Rig:after(connection, verdict)
    if verdict.reason then
        return
    elseif verdict.close then
        return expect_end(connection)
    end
    assert(connection:send(SENTINEL.bytes))
    return self:is_accepted(connection, { status = 200, upstream = SENTINEL.upstream }, 1, true)
end

--- Lets the gateway have an idle connection to the upstream: on it, a request's head leaves before
-- its body is read.
-- @treturn boolean whether a request was made for that
function Rig:warm()
    self:forget_ended()
    if self.upstream then
        return false
    end
    assert(not self:check_next())
    return true
end

--- Ends the idle connection.
function Rig:cool()
    self:drop_upstream()
    self:ping()
end

--- Sends a message of the corpus and looks at what becomes of it.
-- @tparam table message
-- @tparam table cuts after how many bytes it is cut; at_once: do not wait until a piece was read
-- @treturn string|nil what is not as it should be
function Rig:run(message, cuts)
    local connection = self:connect()
    local minor = message.bytes:match('HTTP/1%.0\r\n') and 0 or 1
    self:forget_ended()
    self:send(connection, message.bytes, cuts)
    local err
    for _, verdict in ipairs(message.verdicts) do
        err = err or self:judge(connection, verdict, minor, #cuts == 0)
    end
    err = err or self:after(connection, message.verdicts[#message.verdicts])
    connection:close()
    if not err and self.got ~= '' then
        err = ('upstream got %q besides'):format(self.got)
    end
    if err then
        self:drop_upstream()
        return ('%s: %s, cut at %s: %s'):format(message.place, message.title,
            #cuts > 1 and 'every byte' or tostring(cuts[1]), err)
    end
end

return M
