-- SPDX-License-Identifier: Apache-2.0
--
-- The demo of conf/: every line that script/run prints does what it says. The configuration is the
-- one in the tree, with other ports.
local client = require 'spec.gateway.support.client'
local dkjson = require 'dkjson'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local root = os.getenv('MOONGATE_SOURCE_DIR') or '.'

describe('the demo', function()
    local gateway

    setup(function()
        local folder = process.folder()
        assert(os.execute(("cp -r '%s/conf/.' '%s'"):format(root, folder)) == 0)
        local yaml = process.read(folder .. '/moongate.yml')
        local upstreams = {}
        for arguments in yaml:gmatch('\n#! echo ([^\n]+)') do
            local port = arguments:match('127%.0%.0%.1:(%d+)')
            local words = {}
            for word in arguments:gsub('%-%-listen %S+', ''):gmatch('%S+') do
                words[#words + 1] = word
            end
            upstreams[port] = process.echo(unpack(words)).port
        end
        yaml = yaml:gsub('http://127%.0%.0%.1:(%d+)\n', function(port)
            return ('http://127.0.0.1:%d\n'):format(assert(upstreams[port]))
        end)
        yaml = yaml:gsub('address: "127%.0%.0%.1:8000"',
            ('address: "127.0.0.1:%d"'):format(process.free_port()))
        gateway = process.gateway(yaml, { folder = folder })
    end)
    teardown(process.stop_all)

    it('proxies a request', function()
        local res = assert(gateway:get('/orders/7?x=1'))
        assert.equal(200, res.status)
        assert.equal('/orders/7', dkjson.decode(res.body).path)
        assert.truthy(res.headers['x-correlation-id'])
    end)

    it('limits five requests in ten seconds, with headers that say so', function()
        local statuses, last = {}, nil
        for i = 1, 7 do
            last = assert(gateway:get('/limited'))
            statuses[i] = last.status
        end
        assert.same({ 200, 200, 200, 200, 200, 429, 429 }, statuses)
        assert.truthy(tonumber(last.headers['retry-after']))
        assert.equal('5', last.headers['x-ratelimit-limit'])
        assert.equal('application/problem+json', last.headers['content-type'])
    end)

    it('opens the breaker after three failures, and recovers', function()
        for _ = 1, 3 do
            assert.equal(503, assert(gateway:get('/flaky?status=503')).status)
        end
        local res = assert(gateway:get('/flaky'))
        assert.equal(503, res.status)
        assert.truthy(res.body:find('temporary-reduced-capacity', 1, true), res.body)
        local wait = tonumber(res.headers['retry-after'])
        assert.is_true(wait >= 1 and wait <= 6)
        local deadline = posix.now() + process.deadline
        repeat
            res = assert(gateway:get('/flaky'))
            gateway:collect(posix.now() + 0.05) -- somebody has to read the log meanwhile
        until res.status == 200 or posix.now() > deadline
        assert.equal(200, res.status)
    end)

    it('changes its answer when the plugin is edited and reloaded', function()
        assert.equal('Hello, Ada!', dkjson.decode(gateway:get('/hello?name=Ada').body).message)
        local path = gateway.folder .. '/plugins/hello.lua'
        process.write(path, (process.read(path):gsub("'%%s, %%s!'", "'%%s there, %%s!'")))
        assert.equal(0, (gateway:command('reload')))
        assert.equal('Hello there, you!', dkjson.decode(gateway:get('/hello').body).message)
    end)

    it('writes a line of JSON for each request', function()
        assert.equal(404, assert(client.get(gateway.port, '/nowhere')).status)
        assert.is_true(gateway:wait_text('"outcome":"no_route"', nil, 'out'))
        for line in gateway.out:gmatch('([^\n]+)\n') do
            assert.is_string(assert(dkjson.decode(line)).request_id)
        end
    end)

    it('is a configuration without a warning', function()
        local code, out = process.run('check', '--strict', gateway.config)
        assert.equal(0, code, out)
    end)
end)
