-- SPDX-License-Identifier: Apache-2.0
-- Moongate itself. Its log has one way of writing: what a turn of the loop has produced, at once.
local launch = require 'bench.peers.launch'
local process = require 'spec.gateway.support.process'

local M = { title = 'Moongate', has_master = true }

local CONFIG = [[
_format_version: "3.0"
services:
- name: origin
  url: http://127.0.0.1:%d
  routes:
%s
%s
gateway:
  workers: %d
  listeners: [{ address: "127.0.0.1:%d", backlog: 4096 }]
  status: { address: "off" }
  limits: { keepalive_timeout: 1h, connection_requests: 1000000000, connections: 20000 }
  upstreams:
    defaults:
      keepalive: %d
      keepalive_idle: 1h
      limits: { connections: 20000, pending: 20000, requests: 20000 }
%s
]]

local POLICIES = [[
  plugins:
  - { name: rate-limit, config: { quota: 100000000, window: 60s } }
  - { name: circuit-breaker }
  - { name: access-log, config: { sinks: [{ type: file, path: "%s/access.log" }] } }
]]

local LIMIT = [[
  plugins:
  - name: rate-limit
    config:
      quota: 100000000
      window: 60s
      store: redis
      redis: { connection: main, timeout: 1s }
]]

local REDIS = '  redis: { main: { host: 127.0.0.1, port: %d } }\n'

function M.missing()
    return nil
end

function M.unable(setup)
    return setup.buffers and 'its buffers are not set by size'
        or setup.policies == 'line' and 'it writes what a turn has produced at once' or nil
end

function M.version()
    return launch.output(process.absolute .. ' version'):match('%S+ (%S+)')
end

local function routes_of(count)
    if count == 1 then
        return '  - { name: all, paths: [/], strip_path: false }'
    end
    local lines = {}
    for i = 0, count - 1 do
        lines[i + 1] = ('  - { name: r%d, paths: [/r%d], strip_path: false }'):format(i, i)
    end
    return table.concat(lines, '\n')
end

function M.start(o)
    local setup = o.setup
    local port = process.free_port()
    local plugins = setup.redis and LIMIT
        or setup.policies and POLICIES:format(o.folder) or ''
    local config = process.write(o.folder .. '/moongate.yml', CONFIG:format(o.origin,
        routes_of(setup.routes), plugins, setup.workers, port, setup.connections,
        setup.redis and REDIS:format(setup.redis) or ''))
    local gateway = launch.start({ process.absolute, 'run', '-c', config, '--control',
        o.folder .. '/control' }, o.cpus, port)
    assert(gateway:wait_text('ready, '), gateway.err)
    return gateway
end

return M
