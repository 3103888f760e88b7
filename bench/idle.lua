-- SPDX-License-Identifier: Apache-2.0
-- Memory of a worker that has nothing to do, and of each client connection that is kept alive: one
-- request on each of many connections, then the difference of the worker's own memory (Anonymous
-- in /proc/PID/smaps_rollup; the kernel's part of a socket is not in it) divided by their number.
--
--     script/bench idle [CONNECTIONS]       (9,000)
--
-- Both ends need a descriptor for each: the hard limit of open files must allow them.
package.path = './?.lua;' .. package.path
require('tools.modules').use(arg)
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local procfs = require 'spec.gateway.support.procfs'

local SPARE_FILES = 200

local CONFIG = [[
  limits: { keepalive_timeout: 1h, connections: %d }
]]

local function open_one(port)
    local connection = assert(client.connect(port))
    local res = assert(connection:request('GET', '/'))
    assert(res.status == 200, 'status ' .. res.status)
    return connection
end

local function wait_idle(gateway, count)
    return assert(gateway:wait_status(function(status)
        return status.counters.connections_idle == count
    end), 'the connections do not get idle')
end

local function main()
    local count = tonumber(arg[1]) or 9000
    posix.allow_descriptors(count + SPARE_FILES)
    local echo = process.echo('--size', '1024')
    local gateway = process.gateway(process.yaml{ upstream = echo.port,
        gateway = CONFIG:format(count + 100) })
    local worker = gateway:status().workers[1].pid
    local start = procfs.rss_bytes(worker)
    -- A first hundred warms up: pools, buffers and code are then in place.
    local connections = {}
    for i = 1, 100 do
        connections[i] = open_one(gateway.port)
    end
    wait_idle(gateway, 100)
    local rss, own = procfs.rss_bytes(worker), procfs.anonymous_bytes(worker)
    for i = 101, count do
        connections[i] = open_one(gateway.port)
    end
    wait_idle(gateway, count)
    local added = count - 100
    print(('idle worker: RSS %.1f MB (%.1f MB after 100 connections)'):format(start / 1e6,
        rss / 1e6))
    print(('%d idle connections: %.0f bytes of own memory each (RSS: %.0f)'):format(count,
        (procfs.anonymous_bytes(worker) - own) / added, (procfs.rss_bytes(worker) - rss) / added))
    -- They are all still good.
    for _, connection in ipairs(connections) do
        assert(assert(connection:request('GET', '/')).status == 200)
        connection:close()
    end
end

process.main(main)
