-- SPDX-License-Identifier: Apache-2.0
-- The upstream of a gateway under test: whatever address the gateway dials, it comes out here.
local cjson = require 'cjson'
local message = require 'moongate.test.message'

local Upstream = {}
Upstream.__index = Upstream

local REASONS = { [200] = 'OK', [201] = 'Created', [204] = 'No Content', [404] = 'Not Found',
    [500] = 'Internal Server Error', [503] = 'Service Unavailable' }

-- ---- echo --------------------------------------------------------------------------------------

local function form_of(request)
    local kind = message.first(request.headers, 'content-type') or ''
    local data = { text = request.body, kind = 'raw' }
    if kind:find('application/json', 1, true) then
        local ok, value = pcall(cjson.decode, request.body)
        data.kind = ok and 'json' or 'json (error)'
        data.params = ok and value or nil
    elseif kind:find('application/x-www-form-urlencoded', 1, true) then
        data.kind, data.params = 'form', message.decode_args(request.body)
    elseif request.body == '' then
        data.kind = 'none'
    end
    return data
end

local function echo(request)
    local headers = {}
    for name, value in pairs(request.headers) do
        headers[name] = value
    end
    local host = request.host or ''
    return {
        status = 200,
        headers = { ['Content-Type'] = 'application/json' },
        body = cjson.encode({
            method = request.method,
            url = 'http://' .. host .. request.target,
            path = request.path,
            uri_args = message.decode_args(request.query),
            headers = headers,
            post_data = form_of(request),
            vars = { host = host:match('^%[.-%]') or host:match('^[^:]*'), uri = request.path,
                request_method = request.method, request_uri = request.target },
        }),
    }
end

-- ---- answers -----------------------------------------------------------------------------------

-- @tparam string|function|table reply "echo", function(request) -> table, or the table itself
-- @treturn function(request) -> { status, headers, body }
local function replier(reply)
    if reply == nil or reply == 'echo' then
        return echo
    elseif type(reply) == 'function' then
        return reply
    elseif type(reply) == 'table' then
        return function()
            return reply
        end
    end
    error("upstream must be 'echo', a function or a table with status, headers and body", 0)
end

local function text_of(request, answer)
    local status = answer.status or 200
    local body = answer.body or ''
    local headers = {}
    for name, value in pairs(answer.headers or {}) do
        headers[name] = value
    end
    if type(body) == 'table' then
        body = cjson.encode(body)
        headers['Content-Type'] = headers['Content-Type'] or 'application/json'
    end
    local first = ('HTTP/1.1 %d %s'):format(status, answer.reason or REASONS[status] or 'Unknown')
    local no_body = status < 200 or status == 204 or status == 304
    local text = message.write(first, headers, no_body and '' or body, no_body)
    if request.method == 'HEAD' then
        text = text:match('^(.-\r\n\r\n)')
    end
    return text
end

-- ---- connections -------------------------------------------------------------------------------

local function complete(request)
    request.path, request.query = request.target:match('^([^?]*)%??(.*)$')
    if not request.target:find('?', 1, true) then
        request.query = nil
    end
    request.host = message.first(request.headers, 'host')
    return request
end

function Upstream:answer(connection, request)
    self.requests[#self.requests + 1] = request
    local ok, answer = pcall(self.respond, request)
    if not ok then
        self.failure = self.failure or answer
        answer = { status = 500, body = 'the upstream of the test failed: ' .. tostring(answer) }
    end
    if answer == nil or answer == false then
        return -- never
    end
    connection.stream:write(text_of(request, answer))
end

function Upstream:feed(connection)
    local bytes, status = connection.stream:read()
    local worked = false
    while bytes ~= '' do
        local request, used = message.read_request(bytes)
        if not request then
            break
        end
        connection.stream:consume(used)
        worked = true
        self:answer(connection, complete(request))
        bytes = bytes:sub(used + 1)
    end
    if status ~= 0 then
        connection.stream:close()
        connection.closed = true
        worked = true
    end
    return worked
end

--- Takes new connections and answers what has come.
-- @treturn boolean whether there was anything to do
function Upstream:turn()
    local worked = false
    for stream in self.accept do
        self.connections[#self.connections + 1] = { stream = stream }
        worked = true
    end
    for i = #self.connections, 1, -1 do
        local connection = self.connections[i]
        worked = self:feed(connection) or worked
        if connection.closed then
            table.remove(self.connections, i)
        end
    end
    return worked
end

--- How requests are answered from now on.
-- @param reply { status, headers, body }, or a function(request) that gives one (nil: no answer)
function Upstream:reply(reply)
    self.respond = replier(reply)
end

local M = {}

--- @param reply as for Upstream:reply, or "echo"
-- @tparam function accept gives the next connection or nil
function M.new(reply, accept)
    return setmetatable({ requests = {}, connections = {}, accept = accept,
        respond = replier(reply) }, Upstream)
end

return M
