-- SPDX-License-Identifier: Apache-2.0
-- Counters in Redis, the first part of a script of which take.redis.lua is the second: the clock,
-- values, the calendar, and the arithmetic of one limit. It is that of core/model/limit_rule.c,
-- digit by digit: all numbers are whole and below 2^53, divisions are rounded as there.
--
-- ARGV    1 time in ms, for tests; empty: TIME. Keys then live an hour at least
-- VALUES  texts of whole numbers; they expire when they are as good as new
--         fixed-window: start, count. sliding-window: bucket number, count, count of the one before
--         token-bucket, gcra: tokens x window, time. leaky-bucket: backlog x window, time
--         ban: bucket number, denials in it, denials in the one before, end of the last ban, bans
--         in a row. concurrency, a sorted set: `NAME:UNITS` by the time it ends without news, `*`
--         by minus all units, and `-NAME:UNITS` for what was given up before it was taken, until
--         when it must not be
--
-- A value of the wrong type or that does not parse is deleted; one without expiry is given one, or
-- is deleted if its time has not come yet: none of them keeps a client out.
local HOUR, DAY = 3600000, 86400000
local FIXED, SLIDING, CONCURRENCY, LEAKY = 0, 1, 4, 5
local CONCURRENCY_RETRY = 1000
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min

local repaired = 0
local is_test = ARGV[1] ~= ''
local now
if is_test then
    now = tonumber(ARGV[1])
else
    local time = redis.call('TIME')
    now = time[1] * 1000 + floor(time[2] / 1000)
end

-- ---- values ------------------------------------------------------------------------------------

local function whole(number)
    return ('%.0f'):format(number)
end

local function expire_in(ms)
    return whole(is_test and max(ms, HOUR) or max(1, ms))
end

local function drop(key)
    repaired = repaired + 1
    redis.call('DEL', key)
end

-- `count` whole numbers, and whether the key has no expiry; nil: there is nothing usable.
local function read(key, count)
    local text = redis.pcall('GET', key)
    if not text then
        return nil
    end
    local numbers = {}
    for word in (type(text) == 'string' and text or ''):gmatch('%S+') do
        local number = word:match('^%-?%d+$') and tonumber(word)
        if not number or number >= 2 ^ 53 or number <= -2 ^ 53 then
            numbers = {}
            break
        end
        numbers[#numbers + 1] = number
    end
    if #numbers ~= count then
        drop(key)
        return nil
    end
    return numbers, redis.call('PTTL', key) == -1
end

-- A value without expiry: it is given one, or is gone (true).
local function repair(key, free_at, begins)
    if begins > now or free_at <= now then
        drop(key)
        return true
    end
    repaired = repaired + 1
    redis.call('PEXPIRE', key, whole(free_at - now))
end

local function write(key, numbers, free_at)
    local texts = {}
    for i = 1, #numbers do
        texts[i] = whole(numbers[i])
    end
    redis.call('SET', key, table.concat(texts, ' '), 'PX', expire_in(free_at - now))
end

-- ---- the calendar ------------------------------------------------------------------------------

-- Days from 1970-01-01 to the first of a month (1 to 13) of the Gregorian calendar.
local function days_to(year, month)
    if month == 13 then
        year, month = year + 1, 1
    end
    local shifted = month <= 2 and year - 1 or year -- the year begins in March
    return 365 * shifted + floor(shifted / 4) - floor(shifted / 100) + floor(shifted / 400)
        + floor((153 * ((month + 9) % 12) + 2) / 5) - 719468
end

-- Begin and end of the month or year that holds `at`.
local function period(is_year, at)
    local days = floor(at / DAY)
    local year = 1970 + floor(days / 365.2425)
    while days_to(year + 1, 1) <= days do
        year = year + 1
    end
    while days_to(year, 1) > days do
        year = year - 1
    end
    if is_year then
        return days_to(year, 1) * DAY, days_to(year + 1, 1) * DAY
    end
    local month = 1
    while days_to(year, month + 1) <= days do
        month = month + 1
    end
    return days_to(year, month) * DAY, days_to(year, month + 1) * DAY
end

-- ---- what concurrency limits hold --------------------------------------------------------------

local GIVEN_UP = '-'

local function units_of(slot)
    return slot:sub(1, 1) == GIVEN_UP and 0 or tonumber(slot:match(':(%d+)$')) or 1
end

local function write_held(key, total)
    if total > 0 then
        redis.call('ZADD', key, whole(-total), '*')
    else
        redis.call('ZREM', key, '*') -- the last one: then the key is gone
    end
end

-- Units that are held, without what has had no news for too long.
local function held(key, life)
    local over = redis.pcall('ZRANGEBYSCORE', key, '(0', whole(now))
    if over.err then
        drop(key)
        return 0
    end
    local total = redis.call('ZSCORE', key, '*')
    if not total then
        total = 0
        for _, slot in ipairs(redis.call('ZRANGE', key, 0, -1)) do
            total = total + units_of(slot)
        end
        repaired = repaired + (total > 0 and 1 or 0)
    else
        total = -tonumber(total)
    end
    for _, slot in ipairs(over) do
        redis.call('ZREM', key, slot)
        total = total - units_of(slot)
    end
    if #over > 0 then
        write_held(key, total)
    end
    if redis.call('PTTL', key) == -1 then
        repaired = repaired + 1
        redis.call('PEXPIRE', key, expire_in(life))
    end
    return max(0, total)
end

local function hold(key, slot, life)
    redis.call('ZADD', key, whole(now + life), slot)
    if redis.call('PTTL', key) < life then
        redis.call('PEXPIRE', key, expire_in(life))
    end
end

-- ---- one limit ---------------------------------------------------------------------------------

local function window_at(l, at)
    if l.align >= 2 then
        return period(l.align == 3, at)
    end
    local begin = l.align == 1 and at or at - at % l.w
    return begin, begin + l.w
end

local function fixed_end(l)
    if l.align >= 2 then
        local _, last = period(l.align == 3, l.state[1])
        return last
    end
    return l.state[1] + l.w
end

local function fixed_look(l)
    local s = l.state
    local begin = window_at(l, now)
    if s and (l.align == 1 and (s[2] == 0 or now >= fixed_end(l)) or l.align ~= 1 and begin > s[1])
        or not s then
        s = { begin, 0 }
        l.state = s
    end
    l.ok = s[2] + l.cost <= l.full
    l.retry = fixed_end(l) - now
end

-- ms for which the bucket before this one still counts.
local function sliding_left(l)
    return l.w - min(l.w, max(0, now - l.state[1] * l.w))
end

local function sliding_look(l)
    local s, w, q, c = l.state, l.w, l.full, l.cost
    local current = floor(now / w)
    if not s or current > s[1] + 1 then
        s = { current, 0, 0 }
    elseif current == s[1] + 1 then
        s = { current, 0, s[2] }
    end
    l.state = s
    local used, before, left = s[2], s[3], sliding_left(l)
    l.ok = before * left + (used + c) * w <= q * w
    if l.ok then
        l.retry = 0
    elseif used + c <= q then
        l.retry = ceil((before * left - (q - used - c) * w) / before)
    else
        l.retry = left + (used > 0 and max(0, ceil((used - q + c) * w / used)) or 0)
    end
end

local function bucket_look(l)
    local s, most, q = l.state, l.burst * l.w, l.full
    local tokens, time = most, s and max(s[2], now) or now
    if s and s[1] < most then
        tokens = s[1]
        if now > s[2] then
            tokens = min(most, tokens + min(now - s[2], ceil((most - tokens) / q)) * q)
        end
    end
    l.state = { tokens, time }
    l.ok = tokens >= l.cost * l.w
    l.retry = ceil((l.cost * l.w - tokens) / q)
end

local function leaky_look(l)
    local s, q = l.state, l.full
    local backlog, time = s and s[1] or 0, s and max(s[2], now) or now
    if s and now > s[2] then
        backlog = max(0, backlog - min(now - s[2], ceil(backlog / q)) * q)
    end
    l.state = { backlog, time }
    local most = l.burst * l.w
    l.delay = ceil(backlog / q)
    l.ok = l.delay <= l.max_delay and backlog <= most
    l.retry = max(l.delay - l.max_delay, ceil((backlog - most) / q))
end

local function slot_of(l)
    return l.holder .. ':' .. whole(l.cost)
end

local function concurrency_look(l)
    l.ok = l.state[1] + l.cost <= l.full
        and not redis.call('ZSCORE', l.key, GIVEN_UP .. slot_of(l))
    l.retry = CONCURRENCY_RETRY
end

local function is_bucket(l)
    return l.algorithm > SLIDING and l.algorithm ~= CONCURRENCY
end

-- When the state is as good as new, and when it begins.
local function free_at(l)
    local s = l.state
    if l.algorithm == FIXED then
        return fixed_end(l), s[1]
    elseif l.algorithm == SLIDING then
        return (s[1] + 2) * l.w, s[1] * l.w
    elseif l.algorithm == LEAKY then
        return s[2] + ceil(s[1] / l.full), s[2]
    end
    return s[2] + ceil((l.burst * l.w - s[1]) / l.full), s[2]
end

local LOOK = { [FIXED] = fixed_look, [SLIDING] = sliding_look, [2] = bucket_look,
    [3] = bucket_look, [CONCURRENCY] = concurrency_look, [LEAKY] = leaky_look }

-- The state of a key as it was written; nil: there is none.
local function load(l)
    local s, unlimited = read(l.key, l.algorithm == SLIDING and 3 or 2)
    l.state = s
    if s and (s[1] < 0 or s[2] < 0 or (s[3] or 0) < 0) and (l.algorithm < 2 or l.algorithm > 3) then
        drop(l.key)
        l.state = nil
    elseif s and unlimited and repair(l.key, free_at(l)) then
        l.state = nil
    end
end

-- Units that count now.
local function used(l)
    local s = l.state
    if l.algorithm == FIXED then
        return s[2]
    elseif l.algorithm == SLIDING then
        return ceil(s[3] * sliding_left(l) / l.w) + s[2]
    elseif l.algorithm == LEAKY then
        return ceil(s[1] / l.w)
    end
    return ceil(max(0, l.burst * l.w - s[1]) / l.w)
end

local function add(l, units)
    if not is_bucket(l) then
        l.state[2] = l.state[2] + units
    elseif l.algorithm == LEAKY then
        l.state[1] = l.state[1] + units * l.w
    else
        l.state[1] = l.state[1] - units * l.w
    end
end

local function add_up_to_full(l, units)
    add(l, min(units, max(0, (is_bucket(l) and l.burst or l.quota) - used(l))))
end

-- A key's first use after an edit begins with what was used in the limit before.
local function seed(l)
    local words = {}
    for word in l.former:gmatch('%S+') do
        words[#words + 1] = tonumber(word)
    end
    local before = { key = l.former_key, algorithm = words[1], quota = words[2], w = words[3],
        burst = words[4], align = words[5], cost = 0, max_delay = 0, full = max(1, words[2]) }
    load(before)
    if before.state then
        LOOK[before.algorithm](before)
        LOOK[l.algorithm](l)
        add_up_to_full(l, used(before))
        l.is_seeded = true
    end
end

local function look(l)
    l.delay = 0
    if l.algorithm == CONCURRENCY then
        l.state = { held(l.key, l.life) }
    else
        load(l)
        if not l.state and l.former_key then
            seed(l)
        end
    end
    local cost = l.cost
    l.cost = cost + l.unsent
    LOOK[l.algorithm](l)
    l.cost = cost
    l.too_big = l.cost > (is_bucket(l) and l.burst or l.quota) or l.quota == 0
    l.ok = l.ok and not l.too_big
    if l.ok or l.too_big then
        l.retry = 0
    end
    if not l.ok then
        l.delay = 0
    end
end

local function keep(l)
    write(l.key, l.state, free_at(l))
    if l.is_seeded then
        redis.call('DEL', l.former_key) -- its count goes on in the new one
    end
end

local function charge(l)
    if l.algorithm == CONCURRENCY then
        l.state[1] = l.state[1] + l.cost
        hold(l.key, slot_of(l), l.life)
        write_held(l.key, l.state[1])
        return
    end
    add(l, l.cost)
    keep(l)
end

-- A denied request counts up to the quota, so that who does not pause stays out.
local function charge_denied(l)
    local s = l.state
    if not is_bucket(l) then
        s[2] = max(s[2], min(l.quota, s[2] + l.cost))
    elseif l.algorithm == LEAKY then
        s[1] = max(s[1], min(l.burst * l.w, s[1] + l.cost * l.w))
    else
        s[1] = min(s[1], max(0, s[1] - l.cost * l.w))
    end
    keep(l)
end

-- Adds units to a charge, negative: gives back. False: it no longer counts.
local function amend(l, charged_in, units)
    local s = l.state
    if l.algorithm == FIXED then
        s[2] = max(0, s[2] + units)
        return s[1] == charged_in
    elseif l.algorithm == SLIDING then
        local which = s[1] == charged_in and 2 or 3
        s[which] = max(0, s[which] + units)
        return which == 2 or s[1] == charged_in + 1
    elseif l.algorithm == LEAKY then
        s[1] = max(0, s[1] + units * l.w)
    else
        s[1] = min(l.burst * l.w, s[1] - units * l.w)
    end
    return true
end

-- remaining, reset
local function tell(l)
    local s, w = l.state, l.w
    if l.algorithm == FIXED then
        return max(0, l.quota - s[2]), fixed_end(l) - now
    elseif l.algorithm == SLIDING then
        local left = sliding_left(l)
        return floor(max(0, l.quota * w - s[3] * left - s[2] * w) / w), left
    elseif l.algorithm == CONCURRENCY then
        return max(0, l.quota - s[1]), CONCURRENCY_RETRY
    elseif l.algorithm == LEAKY then
        local most = l.burst * w
        return s[1] > most and 0 or floor((most - s[1]) / w) + 1, ceil(s[1] / l.full)
    end
    -- a charge that was corrected may leave less than nothing: rounded towards 0, as in C
    local remaining = min(s[1], l.burst * w) / w
    return remaining < 0 and ceil(remaining) or floor(remaining),
        max(0, ceil((l.burst * w - s[1]) / l.full))
end
