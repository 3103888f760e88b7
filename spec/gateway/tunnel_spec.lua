-- SPDX-License-Identifier: Apache-2.0
-- Upgraded connections through the real gateway, with plugins on the route.
local client = require 'spec.gateway.support.client'
local process = require 'spec.gateway.support.process'

local UPGRADE = { Connection = 'Upgrade', Upgrade = 'websocket', Origin = 'http://site',
    ['Sec-WebSocket-Version'] = '13', ['Sec-WebSocket-Key'] = 'dGhlIHNhbXBsZSBub25jZQ==' }

describe('a tunnel', function()
    after_each(process.stop_all)

    it('opens after header_filter has seen the 101', function()
        local echo = process.echo()
        local gateway = process.gateway(([[
_format_version: "3.0"
services:
- name: origin
  url: http://127.0.0.1:%d
  routes: [{ name: all, paths: [/], strip_path: false, plugins: [{ name: cors }] }]
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
]]):format(echo.port, process.free_port()))
        local connection = assert(client.connect(gateway.port))
        local res = assert(connection:request('GET', '/ws?raw=1', UPGRADE))
        assert.equal(101, res.status)
        assert.equal('*', res.headers['access-control-allow-origin'])
        assert(connection:send('polly'))
        assert.is_true((connection:fill()))
        assert.equal('polly', connection.kept)
        connection:close()
    end)
end)
