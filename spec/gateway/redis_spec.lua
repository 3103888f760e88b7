-- SPDX-License-Identifier: Apache-2.0
--
-- moongate.redis with real workers and a real redis-server: commands, pipelines, scripts, logins,
-- what plugins see of a Redis that fails, and what an operator sees.
local asking = require 'spec.gateway.support.asking'
local client = require 'spec.gateway.support.client'
local cjson = require 'dkjson'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local redis = require 'spec.gateway.support.redis'

describe('moongate.redis', function()
    local gateway, server

    after_each(process.stop_all)

    local function start(settings, o)
        gateway = asking.gateway(settings, o)
    end

    local function run(text)
        return gateway:ask(text)
    end

    local function value(text)
        return gateway:value(text)
    end

    describe('with a server', function()
        before_each(function()
            server = redis.server()
            start(('{ host: 127.0.0.1, port: %d, timeout: 2s, connect_timeout: 2s }'):format(
                server.port))
        end)

        it('sends any command and reads any reply', function()
            assert.equal('OK', value 'return redis:set("a", "text")')
            assert.equal('text', value 'return redis:get("a")')
            assert.equal(cjson.null, value 'return redis:get("missing")')
            assert.is_true(value 'return redis:get("missing") == ngx.null')
            assert.equal(41, value 'return redis:call("INCRBY", "n", 41)')
            assert.equal('1.5', value 'return redis:incrbyfloat("f", 1.5)')
            assert.same({ 'a', 'b' },
                value 'redis:rpush("l", "a", "b") return redis:lrange("l", 0, -1)')
            assert.equal('a\r\n\0b',
                value 'redis:set("bin", "a\\r\\n\\0b") return redis:get("bin")')
            assert.same({ 1, { 'x', cjson.null }, {} },
                value 'return redis:eval("return {1, {\'x\', false}, {}}", 0)')
        end)

        it('tells an error reply from a missing one', function()
            local answer = run 'redis:set("a", "x") return redis:lpush("a", 1)'
            assert.is_false(answer.value)
            assert.matches('^WRONGTYPE ', answer.err)
            assert.equal('wrongtype', answer.class)
            answer = run 'return redis:nosuch()'
            assert.is_false(answer.value)
            assert.equal('other', answer.class)
        end)

        it('runs a pipeline in its order', function()
            local text = 'ERR value is not an integer or out of range'
            assert.same({ 'OK', 6, { false, text, 'other' }, '6' }, value [[
                return redis:pipeline({ { 'SET', 'n', 5 }, { 'INCR', 'n' },
                    { 'INCRBY', 'n', 'x' }, { 'GET', 'n' } })]])
            assert.same({}, value 'return redis:pipeline({})')
        end)

        it('runs a script of the plugin by its digest', function()
            assert.same({ cjson.null, 'one' }, value 'return redis:run(script, { "s" }, { "one" })')
            assert.same({ 'one', '2' }, value 'return redis:run(script, { "s" }, { 2 })')
            assert.equal(0, server:count('commandstats', 'cmdstat_eval:calls'))
            server:ask('SCRIPT', 'FLUSH')
            assert.same({ '2', '3' }, value 'return redis:run(script, { "s" }, { 3 })')
            assert.same({ '3', '4' }, value 'return redis:run(script, { "s" }, { 4 })')
            assert.equal(4, server:count('commandstats', 'cmdstat_evalsha:calls'))
            assert.equal(1, server:count('commandstats', 'cmdstat_eval:calls'))
        end)

        it('refuses what would change the connection of all', function()
            for _, command in ipairs({ 'SELECT', 'multi', 'Subscribe', 'BLPOP' }) do
                local answer = run(('return redis:call(%q, 1)'):format(command))
                assert.is_false(answer.ok)
                assert.matches('the connection that all share', answer.value)
            end
            local answer = run 'return redis:get({})'
            assert.is_false(answer.ok)
            assert.matches('must be text or a number, not table', answer.value)
        end)

        it('counts what it does', function()
            value 'return redis:set("a", 1)'
            run 'return redis:lpush("a", 1)'
            local status = gateway:status()
            assert.equal(2, status.counters.redis_commands)
            assert.equal(1, status.counters.redis_failures)
            assert.equal(2, status.counters.redis_connections)
            assert.same({ name = 'main', state = 'closed', opened = 0,
                results = { ok = 1, wrongtype = 1 } }, status.stores[1])
            local _, out = gateway:command('status')
            assert.matches('redis      main: closed, ok 1, wrongtype 1', out, 1, true)
        end)

        it('survives a reload with its connections', function()
            value 'return redis:set("a", 1)'
            local before = server:count('stats', 'total_connections_received')
            assert.equal(0, (gateway:command('reload')))
            assert.equal('1', value 'return redis:get("a")')
            assert.equal(before + 1, server:count('stats', 'total_connections_received')) -- ours
        end)
    end)

    it('logs in as a user of the ACL, also through a unix socket', function()
        server = redis.server({ arguments = { '--user', 'gate', 'on', '>s3cret', '~*', '+@all',
            '--user', 'default', 'on', '>other', '~*', '+@all' }, login = { 'gate', 's3cret' } })
        start(('{ url: "unix://%s", username: gate, password: s3cret, database: 2,'
            .. ' timeout: 2s, connect_timeout: 2s }'):format(server.socket))
        assert.equal('gate', value 'return redis:acl("WHOAMI")')
        value 'return redis:set("a", 1)'
        assert.matches('db2:keys=1', server:ask('INFO', 'keyspace'))
    end)

    it('names a login that fails, and tells nobody the password', function()
        server = redis.server({ arguments = { '--requirepass', 'right' },
            login = { 'default', 'right' } })
        start(('{ url: "redis://:wr0ng-s3cret@127.0.0.1:%d" }'):format(server.port))
        local answer = run 'return redis:get("a")'
        assert.is_nil(answer.value)
        assert.is_true(answer.class == 'auth' or answer.class == 'open', answer.class)
        assert.is_true(gateway:wait_text('no connection to "main" reason=auth'))
        local _, out = gateway:command('status', '--json')
        assert.is_nil((gateway.err .. gateway.out .. out):find('wr0ng', 1, true))
    end)

    it('waits no longer than its timeout for a server that hangs', function()
        server = redis.server()
        start(('{ host: 127.0.0.1, port: %d, timeout: 20ms }'):format(server.port), { workers = 2 })
        value 'return redis:ping()'
        server:signal('STOP')
        local classes = {}
        for _ = 1, 20 do
            local class = run('return redis:get("a")').class
            classes[class] = (classes[class] or 0) + 1
        end
        assert.equal(20, classes.timeout + classes.open) -- both happen
        assert.is_true(gateway:wait_text('"main" is not asked for now, it fails reason=timeout'))
        assert.equal('open', gateway:status().stores[1].state)
        server:signal('CONT')
        assert.is_true(gateway:wait_text('"main" answers again'))
        assert.is_truthy(gateway:wait_status(function(status)
            return status.counters.redis_connections == 4
        end))
        assert.equal('mine', value 'return redis:echo("mine")')
        local _, count = gateway.err:gsub('is not asked for now', '')
        assert.equal(1, count) -- one worker tells
    end)

    it('gives a wait up when its request has to end', function()
        server = redis.server()
        start(('{ host: 127.0.0.1, port: %d, timeout: 5s }'):format(server.port),
            { more = '  plugins: { defaults: { wall_ms: 100 } }' })
        value 'return redis:ping()'
        server:signal('STOP')
        local res = assert(client.request(gateway.port, 'POST', '/', {},
            'return function(redis) return redis:get("a") end'))
        assert.equal(503, res.status)
        server:signal('CONT')
        assert.equal('mine', value 'return redis:echo("mine")')
    end)

    it('refuses settings that cannot hold, each with its place', function()
        local folder = process.folder()
        local config = process.write(folder .. '/moongate.yml', [[
gateway:
  redis:
    both: { host: 127.0.0.1, unix: /run/redis.sock }
    none: { database: 1 }
    url: { url: "http://secret-word@127.0.0.1" }
    late: { host: a, timeout: 10s }
    "Bad Name": { host: a }
]])
        local code, out, err = process.run('check', '-c', config)
        err = out .. err
        assert.equal(78, code)
        assert.matches("'host' and 'unix' cannot both be", err)
        assert.matches("there is no server: set 'host', 'unix' or 'url'", err)
        assert.matches('expected redis://host:port', err, 1, true)
        assert.matches('gateway.redis.late.timeout', err, 1, true)
        assert.is_nil(err:match('secret%-word'))
    end)

    it('is missed at the start when there is none of that name', function()
        local folder = process.folder()
        asking.write_plugin(folder)
        gateway = process.start_gateway(process.yaml({
            plugins = '    plugins: [{ name: ask }]' }), { folder = folder })
        assert.equal(78, gateway:wait())
        assert.matches('gateway.redis has no "main"', gateway.err, 1, true)
    end)

    it('starts without its Redis and finds it later', function()
        local port = process.free_port()
        start(('{ host: 127.0.0.1, port: %d }'):format(port))
        local class = run('return redis:get("a")').class
        assert.is_true(class == 'refused' or class == 'open', class)
        server = redis.server({ port = port })
        local deadline = posix.now() + process.deadline
        local answer
        repeat
            answer = run('return redis:ping()').value
        until answer == 'PONG' or posix.now() > deadline
        assert.equal('PONG', answer)
    end)
end)
