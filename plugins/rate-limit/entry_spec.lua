-- SPDX-License-Identifier: Apache-2.0
-- rate-limit: costs, exemptions, bans, delays, groups, calendar, values in Lua, the draft's fields.
-- Who is admitted at all: rate-limit_spec.lua.
local gateway = require 'moongate.test'

describe('rate-limit', function()
    local gw

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    local function source(configs)
        local routes = {}
        for i, config in ipairs(configs) do
            routes[i] = { name = 'r' .. i, paths = { '/' .. i },
                plugins = { { name = 'rate-limit', config = config } } }
        end
        return {
            _format_version = '3.0',
            services = { { name = 'up', url = 'http://127.0.0.1:9101', routes = routes } },
        }
    end

    local function one(more)
        local config = { quota = 5, window = '1m', algorithm = 'fixed-window', align = 'first' }
        for name, value in pairs(more) do
            config[name] = value
        end
        return config
    end

    local function start(...)
        gw = gateway.start(source({ ... }))
    end

    local function status(options)
        return gw:get('/1', options).status
    end

    local function admitted(tries, options)
        local count = 0
        for _ = 1, tries do
            count = count + (status(options) == 200 and 1 or 0)
        end
        return count
    end

    local function header(res, name)
        return assert.response(res).has.header(name)
    end

    describe('cost', function()
        local function with(value)
            return { headers = { ['X-Cost'] = value } }
        end

        it('takes so many units', function()
            start(one{ cost = 2 })
            assert.equal(2, admitted(5))
        end)

        it('comes from a field of the request, rounded up', function()
            start(one{ cost = 'header:X-Cost' })
            assert.equal(200, status(with('3.2')))
            assert.equal(429, status(with('2')))
            assert.equal(200, status(with('1')))
            assert.equal(429, status(with('1')))
        end)

        it('counts 1 where the field is missing or no number', function()
            start(one{ cost = 'header:X-Cost' })
            assert.equal(4, admitted(4))
            assert.equal(200, status(with('-7')))
            assert.equal(429, status(with('many')))
            assert.equal(429, status(with('nan')))
        end)

        it('0 is checked and not charged', function()
            start(one{ cost = 'header:X-Cost' })
            assert.equal(20, admitted(20, with('0')))
            assert.equal(5, admitted(20))
            assert.equal(20, admitted(20, with('0'))) -- nothing is asked for
        end)

        it('that can never pass has no Retry-After', function()
            start(one{ cost = 6 })
            local res = gw:get('/1')
            assert.response(res).has.status(429)
            assert.response(res).has.no.header('Retry-After')
        end)

        it('comes from an expression, and is 1 where that fails', function()
            start(one{ cost = "lua: moongate.request.get_header('x-cost') * 2" })
            assert.equal(200, status(with('2')))
            assert.equal(429, status(with('2')))
            assert.equal(200, status())
            assert.equal(429, status())
        end)
    end)

    describe('a charge', function()
        local function answers(code, value)
            gw.upstream:reply({ status = code, headers = { ['X-Cost'] = value } })
        end

        it('is given back when the status does not count', function()
            start(one{ count_when = { 401, 403 } })
            assert.equal(20, admitted(20))
            answers(401)
            for _ = 1, 5 do
                assert.equal(401, status())
            end
            assert.equal(429, status())
        end)

        it('is given back when an expression says so, and stays when it fails', function()
            start(one{ count_when = 'lua: status >= 400' })
            assert.equal(20, admitted(20))
            gw:stop()
            start(one{ count_when = 'lua: status.x' })
            assert.equal(5, admitted(20))
        end)

        it('becomes the cost that the answer tells', function()
            start(one{ response_cost = 'header:X-Cost' })
            answers(200, '3')
            assert.equal(200, status())
            answers(200, '2')
            assert.equal(200, status())
            assert.equal(429, status())
        end)

        it('of a client that leaves is given back', function()
            start(one{ count_when = { 200 }, quota = 1 })
            local call = gw:send({ raw = 'POST /1 HTTP/1.1\r\nHost: localhost\r\n'
                .. 'Content-Length: 4\r\nConnection: close\r\n\r\nab' })
            gw:progress()
            assert.equal(429, status())
            call:abort()
            gw:progress()
            assert.equal(200, status())
            assert.equal(429, status())
        end)

        it('is made for denials too where that is asked for', function()
            start({ quota = 5, window = '1m', count_denied = true })
            assert.equal(5, admitted(20))
            local count = 0
            for _ = 1, 60 do -- who goes on at that rate stays out
                gw:advance(1)
                count = count + admitted(3)
            end
            assert.is_true(count <= 1, tostring(count))
        end)
    end)

    describe('exempt', function()
        it('asks no limit', function()
            start(one{ quota = 1, exempt = { 'ip:10.0.0.0/8', 'header:X-Key=secret', 'method:HEAD',
                'path:/1/free', "lua: moongate.request.get_query_arg('free')" } })
            assert.equal(1, admitted(5))
            assert.equal(5, admitted(5, { client_ip = '10.1.2.3' }))
            assert.equal(5, admitted(5, { headers = { ['X-Key'] = 'secret' } }))
            assert.equal(0, admitted(5, { headers = { ['X-Key'] = 'other' } }))
            assert.equal(5, admitted(5, { query = { free = '1' } }))
            assert.equal(200, gw:get('/1/free/x').status)
            assert.equal(200, gw:head('/1').status)
            local res = gw:get('/1/free')
            assert.response(res).has.no.header('X-RateLimit-Limit')
        end)
    end)

    describe('a ban', function()
        it('R8 follows denials, gets longer, and counts nothing', function()
            start(one{ quota = 1, window = '1h',
                ban = { after = 2, ['for'] = '1s', within = '1h' } })
            assert.equal(200, status())
            for n = 0, 2 do
                assert.equal(429, status())
                assert.equal(429, status())
                local res = gw:get('/1')
                assert.response(res).has.status(403)
                assert.equal('banned', res.outcome)
                assert.truthy(tonumber(header(res, 'Retry-After')) >= 2 ^ n)
                assert.truthy(res.body:find('#abnormal-usage-detected', 1, true))
                assert.equal(403, status())
                gw:advance(2 ^ n - 0.01)
                assert.equal(403, status())
                gw:advance(0.01)
            end
            assert.equal(200, status({ client_ip = '192.0.2.77' }))
        end)

        it('survives a reload', function()
            local config = one{ quota = 1, window = '1h', ban = { after = 0, ['for'] = '10s' } }
            start(config)
            assert.equal(200, status())
            assert.equal(403, status())
            assert(gw:reload(source({ config, one{} })))
            assert.equal(403, status())
            gw:advance(10)
            assert.equal(403, status()) -- over, but the limit denies and the next one begins
        end)
    end)

    describe('leaky-bucket', function()
        it('holds requests back so that they go on evenly', function()
            start({ quota = 10, window = '1s', algorithm = 'leaky-bucket', burst = 3 })
            local calls = {}
            for i = 1, 6 do
                calls[i] = gw:send({ path = '/1' })
            end
            gw:progress()
            assert.equal(1, #gw.upstream.requests)
            for i = 2, 4 do
                gw:advance(0.1)
                assert.equal(i, #gw.upstream.requests)
            end
            local codes = {}
            for i = 1, 6 do
                codes[i] = calls[i]:wait().status
            end
            assert.same({ 200, 200, 200, 200, 429, 429 }, codes)
        end)
    end)

    describe('a group', function()
        it('shares counters between entries with quotas of their own', function()
            start(one{ group = 'all' }, one{ group = 'all', quota = 8 })
            assert.equal(5, admitted(9))
            local more = 0
            for _ = 1, 9 do
                more = more + (gw:get('/2').status == 200 and 1 or 0)
            end
            assert.equal(3, more)
        end)

        it('refuses members that count in other ways', function()
            local ok, err = pcall(start, one{ group = 'all' }, one{ group = 'all', window = '2m' })
            assert.is_false(ok)
            assert.truthy(tostring(err):find("group 'all': limit 'default' has another window", 1,
                true), tostring(err))
        end)
    end)

    it('marks requests over a limit where that is asked for', function()
        start(one{ quota = 1, on_exceed = 'mark' })
        local forged = { headers = { ['X-RateLimit-Exceeded'] = 'forged' } }
        gw:get('/1', forged)
        assert.is_nil(gw.upstream.requests[1].headers['x-ratelimit-exceeded'])
        assert.equal(200, status(forged))
        assert.equal('default', gw.upstream.requests[2].headers['x-ratelimit-exceeded'])
    end)

    it('counts months of the calendar', function()
        start({ quota = 3, window = 'month', algorithm = 'fixed-window' })
        assert.equal(3, admitted(9))
        local day = 0
        repeat
            gw:advance(24 * 3600)
            day = day + 1
        until status() == 200 or day > 31
        assert.is_true(day <= 31)
        assert.equal(2, admitted(9))
    end)

    describe('a quota in Lua', function()
        local QUOTA = "lua: ({ gold = 4, none = 0, free = false })[moongate.request.get_header("
            .. "'x-plan')]"

        local function plan(name)
            return { headers = { ['X-Plan'] = name } }
        end

        it('is of the request', function()
            start(one{ quota = QUOTA, fallback_quota = 2 })
            assert.equal(0, admitted(3, plan('none')))
            assert.equal(4, admitted(9, plan('gold')))
            assert.equal(9, admitted(9, plan('free')))
        end)

        it('that fails is the fallback, and counted', function()
            start(one{ quota = QUOTA, fallback_quota = 2 })
            assert.equal(2, admitted(9, plan('other')))
        end)

        it('that never ends is the fallback, in time for others', function()
            start(one{ quota = 'lua: (function() while true do end end)()', fallback_quota = 2 },
                one{})
            assert.equal(2, admitted(4))
            assert.equal(200, gw:get('/2').status)
        end)
    end)

    -- While a value waits, the other request is decided by the same entry.
    describe('a value in Lua that waits', function()
        local function pair(first, second)
            local calls = { gw:send{ path = '/1', headers = first },
                gw:send{ path = '/1', headers = second } }
            return { calls[1]:wait().status, calls[2]:wait().status }
        end

        it('leaves each request its key', function()
            start(one{ quota = 1, key = { "lua: (function() local user = "
                .. "moongate.request.get_header('x-user'); moongate.sleep(user == 'a' and 0.2 "
                .. "or 0.1); return user end)()" } })
            assert.same({ 200, 200 }, pair({ ['X-User'] = 'a' }, { ['X-User'] = 'b' }))
            assert.equal(429, status{ headers = { ['X-User'] = 'a' } })
            assert.equal(429, status{ headers = { ['X-User'] = 'b' } })
        end)

        it('leaves each request its quota', function()
            local function limit(name, quota)
                return { name = name, quota = quota, fallback_quota = 9, window = '1m' }
            end
            start({ limits = {
                limit('first', "lua: tonumber(moongate.request.get_header('x-quota'))"),
                limit('second', "lua: (function() moongate.sleep("
                    .. "tonumber(moongate.request.get_header('x-wait'))); return 9 end)()"),
            } })
            assert.same({ 200, 429 }, pair({ ['X-Quota'] = '5', ['X-Wait'] = '0.2' },
                { ['X-Quota'] = '0', ['X-Wait'] = '0.1' }))
        end)
    end)

    it('has keys in Lua', function()
        start(one{ quota = 1, key = { "lua: moongate.request.get_query_arg('user')" } })
        assert.equal(1, admitted(3, { query = { user = 'a' } }))
        assert.equal(1, admitted(3, { query = { user = 'b' } }))
    end)

    it('has bodies in Lua', function()
        start(one{ quota = 1, body = "lua: { error = limit .. ' ' .. quota, wait = retry_after }" })
        assert.equal(200, status())
        local res = gw:get('/1')
        assert.equal('default 1', res.json().error)
        assert.equal(tonumber(header(res, 'Retry-After')), res.json().wait)
        gw:stop()
        start(one{ quota = 1, body = 'lua: nothing.at.all' })
        assert.equal(200, status())
        assert.truthy(gw:get('/1').body:find('#quota-exceeded', 1, true))
    end)

    describe('fields of the draft', function()
        it('list every limit in the order of the configuration', function()
            start({ headers = { 'ietf-11' }, limits = {
                { name = 'burst', quota = 4, window = '500ms', algorithm = 'token-bucket' },
                { name = 'daily', quota = 1000, window = '1d' },
                { name = 'inflight', quota = 10, algorithm = 'concurrency' },
            } })
            local res = gw:get('/1')
            assert.equal('"burst";q=8;w=1, "daily";q=1000;w=86400, '
                .. '"inflight";q=10;qu="concurrent-requests"', header(res, 'RateLimit-Policy'))
            assert.truthy(header(res, 'RateLimit'):match(
                '^"burst";r=3;t=1, "daily";r=999;t=%d+, "inflight";r=9$'))
        end)

        it('are appended to those of the upstream', function()
            start(one{ headers = { 'ietf-11' } })
            gw.upstream:reply({ status = 200, headers = { ['RateLimit'] = '"up";r=1;t=1' } })
            assert.equal('"up";r=1;t=1, "default";r=4;t=60', header(gw:get('/1'), 'RateLimit'))
        end)

        it('tell no more than ten times the even rate', function()
            start({ quota = 1000, window = '1000s', align = 'first', algorithm = 'fixed-window',
                headers = { 'ietf-11' } })
            gw:get('/1')
            gw:advance(990)
            assert.equal('"default";r=100;t=10', header(gw:get('/1'), 'RateLimit'))
        end)
    end)
end)
