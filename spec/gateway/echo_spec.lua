-- SPDX-License-Identifier: Apache-2.0
--
-- `moongate echo`: the small upstream, which other specs and benchmarks stand on.
local client = require 'spec.gateway.support.client'
local dkjson = require 'dkjson'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

describe('moongate echo', function()
    local echo

    setup(function()
        echo = process.echo()
    end)
    teardown(process.stop_all)

    local function get(path, headers)
        return assert(client.get(echo.port, path, headers))
    end

    it('answers with what it received', function()
        local res = assert(client.request(echo.port, 'POST', '/a/b?x=1&x=2&y&z=%20',
            { ['X-A'] = 'q"\\', ['Content-Type'] = 'application/x-www-form-urlencoded',
              Host = 'shop.example' }, 'k=v+w&k2'))
        local seen = assert(dkjson.decode(res.body))
        assert.equal(200, res.status)
        assert.equal('POST', seen.method)
        assert.equal('http://shop.example/a/b?x=1&x=2&y&z=%20', seen.url)
        assert.equal('/a/b', seen.path)
        assert.same({ x = { '1', '2' }, y = true, z = ' ' }, seen.uri_args)
        assert.equal('q"\\', seen.headers['x-a'])
        assert.same({ k = 'v w', k2 = true }, seen.post_data.params)
        assert.equal('k=v+w&k2', seen.post_data.text)
        assert.equal('127.0.0.1', seen.vars.remote_addr)
        assert.equal(echo.port, seen.vars.server_port)
    end)

    it('answers as the query asks', function()
        assert.equal(503, get('/?status=503').status)
        assert.equal(1000, #get('/?size=1000').body)
        local res = get('/?size=200000&chunked=1')
        assert.equal('chunked', res.headers['transfer-encoding'])
        assert.equal(get('/?size=200000').body, res.body)
        assert.equal('close', get('/?close=1').headers.connection)
        assert.is_nil((client.get(echo.port, '/?reset=1')))
        local cut, err = client.get(echo.port, '/?size=500&cut=10')
        assert.is_nil(cut)
        assert.equal('closed', err)
        res = get('/?sse=3')
        assert.equal('text/event-stream', res.headers['content-type'])
        assert.equal('id: 1\ndata: event 1\n\nid: 2\ndata: event 2\n\nid: 3\ndata: event 3\n\n',
            res.body)
    end)

    it('waits before its answer', function()
        local started = posix.now()
        assert.equal(200, get('/?delay=200').status)
        assert.is_true(posix.now() - started >= 0.15) -- from the time of the loop's turn on
    end)

    it('fails the share that is asked for', function()
        assert.equal(500, get('/?fail_rate=1').status)
        assert.equal(200, get('/?fail_rate=0').status)
        local failed = 0
        for _ = 1, 200 do
            failed = failed + (get('/?fail_rate=0.5').status == 500 and 1 or 0)
        end
        assert.is_true(failed > 50 and failed < 150) -- 7 standard deviations
    end)

    it('keeps connections and answers pipelined requests in order', function()
        local connection = assert(client.connect(echo.port))
        local head = ' HTTP/1.1\r\nHost: x\r\n\r\n'
        assert(connection:send('GET /?size=1' .. head .. 'GET /?size=2&delay=50' .. head
            .. 'HEAD /?size=3' .. head .. 'GET /?status=204' .. head .. 'GET /?size=5' .. head))
        assert.equal(1, #assert(connection:response()).body)
        assert.equal(2, #assert(connection:response()).body)
        assert.equal('3', assert(connection:response('HEAD')).headers['content-length'])
        assert.equal(204, assert(connection:response()).status)
        assert.equal(5, #assert(connection:response()).body)
        connection:close()
    end)

    it('reads chunked bodies in any pieces, and asks for them with 100', function()
        local connection = assert(client.connect(echo.port))
        local text = 'POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n'
            .. 'Expect: 100-continue\r\n\r\n'
        assert(connection:send(text))
        assert.is_true((connection:fill()))
        assert.equal('HTTP/1.1 100 Continue\r\n\r\n', connection.kept)
        connection.kept = ''
        for piece in ('3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n'):gmatch('.') do
            assert(connection:send(piece))
        end
        local seen = assert(dkjson.decode(assert(connection:response()).body))
        assert.equal('abcdefg', seen.post_data.text)
        connection:close()
    end)

    it('counts a body that is longer than it keeps', function()
        local body = ('x'):rep(2000000)
        local res = assert(client.request(echo.port, 'PUT', '/big', {}, body))
        local seen = assert(dkjson.decode(res.body))
        assert.equal(2000000, seen.post_data.bytes)
        assert.equal(1048576, #seen.post_data.text)
    end)

    it('refuses what is no request, and closes', function()
        local connection = assert(client.connect(echo.port))
        assert(connection:send('GET /\r\n\r\n'))
        assert.equal(400, assert(connection:response()).status)
        local ok, err = connection:fill()
        assert.is_false(ok)
        assert.equal('closed', err)
        connection:close()
    end)

    it('echoes WebSocket messages', function()
        local connection = assert(client.connect(echo.port))
        local res = assert(connection:request('GET', '/ws', { Connection = 'Upgrade',
            Upgrade = 'websocket', ['Sec-WebSocket-Version'] = '13',
            ['Sec-WebSocket-Key'] = 'dGhlIHNhbXBsZSBub25jZQ==' }))
        assert.equal(101, res.status)
        -- The example of RFC 6455, 1.3.
        assert.equal('s3pPLMBiTxaQ9kYGzzhZRbK+xOo=', res.headers['sec-websocket-accept'])
        assert(connection:send('\129\133\55\250\33\61\127\159\77\81\88'))
        assert.is_true((connection:fill()))
        assert.equal('\129\5Hello', connection.kept)
        connection:close()
    end)

    it('echoes bytes as they are after ?raw=1', function()
        local connection = assert(client.connect(echo.port))
        local res = assert(connection:request('GET', '/ws?raw=1', { Connection = 'Upgrade',
            Upgrade = 'websocket', ['Sec-WebSocket-Version'] = '13',
            ['Sec-WebSocket-Key'] = 'dGhlIHNhbXBsZSBub25jZQ==' }))
        assert.equal(101, res.status)
        assert(connection:send('polly'))
        assert.is_true((connection:fill()))
        assert.equal('polly', connection.kept)
        connection:close()
    end)

    it('serves unix sockets, and removes them at its end', function()
        local path = process.folder() .. '/echo'
        local other = process.start({ process.binary, 'echo', '--listen', 'unix:' .. path,
            '--size', '7' })
        assert.is_true(other:wait_text('listening on unix:' .. path))
        assert.equal(7, #assert(client.get(path, '/')).body)
        assert.is_true(other:wait_text('GET / -> 200'))
        other:signal('TERM')
        assert.equal(0, other:wait())
        assert.is_nil((posix.connect(path, posix.now() + 1)))
    end)

    it('keeps its answer ready, with a date that moves on', function()
        local fixed = process.echo('--size', '64', '--status', '201')
        local first = assert(client.get(fixed.port, '/'))
        assert.equal(201, first.status)
        assert.equal(64, #first.body)
        local deadline = posix.now() + process.deadline
        local next_date
        repeat
            next_date = assert(client.get(fixed.port, '/')).headers.date
        until next_date ~= first.headers.date or posix.now() > deadline
        assert.not_equal(first.headers.date, next_date)
        assert.equal(204, assert(client.get(fixed.port, '/?status=204')).status)
    end)

    it('says which port is taken', function()
        local code, _, err = process.run('echo', '--listen', '127.0.0.1:' .. echo.port)
        assert.equal(1, code)
        assert.truthy(err:find('is in use', 1, true))
    end)
end)
