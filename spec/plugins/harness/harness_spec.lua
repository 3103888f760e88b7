-- SPDX-License-Identifier: Apache-2.0
-- The gateway under test as specs of plugins see it.
local gateway = require 'moongate.test'

local FOLDER = 'spec/plugins/harness/plugins'

describe('a gateway under test', function()
    local gw

    local function act(name, o)
        o = o or {}
        o.headers = o.headers or {}
        o.headers['X-Act'] = name
        return gw:get('/', o)
    end

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    describe('with a file', function()
        it('finds it beside the spec, and its plugins folder beside it', function()
            gw = gateway.start('moongate.yml')
            local res = gw:get('/x')
            assert.response(res).has.status(200)
            assert.equal('unset', assert.request(res).has.header('x-word'))
            assert.equal('/base/x', res.upstream.path)
            assert.equal('all', res.route)
            assert.equal('ok', res.outcome)
            assert.same({ 'probe' }, res.plugins)
        end)

        it('takes environment variables for its own start only', function()
            gw = gateway.start('moongate.yml', { env = { PROBE_WORD = 'given' } })
            assert.equal('given', gw:get('/').upstream.headers['X-Word'])
            assert.is_nil(os.getenv('PROBE_WORD'))
        end)

        it('names the places of a file that is not there', function()
            local ok, err = pcall(gateway.start, 'none.yml')
            assert.is_false(ok)
            assert.truthy(err:find('spec/plugins/harness/none.yml', 1, true), err)
        end)

        it('tells why a configuration is refused', function()
            local ok, err = pcall(gateway.start, '_format_version: "3.0"\nroots: []\n')
            assert.is_false(ok)
            assert.truthy(err:find('roots', 1, true), err)
        end)
    end)

    local YAML = [[
_format_version: "3.0"
services:
- name: up
  url: http://127.0.0.1:9101
  routes: [{ name: all, paths: [/] }]
plugins: [{ name: probe }]
]]

    local function start(opts)
        opts = opts or {}
        opts.plugins_path = FOLDER
        gw = gateway.start(YAML, opts)
    end

    describe('talks as a client', function()
        it('sends queries, forms, JSON and plain bodies', function()
            start()
            local res = gw:post('/a', { query = { b = '1 2', a = 'x' }, form = { q = 'ä&' } })
            assert.equal('/a?a=x&b=1%202', res.upstream.target)
            assert.equal('1 2', assert.request(res).has.queryparam('b'))
            assert.equal('ä&', assert.request(res).has.formparam('q'))
            res = gw:put('/a', { json = { deep = { 1, 2 } } })
            assert.same({ deep = { 1, 2 } }, assert.request(res).has.jsonbody())
            assert.same({ deep = { 1, 2 } }, res:json().post_data.params)
            res = gw:request({ method = 'patch', path = '/a', body = 'text', host = 'shop.test' })
            assert.equal('text', res.upstream.body)
            assert.equal('PATCH', res.upstream.method)
        end)

        it('comes from the address it is told', function()
            start()
            assert.equal('127.0.0.1', act('ip'):json().ip)
            assert.equal('203.0.113.9', act('ip', { client_ip = '203.0.113.9' }):json().ip)
        end)

        it('reads answers without a body and with chunks', function()
            start({ upstream = { status = 200, body = '5\r\nhello\r\n0\r\n\r\n' } })
            gw.upstream:reply({ headers = { ['Transfer-Encoding'] = 'chunked' },
                body = '5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n' })
            assert.equal('hello!', gw:get('/').body)
            gw.upstream:reply({ status = 204 })
            local res = gw:get('/')
            assert.response(res).has.status(204)
            assert.equal('', res.body)
            gw.upstream:reply({ body = 'unseen' })
            res = gw:head('/')
            assert.equal('6', assert.response(res).has.header('Content-Length'))
            assert.equal('', res.body)
        end)

        it('has several requests under way at a time', function()
            start()
            local first = gw:send({ path = '/1', headers = { ['X-Act'] = 'sleep' } })
            local second = gw:send({ path = '/2' })
            assert.equal('/2', second:wait().upstream.path)
            assert.is_false(first:look())
            local json = first:wait():json()
            assert.near(30, json.after - json.before, 0.01)
        end)

        it('refuses what it does not know', function()
            start()
            assert.has_error(function() gw:get('/', { cookies = {} }) end,
                "a request has no option 'cookies'")
            assert.has_error(function() gateway.start(YAML, { port = 1 }) end,
                "gateway.start has no option 'port'")
        end)
    end)

    describe('asks the upstream of the test', function()
        it('by a function, whose requests are kept', function()
            start({ upstream = function(request)
                return { status = 201, headers = { ['X-Path'] = request.path },
                    body = { seen = request.query } }
            end })
            local res = gw:get('/a?b=c')
            assert.equal('{"seen":"b=c"}', assert.res_status(201, res))
            assert.equal('/a', assert.response(res).has.header('x-path'))
            assert.equal(1, #gw.upstream.requests)
            assert.equal('127.0.0.1:9101', gw.upstream.requests[1].host)
        end)

        it('for the calls of plugins too', function()
            start({ upstream = { status = 202 } })
            local res = act('call')
            assert.equal(202, res:json().status, res.body)
            assert.equal('audit.test', gw.upstream.requests[1].host)
            assert.is_nil(res.upstream)
        end)

        it('and tells when its function fails', function()
            start({ upstream = function() error('oops') end })
            assert.response(gw:get('/')).has.status(500)
            local ok, err = pcall(gw.stop, gw)
            gw = nil
            assert.is_false(ok)
            assert.truthy(err:find('oops', 1, true), err)
        end)

        it('and waits for one that never answers as long as the timeouts say', function()
            start({ upstream = function() return nil end })
            local before = os.time()
            local res = gw:get('/')
            assert.response(res).has.status(504)
            assert.equal('upstream_timeout', res.outcome)
            assert.is_true(os.time() - before < 30)
        end)
    end)

    describe('has a clock', function()
        it('that stands still but for what waits', function()
            start()
            local now = act('ticks'):json().now
            assert.equal(now, act('ticks'):json().now)
            assert.equal(1767225600, math.floor(now))
        end)

        it('that the test moves, running what is due in order', function()
            start()
            local before = act('ticks'):json()
            gw:advance(35)
            local after = act('ticks'):json()
            assert.equal(before.ticks + 3, after.ticks)
            assert.near(before.now + 35, after.now, 0.01)
        end)

        it('that may be the real one', function()
            start({ clock = 'real' })
            local now = act('ticks'):json().now
            assert.near(os.time(), now, 60)
            gw:advance(0.02)
            assert.is_true(act('ticks'):json().now >= now + 0.02)
        end)
    end)

    describe('is reloaded', function()
        it('with a new configuration', function()
            start()
            assert.equal('none', gw:get('/').upstream.headers['X-Word'])
            local changed = YAML:gsub('name: probe', 'name: probe, config: {word: new}')
            assert.is_true(gw:reload(changed))
            local res = gw:get('/')
            assert.equal('new', res.upstream.headers['X-Word'])
            assert.same({ 'probe' }, res.plugins)
        end)

        it('and keeps the old one when the new one is wrong', function()
            start()
            local ok, report = gw:reload(YAML .. 'roots: []\n')
            assert.is_nil(ok)
            assert.truthy(report:find('roots', 1, true), report)
            assert.response(gw:get('/')).has.status(200)
        end)
    end)

    describe('keeps', function()
        it('the lines that plugins log', function()
            start()
            act('log')
            local found
            for _, line in ipairs(gw.logs) do
                if line.plugin == 'probe' and line.level == 'warn' then
                    found = line
                end
            end
            assert.truthy(found)
            assert.equal('said something', found.message)
            assert.truthy(found.place:find('probe.lua:', 1, true))
        end)

        it('why a request ended, log phase included', function()
            start()
            local res = act('fail')
            assert.response(res).has.status(500)
            assert.equal('plugin_error', res.outcome)
            assert.equal('probe', res.ended_by)
            local last = gw.logs[#gw.logs]
            assert.equal('status 500', last.message)
        end)
    end)

    it('can stand beside another one', function()
        start()
        local other = gateway.start(YAML, { plugins_path = FOLDER, upstream = { status = 418 } })
        assert.response(other:get('/')).has.status(418)
        assert.response(gw:get('/')).has.status(200)
        other:stop()
        assert.response(gw:get('/')).has.status(200)
    end)

    it('gives the handler and the checked config of a plugin', function()
        assert.is_function(gateway.load('probe').access)
        assert.same({ word = 'none' }, gateway.validate('probe', {}))
        local ok, err = gateway.validate('probe', { word = 1 })
        assert.is_nil(ok)
        assert.same({ config = { word = 'expected a string' } }, err)
    end)

    it('makes assertions that fail', function()
        start()
        local res = gw:get('/')
        for _, wrong in ipairs({
            function() assert.response(res).has.status(404) end,
            function() assert.response(res).has.header('X-None') end,
            function() assert.response(res).has.no.header('Content-Type') end,
            function() assert.request(res).has.queryparam('q') end,
            function() assert.request(res).has.jsonbody() end,
            function() assert.res_status(404, res) end,
            function() assert.request(act('ip')).has.header('Host') end,
        }) do
            assert.is_false((pcall(wrong)))
        end
    end)
end)
