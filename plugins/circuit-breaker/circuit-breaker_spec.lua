-- SPDX-License-Identifier: Apache-2.0
local cjson = require 'cjson'
local gateway = require 'moongate.test'

describe('circuit-breaker', function()
    local gw

    local function entry(config)
        local filled = { open = { base = '5s', jitter_percent = 0 }, ramp = '0s' }
        for name, value in pairs(config) do
            filled[name] = value
        end
        return { name = 'circuit-breaker', config = filled }
    end

    -- One service with one route, which carries the entry.
    local function config_of(config, more)
        local plugins = { entry(config) }
        plugins[2] = more
        return {
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101', read_timeout = 2000, retries = 0,
                routes = { { name = 'all', paths = { '/' }, plugins = plugins } },
            } },
        }
    end

    local function start(config, more)
        gw = gateway.start(config_of(config, more))
    end

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    -- Answers of the upstream: a status each, the last one for ever; false: it never answers.
    local function upstream(...)
        local list, at = { ... }, 0
        gw.upstream:reply(function()
            at = math.min(at + 1, #list)
            return list[at] and { status = list[at], body = 'from the upstream' }
        end)
    end

    local function get(count, status, outcome, path)
        local res
        for _ = 1, count do
            res = gw:get(path or '/')
            assert.response(res).has.status(status)
            assert.equal(outcome or 'ok', res.outcome)
        end
        return res
    end

    local function refused(count, path)
        return get(count or 1, 503, 'breaker_open', path)
    end

    local function retry_after(res)
        return tonumber(assert.response(res).has.header('Retry-After'))
    end

    -- Messages of the transitions so far.
    local function transitions()
        local list = {}
        for _, line in ipairs(gw.logs) do
            if line.plugin == 'circuit-breaker' and line.message:find('->', 1, true) then
                list[#list + 1] = line.message
            end
        end
        return list
    end

    describe('opens', function()
        it('after failures in a row, and answers without the upstream', function()
            start({ consecutive_failures = 3 })
            upstream(500)
            get(3, 500)
            refused(2)
            assert.equal(3, #gw.upstream.requests)
        end)

        it('not when a success stands between', function()
            start({ consecutive_failures = 3, failure_percent = 0 })
            upstream(500, 500, 200, 500, 500, 200)
            for _, status in ipairs({ 500, 500, 200, 500, 500, 200, 200 }) do
                get(1, status)
            end
        end)

        it('at a share of failures, with enough results', function()
            start({ consecutive_failures = 0, failure_percent = 50, min_requests = 6 })
            upstream(500, 500, 500, 200, 200, 200, 500)
            get(3, 500)
            get(2, 200)
            get(1, 200) -- the sixth: 3 of 6
            refused()
            assert.equal(6, #gw.upstream.requests)
        end)

        it('not just below the share', function()
            start({ consecutive_failures = 0, failure_percent = 50, min_requests = 7 })
            upstream(500, 500, 500, 200)
            get(3, 500)
            get(10, 200)
        end)

        it('at a share of failures of the network', function()
            start({ consecutive_failures = 0, failure_percent = 0, network_percent = 50,
                min_requests = 2 })
            upstream(500, 500, 500, false)
            get(3, 500)
            get(3, 504, 'upstream_timeout')
            refused()
        end)

        it('by results of the last calls where the window is a count', function()
            start({ window_type = 'count', window_calls = 10, min_requests = 10,
                consecutive_failures = 0, failure_percent = 40 })
            upstream(500, 500, 500, 200, 200, 200, 200, 200, 200, 200, 500, 500, 500, 500)
            get(3, 500)
            get(7, 200)
            get(3, 500) -- they push the first three out
            get(1, 500) -- 4 of the last 10
            refused()
        end)

        it('not by results that have left the window', function()
            start({ window = '10s', min_requests = 4, consecutive_failures = 0 })
            upstream(500, 500, 500, 200, 200, 200, 200, 500)
            get(3, 500)
            gw:advance(11)
            get(4, 200)
            get(1, 500)
            get(1, 500)
            get(1, 500)
            get(1, 500) -- 4 of 8
            refused()
        end)
    end)

    describe('counts', function()
        it('4xx as a success, and what failure_statuses names as a failure', function()
            start({ consecutive_failures = 2 })
            upstream(429, 404, 400)
            get(1, 429)
            get(1, 404)
            get(5, 400)
            gw:stop()
            start({ consecutive_failures = 2, failure_statuses = { 429 } })
            upstream(500, 500, 500, 429)
            get(3, 500)
            get(2, 429)
            refused()
        end)

        it('an upstream without targets as a failure of the network', function()
            local config = config_of({ consecutive_failures = 2 })
            config.services[1].url = 'http://nobody'
            config.upstreams = { { name = 'nobody' } }
            gw = gateway.start(config)
            get(2, 503, 'upstream_no_target')
            assert.equal('upstream:nobody', refused().json().breaker)
        end)

        it('a body that breaks off as one more failure', function()
            start({ consecutive_failures = 0, min_requests = 2, failure_percent = 50 })
            gw.upstream:reply({ headers = { ['Content-Length'] = 100 }, body = 'short' })
            assert.equal('upstream_body_timeout', gw:get('/').outcome)
            refused()
        end)

        it('nothing where another plugin answers', function()
            start({ consecutive_failures = 2 },
                { name = 'request-termination', config = { status_code = 503 } })
            get(5, 503, 'plugin_answer')
        end)

        it('the status of the upstream, not the one that a plugin makes of it', function()
            local folder = os.tmpname()
            os.remove(folder)
            assert(os.execute('mkdir ' .. folder) == 0)
            local file = assert(io.open(folder .. '/mend.lua', 'w'))
            file:write("local p = {}\nfunction p:header_filter()\n"
                .. "    return moongate.response.exit(200, 'mended')\nend\nreturn p\n")
            file:close()
            gw = gateway.start(config_of({ consecutive_failures = 2 }, { name = 'mend' }),
                { plugins_path = { folder } })
            os.remove(folder .. '/mend.lua')
            os.remove(folder)
            upstream(500)
            get(2, 200, 'plugin_answer')
            gw:get('/')
            assert.equal(2, #gw.upstream.requests)
        end)

        it('nothing when the client leaves first', function()
            start({ consecutive_failures = 1 })
            upstream(false, 200)
            local call = gw:send({ path = '/' })
            gw:progress()
            call:abort()
            gw:settle()
            get(1, 200)
        end)

        it('no result of a request that was admitted in an earlier state', function()
            start({ consecutive_failures = 1, half_open = { required = 1 } })
            upstream(false, 500, 200)
            local late = gw:send({ path = '/' })
            gw:progress()
            get(1, 500)
            refused()
            assert.response(late:wait()).has.status(504) -- 2 s: still open
            gw:advance(3.5)
            get(3, 200)
            assert.equal(3, #transitions())
        end)
    end)

    describe('half open', function()
        it('lets probes through when the open time is over, and closes', function()
            start({ consecutive_failures = 3,
                half_open = { required = 3, success_percent = 60 } })
            upstream(500, 500, 500, 200, 500, 200)
            get(3, 500)
            gw:advance(4.9)
            refused()
            gw:advance(0.2)
            get(1, 200)
            get(1, 500)
            get(1, 200) -- 2 of 3 are good enough
            get(5, 200)
            assert.same({
                'breaker upstream:127.0.0.1:9101: closed -> open (consecutive),'
                    .. ' 3 of 3 results failed, open for 5.0 s, opening 1 in a row',
                'breaker upstream:127.0.0.1:9101: open -> half_open (time)',
                'breaker upstream:127.0.0.1:9101: half_open -> closed (probes_ok),'
                    .. ' 1 of 3 results failed',
            }, transitions())
        end)

        it('opens again, for longer, as soon as too many probes have failed', function()
            start({ consecutive_failures = 1, open = { base = '5s', max = '30s',
                jitter_percent = 0 }, half_open = { required = 5, success_percent = 80 } })
            upstream(500)
            get(1, 500)
            for _, seconds in ipairs({ 5, 10, 20, 30, 30 }) do
                local after = retry_after(refused())
                assert.is_true(after >= seconds and after <= math.ceil(seconds * 1.1))
                gw:advance(seconds - 0.1)
                refused()
                gw:advance(0.2)
                get(2, 500) -- one may fail, the second is too much
            end
        end)

        it('has at most max_inflight probes under way', function()
            start({ consecutive_failures = 1, half_open = { max_inflight = 2, required = 2 } })
            upstream(500, false)
            get(1, 500)
            gw:advance(5.1)
            local probes = {}
            for i = 1, 2 do
                probes[i] = gw:send({ path = '/' })
            end
            gw:progress()
            assert.equal(1, retry_after(refused()))
            assert.equal(3, #gw.upstream.requests)
            for i = 1, 2 do
                assert.response(probes[i]:wait()).has.status(504)
            end
        end)

        it('cuts a probe that gets no answer in time, and counts a failure', function()
            start({ consecutive_failures = 1, half_open = { required = 1, timeout = '500ms' } })
            upstream(500, false)
            get(1, 500)
            gw:advance(5.1)
            local before = gw.native:now_ms()
            local res = get(1, 503, 'probe_timeout')
            assert.equal(500, gw.native:now_ms() - before)
            assert.equal('upstream:127.0.0.1:9101', res.json().breaker)
            assert.is_true(retry_after(res) >= 10)
            assert.equal(0, #gw.upstream.connections)
            refused()
        end)

        it('takes the slot back from a client that leaves, without a result', function()
            start({ consecutive_failures = 1, half_open = { max_inflight = 1, required = 1 } })
            upstream(500, false, 200)
            get(1, 500)
            gw:advance(5.1)
            local probe = gw:send({ path = '/' })
            gw:progress()
            refused()
            probe:abort()
            gw:settle()
            get(3, 200)
        end)

        it('takes the slot back when another plugin answers', function()
            start({ consecutive_failures = 1, half_open = { max_inflight = 1, required = 1 } },
                { name = 'request-termination', config = { trigger = 'end' } })
            upstream(500, 200)
            get(1, 500)
            gw:advance(5.1)
            get(3, 503, 'plugin_answer', '/?end')
            get(3, 200)
        end)
    end)

    describe('answers', function()
        it('with a problem document that names the breaker', function()
            start({ consecutive_failures = 1 })
            upstream(500)
            get(1, 500)
            local res = refused()
            local has = assert.response(res).has
            assert.equal('application/problem+json', has.header('Content-Type'))
            assert.equal('no-store', assert.response(res).has.header('Cache-Control'))
            local after = retry_after(res)
            assert.is_true(after == 5 or after == 6)
            local body = res.json()
            assert.equal('https://iana.org/assignments/http-problem-types'
                .. '#temporary-reduced-capacity', body.type)
            assert.equal(503, body.status)
            assert.equal('upstream:127.0.0.1:9101', body.breaker)
            assert.equal(res.request_id, body.request_id)
            assert.equal('circuit-breaker', res.ended_by)
        end)

        it('HEAD with the same head and no body', function()
            start({ consecutive_failures = 1 })
            upstream(500)
            get(1, 500)
            local res = gw:head('/')
            assert.response(res).has.status(503)
            assert.equal('', res.body)
            assert.equal('application/problem+json',
                assert.response(res).has.header('Content-Type'))
            assert.is_true(retry_after(res) >= 5)
        end)

        it('with text as it is configured', function()
            start({ consecutive_failures = 1, fallback = { kind = 'response', status = 200,
                headers = { ['X-From'] = 'fallback' }, body = 'later, please' } })
            upstream(500)
            get(1, 500)
            local res = get(1, 200, 'breaker_open')
            assert.equal('later, please', res.body)
            assert.equal('fallback', assert.response(res).has.header('X-From'))
            assert.equal('text/plain; charset=utf-8',
                assert.response(res).has.header('Content-Type'))
            assert.response(res).has.no.header('Retry-After')
        end)

        it('with JSON, and with nothing', function()
            start({ consecutive_failures = 1, fallback = { kind = 'response',
                body = { items = { 1, 2 } } } })
            upstream(500)
            get(1, 500)
            assert.same({ items = { 1, 2 } }, refused().json())
            gw:stop()
            start({ consecutive_failures = 1, fallback = { kind = 'response', status = 204 } })
            upstream(500)
            get(1, 500)
            assert.equal('', get(1, 204, 'breaker_open').body)
        end)

        it('a cut probe in the same way', function()
            start({ consecutive_failures = 1, half_open = { timeout = '500ms' },
                fallback = { kind = 'response', status = 202, body = 'later' } })
            upstream(500, false)
            get(1, 500)
            gw:advance(5.1)
            assert.equal('later', get(1, 202, 'probe_timeout').body)
        end)
    end)

    it('refuses nothing in shadow mode, but goes through the states', function()
        start({ mode = 'shadow', consecutive_failures = 2,
            half_open = { required = 1, timeout = '500ms' } })
        upstream(500, 500, 500, 500, 200)
        get(4, 500)
        gw:advance(5.1)
        get(2, 200)
        local list = transitions()
        assert.equal(3, #list)
        assert.truthy(list[1]:find('closed -> open (consecutive), 2 of 2', 1, true))
        assert.truthy(list[3]:find('half_open -> closed', 1, true))
    end)

    it('judges a slow probe in shadow mode without cutting it', function()
        start({ mode = 'shadow', consecutive_failures = 1,
            half_open = { required = 1, timeout = '500ms' } })
        upstream(500, false)
        get(1, 500)
        gw:advance(5.1)
        get(1, 504, 'upstream_timeout')
        assert.truthy(transitions()[3]:find('half_open -> open', 1, true))
    end)

    it('leaves a note for the access log', function()
        local path = os.tmpname()
        start({ consecutive_failures = 1, half_open = { required = 1 } }, {
            name = 'access-log', config = { format = 'json', fields = { 'outcome', 'breaker' },
                sinks = { { type = 'file', path = path } } } })
        upstream(500, 200)
        get(1, 500)
        refused()
        gw:advance(5.1)
        get(1, 200)
        local lines = {}
        gw:run_until(function()
            lines = {}
            for line in io.lines(path) do
                lines[#lines + 1] = cjson.decode(line)
            end
            return #lines == 3
        end, 'the third line')
        os.remove(path)
        local name = 'upstream:127.0.0.1:9101'
        assert.same({
            { outcome = 'ok', breaker = { name = name, state = 'closed', decision = 'allowed' } },
            { outcome = 'breaker_open',
                breaker = { name = name, state = 'open', decision = 'denied' } },
            { outcome = 'ok', breaker = { name = name, state = 'half_open', decision = 'probe' } },
        }, lines)
    end)

    describe('over a reload', function()
        it('stays open', function()
            local config = { consecutive_failures = 1 }
            start(config)
            upstream(500, 200)
            get(1, 500)
            assert.is_true(gw:reload(config_of(config)))
            refused()
            gw:advance(5.1)
            get(1, 200)
        end)

        it('follows new thresholds with the results it has', function()
            local config = { consecutive_failures = 0, min_requests = 10 }
            start(config)
            upstream(500)
            get(5, 500)
            config.min_requests = 6
            assert.is_true(gw:reload(config_of(config)))
            get(1, 500)
            refused()
        end)

        it('starts with an empty window where its size has changed', function()
            local config = { consecutive_failures = 0, min_requests = 4 }
            start(config)
            upstream(500)
            get(3, 500)
            config.window = '20s'
            assert.is_true(gw:reload(config_of(config)))
            get(4, 500)
            refused()
        end)
    end)
end)
