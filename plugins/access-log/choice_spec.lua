-- SPDX-License-Identifier: Apache-2.0
-- Which requests get a line, and values in Lua.
local cjson = require 'cjson'
local gateway = require 'moongate.test'

describe('access-log', function()
    local gw, path

    local function start(config, more)
        config.sinks = { { type = 'file', path = path } }
        config.fields = config.fields or { 'path', 'status' }
        local plugins = { { name = 'access-log', config = config } }
        plugins[2] = more
        gw = gateway.start({
            _format_version = '3.0',
            services = { {
                name = 'up', url = 'http://127.0.0.1:9101',
                routes = { { name = 'all', paths = { '/' }, plugins = plugins } },
            } },
        })
    end

    -- What is in the file once everything is written.
    local function records()
        gw:stop()
        gw = nil
        local list = {}
        for line in io.lines(path) do
            list[#list + 1] = cjson.decode(line)
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

    local TERMINATION = { name = 'request-termination', config = { status_code = 403 } }

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

    describe('when', function()
        it('leaves requests out, by the redacted record', function()
            start({ when = "lua: record.path ~= '/health'"
                .. " and record.req_headers['x-api-key'] == '***'" })
            gw:get('/health', { headers = { ['X-Api-Key'] = 'a' } })
            gw:get('/a', { headers = { ['X-Api-Key'] = 'a' } })
            gw:get('/b')
            assert.same({ { path = '/a', status = 200 } }, records())
        end)

        it('writes the line when it fails', function()
            start({ when = 'lua: record.nothing.more' })
            gw:get('/a')
            assert.is_true(has_logged('option when: '))
            assert.equal(1, #records())
        end)

        it('can be a constant', function()
            start({ when = false })
            gw:get('/a')
            assert.same({}, records())
        end)

        it('A1 writes the line when it never ends, and others are served', function()
            start({ when = "lua: (function() while true do end end)()" })
            assert.equal(200, gw:get('/a').status)
            assert.equal(200, gw:get('/b').status)
            assert.is_true(has_logged('option when: it takes too much CPU time'))
            assert.equal(2, #records())
        end)
    end)

    describe('sample', function()
        local function get(n)
            for i = 1, n do
                gw:get('/' .. i, { headers = { traceparent =
                    ('00-%032x-%016x-01'):format(i * 7919, i) } })
            end
        end

        local function paths(list)
            local names = {}
            for i, record in ipairs(list) do
                names[i] = record.path
            end
            return table.concat(names, ' ')
        end

        it('keeps a share, the same one on another host, and says so', function()
            start({ sample = 0.25 })
            get(200)
            local first = records()
            os.remove(path)
            start({ sample = 0.25 })
            get(200)
            local second = records()
            assert.equal(paths(first), paths(second))
            assert.is_true(#first > 25 and #first < 75, #first)
            assert.equal(0.25, first[1].sample)
        end)

        it('keeps what ended badly, without a mark', function()
            start({ sample = 0 }, { name = 'request-termination', config = { status_code = 503 } })
            gw:get('/a')
            assert.same({ { path = '/a', status = 503 } }, records())
        end)

        it('keeps outcomes that are named, and nothing else', function()
            start({ sample = 0, always = { outcomes = { 'plugin_answer' } } }, TERMINATION)
            gw:get('/a')
            assert.same({ { path = '/a', status = 403 } }, records())
            os.remove(path)
            start({ sample = 0 }, TERMINATION)
            gw:get('/a')
            assert.same({}, records())
        end)

        it('keeps what a policy denies, unless told not to', function()
            local function lines(denied)
                os.remove(path)
                start({ sample = 0, always = { denied = denied } },
                    { name = 'rate-limit', config = { quota = 1, window = '1m' } })
                gw:get('/a')
                gw:get('/b')
                return #records()
            end
            assert.equal(1, lines(true))
            assert.equal(0, lines(false))
        end)

        it('keeps what is slow', function()
            start({ sample = 0, always = { slow = '0ms' } })
            gw:get('/a')
            assert.equal(1, #records())
        end)
    end)

    describe('custom_fields', function()
        it('are computed from the record', function()
            start({ custom_fields = {
                ['a.path'] = 'lua: record.path:upper()', ['a.n'] = 'lua: record.status + 1',
                fine = "lua: record.outcome == 'ok'", list = 'lua: { 1, 2 }', zone = 'eu',
                none = 'lua: nil',
            } })
            gw:get('/a')
            assert.same({ path = '/a', status = 200, a = { path = '/A', n = 201 }, fine = true,
                list = { 1, 2 }, zone = 'eu' }, records()[1])
        end)

        it('A1 are absent when they fail or are no such value', function()
            start({ custom_fields = { bad = 'lua: record.x.y', nan = 'lua: 0 / 0',
                fn = 'lua: string.format', deep = 'lua: { { 1 } }', good = 'lua: 1',
                endless = 'lua: (function() while true do end end)()' } })
            gw:get('/a')
            for _, name in ipairs({ 'bad', 'nan', 'fn', 'deep', 'endless' }) do
                assert.is_true(has_logged('option custom_fields.' .. name .. ': '), name)
            end
            assert.same({ path = '/a', status = 200, good = 1 }, records()[1])
        end)

        it('L4 see no secret', function()
            start({ custom_fields = {
                header = 'lua: record.req_headers.authorization',
                cookie = 'lua: record.req_headers.cookie', args = 'lua: record.query',
                text = "lua: 'a=1&token=S3CRET'", from = 'lua: record.referer',
                api = "lua: moongate.request.get_header('authorization')",
                kong = "lua: kong.request.get_raw_query()",
                global = "lua: ngx.var.http_authorization",
            } })
            gw:get('/?token=S3CRET&a=1', { headers = { Authorization = 'Bearer S3CRET',
                Cookie = 'sid=S3CRET', Referer = 'http://h/?PassWord=S3CRET' } })
            assert.is_true(has_logged('only record and moongate.ctx are in reach'))
            local record = records()[1]
            assert.same({ path = '/', status = 200, header = '***', cookie = '***',
                args = 'token=***&a=1', text = 'a=1&token=***',
                from = 'http://h/?PassWord=***' }, record)
        end)

        it('cannot make a second line or another member', function()
            start({ custom_fields = { x = "lua: 'a\\n\",\"status\":1'" } })
            gw:get('/a')
            local list = records()
            assert.equal(1, #list)
            assert.same({ path = '/a', status = 200, x = 'a\n","status":1' }, list[1])
        end)
    end)
end)
