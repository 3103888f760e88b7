-- SPDX-License-Identifier: Apache-2.0
--
-- The plugin rate-limit with real workers, which count together: a thousand parallel requests,
-- reloads, a worker that dies. MOONGATE_LONG=1 repeats the thousand requests a hundred times.
local client = require 'spec.gateway.support.client'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local RUNS = os.getenv('MOONGATE_LONG') and 100 or 3
local PARALLEL, LIMIT = 1000, 100

-- Says which worker answers.
local WHO = [[
local plugin = { PRIORITY = 1, VERSION = '0.1.0' }
function plugin:header_filter()
    moongate.response.set_header('X-Worker', ngx.worker.id())
end
return plugin
]]

-- A window that no run is long enough to leave.
local LONG = 'window: 100d'
local ALGORITHMS = {
    ['fixed-window'] = LONG, ['sliding-window'] = LONG, ['token-bucket'] = LONG,
    gcra = LONG .. ', burst: 100',
}

describe('rate-limit', function()
    local gateway, connections

    setup(function()
        posix.allow_descriptors(PARALLEL + 200)
    end)

    before_each(function()
        connections = {}
    end)

    after_each(function()
        for _, connection in ipairs(connections) do
            connection:close()
        end
        process.stop_all()
    end)

    -- Each value of X-Run is a key of its own.
    local function yaml(config, o)
        local more = o.upstream and '' or '    - { name: request-termination, '
            .. 'config: { status_code: 200 } }'
        return process.yaml({
            workers = 2, port = o.port, upstream = o.upstream, plugins = ([[
    plugins:
    - name: who
    - name: rate-limit
      config: { key: [header:X-Run], %s }
%s]]):format(config, more),
            gateway = '  limits: { body_timeout: 5m, body_min_rate: 0, header_timeout: 5m }',
        })
    end

    local function start(config, o)
        o = o or {}
        o.port = process.free_port()
        local folder = process.folder()
        os.execute('mkdir ' .. folder .. '/plugins')
        process.write(folder .. '/plugins/who.lua', WHO)
        gateway = process.gateway(yaml(config, o), { folder = folder })
        gateway.options = o
    end

    local function reload(config)
        gateway:rewrite(yaml(config, gateway.options))
        local code, _, err = gateway:command('reload')
        assert.equal(0, code, err)
    end

    local function connect()
        local connection = assert(client.connect(gateway.port, { timeout = process.deadline }))
        connections[#connections + 1] = connection
        return connection
    end

    local function many(count)
        local list = {}
        for i = 1, count do
            list[i] = connect()
        end
        return list
    end

    -- Sends a text on all connections before it reads the first answer.
    local function burst(list, text)
        local statuses, workers = {}, {}
        for _, connection in ipairs(list) do
            assert(connection:send(text))
        end
        for _, connection in ipairs(list) do
            local res = assert(connection:response('GET'))
            statuses[res.status] = (statuses[res.status] or 0) + 1
            workers[res.headers['x-worker']] = true
        end
        return statuses, workers
    end

    local function get(run)
        return ('GET / HTTP/1.1\r\nHost: localhost\r\nX-Run: %s\r\n\r\n'):format(run)
    end

    local function request(connection, run)
        return assert(connection:request('GET', '/', { ['X-Run'] = run }))
    end

    -- A kept connection to each of the two workers, by the worker's number.
    local function one_each()
        local found = {}
        local deadline = posix.now() + process.deadline
        repeat
            local connection = connect()
            found[request(connection, 'who').headers['x-worker']] = connection
        until found['0'] and found['1'] or posix.now() > deadline
        return assert(found['0']), assert(found['1'])
    end

    for algorithm, numbers in pairs(ALGORITHMS) do
        it(('R1 admits exactly %d of %d parallel requests over two workers, by %s'):format(LIMIT,
            PARALLEL, algorithm), function()
            start(('quota: %d, algorithm: %s, %s'):format(LIMIT, algorithm, numbers))
            local list = many(PARALLEL)
            for run = 1, RUNS do
                local statuses, workers = burst(list, get(run))
                assert.same({ [200] = LIMIT, [429] = PARALLEL - LIMIT }, statuses)
                assert.same({ ['0'] = true, ['1'] = true }, workers)
            end
        end)
    end

    -- A request whose body is not whole is in flight.
    local HALF = 'POST / HTTP/1.1\r\nHost: localhost\r\nX-Run: %s\r\nContent-Length: 2\r\n\r\na'

    -- Sends halves; those that are denied are answered, the others stay open.
    local function fill(list, run, admitted)
        for _, connection in ipairs(list) do
            assert(connection:send(HALF:format(run)))
        end
        local deadline = posix.now() + process.deadline
        local open
        repeat
            open = {}
            for _, connection in ipairs(list) do
                local is_open = not connection.denied
                    and not posix.wait_readable(connection.fd, posix.now())
                if is_open then
                    open[#open + 1] = connection
                elseif not connection.denied then
                    connection.denied = assert(connection:response('POST'))
                    assert.equal(429, connection.denied.status)
                end
            end
        until #open <= admitted or posix.now() > deadline
        return open
    end

    it('has never more than the quota in flight over two workers, by concurrency', function()
        start(('quota: %d, algorithm: concurrency'):format(LIMIT),
            { upstream = process.echo().port })
        for run = 1, math.min(RUNS, 10) do
            local open = fill(many(PARALLEL), run, LIMIT)
            assert.equal(LIMIT, #open)
            assert.equal(429, request(connect(), run).status)
            for _, connection in ipairs(open) do
                assert(connection:send('b'))
                assert.equal(200, assert(connection:response('POST')).status)
            end
            assert.equal(200, request(connect(), run).status)
            for _, connection in ipairs(connections) do
                connection:close()
            end
            connections = {}
        end
    end)

    it('is one count for both workers', function()
        start('quota: 3, ' .. LONG)
        local first, second = one_each()
        local remaining = {}
        for i, connection in ipairs({ first, second, first, second, first }) do
            local res = request(connection, 'k')
            remaining[i] = res.status == 200 and tonumber(res.headers['x-ratelimit-remaining'])
        end
        assert.same({ 2, 1, 0, false, false }, remaining)
    end)

    it('keeps its counts over reloads, and compares them with a new quota', function()
        local config = 'algorithm: fixed-window, ' .. LONG
        start('quota: 100, ' .. config)
        local list = many(60)
        assert.same({ [200] = 60 }, burst(list, get('k')))
        reload('quota: 100, ' .. config)
        assert.same({ [200] = 40, [429] = 20 }, burst(list, get('k')))
        reload('quota: 50, ' .. config)
        assert.same({ [429] = 60 }, burst(list, get('k')))
        reload('quota: 130, ' .. config)
        assert.same({ [200] = 30, [429] = 30 }, burst(list, get('k')))
        assert.equal(4, gateway:status().generation)
    end)

    local function kill_worker(number)
        local pid = gateway:status().workers[number + 1].pid
        assert.is_true(posix.kill(pid, posix.signals.KILL))
        assert.truthy(gateway:wait_status(function(status)
            local worker = status.workers[number + 1]
            return worker.state == 'serving' and worker.pid ~= pid
        end))
    end

    it('keeps its counts when a worker dies', function()
        start('quota: 3, ' .. LONG)
        local first, second = one_each()
        request(first, 'k')
        request(second, 'k')
        kill_worker(0)
        assert.equal('0', request(second, 'k').headers['x-ratelimit-remaining'])
        first = one_each()
        assert.equal(429, request(first, 'k').status)
    end)

    local ASKING = 'POST / HTTP/1.1\r\nHost: localhost\r\nX-Run: %s\r\nContent-Length: 2\r\n'
        .. 'Expect: 100-continue\r\n\r\n'

    -- Puts a request in flight; true once it is admitted: then the gateway asks for the body.
    local function hold(connection, run)
        assert(connection:send(ASKING:format(run)))
        repeat
            assert(connection:fill())
        until connection.kept:find('\r\n\r\n', 1, true)
        return connection.kept:match('^HTTP/1%.1 (%d+)') == '100'
    end

    it('gives the slots of a worker that died back, and no others', function()
        start('quota: 2, algorithm: concurrency', { upstream = process.echo().port })
        local first, second = one_each()
        assert.is_true(hold(first, 'k'))
        assert.is_true(hold(second, 'k'))
        assert.equal(429, request(connect(), 'k').status)
        kill_worker(0)
        local deadline = posix.now() + process.deadline
        local third
        repeat
            third = connect()
            local is_held = hold(third, 'k')
        until is_held or posix.now() > deadline
        assert.equal(429, request(connect(), 'k').status)
        for _, connection in ipairs({ second, third }) do
            assert(connection:send('ab'))
            assert.equal(200, assert(connection:response('POST')).status)
        end
    end)

    it('says before the start how much memory its keys need', function()
        local folder = process.folder()
        local config = process.write(folder .. '/moongate.yml', process.yaml({
            plugins = '    plugins: [{ name: rate-limit, config: { quota: 1, window: 1s, '
                .. 'max_keys: 4194304 } }]' }))
        local code, _, err = process.run('run', '-c', config)
        assert.equal(78, code)
        assert.truthy(err:find('moongate.yml:', 1, true), err)
        assert.truthy(err:find('need 256MiB, gateway.shared_memory is 64MiB', 1, true), err)
    end)
end)
