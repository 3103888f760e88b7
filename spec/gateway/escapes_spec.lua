-- SPDX-License-Identifier: Apache-2.0
--
-- Plugin code that gets around its limits, or makes the runtime run into a wall: errors whose text
-- is code, endless work where no loop is, memory in every shape, recursion through C, finalisers
-- that fail. Each ends as its own request's error, the worker stays and serves others. Plain
-- loops are in runaway_spec.lua, what is left for other requests in isolation_spec.lua.
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local PLUGIN = [[
local plugin = { PRIORITY = 1000, VERSION = '0.1.0' }
local attempts = {}

local function loop()
    while true do end
end

local looping = setmetatable({}, { __tostring = loop, __index = loop, __eq = loop, __lt = loop,
    __concat = loop, __call = loop, __newindex = loop, __unm = loop })

local function throw()
    error('inner')
end

local function dig()
    return 1 + dig()
end

local function deep(levels)
    local tree = {}
    for _ = 1, levels do
        tree = { tree }
    end
    return tree
end

local function cyclic()
    local ring = {}
    ring.ring = ring
    return ring
end

-- Garbage whose finaliser is fn, of each kind.
local function litter(fn)
    for _ = 1, 200 do
        local proxy = newproxy(true)
        getmetatable(proxy).__gc = fn
        require('ffi').gc(require('ffi').new('char[8]'), fn)
    end
    collectgarbage()
    collectgarbage()
end

%s

local function run(phase)
    local name = moongate.request.get_header('X-Attempt')
    if name and (moongate.request.get_header('X-Phase') or 'access') == phase then
        attempts[name]()
        if phase == 'access' then
            return moongate.response.exit(200, 'done')
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

local YAML = [[
_format_version: "3.0"
services:
- name: echo
  url: http://127.0.0.1:%d
  routes:
  - { name: attempts, paths: [/attempts], plugins: [{ name: attempts }] }
  - { name: others, paths: [/others] }
gateway:
  workers: 1
  limits: { lua_memory: 64MiB }
  listeners: [{ address: "127.0.0.1:%d" }]
  plugins:
    watchdog_ms: 30000
    settings: { attempts: { quarantine: false, cpu_ms: 60, wall_ms: 500 } }
]]

local DONE, FAILED, LIMITED = 200, 500, 503

-- { name, code, status }
local ATTEMPTS = {
    -- Errors are not asked for their text, nor are they kept from ending the request.
    { 'an error that loops when it is printed',
        'error(setmetatable({}, { __tostring = loop }))', FAILED },
    { 'an error that fails when it is printed',
        'error(setmetatable({}, { __tostring = throw }))', FAILED },
    { 'an error that is nothing', 'error(nil)', FAILED },
    { 'an error that is a coroutine', 'error(coroutine.running())', FAILED },
    { 'an error of 5 MB', "error(('x'):rep(5e6))", FAILED },
    { 'a handler that fails', "xpcall(error, throw, 'x')", DONE },

    -- The limit is not to be caught.
    { 'a handler that swallows it', 'xpcall(loop, function() return 1 end)', LIMITED },
    { 'a handler that fails on it', 'xpcall(loop, throw)', LIMITED },
    { 'pcall of pcall', 'pcall(pcall, loop)', LIMITED },
    { 'a coroutine that catches it', [[
        local co = coroutine.create(function()
            local inner = coroutine.wrap(function() pcall(loop) loop() end)
            pcall(inner)
            loop()
        end)
        coroutine.resume(co)
        coroutine.resume(co)]], LIMITED },

    -- Endless work where no loop is seen.
    { 'a logged value that loops', 'moongate.log(looping)', LIMITED },
    { 'a printed value that loops', 'print(looping)', LIMITED },
    { 'a value that loops for ngx.log', 'ngx.log(ngx.ERR, looping)', LIMITED },
    { 'a consumer that loops', 'moongate.client.authenticate(looping, looping)', LIMITED },
    { 'a comparison that loops',
        'return looping == setmetatable({}, getmetatable(looping))', LIMITED },
    { 'a concatenation that loops', "return looping .. 'x'", LIMITED },
    { 'an iterator without end', 'for _ in function() return 1 end do end', LIMITED },
    { 'a chunk without end', 'load(function() while true do end end)', LIMITED },
    { 'giving way for ever', 'while true do coroutine.yield() end', LIMITED },
    { 'sleeping for ever', 'while true do moongate.sleep(0) end', LIMITED },
    { 'an order that is none', [[
        local list = {}
        for i = 1, 1000 do list[i] = i % 7 end
        table.sort(list, function() return true end)]], FAILED },

    -- Structures without end or bottom.
    { 'a cyclic answer', 'return moongate.response.exit(200, cyclic())', FAILED },
    { 'an answer 100,000 levels deep', 'return moongate.response.exit(200, deep(1e5))', FAILED },
    { 'a cyclic value for the log', "moongate.log.set_serialize_value('x', cyclic())", DONE },
    { 'a deep value for the log', "moongate.log.set_serialize_value('x', deep(1e5))", DONE },
    { 'a cyclic query', 'pcall(moongate.service.request.set_query, cyclic())', DONE },
    { 'a cyclic body',
        "pcall(moongate.service.request.set_body, cyclic(), 'application/json')", DONE },
    { 'metatables in a ring', [[
        local a, b = {}, {}
        setmetatable(a, { __index = b })
        setmetatable(b, { __index = a })
        return a.x]], FAILED },

    -- Recursion, also through C.
    { 'recursion', 'dig()', FAILED },
    { 'recursion through gsub', "local function f() return (('x'):gsub('x', f)) end f()", nil },
    { 'recursion through sort', 'local function f() table.sort({ 1, 2 }, f) end f()', nil },
    { 'recursion through load', 'local function f() return load(f) end f()', nil },
    { 'recursion through tostring', [[
        local object
        object = setmetatable({}, { __tostring = function() return tostring(object) end })
        return tostring(object)]], nil },
    { 'recursion through coroutines', 'local function f() coroutine.wrap(f)() end f()', FAILED },
    { 'recursion through callbacks of C', [[
        local ffi = require 'ffi'
        local callback
        callback = ffi.cast('void (*)(int)', function() callback(1) end)
        callback(1)]], nil },
    { 'brackets for the compiler',
        "assert(loadstring('return ' .. ('('):rep(1e5) .. '1' .. (')'):rep(1e5)))", FAILED },
    { 'captures of a pattern', "return ('x'):find(('('):rep(1e4))", FAILED },
    { 'a pattern that is deep', "return ('a'):rep(3e5):find(('a?'):rep(3e5) .. 'b')", FAILED },

    -- Memory.
    { 'a text that doubles', "local s = 'x' while true do s = s .. s end", LIMITED },
    { 'a table without end', 'local t = {} for i = 1, math.huge do t[i] = {} end', LIMITED },
    { 'a table without end, again and again', [[
        while true do
            pcall(function() local t = {} for i = 1, math.huge do t[i] = {} end end)
        end]], LIMITED },
    { 'a text of a gigabyte', "return #('x'):rep(2^30)", LIMITED },
    { 'texts joined', [[
        local t = {}
        for i = 1, 1000 do t[i] = ('x'):rep(1e6) end
        return #table.concat(t)]], LIMITED },
    { 'a text that gsub lets grow', "return #('x'):rep(1e5):gsub('x', ('y'):rep(1e5))", LIMITED },
    { 'a text that format lets grow', [[
        local s = ('x'):rep(1e7)
        for _ = 1, 10 do s = ('%s%s'):format(s, s) end]], LIMITED },
    { 'coroutines without end',
        'local t = {} for i = 1, 1e7 do t[i] = coroutine.create(loop) end', LIMITED },
    { 'memory of C types',
        "local t = {} for i = 1, 1000 do t[i] = require('ffi').new('char[?]', 1e6) end", LIMITED },
    { 'memory that ends while its loop is being compiled', [[
        local bytes = tonumber(moongate.request.get_header('X-Bytes') or 1e6)
        loadstring([=[
            local new, bytes = ...
            local t = {}
            for i = 1, 1000 do t[i] = new('char[?]', bytes) end
        ]=])(require('ffi').new, bytes)]], LIMITED },
    { 'a buffer without end',
        "local b = require('string.buffer').new() while true do b:put(('x'):rep(1e6)) end",
        LIMITED },
    { 'fields of the answer without end',
        "for i = 1, 1e6 do moongate.response.add_header('x-' .. i, ('x'):rep(1000)) end", nil },
    { 'output without end', "while true do ngx.print(('x'):rep(1000)) end", LIMITED },
    { 'no collector', [[
        collectgarbage('stop')
        for i = 1, 40 do local s = ('x'):rep(1e6 + i) end]], DONE },

    -- Finalisers run in the middle of whatever is running.
    { 'a finaliser that fails', 'litter(throw)', DONE },
    { 'a finaliser that gives way', 'litter(coroutine.yield)', DONE },
    { 'a finaliser that waits', 'litter(function() moongate.sleep(1) end)', DONE },
    { 'a finaliser that answers',
        "litter(function() moongate.response.exit(418, 'left') end)", DONE },
    { 'a finaliser that reads the request', [[
        local seen
        litter(function() seen = pcall(moongate.request.get_path) or seen or false end)
        assert(seen == false and moongate.request.get_path() == '/attempts')]], DONE },

    -- The worker's own.
    { 'the end of the process', 'os.exit(0)', FAILED },
    { 'timers without end', [[
        local ok, err
        repeat
            ok, err = ngx.timer.at(0.05, print)
        until not ok
        error(err)]], nil },
    { 'a timer that loops', 'ngx.timer.at(0, loop) moongate.sleep(0.05)', DONE },
    { 'waiting inside sort',
        'table.sort({ 3, 2, 1 }, function() moongate.sleep(0.1) end)', FAILED },
    { 'waiting for nothing', "require('moongate.runtime.sched').wait()", LIMITED },
    { 'an exit inside pcall', "pcall(moongate.response.exit, 200, 'done') error('escaped')", DONE },
    { 'an exit inside pcall and sort', [[
        pcall(table.sort, { 3, 2, 1 }, function() moongate.response.exit(200, 'done') end)
        error('escaped')]], DONE },
}

-- The same once more where an answer is under way.
local LATER = { 'a logged value that loops', 'an error that is nothing', 'recursion through gsub',
    'a finaliser that fails', 'waiting for nothing', 'a handler that swallows it' }

local function source_of(attempts)
    local rows = {}
    for _, row in ipairs(attempts) do
        rows[#rows + 1] = ('attempts[%q] = function()\n%s\nend'):format(row[1], row[2])
    end
    return PLUGIN:gsub('%%s', (table.concat(rows, '\n'):gsub('%%', '%%%%')))
end

describe('LUA-01 a plugin does not escape by', function()
    local gateway, others, worker

    setup(function()
        gateway = process.gateway(YAML:format(process.echo().port, process.free_port()),
            { folder = process.plugins({ attempts = source_of(ATTEMPTS) }) })
        others = gateway:connect()
        worker = gateway:status().workers[1].pid
    end)

    teardown(process.stop_all)

    local function expect_unharmed()
        local res = assert(others:request('GET', '/others'))
        assert.equal(200, res.status)
        assert.is_truthy(res.body:find('"path":"/"', 1, true))
        assert.is_true(posix.is_alive(worker))
    end

    for _, row in ipairs(ATTEMPTS) do
        it(row[1], function()
            local connection = gateway:connect()
            local res = assert(connection:request('GET', '/attempts', { ['X-Attempt'] = row[1] }))
            if row[3] then
                assert.equal(row[3], res.status)
            else -- which of its limits it meets first is a matter of speed
                assert.is_true(res.status == FAILED or res.status == LIMITED, res.status)
            end
            assert.is_true(res.status ~= DONE or res.body == 'done', res.body)
            expect_unharmed()
            connection:close()
        end)
    end

    -- A loop is compiled in its 57th round or so: one of these has no memory left just then.
    it('memory that ends at any step of the compiler', function()
        for bytes = 1.1e6, 1.18e6, 2500 do
            local connection = gateway:connect()
            local res = assert(connection:request('GET', '/attempts', {
                ['X-Attempt'] = 'memory that ends while its loop is being compiled',
                ['X-Bytes'] = ('%d'):format(bytes),
            }))
            assert.equal(LIMITED, res.status)
            expect_unharmed()
            connection:close()
        end
    end)

    for _, phase in ipairs({ 'header_filter', 'body_filter', 'log' }) do
        it('any of that in ' .. phase, function()
            for _, name in ipairs(LATER) do
                local connection = gateway:connect()
                assert(connection:send(('GET /attempts HTTP/1.1\r\nHost: x\r\nX-Attempt: %s\r\n'
                    .. 'X-Phase: %s\r\n\r\n'):format(name, phase)))
                local res = connection:response() -- or cut, where the head is out
                assert.is_true(res == nil or res.status == DONE or res.status == FAILED
                    or res.status == LIMITED, name)
                expect_unharmed()
                connection:close()
            end
        end)
    end

    it('anything: each request ended once, none is left', function()
        local status = assert(gateway:wait_status(function(now)
            return now.counters.requests_active == 0
        end))
        local ended = 0
        for _, count in pairs(status.outcomes) do
            ended = ended + count
        end
        assert.equal(status.counters.requests, ended)
        assert.same({ worker, 0 }, { status.workers[1].pid, status.workers[1].restarts })
    end)
end)

-- { name, expression, the quota in force: 5 is the fallback; a number of 400 and more: the status }
local EXPRESSIONS = {
    { 'a loop', '(function() while true do end end)()', 5 },
    { 'a loop that is caught', 'pcall(function() while true do end end) and 9 or 9', 5 },
    { 'an error', "error('x')", 5 },
    { 'an error that is nothing', 'error(nil)', 5 },
    { 'an error that loops when it is printed',
        'error(setmetatable({}, { __tostring = function() while true do end end }))', 5 },
    { 'recursion', '(function() local function f() return 1 + f() end return f() end)()', 5 },
    { 'a text of a gigabyte', "#(('x'):rep(2^30))", 5 },
    { 'no number', '0/0', 5 },
    { 'infinity', '1/0', 5 },
    { 'a number over all quotas', '2^53', 5 },
    { 'a fraction', '1.5', 5 },
    { 'a text', "'7'", 5 },
    { 'nothing', 'nil', 5 },
    { 'a table that loops when it is looked at',
        'setmetatable({}, { __index = error, __tostring = error, __lt = error })', 5 },
    { 'a wait', 'moongate.sleep(0.01) or 9', 9 },
    { 'giving way', 'coroutine.yield() or 9', 9 },
    { 'an answer', "moongate.response.exit(418, 'x')", 418 },
}

describe('LUA-01 a value in Lua does not escape by', function()
    local gateway

    setup(function()
        local routes = {}
        for i, row in ipairs(EXPRESSIONS) do
            routes[i] = ([[
  - name: r%d
    paths: [/%d/]
    plugins:
    - name: rate-limit
      config: { limits: [{ quota: "lua: %s", fallback_quota: 5, window: 1h }], max_keys: 1024 }
]]):format(i, i, row[2])
        end
        gateway = process.gateway(process.yaml{ upstream = process.echo().port, gateway = [[
  limits: { lua_memory: 64MiB }
  plugins: { watchdog_ms: 30000, settings: { rate-limit: { quarantine: false } } }
]], plugins = table.concat(routes) })
    end)

    teardown(process.stop_all)

    for i, row in ipairs(EXPRESSIONS) do
        it(row[1], function()
            local res = assert(gateway:get(('/%d/'):format(i)))
            if row[3] >= 400 then
                assert.equal(row[3], res.status)
            else
                assert.same({ 200, tostring(row[3]) },
                    { res.status, res.headers['x-ratelimit-limit'] })
            end
        end)
    end

    it('anything: the worker stays', function()
        assert.equal(0, gateway:status().workers[1].restarts)
        assert.equal(200, assert(gateway:get('/others')).status)
    end)
end)
