-- SPDX-License-Identifier: Apache-2.0
--
-- The gentle end: what has begun is finished, then exit 0; with a deadline, and a way to hurry.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

-- The listening sockets close a moment after the master has said that it drains.
local function wait_until_refused(port)
    local deadline = posix.now() + process.deadline
    local fd
    repeat
        fd = posix.connect(port, deadline)
        if fd then
            posix.close(fd)
        end
    until not fd or posix.now() > deadline
    assert.is_nil(fd)
end

describe('the drain', function()
    after_each(process.stop_all)

    local function slow_request(gateway, delay_ms)
        local connection = assert(client.connect(gateway.port))
        assert(connection:send(('GET /?delay=%d HTTP/1.1\r\nHost: x\r\n\r\n'):format(delay_ms)))
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.requests_active == 1
        end))
        return connection
    end

    for _, signal in ipairs({ 'TERM', 'QUIT', 'INT' }) do
        it('by SIG' .. signal .. ' finishes the request under way and accepts no more', function()
            local echo = process.echo()
            local gateway = process.gateway(process.yaml{ upstream = echo.port, workers = 2 })
            local connection = slow_request(gateway, 1000)
            gateway:signal(signal)
            assert.is_true(gateway:wait_text('draining'))
            wait_until_refused(gateway.port)
            local res = assert(connection:response())
            assert.equal(200, res.status)
            assert.equal('close', res.headers.connection)
            connection:close()
            assert.equal(0, gateway:wait())
        end)
    end

    it('closes quiet kept-alive connections after a while', function()
        local echo = process.echo()
        local gateway = process.gateway(process.yaml{ upstream = echo.port })
        local connection = assert(client.connect(gateway.port))
        assert.equal(200, assert(connection:request('GET', '/')).status)
        gateway:signal('TERM')
        wait_until_refused(gateway.port) -- now the workers know, not only the master
        -- A request that was on its way is still answered, and told that it is the last.
        local res = assert(connection:request('GET', '/'))
        assert.equal('close', res.headers.connection)
        assert.equal(0, gateway:wait())
        connection:close()
    end)

    it('still accepts for drain_delay', function()
        local echo = process.echo()
        local gateway = process.gateway(process.yaml{ upstream = echo.port,
            gateway = '  shutdown: { drain_delay: 1s }' })
        gateway:signal('TERM')
        assert.is_true(gateway:wait_text('draining'))
        assert.equal(200, assert(gateway:get('/')).status)
        assert.equal('draining', gateway:status().state)
        local code, _, err = gateway:command('reload')
        assert.equal(1, code)
        assert.truthy(err:find('ending', 1, true))
        assert.equal(0, gateway:wait())
    end)

    it('cuts what is left after drain_timeout, and says so', function()
        local echo = process.echo()
        local gateway = process.gateway(process.yaml{ upstream = echo.port,
            gateway = '  shutdown: { drain_timeout: 300ms }' })
        local connection = slow_request(gateway, 60000)
        gateway:signal('TERM')
        assert.equal(0, gateway:wait(10))
        assert.truthy(gateway.err:find('1 connections are cut', 1, true))
        connection:expect_cut()
    end)

    it('ends now at the second signal', function()
        local echo = process.echo()
        local gateway = process.gateway(process.yaml{ upstream = echo.port })
        local connection = slow_request(gateway, 60000)
        gateway:signal('TERM')
        assert.is_true(gateway:wait_text('draining'))
        gateway:signal('TERM')
        assert.equal(0, gateway:wait(10))
        connection:close()
    end)

    it('replaces no worker that dies meanwhile', function()
        local echo = process.echo()
        local gateway = process.gateway(process.yaml{ upstream = echo.port })
        local pid = gateway:status().workers[1].pid
        local connection = slow_request(gateway, 60000)
        gateway:signal('TERM')
        assert.is_true(gateway:wait_text('draining'))
        assert.is_true(posix.kill(pid, posix.signals.KILL))
        assert.equal(0, gateway:wait(10))
        connection:close()
    end)
end)

describe('signals', function()
    after_each(process.stop_all)

    it('USR1 opens the error log anew', function()
        local folder = process.folder()
        local log = folder .. '/error.log'
        local gateway = process.gateway(process.yaml{
            gateway = ('  log: { error_log: "%s", level: info }'):format(log) })
        assert.is_true(os.rename(log, log .. '.1'))
        gateway:signal('USR1')
        local deadline = posix.now() + process.deadline
        while not process.read(log) and posix.now() < deadline do
            gateway:status()
        end
        gateway:signal('HUP')
        assert.truthy(gateway:wait_status(function(status)
            return status.last_reload ~= nil
        end))
        assert.truthy(process.read(log .. '.1'):find(('ready, pid=%d, 1 worker, listening on ')
            :format(gateway.pid), 1, true))
        assert.truthy(process.read(log):find('reload done', 1, true))
        assert.is_nil(process.read(log .. '.1'):find('reload done', 1, true))
    end)

    it('USR2 says that an upgrade is not supported yet', function()
        local gateway = process.gateway(process.yaml{})
        gateway:signal('USR2')
        assert.is_true(gateway:wait_text('upgrade is not supported yet'))
        assert.equal('serving', gateway:status().state)
    end)

    it('to a worker change nothing: only the master tells it what to do', function()
        local gateway = process.gateway(process.yaml{})
        local pid = gateway:status().workers[1].pid
        for _, name in ipairs({ 'TERM', 'INT', 'HUP', 'QUIT', 'USR1', 'USR2' }) do
            assert.is_true(posix.kill(pid, posix.signals[name]))
        end
        assert.equal(pid, gateway:status().workers[1].pid)
        assert.equal(400, assert(client.get(gateway.port, '/', { Host = 'a b' })).status)
    end)

    it('the service manager is told about readiness and the end', function()
        local folder = process.folder()
        local path = folder .. '/notify'
        local fd = posix.listen_datagrams(path)
        local gateway = process.gateway(process.yaml{}, { env = { NOTIFY_SOCKET = path } })
        local deadline = posix.now() + process.deadline
        assert.equal('READY=1', posix.read(fd, deadline):match('^[^\n]+'))
        gateway:signal('TERM')
        assert.equal('STOPPING=1', posix.read(fd, deadline))
        assert.equal(0, gateway:wait())
        posix.close(fd)
    end)
end)
