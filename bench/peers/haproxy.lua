-- SPDX-License-Identifier: Apache-2.0
-- HAProxy of Debian, installed or unpacked aside. Its pool of idle connections is as large as the
-- number of clients: with its defaults it closes and opens upstream connections at 4,096.
local launch = require 'bench.peers.launch'
local process = require 'spec.gateway.support.process'

local M = { title = 'HAProxy' }

local CONFIG = [[
global
  nbthread %d
  maxconn 12000
  no strict-limits
  tune.pool-low-fd-ratio 80
  tune.pool-high-fd-ratio 90
defaults
  mode http
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  http-reuse always
frontend front
  bind 127.0.0.1:%d backlog 4096
  http-request set-header X-Forwarded-For %%[src]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %%[req.hdr(host)]
  http-request set-header X-Forwarded-Port %%[dst_port]
  http-request set-header X-Forwarded-Path %%[path]
  http-request set-var(txn.id) uuid()
  http-request set-header X-Request-ID %%[var(txn.id)]
  http-request set-header Via "1.1 haproxy"
  http-response set-header X-Request-ID %%[var(txn.id)]
  http-response set-header Via "1.1 haproxy"
%s
backend origin
  server origin 127.0.0.1:%d pool-max-conn %d pool-low-conn %d pool-purge-delay 1h
]]

function M.missing()
    return not launch.find('haproxy') and 'haproxy is not there: ' .. launch.INSTALL or nil
end

function M.unable(setup)
    return (setup.policies or setup.redis) and 'it has no such policies'
        or setup.buffers and 'only nginx has such buffers' or nil
end

function M.version()
    local command = 'LD_LIBRARY_PATH=' .. launch.environment().LD_LIBRARY_PATH .. ' '
        .. launch.find('haproxy') .. ' -v'
    return launch.output(command):match('version (%S+)')
end

local function backend_of(setup, folder)
    if setup.routes == 1 then
        return '  default_backend origin'
    end
    local lines = {}
    for i = 0, setup.routes - 1 do
        lines[i + 1] = ('/r%d/ origin\n'):format(i)
    end
    local map = process.write(folder .. '/routes.map', table.concat(lines))
    return ('  use_backend %%[path,map_beg(%s)]'):format(map)
end

function M.start(o)
    local port = process.free_port()
    local config = process.write(o.folder .. '/haproxy.cfg', CONFIG:format(o.setup.workers, port,
        backend_of(o.setup, o.folder), o.origin, o.setup.connections, o.setup.connections))
    return launch.start({ launch.find('haproxy'), '-db', '-q', '-f', config }, o.cpus, port,
        launch.environment())
end

return M
