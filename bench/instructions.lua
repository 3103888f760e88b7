-- SPDX-License-Identifier: Apache-2.0
-- Instructions of user space for one proxied request: the gateway runs under callgrind with one
-- worker in front of `moongate echo`, four kept-alive connections send a request each and wait for
-- the four answers, again and again. Two such runs of different lengths: the difference of the
-- worker's totals, divided by the difference of the counts, leaves start-up and end out. How many
-- requests share a turn of the loop depends on the other processes of the machine, and a busy one
-- only adds to the figure: so it is the least of three.
--
--     script/bench instructions [NAME [REQUESTS [FOLDER]]]      (all, 20,000)
--
--     plain     one route, a request that has a Host field only, an answer of 1 KB
--     fields    a request with five fields and a query
--     policies  the same through rate-limit, circuit-breaker and a JSON access log
--
-- The files of callgrind are kept in FOLDER: callgrind_annotate FOLDER/plain.20000
package.path = './?.lua;' .. package.path
require('tools.modules').use(arg)
local client = require 'spec.gateway.support.client'
local process = require 'spec.gateway.support.process'

local CONNECTIONS = 4
local SHORT = 4000 -- requests of the shorter run: all that is made once has been made by then
local MEASURES = 3
local SECONDS = 120 -- for a start, an end or an answer

local PLAIN = 'GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n'
local FIELDS = 'GET /orders/17?page=2 HTTP/1.1\r\nHost: shop.example\r\n' ..
    'User-Agent: curl/7.88.1\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n' ..
    'Cookie: session=8f14e45fceea167a\r\n\r\n'

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
    { name = 'plain', request = PLAIN, plugins = '' },
    { name = 'fields', request = FIELDS, plugins = '' },
    { name = 'policies', request = FIELDS, plugins = POLICIES },
}

local function drive(port, request, count)
    local connections = {}
    for i = 1, CONNECTIONS do
        connections[i] = assert(client.connect(port, { timeout = SECONDS }))
    end
    for _ = 1, count / CONNECTIONS do
        for _, connection in ipairs(connections) do
            assert(connection:send(request))
        end
        for _, connection in ipairs(connections) do
            local res = assert(connection:response())
            assert(res.status == 200 and #res.body == 1024, res.head)
        end
    end
    for _, connection in ipairs(connections) do
        connection:close()
    end
end

-- The worker's instructions over one run.
local function run(case, upstream, count, kept)
    local folder = process.folder()
    local out = folder .. '/callgrind.'
    local gateway = process.start_gateway(process.yaml{ upstream = upstream, gateway = PATIENCE,
        plugins = case.plugins:format(folder) }, { folder = folder, wrapper = { 'valgrind',
        '--tool=callgrind', '--smc-check=all-non-file', '--callgrind-out-file=' .. out .. '%p' } })
    assert(gateway:wait_text('ready, ', SECONDS), gateway.err)
    local port = tonumber(gateway.err:match('listening on 127%.0%.0%.1:(%d+)'))
    local worker = gateway:status().workers[1].pid
    drive(port, case.request, count)
    gateway:signal('TERM')
    assert(gateway:wait(SECONDS) == 0, gateway.err)
    local text = assert(process.read(out .. worker))
    if kept then
        process.write(('%s/%s.%d'):format(kept, case.name, count), text)
    end
    return assert(tonumber(text:match('\ntotals: (%d+)')))
end

local function measure(case, upstream, count, kept)
    local least = math.huge
    for _ = 1, MEASURES do
        local short = run(case, upstream, SHORT, kept)
        least = math.min(least, (run(case, upstream, count, kept) - short) / (count - SHORT))
    end
    print(('%-8s %6.0f instructions a request'):format(case.name, least))
end

local function main()
    local wanted, count = arg[1] or 'all', tonumber(arg[2]) or 20000
    assert(count > SHORT, 'more than ' .. SHORT .. ' requests, please')
    local upstream, found = process.echo('--size', '1024').port, false
    for _, case in ipairs(CASES) do
        if wanted == 'all' or wanted == case.name then
            found = true
            measure(case, upstream, count, arg[3])
        end
    end
    assert(found, "nothing to measure is called '" .. wanted .. "'")
end

local ok, err = xpcall(main, debug.traceback)
process.stop_all()
if not ok then
    io.stderr:write(err, '\n')
    os.exit(1)
end
