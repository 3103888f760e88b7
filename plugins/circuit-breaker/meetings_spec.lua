-- SPDX-License-Identifier: Apache-2.0
-- circuit-breaker: whose breaker a request meets, and entries that meet in one.
local gateway = require 'moongate.test'

describe('circuit-breaker:', function()
    local gw

    local function entry(config)
        return { name = 'circuit-breaker', config = config }
    end

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    -- The statuses that the upstream answers with, the last one for ever.
    local function upstream(...)
        local list, at = { ... }, 0
        gw.upstream:reply(function()
            at = math.min(at + 1, #list)
            return { status = list[at] }
        end)
    end

    local function get(count, status, outcome, path)
        local res
        for _ = 1, count do
            res = gw:get(path)
            assert.response(res).has.status(status)
            assert.equal(outcome, res.outcome)
        end
        return res
    end

    local function refused(path)
        return get(1, 503, 'breaker_open', path)
    end

    -- Two services that go to one upstream, each with a route; the plugins as given.
    local function shared_config(o)
        local services = {}
        for i, name in ipairs({ 'a', 'b' }) do
            services[i] = {
                name = name, host = 'pool', plugins = { o[name] },
                routes = {
                    { name = name, paths = { '/' .. name }, plugins = { o['route_' .. name] } } },
            }
        end
        return {
            _format_version = '3.0', services = services, plugins = { o.global },
            upstreams = { { name = 'pool', targets = { { target = '127.0.0.1:9101' } } } },
            consumers = { { username = 'ann', plugins = { o.consumer } } },
        }
    end

    describe('scope', function()
        local function scoped(scope)
            gw = gateway.start(shared_config({
                global = entry({ scope = scope, consecutive_failures = 1 }) }))
            upstream(500, 200)
            get(1, 500, 'ok', '/a')
        end

        it('upstream is shared by all its services', function()
            scoped('upstream')
            assert.equal('upstream:pool', refused('/b').json().breaker)
        end)

        it('service and route have breakers of their own', function()
            for _, scope in ipairs({ 'service', 'route' }) do
                scoped(scope)
                assert.equal(scope .. ':a', refused('/a').json().breaker)
                get(1, 200, 'ok', '/b')
                gw:stop()
            end
        end)

        it('does nothing on a route without a service, or without a route', function()
            local config = shared_config({ global = entry({ consecutive_failures = 1 }) })
            config.routes = { { name = 'none', paths = { '/none' } } }
            gw = gateway.start(config)
            get(3, 503, 'no_service', '/none')
            get(3, 404, 'no_route', '/nowhere')
        end)
    end)

    describe('entries that meet in one breaker', function()
        local one, other = entry({ consecutive_failures = 1 }), entry({ consecutive_failures = 2 })

        local function refusal(o)
            local ok, err = pcall(gateway.start, shared_config(o))
            assert.is_false(ok)
            return tostring(err)
        end

        it('must agree, and are both named', function()
            local text = refusal({ a = one, b = other })
            assert.truthy(text:find('this entry and the one of service a', 1, true), text)
            assert.truthy(text:find('meet in the breaker upstream:pool, but differ in '
                .. "'consecutive_failures'", 1, true), text)
            assert.truthy(text:find('services[1].plugins[0].config', 1, true), text)
            text = refusal({ global = one, route_b = other })
            assert.truthy(text:find('the one for all requests', 1, true), text)
            text = refusal({ global = one, consumer = other })
            assert.truthy(text:find('meet in the breaker upstream:pool', 1, true), text)
            local deep = entry({ consecutive_failures = 1, half_open = { required = 1 } })
            assert.truthy(refusal({ a = one, b = deep }):find("'half_open'", 1, true))
        end)

        it('may differ in their fallback', function()
            local text = entry({ consecutive_failures = 1,
                fallback = { kind = 'response', status = 200, body = 'hello' } })
            gw = gateway.start(shared_config({ a = one, b = text }))
            upstream(500)
            get(1, 500, 'ok', '/a')
            refused('/a')
            assert.equal('hello', get(1, 200, 'breaker_open', '/b').body)
        end)

        it('may differ where they do not meet', function()
            local of_route = entry({ scope = 'route', consecutive_failures = 2 })
            gw = gateway.start(shared_config({ a = one, b = of_route }))
            gw:stop()
            local off = entry({ consecutive_failures = 2 })
            off.enabled = false
            gw = gateway.start(shared_config({ a = one, b = off }))
            gw:stop()
            local grpc = entry({ consecutive_failures = 2 })
            grpc.protocols = { 'grpc' }
            gw = gateway.start(shared_config({ a = one, b = grpc }))
            gw:stop()
            gw = gateway.start(shared_config({ global = other, a = one, b = one })) -- hidden
        end)
    end)
end)
