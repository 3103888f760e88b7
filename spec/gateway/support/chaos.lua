-- SPDX-License-Identifier: Apache-2.0
--
-- A gateway under load whose Redis is made to fail: what its plugins answer meanwhile, which
-- reasons are counted, how long requests wait, and when all is well again.
--
--     local rig = chaos.rig(places, server)               -- /ask, /deny, /allow, /local
--     rig:run{ start = function() server:kill() end, stop = function() server:start() end,
--              reasons = { 'refused' } }
--
-- The suite runs it in short and looks at counts alone; script/chaos sets MOONGATE_CHAOS_SECONDS,
-- the time each fault lasts, and times count too. What else runs on the machine costs time as well:
-- a tenth of the load goes to a gateway whose Redis is sound, and what is added there too is not of
-- the fault.
local client = require 'spec.gateway.support.client'
local open_load = require 'spec.gateway.support.open_load'
local posix = require 'spec.gateway.support.posix'
local process = require 'spec.gateway.support.process'

local M = {}

--- Seconds of a fault; nil in the suite.
M.seconds = tonumber(os.getenv('MOONGATE_CHAOS_SECONDS') or '')
M.rate = tonumber(os.getenv('MOONGATE_CHAOS_RATE') or '') or 200

local PATHS = { '/ask', '/deny', '/allow', '/local' }
local SHORT_HOLD = 0.25  -- s, in the suite: some 50 requests
local IN_A_ROW = 20      -- own answers: every worker is well again
local FIRST_ADDED_MS, ADDED_MS = 25, 1 -- to the 99th percentile: for a second, and then
local RECOVERY = 2.5     -- s
local CONTROL = 0.1      -- of the load, to the gateway that is spared
M.KEYS = 10

-- Answers what Redis gave for this request's id, or the class of the failure.
local HANDLER = [[
local plugin = { PRIORITY = 1000, VERSION = '0.1.0' }
local store, script

function plugin:configure()
    store = moongate.redis.instance('main')
    script = moongate.redis.script('keep')
end

function plugin:access()
    local id = moongate.request.get_header('X-Run')
    local value, _, class = store:run(script, { 'c:' .. tonumber(id) %% %d }, { id })
    moongate.response.exit(200, value or class)
end

return plugin
]]
local SCHEMA = "return { name = 'ask', fields = { { config = { type = 'record', fields = {} } } } }"
local SCRIPT = [[
-- KEYS: 1 a text. ARGV: 1 its new value. Returns it.
redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
]]

local LIMITED = [[
  - name: %s
    paths: [/%s]
    plugins:
    - name: rate-limit
      config: { key: [ip], quota: 1000000000, algorithm: fixed-window,
        window: 1d, store: redis, on_store_error: %s,
        redis: { connection: main, timeout: %s, connect_timeout: %s } }
    - { name: request-termination, config: { status_code: 200 } }
]]

-- In the suite the machine may be busy, and a recovery may take no second.
local TIMES = M.seconds and { timeout = '20ms', connect = '100ms', breaker = '{}' }
    or { timeout = '500ms', connect = '500ms', breaker = '{ open: 100ms, max: 200ms }' }
--- Of gateways that a harmless fault must not disturb at all, however busy the machine is.
M.PATIENT = M.seconds and TIMES
    or { timeout = '5s', connect = '5s', breaker = '{ open: 100ms, max: 200ms }' }

local function yaml(place, port, times)
    local parts = { ([[
_format_version: "3.0"
services:
- name: none
  url: http://127.0.0.1:9
  routes:
  - { name: ask, paths: [/ask], plugins: [{ name: ask }] }
]]) }
    for _, policy in ipairs({ 'deny', 'allow', 'local' }) do
        parts[#parts + 1] = LIMITED:format(policy, policy, policy, times.timeout,
            times.connect)
    end
    parts[#parts + 1] = ([[
gateway:
  workers: 2
  listeners: [{ address: "127.0.0.1:%d" }]
  redis: { main: { %s, timeout: %s, connect_timeout: %s, breaker: %s } }
]]):format(port, place, times.timeout, times.connect, times.breaker)
    return table.concat(parts)
end

local Rig = {}
Rig.__index = Rig

--- Starts a gateway.
-- @tparam string place where the Redis is: fields of an entry of gateway.redis
-- @tparam[opt] table times of its entry of gateway.redis: timeout, connect, breaker
function M.rig(place, times)
    local folder, port = process.folder(), process.free_port()
    assert(os.execute(("mkdir -p '%s/plugins/ask'"):format(folder)) == 0)
    process.write(folder .. '/plugins/ask/handler.lua', (HANDLER:format(M.KEYS)))
    process.write(folder .. '/plugins/ask/schema.lua', SCHEMA)
    process.write(folder .. '/plugins/ask/keep.redis.lua', SCRIPT)
    local gateway = process.gateway(yaml(place, port, times or TIMES),
        { folder = folder })
    return setmetatable({ gateway = gateway, ids = 1e9 }, Rig)
end

-- How often a command ended in that way.
function Rig:result(reason)
    return self.gateway:status().stores[1].results[reason] or 0
end

function Rig:is_well()
    self.ids = self.ids + 1
    local id = ('%d'):format(self.ids)
    local res = assert(client.get(self.gateway.port, '/ask', { ['X-Run'] = id }))
    return res.body == id
end

--- A request on each of the connections, all at once.
-- @treturn number how many were answered as they should be
function Rig:count_well(list)
    local first = self.ids
    self.ids = first + #list
    for i, connection in ipairs(list) do
        assert(connection:send(('GET /ask HTTP/1.1\r\nHost: localhost\r\nX-Run: %d\r\n\r\n')
            :format(first + i)))
    end
    local count = 0
    for i, connection in ipairs(list) do
        local res = assert(connection:response('GET'))
        count = count + (res.body == ('%d'):format(first + i) and 1 or 0)
    end
    return count
end

-- How the gateway sees its Redis: whether it asks, and how commands have ended.
function Rig:tell()
    local store = self.gateway:status().stores[1]
    local list = {}
    for reason, count in pairs(store.results) do
        list[#list + 1] = ('%s %d'):format(reason, count)
    end
    return ('%s, opened %d times, last %s; counted: %s'):format(store.state, store.opened,
        tostring(store.last_failure), table.concat(list, ', '))
end

--- Waits until every worker has its Redis.
function Rig:wait_well()
    local deadline, in_a_row, good, bad = posix.now() + process.deadline, 0, 0, 0
    repeat
        local well = self:is_well()
        in_a_row = well and in_a_row + 1 or 0
        good, bad = good + (well and 1 or 0), bad + (well and 0 or 1)
        if not well then
            posix.pause(0.01)
        end
        if posix.now() > deadline then
            error(('the gateway does not find its Redis again for all its requests: %d good ones, '
                .. '%d bad ones; %s'):format(good, bad, self:tell()), 0)
        end
    until in_a_row == IN_A_ROW
end

function Rig:results(reasons)
    local list = {}
    for i, reason in ipairs(reasons) do
        list[i] = self:result(reason)
    end
    return list
end

-- Whether one of the reasons was met since: by a command, or by the one connection that is tried
-- while the breaker is open.
function Rig:is_met(reasons, before)
    local store = self.gateway:status().stores[1]
    for i, reason in ipairs(reasons) do
        if (store.results[reason] or 0) > before[i]
            or store.state ~= 'closed' and store.last_failure == reason then
            return true
        end
    end
    return false
end

-- Until one of the reasons was met.
function Rig:wait_met(reasons, before)
    local deadline = posix.now() + process.deadline
    while not self:is_met(reasons, before) do
        if posix.now() > deadline then
            error(('not met: %s; %s'):format(table.concat(reasons, ', '), self:tell()), 0)
        end
        posix.pause(0.02)
    end
end

local STATUSES = {
    ['/ask'] = { [200] = true }, ['/allow'] = { [200] = true }, ['/local'] = { [200] = true },
    ['/deny'] = { [200] = true, [503] = true },
}

-- What each path may answer, whatever fails.
local function check_answers(records, fault)
    local allowed = { own = true, open = true, timeout = true, refused = true }
    for _, reason in ipairs(fault.reasons) do
        allowed[reason] = true
    end
    for _, record in ipairs(records) do
        if not STATUSES[record.path][record.status]
            or record.path == '/ask' and not allowed[record.word] then
            error(('%s answered %d %s after %.1f ms'):format(record.path, record.status,
                record.word, record.ms), 0)
        end
    end
end

-- The declared policy, in counts: while it fails, deny denies and the others serve.
local function check_policy(records, fault)
    local asked = open_load.count(open_load.between(records, 0, math.huge, '/ask'), 'word')
    local denied = open_load.count(open_load.between(records, 0, math.huge, '/deny'), 'status')
    if fault.is_harmless then
        local bad = 0
        for word, count in pairs(asked) do
            bad = bad + (word == 'own' and 0 or count)
        end
        -- with 20 ms to answer, a busy machine is late now and then
        local most = M.seconds and 0.1 * #records or fault.may_fail or 0
        assert(bad <= most, ('%d of %d fail'):format(bad, bad + (asked.own or 0)))
    elseif not fault.spares_limits then
        assert((denied[503] or 0) > 0, 'no request was denied')
    end
end

-- When the first of so many good answers in a row was asked for, after that time.
local function well_again(records, from)
    local at, in_a_row
    for _, record in ipairs(open_load.between(records, from, math.huge, '/ask')) do
        local is_good = record.word == 'own'
        at = is_good and (at or record.at) or nil
        in_a_row = is_good and (in_a_row or 0) + 1 or 0
        if in_a_row == IN_A_ROW then
            return at
        end
    end
    return math.huge
end

-- What a fault adds to the 99th percentile, ms: in its first second, and then.
local function added(records, times)
    local function p99(from, to)
        return open_load.p99(open_load.between(records, from, to))
    end
    local base = p99(times.began, times.fault)
    return p99(times.fault, times.fault + 1) - base, p99(times.fault + 1, times.over) - base, base
end

-- In long: that hardly a request waits for Redis once the fault has lasted a second. That is what
-- keeps the 99th percentile where it was, and it can be counted on a busy machine too.
local function check_waits(records, times)
    local asked = open_load.between(records, times.fault + 1, times.over, '/ask')
    local waited = open_load.count(asked, 'word').timeout or 0
    assert(waited <= 0.01 * #asked, ('then: %d of %d waited'):format(waited, #asked))
    return waited, #asked
end

-- In long: what a fault adds, against the load before it and to a gateway that has no fault. Where
-- the machine alone moves the percentiles of that one by more than a fault may, they say nothing.
local function check_times(records, spared, times, fault)
    local first, later, base = added(records, times)
    local spared_first, spared_later = added(spared, times)
    local waited, asked = 0, 0
    if not fault.is_slow and not fault.is_harmless then
        waited, asked = check_waits(records, times)
    end
    local recovery = well_again(records, times.well_at) - times.well_at
    print(('%-30s p99 %.2f ms, first second %+.2f (spared %+.2f), then %+.2f (spared %+.2f) ms, '
        .. 'then %d of %d waited, recovery %.2f s, %d requests'):format(fault.name, base, first,
        spared_first, later, spared_later, waited, asked, recovery, #records))
    if not fault.is_slow and math.abs(spared_first) < FIRST_ADDED_MS / 2 then
        first = first - math.max(0, spared_first)
        assert(first < FIRST_ADDED_MS, ('the first second: %.2f ms more'):format(first))
    end
    if not fault.is_slow and math.abs(spared_later) < ADDED_MS / 2 then
        later = later - math.max(0, spared_later)
        assert(later < ADDED_MS, ('then: %.2f ms more'):format(later))
    end
    assert(recovery <= (fault.recovery or RECOVERY), ('well again after %.2f s'):format(recovery))
end

-- In long: load on a gateway of its own, with a Redis that nothing happens to.
local function start_spared()
    local redis = require 'spec.gateway.support.redis'
    local rig = M.rig(('host: 127.0.0.1, port: %d'):format(redis.server().port))
    rig:wait_well()
    return rig
end

-- The fault, until it was met.
function Rig:begin(fault)
    local before = self:results(fault.reasons)
    fault.start()
    if fault.is_harmless then
        return true
    end
    local ok, err = pcall(self.wait_met, self, fault.reasons, before)
    if ok and fault.log then
        return self.gateway:wait_text(fault.log), 'not in the log: ' .. fault.log
    end
    return ok, err
end

function Rig:start_load()
    if not M.seconds then
        return open_load.start(self.gateway.port, { rate = M.rate, paths = PATHS })
    end
    self.spared = self.spared or start_spared()
    return open_load.start(self.gateway.port, { rate = M.rate, paths = PATHS }),
        open_load.start(self.spared.gateway.port, { rate = M.rate * CONTROL, paths = PATHS })
end

-- The fault, from a while before it until all is well again.
function Rig:go_through(fault, times)
    posix.pause(M.seconds and math.max(5, M.seconds / 2) or SHORT_HOLD)
    times.fault = posix.now()
    local ok, err = self:begin(fault)
    posix.pause(fault.hold or ok and M.seconds or SHORT_HOLD)
    times.over = posix.now()
    fault.stop()
    assert(ok, err)
    times.well_at = posix.now()
    self:wait_well()
    posix.pause(M.seconds and 3 or SHORT_HOLD)
end

--- Load, the fault, and its end.
-- @tparam table fault name, start and stop (functions), reasons (each may be counted, one must be),
-- log (a text that comes), is_harmless (nobody notices, but for may_fail requests), spares_limits
-- (rate-limit does not notice), is_slow (it is no outage: requests may wait), recovery (s, other
-- than 2.5), hold (s that it lasts, in place of what was asked for)
-- @treturn table records
function Rig:run(fault)
    self:wait_well()
    local running, spared = self:start_load()
    local times = { began = posix.now() + 0.2 }
    local ok, err = pcall(self.go_through, self, fault, times)
    local records = running:stop() -- in any case: the next fault has its own
    local control = spared and spared:stop()
    assert(ok, err)
    check_answers(records, fault)
    check_policy(records, fault)
    if control then
        check_times(records, control, times, fault)
    end
    return records, times
end

return M
