-- SPDX-License-Identifier: Apache-2.0
--
-- What a proxied request costs in user space: the gateway runs under callgrind with one worker,
-- between four kept-alive connections of a client and an upstream, both played here. The worker is
-- stopped while four requests, or four answers, are written: so it always meets four at once, and
-- the figure does not depend on what else the machine does. After a warm-up come windows of equal
-- length; at the end of each a request that is refused makes callgrind dump and begin again, so
-- start-up, warm-up and end are in none of them. The C library is told not to choose its variants
-- by the processor: the same instructions are counted on all machines.
--
--     for each case of callgrind.cases:
--         local found = callgrind.measure(case, { warm_up = 2000, window = 1000, windows = 4 })
--         -- found.instructions: per request, of the cheapest window; found.all: of each window
--         -- found.allocations: calls of malloc and its kind per request, in that window
--         -- found.trace_aborts: traces that LuaJIT gave up, in the window with the least
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local M = {}

local CONNECTIONS = 4
local SECONDS = 120 -- for a start, an end or an answer

local PLAIN = 'GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n'
local FIELDS = 'GET /orders/17?page=2 HTTP/1.1\r\nHost: shop.example\r\n' ..
    'User-Agent: curl/7.88.1\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n' ..
    'Cookie: session=8f14e45fceea167a\r\n\r\n'
local REFUSED = 'GET / HTTP/1.1\r\n\r\n' -- no Host

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

-- Under valgrind everything takes 50 times as long; and how often a worker tells its vitals in a
-- window would hang on the load of the machine.
local PATIENCE = [[
  status: { address: "off" }
  plugins: { watchdog_ms: 60000, defaults: { cpu_ms: 10000 } }
]]

local VARIANTS = 'glibc.cpu.hwcaps=-AVX2_Usable,-AVX_Fast_Unaligned_Load,-AVX2,-AVX,-BMI2,-ERMS,' ..
    '-AVX512F,-AVX512VL,-EVEX'

local ALLOCATORS = { malloc = true, calloc = true, realloc = true, memalign = true,
    aligned_alloc = true, posix_memalign = true, mmap = true }

M.cases = {
    { name = 'plain', request = PLAIN, plugins = '' },
    { name = 'fields', request = FIELDS, plugins = '' },
    { name = 'policies', request = FIELDS, plugins = POLICIES },
}

local function deadline()
    return posix.now() + SECONDS
end

-- --- the two sides of the gateway

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

local function drive(run, count)
    for _ = 1, count / CONNECTIONS do
        at_once(run.worker, function()
            for _, connection in ipairs(run.connections) do
                assert(connection:send(run.case.request))
            end
        end)
        for i = 1, CONNECTIONS do
            run.upstreams[i] = run.upstreams[i] or assert(posix.accept(run.listener, deadline()))
            read_request(run.upstreams[i])
        end
        at_once(run.worker, function()
            for i = 1, CONNECTIONS do
                assert(posix.send(run.upstreams[i], ANSWER, deadline()))
            end
        end)
        for _, connection in ipairs(run.connections) do
            local res = assert(connection:response())
            assert(res.status == 200 and res.body == BODY, res.head)
        end
    end
end

-- Ends a window.
local function dump(run)
    local connection = assert(client.connect(run.gateway.port, { timeout = SECONDS }))
    assert(connection:send(REFUSED))
    assert(assert(connection:response()).status == 400)
    connection:close()
end

local function start(case)
    local run = { case = case, folder = process.folder(), connections = {}, upstreams = {} }
    run.out = run.folder .. '/callgrind.'
    local upstream
    run.listener, upstream = posix.listen()
    run.gateway = process.start_gateway(process.yaml{ upstream = upstream, gateway = PATIENCE,
        plugins = case.plugins:format(run.folder) }, { folder = run.folder,
        env = { GLIBC_TUNABLES = VARIANTS, MOONGATE_COUNT_TRACE_ABORTS = '1' },
        wrapper = { 'valgrind', '--tool=callgrind',
            '--smc-check=all-non-file', '--dump-before=mg_fail_with*',
            '--callgrind-out-file=' .. run.out .. '%p' } })
    assert(run.gateway:wait_text('ready, ', SECONDS), run.gateway.err)
    run.gateway.port = tonumber(run.gateway.err:match('listening on 127%.0%.0%.1:(%d+)'))
    run.worker = run.gateway:status().workers[1].pid
    for i = 1, CONNECTIONS do
        run.connections[i] = assert(client.connect(run.gateway.port, { timeout = SECONDS }))
    end
    return run
end

local function stop(run)
    for i = 1, CONNECTIONS do
        run.connections[i]:close()
        posix.close(run.upstreams[i])
    end
    posix.close(run.listener)
    run.gateway:signal('TERM')
    assert(run.gateway:wait(SECONDS) == 0, run.gateway.err)
end

-- --- callgrind's files

-- How often functions that give memory were called. A name stands once with its number, later
-- the number alone; the calls stand behind the name of the one that is called.
local function count_allocations(text)
    local names, called, count = {}, nil, 0
    for line in text:gmatch('[^\n]+') do
        local key, number, name = line:match('^(c?fn)=(%(%d+%)) ?(.*)$')
        if key then
            if name ~= '' then
                names[number] = name:gsub("'%d+$", '')
            end
            called = key == 'cfn' and names[number]
        elseif called and ALLOCATORS[called] then
            count = count + tonumber(line:match('^calls=(%d+)') or 0)
        end
    end
    return count
end

local function read_window(run, index, requests)
    local text = assert(process.read(('%s%d.%d'):format(run.out, run.worker, index + 1)),
        'callgrind wrote no dump: does the function of --dump-before have another name?')
    return {
        text = text,
        instructions = assert(tonumber(text:match('\ntotals: (%d+)'))) / requests,
        allocations = count_allocations(text) / requests,
    }
end

--- Measures one case.
-- @tparam table case one of M.cases
-- @tparam table o warm_up, window: requests; windows: how many; keep: a folder for the files
-- @treturn table see above
function M.measure(case, o)
    local run = start(case)
    drive(run, o.warm_up)
    dump(run)
    local aborts = { [0] = run.gateway:status().counters.trace_aborts }
    for i = 1, o.windows do
        drive(run, o.window)
        dump(run)
        aborts[i] = run.gateway:status().counters.trace_aborts
    end
    stop(run)
    local found = { all = {}, instructions = math.huge, trace_aborts = math.huge }
    for i = 1, o.windows do
        local window = read_window(run, i, o.window)
        found.all[i] = window.instructions
        found.trace_aborts = math.min(found.trace_aborts, aborts[i] - aborts[i - 1])
        if window.instructions < found.instructions then
            found.instructions, found.allocations = window.instructions, window.allocations
            if o.keep then
                process.write(('%s/%s'):format(o.keep, case.name), window.text)
            end
        end
    end
    return found
end

return M
