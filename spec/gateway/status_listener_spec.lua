-- SPDX-License-Identifier: Apache-2.0
--
-- /livez, /readyz and /metrics on the listener of status.address.
local client = require 'spec.gateway.support.client'
local limited = require 'spec.gateway.support.limited'
local metrics = require 'spec.gateway.support.metrics'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local REQUESTS = 'moongate_http_requests_total'

describe('the status listener', function()
    after_each(process.stop_all)

    -- A gateway with two workers and a status listener, and the echo behind it.
    local function start(o)
        o = o or {}
        local port = process.free_port()
        o.upstream = o.upstream or process.echo().port
        o.workers = o.workers or 2
        o.gateway = ('  status: { address: "127.0.0.1:%d" }\n%s'):format(port, o.gateway or '')
        local gateway = process.gateway(process.yaml(o))
        gateway.status_port = port
        return gateway
    end

    local function ask(gateway, path)
        return assert(client.get(gateway.status_port, path))
    end

    local function scrape(gateway)
        local res = ask(gateway, '/metrics')
        assert.equal(200, res.status)
        return metrics.parse(res.body), res
    end

    it('says that a worker answers, and that all are ready', function()
        local gateway = start()
        assert.equal('ok\n', ask(gateway, '/livez').body)
        local res = ask(gateway, '/readyz')
        assert.equal(200, res.status)
        assert.equal('ok\n', res.body)
        local text = ask(gateway, '/readyz?verbose').body
        assert.truthy(text:find('[+] workers: 2 of 2 serve', 1, true), text)
        assert.truthy(text:find('[+] generation: 2 of 2 workers are on number 1', 1, true), text)
        assert.truthy(text:find('[+] shutdown', 1, true), text)
    end)

    it('is not ready while the gateway drains, and goes on answering', function()
        local gateway = start({ gateway = '  shutdown: { drain_delay: 60s }' })
        gateway:signal('TERM')
        local res
        local deadline = posix.now() + 10
        repeat
            res = ask(gateway, '/readyz')
        until res.status == 503 or posix.now() > deadline
        assert.equal(503, res.status)
        assert.truthy(res.body:find('[-] shutdown: the gateway is draining', 1, true), res.body)
        assert.equal(200, ask(gateway, '/livez').status)
        assert.equal(200, assert(gateway:get('/')).status)
    end)

    it('answers HEAD without a body, and nothing but GET and HEAD', function()
        local gateway = start()
        for _, path in ipairs({ '/livez', '/readyz', '/metrics' }) do
            local res = assert(client.request(gateway.status_port, 'HEAD', path))
            assert.equal(200, res.status)
            assert.equal('', res.body)
        end
        local res = assert(client.request(gateway.status_port, 'DELETE', '/metrics'))
        assert.equal(405, res.status)
        assert.equal('GET, HEAD', res.headers.allow)
        assert.equal(404, ask(gateway, '/').status)
        assert.equal(404, ask(gateway, '/metrics/../livez').status)
    end)

    -- A request is counted once it has ended, which may be after its client has the answer.
    local function scrape_after(gateway, requests)
        limited.wait_until(function()
            return scrape(gateway):value(REQUESTS) == requests
        end, ('%d requests'):format(requests))
        return scrape(gateway)
    end

    it('counts what two workers did, exactly', function()
        local gateway = start()
        for i = 1, 60 do
            local path = i % 3 == 0 and '/?status=404' or '/'
            assert(client.get(gateway.port, path)) -- a connection each: both workers get some
        end
        assert(client.request(gateway.port, 'POST', '/', {}, 'hello'))
        local found, res = scrape_after(gateway, 61)
        assert.equal('text/plain; version=0.0.4; charset=utf-8', res.headers['content-type'])
        assert.equal(61, found:value(REQUESTS))
        assert.equal(1, found:value(REQUESTS, { method = 'POST', route = 'echo' }))
        local duration = 'moongate_http_request_duration_seconds'
        assert.equal(61, found:value(duration .. '_count', { route = 'echo' }))
        assert.equal(61, found:value(duration .. '_bucket', { route = 'echo', le = '+Inf' }))
        assert.equal(61, found:value('moongate_upstream_requests_total', { outcome = 'ok' }))
        assert.equal(61, found:value('moongate_upstream_request_duration_seconds_count'))
        assert.equal(61, found:value('moongate_http_requests_received_total'))
        assert.equal(61, found:value('moongate_connections_accepted_total'))
        assert.equal(0, found:value('moongate_http_requests_active'))
        assert.equal(61, found:value('moongate_upstream_tries_total'))
        assert.equal(2, found:value('moongate_workers'))
        assert.equal(found:value('moongate_http_received_bytes_total'),
            found:value('moongate_http_request_bytes_total'))
    end)

    it('counts what the policies did', function()
        local gateway = start({ plugins = '    plugins: [{ name: rate-limit, config: { limits: ['
            .. '{ name: few, quota: 2, window: 1h }, { name: many, quota: 9, window: 1h }],'
            .. ' exempt: ["header:X-Free=yes"] } },'
            .. ' { name: circuit-breaker, config: { consecutive_failures: 5 } },'
            .. ' { name: access-log, config: { sinks: [{ type: file, path: "/dev/null" }] } }]' })
        for _ = 1, 5 do
            assert(client.get(gateway.port, '/'))
        end
        assert(client.get(gateway.port, '/', { ['X-Free'] = 'yes' }))
        local found = scrape_after(gateway, 6)
        local function decisions(policy, decision)
            return found:value('moongate_ratelimit_decisions_total',
                { route = 'echo', policy = policy, decision = decision })
        end
        assert.equal(2, decisions('-', 'allowed'))
        assert.equal(3, decisions('few', 'denied'))
        assert.equal(1, decisions('-', 'exempt'))
        assert.equal(3, found:value(REQUESTS, { outcome = 'limited', code = '429' }))
        assert.equal(1, found:value('moongate_ratelimit_keys', { policy = 'few' }))
        assert.equal(1, found:value('moongate_breaker_state', { state = 'closed' }))
        assert.equal(3, found:value('moongate_breaker_results_total', { result = 'success' }))
        assert.equal(1, found:value('moongate_log_sink_up'))
    end)

    it('goes on counting over a reload and the death of a worker', function()
        local gateway = start()
        local function get(count)
            for _ = 1, count do
                assert(client.get(gateway.port, '/'))
            end
        end
        get(10)
        assert.equal(0, (gateway:command('reload')))
        get(10)
        scrape_after(gateway, 20)
        local status = gateway:status()
        posix.kill(status.workers[1].pid, posix.signals.KILL)
        assert.truthy(gateway:wait_status(function(now)
            return now.workers[1].restarts == 1 and now.workers[1].state == 'serving'
        end, 10))
        get(10)
        local found = scrape_after(gateway, 30)
        assert.equal(30, found:value(REQUESTS, { code = '200' }))
        assert.equal(1, found:value('moongate_config_reloads_total', { result = 'success' }))
        assert.equal(1, found:value('moongate_worker_restarts_total'))
        assert.equal(2, found:value('moongate_config_generation'))
        assert.equal(1, found:value('moongate_config_last_reload_successful'))
        local loaded_at = found:value('moongate_config_last_reload_success_timestamp_seconds')
        assert.is_true(math.abs(os.time() - loaded_at) < 60)
        for worker = 0, 1 do
            local labels = { worker = tostring(worker) }
            assert.is_true(found:value('moongate_worker_resident_memory_bytes', labels) > 1e6)
            assert.is_true(found:value('moongate_worker_lua_memory_bytes', labels) > 1e5)
            assert.is_true(found:value('moongate_worker_cpu_seconds_total', labels) > 0)
            assert.is_true(found:value('moongate_worker_open_fds', labels) > 5)
            assert.is_true(found:value('moongate_event_loop_lag_seconds_count', labels) > 0)
        end
        gateway:rewrite('nonsense')
        gateway:command('reload')
        assert.equal(0, scrape(gateway):value('moongate_config_last_reload_successful'))
    end)

    -- Rows of the tables in docs/metrics.md, by name.
    local function documented()
        local rows = {}
        for line in assert(process.read('docs/metrics.md')):gmatch('[^\n]+') do
            local name, kind, labels, help =
                line:match('^| `([%l_]+)` | (%l+) | ?([%l_, ]-) ?| (.-) |$')
            if name and (kind == 'counter' or kind == 'gauge' or kind == 'histogram') then
                rows['moongate_' .. name] = { type = kind, labels = labels, help = help }
            end
        end
        return rows
    end

    it('has what docs/metrics.md says, and nothing else', function()
        local gateway = start({ plugins = '    plugins: [{ name: rate-limit, config: { window: 60s,'
            .. ' quota: "lua: nil + 1", fallback_quota: 9 } }, { name: circuit-breaker }]' })
        assert(client.get(gateway.port, '/'))
        assert(client.request(gateway.port, 'BAD METHOD', '/'))
        local found, rows = scrape(gateway), documented()
        for name, family in pairs(found.families) do
            local row = assert(rows[name], name .. ' is not in docs/metrics.md')
            assert.equal(row.type, family.type, name)
            assert.equal(row.help, family.help, name)
        end
        for _, sample in ipairs(found.samples) do
            if sample.name == 'moongate_build_info' then
                assert.equal(jit.version, 'LuaJIT ' .. sample.labels.luajit)
            end
        end
        for name in pairs(rows) do
            assert.truthy(found.families[name], name .. ' of docs/metrics.md is not there')
        end
        for _, sample in ipairs(found.samples) do
            local labels = (' %s,'):format(rows[sample.family.name].labels)
            for label in pairs(sample.labels) do
                assert.truthy(label == 'le' or labels:find((' %s,'):format(label), 1, true),
                    ('%s has a label %s'):format(sample.name, label))
            end
        end
    end)

    -- Prometheus' own checker, where there is one: Debian's package is 96 MB, too much for a test.
    it('is clean for promtool', function()
        local tool = os.getenv('PROMTOOL') or 'promtool'
        if os.execute(tool .. ' --version > /dev/null 2>&1') ~= 0 then
            pending('promtool is not installed (apt-get install prometheus, or $PROMTOOL)')
            return
        end
        local gateway = start()
        assert(client.get(gateway.port, '/'))
        local _, res = scrape(gateway)
        local path = process.write(process.folder() .. '/metrics', res.body)
        local check = io.popen(('%s check metrics < %s 2>&1'):format(tool, path))
        assert.equal('', check:read('*a'))
        check:close()
    end)

    it('makes no series of what clients invent', function()
        local gateway = start({ workers = 1 })
        local connection = client.connect(gateway.port)
        for i = 1, 200 do
            connection:send(('M%s / HTTP/1.1\r\nHost: h%d\r\nX-A: %d\r\n\r\n'):format(
                ('X'):rep(i % 9), i, i))
            connection = client.connect(gateway.port)
        end
        for i = 1, 200 do
            assert(client.get(gateway.port, '/' .. i, { Host = 'host' .. i }))
        end
        local found = scrape(gateway)
        assert.is_true(found:count(REQUESTS) <= 6)
        assert.is_true(found:value(REQUESTS) >= 200)
        for _, sample in ipairs(found.samples) do
            assert.is_nil(sample.labels.method and sample.labels.method:match('^M'))
        end
    end)

    it('escapes what is in the names of routes', function()
        local yaml = process.yaml{ upstream = 9, workers = 1, gateway =
            ('  status: { address: "127.0.0.1:%d" }'):format(process.free_port()) }
        local port = tonumber(yaml:match('status: { address: "127.0.0.1:(%d+)"'))
        local gateway = process.gateway((yaml:gsub('name: echo\n    paths',
            'name: "a~b.c-d_e"\n    paths')))
        assert(client.get(gateway.port, '/'))
        local found = metrics.parse(assert(client.get(port, '/metrics')).body)
        assert.equal(1, found:value(REQUESTS, { route = 'a~b.c-d_e' }))
    end)

    it('is not stopped by clients that say nothing, half a head, or too much', function()
        local gateway = start({ workers = 1 })
        local silent = {}
        for i = 1, 15 do
            silent[i] = client.connect(gateway.status_port)
            if i % 2 == 0 then
                silent[i]:send('GET /metrics HTT')
            end
        end
        assert.equal(200, ask(gateway, '/livez').status)
        silent[16] = client.connect(gateway.status_port)
        silent[16]:send('GET /li')
        local deadline = posix.now() + 10
        local res
        repeat -- the one over the limit is told so, or cut
            res = client.get(gateway.status_port, '/livez') or { status = 0 }
        until res.status == 503 or posix.now() > deadline
        assert.equal(503, res.status)
        assert.equal(200, assert(gateway:get('/')).status) -- the gateway's own clients are apart
        repeat -- 5 s later they are gone
            res = client.get(gateway.status_port, '/livez') or { status = 0 }
        until res.status == 200 or posix.now() > deadline
        assert.equal(200, res.status)
    end)

    it('refuses a head that is too large', function()
        local gateway = start({ workers = 1 })
        local res = assert(client.get(gateway.status_port, '/livez', { ['X-A'] = ('x'):rep(9000) }))
        assert.equal(400, res.status)
    end)

    it('sends all of a long text to a client that reads slowly', function()
        local routes = {}
        for i = 1, 300 do
            routes[i] = ('  - { name: route-%d, paths: [/%d/] }'):format(i, i)
        end
        local port = process.free_port()
        local yaml = process.yaml{ upstream = process.echo().port, gateway =
            ('  status: { address: "127.0.0.1:%d" }'):format(port) }
        local gateway = process.gateway((yaml:gsub('plugins:.*', ''):gsub('gateway:',
            table.concat(routes, '\n') .. '\ngateway:', 1)))
        local connection = client.connect(gateway.port)
        for i = 1, 300 do
            assert(connection:request('GET', ('/%d/'):format(i)))
        end
        local fd = assert(posix.connect(port, posix.now() + 5, 4096))
        assert(posix.send(fd, 'GET /metrics HTTP/1.0\r\n\r\n', posix.now() + 5))
        local parts = {}
        repeat
            local bytes = posix.read(fd, posix.now() + 10, 5000)
            parts[#parts + 1] = bytes
        until not bytes or bytes == ''
        posix.close(fd)
        local found = metrics.parse((table.concat(parts):gsub('^.-\r\n\r\n', '')))
        assert.equal(300, found:value(REQUESTS))
        assert.equal(300, found:count('moongate_http_request_duration_seconds_count'))
    end)

    it('serves on a unix socket, and removes it', function()
        local path = process.folder() .. '/status'
        local gateway = process.gateway(process.yaml{ gateway =
            ('  status: { address: "unix:%s" }'):format(path) })
        assert.equal(200, assert(client.get(path, '/readyz')).status)
        gateway:signal('TERM')
        assert.equal(0, gateway:wait())
        assert.is_nil(posix.connect(path, posix.now() + 1))
    end)

    it('names the option when its address is taken', function()
        local fd, port = posix.listen()
        local gateway = process.start_gateway(process.yaml{ gateway =
            ('  status: { address: "127.0.0.1:%d" }'):format(port) })
        assert.equal(1, gateway:wait())
        assert.truthy(gateway.err:find(('gateway.status.address: 127.0.0.1:%d is in use'):format(
            port), 1, true), gateway.err)
        assert.truthy(gateway.err:find('choose another address, or `off`', 1, true))
        posix.close(fd)
    end)

    it('does without the usual address when another has it', function()
        local first = process.gateway(process.yaml{}) -- or somebody else on this machine
        local second = process.gateway(process.yaml{ upstream = process.echo().port })
        assert.truthy(second.err:find('127.0.0.1:8100 is in use', 1, true), second.err)
        assert.truthy(second.err:find('gateway.status.address', 1, true))
        assert.equal(200, assert(second:get('/')).status)
        assert.equal(0, (first:command('status')))
    end)

    it('can be off', function()
        local gateway = process.gateway(process.yaml{ gateway = '  status: { address: "off" }' })
        assert.is_nil(gateway.err:find('8100', 1, true))
    end)
end)
