-- SPDX-License-Identifier: Apache-2.0
local gateway = require 'moongate.test'

local NO_JITTER = { base = '5s', jitter_percent = 0 }

describe('circuit-breaker', function()
    local gw

    local function config_of(config, more)
        local plugins = { { name = 'circuit-breaker', config = config } }
        plugins[2] = more
        return {
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101',
                routes = { { name = 'all', paths = { '/' }, plugins = plugins } },
            } },
        }
    end

    local function start(config, more)
        config.open = config.open or NO_JITTER
        gw = gateway.start(config_of(config, more))
    end

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    -- Answers of the upstream: a status each, the last one for ever.
    local function statuses(...)
        local list, at = { ... }, 0
        gw.upstream:reply(function()
            at = math.min(at + 1, #list)
            return { status = list[at], body = 'from the upstream' }
        end)
    end

    local function get(count, status, outcome)
        local res
        for _ = 1, count do
            res = gw:get('/')
            assert.response(res).has.status(status)
            if outcome then
                assert.equal(outcome, res.outcome)
            end
        end
        return res
    end

    local function refused(count)
        return get(count or 1, 503, 'breaker_open')
    end

    it('opens after failures in a row and answers without the upstream', function()
        start({ consecutive_failures = 3 })
        statuses(500)
        get(3, 500, 'ok')
        local res = refused()
        assert.equal(3, #gw.upstream.requests)
        assert.equal('application/problem+json', assert.response(res).has.header('Content-Type'))
        assert.equal('no-store', assert.response(res).has.header('Cache-Control'))
        local after = tonumber(assert.response(res).has.header('Retry-After'))
        assert.is_true(after == 5 or after == 6)
        local body = res.json()
        assert.equal('upstream:127.0.0.1:9101', body.breaker)
        assert.equal(503, body.status)
        assert.truthy(body.type:find('#temporary-reduced-capacity', 1, true))
        assert.equal(res.request_id, body.request_id)
    end)

    it('lets probes through when the open time is over, and closes', function()
        start({ consecutive_failures = 3, half_open = { required = 2, success_percent = 100 } })
        statuses(500, 500, 500, 200)
        get(3, 500)
        gw:advance(4.9)
        refused()
        gw:advance(0.2)
        get(10, 200, 'ok')
    end)
end)
