-- SPDX-License-Identifier: Apache-2.0
-- ngx.timer and the ngx.ctx of timers: each run begins with an empty table.
local base = require 'moongate.pdk.base'
local runtime = require 'moongate.runtime'

local M = {}

local sched, shared = runtime.sched, runtime.shared

-- Coroutine (pool index) -> its table. A place that is used again begins anew.
local tables = {}

--- The ngx.ctx of the running timer.
-- @treturn table
function M.ctx()
    if runtime.phase() ~= 'timer' then
        base.raise('no request found')
    end
    local own = tables[shared.task]
    if not own then
        own = {}
        tables[shared.task] = own
    end
    return own
end

local function check(seconds, fn)
    if type(seconds) ~= 'number' or seconds ~= seconds or seconds < 0 then
        base.raise('invalid timer delay')
    end
    base.check_type(fn, 'function', 'callback')
end

-- fn as the scheduler runs it: with an empty ctx, which is dropped at the end.
local function fresh(fn)
    return function(premature, ...)
        local task = shared.task
        tables[task] = nil
        fn(premature, ...)
        tables[task] = nil
    end
end

local function result(id, err)
    if not id then
        return nil, err
    end
    return true
end

--- Runs fn(premature, ...) once.
-- @tparam number seconds 0 = next loop turn
-- @treturn boolean|nil true
-- @treturn string|nil error
function M.at(seconds, fn, ...)
    check(seconds, fn)
    return result(sched.timer(seconds * 1000, fresh(fn), ...))
end

--- Runs fn(premature, ...) again and again.
function M.every(seconds, fn, ...)
    check(seconds, fn)
    if seconds == 0 then
        base.raise('delay cannot be zero')
    end
    return result(sched.every(seconds * 1000, fresh(fn), ...))
end

return M
