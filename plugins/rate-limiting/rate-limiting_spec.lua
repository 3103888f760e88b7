-- SPDX-License-Identifier: Apache-2.0
local cjson = require 'cjson'
local gateway = require 'moongate.test'

local TRACE = os.getenv('MOONGATE_LONG') and 10000 or 2000 -- requests

describe('rate-limiting', function()
    local gw

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    local function config_of(config, more)
        return {
            _format_version = '3.0',
            services = {
                { name = 'up', url = 'http://127.0.0.1:9101', routes = {
                    { name = 'all', paths = { '/' } }, { name = 'other', paths = { '/other' } } } },
                { name = 'second', url = 'http://127.0.0.1:9102', routes = {
                    { name = 'second', paths = { '/second' } } } },
            },
            plugins = { { name = 'rate-limiting', config = config }, more },
        }
    end

    local function start(config)
        gw = gateway.start(config_of(config))
        return gw
    end

    local function status(path, ip, headers)
        return gw:get(path or '/', { client_ip = ip, headers = headers }).status
    end

    it('admits so many in a window of the clock, then says so as Kong does', function()
        start({ minute = 3 })
        for left = 2, 0, -1 do
            local res = gw:get('/')
            assert.equal(200, res.status)
            assert.equal('3', assert.response(res).has.header('X-RateLimit-Limit-Minute'))
            assert.equal(tostring(left),
                assert.response(res).has.header('X-RateLimit-Remaining-Minute'))
            assert.equal('3', assert.response(res).has.header('RateLimit-Limit'))
        end
        local res = gw:get('/')
        assert.equal(429, res.status)
        assert.same({ message = 'API rate limit exceeded' }, res:json())
        assert.equal('limited', res.outcome)
        assert.equal('0', assert.response(res).has.header('X-RateLimit-Remaining-Minute'))
        local wait = tonumber(assert.response(res).has.header('Retry-After'))
        assert.equal(wait, tonumber(assert.response(res).has.header('RateLimit-Reset')))
        gw:advance(wait)
        assert.equal(200, status())
    end)

    it('charges no window when one of them is full', function()
        start({ second = 1, minute = 3 })
        assert.equal(200, status())
        for _ = 1, 10 do
            assert.equal(429, status())
        end
        gw:advance(1)
        assert.equal(200, status())
        gw:advance(1)
        local res = gw:get('/')
        assert.equal(200, res.status)
        assert.equal('0', assert.response(res).has.header('X-RateLimit-Remaining-Minute'))
        assert.equal('0', assert.response(res).has.header('X-RateLimit-Remaining-Second'))
    end)

    it('counts by what limit_by says, and by address where a request has it not', function()
        local A, B = '203.0.113.1', '203.0.113.2'
        local CASES = {
            { { limit_by = 'ip' }, { { '/', A }, { '/other', A } }, { { '/', B } } },
            { {}, { { '/', A }, { '/other', A } }, { { '/', B } } }, -- consumer: nobody logs in
            { { limit_by = 'header', header_name = 'X-Key' },
                { { '/', A, { ['X-Key'] = 'k' } }, { '/', B, { ['X-Key'] = 'k' } } },
                { { '/', A }, { '/', A, { ['X-Key'] = 'l' } } } },
            { { limit_by = 'path', path = '/a/b' },
                { { '/a/b', A }, { '/a/b?c=d', B } }, { { '/c', A }, { '/', B } } },
            { { limit_by = 'service' }, { { '/', A }, { '/other', B } }, { { '/second', A } } },
        }
        for _, case in ipairs(CASES) do
            case[1].hour = 1
            start(case[1])
            local name = cjson.encode(case[1])
            assert.equal(200, status(unpack(case[2][1])), name)
            assert.equal(429, status(unpack(case[2][2])), name)
            for _, apart in ipairs(case[3]) do
                assert.equal(200, status(unpack(apart)), name)
            end
            gw:stop()
        end
        gw = nil
    end)

    it('hides its fields, and denies with the code and message that are asked for', function()
        start({ day = 1, hide_client_headers = true, error_code = 503,
            error_message = 'later "x"' })
        local res = gw:get('/')
        assert.response(res).has.no.header('X-RateLimit-Limit-Day')
        assert.response(res).has.no.header('RateLimit-Limit')
        res = gw:get('/')
        assert.equal(503, res.status)
        assert.same({ message = 'later "x"' }, res:json())
        assert.response(res).has.no.header('RateLimit-Limit')
    end)

    it('keeps months and years of the calendar', function()
        start({ month = 1, year = 2 })
        assert.equal(200, status())
        assert.equal(429, status())
        gw:advance(31 * 24 * 3600) -- January has passed
        assert.equal(200, status())
        gw:advance(28 * 24 * 3600)
        assert.equal(429, status())
    end)

    -- Kong's documented counting as a plain model. A request is admitted while each window's count
    -- is below its limit; then all counts go up by one, else none does.
    it('R17 admits exactly what the counting that Kong documents admits', function()
        local LIMITS = { second = 2, minute = 7, hour = 40 }
        local SECONDS = { second = 1, minute = 60, hour = 3600 }
        start({ second = 2, minute = 7, hour = 40, limit_by = 'ip' })
        local seed, counts, now = 20261124, {}, 0
        local function random(most)
            seed = (seed * 1103515245 + 12345) % 2 ^ 31
            return math.floor(seed / 65536) % most
        end
        local function model(ip)
            for period, limit in pairs(LIMITS) do
                local key = ('%s %s %d'):format(ip, period, math.floor(now / SECONDS[period]))
                if (counts[key] or 0) >= limit then
                    return 429
                end
            end
            for period in pairs(LIMITS) do
                local key = ('%s %s %d'):format(ip, period, math.floor(now / SECONDS[period]))
                counts[key] = (counts[key] or 0) + 1
            end
            return 200
        end
        local admitted = 0
        for i = 1, TRACE do
            local ip = '203.0.113.' .. random(20)
            local wanted = model(ip)
            assert.equal(wanted, status('/', ip), 'request ' .. i)
            admitted = admitted + (wanted == 200 and 1 or 0)
            local step = ({ 0, 0, 0, 0.25, 1, 9 })[1 + random(6)]
            gw:advance(step)
            now = now + step
        end
        assert.is_true(admitted > TRACE / 10 and admitted < TRACE * 0.9, admitted)
    end)

    it('obeys fault_tolerant when Redis is not there', function()
        local redis = { host = '127.0.0.1', port = 1 }
        start({ hour = 1, policy = 'redis', redis = redis })
        assert.equal(200, status())
        assert.equal(200, status())
        gw:stop()
        start({ hour = 1, policy = 'redis', redis_host = '127.0.0.1', redis_port = 1,
            fault_tolerant = false })
        local res = gw:get('/')
        assert.equal(503, res.status)
        assert.equal('store_denied', res.outcome)
    end)

    describe('refuses at load', function()
        local CASES = {
            { {}, 'there is no limit' },
            { { minute = 5, hour = 4 },
                'the limit for hour (4) is lower than that for minute (5)' },
            { { minute = 0 }, 'minute' },
            { { minute = 1, limit_by = 'header' }, 'limit_by header needs header_name' },
            { { minute = 1, limit_by = 'path' }, 'limit_by path needs path' },
            { { minute = 1, policy = 'cluster' }, "not supported yet: Kong's database" },
            { { minute = 1, policy = 'redis' }, 'policy redis needs redis.host' },
            { { minute = 1, sync_rate = 0.019 }, 'expected -1 or seconds from 0.02' },
            { { minute = 1, sync_rate = 0 }, 'expected -1 or seconds from 0.02' },
            { { minute = 1, limit_by = 'consumer-group' }, 'not supported yet: consumer groups' },
            { { minute = 1, quota = 1 }, 'quota' },
        }
        for _, case in ipairs(CASES) do
            it(case[2] .. ' in ' .. cjson.encode(case[1]), function()
                local ok, err = pcall(gateway.start, config_of(case[1]))
                assert.is_false(ok)
                assert.truthy(tostring(err):find(case[2], 1, true), tostring(err))
            end)
        end
    end)
end)
