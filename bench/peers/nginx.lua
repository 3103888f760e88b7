-- SPDX-License-Identifier: Apache-2.0
-- nginx of Debian as a proxy that sets the same fields as Moongate: X-Forwarded-*, X-Request-ID,
-- Via.
local launch = require 'bench.peers.launch'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local M = { title = 'nginx', has_master = true }

local CONFIG = [[
%s
%s
worker_processes %d; daemon off; pid %s/nginx.pid; error_log %s/nginx.err;
worker_rlimit_nofile 65536;
events { worker_connections 32768; }
http {
  %s keepalive_requests 1000000000; keepalive_timeout 1h; %s
  client_body_temp_path %s/body; proxy_temp_path %s/proxy; fastcgi_temp_path %s/fastcgi;
  uwsgi_temp_path %s/uwsgi; scgi_temp_path %s/scgi;
  upstream origin { server 127.0.0.1:%d; keepalive %d; keepalive_requests 1000000000;
    keepalive_timeout 1h; keepalive_time 10h; }
  proxy_http_version 1.1; proxy_set_header Connection "";
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header X-Forwarded-Port $server_port; proxy_set_header X-Forwarded-Path $request_uri;
  proxy_set_header X-Request-ID $request_id; proxy_set_header Via "1.1 nginx";
  add_header Via "1.1 nginx"; add_header X-Request-ID $request_id;
%s
  server { listen 127.0.0.1:%d backlog=4096;
%s
  }
}
]]

function M.missing()
    return not launch.find('nginx') and 'nginx is not installed: script/bootstrap installs it'
        or nil
end

function M.unable(setup)
    return (setup.policies or setup.redis) and 'without Lua it has no such policies' or nil
end

function M.version()
    return launch.output(launch.find('nginx') .. ' -v'):match('nginx/(%S+)')
end

local function locations(count, inside)
    if count == 1 then
        return ('    location / { proxy_pass http://origin; %s }'):format(inside)
    end
    local lines = {}
    for i = 0, count - 1 do
        lines[i + 1] = ('    location /r%d/ { proxy_pass http://origin; %s }'):format(i, inside)
    end
    return table.concat(lines, '\n')
end

--- Starts it.
-- @tparam table o as of a peer's start
-- @tparam[opt] table more modules (lines for the top), log (in place of `access_log off`), http
-- (lines for the http block), location, env
function M.start_with(o, more)
    local setup, f, port = o.setup, o.folder, process.free_port()
    -- One buffer for the head, and one for each body of that size.
    local buffers = setup.buffers and ('proxy_buffers 8 %d; proxy_buffer_size 8k; '
        .. 'proxy_busy_buffers_size %d;'):format(setup.buffers, 2 * setup.buffers) or ''
    local config = process.write(f .. '/nginx.conf', CONFIG:format(more.modules or '',
        posix.is_root() and 'user root;' or '', setup.workers, f, f,
        more.log or 'access_log off;', buffers, f, f, f, f, f,
        o.origin, setup.connections, more.http or '', port,
        locations(setup.routes, more.location or '')))
    return launch.start({ launch.find('nginx'), '-p', f, '-e', f .. '/nginx.err', '-c', config },
        o.cpus, port, more.env)
end

function M.start(o)
    return M.start_with(o, {})
end

return M
