-- SPDX-License-Identifier: Apache-2.0
--
-- moongate.redis over TLS with real Redis servers: whom it trusts, what it calls those it does not,
-- and fleets that speak nothing else.
local asking = require 'spec.gateway.support.asking'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local redis = require 'spec.gateway.support.redis'

describe('moongate.redis with TLS', function()
    local TIMES = 'timeout: 2s, connect_timeout: 2s'
    local files, gateway, server

    before_each(function()
        files = redis.certificates()
    end)

    after_each(process.stop_all)

    -- The instance `main` at that place.
    local function start(place, tls, times)
        gateway = asking.gateway(('{ %s, tls: { %s }, %s }'):format(place, tls, times or TIMES),
            { workers = 2 })
    end

    local function start_at(port, tls, times)
        start(('host: 127.0.0.1, port: %d'):format(port), tls, times)
    end

    -- The first failure is of that class, and the log says that.
    local function expect_failure(class, text)
        local answer = gateway:ask 'return redis:get("a")'
        assert.is_nil(answer.value)
        assert.is_true(answer.class == class or answer.class == 'open', answer.class)
        assert.is_true(gateway:wait_text(('no connection to "main" reason=%s error="%s')
            :format(class, text)))
    end

    it('verifies the server and talks to it', function()
        server = redis.tls_server(files)
        start(('url: "rediss://127.0.0.1:%d/3"'):format(server.tls_port), 'ca: ' .. files.ca)
        assert.equal('OK', gateway:value 'return redis:set("a", ("x"):rep(1000000))')
        assert.equal(1000000, gateway:value 'return #redis:get("a")')
        assert.matches('db3:keys=1', server:ask('INFO', 'keyspace'))
    end)

    it('takes another name that the certificate has, and shows its own', function()
        server = redis.tls_server(files, { arguments = { '--tls-auth-clients', 'yes' } })
        start(('host: localhost, port: %d'):format(server.tls_port), ('ca: %s,'
            .. ' server_name: redis.test, cert: %s, key: %s'):format(files.ca, files.cert,
            files.key))
        assert.equal('PONG', gateway:value 'return redis:ping()')
    end)

    it('R13 names a server that it does not trust', function()
        server = redis.tls_server(files)
        start_at(server.tls_port, 'ca: ' .. files.other_ca)
        expect_failure('tls', 'certificate verify failed: ')
        assert.equal(0, server:count('commandstats', 'cmdstat_ping:calls')) -- nothing was sent
        local results = gateway:status().stores[1].results
        assert.is_nil(results.refused)
    end)

    it('names a server of another name', function()
        server = redis.tls_server(files)
        start(('host: localhost, port: %d'):format(server.tls_port), 'ca: ' .. files.ca)
        expect_failure('tls', 'certificate verify failed: hostname mismatch')
    end)

    it('names a certificate that has expired', function()
        server = redis.tls_server({ ca = files.ca, cert = files.late, key = files.key })
        start_at(server.tls_port, 'ca: ' .. files.ca)
        expect_failure('tls', 'certificate verify failed: certificate has expired')
    end)

    it('names a server that wants a certificate', function()
        server = redis.tls_server(files, { arguments = { '--tls-auth-clients', 'yes' } })
        start_at(server.tls_port, 'ca: ' .. files.ca)
        expect_failure('tls', '')
    end)

    it('tells a server without TLS from one that hangs', function()
        local text = 'no answer to the TLS handshake: does the server speak TLS?'
        server = redis.server() -- it waits for the end of a line
        start_at(server.port, 'ca: ' .. files.ca, 'timeout: 5s, connect_timeout: 500ms')
        expect_failure('tls', text)
        assert.is_nil(gateway:status().stores[1].results.timeout)
        server = redis.tls_server(files)
        server:signal('STOP')
        start_at(server.tls_port, 'ca: ' .. files.ca, 'timeout: 5s, connect_timeout: 500ms')
        expect_failure('timeout', text)
        assert.is_nil(gateway:status().stores[1].results.tls)
        server:signal('CONT')
    end)

    it('names a server that answers something else', function()
        start_at(process.echo().port, 'ca: ' .. files.ca) -- HTTP
        expect_failure('tls', 'the peer does not speak TLS')
    end)

    it('R13 logs in inside, and names a user without rights', function()
        server = redis.tls_server(files, { arguments = { '--user', 'gate', 'on', '>s3cret', '~a*',
            '+get', '--user', 'default', 'on', '>other', '~*', '+@all' },
            login = { 'default', 'other' } })
        start_at(server.tls_port, 'ca: ' .. files.ca, 'username: gate, password: s3cret, ' .. TIMES)
        assert.is_true(gateway:value 'return redis:get("a") == ngx.null')
        for _, command in ipairs({ 'redis:set("a", 1)', 'redis:get("b")' }) do
            local answer = gateway:ask('return ' .. command)
            assert.is_false(answer.value)
            assert.matches('^NOPERM ', answer.err)
            assert.equal('auth', answer.class)
        end
        assert.equal(0, gateway:status().stores[1].opened)
    end)

    it('trusts anybody where that is said, with a warning', function()
        server = redis.tls_server(files)
        start(('host: localhost, port: %d'):format(server.tls_port), 'verify: false')
        assert.equal('PONG', gateway:value 'return redis:ping()')
        local code, out, err = process.run('check', '-c', gateway.config)
        assert.equal(0, code)
        assert.matches('any server is trusted, whoever it is', out .. err)
    end)

    it('reads the files anew with each reload', function()
        server = redis.tls_server(files)
        local ca = process.write(process.folder() .. '/ca.pem', process.read(files.ca))
        start_at(server.tls_port, 'ca: ' .. ca)
        assert.equal('PONG', gateway:value 'return redis:ping()')
        process.write(ca, process.read(files.other_ca))
        assert.equal(0, (gateway:command('reload')))
        expect_failure('tls', 'certificate verify failed: ')
        process.write(ca, process.read(files.ca))
        assert.equal(0, (gateway:command('reload')))
        redis.wait(function()
            return gateway:ask('return redis:ping()').value == 'PONG'
        end, 'it is trusted again')
        process.write(ca, 'nothing of use')
        local code, out, err = gateway:command('reload')
        assert.equal(78, code)
        assert.matches('gateway.redis.main.tls: ca holds no certificate', out .. err, 1, true)
        os.remove(ca)
        code, out, err = gateway:command('reload')
        assert.equal(78, code)
        assert.matches('gateway.redis.main.tls.ca: the file ".*ca.pem" cannot be read', out .. err)
        assert.equal('PONG', gateway:value 'return redis:ping()')
    end)

    it('gives a worker that is replaced what was checked, not what is on disk', function()
        server = redis.tls_server(files)
        local ca = process.write(process.folder() .. '/ca.pem', process.read(files.ca))
        start_at(server.tls_port, 'ca: ' .. ca)
        process.write(ca, 'half an edit')
        for _, worker in ipairs(gateway:status().workers) do
            assert.is_true(posix.kill(worker.pid, posix.signals.KILL))
        end
        redis.wait(function()
            return gateway:ask('return redis:ping()').value == 'PONG'
        end, 'the new workers talk')
    end)

    it('speaks TLS to sentinels, and to the master that they name', function()
        local fleet = redis.sentinels('orders', files)
        start(('topology: sentinel, nodes: %s, sentinel: { master: orders }'):format(
            fleet:nodes()), 'ca: ' .. files.ca)
        assert.equal('OK', gateway:value 'return redis:set("a", 1)')
        assert.equal('1', fleet.master:ask('GET', 'a'))
        assert.equal('OK', fleet.sentinels[1]:ask('SENTINEL', 'FAILOVER', 'orders'))
        redis.wait(function()
            gateway:ask 'return redis:set("a", 2)'
            return fleet.replica:ask('GET', 'a') == '2' and fleet.replica:ask('ROLE')[1] == 'master'
        end, 'the new master is asked')
    end)

    it('speaks TLS to every server of a cluster', function()
        local cluster = redis.cluster({ replicas = 0, files = files })
        start(('topology: cluster, nodes: ["127.0.0.1:%d"]'):format(cluster.servers[1].tls_port),
            'ca: ' .. files.ca)
        assert.equal(0, gateway:value [[
            local failed = 0
            for i = 1, 200 do
                if redis:set('k' .. i, i) ~= 'OK' then failed = failed + 1 end
            end
            return failed]])
        for _, each in ipairs(cluster.servers) do
            assert.is_true(each:count('commandstats', 'cmdstat_set:calls') > 20)
        end
    end)
end)
