-- SPDX-License-Identifier: Apache-2.0
--
-- R5: slots of a concurrency limit under full load, of clients that leave at any moment and of
-- workers that are killed. MOONGATE_LONG=1 kills a hundred.
local counting = require 'spec.gateway.support.counting'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local LONG = os.getenv('MOONGATE_LONG')
local KILLS = LONG and 100 or 5
local SECONDS = LONG and 30 or 2 -- of clients that leave
local SLOTS, CLIENTS = 10, 200
local DELAY = 10 -- ms, of the upstream
local QUOTA = 1000000000

local REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'

describe('R5 the slots of a concurrency limit', function()
    local upstream, gateway, clients, random

    before_each(function()
        random = 20260101
        upstream = counting.start(DELAY)
        clients = { fds = {}, statuses = {}, broken = 0 }
        gateway = process.gateway(process.yaml({ workers = 2, upstream = upstream.port,
            plugins = ([[
    plugins:
    - name: rate-limit
      config: { key: [const:all], headers: [x-ratelimit-each], limits: [
        { name: slots, quota: %d, algorithm: concurrency },
        { name: count, quota: %d, algorithm: fixed-window, window: 100d } ] }
]]):format(SLOTS, QUOTA), gateway = '  limits: { connection_requests: 1000000000 }\n' }))
    end)

    after_each(function()
        for fd in pairs(clients.fds) do
            posix.close(fd)
        end
        process.stop_all()
    end)

    local function roll(n)
        random = (random * 1103515245 + 12345) % 2 ^ 31
        return math.floor(random / 2 ^ 8) % n
    end

    local function ask()
        local fd = posix.connect(gateway.port, posix.now() + process.deadline)
        if fd and posix.send_some(fd, REQUEST) == #REQUEST then
            clients.fds[fd] = ''
        elseif fd then
            posix.close(fd)
        end
    end

    local function receive(fd)
        local bytes = posix.read(fd, posix.now())
        local text = clients.fds[fd] .. (bytes or '')
        clients.fds[fd] = text
        local head, at = text:match('^(.-\r\n\r\n)()')
        local length = head and tonumber(head:lower():match('\ncontent%-length: *(%d+)') or 0)
        if bytes == '' then -- its worker is dead
            clients.broken = clients.broken + 1
            clients.fds[fd] = nil
            posix.close(fd)
        elseif head and #text >= at - 1 + length then
            local status = tonumber(head:match('^HTTP/1.1 (%d+)'))
            clients.statuses[status] = (clients.statuses[status] or 0) + 1
            clients.fds[fd] = posix.send_some(fd, REQUEST) == #REQUEST and '' or nil
            if not clients.fds[fd] then
                posix.close(fd)
            end
        end
    end

    local function fds_of()
        local list = {}
        for fd in pairs(clients.fds) do
            list[#list + 1] = fd
        end
        return list
    end

    -- All clients ask, again and again, until then; of each hundred answers so many leave instead.
    local function load_until(done, leaving)
        repeat
            for _ = #fds_of() + 1, CLIENTS do
                ask()
            end
            for _, fd in ipairs(posix.wait_many(fds_of(), posix.now() + 0.01)) do
                receive(fd)
            end
            for _, fd in ipairs(fds_of()) do
                if leaving and roll(100) < leaving then
                    clients.fds[fd] = nil;
                    (roll(2) == 0 and posix.reset or posix.close)(fd)
                end
            end
        until done()
    end

    local function for_seconds(seconds)
        local deadline = posix.now() + seconds
        return function()
            return posix.now() > deadline
        end
    end

    -- So many that wait for the upstream at once have a slot, and no more.
    local function expect_all_slots_free()
        for _, fd in ipairs(fds_of()) do
            posix.close(fd)
        end
        clients.fds = {}
        assert.truthy(gateway:wait_status(function(status)
            return status.counters.requests_active == 0
        end))
        upstream.process:signal('STOP')
        local before = clients.statuses[429] or 0
        for _ = 1, 2 * SLOTS do
            ask()
        end
        local deadline = posix.now() + process.deadline
        while #fds_of() - ((clients.statuses[429] or 0) - before) > 0 and posix.now() < deadline do
            for _, fd in ipairs(posix.wait_many(fds_of(), posix.now() + 0.01)) do
                local bytes = posix.read(fd, posix.now())
                assert.equal('429', bytes:match('^HTTP/1.1 (%d+)'))
                posix.close(fd)
                clients.fds[fd] = nil
            end
            if #fds_of() <= SLOTS then
                break
            end
        end
        assert.equal(SLOTS, #fds_of())
        upstream.process:signal('CONT')
        for _, fd in ipairs(fds_of()) do
            local bytes = assert(posix.read(fd, posix.now() + process.deadline))
            assert.equal('200', bytes:match('^HTTP/1.1 (%d+)'))
        end
    end

    it('are never more than the quota, whoever leaves', function()
        load_until(for_seconds(SECONDS), 2)
        local most, total = upstream:counts()
        assert.equal(SLOTS, most)
        assert.is_true(total > 100, total)
        assert.is_true(clients.statuses[429] > 100)
        assert.equal(0, clients.broken)
        expect_all_slots_free()
        assert.equal(SLOTS, (upstream:counts()))
    end)

    -- How many units the other limit has charged.
    local function charged()
        local res = assert(gateway:get('/'))
        assert.equal(200, res.status)
        return QUOTA - res.headers['x-ratelimit-remaining-count']
    end

    it('come back when their workers are killed, and the other counts stay', function()
        local waits = {}
        for kill = 1, KILLS do
            load_until(for_seconds(0.2))
            local number = kill % 2 + 1
            local pid = gateway:status().workers[number].pid
            posix.kill(pid, posix.signals.KILL)
            local killed, served = posix.now(), clients.statuses[200]
            load_until(function() -- all slots are in use again soon after
                return clients.statuses[200] > served + 2 * SLOTS
            end)
            waits[kill] = posix.now() - killed
            assert.truthy(gateway:wait_status(function(status)
                local worker = status.workers[number]
                return worker.state == 'serving' and worker.pid ~= pid
            end))
        end
        local most = upstream:counts()
        assert.equal(SLOTS, most)
        expect_all_slots_free()
        local units = charged()
        local _, total = upstream:counts()
        -- a request that has its slot and had not gone on when its worker was killed
        assert.is_true(units >= total and units <= total + KILLS * SLOTS, units - total)
        if LONG then
            table.sort(waits)
            print(('%d kills, %d requests, %d answers broken off; %d more charged than sent; 20 '
                .. 'answers after a kill in %.0f ms, the slowest in %.0f ms'):format(KILLS, total,
                clients.broken, units - total, waits[#waits / 2] * 1000, waits[#waits] * 1000))
        end
    end)
end)
