-- SPDX-License-Identifier: Apache-2.0
--
-- The sink lua of access-log in real workers: what waits is delivered at the end of a generation,
-- and what cannot be is counted.
local dkjson = require 'dkjson'
local process = require 'spec.gateway.support.process'

describe('the sink lua', function()
    local echo, path

    before_each(function()
        echo = process.echo()
        path = process.folder() .. '/batches'
    end)

    after_each(process.stop_all)

    local function yaml(text)
        return process.yaml({ upstream = echo.port, workers = 2, plugins = ([[
    plugins:
    - name: access-log
      instance_name: it
      config:
        fields: [path]
        queue: { flush: 60s }
        sinks:
        - type: lua
          function: >-
            lua: %s
]]):format(text) })
    end

    local function send()
        return ("(function() local file = io.open('%s', 'a')"
            .. " for _, line in ipairs(lines) do file:write(line .. '\\n') end file:close() end)()")
            :format(path)
    end

    local function paths()
        local list = {}
        for line in (process.read(path) or ''):gmatch('[^\n]+') do
            list[#list + 1] = dkjson.decode(line).path
        end
        table.sort(list)
        return table.concat(list, ' ')
    end

    it('has delivered everything when the gateway has stopped', function()
        local gateway = process.gateway(yaml(send()))
        for i = 1, 9 do
            assert.equal(200, assert(gateway:get('/' .. i)).status)
        end
        gateway:signal('TERM')
        gateway:wait()
        assert.equal('/1 /2 /3 /4 /5 /6 /7 /8 /9', paths())
    end)

    it('may wait for that, but not for ever', function()
        local waits = send():gsub('^%(function%(%)', '(function() ngx.sleep(0.05)')
        local gateway = process.gateway(yaml(waits))
        assert(gateway:get('/1'))
        gateway:signal('TERM')
        gateway:wait()
        assert.equal('/1', paths())
    end)

    it('loses, and says so, what a function that sleeps on has not delivered', function()
        local gateway = process.gateway(yaml('ngx.sleep(3600)'))
        assert(gateway:get('/1'))
        gateway:signal('TERM')
        gateway:wait(20)
        assert.truthy(gateway.err:find('1 lines for lua:it/1 are lost', 1, true), gateway.err)
    end)

    it('has delivered everything of a generation that is replaced', function()
        local text = yaml(send())
        local gateway = process.gateway(text)
        for i = 1, 9 do
            assert.equal(200, assert(gateway:get('/' .. i)).status)
        end
        gateway:rewrite((text:gsub('lua: %(function.-\n', 'lua: false\n')))
        local code, out, err = gateway:command('reload')
        assert.equal(0, code, out .. err)
        gateway:wait_status(function()
            return paths() == '/1 /2 /3 /4 /5 /6 /7 /8 /9'
        end)
        assert.equal('/1 /2 /3 /4 /5 /6 /7 /8 /9', paths())
    end)
end)
