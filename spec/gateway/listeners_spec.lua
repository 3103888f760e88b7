-- SPDX-License-Identifier: Apache-2.0
--
-- Other sockets than TCP over IPv4: unix sockets on either side, and IPv6.
local client = require 'spec.gateway.support.client'
local peers = require 'spec.gateway.support.peers'
local process = require 'spec.gateway.support.process'
local dkjson = require 'dkjson'

local YAML = [[
_format_version: "3.0"
services:
- { name: s, url: "%s", routes: [{ name: r, paths: [/] }] }
gateway:
  workers: %d
  listeners: [%s]
]]

describe('a unix socket', function()
    after_each(process.stop_all)

    it('is a listener for all workers, and is gone at the end', function()
        local folder = process.folder()
        local path = folder .. '/gateway.sock'
        local gateway = process.gateway(YAML:format('http://127.0.0.1:' .. process.echo().port, 2,
            ('{ address: "unix:%s" }'):format(path)), { folder = folder })
        for _ = 1, 20 do
            local res = assert(client.get(path, '/orders'))
            assert.equal(200, res.status)
            assert.equal('/orders', assert(dkjson.decode(res.body)).path)
        end
        gateway:signal('TERM')
        assert.equal(0, gateway:wait())
        assert.is_nil((client.connect(path)))
    end)

    it('that an earlier process has left is taken over', function()
        local folder = process.folder()
        local path = folder .. '/gateway.sock'
        local yaml = YAML:format('http://127.0.0.1:' .. process.echo().port, 1,
            ('{ address: "unix:%s" }'):format(path))
        local first = process.gateway(yaml, { folder = folder })
        local worker = first:status().workers[1].pid
        first:signal('KILL')
        first:wait()
        assert.is_true(require('spec.gateway.support.posix').wait_gone(worker, math.huge))
        process.gateway(yaml, { folder = folder })
        assert.equal(200, assert(client.get(path, '/')).status)
    end)

    it('is an upstream, whose connections are kept', function()
        local folder = process.folder()
        local path = folder .. '/echo.sock'
        process.echo('--listen', 'unix:' .. path)
        local gateway = process.gateway(YAML:format('http://unix:' .. path, 1,
            ('{ address: "127.0.0.1:%d" }'):format(process.free_port())), { folder = folder })
        local connection = assert(client.connect(gateway.port))
        for i = 1, 10 do
            local body = ('b'):rep(i * 1000)
            local res = assert(connection:request('POST', '/x', nil, body))
            assert.equal(200, res.status, res.body)
            assert.equal(#body, assert(dkjson.decode(res.body)).post_data.bytes)
        end
        connection:close()
        local counters = gateway:status().counters
        assert.equal(1, counters.upstream_connects)
        assert.equal(9, counters.upstream_reuses)
    end)

    it('that nobody listens on gives 502', function()
        local folder = process.folder()
        local gateway = process.gateway(YAML:format('http://unix:' .. folder .. '/none', 1,
            ('{ address: "127.0.0.1:%d" }'):format(process.free_port())), { folder = folder })
        assert.equal(502, assert(gateway:get('/')).status)
    end)
end)

describe('IPv6', function()
    after_each(process.stop_all)

    -- nil where the machine has ::1.
    local function missing()
        local reason = peers.missing({ 'curl' })
        local text = process.read('/proc/net/if_inet6') or ''
        if not reason and not text:find(('0'):rep(31) .. '1', 1, true) then
            reason = 'this machine has no address ::1'
        end
        return reason
    end

    it('is listened on and spoken to upstreams', function()
        local reason = missing()
        if reason then
            pending(reason)
            return
        end
        local port, upstream = process.free_port(), process.free_port()
        process.echo('--listen', ('[::1]:%d'):format(upstream))
        process.gateway(YAML:format(('http://[::1]:%d'):format(upstream), 1,
            ('{ address: "[::1]:%d" }, { address: "127.0.0.1:%d" }'):format(port, port)))
        for _, host in ipairs({ '[::1]', '127.0.0.1' }) do
            local out = peers.run({ 'curl', '-sSfg', ('http://%s:%d/six'):format(host, port) })
            local answer = assert(dkjson.decode(out))
            assert.equal('/six', answer.path)
            assert.equal(host:gsub('[%[%]]', ''), answer.headers['x-forwarded-for'])
        end
    end)
end)
