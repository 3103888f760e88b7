-- SPDX-License-Identifier: Apache-2.0
-- Instructions of user space for one proxied request: the gateway runs under callgrind with one
-- worker, between four kept-alive connections of a client and an upstream, both played here.
-- The worker is stopped while four requests, or four answers, are written: so it always meets four
-- at once, and the figure does not depend on what else the machine does. Of two runs of different
-- lengths, the difference of the worker's totals is divided by the difference of the counts, which
-- leaves start-up and end out. What LuaJIT compiles differs from run to run by a percent: with
-- plugins the figure is the least of three.
--
--     script/bench instructions [NAME [REQUESTS [FOLDER]]]      (all, 20,000)
--
--     plain     one route, a request that has a Host field only, an answer of 1 KB with four fields
--     fields    a request with five fields and a query
--     policies  the same through rate-limit, circuit-breaker and a JSON access log
--
-- The files of callgrind are kept in FOLDER: callgrind_annotate FOLDER/plain.20000
package.path = './?.lua;' .. package.path
require('tools.modules').use(arg)
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local CONNECTIONS = 4
local SHORT = 4000 -- requests of the shorter run: all that is made once has been made by then
local SECONDS = 120 -- for a start, an end or an answer

local PLAIN = 'GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n'
local FIELDS = 'GET /orders/17?page=2 HTTP/1.1\r\nHost: shop.example\r\n' ..
    'User-Agent: curl/7.88.1\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n' ..
    'Cookie: session=8f14e45fceea167a\r\n\r\n'

local BODY = ('x'):rep(1024)
local ANSWER = 'HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: origin\r\n' ..
    'Content-Type: text/plain\r\nContent-Length: 1024\r\n\r\n' .. BODY

local POLICIES = [[
    plugins:
    - { name: rate-limit, config: { quota: 100000000, window: 60s } }
    - { name: circuit-breaker, config: { consecutive_failures: 5 } }
    - name: access-log
      config: { sinks: [{ type: file, path: "%s/access.log" }] }
]]

-- Under valgrind everything takes 50 times as long.
local PATIENCE = [[
  plugins: { watchdog_ms: 60000, defaults: { cpu_ms: 10000 } }
]]

local CASES = {
    { name = 'plain', request = PLAIN, plugins = '', measures = 1 },
    { name = 'fields', request = FIELDS, plugins = '', measures = 1 },
    { name = 'policies', request = FIELDS, plugins = POLICIES, measures = 3 },
}

local function deadline()
    return posix.now() + SECONDS
end

local function is_stopped(pid)
    return assert(process.read(('/proc/%d/stat'):format(pid))):find(') T', 1, true) ~= nil
end

-- Does something of which the worker sees nothing before all of it is done.
local function at_once(worker, write)
    local last = deadline()
    posix.kill(worker, posix.signals.STOP)
    while not is_stopped(worker) do -- it is on its way
        assert(posix.now() < last, 'the worker does not stop')
    end
    write()
    posix.kill(worker, posix.signals.CONT)
end

local function read_request(fd)
    local seen = ''
    repeat
        seen = seen .. assert(posix.read(fd, deadline()))
    until seen:find('\r\n\r\n', 1, true)
end

local function drive(gateway, listener, request, count)
    local connections, upstreams = {}, {}
    for i = 1, CONNECTIONS do
        connections[i] = assert(client.connect(gateway.port, { timeout = SECONDS }))
    end
    for _ = 1, count / CONNECTIONS do
        at_once(gateway.worker, function()
            for _, connection in ipairs(connections) do
                assert(connection:send(request))
            end
        end)
        for i = 1, CONNECTIONS do
            upstreams[i] = upstreams[i] or assert(posix.accept(listener, deadline()))
            read_request(upstreams[i])
        end
        at_once(gateway.worker, function()
            for i = 1, CONNECTIONS do
                assert(posix.send(upstreams[i], ANSWER, deadline()))
            end
        end)
        for _, connection in ipairs(connections) do
            local res = assert(connection:response())
            assert(res.status == 200 and res.body == BODY, res.head)
        end
    end
    for i = 1, CONNECTIONS do
        connections[i]:close()
        posix.close(upstreams[i])
    end
end

-- The worker's instructions over one run.
local function run(case, count, kept)
    local folder = process.folder()
    local out = folder .. '/callgrind.'
    local listener, upstream = posix.listen()
    local gateway = process.start_gateway(process.yaml{ upstream = upstream, gateway = PATIENCE,
        plugins = case.plugins:format(folder) }, { folder = folder, wrapper = { 'valgrind',
        '--tool=callgrind', '--smc-check=all-non-file', '--callgrind-out-file=' .. out .. '%p' } })
    assert(gateway:wait_text('ready, ', SECONDS), gateway.err)
    gateway.port = tonumber(gateway.err:match('listening on 127%.0%.0%.1:(%d+)'))
    gateway.worker = gateway:status().workers[1].pid
    drive(gateway, listener, case.request, count)
    posix.close(listener)
    gateway:signal('TERM')
    assert(gateway:wait(SECONDS) == 0, gateway.err)
    local text = assert(process.read(out .. gateway.worker))
    if kept then
        process.write(('%s/%s.%d'):format(kept, case.name, count), text)
    end
    return assert(tonumber(text:match('\ntotals: (%d+)')))
end

local function main()
    local wanted, count = arg[1] or 'all', tonumber(arg[2]) or 20000
    assert(count > SHORT, 'more than ' .. SHORT .. ' requests, please')
    local found = false
    for _, case in ipairs(CASES) do
        if wanted == 'all' or wanted == case.name then
            found = true
            local least = math.huge
            for _ = 1, case.measures do
                local short = run(case, SHORT, arg[3])
                least = math.min(least, (run(case, count, arg[3]) - short) / (count - SHORT))
            end
            print(('%-8s %6.0f instructions a request'):format(case.name, least))
        end
    end
    assert(found, "nothing to measure is called '" .. wanted .. "'")
end

process.main(main)
