-- SPDX-License-Identifier: Apache-2.0
--
-- The configuration that docs/from-fastify.md shows does what the Node code before it did.
local client = require 'spec.gateway.support.client'
local markdown = require 'tools.markdown'
local process = require 'spec.gateway.support.process'

describe('the example of docs/from-fastify.md', function()
    after_each(process.stop_all)

    local function example()
        for _, block in ipairs(markdown.blocks(assert(process.read('docs/from-fastify.md')))) do
            if block.language == 'yaml' then
                return block.text
            end
        end
    end

    local function start(port)
        local yaml = example():gsub('orders%.internal:8080', '127.0.0.1:' .. port)
        return process.gateway(yaml .. ([[
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
]]):format(process.free_port()))
    end

    it('R17 admits 100 requests of a key in a minute, and bans who goes on', function()
        local gateway = start(process.echo().port)
        local connection = client.connect(gateway.port)
        local seen = {}
        for i = 1, 107 do
            local res = assert(connection:request('GET', '/orders', { ['X-Api-Key'] = 'k' }))
            seen[i] = res.status
        end
        assert.equal(200, seen[100])
        assert.equal(429, seen[101])
        assert.equal(429, seen[105])
        assert.equal(403, seen[106]) -- the sixth denial begins the ban
        assert.equal(403, seen[107])
        assert.equal(200, assert(client.get(gateway.port, '/orders', { ['X-Api-Key'] = 'l' }))
            .status)
    end)

    it('asks an upstream no more after five failures in a row', function()
        local gateway = start(process.free_port()) -- nobody listens there
        for _ = 1, 5 do
            assert.equal(502, assert(client.get(gateway.port, '/orders')).status)
        end
        local res = assert(client.get(gateway.port, '/orders'))
        assert.equal(503, res.status)
        assert.truthy(res.headers['retry-after'])
    end)
end)
