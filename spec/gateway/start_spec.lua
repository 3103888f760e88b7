-- SPDX-License-Identifier: Apache-2.0
--
-- From the command to a gateway that serves, and everything that stops it on the way: one clear
-- sentence, the right exit code, nothing left behind.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

describe('the start', function()
    after_each(process.stop_all)

    -- Where nobody else is: one warning less, on a machine with another gateway.
    local function own_status()
        return ('  status: { address: "127.0.0.1:%d" }'):format(process.free_port())
    end

    local function file(yaml)
        return process.write(process.folder() .. '/moongate.yml', yaml)
    end

    local function nothing_left(gateway)
        return not process.read(gateway.control)
            and not posix.connect(gateway.control, posix.now() + 1)
    end

    it('says when all workers serve, and proxies', function()
        local echo = process.echo()
        local gateway = process.gateway(process.yaml{ upstream = echo.port, workers = 2 })
        assert.truthy(gateway.err:find('moongate: ready, 2 workers, listening on 127.0.0.1:', 1,
            true))
        local res = assert(gateway:get('/orders/7?x=1'))
        assert.equal(200, res.status)
        assert.truthy(res.body:find('"path":"/orders/7"', 1, true))
    end)

    it('serves on unix sockets and IPv4 at the same time', function()
        local echo = process.echo()
        local path = process.folder() .. '/http'
        local yaml = process.yaml{ upstream = echo.port }:gsub('listeners: %[',
            ('listeners: [{ address: "unix:%s" }, '):format(path))
        local gateway = process.gateway(yaml)
        assert.truthy(gateway.err:find('unix:' .. path, 1, true))
        assert.equal(200, assert(client.get(path, '/')).status)
        gateway:signal('TERM')
        assert.equal(0, gateway:wait())
        assert.is_nil(posix.connect(path, posix.now() + 1))
    end)

    it('refuses a broken configuration with all its errors and 78', function()
        local gateway = process.start_gateway([[
_format_version: "3.0"
services:
- name: orders
  url: http://127.0.0.1:9
  raed_timeout: 5000
  routes:
  - name: orders
    paths: [/orders]
    plugins:
    - name: corss
gateway:
  workers: many
]])
        assert.equal(78, gateway:wait())
        assert.truthy(gateway.err:find('raed_timeout', 1, true))
        assert.truthy(gateway.err:find('corss', 1, true))
        assert.truthy(gateway.err:find('many', 1, true))
        assert.truthy(gateway.err:find('3 errors', 1, true))
        assert.is_true(nothing_left(gateway))
    end)

    it('refuses a missing file with 78 and its name', function()
        local code, _, err = process.run('run', '-c', '/nonexistent/moongate.yml')
        assert.equal(78, code)
        assert.truthy(err:find('/nonexistent/moongate.yml', 1, true))
    end)

    it('refuses a folder in place of a file with 78', function()
        local code, _, err = process.run('run', '-c', process.folder())
        assert.equal(78, code)
        assert.truthy(err:find('directory', 1, true))
    end)

    it('names the port that is taken, and fails with 1', function()
        local fd, port = posix.listen()
        local gateway = process.start_gateway(process.yaml{ port = port })
        assert.equal(1, gateway:wait())
        assert.truthy(gateway.err:find(('127.0.0.1:%d is in use'):format(port), 1, true))
        assert.is_true(nothing_left(gateway))
        posix.close(fd)
    end)

    it('does not share the port of another gateway', function()
        local first = process.gateway(process.yaml{})
        local second = process.start_gateway(process.yaml{ port = first.port })
        assert.equal(1, second:wait())
        assert.truthy(second.err:find('is in use', 1, true))
    end)

    it('names the pid of a gateway that already runs this configuration', function()
        local first = process.gateway(process.yaml{})
        local code, _, err = process.run('run', '-c', first.config, '--control', first.control)
        assert.equal(1, code)
        assert.truthy(err:find(('pid %d'):format(first.pid), 1, true))
        assert.equal('serving', first:status().state)
    end)

    it('says which error log cannot be written, and fails with 1', function()
        local gateway = process.start_gateway(process.yaml{
            gateway = '  log: { error_log: /nonexistent/error.log }' })
        assert.equal(1, gateway:wait())
        assert.truthy(gateway.err:find('/nonexistent/error.log', 1, true))
        assert.is_true(nothing_left(gateway))
    end)

    it('says how much shared memory its limits need', function()
        local gateway = process.start_gateway(process.yaml{
            workers = 256, gateway = '  shared_memory: 1MiB' })
        assert.equal(78, gateway:wait())
        local needed = gateway.err:match('gateway%.shared_memory: .*: (%d+) bytes are needed')
        assert.is_true(tonumber(needed) > 1024 * 1024)
        assert.is_true(nothing_left(gateway))
    end)

    it('says in one sentence which access log cannot be written, with 78', function()
        local gateway = process.start_gateway(process.yaml{ workers = 2, gateway = own_status(),
            plugins = '    plugins: [{ name: access-log, config: '
                .. '{ sinks: [{ type: file, path: /nowhere/a.log }] } }]' })
        assert.equal(78, gateway:wait())
        assert.equal('moongate: plugin "access-log": cannot open the log file /nowhere/a.log: '
            .. 'No such file or directory (in configure)\n', gateway.err)
        assert.is_true(nothing_left(gateway))
    end)

    it('takes a plugin that fails in init_worker as a refused configuration', function()
        local folder = process.folder()
        os.execute('mkdir ' .. folder .. '/plugins')
        process.write(folder .. '/plugins/broken.lua', [[
local plugin = { PRIORITY = 1, VERSION = '0.1.0' }
function plugin:init_worker() error('no light today') end
return plugin
]])
        local gateway = process.start_gateway(
            process.yaml{ plugins = '    plugins: [{ name: broken }]', workers = 2,
                gateway = own_status() }, { folder = folder })
        assert.equal(78, gateway:wait())
        local said = '^moongate: plugin "broken": [^\n]*/plugins/broken%.lua:2: no light today '
            .. '%(in init_worker%)\n    '
        assert.truthy(gateway.err:find(said), gateway.err)
        assert.is_nil(gateway.err:find('no light today.*no light today'), gateway.err)
        assert.is_true(nothing_left(gateway))
    end)

    it('ends at once when it is told to while it starts', function()
        local gateway = process.start_gateway(process.yaml{})
        gateway:signal('TERM')
        local code = gateway:wait()
        -- Before the handler stands the signal's own effect holds.
        assert.is_true(code == 0 or code == 128 + posix.signals.TERM)
    end)

    it('keeps its control socket to its owner', function()
        local gateway = process.gateway(process.yaml{})
        local list = assert(io.popen('stat -c %a ' .. gateway.control))
        assert.equal('600', list:read('*l'))
        list:close()
    end)

    it('replaces the socket of a gateway that was killed', function()
        local first = process.gateway(process.yaml{})
        first:signal('KILL')
        assert.equal(137, first:wait())
        local second = process.gateway(process.yaml{}, { folder = first.folder })
        assert.equal('serving', second:status().state)
    end)

    it('takes its workers with it when it is killed', function()
        local gateway = process.gateway(process.yaml{ workers = 2 })
        local pids = {}
        for i, worker in ipairs(gateway:status().workers) do
            pids[i] = worker.pid
        end
        gateway:signal('KILL')
        gateway:wait()
        for _, pid in ipairs(pids) do
            assert.is_true(posix.wait_gone(pid, posix.now() + process.deadline))
        end
    end)

    it('checks without starting anything', function()
        local code, out = process.run('check', file(process.yaml{}))
        assert.equal(0, code)
        assert.truthy(out:find('no errors', 1, true))
        code, out = process.run('check', file('services: 7'))
        assert.equal(78, code)
        assert.truthy(out:find('services', 1, true))
    end)
end)
