-- SPDX-License-Identifier: Apache-2.0
--
-- Where access-log lines go, with real workers: pipes that several share or that nobody reads,
-- files that are renamed or cannot grow, reloads, the end. At each end: requests = written + lost.
local client = require 'spec.gateway.support.client'
local dkjson = require 'dkjson'
local load = require 'spec.gateway.support.load'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local ROTATIONS = os.getenv('MOONGATE_LONG') and 100 or 10

local LOG = [[
plugins:
- name: access-log
  config: %s
]]

describe('the access log', function()
    local echo

    before_each(function()
        echo = process.echo('--size', '10')
    end)

    after_each(process.stop_all)

    local function yaml(config, o)
        return process.yaml({ upstream = echo.port, workers = o.workers or 2, port = o.port,
            gateway = config and LOG:format(config) or '' })
    end

    -- config: text, in it PATH stands for a file in the gateway's folder.
    local function start(config, o)
        o = o or {}
        local folder = o.folder or process.folder()
        local path = folder .. '/access.log'
        o.port = process.free_port()
        local gateway = process.gateway(yaml(config:gsub('PATH', path), o), { folder = folder })
        gateway.log_path = path
        function gateway.reload_with(_, new)
            gateway:rewrite(yaml(new and new:gsub('PATH', path), o))
            local code, _, err = gateway:command('reload')
            assert.equal(0, code, err)
        end
        return gateway
    end

    local function get(gateway, count)
        local connection = assert(client.connect(gateway.port))
        for _ = 1, count do
            assert.equal(200, assert(connection:request('GET', '/')).status)
        end
        connection:close()
    end

    -- Takes what the gateway prints until done(), so that its pipes do not fill.
    local function pump(gateway, done)
        local deadline = posix.now() + process.deadline
        while not done() do
            assert(posix.now() < deadline, 'what was waited for does not come')
            gateway:collect(posix.now() + 0.01)
        end
    end

    local function count_lines(text)
        return select(2, text:gsub('\n', ''))
    end

    -- Records of requests and records of loss; every line must be whole.
    local function records_of(text)
        local records, losses = {}, {}
        assert.truthy(text == '' or text:sub(-1) == '\n')
        for line in text:gmatch('([^\n]*)\n') do
            local record = assert(dkjson.decode(line, 1, nil), line)
            table.insert(record.event and losses or records, record)
        end
        return records, losses
    end

    local function lost_in(losses)
        local sum = 0
        for _, loss in ipairs(losses) do
            sum = sum + loss.lines
        end
        return sum
    end

    -- The counters, when every request has ended and its line is written or lost.
    local function settled(gateway)
        local status = gateway:wait_status(function(status)
            local c = status.counters
            gateway:collect(posix.now())
            return c.requests_active == 0
                and c.requests == c.log_lines_written + c.log_lines_dropped
        end)
        return assert(status, 'lines are missing').counters
    end

    local function worker_of(gateway)
        return gateway:status().workers[1].pid
    end

    -- A named pipe that is open, and not read, until :stop().
    local function held_pipe(path)
        assert(os.execute(("mkfifo '%s'"):format(path)))
        local holder = process.start({ 'sh', '-c',
            ("exec 3<>'%s'; echo open; exec sleep 600"):format(path) })
        assert(holder:wait_text('open', nil, 'out'))
        return holder
    end

    it('never says that plugins took longer than the whole request', function()
        local gateway = process.gateway(process.yaml{ plugins = '    plugins: '
            .. '[{ name: request-termination }]', gateway = LOG:format('{ fields: [t] }') })
        local connection = assert(client.connect(gateway.port))
        for _ = 1, 20 do
            assert.equal(503, assert(connection:request('GET', '/')).status)
        end
        connection:close()
        pump(gateway, function()
            return count_lines(gateway.out) == 20
        end)
        for _, record in ipairs((records_of(gateway.out))) do
            assert.is_true(record.t.plugins > 0)
            assert.is_true(record.t.total >= record.t.plugins, dkjson.encode(record.t))
        end
    end)

    it('writes whole lines of all workers to one pipe, one for each request', function()
        local gateway = start('{ fields: [method, status, client_ip, worker, t], client_ip: hash,'
            .. ' queue: { entries: 1000000, bytes: 64MiB } }')
        local running = load.start(gateway.port, { connections = 16, path = '/a?b=c' })
        pump(gateway, function()
            return #gateway.out > 1000000
        end)
        local result = running:stop()
        assert.equal(0, result.failed, result.text)
        local counters = settled(gateway)
        pump(gateway, function()
            return count_lines(gateway.out) >= counters.log_lines_written
        end)
        assert.equal(0, counters.log_lines_dropped)
        local workers, hashes = {}, {}
        for _, record in ipairs((records_of(gateway.out))) do
            workers[record.worker], hashes[record.client_ip] = true, true
        end
        assert.same({ [0] = true, true }, workers)
        local hash = next(hashes)
        assert.truthy(hash:match('^%x+$') and #hash == 16)
        assert.is_nil(next(hashes, hash)) -- the random key is the same in all workers
    end)

    it('L2 loses no line when its file is renamed and opened anew under load', function()
        local gateway = start('{ sinks: [{ type: file, path: PATH, reopen_check: 1h }] }')
        local running = load.start(gateway.port, { connections = 8 })
        local function has_lines()
            return (process.read(gateway.log_path) or '') ~= ''
        end
        for i = 1, ROTATIONS do
            pump(gateway, has_lines)
            assert(os.rename(gateway.log_path, gateway.log_path .. '.' .. i))
            if i % 2 == 0 then
                gateway:signal('USR1')
            else
                assert.equal(0, gateway:command('logs', 'reopen'))
            end
        end
        pump(gateway, has_lines)
        assert.equal(0, running:stop().failed)
        local counters = settled(gateway)
        assert.equal(0, counters.log_lines_dropped)
        local lines = #records_of(process.read(gateway.log_path))
        for i = 1, ROTATIONS do
            lines = lines + #records_of(process.read(gateway.log_path .. '.' .. i))
        end
        assert.equal(counters.requests, lines)
    end)

    it('notices by itself that its file was renamed', function()
        local gateway = start('{ sinks: [{ type: file, path: PATH, reopen_check: 10ms }] }')
        get(gateway, 1)
        settled(gateway)
        assert(os.rename(gateway.log_path, gateway.log_path .. '.1'))
        local sent = 1
        pump(gateway, function()
            get(gateway, 1)
            sent = sent + 1
            return process.read(gateway.log_path) ~= nil
        end)
        settled(gateway)
        local old = #records_of(process.read(gateway.log_path .. '.1'))
        assert.equal(sent, old + #records_of(process.read(gateway.log_path)))
    end)

    -- As on a full disk, a write fails or takes only a part: the worker's files may not grow.
    local function limit_files(pid, bytes)
        assert.equal(0, os.execute(('prlimit --pid %d --fsize=%s:'):format(pid, bytes)))
    end

    it('counts lines that a full disk refuses, keeps serving, and recovers', function()
        local gateway = start('{ sinks: [{ type: file, path: PATH }],'
            .. ' queue: { bytes: 64KiB } }', { workers = 1 })
        local pid = worker_of(gateway)
        limit_files(pid, 100001)
        local running = load.start(gateway.port, { connections = 8 })
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.log_lines_dropped > 100
        end))
        limit_files(pid, 'unlimited')
        pump(gateway, function()
            return process.read(gateway.log_path):find('"event":"lost"', 1, true)
        end)
        assert.equal(0, running:stop().failed)
        local counters = settled(gateway)
        local records, losses = records_of(process.read(gateway.log_path))
        assert.equal(counters.log_lines_written, #records)
        assert.equal(counters.log_lines_dropped, lost_in(losses))
        local reasons = {}
        for _, loss in ipairs(losses) do
            assert.equal(gateway.log_path, loss.sink)
            reasons[loss.reason] = true
        end
        assert.is_true(reasons.disk)
        assert.truthy(gateway.err:find('cannot write ' .. gateway.log_path .. ': ', 1, true))
        assert.is_true(gateway:wait_text(gateway.log_path .. ' can be written again'))
    end)

    it('counts lines for a device that takes none', function()
        local gateway = start('{ sinks: [{ type: file, path: /dev/full }] }')
        get(gateway, 50)
        assert.equal(50, settled(gateway).log_lines_dropped)
    end)

    it('L3 waits for no reader, and gives it whole lines when it reads again', function()
        local folder = process.folder()
        local holder = held_pipe(folder .. '/access.log')
        local gateway = start('{ sinks: [{ type: file, path: PATH }] }', { folder = folder })
        get(gateway, 400) -- more than a pipe takes
        local before = gateway:status().counters
        assert.equal(400, before.requests)
        assert.is_true(before.log_lines_written < 400)
        local reader = process.start({ 'cat', gateway.log_path })
        pump(reader, function()
            return count_lines(reader.out) >= 400
        end)
        assert.equal(400, #records_of(reader.out))
        assert.equal(400, settled(gateway).log_lines_written)
        holder:stop()
    end)

    it('L3 has whole lines of five workers, over 4 KiB too, when stdout is read again', function()
        local gateway = start('{ sinks: [{ type: stdout }] }', { workers = 5 })
        local sent = {}
        for i = 1, 40 do -- to every worker
            local connection = assert(client.connect(gateway.port))
            for k = 1, 5 do
                local path, long = ('/%d/%d'):format(i, k), ('x'):rep(k * 700)
                assert.equal(200, assert(connection:request('GET', path,
                    { ['User-Agent'] = long, Referer = long })).status)
                sent[path] = true
            end
            connection:close()
        end
        local before = gateway:status().counters
        assert.equal(200, before.requests)
        assert.is_true(before.log_lines_written < 200)
        assert.equal(0, before.log_lines_dropped)
        pump(gateway, function()
            return count_lines(gateway.out) >= 200
        end)
        local workers, cut = {}, 0
        for _, record in ipairs(records_of(gateway.out)) do
            assert.is_true(sent[record.path], record.path)
            sent[record.path] = nil
            workers[record.worker] = true
            cut = cut + (record.truncated and 1 or 0)
        end
        assert.is_nil(next(sent))
        assert.equal(3 * 40, cut) -- longer than a pipe takes in one piece: values are cut
        assert.same({ true, true, true, true, true }, { workers[0], workers[1], workers[2],
            workers[3], workers[4] })
    end)

    it('keeps a queue over a reload, and writes it out when the sink is gone', function()
        local folder = process.folder()
        local holder = held_pipe(folder .. '/access.log')
        local gateway = start('{ sinks: [{ type: file, path: PATH }] }', { folder = folder })
        get(gateway, 300)
        gateway:reload_with('{ sinks: [{ type: file, path: PATH }], fields: [generation] }')
        get(gateway, 10)
        assert.is_true(gateway:status().counters.log_lines_written < 300)
        gateway:reload_with(nil)
        get(gateway, 1)
        local reader = process.start({ 'cat', gateway.log_path })
        pump(reader, function()
            return count_lines(reader.out) >= 310
        end)
        local records, losses = records_of(reader.out)
        assert.same({ 310, 0 }, { #records, #losses })
        local new = 0
        for _, record in ipairs(records) do
            new = new + (record.generation == 2 and 1 or 0)
        end
        assert.equal(10, new)
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.log_lines_written == 310
        end))
        holder:stop()
    end)

    it('writes what is queued when it ends', function()
        local gateway = start('{ sinks: [{ type: stdout }, { type: file, path: PATH }] }')
        get(gateway, 200)
        gateway:signal('TERM')
        assert.equal(0, gateway:wait())
        assert.equal(200, #records_of(gateway.out))
        assert.equal(200, #records_of(process.read(gateway.log_path)))
    end)

    it('says how many lines are lost when it ends and nobody reads', function()
        local folder = process.folder()
        local holder = held_pipe(folder .. '/access.log')
        local gateway = start('{ sinks: [{ type: file, path: PATH }] }',
            { folder = folder, workers = 1 })
        get(gateway, 400)
        local written = gateway:status().counters.log_lines_written
        gateway:signal('TERM')
        assert.equal(0, gateway:wait())
        local lost = tonumber(gateway.err:match('(%d+) lines for %S+ are lost: they could not be'))
        assert.equal(400, written + lost)
        holder:stop()
    end)

    it('counts the lines that die with a worker', function()
        local folder = process.folder()
        local holder = held_pipe(folder .. '/access.log')
        local gateway = start('{ sinks: [{ type: file, path: PATH }] }',
            { folder = folder, workers = 1 })
        get(gateway, 400)
        local before = gateway:status().counters
        assert.is_true(before.log_lines_queued > 0)
        assert.equal(400, before.log_lines_written + before.log_lines_queued)
        assert(posix.kill(worker_of(gateway), posix.signals.KILL))
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.log_lines_worker_died == before.log_lines_queued
        end))
        local after = settled(gateway)
        assert.equal(before.log_lines_queued, after.log_lines_dropped)
        assert.equal(0, after.log_lines_queued)
        holder:stop()
    end)

    it('refuses to start with a file that cannot be opened, in one sentence', function()
        local gateway = process.start_gateway(
            yaml('{ sinks: [{ type: file, path: /nonexistent/a.log }] }', {}))
        assert.equal(78, gateway:wait())
        assert.truthy(gateway.err:find('cannot open the log file /nonexistent/a.log: No such file',
            1, true))
    end)
end)
