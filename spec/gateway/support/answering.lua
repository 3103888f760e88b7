-- SPDX-License-Identifier: Apache-2.0
--
-- Plays the upstream's part of spec/corpus/answers with the gateway of recorder.lua: takes a
-- request, answers with the bytes of the corpus, in pieces that the gateway reads one by one, and
-- looks at what the client gets, at what becomes of the upstream's connection, and at whether the
-- next request is answered with its own answer.
--
--     local err = answering.run(rig, answer, { 17 })      -- nil, or what is not as it should be
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local M = {}

local REQUEST = '%s /answer HTTP/1.1\r\nHost: a\r\n\r\n'
local NEXT = 'GET /next HTTP/1.1\r\nHost: a\r\n\r\n'
local NEXT_ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext'

local function deadline()
    return posix.now() + process.deadline
end

-- Sends the pieces; the gateway may have had enough after one of them.
local function send(rig, answer, cuts)
    local fd, from = rig.upstream, 1
    for _, cut in ipairs(cuts) do
        if not posix.send(fd, answer.bytes:sub(from, cut), deadline()) then
            return
        end
        from = cut + 1
        rig:ping()
    end
    posix.send(fd, answer.bytes:sub(from), deadline())
    if answer.ends then
        posix.shutdown_write(fd)
    end
end

-- The lines of a head but those that every answer of the gateway has, and those of its framing
-- unless they are all that tells of a body.
local LEFT_OUT = { date = true, server = true, via = true, connection = true }

local function lines_of(head, with_length)
    local lines = {}
    for line in head:gmatch('(.-)\r\n') do
        local name = (line:match('^([^:]+):') or ''):lower()
        local framing = name == 'transfer-encoding' or
            (name == 'content-length' and not with_length)
        if not LEFT_OUT[name] and not framing then
            lines[#lines + 1] = line
        end
    end
    return table.concat(lines, '\n')
end

-- What the client got against what it must get.
local function compare(res, expected, method)
    local head, body = expected:match('^(.-\r\n\r\n)(.*)$')
    local with_length = method == 'HEAD' or res.status == 304
    if lines_of(res.head, with_length) ~= lines_of(head, with_length) then
        return ('the client got %q'):format(res.head)
    elseif res.body ~= body then
        return ('the client got the body %q'):format(res.body)
    end
end

local function is_problem(res, status)
    return res.status == status and res.body:find('"request_id":', 1, true) ~= nil and
        res.headers['content-type'] == 'application/problem+json'
end

-- The client's side of one verdict.
local function judge(connection, answer, verdict)
    local res, err = connection:response(answer.method)
    if not res then
        if verdict.or_cut and err ~= 'timeout' then
            return nil
        end
        return 'no answer: ' .. tostring(err)
    elseif verdict.reason and is_problem(res, verdict.status) then
        return nil, res
    elseif verdict.reason and not verdict.or_whole then
        return ('the client got %q %q'):format(res.head, res.body)
    end
    return compare(res, verdict.upstream, answer.method), res
end

-- The gateway must end the connection to the upstream.
local function expect_end(rig)
    local bytes
    repeat
        bytes = posix.read(rig.upstream, deadline())
    until bytes == '' or not bytes
    rig:drop_upstream()
    return not bytes and 'the upstream\'s connection is still open' or nil
end

-- The next request, on the same connection where that goes on, is answered with its own answer.
local function ask_again(rig, connection)
    assert(connection:send(NEXT))
    local message, err = rig:take_message(connection)
    if not message then
        return err
    end
    assert(posix.send(rig.upstream, NEXT_ANSWER, deadline()))
    local res
    res, err = connection:response()
    if not res or res.body ~= 'next' or connection.kept ~= '' then
        return ('the next answer is %s'):format(res and res.head .. res.body or err)
    end
end

local function run(rig, answer, cuts, connection)
    local method, verdict = answer.method or 'GET', answer.verdicts[1]
    assert(connection:send(REQUEST:format(method)))
    local message, wrong = rig:take_message(connection)
    if not message then
        return wrong
    end
    send(rig, answer, cuts)
    local err, res = judge(connection, answer, verdict)
    if not err and (verdict.reason or verdict.spoiled) then
        err = expect_end(rig)
    end
    if not err and res and res.headers.connection ~= 'close' then
        return ask_again(rig, connection)
    end
    return err
end

--- Lets the upstream answer a request with an answer of the corpus.
-- @tparam Rig rig of recorder.lua
-- @tparam table answer
-- @tparam table cuts after how many bytes it is cut
-- @treturn string|nil what is not as it should be
function M.run(rig, answer, cuts)
    rig:warm()
    local connection = rig:connect()
    local err = run(rig, answer, cuts, connection)
    connection:close()
    if err then
        rig:drop_upstream()
        return ('%s: %s, cut at %s: %s'):format(answer.place, answer.title,
            #cuts > 1 and 'every byte' or tostring(cuts[1]), err)
    end
end

return M
