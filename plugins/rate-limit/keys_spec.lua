-- SPDX-License-Identifier: Apache-2.0
-- rate-limit: which requests are counted together. Every limit here admits one, so two requests
-- share a key exactly when the second is denied.
local gateway = require 'moongate.test'

-- Says who calls, by two headers.
local WHO = [[
local plugin = { PRIORITY = 1000, VERSION = '0.1.0' }
function plugin:access()
    local user = moongate.request.get_header('X-User')
    local token = moongate.request.get_header('X-Token')
    if user or token then
        local known = user and moongate.client.load_consumer(user, true)
        moongate.client.authenticate(known or user and { id = user, username = user },
            token and { id = token })
    end
end
return plugin
]]

describe('rate-limit', function()
    local gw, folder

    setup(function()
        folder = os.tmpname()
        os.remove(folder)
        assert(os.execute('mkdir ' .. folder) == 0)
        local file = assert(io.open(folder .. '/who.lua', 'w'))
        file:write(WHO)
        file:close()
    end)

    teardown(function()
        os.remove(folder .. '/who.lua')
        os.remove(folder)
    end)

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
    end)

    local function limit(config)
        local result = { quota = 1, window = '1m' }
        for name, value in pairs(config) do
            result[name] = value
        end
        return { name = 'rate-limit', config = result }
    end

    local function load(config)
        gw = gateway.start(config, { plugins_path = { folder } })
    end

    local function start(config, more)
        local plugins = { limit(config), { name = 'who' } }
        load({
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101',
                routes = {
                    { name = 'all', paths = { '/' }, plugins = plugins },
                    { name = 'more', paths = { '/more' }, plugins = more },
                },
            } },
        })
    end

    local function ask(o)
        o = type(o) == 'string' and { path = o } or o or {}
        return gw:request({ method = o.method, path = o.path or '/', headers = o.headers,
            host = o.host, client_ip = o.client_ip }).status
    end

    -- Each of the requests is the first of its key.
    local function all_differ(list)
        for i, o in ipairs(list) do
            assert.equal(200, ask(o), 'request ' .. i)
        end
    end

    -- The requests have one key.
    local function all_equal(list)
        assert.equal(200, ask(list[1]))
        for i = 2, #list do
            assert.equal(429, ask(list[i]), 'request ' .. i)
        end
    end

    local function from(ip)
        return { client_ip = ip }
    end

    local function with(name, value, client)
        return { path = '/a', headers = { [name] = value }, client_ip = client }
    end

    describe('by address', function()
        it('AUT-06, R16 counts each IPv4 address and each IPv6 /64', function()
            start({})
            all_differ({ from('192.0.2.1'), from('192.0.2.2'), from('2001:db8::1'),
                from('2001:db8:0:1::1') })
            for _, ip in ipairs({ '192.0.2.1', '::ffff:192.0.2.1', '2001:db8::2:3' }) do
                assert.equal(429, ask(from(ip)), ip)
            end
        end)

        it('counts networks of other sizes', function()
            start({ ipv4_prefix = 24, ipv6_prefix = 48 })
            all_equal({ from('192.0.2.1'), from('192.0.2.254') })
            all_equal({ from('192.0.3.1'), from('192.0.3.2') })
            all_equal({ from('2001:db8::1'), from('2001:db8:0:ffff::1') })
            assert.equal(200, ask(from('2001:db8:1::1')))
        end)

        it('AUT-06, R16 cannot be led astray by forwarding fields of an untrusted peer', function()
            start({})
            all_equal({ from('192.0.2.1'), { client_ip = '192.0.2.1',
                headers = { ['X-Forwarded-For'] = '198.51.100.7' } } })
        end)
    end)

    describe('by a header', function()
        it('counts each value, blind to the case of the name', function()
            start({ key = { 'header:X-Key' } })
            all_differ({ with('X-Key', 'a'), with('X-Key', 'A'), with('X-Key', 'b') })
            assert.equal(429, ask(with('x-key', 'a')))
        end)

        it('counts all values of a field that comes several times', function()
            start({ key = { 'header:x-key' } })
            all_differ({ with('X-Key', 'a'), with('X-Key', { 'a', 'b' }),
                with('X-Key', { 'b', 'a' }) })
            assert.equal(429, ask(with('X-Key', { 'a', 'b' })))
        end)

        it('tells long values apart', function()
            start({ key = { 'header:x-key' } })
            local long = ('k'):rep(500)
            all_differ({ with('X-Key', long .. '1'), with('X-Key', long .. '2') })
            assert.equal(429, ask(with('X-Key', long .. '1')))
        end)
    end)

    it('counts each value of a cookie', function()
        start({ key = { 'cookie:sid' } })
        all_differ({ with('Cookie', 'sid=a'), with('Cookie', 'x=1; sid=b; y=2') })
        for _, line in ipairs({ 'y=2; sid=a', 'sid=a;x=1', 'xsid=c; sid=b', 'sid=a; sid=c' }) do
            assert.equal(429, ask(with('Cookie', line)), line)
        end
    end)

    it('counts each value of an argument, decoded', function()
        start({ key = { 'query:k' } })
        all_differ({ '/?k=a', '/?k=b&k=a', '/?k=a%20b' })
        for _, path in ipairs({ '/?x=1&k=a', '/?%6B=%61', '/?k=a+b' }) do
            assert.equal(429, ask(path), path)
        end
    end)

    it('counts paths as the router sees them', function()
        start({ key = { 'path' } })
        all_differ({ '/a', '/b', '/A' })
        for _, path in ipairs({ '/%61', '/x/../a', '/a?x=1' }) do
            assert.equal(429, ask(path), path)
        end
    end)

    it('counts methods and hosts', function()
        start({ key = { 'method', 'host' } })
        all_differ({ { method = 'GET', host = 'a.test' }, { method = 'PUT', host = 'a.test' },
            { method = 'GET', host = 'b.test' } })
        assert.equal(429, ask({ method = 'GET', host = 'A.test:80' }))
    end)

    it('counts who calls', function()
        start({ key = { 'consumer' } })
        all_differ({ with('X-User', 'ada'), with('X-User', 'bob') })
        all_equal({ with('X-Token', 't'), with('X-Token', 'u') }) -- nobody: by address
        assert.equal(429, ask(with('X-User', 'ada')))
        gw:stop()
        start({ key = { 'credential' } })
        all_differ({ with('X-Token', 't'), with('X-Token', 'u') })
        assert.equal(429, ask({ headers = { ['X-Token'] = 't', ['X-User'] = 'ada' } }))
    end)

    it('counts all together by a constant', function()
        start({ key = { 'const:all' } })
        all_equal({ from('192.0.2.1'), from('192.0.2.2') })
    end)

    it('AUT-06, R16 never lets parts run together', function()
        start({ key = { 'header:a', 'header:b' } })
        all_differ({ { headers = { A = 'a', B = 'bc' } }, { headers = { A = 'ab', B = 'c' } } })
        assert.equal(429, ask({ headers = { A = 'a', B = 'bc' } }))
    end)

    describe('R16 without a part', function()
        it('takes the address in its place, which equals no value', function()
            start({ key = { 'header:x-key' } })
            all_differ({ from('192.0.2.1'), from('192.0.2.2'), { client_ip = '192.0.2.1',
                headers = { ['X-Key'] = '192.0.2.1' } } })
            assert.equal(429, ask(from('192.0.2.1')))
            assert.equal(429, ask({ client_ip = '192.0.2.1', headers = { ['X-Key'] = '' } }))
        end)

        it('skips the limit and shows nothing', function()
            start({ key_missing = 'skip', key = { 'header:x-key' } })
            for _ = 1, 3 do
                local res = gw:get('/')
                assert.response(res).has.status(200)
                assert.response(res).has.no.header('X-RateLimit-Limit')
            end
        end)

        it('skips only the limits that want it', function()
            start({}, { { name = 'rate-limit', config = { key_missing = 'skip', limits = {
                { name = 'address', quota = 3, window = '1m' },
                { name = 'key', quota = 1, window = '1m', key = { 'header:x-key' } },
            } } } })
            local res = gw:get('/more')
            assert.equal('3', assert.response(res).has.header('X-RateLimit-Limit'))
            res = gw:get('/more', { headers = { ['X-Key'] = 'a' } })
            assert.equal('1', assert.response(res).has.header('X-RateLimit-Limit'))
            assert.equal(200, ask('/more'))
            assert.equal(429, ask('/more'))
        end)

        it('never denies for a limit that only watches', function()
            start({}, { { name = 'rate-limit', config = { key_missing = 'deny', limits = {
                { name = 'address', quota = 2, window = '1m' },
                { name = 'key', quota = 1, window = '1m', key = { 'header:x-key' },
                    mode = 'shadow' },
            } } } })
            assert.equal(200, ask('/more'))
            assert.equal(200, ask('/more'))
            assert.equal(429, ask('/more'))
        end)

        it('makes all such requests one key', function()
            start({ key_missing = 'shared', key = { 'header:x-key' } })
            all_equal({ from('192.0.2.1'), from('192.0.2.2') })
            assert.equal(200, ask(with('X-Key', 'a')))
        end)

        it('denies with 403, and charges nothing', function()
            start({ key_missing = 'deny', key = { 'header:x-key', 'ip' } })
            local res = gw:get('/')
            assert.response(res).has.status(403)
            assert.equal('access_denied', res.outcome)
            assert.equal('application/problem+json',
                assert.response(res).has.header('Content-Type'))
            assert.same({ type = 'about:blank', title = 'Forbidden', status = 403,
                request_id = res.request_id }, res.json())
            assert.response(res).has.no.header('Retry-After')
            all_equal({ with('X-Key', 'a'), with('X-Key', 'a') })
        end)
    end)

    describe('scope', function()
        local function statuses_of(paths)
            local list = {}
            for i, path in ipairs(paths) do
                list[i] = ask(path)
            end
            return list
        end

        -- Two services, the first with two routes.
        local function two_services(entries)
            local function route(name)
                return { name = name, paths = { '/' .. name } }
            end
            load({
                _format_version = '3.0',
                services = {
                    { name = 'one', url = 'http://127.0.0.1:9101',
                        routes = { route('a'), route('b') }, plugins = entries.service },
                    { name = 'two', url = 'http://127.0.0.1:9101', routes = { route('c') } },
                },
                routes = { { name = 'd', paths = { '/d' }, plugins = {
                    { name = 'request-termination', config = { status_code = 200 } } } } },
                plugins = entries.global, consumers = entries.consumers,
            })
        end

        it('attached: an entry on a service counts its routes together', function()
            two_services({ service = { limit({}) } })
            assert.same({ 200, 429, 200, 200 }, statuses_of({ '/a', '/b', '/c', '/c' }))
        end)

        it('attached: a global entry counts everything together', function()
            two_services({ global = { limit({}) } })
            assert.same({ 200, 429, 429, 429 }, statuses_of({ '/a', '/b', '/c', '/d' }))
        end)

        it('attached: entries on consumers count each of them apart', function()
            local function entry(consumer)
                local plugin = limit({ key = { 'const:all' }, quota = consumer and 2 })
                plugin.consumer = consumer
                return plugin
            end
            two_services({ global = { entry('ada'), entry('bob'), entry(), { name = 'who' } },
                consumers = { { username = 'ada' }, { username = 'bob' } } })
            for _, user in ipairs({ 'ada', 'bob' }) do
                all_differ({ with('X-User', user), with('X-User', user) })
                assert.equal(429, ask(with('X-User', user)))
            end
            assert.same({ 200, 429 }, statuses_of({ '/a', '/c' }))
        end)

        it('route: each route is counted apart', function()
            two_services({ global = { limit({ scope = 'route' }) } })
            assert.same({ 200, 200, 200, 200, 429, 429 },
                statuses_of({ '/a', '/b', '/c', '/d', '/a', '/d' }))
        end)

        it('service: each service is counted apart, and what has none', function()
            two_services({ global = { limit({ scope = 'service', key_missing = 'deny' }) } })
            assert.same({ 200, 429, 200, 200, 429 },
                statuses_of({ '/a', '/b', '/c', '/d', '/d' }))
        end)

        it('global: entries on several routes share one count', function()
            start({ scope = 'global' }, { limit({ scope = 'global' }) })
            assert.same({ 200, 429 }, statuses_of({ '/', '/more' }))
            gw:stop()
            start({}, { limit({}) })
            assert.same({ 200, 200, 429 }, statuses_of({ '/', '/more', '/more' }))
        end)

        it('service on a route: shares the count of its service', function()
            start({ scope = 'service' }, { limit({ scope = 'service', quota = 2 }) })
            assert.same({ 200, 200, 429, 429 }, statuses_of({ '/', '/more', '/more', '/' }))
        end)
    end)

    it('can be other for each limit', function()
        start({}, { { name = 'rate-limit', config = { limits = {
            { name = 'address', quota = 2, window = '1m' },
            { name = 'key', quota = 1, window = '1m', key = { 'header:x-key' } },
        } } } })
        local function more(value, ip)
            return { path = '/more', client_ip = ip, headers = { ['X-Key'] = value } }
        end
        assert.equal(200, ask(more('a', '192.0.2.1')))
        assert.equal(429, ask(more('a', '192.0.2.2')))
        assert.equal(200, ask(more('b', '192.0.2.1')))
        assert.equal(429, ask(more('c', '192.0.2.1')))
    end)

    it('that one network invents share a counter with ten times the quota', function()
        start({ key = { 'header:x-key' }, max_keys = 1024, window = '1h' })
        local admitted = 0
        for i = 1, 200 do -- a sixteenth of max_keys for one network
            local client = ('192.0.2.%d'):format(i)
            admitted = admitted + (ask(with('X-Key', 'k' .. i, client)) == 200 and 1 or 0)
        end
        assert.equal(1024 / 16 + 10, admitted)
        local res = gw:get('/', { headers = { ['X-Key'] = 'another' }, client_ip = '192.0.9.9' })
        assert.response(res).has.status(429)
        assert.equal('1', assert.response(res).has.header('X-RateLimit-Limit'))
        for i = 1, 40 do -- who calls from elsewhere has counters of his own
            assert.equal(200, ask(with('X-Key', 'k' .. i + 1000, ('198.51.%d.1'):format(i))))
            assert.equal(429, ask(with('X-Key', 'k' .. i + 1000, ('198.51.%d.1'):format(i))))
        end
    end)
end)

describe('the words of a key', function()
    local parts

    setup(function()
        gateway.load('rate-limit') -- its modules are in reach from here on
        parts = require 'moongate.key_parts'
    end)

    it('are taken apart', function()
        assert.same({ kind = 'ip' }, parts.parse('ip'))
        assert.same({ kind = 'header', name = 'x-a' }, parts.parse('header:X-A'))
        assert.same({ kind = 'query', name = 'a:b' }, parts.parse('query:a:b'))
        assert.same({ kind = 'const', name = 'x y' }, parts.parse('const:x y'))
    end)

    it('are refused with the reason', function()
        for word, reason in pairs({
            ['header'] = 'needs a name', ['header:'] = 'cannot be the name of a header',
            ['header:a b'] = 'cannot be the name of a header', ['ip:1'] = 'is no part of a key',
            ['address'] = 'is no part of a key', [''] = 'is no part of a key',
        }) do
            local part, err = parts.parse(word)
            assert.is_nil(part)
            assert.truthy(err:find(reason, 1, true), err)
        end
    end)

    it('give one text for equal lists only', function()
        local function text(...)
            return parts.text(parts.list({ ... }))
        end
        assert.equal(text('header:A', 'ip'), text('header:a', 'ip'))
        assert.not_equal(text('ip', 'header:a'), text('header:a', 'ip'))
        assert.not_equal(text('const:a', 'const:b'), text('const:a 7 const:b'))
    end)
end)
