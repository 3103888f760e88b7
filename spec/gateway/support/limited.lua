-- SPDX-License-Identifier: Apache-2.0
--
-- Gateways whose rate limits are counted in one Redis. Each value of X-Run is a key of its own.
--
--     local fleet = limited.fleet()                    -- with fleet.server, a redis-server
--     local gateway = fleet:start('quota: 5, window: 1m', { error = 'deny' })
--     assert.equal(200, fleet:request(gateway, 'run').status)
--     fleet:close()
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local redis = require 'spec.gateway.support.redis'

local M = {}

local Fleet = {}
Fleet.__index = Fleet

--- Looks until there is something, for process.deadline at most.
-- @tparam function look returns it
-- @tparam[opt] string what for the message of the failure
function M.wait_until(look, what)
    local deadline = posix.now() + process.deadline
    local found
    repeat
        found = look()
    until found or posix.now() > deadline
    return assert(found, what)
end

--- The same until it equals what is wanted.
function M.wait_for(wanted, look)
    local found
    local deadline = posix.now() + process.deadline
    repeat
        found = look()
    until found == wanted or posix.now() > deadline
    assert(found == wanted, ('%s, not %s'):format(tostring(found), tostring(wanted)))
end

--- Starts a Redis.
function M.fleet()
    return setmetatable({ server = redis.server(), gateways = {}, connections = {} }, Fleet)
end

--- Closes connections and ends all processes.
function Fleet:close()
    for _, connection in ipairs(self.connections) do
        connection:close()
    end
    process.stop_all()
end

--- The configuration of a gateway.
-- @tparam string config options of rate-limit, inside a flow mapping
-- @tparam table o workers (2), port, upstream (a port; else the gateway answers), key, error
-- (on_store_error), timeout, redis (more of that record), place (in place of the server's socket),
-- more (lines below gateway)
function Fleet:yaml(config, o)
    local last = o.upstream and '' or '    - { name: request-termination, '
        .. 'config: { status_code: 200 } }'
    return process.yaml({
        workers = o.workers or 2, port = o.port, upstream = o.upstream, plugins = ([[
    plugins:
    - name: rate-limit
      config: { key: [%s], %s, store: redis, on_store_error: %s,
        redis: { %s, timeout: %s, %s } }
%s]]):format(o.key or 'header:X-Run', config, o.error or 'deny',
            o.place or ('unix: %s, connect_timeout: 2s'):format(self.server.socket),
            o.timeout or '5s', o.redis or '', last),
        gateway = '  limits: { body_timeout: 5m, body_min_rate: 0, header_timeout: 5m, '
            .. 'connection_requests: 1000000000 }\n'
            .. (o.more or ''),
    })
end

--- Starts a gateway.
function Fleet:start(config, o)
    o = o or {}
    o.port = process.free_port()
    local gateway = process.gateway(self:yaml(config, o))
    gateway.options = o
    self.gateways[#self.gateways + 1] = gateway
    return gateway
end

--- Reloads a gateway with other options of rate-limit.
function Fleet:reload(gateway, config)
    gateway:rewrite(self:yaml(config, gateway.options))
    local code, _, err = gateway:command('reload')
    assert(code == 0, err)
end

--- A connection that `close` closes.
function Fleet:connect(gateway)
    local connection = assert(client.connect(gateway.port, { timeout = process.deadline }))
    self.connections[#self.connections + 1] = connection
    return connection
end

--- One request on a connection of its own.
function Fleet:request(gateway, run, headers)
    headers = headers or {}
    headers['X-Run'] = run
    local connection = assert(client.connect(gateway.port, { timeout = process.deadline }))
    local res = assert(connection:request('GET', '/', headers))
    connection:close()
    return res
end

--- The statuses of so many requests, one after another.
function Fleet:statuses(gateway, run, count)
    local list = {}
    for i = 1, count do
        list[i] = self:request(gateway, run).status
    end
    return list
end

--- Asks until a request has the status.
-- @treturn table the answer
function Fleet:wait(gateway, run, status)
    local deadline = posix.now() + process.deadline
    local res
    repeat
        res = self:request(gateway, run)
    until res.status == status or posix.now() > deadline
    assert(res.status == status, res.status)
    return res
end

--- How often Redis was asked for limits: scripts that were run, without those of signs of life.
-- Both are read at once: a sign may come at any moment.
function Fleet:asked()
    local text = self.server:ask('INFO', 'commandstats')
    local function calls(name)
        return tonumber(text:match('cmdstat_' .. name .. ':calls=(%d+)')) or 0
    end
    return calls('evalsha') - calls('zcard')
end

--- So many connections, in turn to each gateway.
function Fleet:many(count)
    local list = {}
    for i = 1, count do
        list[i] = self:connect(self.gateways[i % #self.gateways + 1])
    end
    return list
end

--- A request as text.
function M.get(run)
    return ('GET / HTTP/1.1\r\nHost: localhost\r\nX-Run: %s\r\n\r\n'):format(run)
end

--- Sends a text on all connections before the first answer is read.
-- @treturn table status -> how often
function M.burst(list, text)
    local statuses = {}
    for _, connection in ipairs(list) do
        assert(connection:send(text))
    end
    for _, connection in ipairs(list) do
        local res = assert(connection:response('GET'))
        statuses[res.status] = (statuses[res.status] or 0) + 1
    end
    return statuses
end

return M
