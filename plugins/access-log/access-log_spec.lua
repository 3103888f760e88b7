-- SPDX-License-Identifier: Apache-2.0
local cjson = require 'cjson'
local gateway = require 'moongate.test'

describe('access-log', function()
    local gw, path

    local function config_of(config, more)
        local plugins = { { name = 'access-log', config = config } }
        plugins[2] = more
        return {
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101',
                routes = { { name = 'all', paths = { '/' }, plugins = plugins } },
            } },
        }
    end

    local function to_file(sink)
        local one = { type = 'file', path = path }
        for key, value in pairs(sink or {}) do
            one[key] = value
        end
        return { one }
    end

    local function start(config, more)
        config.sinks = config.sinks or to_file()
        gw = gateway.start(config_of(config, more))
    end

    local function read()
        local file = io.open(path, 'rb')
        local text = file and file:read('*a') or ''
        if file then
            file:close()
        end
        return text
    end

    -- Waits until the file has so many lines: files are written by another thread, in real time.
    local function lines(count)
        local list
        for _ = 1, 2000 do
            gw:progress()
            list = {}
            for line in read():gmatch('[^\n]*\n') do
                list[#list + 1] = line:sub(1, -2)
            end
            if #list >= count then
                break
            end
            gw.native:wait(5)
        end
        assert.equal(count, #list)
        return list
    end

    local function records(count)
        local list = {}
        for i, line in ipairs(lines(count)) do
            list[i] = cjson.decode(line)
        end
        return list
    end

    local function has_logged(text)
        for _, line in ipairs(gw.logs) do
            if line.message:find(text, 1, true) then
                return true
            end
        end
        return false
    end

    before_each(function()
        path = os.tmpname()
    end)

    after_each(function()
        if gw then
            gw:stop()
            gw = nil
        end
        os.remove(path)
    end)

    it('writes one JSON object for each request', function()
        start({})
        gw:get('/a?b=1', { headers = { ['User-Agent'] = 'spec', Host = 'api.test' } })
        local record = records(1)[1]
        assert.equal('GET', record.method)
        assert.equal('/a', record.path)
        assert.is_nil(record.query)
        assert.equal('api.test', record.host)
        assert.equal('all', record.route)
        assert.equal('up', record.service)
        assert.equal(200, record.status)
        assert.equal('ok', record.outcome)
        assert.equal('spec', record.user_agent)
        assert.equal('127.0.0.1:9101', record.tries[1].target)
        assert.equal(0, record.retries)
        assert.truthy(record.ts:match('^2026%-01%-01T00:00:%d%d%.%d%d%dZ$'))
        assert.is_number(record.t.total)
        assert.is_nil(record.truncated)
    end)

    it('says who ended a request, where and why', function()
        start({}, { name = 'request-termination', config = { status_code = 403 } })
        gw:get('/')
        local record = records(1)[1]
        assert.equal(403, record.status)
        assert.equal('plugin_answer', record.outcome)
        assert.equal('request-termination', record.ended_by)
        assert.equal('access', record.ended_in)
        assert.same({}, record.tries)
    end)

    it('shows the fields asked for, in their order', function()
        start({ fields = { 'status', 'method', 'req.header.x-a', 'resp.header.content-type' } })
        gw:get('/', { headers = { ['X-A'] = '1' } })
        assert.truthy(lines(1)[1]:match('^{"status":200,"method":"GET",'
            .. '"req_headers":{"x%-a":"1"},"resp_headers":{.*}}$'))
    end)

    it('adds constants, nested by dots', function()
        start({ fields = { 'status' }, custom_fields = {
            ['site.zone'] = 'eu', ['site.rack.n'] = 3, prod = true } })
        gw:get('/')
        local record = records(1)[1]
        assert.same({ zone = 'eu', rack = { n = 3 } }, record.site)
        assert.is_true(record.prod)
    end)

    it('writes templates and the combined format', function()
        start({ format = 'custom',
            template = '{method} {path} {status} {consumer:-nobody} <{host}>' })
        gw:get('/x', { headers = { Host = 'h.test' } })
        assert.equal('GET /x 200 nobody <h.test>', lines(1)[1])
        gw:stop()
        os.remove(path)
        start({ format = 'combined' })
        gw:get('/x?y=1', { headers = { ['User-Agent'] = 'spec "quoted"' } })
        assert.truthy(lines(1)[1]:match(
            '^[%x.:]+ %- %- %[01/Jan/2026:00:00:%d%d %+0000%] "GET /x%?y=1 HTTP/1%.1" 200 %S+ "%-" '
            .. '"spec \\x22quoted\\x22"$'))
    end)

    it('serves several sinks, each in its own form', function()
        local other = os.tmpname()
        start({ sinks = {
            { type = 'file', path = path, fields = { 'status' } },
            { type = 'file', path = other, format = 'custom' },
        }, template = '{status}' })
        gw:get('/')
        assert.equal('{"status":200}', lines(1)[1])
        path, other = other, path
        assert.equal('200', lines(1)[1])
        os.remove(other)
    end)

    it('hides secrets wherever they stand', function()
        start({ fields = { 'query', 'referer', 'req.header.authorization', 'req.header.x-mine',
            'resp.header.location' }, redact = { headers = { 'X-Mine' }, names = { 'otp' } } },
            { name = 'request-termination', config = { status_code = 302 } })
        gw:get('/?%54oken=S3CRET&otp=S3CRET&a=1', { headers = {
            Authorization = 'Bearer S3CRET', ['X-Mine'] = 'S3CRET',
            Referer = 'https://u:S3CRET@h/?Password=S3CRET',
        } })
        local line = lines(1)[1]
        assert.is_nil(line:find('S3CRET', 1, true))
        assert.equal('%54oken=***&otp=***&a=1', cjson.decode(line).query)
    end)

    it('replaces the built-in lists only when told to, and warns', function()
        start({ fields = { 'query' }, redact = { names = { 'otp' }, replace = true } })
        gw:get('/?token=seen&otp=S3CRET')
        assert.equal('token=seen&otp=***', records(1)[1].query)
        assert.truthy(has_logged('redact.replace: the built-in lists of secrets are off'))
    end)

    it('removes or hashes secrets when told to, and warns without a key', function()
        local function query_with(redact)
            start({ fields = { 'query' }, redact = redact })
            gw:get('/?a=1&token=s3cret')
            local query = records(1)[1].query
            local warned = has_logged('redact.key is not set')
            gw:stop()
            os.remove(path)
            return query, warned
        end
        assert.same({ 'a=1&', false }, { query_with({ action = 'remove' }) })
        -- printf s3cret | openssl dgst -sha256 -hmac 'a key for tests'
        assert.same({ 'a=1&token=48caae276e1ee5dc', false },
            { query_with({ action = 'hash', key = 'a key for tests' }) })
        local query, warned = query_with({ action = 'hash' })
        assert.truthy(query:match('^a=1&token=%x+$'))
        assert.is_true(warned)
        gw = nil
    end)

    it('shows as much of addresses as configured', function()
        local shown = { full = '203.0.113.77', prefix = '203.0.113.0', none = false }
        for mode, wanted in pairs(shown) do
            start({ fields = { 'client_ip', 'status' }, client_ip = mode })
            gw:get('/', { client_ip = '203.0.113.77' })
            assert.equal(wanted or nil, records(1)[1].client_ip)
            gw:stop()
            os.remove(path)
        end
        gw = nil
    end)

    it('cuts the longest values of a line over max_line', function()
        start({ max_line = '1KiB' })
        gw:get('/short', { headers = { ['User-Agent'] = ('u'):rep(5000), Host = 'api.test' } })
        local line = lines(1)[1]
        assert.is_true(#line < 1024)
        local record = cjson.decode(line)
        assert.is_true(record.truncated)
        assert.same({ '/short', 'api.test', 'ok' }, { record.path, record.host, record.outcome })
        assert.truthy(record.user_agent:match('^u+$'))
    end)

    it('keeps its sink over a reload', function()
        start({ fields = { 'status', 'generation' } })
        gw:get('/')
        gw:reload(config_of({ sinks = to_file(), fields = { 'status', 'generation' } }))
        gw:get('/')
        local list = records(2)
        assert.truthy(list[2].generation > list[1].generation)
    end)

    it('logs requests without a route where the entry is global', function()
        gw = gateway.start({
            _format_version = '3.0',
            plugins = { { name = 'access-log', config = { sinks = to_file() } } },
        })
        gw:get('/nowhere')
        local record = records(1)[1]
        assert.equal(404, record.status)
        assert.equal('no_route', record.outcome)
        assert.is_nil(record.route)
    end)

    it('refuses a file that cannot be written, naming it', function()
        local ok, err = pcall(gateway.start,
            config_of({ sinks = { { type = 'file', path = '/nonexistent/a.log' } } }))
        assert.is_false(ok)
        assert.truthy(tostring(err):find(
            'cannot open the log file /nonexistent/a.log: No such file or directory', 1, true))
    end)

    describe('traces', function()
        local TRACE, SPAN = '0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'

        local function get(traceparent)
            gw:get('/', { headers = { traceparent = traceparent } })
        end

        it('are those of a valid traceparent', function()
            start({})
            get('00-' .. TRACE .. '-' .. SPAN .. '-01')
            get('cc-' .. TRACE .. '-' .. SPAN .. '-00-more')
            for _, record in ipairs(records(2)) do
                assert.equal(TRACE, record.trace_id)
                assert.equal(SPAN, record.span_id)
            end
        end)

        it('are absent without one', function()
            start({})
            get(nil)
            get('00-' .. TRACE:upper() .. '-' .. SPAN .. '-01')
            get('00-' .. ('0'):rep(32) .. '-' .. SPAN .. '-01')
            for _, record in ipairs(records(3)) do
                assert.is_nil(record.trace_id)
                assert.is_nil(record.span_id)
            end
        end)

        it('are fields of a template', function()
            start({ format = 'custom', template = '{trace_id} {span_id:-none}' })
            get('00-' .. TRACE .. '-' .. SPAN .. '-01')
            get(nil)
            assert.same({ TRACE .. ' ' .. SPAN, '- none' }, lines(2))
        end)
    end)

    it('leaves tls out, as no listener speaks it yet', function()
        start({ fields = { 'tls', 'status' } })
        gw:get('/')
        assert.same({ status = 200 }, records(1)[1])
    end)

    describe('plugin_ms', function()
        local TERMINATION = { name = 'request-termination', config = { status_code = 403 } }

        local function keys(map)
            local list = {}
            for key in pairs(map) do
                list[#list + 1] = key
            end
            return list
        end

        it('has the time of each plugin that ran before the log, where it is asked for', function()
            start({ fields = { 'plugin_ms', 't' } }, TERMINATION)
            gw:get('/')
            local record = records(1)[1]
            assert.same({ 'request-termination' }, keys(record.plugin_ms))
            -- it ended the request: its time goes on to the end of the phase
            assert.is_true(record.plugin_ms['request-termination'] <= record.t.plugins)
        end)

        it('is there for values in Lua', function()
            start({ fields = { 'plugin_ms', 'status' },
                custom_fields = { took = "lua: record.plugin_ms['request-termination']" } },
                TERMINATION)
            gw:get('/')
            local record = records(1)[1]
            assert.equal(record.plugin_ms['request-termination'], record.took)
        end)

        it('is absent where no plugin ran', function()
            start({ fields = { 'plugin_ms', 'status' } })
            gw:get('/')
            assert.same({ status = 200 }, records(1)[1])
        end)
    end)

    describe('A1 refuses at load', function()
        local function refusal(config)
            local ok, err = pcall(gateway.start, config_of(config))
            assert.is_false(ok)
            return tostring(err)
        end

        local CASES = {
            { { fields = { 'stauts' } }, "unknown field 'stauts'" },
            { { format = 'custom', template = '{plugin_ms}' }, "unknown field 'plugin_ms'" },
            { { format = 'custom' }, 'needs a template' },
            { { sinks = { { type = 'stdout', format = 'custom' } } }, 'needs a template' },
            { { format = 'custom', template = '{nothing}' }, "unknown field 'nothing'" },
            { { format = 'custom', template = '{tries}' }, "unknown field 'tries'" },
            { { format = 'custom', template = '{status' }, "'{' without '}'" },
            { { format = 'custom', template = 'a\nb' }, 'one line' },
            { { sinks = { { type = 'file' } } }, "file needs 'path'" },
            { { sinks = { { type = 'stdout', path = '/x' } } }, "'path' is not for stdout" },
            { { sinks = { { type = 'otlp' } } }, 'not supported yet' },
            { { sinks = { { type = 'lua' } } }, "lua needs 'function'" },
            { { sinks = { { type = 'lua', ['function'] = 'print' } } }, 'expected `lua:`' },
            { { sinks = { { type = 'lua', ['function'] = 'lua: (' } } }, 'not a Lua expression' },
            { { sinks = { { type = 'stdout', ['function'] = 'lua: 1' } } },
                "'function' is not for stdout" },
            { { sinks = { { type = 'syslog' } } }, 'either a host or a socket' },
            { { sinks = { { type = 'syslog', socket = '/dev/log', port = 514 } } },
                'do not go with a socket' },
            { { sinks = { { type = 'syslog', host = 'h', transport = 'tls',
                tls = { ca = 'a file' } } } }, 'text of a PEM file' },
            { { sinks = { { type = 'syslog', host = 'h', transport = 'tls',
                tls = { ca = '-----BEGIN nonsense' } } } }, 'tls: ' },
            { { sinks = { { type = 'http', url = 'http://h/', tls = {} } } },
                "'tls' needs an https url" },
            { { sinks = { { type = 'http', url = 'https://h/',
                tls = { cert = '-----BEGIN ' } } } }, 'belong together' },
            { { sinks = { { type = 'syslog', host = 'h', facility = 'local8' } } },
                'expected one of' },
            { { sinks = { { type = 'syslog', host = 'h', tag = 'a b' } } }, 'without blanks' },
            { { sinks = { { type = 'udp', host = 'h' } } }, "udp needs 'port'" },
            { { sinks = { { type = 'udp', host = 'h', port = 70000 } } }, '65535' },
            { { sinks = { { type = 'udp', host = 'h', port = 1, url = 'http://h' } } },
                "'url' is not for udp" },
            { { sinks = { { type = 'tcp', host = 'h', port = 1, tls = {} } } },
                "'tls' needs transport: tls" },
            { { sinks = { { type = 'tcp', host = 'h', port = 1, transport = 'udp' } } },
                'write type: udp' },
            { { sinks = { { type = 'tcp', host = 'h', port = 1, queue = { flush = '1s' } } } },
                "'queue.flush' is for http and lua" },
            { { sinks = { { type = 'stdout', retry = { first = '1s' } } } },
                "'retry' is not for stdout" },
            { { sinks = { { type = 'http' } } }, "http needs 'url'" },
            { { sinks = { { type = 'http', url = 'http://u:p@h/' } } }, 'authorization' },
            { { sinks = { { type = 'http', url = 'ftp://h/' } } }, 'expected a URL' },
            { { sinks = { { type = 'http', url = 'http://h/', timeout = 5 } } }, '5s' },
            { { sinks = { { type = 'http', url = 'http://h/', encoding = 'json',
                format = 'combined' } } }, 'the encoding json needs the format json' },
            { { sinks = { { type = 'http', url = 'http://h/',
                headers = { ['X-A'] = 'a\nb' } } } }, 'one line' },
            { { retry = { first = 5 } }, '5s' },
            { { queue = { batch = 0 } }, 'batch' },
            { { sinks = { { type = 'file', path = '/x', mode = '888' } } }, 'expected a mode' },
            { { when = 'lua: (' }, 'not a Lua expression' },
            { { sample = 1.5 }, 'sample' },
            { { always = { outcomes = { 'limitd' } } }, "there is no outcome 'limitd'" },
            { { always = { slow = 1 } }, '1s' },
            { { fields = { 'sample' } }, 'stands where it applies' },
            { { body = { max = '65KiB' } }, 'max' },
            { { body = { types = { 'image/png' } } }, 'texts, JSON and forms only' },
            { { body = { request = 1 } }, 'request' },
            { { body = { response = 1 } }, 'response' },
            { { fields = { 'req_body' } }, 'needs body.request' },
            { { fields = { 'resp_body' }, body = {} }, 'needs body.response' },
            { { custom_fields = { a = 'lua: 1 +' } }, 'not a Lua expression' },
            { { custom_fields = { status = 1 } }, 'is a field of the record' },
            { { custom_fields = { a = 1, ['a.b'] = 2 } }, 'cannot both be' },
            { { max_line = '1MiB' }, 'max_line' },
        }

        for _, case in ipairs(CASES) do
            it(case[2] .. ' in ' .. cjson.encode(case[1]), function()
                local text = refusal(case[1])
                assert.truthy(text:find(case[2], 1, true), text)
            end)
        end
    end)

    it('can show every field and every span in a template', function()
        start({ format = 'custom', template = '{t.head}|{t.plugins}|{t.connect}|{t.ttfb}|'
            .. '{t.upstream}|{t.total}|{t.delay}|{t.queue}|{peer_ip}|{query}|{worker}' })
        gw:get('/?a=b')
        local ms = '%d+%.%d%d%d|'
        assert.truthy(lines(1)[1]:match('^' .. ms:rep(6) .. '%-|%-|[^|]+|a=b|0$'))
    end)
end)
