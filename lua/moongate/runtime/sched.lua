-- SPDX-License-Identifier: Apache-2.0
-- Waiting, timers and coroutines. The only module that yields.
--
-- A waiting call yields a private sentinel up to C, through any coroutines of the plugin's own: the
-- wrapped resume passes it upwards and hands what comes back to the inner coroutine, so plugin code
-- never sees it (docs/plugin-reference.md).
local ffi = require 'ffi'
local boot = require 'moongate.runtime.boot'
local guard = require 'moongate.runtime.guard'
local api = require 'moongate.runtime.ffi'

local M = {}

local C, shared = api.C, api.shared
local errors = boot.errors
local limit = guard.limit
local raw_xpcall = guard.raw.xpcall
local create, raw_resume, raw_status = coroutine.create, coroutine.resume, coroutine.status
local raw_yield, running, yieldable = coroutine.yield, coroutine.running, coroutine.isyieldable

-- Addresses inside the shared struct, compared by C; light userdata, which only the runtime has.
local offset = ffi.offsetof('struct mg_ffi_shared', 'exited')
local WAIT = boot.shared
local EXIT = boot.address(offset)

-- coroutines of plugins that a wait passes through
local waiting = setmetatable({}, { __mode = 'k' })

-- ---- waiting --------------------------------------------------------------------------------

local function check_place()
    if shared.loop_thread == 0 then
        error('nothing can wait while modules are loaded; use init_worker or configure', 3)
    elseif not yieldable() then
        error('attempt to yield across C-call boundary: a waiting function was called inside'
            .. ' table.sort, string.gsub, require, an error handler or the like', 3)
    end
end

--- Yields until C or M.wake ends the wait.
-- @treturn number 0 or a negative error code
function M.wait()
    check_place()
    local status = raw_yield(WAIT)
    if shared.unwind ~= 0 then
        error(limit, 0)
    end
    return status
end

--- @treturn boolean whether a waiting function may be called here
function M.can_wait()
    return shared.loop_thread ~= 0 and yieldable()
end

--- Sleeps.
-- @tparam number ms milliseconds, rounded up; 0 gives way to everything else that is ready
function M.sleep(ms)
    check_place()
    if C.mg_ffi_sched_sleep(shared.vm, ms) ~= 0 then
        error('no coroutine that could wait is running', 2)
    end
    M.wait()
end

--- Names the next wait of the running coroutine.
-- @treturn number, number task and ticket, for M.wake
function M.ticket()
    return shared.task, shared.ticket
end

--- Ends a wait in the next loop turn; does nothing when it is over.
function M.wake(task, ticket, status)
    C.mg_ffi_sched_wake(shared.vm, task, ticket, status or 0)
end

--- Leaves the handler for good; called by runtime.exit.
function M.leave()
    if yieldable() then
        raw_yield(EXIT)  -- never resumed: nothing has to be unwound
    end
    shared.unwind = boot.unwind.EXIT
    error(limit, 0)
end

-- ---- timers ----------------------------------------------------------------------------------

local timers = {}  -- id -> { fn =, turn =, count =, every =, ... }

local REFUSED = {
    [errors.FULL] = 'too many pending timers',
    [errors.CANCELLED] = 'process exiting',
    [errors.UNSUPPORTED] = 'no timers while modules are loaded; use init_worker',
}

local function start(timer, ms)
    local id = C.mg_ffi_sched_timer(shared.vm, ms)
    if id < 1 then
        return nil, REFUSED[id] or 'no timer can be started'
    end
    timers[id] = timer
    timer.id = id
    return timer
end

local function make(ms, every, fn, ...)
    if type(ms) ~= 'number' or ms < 0 or ms ~= ms then
        error('delay must be a number of 0 or more', 3)
    elseif type(fn) ~= 'function' then
        error('callback must be a function', 3)
    end
    return start({ fn = fn, turn = shared.turn, every = every, count = select('#', ...), ... }, ms)
end

--- Runs fn(premature, ...) after ms, in a coroutine of its own and without a request.
-- @treturn table|nil handle for M.stop; nil, err when refused
function M.timer(ms, fn, ...)
    return make(ms, nil, fn, ...)
end

--- Runs fn(premature, ...) again and again, each time ms after the last run has ended.
-- @treturn table|nil handle for M.stop; nil, err when refused
function M.every(ms, fn, ...)
    if type(ms) == 'number' and ms <= 0 then
        error('interval must be more than 0', 2)
    end
    return make(ms, ms, fn, ...)
end

--- Stops a timer. A run that has begun goes on to its end.
-- @treturn boolean whether it was pending
function M.stop(timer)
    timer.every = nil
    local id = timer.id
    if id and timers[id] == timer then
        timers[id] = nil
        timer.id = nil
        return C.mg_ffi_sched_timer_stop(shared.vm, id) == 0
    end
    return false
end

--- @treturn number timers pending
function M.pending()
    local n = 0
    for _ in pairs(timers) do
        n = n + 1
    end
    return n
end

local function with_traceback(err)
    return shared.unwind ~= 0 and err or debug.traceback(tostring(err), 2)
end

-- Called by C in a new task.
function M.fire(id, premature)
    local timer = timers[id]
    timers[id] = nil
    timer.id = nil
    shared.turn = timer.turn
    if not timer.every or premature then
        timer.fn(premature, unpack(timer, 1, timer.count))
        return
    end
    local ok, err = raw_xpcall(function()
        timer.fn(premature, unpack(timer, 1, timer.count))
    end, with_traceback)
    if timer.every then -- not stopped meanwhile
        start(timer, timer.every)
    end
    if not ok then
        error(err, 0)  -- C logs it, as that of any task
    end
end

-- ---- the coroutine library as plugins see it
-- -----------------------------------------------------

local resumed

-- Coroutines inside coroutines: each takes some of C's stack, and an error some time for each to
-- get out. As many as standard Lua allows.
local MOST_NESTED = 200
local nested = setmetatable({}, { __mode = 'k' })  -- coroutine -> how many are around it

-- What an inner coroutine yielded or returned. A wait goes upwards; the answer goes down again.
local function pass(co, ok, first, ...)
    if shared.unwind ~= 0 then
        error(limit, 0)
    elseif ok and (first == WAIT or first == EXIT) then
        waiting[co] = true
        return resumed(co, raw_yield(first))
    end
    return ok, first, ...
end

function resumed(co, ...)
    waiting[co] = nil
    return pass(co, raw_resume(co, ...))
end

local library = {
    create = create,
    running = running,
    isyieldable = yieldable,
}

--- As the standard function; waits and limits pass through.
function library.resume(co, ...)
    if waiting[co] then
        return false, 'cannot resume non-suspended coroutine'
    end
    local around = running()
    local depth = (around and nested[around] or 0) + 1
    if depth > MOST_NESTED then
        return false, 'C stack overflow'
    elseif type(co) == 'thread' then
        nested[co] = depth
    end
    return pass(co, raw_resume(co, ...))
end

local function unwrap(ok, ...)
    if not ok then
        error((...), 0)
    end
    return ...
end

--- As the standard function; waits and limits pass through.
function library.wrap(fn)
    local co = create(fn)
    return function(...)
        return unwrap(library.resume(co, ...))
    end
end

--- As the standard function: a coroutine whose wait is passed on is "normal".
function library.status(co)
    return waiting[co] and 'normal' or raw_status(co)
end

local function checked(...)
    if shared.unwind ~= 0 then
        error(limit, 0)
    end
    return ...
end

--- As the standard function; without a coroutine of the plugin's own around it: "run me again in
-- the next loop turn".
function library.yield(...)
    return checked(raw_yield(...))
end

M.library = library

return M
