-- SPDX-License-Identifier: Apache-2.0
--
-- moongate.http to https URLs of a real nginx: whom it trusts, what it says of those it does not,
-- and that connections which differ in trust are never shared.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local redis = require 'spec.gateway.support.redis'

-- Asks for the URL in X-Url, and answers the status and body of that, or the error.
local PLUGIN = [[
local plugin = { PRIORITY = 1000, VERSION = '0.1.0' }

function plugin:access()
    local answer, err = moongate.http.request{ url = moongate.request.get_header('X-Url'),
        ssl_verify = moongate.request.get_header('X-Verify') ~= 'no' }
    moongate.response.exit(200, answer and answer.status .. ' ' .. answer.body or err)
end

return plugin
]]

local NGINX = [[
%s
worker_processes 1; daemon off; pid @nginx.pid; error_log @nginx.err;
events { worker_connections 256; }
http {
  access_log off; keepalive_requests 10000;
  client_body_temp_path @body; proxy_temp_path @proxy; fastcgi_temp_path @fastcgi;
  uwsgi_temp_path @uwsgi; scgi_temp_path @scgi;
  server { listen 127.0.0.1:%d ssl; ssl_certificate %s; ssl_certificate_key %s;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / { return 200 "$ssl_protocol $ssl_server_name $connection"; }
    location /large { alias @large; } }
}
]]

describe('moongate.http to https', function()
    local files, gateway, nginx

    local function start_nginx()
        local folder, port = process.folder(), process.free_port()
        process.write(folder .. '/large', ('x'):rep(300000))
        local text = NGINX:format(posix.is_root() and 'user root;' or '', port, files.cert,
            files.key):gsub('@', folder .. '/')
        local config = process.write(folder .. '/nginx.conf', text)
        nginx = process.start({ 'nginx', '-p', folder, '-e', folder .. '/nginx.err', '-c', config },
            { PATH = os.getenv('PATH') .. ':/usr/sbin:/sbin' })
        nginx.port = port
        redis.wait(function()
            local fd = posix.connect(port, posix.now() + 1)
            return fd and (posix.close(fd) or true)
        end, 'nginx listens')
    end

    setup(function()
        files = redis.certificates()
        start_nginx()
        gateway = process.gateway(process.yaml{ plugins = '    plugins: [{ name: ask }]' }, {
            folder = process.plugins{ ask = PLUGIN }, env = { SSL_CERT_FILE = files.ca } })
    end)

    teardown(process.stop_all)

    local function ask(url, verify)
        local res = assert(client.get(gateway.port, '/', {
            ['X-Url'] = url:format(nginx.port), ['X-Verify'] = verify }))
        assert.equal(200, res.status)
        return res.body
    end

    it('verifies the server by the list of the system', function()
        assert.matches('^200 TLSv1.3  %d+$', ask('https://127.0.0.1:%d/')) -- no name for an address
        assert.equal(300004, #ask('https://127.0.0.1:%d/large'))
    end)

    it('keeps connections that it can use again', function()
        local first = ask('https://127.0.0.1:%d/')
        assert.equal(first, ask('https://127.0.0.1:%d/'))
    end)

    it('says why a server is not trusted', function()
        assert.equal('certificate verify failed: hostname mismatch', ask('https://localhost:%d/'))
        assert.matches('^200 TLSv1.3 localhost %d+$', ask('https://localhost:%d/', 'no'))
        assert.equal('certificate verify failed: hostname mismatch', ask('https://localhost:%d/'))
    end)

    it('never takes a plain connection for a secure one', function()
        local plain = process.echo()
        assert.matches('^200 ', ask(('http://127.0.0.1:%d/'):format(plain.port)))
        assert.equal('the peer does not speak TLS',
            ask(('https://127.0.0.1:%d/'):format(plain.port)))
        assert.matches('^400 ', ask('http://127.0.0.1:%d/')) -- nginx: plain HTTP to an HTTPS port
    end)
end)
