-- SPDX-License-Identifier: Apache-2.0
--
-- MEM-01: whatever ends, in whichever state: the request is logged once, nothing of it stays, and
-- nobody touches what is gone (the suite runs under AddressSanitizer too). One exchange rests in
-- each state of spec/gateway/support/states.lua, all at the same time; then the same happens to all
-- of them.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'
local redis = require 'spec.gateway.support.redis'
local states = require 'spec.gateway.support.states'
local dkjson = require 'dkjson'

local OK = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'

local function deadline()
    return posix.now() + process.deadline
end

-- ---- the gateway -------------------------------------------------------------------------------

local SERVICE = [[
- name: s%d
  url: http://127.0.0.1:%d
  connect_timeout: 300000
  routes: [{ name: r%d, paths: [%s], strip_path: false, plugins: [%s] }]
]]

local REST = [[
plugins:
- name: waits
- name: access-log
  config: { sinks: [{ type: file, path: "%s/access.log" }] }
gateway:
  workers: 1
  listeners: [{ address: "127.0.0.1:%d" }]
  redis: { default: { host: 127.0.0.1, port: %d, timeout: 5s, connect_timeout: 5s } }
  limits: { request_body: 0, header_timeout: 300s, body_timeout: 300s, body_min_rate: 0,
            send_timeout: 300s, body_total_timeout: 0s }
  plugins: { defaults: { cpu_ms: 2000 } }
  shutdown: { drain_timeout: %s }
]]

local function yaml(run)
    local parts = { '_format_version: "3.0"\nservices:\n' }
    for i, case in ipairs(run.cases) do
        local names = {}
        for k, name in ipairs(case.plugins or {}) do
            names[k] = ('{ name: %s }'):format(name)
        end
        parts[i + 1] = SERVICE:format(i, case.port, i, case.path, table.concat(names, ', '))
    end
    table.insert(parts, REST:format(run.folder, process.free_port(), run.redis.port,
        run.drain_timeout))
    return table.concat(parts)
end

local function write_plugins(run)
    os.execute('mkdir ' .. run.folder .. '/plugins')
    for name, phases in pairs(states.PLUGINS) do
        local source = states.PLUGIN:gsub('@(%u+)@', { FOLDER = run.folder, PHASES = phases,
            SIDE = run.sides.port })
        process.write(('%s/plugins/%s.lua'):format(run.folder, name), source)
    end
end

-- ---- a run -------------------------------------------------------------------------------------

local Run = {}
Run.__index = Run

-- Brings one exchange to each state for which the event is possible.
local function begin(applies, drain_timeout)
    local run = setmetatable({ folder = process.folder(), cases = {}, sides = {},
        drain_timeout = drain_timeout or '60s' }, Run)
    run.sides.listener, run.sides.port = posix.listen()
    run.redis = redis.server()
    for _, case in ipairs(states.cases) do
        if applies(case) then
            table.insert(run.cases, states.new(case))
            run.cases[#run.cases]:listen()
        end
    end
    write_plugins(run)
    run.gateway = process.gateway(yaml(run), { folder = run.folder })
    run.worker = run.gateway:status().workers[1].pid
    run.redis:signal('STOP')
    for _, case in ipairs(run.cases) do
        case:open(run.gateway, run.folder)
        case.sides = run.sides
        case:reach()
    end
    return run
end

function Run:each(act)
    for _, case in ipairs(self.cases) do
        act(case)
    end
end

-- Handlers end their waits.
function Run:release()
    process.write(self.folder .. '/release', '')
    self.redis:signal('CONT')
    self:each(function(case)
        if case.side then
            case:break_off('end')
        end
    end)
end

function Run:close()
    self:each(function(case)
        case:close()
    end)
    posix.close(self.sides.listener)
end

local function is_at_rest(status)
    local now = status.counters
    return now.requests_active == 0 and now.connections == 0 and now.tunnels == 0 and
        now.upstream_connections == now.upstream_idle
end

-- The same worker goes on.
local function serves_on(run)
    local listener = posix.listen()
    posix.close(listener)
    for _, case in ipairs(run.cases) do
        if case.name == 'waiting' then
            local connection = assert(client.connect(run.gateway.port))
            assert(connection:send('GET /waiting/after HTTP/1.1\r\nHost: x\r\n\r\n'))
            case:accept() -- a new one: what broke off is not used again
            case:answer(OK)
            assert.equal(200, assert(connection:response()).status)
            connection:close()
        end
    end
    local status = run.gateway:status()
    assert.equal(run.worker, status.workers[1].pid)
    assert.equal(status.counters.plugin_errors, 0)
end

-- path -> lines of the access log
local function read_log(run)
    local lines = {}
    for line in (process.read(run.folder .. '/access.log') or ''):gmatch('[^\n]+') do
        local entry = assert(dkjson.decode(line, 1, nil), line)
        local path = entry.path or ''
        lines[path] = lines[path] or {}
        table.insert(lines[path], entry)
    end
    return lines
end

-- Waits until the gateway's counters say so; the message names the requests that have not ended.
local function await(run, holds)
    if run.gateway:wait_status(holds) then
        return
    end
    local lines, missing = read_log(run), {}
    for _, case in ipairs(run.cases) do
        if case.gone and #(lines[case.path] or {}) < (case.requests or 1) then
            missing[#missing + 1] = case.name
        end
    end
    local now = run.gateway:status().counters
    error(('%d connections, %d requests, %d tunnels, %d upstream connections of which %d idle; ' ..
        'not ended: %s'):format(now.connections, now.requests_active, now.tunnels,
        now.upstream_connections, now.upstream_idle, table.concat(missing, ', ')))
end

local function finish(run)
    assert.equal(0, run.gateway:wait())
    run.lines = read_log(run)
    for _, word in ipairs({ 'Sanitizer', 'died of signal', 'emerg' }) do
        local at = run.gateway.err:find(word, 1, true)
        assert.is_nil(at, at and run.gateway.err:sub(at, at + 2000))
    end
end

-- ---- what happens ------------------------------------------------------------------------------

local function reload(run)
    assert.equal(0, (run.gateway:command('reload')))
end

local function drain(run)
    run.gateway:signal('TERM')
    assert.is_true(run.gateway:wait_text('draining'))
end

-- A connection to the upstream whose answer is not complete must be ended; the upstream then ends
-- its side, too. Behind a client that cannot be seen leaving it does so by itself.
local function expect_closed(case)
    if not case.fd or case.complete then
        return
    end
    while not case.unseen do
        local bytes = posix.read(case.fd, deadline())
        assert(bytes, case.name .. ': the connection to the upstream stays')
        if bytes == '' then
            break
        end
    end
    case:break_off('end')
end

local function client_leaves(how, before)
    local run = begin(function(case)
        return not (how == 'half' and case.tunnel)
    end)
    if before then
        before(run)
    end
    run:each(function(case)
        case:leave(how)
    end)
    run:each(expect_closed)
    if before ~= drain then
        await(run, function(status)
            return status.counters.connections == 0
        end)
    end
    run:release()
    if before ~= drain then
        await(run, is_at_rest)
        serves_on(run)
        run.gateway:signal('TERM')
    end
    finish(run)
    run:close()
    return run
end

local function expect_answer(case)
    if case.go_on then
        case:go_on()
    end
    local res, err = case.connection:response()
    if res and res.status ~= 101 then
        assert(res.status == case.broken[1], ('%s: %d'):format(case.name, res.status))
    else
        assert(res or case.cut, ('%s: %s'):format(case.name, tostring(err)))
    end
end

local function upstream_breaks_off(how, before)
    local run = begin(function(case)
        return case.broken
    end)
    if before then
        before(run)
    end
    run:each(function(case)
        case:break_off(how)
    end)
    run:release()
    run:each(expect_answer)
    run:each(function(case)
        case.connection:close()
    end)
    await(run, is_at_rest)
    serves_on(run)
    run.gateway:signal('TERM')
    finish(run)
    run:close()
    return run
end

local function all_is_cut(before)
    local run = begin(function()
        return true
    end, '1s')
    if before then
        before(run)
    end
    drain(run)
    assert.equal(0, run.gateway:wait())
    run:each(expect_closed)
    run:release()
    finish(run)
    run:close()
    return run
end

local function gone(case)
    return case.gone
end

local function broken(case)
    return case.broken
end

-- The outcome of what is cut: that of what had ended before.
local function cut(case)
    local had_ended = case.gone and (case.gone[2] == 'ok' or case.gone[2] == 'upgraded')
    if had_ended or not case.gone then
        return case.gone
    end
    return { case.gone[1] == 499 and 503 or case.gone[1], 'draining' }
end

local EVENTS = {
    { 'the client resets', gone, client_leaves, 'reset' },
    { 'the client ends', gone, client_leaves, 'end' },
    { 'the client half-closes', gone, client_leaves, 'half' },
    { 'after a reload the client resets', gone, client_leaves, 'reset', reload },
    { 'in the drain the client resets', gone, client_leaves, 'reset', drain },
    { 'the upstream resets', broken, upstream_breaks_off, 'reset' },
    { 'the upstream ends', broken, upstream_breaks_off, 'end' },
    { 'after a reload the upstream resets', broken, upstream_breaks_off, 'reset', reload },
    { 'all is cut', cut, all_is_cut },
    { 'after a reload all is cut', cut, all_is_cut, reload },
}

for _, event in ipairs(EVENTS) do
    local what, expected, act = event[1], event[2], event[3]
    describe('MEM-01 when ' .. what .. ',', function()
        local run

        setup(function()
            run = act(event[4], event[5])
        end)

        teardown(process.stop_all)

        local function lines_of(case)
            local wanted = expected(case)
            local lines = run.lines[case.path] or {}
            assert.equal(wanted and (case.requests or 1) or 0, #lines)
            if wanted then
                local last = lines[#lines]
                assert.same(wanted, { last.status, last.outcome })
            end
        end

        for _, case in ipairs(states.cases) do
            local applies = expected ~= broken or case.broken
            if applies and not (event[4] == 'half' and case.tunnel) then
                it('the request ends once, while ' .. case.name, function()
                    lines_of(case)
                end)
            end
        end
    end)
end

-- A state that is new has no case until somebody writes one.
describe('each state of', function()
    local covered = {}
    for _, case in ipairs(states.cases) do
        for name in case.covers:gmatch('%S+') do
            covered['MG_' .. name] = true
        end
    end

    for _, part in ipairs({ 'exchange', 'client', 'upstream' }) do
        it(part .. ' has a case', function()
            local folder = os.getenv('MOONGATE_SOURCE_DIR') or '.'
            local source = assert(process.read(('%s/core/flow/%s.h'):format(folder, part)))
            local names = assert(source:match(('enum mg_%s_state {(.-)}'):format(part)))
            local missing = {}
            for name in names:gsub('/%*.-%*/', ''):gmatch('MG_[%u_]+') do
                if not covered[name] then
                    missing[#missing + 1] = name
                end
            end
            assert.same({}, missing)
        end)
    end

    it('a handler has a case', function()
        local phases = {}
        for _, case in ipairs(states.cases) do
            local phase = case.path:match('^/([%a_]+)/sleep')
            phases[phase or ''] = true
        end
        for _, phase in ipairs({ 'rewrite', 'access', 'response', 'header_filter', 'body_filter',
            'log' }) do
            assert.is_true(phases[phase], phase)
        end
    end)
end)
