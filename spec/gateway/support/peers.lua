-- SPDX-License-Identifier: Apache-2.0
--
-- Programs of others that specs let talk with the gateway: nginx, curl, wrk, node. A spec asks
-- for them first, so that a machine without one shows a skip with its reason:
--
--     local missing = peers.missing({ 'nginx', 'curl' })
--     if missing then pending(missing) return end
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local M = {}

--- @tparam table names programs
-- @treturn string|nil a reason to skip: which of them is not installed
function M.missing(names)
    for _, name in ipairs(names) do
        if os.execute(("PATH=$PATH:/usr/sbin command -v '%s' >/dev/null 2>&1"):format(name)) ~= 0
        then
            return name .. ' is not installed: script/bootstrap installs it'
        end
    end
end

--- Runs a program to its end.
-- @tparam table argv
-- @tparam[opt] number seconds at most
-- @treturn string its stdout; a failure raises an error with its stderr
function M.run(argv, seconds)
    local program = process.start(argv)
    local code = program:wait(seconds)
    program:stop()
    assert(code == 0, ('%s: exit %s: %s'):format(table.concat(argv, ' '), tostring(code),
        program.err))
    return program.out
end

--- SHA-256 of a file as hex.
function M.sha256(path)
    return assert(M.run({ 'sha256sum', path }):match('^%x+'))
end

--- A file of random octets.
-- @treturn string its SHA-256
function M.random_file(path, bytes)
    local command = ("head -c %d /dev/urandom >'%s'"):format(bytes, path)
    assert(os.execute(command) == 0, command)
    return M.sha256(path)
end

local NGINX = [[
%s
worker_processes 1; daemon off; pid %s/nginx.pid; error_log %s/nginx.err;
events { worker_connections 4096; }
http {
  access_log off; default_type text/plain;
  # Without `any`, nginx does not compress for a request with Via.
  gzip on; gzip_types text/plain; gzip_min_length 100; gzip_proxied any;
  client_body_temp_path %s/body; proxy_temp_path %s/proxy; fastcgi_temp_path %s/fastcgi;
  uwsgi_temp_path %s/uwsgi; scgi_temp_path %s/scgi;
  server { listen 127.0.0.1:%d backlog=1024; root %s/www;
    dav_methods PUT; create_full_put_path on; client_max_body_size 0; }
}
]]

--- nginx with one worker on a free port. It serves folder/www, compressed for who asks, and takes
-- files by PUT.
-- @tparam string folder
-- @tparam[opt] number port
-- @treturn table its process, with port
function M.nginx(folder, port)
    port = port or process.free_port()
    local f = folder
    local config = process.write(folder .. '/nginx.conf', NGINX:format(
        posix.is_root() and 'user root;' or '', f, f, f, f, f, f, f, port, f))
    local nginx = process.start({ 'nginx', '-p', f, '-e', f .. '/nginx.err', '-c', config },
        { PATH = os.getenv('PATH') .. ':/usr/sbin:/sbin' })
    nginx.port = port
    local deadline = posix.now() + process.deadline
    local fd
    repeat
        fd = posix.connect(port, deadline)
    until fd or posix.now() > deadline or nginx:wait(0)
    assert(fd, 'nginx did not start: ' .. nginx.err)
    posix.close(fd)
    return nginx
end

return M
