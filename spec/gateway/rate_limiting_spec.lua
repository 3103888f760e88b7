-- SPDX-License-Identifier: Apache-2.0
--
-- The plugin rate-limiting with policy redis: a real Redis, and two gateways that share it.
local client = require 'spec.gateway.support.client'
local process = require 'spec.gateway.support.process'
local redis = require 'spec.gateway.support.redis'

describe('rate-limiting with policy redis', function()
    after_each(process.stop_all)

    local function start(server, more)
        return process.gateway(process.yaml{ upstream = process.echo().port, workers = 2, plugins =
            ('    plugins: [{ name: rate-limiting, config: { year: 50, limit_by: service,'
            .. ' policy: redis, redis: { host: 127.0.0.1, port: %d, timeout: 2000 }%s } }]'):format(
                server.port, more or '') })
    end

    local function ask(gateway, count, answers)
        for _ = 1, count do
            local status = assert(client.get(gateway.port, '/')).status
            answers[status] = (answers[status] or 0) + 1
        end
    end

    it('admits exactly the limit on both', function()
        local server = redis.server()
        local first, second = start(server), start(server)
        local answers = {}
        for _ = 1, 10 do
            ask(first, 4, answers)
            ask(second, 4, answers)
        end
        assert.same({ [200] = 50, [429] = 30 }, answers)
    end)

    it('tells Redis every sync_rate seconds', function()
        local server = redis.server()
        local more = ', sync_rate: 0.02'
        local first, second = start(server, more), start(server, more)
        local answers = {}
        for _ = 1, 10 do
            ask(first, 4, answers)
            ask(second, 4, answers)
        end
        local asked = server:count('commandstats', 'cmdstat_evalsha:calls')
            - server:count('commandstats', 'cmdstat_zcard:calls')
        assert.equal(80, answers[200] + answers[429])
        -- each of two hosts goes before Redis by 5 %, before it has heard of the other one
        assert.is_true(answers[200] >= 50 and answers[200] < 54, answers[200])
        assert.is_true(asked > 0, asked)
    end)

    it('answers 503 without Redis, when it is not to be fault tolerant', function()
        local server = redis.server()
        local gateway = start(server, ', fault_tolerant: false')
        local answers = {}
        ask(gateway, 3, answers)
        server:kill()
        ask(gateway, 3, answers)
        assert.same({ [200] = 3, [503] = 3 }, answers)
    end)
end)
