-- SPDX-License-Identifier: Apache-2.0
--
-- A gateway with a plugin that does with Redis what a request asks for.
--
--     local gateway = asking.gateway('{ host: 127.0.0.1, port: 6379 }', { workers = 2 })
--     local answer = gateway:ask 'return redis:get("key")'      -- { ok, value, err, class }
--     assert.equal('x', gateway:value 'return redis:get("key")')
local client = require 'spec.gateway.support.client'
local cjson = require 'dkjson'
local process = require 'spec.gateway.support.process'

local M = {}

-- Does what the body of the request says, a Lua function of (redis, script), and answers what it
-- returns as JSON.
local HANDLER = [[
local cjson = require 'cjson'
local plugin = { PRIORITY = 1000, VERSION = '0.1.0' }
local store, script

function plugin:configure()
    store = moongate.redis.instance('main')
    script = moongate.redis.script('swap')
end

function plugin:access()
    local chunk = assert(loadstring(moongate.request.get_raw_body()))
    local ok, value, err, class = pcall(chunk(), store, script)
    moongate.response.exit(200, cjson.encode({ ok = ok, value = value, err = err, class = class }))
end

return plugin
]]

local SCHEMA = "return { name = 'ask', fields = { { config = { type = 'record', fields = {} } } } }"

local SCRIPT = [[
-- KEYS: 1 a text. ARGV: 1 its new value. Returns the old one and the new one.
local old = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
return { old, ARGV[1] }
]]

--- Puts the plugin `ask` beside a configuration.
function M.write_plugin(folder)
    assert(os.execute(("mkdir -p '%s/plugins/ask'"):format(folder)) == 0)
    process.write(folder .. '/plugins/ask/handler.lua', HANDLER)
    process.write(folder .. '/plugins/ask/schema.lua', SCHEMA)
    process.write(folder .. '/plugins/ask/swap.redis.lua', SCRIPT)
end

-- What the request's Lua text came to; redis and script are its arguments.
local function ask(gateway, text)
    local res = assert(client.request(gateway.port, 'POST', '/', {},
        'return function(redis, script) ' .. text .. ' end'))
    assert(res.status == 200, res.status)
    return assert(cjson.decode(res.body, 1, cjson.null))
end

local function value(gateway, text)
    local answer = ask(gateway, text)
    assert(answer.ok, answer.value)
    return answer.value
end

--- Starts a gateway.
-- @tparam string settings YAML of the entry `main` of gateway.redis
-- @tparam[opt] table o workers, more (lines below `gateway:`)
function M.gateway(settings, o)
    o = o or {}
    local folder = process.folder()
    M.write_plugin(folder)
    local yaml = process.yaml({
        port = process.free_port(), workers = o.workers, plugins = '    plugins: [{ name: ask }]',
        gateway = '  redis: { main: ' .. settings .. ' }\n' .. (o.more or ''),
    })
    local gateway = process.gateway(yaml, { folder = folder })
    gateway.ask, gateway.value = ask, value
    return gateway
end

return M
