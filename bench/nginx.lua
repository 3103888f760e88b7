-- SPDX-License-Identifier: Apache-2.0
-- CPU of one proxied request, beside nginx: both gateways have one worker, stand in front of the
-- same `moongate echo` (1 KB answers, keep-alive) and are driven by wrk in short bursts that take
-- turns, since one machine's figures drift by half within minutes. The figure is the worker's own
-- run time from /proc/PID/schedstat divided by the requests it answered; the result is the median
-- of the paired ratios.
--
--     script/bench nginx [ROUNDS [SECONDS [CONNECTIONS]]]    (10 rounds of 2 s, 64 connections)

local rounds = tonumber(arg[1]) or 10
local seconds = tonumber(arg[2]) or 2
local connections = tonumber(arg[3]) or 64
local moongate = assert(os.getenv('MOONGATE_BIN'), 'run me by script/bench')
local folder = os.tmpname()
os.remove(folder)
assert(os.execute('mkdir -p ' .. folder) == 0)
math.randomseed(os.time())
local base_port = 20000 + math.random(0, 20000)
local origin, front, peer = base_port, base_port + 1, base_port + 2

local function write_file(name, text)
    local file = assert(io.open(folder .. '/' .. name, 'w'))
    file:write(text)
    file:close()
    return folder .. '/' .. name
end

local function read_command(command)
    local pipe = assert(io.popen(command))
    local text = pipe:read('*a')
    pipe:close()
    return text
end

local started = {}

--- Starts a command in the background; returns its pid.
local function start(command, log)
    local text = read_command(('%s >%s/%s 2>&1 & echo $!'):format(command, folder, log))
    local pid = assert(tonumber(text:match('%d+')), 'no pid from ' .. command)
    started[#started + 1] = pid
    return pid
end

local function stop_all()
    for index = #started, 1, -1 do
        os.execute(('kill %d 2>/dev/null'):format(started[index]))
    end
    os.execute('sleep 0.3; rm -rf ' .. folder)
end

local function wait_for(port)
    for _ = 1, 100 do
        if os.execute(('curl -s -o /dev/null http://127.0.0.1:%d/'):format(port)) == 0 then
            return
        end
        os.execute('sleep 0.1')
    end
    error('nothing answers on port ' .. port .. '; logs in ' .. folder)
end

local function child_of(pid)
    return assert(tonumber(read_command('pgrep -P ' .. pid .. ' | tail -n 1')), 'no worker')
end

local function run_ns(pid)
    local file = assert(io.open(('/proc/%d/schedstat'):format(pid)))
    local ns = tonumber(file:read('*a'):match('%d+'))
    file:close()
    return ns
end

--- One burst; returns microseconds of CPU per request and requests per second.
local function burst(pid, port)
    local before = run_ns(pid)
    local text = read_command(('wrk -t1 -c%d -d%ds http://127.0.0.1:%d/')
        :format(connections, seconds, port))
    local used = run_ns(pid) - before
    local requests = tonumber(text:match('(%d+) requests in'))
    assert(requests and requests > 0, 'wrk said: ' .. text)
    assert(not text:find('Non%-2xx') and not text:find('Socket errors'), 'errors: ' .. text)
    return used / 1000 / requests, requests / seconds
end

local function median(list)
    table.sort(list)
    return list[math.ceil(#list / 2)]
end

local function main()
    write_file('moongate.yml', ([[
_format_version: "3.0"
services:
- name: origin
  url: http://127.0.0.1:%d
  routes: [{ name: all, paths: [/] }]
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
]]):format(origin, front))
    local nginx_conf = write_file('nginx.conf', ([[
worker_processes 1; daemon off; pid %s/nginx.pid; error_log %s/nginx.err;
events { worker_connections 20000; }
http { access_log off; keepalive_requests 1000000;
  upstream origin { server 127.0.0.1:%d; keepalive 64; keepalive_requests 1000000; }
  server { listen 127.0.0.1:%d; location / {
    proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host; } } }
]]):format(folder, folder, origin, peer))
    local echo = '%s echo --listen 127.0.0.1:%d --size 1024 --quiet'
    start(echo:format(moongate, origin), 'echo.log')
    local run = '%s run -c %s/moongate.yml --control %s/control'
    local gateway = start(run:format(moongate, folder, folder), 'moongate.log')
    local nginx = start('nginx -c ' .. nginx_conf, 'nginx.log')
    wait_for(front)
    wait_for(peer)
    local ours, theirs = child_of(gateway), child_of(nginx)
    burst(ours, front)
    burst(theirs, peer)
    local ratios, our_us, their_us = {}, {}, {}
    for round = 1, rounds do
        local a, a_rate = burst(ours, front)
        local b, b_rate = burst(theirs, peer)
        ratios[round], our_us[round], their_us[round] = a / b, a, b
        print(('round %2d: moongate %.1f us, %d/s; nginx %.1f us, %d/s; ratio %.3f')
            :format(round, a, a_rate, b, b_rate, a / b))
    end
    print(('CPU per request: moongate %.1f us, nginx %.1f us, ratio %.3f (medians of %d rounds)')
        :format(median(our_us), median(their_us), median(ratios), rounds))
end

local ok, err = xpcall(main, debug.traceback)
stop_all()
if not ok then
    io.stderr:write(err, '\n')
    os.exit(1)
end
