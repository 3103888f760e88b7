-- SPDX-License-Identifier: Apache-2.0
--
-- Log sinks over the network, with real workers and a real collector: everything arrives, no secret
-- does, and a sink that is down costs lines that are counted, and nothing else. At each end:
-- requests = lines that arrived + lines that are told as lost.
local client = require 'spec.gateway.support.client'
local dkjson = require 'dkjson'
local load = require 'spec.gateway.support.load'
local open_load = require 'spec.gateway.support.open_load'
local peers = require 'spec.gateway.support.peers'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local procfs = require 'spec.gateway.support.procfs'
local redis = require 'spec.gateway.support.redis'

local MIB = 1024 * 1024
local LONG = tonumber(os.getenv('MOONGATE_SOAK_LOG_SECONDS'))
local SECONDS = LONG or 4 -- that a sink is dead
local SAMPLED = LONG and 100000 or 4000 -- requests
-- requests a second, all to one sink or all to the other
local RATE = tonumber(os.getenv('MOONGATE_SOAK_LOG_RATE')) or LONG and 5000 or 500
local TURN = 0.5 -- s
local DELAYED = 1.05 -- of the 99th percentile: what a dead sink may make of it
local MOST_OF_A_CONNECTION = 10000 -- the last answer says close

describe('log sinks over the network', function()
    local missing = peers.missing({ 'node', 'wrk', 'openssl' })
    local echo, collector

    local function start_collector(folder, port, files)
        local path = folder .. '/collected'
        collector = process.start({ 'node', 'spec/gateway/support/collector.mjs', path,
            tostring(port or 0) }, files and { COLLECTOR_CERT = files.cert,
            COLLECTOR_KEY = files.key })
        assert(collector:wait_text('\n', nil, 'out'), collector.err)
        collector.ports = assert(dkjson.decode(collector.out, 1, nil))
        collector.path = path
        return collector
    end

    -- In config, HTTP, TCP, UDP stand for the collector's ports, FOLDER for the gateway's folder.
    local function yaml_of(config, o)
        local text = config:gsub('FOLDER', o.folder):gsub('%f[%w]%u+%f[%W]', function(word)
            return collector.ports[word:lower()]
        end)
        return process.yaml({ upstream = echo.port, workers = o.workers or 2, port = o.port,
            gateway = 'plugins:\n' .. text })
    end

    local function start(config, o)
        o = o or {}
        o.folder = o.folder or process.folder()
        start_collector(o.folder, nil, o.files)
        o.port = process.free_port()
        local gateway = process.gateway(yaml_of(config, o), { folder = o.folder })
        gateway.o = o
        return gateway
    end

    local function get(gateway, count, path, headers)
        local connection = assert(client.connect(gateway.port))
        for _ = 1, count do
            assert.equal(200, assert(connection:request('GET', path or '/', headers)).status)
        end
        connection:close()
    end

    -- What was collected by each way: lists of lines, and how many lines are told as lost.
    local function collected()
        local ways, lost = {}, 0
        for line in process.read(collector.path):gmatch('([^\n]*)\n') do
            local way, text = line:match('^([^\t]*)\t(.*)$')
            local record = text:sub(1, 1) == '{' and assert(dkjson.decode(text, 1, nil), text)
            if record and record.event == 'lost' then
                lost = lost + record.lines
            else
                ways[way] = ways[way] or {}
                table.insert(ways[way], text)
            end
        end
        return ways, lost
    end

    local function wait_collected(holds)
        local deadline = posix.now() + process.deadline
        local ways, lost
        repeat
            ways, lost = collected()
            if holds(ways, lost) then
                return ways, lost
            end
            posix.pause(0.02)
        until posix.now() > deadline
        error('what was waited for does not arrive: ' .. dkjson.encode({ lost = lost }))
    end

    local function counters(gateway)
        return gateway:status().counters
    end

    -- While the sink is dead: what both workers have at most. The queue stays bounded.
    local function most_memory(gateway, pids)
        local until_then, worst = posix.now() + SECONDS, 0
        while posix.now() < until_then do
            local now = counters(gateway)
            assert.is_true(now.log_lines_queued <= 3000 + 600) -- and what is under way
            worst = math.max(worst, procfs.rss_bytes(pids[1]) + procfs.rss_bytes(pids[2]))
            posix.pause(LONG and 1 or 0.05)
        end
        return worst
    end

    local function p99_in(text)
        return text:match('99%%%s+(%S+)')
    end

    local function p99_of_load(gateway)
        local running = load.start(gateway.port, { connections = 8, latency = true })
        posix.pause(SECONDS / 10)
        return p99_in(running:stop().text)
    end

    before_each(function()
        echo = process.echo('--size', '10')
    end)

    after_each(process.stop_all)

    it('L4 get every line, whatever the form, and no secret', function()
        if missing then pending(missing) return end
        local gateway = start([[
- name: access-log
  config:
    fields: [method, path, query, referer, req.header.authorization, req.header.x-mine,
             resp.header.set-cookie, user_agent]
    redact: { headers: [x-mine], names: [otp] }
    custom_fields: { all: "lua: record.req_headers['authorization']",
                     query2: "lua: record.query" }
    sinks:
    - { type: http, url: "http://127.0.0.1:HTTP/a", queue: { flush: 50ms } }
    - { type: http, url: "http://127.0.0.1:HTTP/b", gzip: false, encoding: json,
        queue: { flush: 50ms }, headers: { authorization: other } }
    - { type: tcp, host: 127.0.0.1, port: TCP, format: combined }
    - { type: udp, host: localhost, port: UDP, format: custom,
        template: '{path} {query} {req.header.cookie} {referer} {req.header.x-api-key:-none}' }
    - { type: syslog, host: 127.0.0.1, port: UDP, facility: local3, tag: spec }
    - { type: syslog, host: 127.0.0.1, port: TCP, transport: tcp, facility: local3 }
    - { type: file, path: "FOLDER/a.log" }
]])
        local secret = 'S3CRETbyS3CRET'
        local function ask(i)
            local path = ('/p%d?token=%s&%%54OKEN=%s&user[password]=%s&otp=%s'):format(i, secret,
                secret, secret, secret)
            get(gateway, 1, path, {
                Authorization = 'Bearer ' .. secret, ['Proxy-Authorization'] = secret,
                Cookie = 'sid=' .. secret, ['X-Api-Key'] = secret, ['X-Mine'] = secret,
                Referer = ('http://u:%s@h/x?API_KEY=%s#code=%s'):format(secret, secret, secret),
            })
        end
        for i = 1, 20 do
            ask(i)
        end
        local ways = wait_collected(function(ways)
            return ways.http and #ways.http >= 20 and ways['http other']
                and #ways['http other'] >= 20 and ways.udp and #ways.udp >= 40
                and ways.tcp and #ways.tcp >= 20
        end)
        assert.equal(20, #ways.http)
        assert.equal('***', assert(dkjson.decode(ways.http[1])).all)
        assert.truthy(table.concat(ways.udp, '\n'):find('<158>1 ', 1, true)) -- 19 * 8 + 6
        assert.equal(0, gateway:command('reload'))
        gateway:signal('TERM')
        assert.equal(0, gateway:wait(), gateway.err)
        for name, text in pairs({ collected = process.read(collector.path), err = gateway.err,
            out = gateway.out, file = process.read(gateway.folder .. '/a.log') }) do
            assert.is_nil(text:find(secret, 1, true), name)
        end
        local _, count = process.read(gateway.folder .. '/a.log'):gsub('\n', '')
        assert.equal(20, count)
    end)

    it('speak TLS, to those only whom they trust', function()
        if missing then pending(missing) return end
        local files = redis.certificates()
        local config = [[
- name: access-log
  config:
    queue: { flush: 50ms }
    sinks:
    - { type: http, url: "https://127.0.0.1:HTTPS/", tls: { ca: "${file:%s}" } }
    - { type: tcp, host: 127.0.0.1, port: TLS, transport: tls,
        tls: { ca: "${file:%s}", server_name: redis.test } }
]]
        local gateway = start(config:format(files.ca, files.ca), { files = files })
        get(gateway, 30)
        wait_collected(function(ways)
            return ways.http and #ways.http == 30 and ways.tls and #ways.tls == 30
        end)
        gateway:rewrite(yaml_of(config:format(files.other_ca, files.other_ca), gateway.o))
        assert.equal(0, gateway:command('reload'))
        get(gateway, 5)
        assert.is_true(gateway:wait_text('cannot write https://127.0.0.1:'))
        assert.is_true(gateway:wait_text('cannot write tls://127.0.0.1:'))
        assert.equal(10, counters(gateway).log_lines_queued)
        local ways = collected()
        assert.same({ 30, 30 }, { #ways.http, #ways.tls })
    end)

    it('work by the names and options of Kong', function()
        if missing then pending(missing) return end
        local gateway = start([[
- { name: file-log, config: { path: "FOLDER/a.log", reopen: true } }
- { name: http-log, config: { http_endpoint: "http://a%3Ab:c@127.0.0.1:HTTP/x?y=1" } }
- { name: tcp-log, config: { host: 127.0.0.1, port: TCP } }
- { name: udp-log, config: { host: 127.0.0.1, port: UDP } }
]])
        get(gateway, 3, '/kong')
        local auth = 'http Basic YTpiOmM='
        local ways = wait_collected(function(ways)
            return ways[auth] and #ways[auth] == 3 and ways.tcp and #ways.tcp == 3 and ways.udp
                and #ways.udp == 3
        end)
        for _, list in pairs(ways) do
            assert.equal('/kong', assert(dkjson.decode(list[1])).path)
        end
        gateway:stop()
        local _, count = process.read(gateway.folder .. '/a.log'):gsub('\n', '')
        assert.equal(3, count)
    end)

    it('L1 lose the oldest lines of a full queue while they are dead, and tell it', function()
        if missing then pending(missing) return end
        -- Lines that a collector takes and confirms too late may be dropped before they are sent
        -- again, and told as lost: a busy machine must not make it late, where all are to add up.
        local gateway = start([[
- name: access-log
  config:
    fields: [path, request_id, ts, status, user_agent]
    sinks: [{ type: http, url: "http://127.0.0.1:HTTP/", timeout: 30s }]
    queue: { bytes: 2MiB, entries: 3000, flush: 50ms }
    retry: { max: 200ms, for: 10m }
]])
        get(gateway, 100)
        local healthy = LONG and p99_of_load(gateway)
        local pids = {}
        for _, worker in ipairs(gateway:status().workers) do
            pids[#pids + 1] = worker.pid
        end
        local before = procfs.rss_bytes(pids[1]) + procfs.rss_bytes(pids[2])
        assert(gateway:wait_status(function(status)
            return status.counters.log_lines_queued == 0
        end))
        get(gateway, 40) -- both workers: tells of what a slow collector has lost
        local first = counters(gateway).requests
        wait_collected(function(ways, lost)
            return ways.http and #ways.http + lost >= first
        end)
        collector:signal('KILL')
        collector:wait()
        local running = load.start(gateway.port, { connections = 8, latency = true })
        assert(gateway:wait_status(function(status)
            return status.counters.log_lines_dropped > 3000
        end, 60))
        local worst = most_memory(gateway, pids)
        local result = running:stop()
        assert.equal(0, result.failed, result.text)
        if LONG then
            print(('dead for %d s: %d requests, p99 %s, healthy %s; memory grew by %.1f MiB')
                :format(SECONDS, result.requests, p99_in(result.text), healthy,
                    (worst - before) / MIB))
        end
        if os.getenv('MOONGATE_PRESET') ~= 'asan' then -- that keeps what is freed for a while
            assert.is_true(worst - before < 2 * MIB + 16 * MIB, worst - before)
        end
        start_collector(gateway.folder, collector.ports.http)
        local total = counters(gateway).requests
        assert(gateway:wait_status(function(status)
            return status.counters.log_lines_queued == 0
        end))
        get(gateway, 1) -- tells of what was lost last
        local ways, lost = wait_collected(function(ways, lost)
            return ways.http and #ways.http + lost >= total + 1
        end)
        assert.equal(total + 1, #ways.http + lost)
        local now = counters(gateway)
        assert.equal(now.log_lines_written, #ways.http)
        assert.equal(now.log_lines_dropped, lost)
    end)

    -- The 99th percentiles of turns: as long as records of one path follow each other.
    local function turns_of(records)
        local turns, from = {}, 1
        for i = 2, #records + 1 do
            if i > #records or records[i].path ~= records[from].path then
                turns[#turns + 1] = { path = records[from].path,
                    p99 = open_load.p99({ unpack(records, from, i - 1) }) }
                from = i
            end
        end
        return turns
    end

    -- Quarter, median and three quarters.
    local function quartiles(list)
        table.sort(list)
        return list[math.ceil(#list / 4)], list[math.ceil(#list / 2)], list[math.ceil(#list * 0.75)]
    end

    -- Of each two turns that follow each other the ratio of their 99th percentiles, of those the
    -- median: what the machine does meanwhile it does to both.
    local function compare(records)
        local turns, ratios, all = turns_of(records), {}, { ['/dead'] = {}, ['/live'] = {} }
        for i = 1, #turns - 1, 2 do
            local one, other = turns[i], turns[i + 1]
            local dead = one.path == '/dead' and one or other
            ratios[#ratios + 1] = dead.p99 / (dead == one and other or one).p99
        end
        for _, turn in ipairs(turns) do
            table.insert(all[turn.path], turn.p99)
        end
        local low, ratio, high = quartiles(ratios)
        print(('%d requests: p99 of a turn with a dead sink %.2f ms, with a live one %.2f ms; %d '
            .. 'ratios, median %.3f, half of them from %.2f to %.2f'):format(#records,
            select(2, quartiles(all['/dead'])), select(2, quartiles(all['/live'])), #ratios, ratio,
            low, high))
        return ratio
    end

    local ROUTES = [[
_format_version: "3.0"
services:
- name: echo
  url: http://127.0.0.1:%d
  routes:
  - name: dead
    paths: [/dead]
    plugins: [{ name: access-log, config: %s }]
  - name: live
    paths: [/live]
    plugins: [{ name: access-log, config: %s }]
gateway:
  workers: 2
  listeners: [{ address: "127.0.0.1:%d" }]
]]
    -- One collector that is dead and one that is not, each the sink of a route.
    local function start_both()
        local dead, live = process.free_port(), start_collector(process.folder()).ports.http
        local sink = '{ type: http, timeout: 200ms, url: "http://127.0.0.1:%d/" }'
        local config = '{ sinks: [' .. sink .. '], queue: { entries: 200, flush: 50ms } }'
        return process.gateway(ROUTES:format(echo.port, config:format(dead), config:format(live),
            process.free_port()))
    end

    it('L1 delay no request while they are dead', function()
        if missing then pending(missing) return end
        local gateway = start_both()
        local running = open_load.start(gateway.port, { rate = RATE, paths = { '/dead', '/live' },
            turn = TURN })
        assert(gateway:wait_status(function(status)
            return status.counters.log_lines_dropped > 0
        end, 60))
        posix.pause(LONG or 4 * TURN)
        local records = running:stop()
        assert.same({ [200] = #records }, open_load.count(records, 'status'))
        local counts = open_load.count(records, 'path')
        assert(gateway:wait_status(function(status)
            local now = status.counters
            return now.log_lines_written + now.log_lines_dropped + now.log_lines_queued == #records
                and now.log_lines_dropped + now.log_lines_queued >= counts['/dead']
        end))
        if LONG then
            assert.is_true(compare(records) <= DELAYED)
        end
    end)

    it('keep their queue over a reload, and drain it when they are gone', function()
        if missing then pending(missing) return end
        local config = [[
- name: access-log
  config:
    sinks: [{ type: http, url: "http://127.0.0.1:HTTP/" }]
    queue: { flush: %s }
    sample: %s
]]
        local gateway = start(config:format('1h', '1'))
        get(gateway, 10)
        gateway:rewrite(yaml_of(config:format('1h', '0.9999'), gateway.o))
        assert.equal(0, gateway:command('reload'))
        get(gateway, 10)
        assert(gateway:wait_status(function(status)
            return status.counters.log_lines_queued >= 19 -- one of 20 may be sampled away
        end))
        gateway:rewrite(yaml_of(config:format('50ms', '1'), gateway.o))
        assert.equal(0, gateway:command('reload'))
        wait_collected(function(ways)
            return ways.http and #ways.http >= 19
        end)
    end)

    it('get what is queued when the gateway ends', function()
        if missing then pending(missing) return end
        local gateway = start([[
- name: access-log
  config: { sinks: [{ type: http, url: "http://127.0.0.1:HTTP/" }], queue: { flush: 1h } }
]])
        get(gateway, 50)
        gateway:signal('TERM')
        assert.equal(0, gateway:wait(), gateway.err)
        assert.equal(50, #collected().http)
    end)

    it('are waited for no longer than 5 s then, and the loss is said', function()
        if missing then pending(missing) return end
        local gateway = start([[
- name: access-log
  config: { sinks: [{ type: http, url: "http://127.0.0.1:HTTP/" }], queue: { flush: 1h } }
]], { workers = 1 })
        get(gateway, 50)
        collector:signal('STOP')
        local begun = posix.now()
        gateway:signal('TERM')
        assert.equal(0, gateway:wait(60), gateway.err)
        collector:signal('CONT')
        assert.is_true(posix.now() - begun >= 4.9)
        assert.truthy(gateway.err:find('50 lines for http://127.0.0.1:%d+/ are lost'), gateway.err)
    end)

    it('L6 get a share of the requests, the same on two hosts, and all that fail', function()
        if missing then pending(missing) return end
        local config = [[
- { name: request-termination, config: { status_code: 500, trigger: x-fail } }
- name: access-log
  config: { sinks: [{ type: http, url: "http://127.0.0.1:HTTP/" }], sample: 0.1,
            fields: [status, path] }
]]
        local kept = {}
        for host = 1, 2 do
            local gateway = start(config)
            local connection
            for i = 1, SAMPLED do
                if i % MOST_OF_A_CONNECTION == 1 then
                    connection = assert(client.connect(gateway.port))
                end
                local headers = { traceparent = ('00-%032x-%016x-01'):format(i * 1000003, i) }
                headers['x-fail'] = i % 50 == 0 and '1' or nil
                assert(connection:request('GET', '/' .. i, headers))
                if i % MOST_OF_A_CONNECTION == 0 or i == SAMPLED then
                    connection:close()
                end
            end
            gateway:signal('TERM')
            assert.equal(0, gateway:wait(), gateway.err)
            local ways, lost = collected()
            assert.equal(0, lost)
            local names = {}
            for _, text in ipairs(ways.http) do
                local record = assert(dkjson.decode(text))
                assert.equal(record.status == 500 and 'none' or 0.1, record.sample or 'none')
                names[#names + 1] = record.path
            end
            table.sort(names)
            kept[host] = names
        end
        assert.same(kept[1], kept[2])
        local failed = SAMPLED / 50
        local share = (#kept[1] - failed) / (SAMPLED - failed)
        local most = LONG and 0.005 or 0.02
        assert.is_true(math.abs(share - 0.1) < most, share)
    end)

    it('L6 are told of the lines that died with a worker', function()
        if missing then pending(missing) return end
        local gateway = start([[
- name: access-log
  config:
    sinks: [{ type: http, url: "http://127.0.0.1:HTTP/" }]
    queue: { flush: 1h, batch: 10 }
]], { workers = 1 })
        get(gateway, 7)
        assert(gateway:wait_status(function(status)
            return status.counters.log_lines_queued == 7
        end))
        local pid = gateway:status().workers[1].pid
        posix.kill(pid, posix.signals.KILL)
        assert(gateway:wait_status(function(status)
            local worker = status.workers[1]
            return worker.pid ~= pid and worker.state == 'serving'
                and status.counters.log_lines_worker_died == 7
        end))
        get(gateway, 10)
        local ways, lost = wait_collected(function(ways)
            return ways.http and #ways.http == 10
        end)
        assert.equal(10, #ways.http)
        assert.equal(7, lost)
    end)
end)
