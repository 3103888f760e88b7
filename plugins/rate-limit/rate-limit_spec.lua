-- SPDX-License-Identifier: Apache-2.0
-- rate-limit: who is admitted, and what clients see. Keys: keys_spec.lua; options: schema_spec.lua.
local cjson = require 'cjson'
local gateway = require 'moongate.test'

describe('rate-limit', function()
    local gw

    local function config_of(config, more)
        local plugins = { { name = 'rate-limit', config = config } }
        plugins[2] = more
        return {
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101',
                routes = { { name = 'all', paths = { '/' }, plugins = plugins } },
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

    local function statuses(count)
        local list = {}
        for i = 1, count do
            list[i] = gw:get('/').status
        end
        return list
    end

    -- A request that stays in flight until its body is whole.
    local function hold()
        local call = gw:send({ raw = 'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n'
            .. 'Connection: close\r\n\r\nab' })
        gw:progress()
        return call
    end

    local function finish(call)
        call.stream:write('cd')
        return call:wait()
    end

    -- { limit, remaining, reset } of a set of fields.
    local function triple(res, prefix)
        return { header(res, prefix .. 'Limit'), header(res, prefix .. 'Remaining'),
            header(res, prefix .. 'Reset') }
    end

    describe('admits', function()
        it('in a sliding window as the estimate falls', function()
            start({ quota = 10, window = '10s' })
            for _ = 1, 10 do
                assert.equal(200, gw:get('/').status)
            end
            assert.equal(429, gw:get('/').status)
            gw:advance(15) -- half of the window before counts: 5
            assert.same({ 200, 200, 200, 200, 200, 429 }, statuses(6))
        end)

        it('in a fixed window from the clock', function()
            start({ quota = 1, window = '1m', algorithm = 'fixed-window' })
            gw:advance(59)
            assert.same({ 200, 429 }, statuses(2))
            gw:advance(1)
            assert.same({ 200, 429 }, statuses(2))
        end)

        it('in a fixed window from the first request, at the very millisecond', function()
            start({ quota = 1, window = '10s', algorithm = 'fixed-window', align = 'first' })
            gw:advance(7)
            assert.same({ 200, 429 }, statuses(2))
            gw:advance(9.999)
            assert.same({ 429 }, statuses(1))
            gw:advance(0.001)
            assert.same({ 200, 429 }, statuses(2))
        end)

        it('the burst of a token bucket, then as it fills', function()
            start({ quota = 60, window = '1m', algorithm = 'token-bucket', burst = 3 })
            assert.same({ 200, 200, 200, 429 }, statuses(4))
            gw:advance(2)
            assert.same({ 200, 200, 429 }, statuses(3))
        end)

        it('the whole quota at once where a token bucket has no burst of its own', function()
            start({ quota = 4, window = '1m', algorithm = 'token-bucket' })
            assert.same({ 200, 200, 200, 200, 429 }, statuses(5))
        end)

        it('evenly spaced by gcra', function()
            start({ quota = 60, window = '1m', algorithm = 'gcra' })
            assert.same({ 200, 429 }, statuses(2))
            gw:advance(0.999)
            assert.same({ 429 }, statuses(1))
            gw:advance(0.001)
            assert.same({ 200, 429 }, statuses(2))
        end)
    end)

    describe('concurrency', function()
        it('denies while as many are in flight, and gives slots back at the end', function()
            start({ quota = 2, algorithm = 'concurrency' })
            local first, second = hold(), hold()
            local res = gw:get('/')
            assert.response(res).has.status(429)
            assert.same({ '2', '0', '1' }, triple(res, 'X-RateLimit-'))
            assert.response(finish(first)).has.status(200)
            assert.response(gw:get('/')).has.status(200)
            local third = hold()
            assert.response(gw:get('/')).has.status(429)
            assert.response(finish(second)).has.status(200)
            assert.response(finish(third)).has.status(200)
        end)

        it('gives a slot back when the client goes away', function()
            start({ quota = 1, algorithm = 'concurrency' })
            local call = hold()
            assert.response(gw:get('/')).has.status(429)
            call:abort()
            gw:settle()
            assert.response(gw:get('/')).has.status(200)
        end)

        it('gives a slot back when another limit or plugin ends the request', function()
            gw = gateway.start(config_of({ quota = 1, algorithm = 'concurrency' },
                { name = 'request-termination', config = { status_code = 418 } }))
            assert.same({ 418, 418, 418 }, statuses(3))
        end)
    end)

    describe('several limits', function()
        local BOTH = {
            { name = 'minute', quota = 5, window = '1m', algorithm = 'fixed-window' },
            { name = 'second', quota = 1, window = '1s', algorithm = 'fixed-window' },
        }

        it('charge all or none', function()
            start({ limits = BOTH })
            assert.same({ 200, 429, 429, 429, 429, 429, 429 }, statuses(7))
            for _ = 1, 4 do
                gw:advance(1)
                assert.same({ 200 }, statuses(1))
            end
            gw:advance(1)
            assert.same({ 429 }, statuses(1))
        end)

        it('show the one that is nearest to its end', function()
            start({ limits = BOTH })
            local res = gw:get('/')
            assert.same({ '1', '0', '1' }, triple(res, 'X-RateLimit-'))
            gw:advance(1)
            assert.same({ '1', '0', '1' }, triple(gw:get('/'), 'X-RateLimit-'))
        end)

        it('show and name those that deny, waiting for the longest', function()
            start({ limits = {
                { name = 'a', quota = 1, window = '1h', algorithm = 'fixed-window' },
                { name = 'b', quota = 9, window = '1m', algorithm = 'fixed-window' },
                { name = 'c', quota = 1, window = '1m', algorithm = 'fixed-window' },
            }, retry_after_jitter = { percent = 0 } })
            gw:get('/')
            local res = gw:get('/')
            assert.same({ 'a', 'c' }, res.json()['violated-policies'])
            assert.same({ '1', '0', '3600' }, triple(res, 'X-RateLimit-'))
            assert.equal('3600', header(res, 'Retry-After'))
            assert.equal(3600, res.json().retry_after)
        end)

        it('show concurrency only where there is nothing else', function()
            start({ limits = {
                { name = 'flight', quota = 1, algorithm = 'concurrency' },
                { name = 'minute', quota = 100, window = '1m' },
            } })
            assert.equal('100', header(gw:get('/'), 'X-RateLimit-Limit'))
            gw:reload(config_of({ quota = 3, algorithm = 'concurrency' }))
            assert.same({ '3', '2', '1' }, triple(gw:get('/'), 'X-RateLimit-'))
        end)

        it('get two fields each where asked', function()
            start({ limits = BOTH, headers = { 'x-ratelimit-each' } })
            local res = gw:get('/')
            assert.equal('5', header(res, 'X-RateLimit-Limit-Minute'))
            assert.equal('4', header(res, 'X-RateLimit-Remaining-Minute'))
            assert.equal('1', header(res, 'X-RateLimit-Limit-Second'))
            assert.equal('0', header(res, 'X-RateLimit-Remaining-Second'))
            assert.response(res).has.no.header('X-RateLimit-Limit')
            res = gw:get('/')
            assert.equal('4', header(res, 'X-RateLimit-Remaining-Minute'))
            assert.equal('0', header(res, 'X-RateLimit-Remaining-Second'))
        end)
    end)

    describe('the answer to a denial', function()
        local LIMIT = { quota = 1, window = '10s', algorithm = 'fixed-window', align = 'first' }

        local function denied(more, o)
            local config = {}
            for _, source in ipairs({ LIMIT, more or {} }) do
                for key, value in pairs(source) do
                    config[key] = value
                end
            end
            start(config)
            gw:get('/')
            return gw:request(o or { path = '/' })
        end

        it('is 429 with a problem, and the request ends as limited', function()
            local res = denied()
            assert.response(res).has.status(429)
            assert.equal('limited', res.outcome)
            assert.equal('rate-limit', res.ended_by)
            assert.equal('application/problem+json', header(res, 'Content-Type'))
            assert.equal('no-store', header(res, 'Cache-Control'))
            assert.equal(1, #gw.upstream.requests)
            local wait = tonumber(header(res, 'Retry-After'))
            assert.same({
                type = 'https://iana.org/assignments/http-problem-types#quota-exceeded',
                title = 'Request cannot be satisfied as assigned quota has been exceeded',
                status = 429, ['violated-policies'] = { 'default' }, retry_after = wait,
                request_id = res.request_id,
            }, res.json())
            assert.is_nil(res.body:find('\\/', 1, true))
        end)

        it('has the same head and no body for HEAD', function()
            local res = denied(nil, { method = 'HEAD', path = '/' })
            assert.response(res).has.status(429)
            assert.equal('', res.body)
            assert.is_true(tonumber(header(res, 'Content-Length')) > 100)
            assert.equal('0', header(res, 'X-RateLimit-Remaining'))
        end)

        it('has the status, body and type of the configuration', function()
            local res = denied({ status = 420, body = 'Calm down.' })
            assert.response(res).has.status(420)
            assert.equal('Calm down.', res.body)
            assert.equal('text/plain; charset=utf-8', header(res, 'Content-Type'))
            gw:stop()
            res = denied({ body = { message = 'slow', code = 7 }, content_type = 'text/json' })
            assert.same({ message = 'slow', code = 7 }, res.json())
            assert.equal('text/json', header(res, 'Content-Type'))
            gw:stop()
            res = denied({ status = 400 })
            assert.equal(400, res.json().status)
        end)

        it('spreads Retry-After by up to a tenth, never below the reset', function()
            start({ quota = 1, window = '30s', algorithm = 'fixed-window', align = 'first' })
            gw:get('/')
            local seen, count = {}, 0
            for _ = 1, 200 do
                local res = gw:get('/')
                local wait = tonumber(header(res, 'Retry-After'))
                assert.equal('30', header(res, 'X-RateLimit-Reset'))
                assert.is_true(wait >= 30 and wait <= 33)
                if not seen[wait] then
                    seen[wait], count = true, count + 1
                end
            end
            assert.is_true(count >= 3)
        end)

        it('adds no more than the cap', function()
            start({ quota = 1, window = '1d', algorithm = 'fixed-window', align = 'first',
                retry_after_jitter = { percent = 100, max = '1s' } })
            gw:get('/')
            for _ = 1, 50 do
                local wait = tonumber(header(gw:get('/'), 'Retry-After'))
                assert.is_true(wait >= 86400 and wait <= 86401)
            end
        end)

        it('rounds seconds up, to 1 at least', function()
            local res = denied({ window = '200ms', retry_after_jitter = { percent = 0 } })
            assert.same({ '1', '0', '1' }, triple(res, 'X-RateLimit-'))
            assert.equal('1', header(res, 'Retry-After'))
        end)
    end)

    describe('header fields', function()
        it('are chosen by sets', function()
            start({ quota = 3, window = '1m', algorithm = 'fixed-window', headers = { 'legacy' } })
            local res = gw:get('/')
            assert.same({ '3', '2', '60' }, triple(res, 'RateLimit-'))
            assert.response(res).has.no.header('X-RateLimit-Limit')
            gw:reload(config_of({ quota = 3, window = '1m', algorithm = 'fixed-window',
                headers = { 'legacy', 'x-ratelimit' } }))
            res = gw:get('/')
            assert.same({ '3', '1', '60' }, triple(res, 'RateLimit-'))
            assert.same({ '3', '1', '60' }, triple(res, 'X-RateLimit-'))
        end)

        it('can be none, but Retry-After', function()
            start({ quota = 1, window = '1m', headers = { 'none' } })
            for _ = 1, 2 do
                for name in pairs(gw:get('/').headers) do
                    assert.is_nil(name:lower():find('ratelimit', 1, true))
                end
            end
            header(gw:get('/'), 'Retry-After')
        end)

        it('are on answers of other plugins and of the gateway', function()
            gw = gateway.start(config_of({ quota = 5, window = '1m' },
                { name = 'request-termination', config = { status_code = 418 } }))
            assert.equal('4', header(gw:get('/'), 'X-RateLimit-Remaining'))
        end)

        local function upstream_says(remaining)
            local theirs = { ['X-RateLimit-Limit'] = '7', ['X-RateLimit-Remaining'] = remaining }
            start({ quota = 5, window = '1m', algorithm = 'fixed-window' },
                { upstream = { headers = theirs } })
            return gw:get('/')
        end

        it('of the upstream stay where less remains there', function()
            local res = upstream_says('3')
            assert.equal('7', header(res, 'X-RateLimit-Limit'))
            assert.equal('3', header(res, 'X-RateLimit-Remaining'))
            assert.response(res).has.no.header('X-RateLimit-Reset')
        end)

        it('of the upstream go where as much or more remains, or no number stands', function()
            for _, remaining in ipairs({ '4', '6', '3.5', '-1', 'none', '' }) do
                local res = upstream_says(remaining)
                assert.same({ '5', '4', '60' }, triple(res, 'X-RateLimit-'))
                gw:stop()
            end
        end)
    end)

    describe('shadow', function()
        it('lets everything pass and shows nothing', function()
            start({ quota = 1, window = '1m', mode = 'shadow' }, { upstream = {
                headers = { ['X-RateLimit-Remaining'] = '9' } } })
            assert.same({ 200, 200, 200 }, statuses(3))
            local res = gw:get('/')
            assert.equal('9', header(res, 'X-RateLimit-Remaining'))
            assert.response(res).has.no.header('X-RateLimit-Limit')
            assert.response(res).has.no.header('Retry-After')
        end)

        it('stands beside an enforced limit and does not disturb it', function()
            start({ limits = {
                { name = 'real', quota = 3, window = '1m', algorithm = 'fixed-window' },
                { name = 'trial', quota = 1, window = '1m', mode = 'shadow' },
            }, headers = { 'x-ratelimit', 'x-ratelimit-each' } })
            local res = gw:get('/')
            assert.same({ '3', '2', '60' }, triple(res, 'X-RateLimit-'))
            assert.response(res).has.no.header('X-RateLimit-Limit-Trial')
            assert.same({ 200, 200, 429 }, statuses(3))
            assert.same({ 'real' }, gw:get('/').json()['violated-policies'])
        end)

        it('starts anew when it is enforced', function()
            start({ quota = 1, window = '1m', mode = 'shadow' })
            statuses(3)
            gw:reload(config_of({ quota = 1, window = '1m' }))
            assert.same({ 200, 429 }, statuses(2))
        end)
    end)

    describe('the access log', function()
        local path

        before_each(function()
            path = os.tmpname()
        end)

        after_each(function()
            os.remove(path)
        end)

        -- What the log says of the limit, for each request: files are written in real time.
        local function notes(config, count)
            gw = gateway.start(config_of(config, { name = 'access-log', config = {
                fields = { 'limit' }, sinks = { { type = 'file', path = path } } } }))
            statuses(count)
            local list = {}
            for _ = 1, 2000 do
                gw:progress()
                list = {}
                for line in io.lines(path) do
                    list[#list + 1] = cjson.decode(line).limit
                end
                if #list == count then
                    break
                end
                gw.native:wait(5)
            end
            return list
        end

        it('tells of each decision, without the key itself', function()
            local list = notes({ quota = 1, window = '1m' }, 2)
            assert.truthy(list[1].key_hash:match('^%x+$'))
            assert.equal(list[1].key_hash, list[2].key_hash)
            for i, decision in ipairs({ 'allowed', 'denied' }) do
                list[i].key_hash = nil
                assert.same({ name = 'default', decision = decision, quota = 1, remaining = 0,
                    cost = 1, store = 'local' }, list[i])
            end
        end)

        it('names shadow limits that would have denied', function()
            local list = notes({ limits = {
                { name = 'real', quota = 9, window = '1m' },
                { name = 'trial', quota = 1, window = '1m', mode = 'shadow' },
            } }, 2)
            assert.equal('real', list[1].name)
            assert.is_nil(list[1].shadow)
            assert.equal('allowed', list[2].decision)
            assert.same({ 'trial' }, list[2].shadow)
        end)

        it('says what an entry that only watches would have done', function()
            local list = notes({ quota = 1, window = '1m', mode = 'shadow' }, 2)
            assert.equal('allowed', list[1].decision)
            assert.equal('shadow_denied', list[2].decision)
        end)
    end)

    describe('a reload', function()
        it('keeps counts, and compares them with a new quota', function()
            start({ quota = 5, window = '1m', algorithm = 'fixed-window' })
            assert.same({ 200, 200, 200 }, statuses(3))
            gw:reload(config_of({ quota = 5, window = '1m', algorithm = 'fixed-window' }))
            assert.equal('1', header(gw:get('/'), 'X-RateLimit-Remaining'))
            gw:reload(config_of({ quota = 2, window = '1m', algorithm = 'fixed-window' }))
            assert.same({ 429 }, statuses(1))
            gw:reload(config_of({ quota = 6, window = '1m', algorithm = 'fixed-window' }))
            assert.same({ 200, 200, 429 }, statuses(3))
        end)

        it('does not free a slot that a request of the old generation holds', function()
            start({ quota = 1, algorithm = 'concurrency' })
            local call = hold()
            gw:reload(config_of({ quota = 1, algorithm = 'concurrency', status = 420 }))
            assert.response(gw:get('/')).has.status(420)
            assert.response(finish(call)).has.status(200)
            assert.response(gw:get('/')).has.status(200)
        end)
    end)
end)
