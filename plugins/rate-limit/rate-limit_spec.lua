-- SPDX-License-Identifier: Apache-2.0
local gateway = require 'moongate.test'

describe('rate-limit', function()
    local gw

    local function config_of(config)
        return {
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101',
                routes = { { name = 'all', paths = { '/' },
                    plugins = { { name = 'rate-limit', config = config } } } },
            } },
        }
    end

    local function start(config, opts)
        gw = gateway.start(config_of(config), opts)
    end

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    local function header(res, name)
        return assert.response(res).has.header(name)
    end

    local function statuses(count, o)
        local list = {}
        for i = 1, count do
            list[i] = gw:get('/', o).status
        end
        return list
    end

    it('admits up to the quota, says so, and denies the next', function()
        start({ quota = 2, window = '10s' })
        local res = gw:get('/')
        assert.response(res).has.status(200)
        assert.equal('2', header(res, 'X-RateLimit-Limit'))
        assert.equal('1', header(res, 'X-RateLimit-Remaining'))
        assert.equal('ok', res.outcome)
        gw:get('/')
        res = gw:get('/')
        assert.response(res).has.status(429)
        assert.equal('limited', res.outcome)
        assert.equal('rate-limit', res.ended_by)
        assert.equal('0', header(res, 'X-RateLimit-Remaining'))
        assert.is_true(tonumber(header(res, 'Retry-After')) >= 1)
        assert.equal('application/problem+json', header(res, 'Content-Type'))
        local body = res.json()
        assert.same({ 'default' }, body['violated-policies'])
        assert.equal(429, body.status)
        assert.equal(res.request_id, body.request_id)
        assert.equal(2, #gw.upstream.requests)
    end)

    it('admits again when the time has come', function()
        start({ quota = 1, window = '10s', algorithm = 'fixed-window', align = 'first',
            retry_after_jitter = { percent = 0 } })
        assert.same({ 200, 429 }, statuses(2))
        gw:advance(9.998)
        assert.same({ 429 }, statuses(1))
        gw:advance(0.002)
        assert.same({ 200, 429 }, statuses(2))
    end)
end)
