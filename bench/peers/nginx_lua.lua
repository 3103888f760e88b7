-- SPDX-License-Identifier: Apache-2.0
-- nginx with lua-nginx-module: the policies in Lua (bench/peers/nginx_policies.lua), the log line
-- by nginx' own log_format with the fields of our record. Debian's packages of the module need
-- another LuaJIT than our build; they are unpacked aside.
local launch = require 'bench.peers.launch'
local nginx = require 'bench.peers.nginx'

local M = { title = 'nginx + Lua', has_master = true }

local FIELDS = {
    'ts=$time_iso8601', 'request_id=$request_id', 'client_ip=$remote_addr',
    'method=$request_method', 'scheme=$scheme', 'host=$host', 'path=$uri',
    'protocol=$server_protocol', 'route=all', 'service=origin', 'upstream=$upstream_addr',
    'consumer=$remote_user', 'status=$status', 'outcome=$sent_http_x_outcome', 'ended_by=upstream',
    'ended_in=log', 'bytes_in=$request_length', 'bytes_out=$bytes_sent',
    'body_bytes_out=$body_bytes_sent', 't_total=$request_time',
    't_connect=$upstream_connect_time', 't_head=$upstream_header_time',
    't_upstream=$upstream_response_time', 'tries=1', 'retries=0',
    'limit=$sent_http_x_ratelimit_remaining', 'breaker=closed', 'user_agent=$http_user_agent',
    'referer=$http_referer', 'worker=$pid', 'generation=1',
}

local HTTP = [[
  lua_package_path '%s/bench/peers/?.lua;%s/usr/share/lua/5.1/?.lua;;';
  lua_shared_dict limits 8m; lua_shared_dict breakers 1m;
  init_by_lua_block { policies = require 'nginx_policies'; %s }
]]

local LOG = [[
  log_format record escape=json '{%s}';
  access_log %s/access.log record%s;
]]

local FULL = 'access_by_lua_block { policies.access() } log_by_lua_block { policies.log() }'
local LIMIT = 'access_by_lua_block { policies.redis() }'

function M.missing()
    local module = launch.DEBIAN .. '/usr/lib/nginx/modules/ngx_http_lua_module.so'
    return nginx.missing() or not launch.exists(module)
        and 'libnginx-mod-http-lua is not unpacked: ' .. launch.INSTALL or nil
end

function M.unable(setup)
    return not (setup.policies or setup.redis) and 'without policies it is nginx' or nil
end

function M.version()
    return launch.output('cat ' .. launch.DEBIAN .. '/versions')
        :match('libnginx%-mod%-http%-lua (%S+)')
end

local function log_of(setup, folder)
    if not setup.policies then
        return nil
    end
    local parts = {}
    for i, field in ipairs(FIELDS) do
        parts[i] = ('"%s":"%s"'):format(field:match('^([^=]*)=(.*)$'))
    end
    return LOG:format(table.concat(parts, ','), folder,
        setup.policies == 'buffered' and ' buffer=64k flush=1s' or '')
end

function M.start(o)
    local root = launch.output('pwd'):match('%S+')
    local debian = root .. '/' .. launch.DEBIAN
    local modules = debian .. '/usr/lib/nginx/modules/'
    return nginx.start_with(o, {
        modules = ('load_module %sndk_http_module.so; load_module %sngx_http_lua_module.so;')
            :format(modules, modules),
        http = HTTP:format(root, debian, o.setup.redis
            and ('policies.redis_port = %d'):format(o.setup.redis) or ''),
        log = log_of(o.setup, o.folder),
        location = o.setup.redis and LIMIT or FULL,
        env = { LD_LIBRARY_PATH = debian .. '/usr/lib/x86_64-linux-gnu' },
    })
end

return M
