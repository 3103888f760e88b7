-- SPDX-License-Identifier: Apache-2.0
-- Limits and bans in Redis: the decision on one request as one step, by Redis' own clock, and what
-- corrects it later. The second part of a script: limit.redis.lua, which knows a limit, stands
-- before it. core/model/limit_script.c writes the words and reads the results. The arithmetic of
-- bans is that of core/model/limit_ban.c.
--
-- ARGV    1 time in ms, for tests; empty: TIME. Keys then live an hour at least
--         2 what to do
--   take    decides, and charges all limits or none
--           KEYS one for each limit, in the order of ARGV; that of the ban, if there is one; those
--           of limits that stood in the place of some before an edit
--           3 count_denied: 1 = a denied request is charged too, up to the quota; 2: it has been
--           admitted, and is charged whatever is counted, and banned
--           4 has a ban: 1, 0; 5-11 after, within, for, factor in percent, max, forget, extend
--           12 name for what concurrency limits hold, 13 how long they hold it without news, ms
--           from 14 on ten for each limit: algorithm (0 fixed-window, 1 sliding-window,
--           2 token-bucket, 3 gcra, 4 concurrency, 5 leaky-bucket), quota, window ms, burst,
--           max_delay ms, where a fixed window begins (0 clock, 1 first request, 2 month, 3 year),
--           shadow (1, 0), cost, former: empty, or `algorithm quota window burst begin` of the
--           limit before the edit, whose count a key's first use begins with; units that
--           the asking host has admitted and not told: they count, and are not charged
--           RESULT list: verdict (0 denied, 1 admitted, 2 banned before, 3 banned with this
--           denial), ms left of the ban, bans in a row, delay in ms, values that were repaired;
--           then, unless banned before, nine for each limit: ok, too_big, remaining, reset ms,
--           retry ms, delay ms, and its state in three
--   lease   KEYS, ban and limit as take, of one limit: as much of its cost as there is room for is
--           charged; the ban is only looked at. RESULT as take, with so many units in place of ok
--   amend   KEYS and limits as take: cost is what is added to the charge (negative: given back),
--           former is where it was charged (state 1). RESULT how many charges no longer count
--   add     KEYS and limits as take: cost is added, up to the quota. RESULT 0
--   ban     KEYS the ban's, 4-11 as take, 12 ms it lasts at least from now, 13 bans in a row.
--           RESULT 0
--   renew   KEYS of concurrency limits, 3 how long, ms; then pairs: which key, what is held there.
--           RESULT 0
--   release the same without a time (3 is 0). RESULT 0
--   cancel  the same as renew: is released, and cannot be taken any more for that time. RESULT 0
--   host    KEYS the hosts', 3 name, 4 ms without news until it is dead. RESULT how many live
local HEAD, EACH = 13, 10
local COUNT_MAX = 1000002

-- ---- the ban -----------------------------------------------------------------------------------

local ban

local function ban_of(key)
    return { key = key, after = tonumber(ARGV[5]), within = tonumber(ARGV[6]),
        length = tonumber(ARGV[7]), factor = tonumber(ARGV[8]), most = tonumber(ARGV[9]),
        forget = tonumber(ARGV[10]), extends = tonumber(ARGV[11]) == 1 }
end

local function ban_free_at()
    local s = ban.state
    return max((s[1] + 2) * ban.within, s[5] > 0 and s[4] + ban.forget or 0)
end

local function ban_length(n)
    local length = ban.length
    for _ = 2, n do
        if length >= ban.most or ban.factor <= 100 then
            break
        end
        length = floor(length * ban.factor / 100)
    end
    return min(length, ban.most)
end

-- The state of the ban; zeros where there is none.
local function read_ban()
    local s, unlimited = read(ban.key, 5)
    for i = 1, s and 5 or 0 do
        if s[i] < 0 or (i == 2 or i == 3) and s[i] > COUNT_MAX then
            drop(ban.key)
            s = nil
            break
        end
    end
    ban.state = s or { 0, 0, 0, 0, 0 }
    if s and unlimited and repair(ban.key, ban_free_at(), s[1] * ban.within) then
        ban.state = { 0, 0, 0, 0, 0 }
    end
end

local function is_banned()
    local s = ban.state
    if s[4] > now and ban.extends then
        s[4] = now + ban_length(s[5])
        write(ban.key, s, ban_free_at())
    end
    return s[4] > now
end

-- Counts a denial. True: a ban begins with it.
local function note_denial()
    local s = ban.state
    local bucket = floor(now / ban.within)
    if bucket > s[1] then
        s[3] = bucket == s[1] + 1 and s[2] or 0
        s[2] = 0
        s[1] = bucket
    end
    s[2] = s[2] + (s[2] < COUNT_MAX and 1 or 0)
    local passed = now - s[1] * ban.within
    local left = passed > 0 and ban.within - passed or ban.within
    local begins = s[3] * left + s[2] * ban.within > ban.after * ban.within
    if begins then
        s[5] = now >= s[4] + ban.forget and 1 or s[5] + 1
        s[4] = now + ban_length(s[5])
        s[2], s[3] = 0, 0
    end
    write(ban.key, s, ban_free_at())
    return begins
end

-- ---- what can be done --------------------------------------------------------------------------

local NAMES = { 'algorithm', 'quota', 'w', 'burst', 'max_delay', 'align', 'shadow', 'cost' }

-- The limits of ARGV; `formers`: before which key those stand that were before an edit.
local function limits_of(count, formers)
    local limits, life = {}, tonumber(ARGV[13])
    for i = 1, count do
        local at = HEAD + (i - 1) * EACH
        local l = { key = KEYS[i], former = ARGV[at + 9], unsent = tonumber(ARGV[at + 10]),
            holder = ARGV[12], life = life }
        for k = 1, #NAMES do
            l[NAMES[k]] = tonumber(ARGV[at + k])
        end
        l.full = max(1, l.quota) -- what denies all still drains and refills somehow
        if formers and l.former ~= '' then
            formers = formers + 1
            l.former_key = KEYS[formers]
        end
        limits[i] = l
    end
    return limits
end

local function charge_all(limits, admitted, whatever)
    if admitted then
        for _, l in ipairs(limits) do
            if (l.ok or whatever) and l.cost > 0 then
                charge(l)
            end
        end
    elseif tonumber(ARGV[3]) == 1 then
        for _, l in ipairs(limits) do
            if l.shadow == 0 and l.quota > 0 and l.algorithm ~= CONCURRENCY then
                charge_denied(l)
            end
        end
    end
end

local function result_of(limits, admitted, began)
    local delay = 0
    for _, l in ipairs(limits) do
        delay = admitted and max(delay, l.delay) or 0
    end
    local result = { admitted and 1 or began and 3 or 0, ban and max(0, ban.state[4] - now) or 0,
        ban and ban.state[5] or 0, delay, repaired }
    for _, l in ipairs(limits) do
        local s, at, remaining, reset = l.state, #result, tell(l)
        result[at + 1], result[at + 2] = l.ok and 1 or 0, l.too_big and 1 or 0
        result[at + 3], result[at + 4] = remaining, reset
        result[at + 5], result[at + 6] = l.retry, l.delay
        result[at + 7], result[at + 8], result[at + 9] = s[1], s[2] or 0, s[3] or 0
    end
    return result
end

local OPERATIONS = {}

function OPERATIONS.take()
    local count = (#ARGV - HEAD) / EACH
    local has_ban = tonumber(ARGV[4]) == 1
    if has_ban then
        ban = ban_of(KEYS[count + 1])
        read_ban()
        if tonumber(ARGV[3]) ~= 2 and is_banned() then
            return { 2, ban.state[4] - now, ban.state[5], 0, repaired }
        end
    end
    local limits, admitted = limits_of(count, count + (has_ban and 1 or 0)), true
    local whatever = tonumber(ARGV[3]) == 2
    for _, l in ipairs(limits) do
        look(l)
        admitted = admitted and (l.ok or l.shadow == 1 or whatever)
    end
    local began = not admitted and ban and note_denial()
    charge_all(limits, admitted, whatever)
    return result_of(limits, admitted, began)
end

function OPERATIONS.lease()
    local has_ban = tonumber(ARGV[4]) == 1
    if has_ban then
        ban = ban_of(KEYS[2])
        read_ban()
    end
    local l = limits_of(1, has_ban and 2 or 1)[1]
    local wanted, granted = l.cost, 0
    l.cost = 0
    look(l)
    if l.quota > 0 then
        granted = max(0, min(wanted, (tell(l))))
    end
    if granted > 0 then
        add(l, granted)
        keep(l)
    end
    local result = result_of({ l }, true, false)
    result[6] = granted
    return result
end

function OPERATIONS.amend()
    local lost = 0
    for _, l in ipairs(limits_of(#KEYS)) do
        local units = l.cost
        l.cost = 0
        load(l)
        local counts = l.state ~= nil
        if counts then
            LOOK[l.algorithm](l)
            counts = amend(l, tonumber(l.former), units)
        end
        if counts then
            keep(l)
        else
            lost = lost + 1
        end
    end
    return lost
end

function OPERATIONS.add()
    for _, l in ipairs(limits_of(#KEYS)) do
        local units = l.cost
        l.cost = 0
        load(l)
        LOOK[l.algorithm](l)
        add_up_to_full(l, units)
        keep(l)
    end
    return 0
end

function OPERATIONS.ban()
    ban = ban_of(KEYS[1])
    read_ban()
    local s = ban.state
    s[4], s[5] = max(s[4], now + tonumber(ARGV[12])), max(s[5], tonumber(ARGV[13]))
    write(ban.key, s, ban_free_at())
    return 0
end

function OPERATIONS.renew()
    local life = tonumber(ARGV[3])
    for i = 4, #ARGV, 2 do
        local key, slot = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
        local total = held(key, life)
        if not redis.call('ZSCORE', key, slot) then
            total = total + units_of(slot)
        end
        hold(key, slot, life)
        write_held(key, total)
    end
    return 0
end

function OPERATIONS.release()
    for i = 4, #ARGV, 2 do
        local key, slot = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
        local total = held(key, HOUR)
        if redis.call('ZREM', key, slot) == 1 then
            write_held(key, total - units_of(slot))
        end
    end
    return 0
end

-- The take may come later: nobody waits for its answer.
function OPERATIONS.cancel()
    local life = tonumber(ARGV[3])
    for i = 4, #ARGV, 2 do
        local key, slot = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
        local total = held(key, life)
        if redis.call('ZREM', key, slot) == 1 then
            write_held(key, total - units_of(slot))
        else
            hold(key, GIVEN_UP .. slot, life)
        end
    end
    return 0
end

function OPERATIONS.host()
    local key, life = KEYS[1], tonumber(ARGV[4])
    if type(redis.pcall('ZREMRANGEBYSCORE', key, '-inf', whole(now - life))) == 'table' then
        drop(key) -- it is no sorted set
    end
    redis.call('ZADD', key, whole(now), ARGV[3])
    redis.call('PEXPIRE', key, expire_in(life))
    return redis.call('ZCARD', key)
end

return OPERATIONS[ARGV[2]]()
