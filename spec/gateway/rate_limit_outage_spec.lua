-- SPDX-License-Identifier: Apache-2.0
--
-- R11, R12: fleets of gateways that lose their Redis for a while, and find it again with its
-- counts. Each admits no more than is published, and no less than its part.
--
-- The suite sends requests as fast as they are answered, in one window. MOONGATE_LONG=1 keeps to
-- the clock: R11 40 requests a second for a minute, R12 windows of 5 seconds, one of them without
-- Redis.
local fault_proxy = require 'spec.gateway.support.fault_proxy'
local limited = require 'spec.gateway.support.limited'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local wait_until = limited.wait_until

local IS_LONG = os.getenv('MOONGATE_LONG') ~= nil

describe('a fleet whose Redis is gone for a while', function()
    local fleet, proxy

    before_each(function()
        fleet = limited.fleet()
        proxy = fault_proxy.start(fleet.server.port)
    end)

    after_each(function()
        fleet:close()
    end)

    -- So many gateways of one worker each, which all know how many they are.
    local function start(count, config, on_error, redis)
        for _ = 1, count do
            fleet:start(config, { workers = 1, error = on_error, place = ('host: 127.0.0.1, '
                .. 'port: %d, connect_timeout: 2s'):format(proxy.port),
                redis = 'breaker: { open: 100ms, max: 200ms }' .. (redis or '') })
        end
        wait_until(function()
            return fleet.server:ask('ZCARD', 'mg:rl:hosts') == count
        end, 'all hosts')
        local signs = fleet.server:count('commandstats', 'cmdstat_zcard:calls')
        wait_until(function() -- each has heard of the others by then
            return fleet.server:count('commandstats', 'cmdstat_zcard:calls') > signs + count
        end, 'signs of life')
    end

    local function take_away()
        proxy:set('refuse')
    end

    local function give_back()
        proxy:set('pass')
        for _, gateway in ipairs(fleet.gateways) do
            wait_until(function()
                return gateway:status().stores[1].state == 'closed'
            end, 'Redis is found again')
        end
    end

    describe('R11 in four gateways', function()
        local HOSTS, QUOTA = 4, 1000
        local RATE = 40                        -- a second, when it keeps to the clock
        local BEFORE, WITHOUT, AFTER = 800, 800, 760 -- 20, 20 and 19 s of it

        -- Admitted of so many requests, in turn to each of the connections.
        local function ask(list, count, run, from)
            local admitted, text = 0, limited.get(run)
            for i = 1, count do
                if IS_LONG then
                    posix.pause(math.max(0, from + i / RATE - posix.now()))
                end
                local connection = list[i % #list + 1]
                assert(connection:send(text))
                local status = assert(connection:response('GET')).status
                assert.is_true(status == 200 or status == 429, status)
                admitted = admitted + (status == 200 and 1 or 0)
            end
            return admitted
        end

        -- Admitted of so many requests at once to the first, of a key that nobody has used.
        local function burst_of_first(count)
            local list = {}
            for i = 1, count do
                list[i] = fleet:connect(fleet.gateways[1])
            end
            return limited.burst(list, limited.get('new'))[200]
        end

        local function start_all()
            start(HOSTS, ('quota: %d, algorithm: fixed-window, align: first, window: %s'):format(
                QUOTA, IS_LONG and '1m' or '100d'), 'local')
        end

        -- Units that Redis has counted of the key that was used most.
        local function counted()
            local most = 0
            for _, key in ipairs(fleet.server:ask('KEYS', '*:default:*')) do
                most = math.max(most, tonumber(fleet.server:ask('GET', key):match('^%d+ (%d+)')))
            end
            return most
        end

        -- What was admitted before, without and after it.
        local function lose_redis(list, also)
            local from = posix.now()
            local before = ask(list, BEFORE, 'k', from)
            take_away()
            local without = ask(list, WITHOUT, 'k', from + BEFORE / RATE)
            if also then
                also()
            end
            give_back()
            wait_until(function() -- each host has told what it admitted meanwhile
                return counted() >= math.min(QUOTA, before + without)
            end, 'Redis knows it all')
            local after = ask(list, AFTER, 'k', from + (BEFORE + WITHOUT) / RATE)
            if IS_LONG then
                print(('%d gateways asked: %d + %d + %d of %d admitted'):format(#list, before,
                    without, after, QUOTA))
            end
            return before, without, after
        end

        it('admits to even traffic hardly more than the quota', function()
            start_all()
            local before, without, after = lose_redis(fleet:many(HOSTS))
            assert.equal(BEFORE, before)
            assert.is_true(before + without + after >= QUOTA, before + without + after)
            assert.is_true(before + without + after <= 1.015 * QUOTA, before + without + after)
        end)

        it('admits to clients of one host its part, and no more than is published', function()
            start_all()
            local one = { fleet:connect(fleet.gateways[1]) }
            local before, without, after = lose_redis(one, function()
                assert.equal(QUOTA / HOSTS, burst_of_first(300))
            end)
            assert.equal(BEFORE, before)
            assert.equal(QUOTA / HOSTS - BEFORE / HOSTS, without)
            assert.equal(QUOTA, before + without + after)
        end)
    end)

    describe('R12 in mode async', function()
        local HOSTS, PERCENT = 8, 5
        local QUOTAS = { 1, 20, 300, 1000 }
        local EACH = 5                           -- connections of a host
        local WINDOW, WINDOWS, WITHOUT = 5, 8, 4 -- s; how many; which of them is without Redis

        local TEXT = 'GET / HTTP/1.1\r\nHost: localhost\r\nX-Run: q%d\r\nX-Quota: %d\r\n\r\n'

        -- Below that is what may be admitted of a quota.
        local function most(quota)
            return quota + HOSTS * math.max(1, math.floor(quota * PERCENT / 100 / HOSTS))
        end

        local function start_all(window, on_error)
            start(HOSTS, 'quota: "lua: tonumber(moongate.request.get_header(\'X-Quota\'))", '
                .. 'fallback_quota: 1, algorithm: fixed-window, window: ' .. window, on_error,
                (', mode: async, async: { over_admit_percent: %d }'):format(PERCENT))
            return fleet:many(HOSTS * EACH)
        end

        local function burst(list, quota)
            return limited.burst(list, TEXT:format(quota, quota))[200] or 0
        end

        -- Units that Redis has counted of each quota; there is no other key.
        local function counted()
            local units = {}
            for _, key in ipairs(fleet.server:ask('KEYS', '*:default:*')) do
                units[#units + 1] = tonumber(fleet.server:ask('GET', key):match('^%d+ (%d+)'))
            end
            table.sort(units)
            return units
        end

        local function sum_of(list)
            local sum = 0
            for _, number in ipairs(list) do
                sum = sum + number
            end
            return sum
        end

        it('admits less than the published bound, and tells Redis of all of it', function()
            local list = start_all('100d', 'deny')
            local admitted = {}
            local function ask_all(times)
                for i, quota in ipairs(QUOTAS) do
                    for _ = 1, times do
                        admitted[i] = (admitted[i] or 0) + burst(list, quota)
                    end
                end
            end
            local function wait_known()
                local deadline, known = posix.now() + process.deadline
                repeat
                    known = sum_of(counted())
                until known == sum_of(admitted) or posix.now() > deadline
                assert.equal(sum_of(admitted), known)
            end
            ask_all(2)
            wait_known() -- what is under way when a connection ends may be counted twice
            take_away()
            ask_all(5)
            give_back()
            ask_all(25)
            for i, quota in ipairs(QUOTAS) do
                assert.is_true(admitted[i] >= quota and admitted[i] < most(quota),
                    ('%d of %d'):format(admitted[i], quota))
            end
            wait_known()
            assert.same(admitted, counted())
        end)

        -- The clock of Redis, which the windows follow, less our own.
        local function offset()
            local time = fleet.server:ask('TIME')
            return time[1] + time[2] / 1e6 - posix.now()
        end

        -- What was admitted in each window, of each quota.
        local function admitted_by_window(on_error)
            local list = start_all(WINDOW .. 's', on_error)
            local away = offset()
            local first = math.floor((posix.now() + away) / WINDOW) + 1
            posix.pause(first * WINDOW - away - posix.now())
            local windows, mode = {}, 'pass'
            for window = -1, WINDOWS do -- the loop may begin too early and end too late
                windows[window] = {}
            end
            local function window_now()
                return math.floor((posix.now() + away) / WINDOW) - first
            end
            while window_now() < WINDOWS do
                local wanted = window_now() == WITHOUT and 'refuse' or 'pass'
                if wanted ~= mode then
                    mode = wanted
                    proxy:set(mode)
                end
                for i, quota in ipairs(QUOTAS) do
                    local window = window_now()
                    local count = burst(list, quota)
                    if window == window_now() then -- else it is not known which each belongs to
                        windows[window][i] = (windows[window][i] or 0) + count
                    end
                end
            end
            return windows
        end

        -- Where a host decides by its part, in the windows of the loss and of the return, more.
        local function more(on_error, window, quota)
            local is_uneven = window == WITHOUT or window == WITHOUT + 1
            local part = math.max(1, math.floor(quota / HOSTS))
            return on_error == 'local' and is_uneven and (HOSTS - 1) * part + 1 or 0
        end

        for _, on_error in ipairs(IS_LONG and { 'deny', 'local' } or {}) do
            it(('keeps to the bound in every window, without Redis by %s'):format(on_error),
                function()
                    local windows = admitted_by_window(on_error)
                    for window = 0, WINDOWS - 1 do
                        print(('window %d%s: %s admitted of %s'):format(window,
                            window == WITHOUT and ', no Redis' or '',
                            table.concat(windows[window], ' '), table.concat(QUOTAS, ' ')))
                        for i, quota in ipairs(QUOTAS) do
                            assert.is_true(windows[window][i] <
                                most(quota) + more(on_error, window, quota))
                        end
                    end
                end)
        end
    end)
end)
