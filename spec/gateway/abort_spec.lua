-- SPDX-License-Identifier: Apache-2.0
--
-- What ends while a plugin's handler waits: the client, the upstream, the time, the generation, the
-- worker. Whatever it is, and in whichever phase: the request ends once, with one log phase, and
-- nothing of it stays behind.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local SOURCE = [[
local plugin = { PRIORITY = 1000, VERSION = '0.1.0' }
local function wait()
    if moongate.request.get_path() == '/wait' then
        moongate.log.notice('waiting in PHASE')
        moongate.sleep(0.3)
    end
end
function plugin:PHASE()
    wait()
end
return plugin
]]

local COUNTER = [[
return { PRIORITY = 1, VERSION = '0.1.0', log = function()
    moongate.log.notice('ended ' .. moongate.request.get_path())
end }
]]

local HEAD = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n'
local PHASES = { 'access', 'response', 'header_filter', 'body_filter', 'log' }

local function count(text, part)
    local found = 0
    for _ in text:gmatch(part) do
        found = found + 1
    end
    return found
end

describe('while a handler waits in', function()
    local listening, port, gateway

    before_each(function()
        listening, port = posix.listen()
    end)

    after_each(function()
        posix.close(listening)
        process.stop_all()
    end)

    local function start(phase, more)
        local folder = process.plugins({ waits = SOURCE:gsub('PHASE', phase), counts = COUNTER })
        gateway = process.gateway(process.yaml{ upstream = port,
            plugins = '    plugins: [{ name: waits }, { name: counts }]', gateway = more },
            { folder = folder })
    end

    local function deadline()
        return posix.now() + process.deadline
    end

    local function send(text)
        return gateway:send(text or 'GET /wait HTTP/1.1\r\nHost: x\r\n\r\n')
    end

    -- The upstream's side: takes the request, sends what is given.
    local function serve(text)
        local fd = assert(posix.accept(listening, deadline()))
        local seen = ''
        while not seen:find('\r\n\r\n', 1, true) do
            local bytes = assert(posix.read(fd, deadline()))
            assert(bytes ~= '')
            seen = seen .. bytes
        end
        assert(posix.send(fd, text, deadline()))
        return fd
    end

    local function until_waiting(phase)
        assert.is_true(gateway:wait_text('waiting in ' .. phase))
    end

    -- Nothing is left of the requests, each had one log phase, and the gateway serves on.
    local function expect_rest(requests)
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.requests_active == 0 and status.counters.connections == 0
        end))
        local after = send('GET /after HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        local fd = serve('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
        assert.equal(200, assert(after:response()).status)
        after:close()
        posix.close(fd)
        assert.is_true(gateway:wait_text('ended /after'))
        for _ = 1, requests - count(gateway.err, 'ended /wait') do
            gateway:collect(deadline())
        end
        assert.equal(0, gateway:stop())
        assert.equal(requests, count(gateway.err, 'ended /wait'))
        assert.is_nil(gateway.err:find('AddressSanitizer', 1, true), gateway.err)
        assert.is_nil(gateway.err:find('died of signal', 1, true), gateway.err)
    end

    for _, phase in ipairs(PHASES) do
        describe(phase, function()
            it('the client may leave', function()
                start(phase)
                local connection = send()
                local fd = phase ~= 'access' and serve(HEAD .. '0123456789')
                if phase == 'log' then
                    assert.equal('0123456789', assert(connection:response()).body)
                end
                until_waiting(phase)
                connection:close()
                if fd then
                    posix.close(fd)
                end
                expect_rest(1)
            end)

            it('the generation and then the worker may be told to go', function()
                start(phase)
                local connection = send()
                local fd = phase ~= 'access' and serve(HEAD .. '0123456789')
                until_waiting(phase)
                assert.equal(0, (gateway:command('reload')))
                gateway:signal('TERM')
                fd = fd or serve(HEAD .. '0123456789')
                assert.equal('0123456789', assert(connection:response()).body)
                connection:close()
                posix.close(fd)
                assert.equal(0, gateway:wait())
                assert.equal(1, count(gateway.err, 'ended /wait'))
            end)
        end)
    end

    for _, phase in ipairs({ 'access', 'response', 'header_filter', 'body_filter' }) do
        it(phase .. ' the time of the request may be over', function()
            start(phase, '  limits: { request_timeout: 60ms }')
            local connection = send()
            local fd = phase ~= 'access' and serve(HEAD .. '0123456789')
            until_waiting(phase)
            local res = assert(connection:response())
            assert.equal(504, res.status)
            assert.equal(1, gateway:status().counters.limit_request_timeout)
            connection:close()
            if fd then
                posix.close(fd)
            end
            expect_rest(1)
        end)
    end

    for phase, expected in pairs({ header_filter = 502, body_filter = 502 }) do
        it(phase .. ' the upstream may break off', function()
            start(phase)
            local connection = send()
            local fd = serve(HEAD .. '01234')
            until_waiting(phase)
            posix.close(fd)
            local res, err = connection:response()
            -- The head may be out when the end is seen: then the answer is cut, never complete.
            if res then
                assert.equal(expected, res.status)
            else
                assert.is_string(err)
            end
            connection:close()
            expect_rest(1)
        end)
    end

    it('header_filter octets that came with the head are kept', function()
        start('header_filter')
        local body = ('0123456789abcdef'):rep(1000)
        local connection = send()
        local fd = serve(('HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s'):format(#body, body))
        assert.equal(body, assert(connection:response()).body)
        connection:close()
        posix.close(fd)
        expect_rest(1)
    end)
end)

local REPLACE = [[
local plugin = { PRIORITY = 1000, VERSION = '0.1.0' }
function plugin:access()
    moongate.service.request.set_raw_body('own')
end
return plugin
]]

describe('a body that a plugin replaces before it has come', function()
    after_each(process.stop_all)

    it('never reaches the upstream, where it would be a request of its own', function()
        local listening, port = posix.listen()
        local folder = process.plugins({ replaces = REPLACE })
        local gateway = process.gateway(process.yaml{ upstream = port,
            plugins = '    plugins: [{ name: replaces }]' }, { folder = folder })
        local deadline = posix.now() + process.deadline
        local smuggled = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n'
        local connection = assert(client.connect(gateway.port))
        assert(connection:send(('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n')
            :format(#smuggled)))
        local fd = assert(posix.accept(listening, deadline))
        local seen = ''
        while not seen:find('\r\n\r\nown', 1, true) do
            seen = seen .. assert(posix.read(fd, deadline))
        end
        assert(connection:send(smuggled))
        assert.is_nil((posix.read(fd, posix.now() + 0.2)))
        assert(posix.send(fd, 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', deadline))
        assert.equal('ok', assert(connection:response()).body)
        connection:close()
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.connections == 0
        end))
        gateway:stop()
        repeat
            local bytes = posix.read(fd, deadline)
            seen = seen .. (bytes or '')
        until not bytes or bytes == ''
        assert.is_nil(seen:find('smuggled', 1, true), seen)
        posix.close(fd)
        posix.close(listening)
    end)
end)

local READ = [[
local plugin = { PRIORITY = 1000, VERSION = '0.1.0' }
function plugin:access()
    moongate.log.notice('reading')
    if moongate.request.get_header('X-Sleep') then
        moongate.sleep(0.2)
    end
    moongate.request.get_raw_body()
end
function plugin:log()
    moongate.log.notice('over and done')
end
return plugin
]]

describe('a handler that waits for a body that does not come', function()
    local listening, gateway

    after_each(function()
        posix.close(listening)
        process.stop_all()
    end)

    local function start(more)
        local port
        listening, port = posix.listen()
        local folder = process.plugins({ reads = READ })
        gateway = process.gateway(process.yaml{ upstream = port,
            plugins = '    plugins: [{ name: reads }]', gateway = more }, { folder = folder })
    end

    local function send(text)
        local connection = gateway:send(text)
        assert.is_true(gateway:wait_text('reading'))
        return connection
    end

    local function expect_end()
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.requests_active == 0 and status.counters.connections == 0
        end))
        assert.equal(0, gateway:stop())
        assert.equal(1, count(gateway.err, 'over and done'))
    end

    local POST = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123'

    it('hears when the client leaves', function()
        start()
        send(POST):close()
        expect_end()
    end)

    it('hears when the time of the request is over', function()
        start('  limits: { request_timeout: 100ms }')
        local connection = send(POST)
        assert.equal(504, assert(connection:response()).status)
        connection:close()
        expect_end()
    end)

    it('is not waited for when it asks after the body was refused', function()
        start()
        local connection = send('POST / HTTP/1.1\r\nHost: x\r\nX-Sleep: 1\r\n' ..
            'Transfer-Encoding: chunked\r\n\r\nno\r\n')
        assert.equal(400, assert(connection:response()).status)
        connection:close()
        expect_end()
    end)

    it('gives up after wall_ms, and the request still ends when the client leaves', function()
        start('  plugins: { settings: { reads: { on_error: open, wall_ms: 100 } } }')
        local connection = send(POST)
        local fd = assert(posix.accept(listening, posix.now() + process.deadline))
        connection:close()
        expect_end()
        posix.close(fd)
    end)
end)

local LIAR = [[
return { PRIORITY = 1, VERSION = '0.1.0', BODY_READ_ONLY = true, body_filter = function()
    if moongate.request.get_path() == '/wait' then
        moongate.sleep(0.01)
    end
    ngx.arg[1] = 'more than there was'
end }
]]

describe('body_filter of a plugin that has promised to change nothing', function()
    after_each(process.stop_all)

    it('does not, so that the length that was told is right', function()
        local echo = process.echo('--size', '10')
        local folder = process.plugins({ liar = LIAR })
        local gateway = process.gateway(process.yaml{ upstream = echo.port,
            plugins = '    plugins: [{ name: liar }]' }, { folder = folder })
        local connection = assert(client.connect(gateway.port))
        for _, path in ipairs({ '/', '/wait', '/', '/wait' }) do
            local res = assert(connection:request('GET', path))
            assert.equal(200, res.status)
            assert.equal('10', res.headers['content-length'])
            assert.is_nil(res.body:find('more', 1, true))
            assert.equal('', connection.kept)
        end
        connection:close()
    end)
end)
