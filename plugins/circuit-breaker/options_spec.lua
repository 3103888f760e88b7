-- SPDX-License-Identifier: Apache-2.0
-- circuit-breaker: slow results, the ramp, values in Lua, fallbacks, and the tests B3, B4, B5 and
-- B8 of the policies.
local gateway = require 'moongate.test'

local ENDLESS = '(function() while true do end end)()'
local HEAD = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n'

describe('circuit-breaker:', function()
    local gw

    local function entry(config)
        local filled = { open = { base = '5s', jitter_percent = 0 }, ramp = '0s' }
        for name, value in pairs(config) do
            filled[name] = value
        end
        return { name = 'circuit-breaker', config = filled }
    end

    local function start(config)
        gw = gateway.start({
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101', read_timeout = 60000, retries = 0,
                routes = { { name = 'all', paths = { '/' }, plugins = { entry(config) } } },
            } },
        })
    end

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    -- The upstream answers with the status in the path, or 200; never to /hang.
    local function serve(seen)
        gw.upstream:reply(function(request)
            if seen then
                seen[#seen + 1] = request
            end
            return request.path ~= '/hang'
                and { status = tonumber(request.path:match('%d+')) or 200, body = 'fine' }
        end)
    end

    local function is_open()
        local res = gw:get('/')
        return res.outcome == 'breaker_open'
    end

    local function get(count, path)
        local res
        for _ = 1, count do
            res = gw:get(path or '/')
            assert.equal('ok', res.outcome)
        end
        return res
    end

    local function messages(text)
        local list = {}
        for _, line in ipairs(gw.logs) do
            if line.message:find(text, 1, true) then
                list[#list + 1] = line.message
            end
        end
        return list
    end

    -- A request whose response head comes after so many seconds, and its end after so many more.
    local function late(seconds, more)
        local call = gw:send({ path = '/hang' })
        gw:progress()
        gw:advance(seconds)
        local stream = gw.upstream.connections[#gw.upstream.connections].stream
        stream:write(HEAD)
        if more then
            gw:advance(more)
        end
        stream:write('ok')
        local res = call:wait()
        assert.response(res).has.status(200)
        return res
    end

    local function left_after(seconds)
        local call = gw:send({ path = '/hang' })
        gw:progress()
        gw:advance(seconds)
        call:abort()
        gw:settle()
    end

    describe('B3 with thresholds', function()
        -- So many failures of a hundred, none of them following each other too closely.
        local function feed(failures)
            local sent = 0
            for i = 1, 100 do
                local fails = math.floor(i * failures / 100) > sent
                sent = sent + (fails and 1 or 0)
                local res = gw:get(fails and '/500' or '/')
                if res.outcome == 'breaker_open' then
                    return
                end
                gw:advance(0.001)
            end
        end

        it('opens at 51 percent, not at 49', function()
            start({ consecutive_failures = 0, min_requests = 100 })
            serve()
            feed(49)
            assert.is_false(is_open())
            gw:advance(11)
            feed(51)
            assert.is_true(is_open())
            assert.equal(1, #messages('(failure_percent)'))
        end)

        it('opens at 20 failures, not at 19, before any share counts', function()
            start({ consecutive_failures = 0, min_requests = 20 })
            serve()
            get(19, '/500')
            assert.equal(0, #messages('->'))
            get(1, '/500')
            assert.is_true(is_open())
        end)

        it('never opens by what clients do wrong', function()
            start({ consecutive_failures = 2, min_requests = 2 })
            serve()
            get(40, '/404')
            get(40, '/429')
            assert.is_false(is_open())
        end)
    end)

    describe('B4 slow results', function()
        local SLOW = { consecutive_failures = 0, failure_percent = 0, min_requests = 5,
            slow = { percent = 60, over = '1s' } }

        it('open it at their share', function()
            start(SLOW)
            serve()
            late(0.9)
            late(1.1)
            late(1.1)
            get(1)
            assert.equal(0, #messages('->'))
            late(1.1) -- 3 of 5
            assert.is_true(is_open())
            assert.truthy(messages('closed -> open (slow)')[1]:find('3 were slow', 1, true))
        end)

        it('are clients that leave after that time, not those that leave before', function()
            start(SLOW)
            serve()
            for _ = 1, 10 do
                left_after(0.5)
            end
            assert.is_false(is_open())
            for _ = 1, 4 do
                left_after(1.5)
            end
            assert.is_true(is_open())
        end)

        it('are judged by the head, whatever the body takes', function()
            start(SLOW)
            serve()
            for _ = 1, 6 do
                late(0.1, 1.5)
            end
            assert.is_false(is_open())
        end)

        it('are judged by the end where that is asked for', function()
            start({ consecutive_failures = 0, failure_percent = 0, min_requests = 5,
                slow = { percent = 60, over = '1s', ['until'] = 'total' } })
            serve()
            get(2)
            for _ = 1, 2 do
                late(0.1, 1.5)
            end
            assert.equal(0, #messages('->'))
            late(0.1, 1.5)
            assert.is_true(is_open())
            assert.equal(1, #messages('closed -> open (slow)'))
        end)

        it('are failures that took long, too', function()
            start({ consecutive_failures = 0, failure_percent = 0, min_requests = 1,
                slow = { percent = 60, over = '1s' } })
            serve()
            local call = gw:send({ path = '/hang' })
            gw:progress()
            gw:advance(61)
            assert.response(call:wait()).has.status(504)
            assert.is_true(is_open())
        end)
    end)

    describe('B5 the ramp', function()
        local RAMP = { consecutive_failures = 3, half_open = { required = 1 }, ramp = '10s' }

        local function recover()
            serve()
            get(3, '/500')
            gw:advance(5.1)
            get(1)
        end

        it('lets 10 percent to all through in a straight line, then closes', function()
            start(RAMP)
            recover()
            assert.equal(1, #messages('half_open -> ramp (probes_ok)'))
            for tenth = 0, 9 do
                local passed = 0
                for _ = 1, 100 do
                    local res = gw:get('/')
                    passed = passed + (res.status == 200 and 1 or 0)
                    if res.status ~= 200 then
                        assert.equal('1', assert.response(res).has.header('Retry-After'))
                    end
                    gw:advance(0.01)
                end
                local wanted = 10 + 9 * tenth + 4.5
                assert.is_true(math.abs(passed - wanted) <= 5, passed .. ' of ' .. wanted)
            end
            get(20)
            assert.equal(1, #messages('ramp -> closed (ramp_done)'))
        end)

        it('opens again for longer when it fails', function()
            start(RAMP)
            recover()
            gw:advance(5)
            for _ = 1, 12 do
                gw:get('/500')
            end
            assert.truthy(messages('ramp -> open (ramp_failed)')[1]
                :find('open for 10.0 s, opening 2 in a row', 1, true))
        end)
    end)

    describe('values in Lua', function()
        it('classify results', function()
            start({ consecutive_failures = 2,
                classify = "lua: ({ [404] = 'failure', [500] = 'success', [503] = 'ignore' })"
                    .. '[status]' })
            serve()
            get(4, '/500')
            get(1, '/404')
            get(4, '/503')
            assert.equal(0, #messages('->'))
            get(1, '/404') -- the second in a row: what is ignored does not stand between
            assert.is_true(is_open())
        end)

        it('A1 classify as it would be where they give nothing, fail, or give nonsense', function()
            for _, code in ipairs({ 'nil', 'error("no")', '"bad"', '7', ENDLESS }) do
                start({ consecutive_failures = 2, classify = 'lua: ' .. code })
                serve()
                get(2)
                get(2, '/500')
                assert.is_true(is_open())
                assert.equal(code == 'nil' and 0 or 4, #messages('option classify'))
                gw:stop()
                gw = nil
            end
        end)

        it('hear of each transition once', function()
            start({ consecutive_failures = 2, half_open = { required = 1 },
                on_state = 'lua: moongate.log.notice("heard ", name, " ", from, " ", to, " ",'
                    .. ' reason, " ", counts.failures, "/", counts.total)' })
            serve()
            get(2, '/500')
            gw:advance(5.1)
            get(2)
            local name = 'heard upstream:127.0.0.1:9101 '
            assert.same({ name .. 'closed open consecutive 2/2', name .. 'open half_open time 0/0',
                name .. 'half_open closed probes_ok 0/1' }, messages('heard '))
        end)

        it('A1 do not hurt a request when on_state fails', function()
            for _, code in ipairs({ 'error("no")', ENDLESS }) do
                start({ consecutive_failures = 1, on_state = 'lua: ' .. code })
                serve()
                get(1, '/500')
                assert.is_true(is_open())
                assert.equal(1, #messages('option on_state'))
                gw:stop()
                gw = nil
            end
        end)
    end)

    describe('the fallback lua', function()
        local function open(code)
            start({ consecutive_failures = 1, fallback = { kind = 'lua', code = 'lua: ' .. code } })
            serve()
            get(1, '/500')
            return gw:get('/')
        end

        it('gives status, body and headers', function()
            local res = open("200, { from = breaker, state = state }, { ['X-Wait'] ="
                .. ' tostring(retry_after) }')
            assert.response(res).has.status(200)
            assert.equal('breaker_open', res.outcome)
            assert.same({ from = 'upstream:127.0.0.1:9101', state = 'open' }, res.json())
            local wait = tonumber(assert.response(res).has.header('X-Wait'))
            assert.is_true(wait == 5 or wait == 6)
        end)

        it('A1 is the problem document where it fails or gives nonsense', function()
            for _, code in ipairs({ 'error("no")', 'nil', '99', '200, 7', '200, "x", "y"',
                '200, { f = print }', ENDLESS }) do
                local res = open(code)
                assert.response(res).has.status(503)
                assert.equal('breaker_open', res.outcome)
                assert.equal('application/problem+json',
                    assert.response(res).has.header('Content-Type'))
                assert.is_true(#messages('option fallback.code') >= 1)
                gw:stop()
                gw = nil
            end
        end)
    end)

    describe('the fallback upstream', function()
        -- `main` falls back to `spare`, which has a breaker when it has a config.
        local function config_of(fallback, spare)
            return {
                _format_version = '3.0',
                upstreams = {
                    { name = 'main', targets = { { target = '127.0.0.1:9101' } } },
                    { name = 'spare', targets = { { target = '127.0.0.1:9102' } } },
                },
                services = {
                    { name = 'a', host = 'main', retries = 0, routes = { {
                        name = 'a', paths = { '/a' }, strip_path = false,
                        plugins = { entry({ consecutive_failures = 2, fallback = fallback }) },
                    } } },
                    { name = 'b', host = 'spare', retries = 0, routes = { {
                        name = 'b', paths = { '/b' }, strip_path = false,
                        plugins = { spare and entry(spare) } } } },
                },
            }
        end

        local function begin(spare)
            gw = gateway.start(config_of({ kind = 'upstream', name = 'spare' }, spare))
            local seen = {}
            serve(seen)
            get(2, '/a/500')
            return seen
        end

        it('takes what the breaker refuses', function()
            local seen = begin()
            local res = gw:get('/a')
            assert.response(res).has.status(200)
            assert.equal('breaker_open', res.outcome)
            assert.equal('fine', res.body)
            assert.equal(3, #seen)
        end)

        it('is under the breaker of that upstream, and goes no further', function()
            begin({ consecutive_failures = 1 })
            assert.response(gw:get('/a/500')).has.status(500) -- from the spare
            local res = gw:get('/a')
            assert.response(res).has.status(503)
            assert.equal('breaker_open', res.outcome)
            assert.equal('upstream:spare', res.json().breaker)
            assert.equal('upstream:spare', gw:get('/b').json().breaker)
        end)

        it('says nothing of the upstream that was not asked', function()
            begin()
            for _ = 1, 5 do
                assert.response(gw:get('/a/500')).has.status(500)
            end
            gw:advance(5.1)
            get(1, '/a')
            assert.equal(1, #messages('upstream:main: closed -> open'))
        end)

        it('cannot come back to where it began', function()
            local function refusal(config)
                local ok, err = pcall(gateway.start, config)
                assert.is_false(ok)
                return tostring(err)
            end
            local text = refusal(config_of({ kind = 'upstream', name = 'main' }))
            assert.truthy(text:find('leads back to upstream:main', 1, true), text)
            text = refusal(config_of({ kind = 'upstream', name = 'spare' },
                { fallback = { kind = 'upstream', name = 'main' } }))
            assert.truthy(text:find('that would be a loop', 1, true), text)
            assert.truthy(text:find('config.fallback.name', 1, true), text)
        end)
    end)

    it('B8 in shadow mode refuses nothing, and opens when enforce would', function()
        local enforced
        for _, mode in ipairs({ 'enforce', 'shadow' }) do
            start({ consecutive_failures = 0, min_requests = 10, mode = mode })
            serve()
            local refused, opened_at = 0, nil
            for i = 1, 40 do
                local res = gw:get('/500')
                refused = refused + (res.outcome == 'breaker_open' and 1 or 0)
                opened_at = opened_at or #messages('closed -> open') > 0 and i or nil
            end
            assert.equal(mode == 'shadow' and 0 or 30, refused)
            enforced = enforced or opened_at
            assert.equal(enforced, opened_at)
            gw:stop()
            gw = nil
        end
    end)
end)

describe('circuit-breaker by key', function()
    local gw

    local function start(config)
        config.scope, config.ramp = 'key', '0s'
        config.open = { base = '5s', jitter_percent = 0 }
        gw = gateway.start({
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101', retries = 0,
                routes = { { name = 'all', paths = { '/' }, plugins = {
                    { name = 'circuit-breaker', config = config } } } },
            } },
        })
        gw.upstream:reply(function(request)
            return { status = tonumber(request.path:match('%d+')) or 200 }
        end)
    end

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    local function ask(tenant, path)
        local res = gw:get(path or '/', { headers = { ['X-Tenant'] = tenant } })
        return res.outcome == 'breaker_open' and 'refused' or res.status
    end

    local function fail(tenant, count)
        for _ = 1, count do
            assert.equal(500, ask(tenant, '/500'))
        end
    end

    local function messages(text)
        local list = {}
        for _, line in ipairs(gw.logs) do
            if line.message:find(text, 1, true) then
                list[#list + 1] = line.message
            end
        end
        return list
    end

    it('keeps a breaker for each key', function()
        start({ key = { 'header:x-tenant' }, consecutive_failures = 2 })
        fail('a', 1)
        fail('b', 1)
        assert.equal(200, ask('b'))
        fail('a', 1)
        assert.equal('refused', ask('a'))
        assert.equal(200, ask('b'))
        assert.equal(200, ask()) -- without the field: one for all such
        local line = messages('closed -> open')[1]
        assert.truthy(line:find('^breaker key:route:all#%x%x%x%x%x%x%x%x: closed'), line)
        gw:advance(5.1)
        assert.equal(200, ask('a'))
    end)

    it('names the entry to clients, not the key', function()
        start({ key = { 'header:x-tenant' }, consecutive_failures = 1 })
        fail('secret', 1)
        local res = gw:get('/', { headers = { ['X-Tenant'] = 'secret' } })
        assert.equal('key:route:all', res.json().breaker)
    end)

    it('takes a key in Lua', function()
        start({ key = { "lua: moongate.request.get_path():match('^/(%a+)')" },
            consecutive_failures = 1 })
        assert.equal(500, ask(nil, '/a/500'))
        assert.equal('refused', ask(nil, '/a'))
        assert.equal(200, ask(nil, '/b'))
    end)

    it('B4 shares one breaker among the keys that are too many, and reuses idle ones', function()
        start({ key = { 'header:x-tenant' }, max_keys = 16, consecutive_failures = 2,
            failure_percent = 0 })
        for i = 1, 100 do
            fail('k' .. i, 1)
            assert.equal(200, ask('k' .. i)) -- not in a row, also in the shared one
        end
        fail('more 1', 1)
        fail('more 2', 1) -- two in a row in the shared one
        assert.equal('refused', ask('more 3'))
        assert.equal(200, ask('k1'))
        assert.equal(1, #messages('breaker key:route:all: closed -> open'))
        gw:advance(61) -- open.max: all are idle
        fail('more 1', 1)
        fail('more 2', 1)
        assert.equal(200, ask('more 1'))
        fail('more 2', 1)
        assert.equal('refused', ask('more 2'))
    end)
end)
