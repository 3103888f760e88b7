-- SPDX-License-Identifier: Apache-2.0
--
-- Reload: all workers or none, no request lost, refusals that say why. MOONGATE_LONG=1 runs the
-- hundred reloads of the proof instead of twenty.
local client = require 'spec.gateway.support.client'
local load = require 'spec.gateway.support.load'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local RELOADS = os.getenv('MOONGATE_LONG') and 100 or 20

local PLUGIN = [[
local plugin = { PRIORITY = 1000, VERSION = '0.1.0' }
function plugin:access()
    if moongate.request.get_path() == '/mark' then
        return moongate.response.exit(200, '%s')
    end
end
return plugin
]]

describe('reload', function()
    after_each(process.stop_all)

    -- A gateway with the plugin `mark`, whose answer is the text.
    local function marked(text, o)
        local folder = process.folder()
        os.execute('mkdir ' .. folder .. '/plugins')
        process.write(folder .. '/plugins/mark.lua', PLUGIN:format(text))
        local options = o or {}
        options.plugins = '    plugins: [{ name: mark }]'
        options.workers = options.workers or 2
        options.port = process.free_port()
        local gateway = process.gateway(process.yaml(options), { folder = folder })
        gateway.options = options
        function gateway.mark(_, new)
            process.write(folder .. '/plugins/mark.lua', PLUGIN:format(new))
        end
        return gateway
    end

    -- What every worker answers: many connections meet each of them.
    local function answers(gateway)
        local seen = {}
        for _ = 1, 20 do
            seen[assert(gateway:get('/mark')).body] = true
        end
        return seen
    end

    it('takes over a changed plugin in every worker, and says what has changed', function()
        local gateway = marked('old')
        assert.same({ old = true }, answers(gateway))
        gateway:mark('new')
        local code, out, err = gateway:command('reload')
        assert.equal(0, code, err)
        assert.truthy(out:find('mark', 1, true))
        assert.truthy(out:find('Generation 2 serves in 2 workers', 1, true))
        assert.same({ new = true }, answers(gateway))
        local status = gateway:status()
        assert.equal(2, status.generation)
        assert.is_true(status.last_reload.successful)
    end)

    it('counts what was added to the configuration', function()
        local gateway = process.gateway(process.yaml{})
        local yaml = process.read(gateway.config):gsub('gateway:', [[
- name: more
  url: http://127.0.0.1:9
  routes: [{ name: more, paths: [/more] }]
gateway:]], 1)
        gateway:rewrite(yaml)
        local code, out = gateway:command('reload')
        assert.equal(0, code)
        assert.truthy(out:find('1 service added', 1, true))
        assert.truthy(out:find('1 route added', 1, true))
    end)

    it('reloads on SIGHUP', function()
        local gateway = marked('old')
        gateway:mark('new')
        gateway:signal('HUP')
        assert.truthy(gateway:wait_status(function(status)
            return status.generation == 2 and status.last_reload ~= nil
        end))
        assert.same({ new = true }, answers(gateway))
    end)

    it('refuses a broken file with all its errors and 78, and keeps serving', function()
        local gateway = marked('old')
        gateway:rewrite(process.read(gateway.config):gsub('url:', 'ulr:'):gsub('paths:', 'pahts:'))
        local code, out, err = gateway:command('reload')
        assert.equal(78, code)
        assert.equal('', out)
        assert.truthy(err:find('ulr', 1, true))
        assert.truthy(err:find('pahts', 1, true))
        assert.truthy(err:find('Generation 1 stays', 1, true))
        assert.same({ old = true }, answers(gateway))
        local status = gateway:status()
        assert.equal(1, status.generation)
        assert.is_false(status.last_reload.successful)
        assert.truthy(status.last_reload.error:find('pahts', 1, true))
    end)

    it('logs what it reports, a line for each line', function()
        local gateway = marked('old')
        local yaml = process.read(gateway.config)
        gateway:rewrite((yaml:gsub('url:', 'ulr:')))
        assert.equal(78, (gateway:command('reload')))
        assert.is_true(gateway:wait_text('Nothing was loaded'))
        local place = gateway.config .. ':4:3: services[0]: '
        for _, line in ipairs({ ' error master: reload refused, generation 1 stays\n',
            ' error reload: ' .. place .. 'unknown key "ulr" [MG1023]\n',
            ' error reload:     4 |   ulr: http' }) do
            assert.truthy(gateway.err:find(line, 1, true), gateway.err)
        end
        assert.is_nil(gateway.err:find('\\n', 1, true))
        gateway:rewrite(yaml)
        gateway:mark('new')
        assert.equal(0, (gateway:command('reload')))
        assert.is_true(gateway:wait_text(' notice master: reload done\n'))
        assert.is_true(gateway:wait_text((' notice reload: file %s/plugins/mark.lua changed.\n')
            :format(gateway.folder)))
    end)

    it('refuses a plugin that does not load, or fails in init_worker', function()
        local gateway = marked('old')
        local path = gateway.folder .. '/plugins/mark.lua'
        for text, reason in pairs({
            ['return {'] = 'mark.lua:1',
            ["local p = { PRIORITY = 1, VERSION = '0.1.0' }\n"
                .. "function p:init_worker() error('no light') end\nreturn p"] = 'no light',
        }) do
            process.write(path, text)
            local code, _, err = gateway:command('reload')
            assert.equal(78, code)
            assert.truthy(err:find(reason, 1, true), err)
            assert.same({ old = true }, answers(gateway))
        end
        gateway:mark('new')
        assert.equal(0, (gateway:command('reload')))
        assert.same({ new = true }, answers(gateway))
    end)

    it('refuses what needs a restart, in clear words', function()
        local gateway = process.gateway(process.yaml{})
        local yaml = process.read(gateway.config)
        for from, to in pairs({ ['workers: 1'] = 'workers: 2',
            ['127.0.0.1:' .. gateway.port] = '127.0.0.1:' .. process.free_port() }) do
            local at, to_end = yaml:find(from, 1, true)
            gateway:rewrite(yaml:sub(1, at - 1) .. to .. yaml:sub(to_end + 1))
            local code, _, err = gateway:command('reload')
            assert.equal(78, code)
            assert.truthy(err:find('not supported yet', 1, true))
        end
        assert.equal(1, gateway:status().generation)
    end)

    it('runs a worker that is replaced from what was checked, not from what is on the disk',
        function()
            local gateway = marked('old', { workers = 1 })
            gateway:mark('half-finished')
            local pid = gateway:status().workers[1].pid
            assert.is_true(posix.kill(pid, posix.signals.KILL))
            assert.truthy(gateway:wait_status(function(status)
                return status.workers[1].state == 'serving' and status.workers[1].pid ~= pid
            end))
            assert.same({ old = true }, answers(gateway))
        end)

    it('lets a request end on the generation it began with', function()
        local echo = process.echo()
        local gateway = marked('old', { upstream = echo.port, workers = 1 })
        local connection = assert(client.connect(gateway.port))
        assert(connection:send('GET /?delay=4000 HTTP/1.1\r\nHost: x\r\n\r\n'))
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.requests == 1
        end))
        gateway:mark('new')
        assert.equal(0, (gateway:command('reload')))
        assert.equal(2, gateway:status().counters.generations)
        assert.equal(200, assert(connection:response()).status)
        assert.equal('new', assert(connection:request('GET', '/mark')).body)
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.generations == 1
        end))
        connection:close()
    end)

    it('refuses one generation too many and says what holds the oldest', function()
        local echo = process.echo()
        local gateway = marked('old', { upstream = echo.port, workers = 1,
            gateway = '  plugins: { max_generations: 2 }' })
        local connection = assert(client.connect(gateway.port))
        assert(connection:send('GET /?delay=60000 HTTP/1.1\r\nHost: x\r\n\r\n'))
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.requests == 1
        end))
        assert.equal(0, (gateway:command('reload')))
        local code, _, err = gateway:command('reload')
        assert.equal(78, code)
        assert.truthy(err:find('number 1,', 1, true))
        assert.truthy(err:find('held by 1 request', 1, true))
        connection:close()
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.generations == 1
        end))
        assert.equal(0, (gateway:command('reload')))
    end)

    it('answers everybody who asked while a reload was under way', function()
        local gateway = marked('old', { workers = 1 })
        local asked = {}
        for i = 1, 5 do
            asked[i] = process.start({ process.binary, 'reload', '--control', gateway.control })
        end
        for i = 1, 5 do
            assert.equal(0, asked[i]:wait())
        end
        assert.is_true(gateway:status().generation <= 6)
    end)

    it('loses no request in ' .. RELOADS .. ' reloads, with connections kept alive', function()
        local echo = process.echo('--size', '100')
        local gateway = marked('0', { upstream = echo.port })
        local running = load.start(gateway.port, { connections = 16 })
        for i = 1, RELOADS do
            gateway:mark(tostring(i))
            local code, _, err = gateway:command('reload')
            assert.equal(0, code, err)
        end
        local result = running:stop()
        assert.is_true(result.requests > 100)
        assert.equal(0, result.failed, result.text)
        assert.same({ [tostring(RELOADS)] = true }, answers(gateway))
    end)

    it('loses no request in ' .. RELOADS .. ' reloads, with a connection for each', function()
        local echo = process.echo('--size', '100')
        local gateway = marked('0', { upstream = echo.port })
        local running = load.start(gateway.port, { connections = 8, close = true })
        for i = 1, RELOADS do
            gateway:mark(tostring(i))
            local code, _, err = gateway:command('reload')
            assert.equal(0, code, err)
        end
        local result = running:stop()
        assert.is_true(result.requests > 50)
        assert.equal(0, result.failed, result.text)
    end)
end)
