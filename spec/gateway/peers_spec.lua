-- SPDX-License-Identifier: Apache-2.0
--
-- Real peers: Debian's nginx behind the gateway, curl, wrk and Node's fetch in front of it: what
-- arrives is byte for byte what nginx serves to a client without the gateway. And Node's ws on both
-- sides of it.
local client = require 'spec.gateway.support.client'
local peers = require 'spec.gateway.support.peers'
local process = require 'spec.gateway.support.process'

local SIZES = { { '1k', 1024 }, { '1m', 1024 * 1024 }, { '100m', 100 * 1024 * 1024 } }
local TEXT = ('All that is gold does not glitter, not all those who wander are lost.\n'):rep(2000)

-- A second route, whose requests may be large.
local LARGE = [[
  - { name: large, paths: [/large], strip_path: false }
]]
local LARGE_SETTING = '  routes: { settings: { large: { limits: { request_body: 0 } } } }'

-- The seconds of wrk: short in the suite, long in script/soak.
local SOAK = tonumber(os.getenv('MOONGATE_SOAK_SECONDS'))
local WRK_SECONDS = SOAK or 5

describe('with nginx behind it, the gateway', function()
    local nginx, gateway, folder
    local sums = {}
    local missing = peers.missing({ 'nginx', 'curl', 'sha256sum' })

    setup(function()
        if missing then
            return
        end
        folder = process.folder()
        os.execute('mkdir ' .. folder .. '/www')
        for _, size in ipairs(SIZES) do
            sums[size[1]] = peers.random_file(('%s/www/%s'):format(folder, size[1]), size[2])
        end
        process.write(folder .. '/www/text.txt', TEXT)
        nginx = peers.nginx(folder)
        gateway = process.gateway(process.yaml{ upstream = nginx.port, plugins = LARGE,
            gateway = LARGE_SETTING })
    end)

    teardown(process.stop_all)

    local function test(name, needs, run)
        it(name, function()
            local reason = missing or peers.missing(needs)
            if reason then
                pending(reason)
                return
            end
            run()
        end)
    end

    local function url(path)
        return ('http://127.0.0.1:%d/%s'):format(gateway.port, path)
    end

    -- curl's own verdict is part of it: a wrong length or an early end is an exit code.
    local function curl(path, option)
        local file = folder .. '/got'
        local argv = { 'curl', '-sS', '-o', file, '-w', '%{http_code}', url(path), option }
        local out = peers.run(argv, 60)
        return tonumber(out), peers.sha256(file)
    end

    for _, size in ipairs(SIZES) do
        test('gives curl a file of ' .. size[1] .. ' unchanged', { 'curl' }, function()
            local status, sum = curl(size[1])
            assert.equal(200, status)
            assert.equal(sums[size[1]], sum)
        end)
    end

    -- Not the 100 MB: Node's fetch alone needs half a minute of CPU for them.
    test("gives Node's fetch files at the same time unchanged", { 'node' }, function()
        local text = folder .. '/www/text.txt'
        local argv = { 'node', 'spec/gateway/support/fetch.mjs', url('1k'), url('text.txt'),
            url('1m') }
        assert.equal(('200 1024 %s\n200 %d %s\n200 1048576 %s\n'):format(sums['1k'], #TEXT,
            peers.sha256(text), sums['1m']), peers.run(argv, 60))
    end)

    test("passes a body in chunks from Node's fetch on unchanged", { 'node' }, function()
        peers.run({ 'node', 'spec/gateway/support/fetch.mjs', '--put', folder .. '/www/1m',
            url('up/node') }, 60)
        assert.equal(sums['1m'], peers.sha256(folder .. '/www/up/node'))
    end)

    test('passes a body of 100 MB from curl on unchanged', {}, function()
        peers.run({ 'curl', '-sSf', '-T', folder .. '/www/100m', url('large/curl') }, 60)
        assert.equal(sums['100m'], peers.sha256(folder .. '/www/large/curl'))
    end)

    test('passes a compressed answer on as it is', {}, function()
        local ask = { ['Accept-Encoding'] = 'gzip' }
        local direct = assert(client.get(nginx.port, '/text.txt', ask))
        local through = assert(client.get(gateway.port, '/text.txt', ask))
        assert.equal('gzip', through.headers['content-encoding'])
        assert.is_true(#through.body < #TEXT / 10)
        assert.equal(direct.body, through.body)
        local status, sum = curl('text.txt', '--compressed')
        assert.equal(200, status)
        assert.equal(peers.sha256(folder .. '/www/text.txt'), sum)
    end)

    test('passes ranges on', {}, function()
        local through = assert(client.get(gateway.port, '/1m', { Range = 'bytes=1000-1099' }))
        assert.equal(206, through.status)
        assert.equal('bytes 1000-1099/1048576', through.headers['content-range'])
        assert.equal(process.read(folder .. '/www/1m'):sub(1001, 1100), through.body)
        through = assert(client.get(gateway.port, '/1m', { Range = 'bytes=2000000-' }))
        assert.equal(416, through.status)
        local several = { Range = 'bytes=0-9,100-109' }
        through = assert(client.get(gateway.port, '/1m', several))
        assert.equal(206, through.status)
        assert.truthy(through.headers['content-type']:find('multipart/byteranges', 1, true))
    end)

    test('passes 304 on, and the connection stays in use', {}, function()
        local connection = assert(client.connect(gateway.port))
        local first = assert(connection:request('GET', '/1k'))
        for _ = 1, 3 do
            local again = assert(connection:request('GET', '/1k', {
                ['If-None-Match'] = assert(first.headers.etag) }))
            assert.equal(304, again.status)
            assert.equal(first.headers.etag, again.headers.etag)
            assert.equal(first.body, assert(connection:request('GET', '/1k')).body)
        end
        connection:close()
    end)

    test('passes the answer to HEAD on, and the connection stays in use', {}, function()
        local connection = assert(client.connect(gateway.port))
        for _ = 1, 3 do
            local head = assert(connection:request('HEAD', '/1m'))
            assert.equal(200, head.status)
            assert.equal('1048576', head.headers['content-length'])
            assert.equal(1024, #assert(connection:request('GET', '/1k')).body)
        end
        connection:close()
    end)

    test('passes an error of nginx on as it is', {}, function()
        local direct = assert(client.get(nginx.port, '/nothing'))
        local through = assert(client.get(gateway.port, '/nothing'))
        assert.equal(404, through.status)
        assert.equal(direct.body, through.body)
    end)

    test('answers wrk on 256 connections without one error', { 'wrk' }, function()
        local out = peers.run({ 'wrk', '-t', '2', '-c', '256', '-d', WRK_SECONDS .. 's',
            '--timeout', '10s', url('1k') }, WRK_SECONDS + 30)
        assert.is_nil(out:find('Socket errors', 1, true), out)
        assert.is_nil(out:find('Non-2xx', 1, true), out)
        local requests = assert(tonumber(out:match('(%d+) requests in')), out)
        -- nginx closes a connection after its 1,000th request, so those closes are met too.
        assert.is_true(requests > 256, out)
        if SOAK then
            print(('    wrk: %d requests in %d s'):format(requests, WRK_SECONDS))
        end
    end)
end)

describe("with Node's ws on both sides, the gateway", function()
    local SCRIPT = 'spec/gateway/support/websocket.mjs'
    local MESSAGES = SOAK and 5000 or 200

    after_each(process.stop_all)

    local function test(name, run)
        it(name, function()
            local missing = peers.missing({ 'node' })
            if missing or os.execute(('node %s has 2>/dev/null'):format(SCRIPT)) ~= 0 then
                pending(missing or 'node-ws is not installed: script/bootstrap installs it')
                return
            end
            run()
        end)
    end

    local function ask(port)
        local gateway = process.gateway(process.yaml{ upstream = port })
        local out = peers.run({ 'node', SCRIPT, 'ask', ('ws://127.0.0.1:%d/ws'):format(
            gateway.port), tostring(MESSAGES) }, 60)
        assert.equal(('%d messages, 1 pong, closed with 4321 enough\n'):format(MESSAGES), out)
        -- It is Node that ends the connections; none stays.
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.tunnels == 0 and status.counters.connections == 0 and
                status.counters.upstream_connections == 0
        end))
        assert.equal(1, gateway:status().outcomes.upgraded)
    end

    test('passes messages, a ping and the close, compressed', function()
        local server = process.start({ 'node', SCRIPT, 'serve' })
        assert(server:wait_text('\n', nil, 'out'), server.err)
        ask(tonumber(server.out))
    end)

    test('passes messages to and from our own echo', function()
        ask(process.echo().port)
    end)
end)
