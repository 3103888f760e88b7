-- SPDX-License-Identifier: Apache-2.0
--
-- script/run: the first command that anybody types. It starts the upstreams that the configuration
-- names and the gateway, prints what to try when the gateway serves, and ends everything.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local root = os.getenv('MOONGATE_SOURCE_DIR') or '.'

describe('script/run', function()
    after_each(process.stop_all)

    -- Starts it with a configuration of one upstream; port and upstream are free ones unless given.
    local function start(o)
        o = o or {}
        local folder = process.folder()
        local port, upstream = o.port or process.free_port(), o.upstream or process.free_port()
        local config = process.write(folder .. '/moongate.yml',
            ('#! echo --listen 127.0.0.1:%d --quiet\n#> Try port %d.\n'):format(upstream, port)
                .. process.yaml{ upstream = upstream, port = port, gateway = o.gateway })
        local script = process.start({ root .. '/script/run', '-c', config, '--control',
            folder .. '/control' }, { MOONGATE_BIN = process.absolute })
        script.port, script.upstream = port, upstream
        return script
    end

    local function is_closed(port)
        return posix.connect(port, posix.now() + 1) == nil
    end

    it('prints what to try when the gateway serves', function()
        local script = start()
        assert.is_true(script:wait_text(('Try port %d.'):format(script.port), nil, 'out'),
            script.err)
        assert.equal(200, assert(client.get(script.port, '/')).status)
    end)

    it('drains when it is interrupted, and leaves nothing behind', function()
        local script = start()
        assert.is_true(script:wait_text('Try port', nil, 'out'), script.err)
        local connection = assert(client.connect(script.port))
        assert(connection:send('GET /?delay=1000 HTTP/1.1\r\nHost: x\r\n\r\n'))
        assert.equal(200, assert(client.get(script.port, '/')).status)
        script:signal('INT')
        assert.equal(200, assert(connection:response()).status)
        assert.equal(130, script:wait())
        assert.is_nil(script.err:find('ending now', 1, true), script.err)
        assert.is_true(is_closed(script.port))
        assert.is_true(is_closed(script.upstream))
    end)

    it('ends at once when it is interrupted a second time', function()
        local script = start()
        assert.is_true(script:wait_text('Try port', nil, 'out'), script.err)
        local connection = assert(client.connect(script.port))
        assert(connection:send('GET /?delay=60000 HTTP/1.1\r\nHost: x\r\n\r\n'))
        assert.equal(200, assert(client.get(script.port, '/')).status)
        script:signal('INT')
        assert.is_true(script:wait_text('draining'))
        script:signal('INT')
        assert.equal(130, script:wait())
        assert.truthy(script.err:find('ending now', 1, true), script.err)
        connection:close()
    end)

    it('gives up when an upstream cannot start', function()
        local fd, taken = posix.listen()
        local script = start({ upstream = taken })
        assert.equal(1, script:wait())
        assert.truthy(script.err:find(('127.0.0.1:%d is in use'):format(taken), 1, true))
        assert.truthy(script.err:find('an upstream of the demo has ended', 1, true), script.err)
        assert.is_true(is_closed(script.port))
        posix.close(fd)
    end)

    it('does not praise a gateway that has not started', function()
        local fd, taken = posix.listen()
        local script = start({ port = taken })
        assert.equal(1, script:wait())
        assert.truthy(script.err:find(('127.0.0.1:%d is in use'):format(taken), 1, true))
        assert.equal('', script.out)
        assert.is_true(is_closed(script.upstream))
        posix.close(fd)
    end)

    it('ends with 78 when the configuration is missing or refused', function()
        local script = start({ gateway = '  wrkers: 1' })
        assert.equal(78, script:wait())
        assert.truthy(script.err:find('did you mean "workers"?', 1, true), script.err)
        script = process.start({ root .. '/script/run', '-c', '/nonexistent.yml' })
        assert.equal(78, script:wait())
        assert.truthy(script.err:find('cannot read /nonexistent.yml', 1, true), script.err)
    end)
end)
