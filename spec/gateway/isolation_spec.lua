-- SPDX-License-Identifier: Apache-2.0
--
-- What a plugin leaves behind reaches neither another request nor another plugin
-- (docs/plugin-reference.md, State). An attempt has two parts, each run by a request of its own on
-- the same connection: `first` leaves something, `second` looks for it and answers with what it
-- found. After each of them a request through another plugin has to look as it did before all
-- of them, to its upstream, to its client and in the access log. What runs on for ever or takes all
-- memory is in limits_of_lua_spec.lua. There is no sandbox: attempts that overwrite the library or
-- the runtime are the operator's own doing and not made here.
local process = require 'spec.gateway.support.process'
local scripted = require 'spec.gateway.support.scripted'

local PLUGIN = [[
local plugin = { PRIORITY = 1000, VERSION = '0.1.0' }
local kept, attempts = {}, {}

%s

local function run(phase)
    local part = moongate.request.get_header('X-Part')
    local attempt = attempts[moongate.request.get_header('X-Attempt')]
    if part and (part == 'second' and 'access' or attempt.phase or 'access') == phase then
        local result = attempt[part]()
        if part == 'second' then
            return moongate.response.exit(200, tostring(result))
        end
    end
end

for _, phase in ipairs({ 'access', 'header_filter', 'body_filter', 'log' }) do
    plugin[phase] = function()
        return run(phase)
    end
end

return plugin
]]

-- Tells its upstream and its client all that a plugin can find of a request's state.
local WITNESS = [[
local plugin = { PRIORITY = 500, VERSION = '0.1.0' }

local function found()
    local words = {}
    for name, state in pairs({ plugin = moongate.ctx.plugin, shared = moongate.ctx.shared,
        ngx = ngx.ctx }) do
        for key, value in pairs(state) do
            words[#words + 1] = name .. '.' .. tostring(key) .. '=' .. tostring(value)
        end
    end
    words[#words + 1] = tostring(moongate.client.get_consumer())
    words[#words + 1] = tostring(moongate.client.get_credential())
    words[#words + 1] = moongate.router.get_route().name
    table.sort(words)
    return table.concat(words, ' ')
end

function plugin:access()
    moongate.service.request.set_header('X-Found', found())
end

function plugin:header_filter()
    moongate.response.set_header('X-Found', found())
end

return plugin
]]

local YAML = [[
_format_version: "3.0"
services:
- name: echo
  url: http://127.0.0.1:%d
  routes:
  - { name: attempts, paths: [/attempts], plugins: [{ name: attempts }] }
  - { name: witness, paths: [/witness], plugins: [{ name: witness }] }
consumers: [{ username: guest, id: 6f2ee1cf-7a0e-4e1f-9d0e-2a4b50a7c1aa }]
plugins: [{ name: access-log }]
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
  plugins: { settings: { attempts: { quarantine: false } } }
]]

-- { name, first, second, what second has to find, phase of first }
local GUEST = "'6f2ee1cf-7a0e-4e1f-9d0e-2a4b50a7c1aa'"
local ATTEMPTS = {
    -- The request's own state.
    { "a field of ctx.plugin", "moongate.ctx.plugin.x = 1", "return moongate.ctx.plugin.x", 'nil' },
    { "a field of ctx.shared", "moongate.ctx.shared.x = 1", "return moongate.ctx.shared.x", 'nil' },
    { "a field of ngx.ctx", "ngx.ctx.x = 1", "return ngx.ctx.x", 'nil' },
    { "a new ngx.ctx", "ngx.ctx = { x = 1 }", "return ngx.ctx.x", 'nil' },
    { "a kept ngx.ctx", "kept.ctx = ngx.ctx", "kept.ctx.x = 1 return ngx.ctx.x", 'nil' },
    { "a kept ctx.plugin", "kept.own = moongate.ctx.plugin",
        "kept.own.x = 1 return moongate.ctx.plugin.x", 'nil' },
    { "a new ctx.shared", "kept.ok, kept.err = pcall(function() moongate.ctx.shared = {} end)",
        "return kept.ok", 'false' },
    { "state set in log", "moongate.ctx.plugin.x, moongate.ctx.shared.x, ngx.ctx.x = 1, 1, 1",
        "return tostring(moongate.ctx.plugin.x) .. tostring(moongate.ctx.shared.x)"
        .. " .. tostring(ngx.ctx.x)", 'nilnilnil', 'log' },
    { "who called", "moongate.client.authenticate(moongate.client.load_consumer(" .. GUEST
        .. "), { id = 'c' })", "return tostring(moongate.client.get_consumer())"
        .. " .. tostring(moongate.client.get_credential())", 'nilnil' },

    -- What the upstream gets.
    { "a header for the upstream", "moongate.service.request.set_header('X-Left', 'a')",
        "return moongate.request.get_header('X-Left')", 'nil' },
    { "path, query and method for the upstream", "local r = moongate.service.request"
        .. " r.set_path('/left') r.set_raw_query('left=1') r.set_method('PUT')",
        "return moongate.request.get_path_with_query() .. moongate.request.get_method()",
        '/attemptsGET' },
    { "a body for the upstream", "moongate.service.request.set_raw_body('left')",
        "return moongate.request.get_raw_body()", '' },
    { "a Host for the upstream", "moongate.service.request.set_header('Host', 'left')",
        "return moongate.request.get_host()", 'localhost' },
    { "a target", "moongate.service.set_target('127.0.0.1', 9)", "return 1", '1' },
    { "timeouts and retries", "moongate.service.set_timeouts(1, 1, 1)"
        .. " moongate.service.set_retries(0)", "return 1", '1' },

    -- What the client gets.
    { "a header of the answer", "moongate.response.set_header('X-Left', 'a')"
        .. " ngx.header['X-Left-Too'] = 'b'", "return ngx.header['X-Left']", 'nil' },
    { "a header of the answer, set late", "moongate.response.set_header('X-Left', 'a')",
        "return ngx.header['X-Left']", 'nil', 'header_filter' },
    { "a status", "moongate.response.set_status(418)", "return ngx.status", '0' },
    { "a status, set late", "moongate.response.set_status(418)", "return ngx.status", '0',
        'header_filter' },
    { "a buffered answer", "moongate.service.request.enable_buffering()", "return 1", '1' },
    { "a taken body", "kept.body = moongate.response.get_raw_body() or kept.body",
        "return #kept.body > 0 and pcall(function() return ngx.arg[1] end)", 'false',
        'body_filter' },
    { "a replaced body", "ngx.arg[1] = ngx.arg[2] and 'left' or nil", "return 1", '1',
        'body_filter' },

    -- What the log gets.
    { "a value of the record", "moongate.log.set_serialize_value('left', 'a')",
        "return moongate.request.get_header('left')", 'nil' },
    { "a field of a kept record", "kept.record = moongate.log.serialize() kept.record.left = 1",
        "return kept.record.left", '1', 'log' },

    -- Results are copies.
    { "a changed table of headers", "moongate.request.get_headers()['x-left'] = 'a'",
        "return moongate.request.get_headers()['x-left']", 'nil' },
    { "a changed table of arguments", "moongate.request.get_query().left = 'a'",
        "return moongate.request.get_query().left", 'nil' },
    { "a changed table of captures", "moongate.request.get_uri_captures().named.left = 'a'",
        "return moongate.request.get_uri_captures().named.left", 'nil' },
}

-- Each runs in a timer, after its request has ended.
local LATE = {
    ['the path'] = 'moongate.request.get_path()',
    ['a header'] = "moongate.request.get_header('Host')",
    ['the body'] = 'moongate.request.get_raw_body()',
    ['the context'] = 'moongate.ctx.plugin',
    ['the shared context'] = 'moongate.ctx.shared',
    ['the consumer'] = 'moongate.client.get_consumer()',
    ['the route'] = 'moongate.router.get_route()',
    ['a header for the upstream'] = "moongate.service.request.set_header('X-Left', 'a')",
    ['a target'] = "moongate.service.set_target('127.0.0.1', 9)",
    ['a header of the answer'] = "moongate.response.set_header('X-Left', 'a')",
    ['an answer'] = "moongate.response.exit(200, 'left')",
    ['the answer of the upstream'] = 'moongate.service.response.get_status()',
    ['a part of the body'] = 'ngx.arg[1]',
    ['more output'] = "ngx.say('left')",
    ['a variable'] = 'ngx.var.uri',
    ['the record'] = 'moongate.log.serialize()',
    ['a value of the record'] = "moongate.log.set_serialize_value('left', 'a')",
}
for what, call in pairs(LATE) do
    ATTEMPTS[#ATTEMPTS + 1] = { what .. ' after the request has ended',
        ([[
            kept.late = nil
            ngx.timer.at(0.01, function()
                kept.late = tostring(pcall(function() return %s end))
            end)
        ]]):format(call),
        "while not kept.late do moongate.sleep(0.005) end return kept.late", 'false' }
end

-- Coroutines outlive the request that made them.
local function append(...)
    ATTEMPTS[#ATTEMPTS + 1] = { ... }
end
append("a coroutine that goes on in the next request", [[
    kept.next = coroutine.wrap(function()
        local part = moongate.request.get_header('X-Part')
        moongate.ctx.plugin.x = 1
        coroutine.yield()
        return part .. moongate.request.get_header('X-Part') .. tostring(moongate.ctx.plugin.x)
    end)
    kept.next()
]], "return kept.next()", 'firstsecondnil')
append("a coroutine left in a wait", [[
    kept.waiting = coroutine.create(function()
        moongate.sleep(0.3)
    end)
    kept.outer = coroutine.create(function()
        coroutine.resume(kept.waiting)
    end)
    ngx.timer.at(0, function()
        coroutine.resume(kept.outer)
    end)
    moongate.sleep(0.01)
]], "return tostring(coroutine.resume(kept.waiting)) .. coroutine.status(kept.waiting)",
    'falsenormal')
local MOONGATE_IS_THERE =
    "return tostring(kept.ok) .. tostring(loadstring('return moongate')() == moongate)"
append("an environment for all that is loaded", [[
    kept.ok = pcall(setfenv, 0, { tostring = tostring })
]], MOONGATE_IS_THERE, 'falsetrue')
append("an environment for the pooled coroutine", [[
    kept.ok = pcall(debug.setfenv, coroutine.running(), { tostring = tostring })
]], MOONGATE_IS_THERE, 'falsetrue')
append("an environment of a function's own", [[
    kept.fn = function() return moongate end
    setfenv(kept.fn, { moongate = 'own' })
    kept.own = (function() setfenv(1, { moongate = 'own' }) return moongate end)()
]], "return kept.fn() .. kept.own .. tostring(moongate ~= 'own')", 'ownowntrue')
append("a global", "left_here = (left_here or 0) + 1", "return rawget(_G, 'left_here')", '1')
append("a metatable of another request's tables", [[
    setmetatable(moongate.ctx.plugin, { __index = function() return 'left' end })
    setmetatable(ngx.ctx, { __index = function() return 'left' end })
]], "return tostring(moongate.ctx.plugin.x) .. tostring(ngx.ctx.x)", 'nilnil')

local function source_of(attempts)
    local rows = {}
    for _, row in ipairs(attempts) do
        rows[#rows + 1] = ('attempts[%q] = { phase = %s, first = function()\n%s\nend,\n'
            .. 'second = function()\n%s\nend }'):format(row[1], row[5] and "'" .. row[5] .. "'"
            or 'nil', row[2], row[3])
    end
    return PLUGIN:format(table.concat(rows, '\n'))
end

describe('LUA-01 what a plugin leaves:', function()
    local gateway, connection, records, untouched

    local function witness()
        local seen = assert(connection:request('GET', '/witness',
            { ['X-Request-Id'] = 'witness-0123456789' }))
        seen.headers.date = nil
        local record = records:of('witness-0123456789')
        record.ts, record.t, record.tries[1].connect, record.tries[1].ttfb = nil, nil, nil, nil
        return { status = seen.status, headers = seen.headers,
            body = seen.body:gsub('"remote_port":%d+', ''), record = record }
    end

    setup(function()
        gateway = process.gateway(YAML:format(process.echo().port, process.free_port()),
            { folder = process.plugins({ attempts = source_of(ATTEMPTS), witness = WITNESS }) })
        records = scripted.records(gateway)
        connection = gateway:connect()
        untouched = witness()
        assert.equal(200, untouched.status)
        assert.equal('nil nil witness', untouched.headers['x-found'])
    end)

    teardown(process.stop_all)

    for _, row in ipairs(ATTEMPTS) do
        it(row[1], function()
            assert(connection:request('GET', '/attempts', { ['X-Attempt'] = row[1],
                ['X-Part'] = 'first' }))
            local second = assert(connection:request('GET', '/attempts', { ['X-Attempt'] = row[1],
                ['X-Part'] = 'second' }))
            assert.same({ 200, row[4] }, { second.status, second.body })
            assert.is_nil(second.headers['x-left'])
            assert.same(untouched, witness())
        end)
    end

    it('a new global, of which the log warns once', function()
        local text = "global 'left_here' is set at"
        assert.is_true(gateway:wait_text(text))
        assert.is_nil(gateway.err:find(text, gateway.err:find(text, 1, true) + 1, true))
    end)
end)
