-- SPDX-License-Identifier: Apache-2.0
-- What is told of a transition: one line in the error log and one call of on_state for each
-- transition and host, since C tells one caller in all workers.
local moongate = moongate
local bit = require 'bit'
local breakers = require 'moongate.breaker'

local M = {}

-- The name, and eight digits of the key's hash where it is one by key.
local function name_of(breaker)
    local key = breaker.answer.key
    return key == 0 and breaker.name or ('%s#%s'):format(breaker.name, bit.tohex(key))
end

-- The numbers of breaker.answer as they are now: on_state may wait, and another request may ask.
local function read(breaker)
    local answer = breaker.answer
    return {
        name = name_of(breaker),
        from = breakers.state_name(answer.from), to = breakers.state_name(answer.to),
        reason = breakers.reason_name(answer.reason), n = answer.n, open_ms = answer.open_ms,
        counts = { total = answer.total, failures = answer.failures, network = answer.network,
            slow = answer.slow },
    }
end

local function write(change)
    local counts = change.counts
    local parts = { ('breaker %s: %s -> %s (%s)'):format(change.name, change.from, change.to,
        change.reason) }
    if counts.total > 0 then
        parts[#parts + 1] = ('%d of %d results failed'):format(counts.failures, counts.total)
    end
    if counts.network > 0 then
        parts[#parts + 1] = ('%d of them in the network'):format(counts.network)
    end
    if counts.slow > 0 then
        parts[#parts + 1] = ('%d were slow'):format(counts.slow)
    end
    if change.to == 'open' then
        parts[#parts + 1] = ('open for %.1f s, opening %d in a row')
            :format(change.open_ms / 1000, change.n)
    end
    local log = change.to == 'open' and moongate.log.warn or moongate.log.notice
    log(table.concat(parts, ', '))
end

local function call(breaker, change)
    local on_state = breaker.entry.on_state
    if on_state then
        on_state(change.name, change.from, change.to, change.reason, change.counts)
    end
end

--- After a call of the breaker that may have made a transition.
-- @tparam table breaker of opened.lua
function M.tell(breaker)
    if breaker.answer.changed == 0 then
        return
    end
    local change = read(breaker)
    write(change)
    call(breaker, change)
end

--- Changes by hand: the master has written them to the log, on_state is called here.
-- @tparam table breaker
function M.hear(breaker)
    while breaker:heard() do
        call(breaker, read(breaker))
    end
end

return M
