-- SPDX-License-Identifier: Apache-2.0
--
-- Request bodies that come late, in part or not at all; whoever waits, and in whichever phase, half
-- a body is never sent on as a whole one. And answers that come before the body.
local process = require 'spec.gateway.support.process'
local scripted = require 'spec.gateway.support.scripted'

-- Longer than limits.body_timeout below.
local PLUGINS = {
    sleeps = 'moongate.sleep(0.5)',
    reads = [[
    for _ = 1, 2 do
        local body, err = moongate.request.get_raw_body()
        moongate.log.notice('body: ', body or err)
    end]],
    answers = [[
    local body, err = moongate.request.get_raw_body()
    moongate.response.exit(422, body or err)]],
}

local YAML = [[
_format_version: "3.0"
plugins: [{ name: access-log }]
services:
- name: s
  url: http://127.0.0.1:%d
  write_timeout: 300
  routes:
  - { name: plain, paths: [/] }
  - { name: sleeps, paths: [/sleeps], plugins: [{ name: sleeps }] }
  - { name: reads, paths: [/reads], plugins: [{ name: reads }] }
  - { name: answers, paths: [/answers], plugins: [{ name: answers }] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
  limits: { body_timeout: 200ms, request_body: 1MiB }
  routes: { settings: { plain: { limits: { request_body: 0 } } } }
]]

describe('a request body', function()
    local gateway, upstream, records

    setup(function()
        upstream = scripted.listen(4096)
        local folder = process.plugins(PLUGINS,
            process.PLUGIN:format('function plugin:access()\n%s\nend'))
        gateway = process.gateway(YAML:format(upstream.port, process.free_port()),
            { folder = folder })
        records = scripted.records(gateway)
    end)

    teardown(function()
        process.stop_all()
        upstream:close()
    end)

    local function post(...)
        return gateway:post(...)
    end

    local LENGTH, CHUNKED = 'Content-Length: 10\r\n', 'Transfer-Encoding: chunked\r\n'
    local EXPECT = 'Expect: 100-continue\r\n' .. LENGTH
    local OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

    -- The answer is the gateway's, the connection ends, the log says why.
    local function expect_refusal(connection, status, outcome)
        local res = assert(connection:response())
        assert.equal(status, res.status)
        assert.equal('close', res.headers.connection)
        assert.equal('', assert(connection:take_rest()))
        connection:close()
        local record = records:next()
        assert.same({ status, outcome }, { record.status, record.outcome })
        return res
    end

    local function counter(name)
        return gateway:status().counters[name]
    end

    it('that stops while a plugin waits for something else gives 408', function()
        local before = counter('limit_body_timeout')
        expect_refusal(post('/sleeps', LENGTH, '123'), 408, 'body_timeout')
        assert.equal(before + 1, counter('limit_body_timeout'))
    end)

    -- The plugin is told and does not care: then the gateway does.
    local LOST = {
        stalls = { LENGTH, '123', 408, 'body_timeout', 'limit_body_timeout' },
        ['is malformed'] = { CHUNKED, '3\r\nabc\r\nno\r\n', 400, 'bad_request' },
        ['is too large'] = { CHUNKED, ('10000\r\n%s\r\n'):format(('x'):rep(65536)):rep(17), 413,
            'too_large', 'limit_request_body' },
    }

    for what, case in pairs(LOST) do
        local fields, octets, status, outcome, limit = unpack(case)
        it(('that %s while a plugin reads it never reaches the upstream'):format(what), function()
            local before = limit and counter(limit)
            expect_refusal(post('/reads', fields, octets), status, outcome)
            assert.is_false(upstream:is_asked(0))
            assert.is_true(not limit or counter(limit) == before + 1)
        end)
    end

    it('that is lost is not read again as a whole one', function()
        gateway.err = ''
        expect_refusal(post('/reads', LENGTH, '123'), 408, 'body_timeout')
        local line = 'body: request body could not be read'
        assert.is_true(gateway:wait_text(line))
        local _, count = gateway.err:gsub(line, '')
        assert.equal(2, count)
    end)

    it('that is lost may be answered by the plugin that reads it', function()
        local connection = post('/answers', LENGTH, '123')
        local res = expect_refusal(connection, 422, 'plugin_answer')
        assert.equal('request body could not be read', res.body)
    end)

    it('that the upstream does not take gives 504', function()
        local before = counter('limit_upstream_write_timeout')
        local connection = post('/', 'Content-Length: 100000000\r\n')
        local peer = upstream:accept()
        local octets = ('x'):rep(65536)
        connection.timeout = 0.2
        repeat
            local sent = connection:send(octets)
        until not sent
        connection.timeout = process.deadline
        expect_refusal(connection, 504, 'upstream_timeout')
        assert.equal(before + 1, counter('limit_upstream_write_timeout'))
        peer:expect_end()
    end)

    -- Expect: 100-continue -----------------------------------------------------------------------

    it('has time from 100 Continue on', function()
        local connection = post('/sleeps', EXPECT)
        local peer = upstream:accept()
        assert.is_nil(peer.head:lower():find('expect', 1, true))
        assert.equal('HTTP/1.1 100 Continue\r\n\r\n', connection:take_until('\r\n\r\n'))
        assert(connection:send('0123456789'))
        peer:wait_for('0123456789')
        peer:say(OK)
        assert.equal(200, assert(connection:response()).status)
        assert.equal('ok', records:next().outcome)
        connection:close()
        peer:close()
    end)

    it('has no more than its time from 100 Continue on', function()
        local connection = post('/', EXPECT)
        local peer = upstream:accept()
        assert(connection:take_until('\r\n\r\n'))
        expect_refusal(connection, 408, 'body_timeout')
        peer:expect_end()
    end)

    it('is asked for when a plugin reads it, once', function()
        local connection = post('/answers', EXPECT)
        assert.equal('HTTP/1.1 100 Continue\r\n\r\n', connection:take_until('\r\n\r\n'))
        assert(connection:send('0123456789'))
        local res = assert(connection:response())
        assert.same({ 422, '0123456789' }, { res.status, res.body })
        assert.equal('plugin_answer', records:next().outcome)
        connection:close()
    end)

    it('that is not waited for needs no 100 Continue', function()
        local connection = post('/sleeps', EXPECT, '0123456789')
        local peer = upstream:accept()
        peer:wait_for('0123456789')
        peer:say(OK)
        assert.equal('HTTP/1.1 200 OK\r\n', connection:take_until('\r\n'))
        assert.equal('ok', records:next().outcome)
        connection:close()
        peer:close()
    end)

    it('that nobody wants is not asked for', function()
        local connection = gateway:send('POST /%ff HTTP/1.1\r\nHost: x\r\n' .. EXPECT .. '\r\n')
        assert.equal('HTTP/1.1 400 Bad Request\r\n', connection:take_until('\r\n'))
        assert.equal('bad_request', records:next().outcome)
        connection:close()
    end)

    -- Answers before the body --------------------------------------------------------------------

    local EARLY = 'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno'

    local function expect_early(connection)
        local res = assert(connection:response())
        assert.same({ 403, 'no', 'close' }, { res.status, res.body, res.headers.connection })
        -- What follows a body that was broken off is never parsed.
        connection:send('0123456789GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n')
        connection:take_rest()
        connection:close()
        local record = records:next()
        assert.same({ 403, 'ok' }, { record.status, record.outcome })
        assert.is_false(upstream:is_asked(0))
    end

    it('is not sent on after an answer, nor is the connection used again', function()
        for _, fields in ipairs({ LENGTH, CHUNKED, EXPECT }) do
            local connection = post('/', fields)
            local peer = upstream:accept()
            peer:say(EARLY)
            expect_early(connection)
            assert.equal('', peer:expect_end())
        end
    end)

    it('that stops after an answer has begun does not cut the answer', function()
        local before = counter('limit_body_timeout')
        local connection = post('/', LENGTH, '123')
        local peer = upstream:accept()
        peer:wait_for('123')
        peer:say('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nn')
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.limit_body_timeout == before + 1
        end))
        peer:say('o')
        expect_early(connection)
        peer:expect_end()
    end)
end)
