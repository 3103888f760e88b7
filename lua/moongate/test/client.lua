-- SPDX-License-Identifier: Apache-2.0
-- Requests of a test: each on a connection of its own.
local cjson = require 'cjson'
local message = require 'moongate.test.message'

local M = {}

local DEFAULT_HOST = 'localhost'
local DEFAULT_IP = '127.0.0.1'
local KEYS = { method = true, path = true, query = true, headers = true, body = true, json = true,
    form = true, host = true, scheme = true, client_ip = true, raw = true }

local function header(headers, name)
    for key, value in pairs(headers) do
        if key:lower() == name then
            return value
        end
    end
    return nil
end

local function set_default(headers, name, value)
    if header(headers, name:lower()) == nil then
        headers[name] = value
    end
end

local function body_of(o, headers)
    if o.json ~= nil then
        set_default(headers, 'Content-Type', 'application/json')
        return cjson.encode(o.json)
    elseif o.form ~= nil then
        set_default(headers, 'Content-Type', 'application/x-www-form-urlencoded')
        return message.encode_args(o.form)
    elseif type(o.body) == 'table' then
        local kind = header(headers, 'content-type')
        if kind and kind:find('urlencoded', 1, true) then
            return message.encode_args(o.body)
        end
        set_default(headers, 'Content-Type', 'application/json')
        return cjson.encode(o.body)
    end
    return o.body or ''
end

local function target_of(o)
    local target = o.path or '/'
    if o.query then
        local glue = target:find('?', 1, true) and '&' or '?'
        target = target .. glue .. message.encode_args(o.query)
    end
    return target
end

--- Text of a request.
-- @tparam table o { method, path, query, headers, body | json | form, host } or { raw = text }
-- @treturn string text; and the method
function M.write(o)
    for key in pairs(o) do
        if not KEYS[key] then
            error(("a request has no option '%s'"):format(tostring(key)), 0)
        end
    end
    if o.scheme and o.scheme ~= 'http' then
        error(("scheme '%s' is not supported yet"):format(tostring(o.scheme)), 0)
    end
    if o.raw then
        return o.raw, o.raw:match('^(%S+)') or 'GET'
    end
    local headers = {}
    for name, value in pairs(o.headers or {}) do
        headers[name] = value
    end
    local method = (o.method or 'GET'):upper()
    local body = body_of(o, headers)
    if o.host or header(headers, 'host') == nil then
        headers.Host = o.host or DEFAULT_HOST
    end
    set_default(headers, 'Connection', 'close')
    local has_body = body ~= '' or method == 'POST' or method == 'PUT' or method == 'PATCH'
    local first = ('%s %s HTTP/1.1'):format(method, target_of(o))
    return message.write(first, headers, body, not has_body), method
end

M.DEFAULT_IP = DEFAULT_IP

-- ---- a call under way --------------------------------------------------------------------------

local Call = {}
Call.__index = Call

--- Sends a request.
-- @tparam table gw the gateway; gw.native connects, gw:progress() lets it work
-- @tparam table o the request
-- @treturn table call
function M.send(gw, o)
    local text, method = M.write(o)
    local stream = gw.native:connect(o.client_ip or DEFAULT_IP)
    if not stream then
        error('the gateway under test accepts no connection', 0)
    end
    stream:write(text)
    local call = setmetatable({ gw = gw, stream = stream, method = method, id = stream.id,
        over = false }, Call)
    gw.calls[call.id] = call
    return call
end

--- Looks at what has come.
-- @treturn boolean whether it is over
function Call:look()
    if self.over then
        return true
    end
    local bytes, status = self.stream:read()
    self.answer = self.answer or message.read_response(bytes, self.method, status ~= 0)
    if (self.answer and self.ended) or status ~= 0 then
        self.over = true
        self.partial = bytes
        self.stream:close()
    end
    return self.over
end

local Response = {}
Response.__index = Response

--- The body, decoded; raises when it is no JSON.
function Response.json(self)
    local ok, value = pcall(cjson.decode, self.body)
    if not ok then
        error('the body is no JSON: ' .. tostring(self.body), 2)
    end
    return value
end

function Call:response()
    local ended = self.ended or {}
    local response = {
        outcome = ended.outcome, route = ended.route, plugins = ended.plugins or {},
        ended_by = ended.ended_by, request_id = ended.request_id,
        upstream = self.gw:upstream_request(ended.request_id),
    }
    if self.answer then
        response.status, response.headers, response.body =
            self.answer.status, self.answer.headers, self.answer.body
    else
        response.broken, response.headers, response.body = true, message.headers(), self.partial
    end
    response.json = function()
        return Response.json(response)
    end
    return response
end

--- Waits for the end.
-- @treturn table { status, headers, body, json(), upstream, outcome, route, plugins }; `status` is
-- nil and `broken` true when the connection ended before the answer was whole
function Call:wait()
    if not self.result then
        self.gw:run_until(function()
            return self:look()
        end, 'the answer to ' .. self.method)
        self.gw:settle()
        self.gw.calls[self.id] = nil
        self.result = self:response()
    end
    return self.result
end

--- Goes away without waiting, as a client that lost patience.
function Call:abort()
    self.over = true
    self.stream:close()
    self.gw.calls[self.id] = nil
end

return M
