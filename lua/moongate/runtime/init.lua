-- SPDX-License-Identifier: Apache-2.0
-- The runtime: what the modules that ship with the gateway (PDK, ngx, HTTP client, policies) stand
-- on. Plugins never see it.
--
--     local runtime = require 'moongate.runtime'
--     local sched, ffi, C = runtime.sched, require 'ffi', require('moongate.runtime.ffi').C
--
-- WHICH REQUEST. C notes in one permanent struct (runtime.shared, see core/script/ffi.h) what runs
-- now.
--     local object = runtime.request()     -- nil outside a request; ~5 ns, compiled
--   object.cdata     the permanent `struct mg_req *` of its pool place: pass it to mg_ffi_*
-- functions
--   object.number    changes with each request; keep {object, number} to notice that one has ended
--   object.consumer, object.credential     set by client.authenticate; chains read consumer.id
--   object.ctx       nil, or the table with everything else that Lua keeps for this request; made
-- by
--                    runtime.ctx(object), dropped when the request ends. Keys are yours: 'shared',
--                    'plugin', 'ngx', 'body'. (Only runtime.ctx makes it: it tells C.)
--   Objects are reused: keep none beyond a wait without comparing number.
--     runtime.phase()      'access', 'timer', ...; number: runtime.shared.phase ==
-- runtime.PHASE.access
--     runtime.plugin()     name of the plugin whose turn it is, or nil
--     runtime.conf()       its config table in this request, or nil
--
-- ENDING A REQUEST. response.exit fills the answer through its own FFI function and then calls
--     return runtime.exit()
--   In rewrite, access and response it does not return, also from inside pcall; in header_filter it
--   returns nothing. In other phases it raises.
--
-- WAITING. Only moongate.runtime.sched yields. A C function starts something for the running
-- coroutine (mg_sched_begin in core/script/sched.h) and returns 0; then
--     local status = sched.wait()          -- what C's mg_sched_wake gave: 0 or a negative error
-- code
--   sched.sleep(ms)                        raises where waiting is impossible
--   sched.can_wait()                       false while modules load
--   sched.ticket() -> task, ticket         names the next wait of the running coroutine; hand it to
--   sched.wake(task, ticket, status)       whoever will end it: the waiter goes on in the next loop
-- turn
--   sched.timer(ms, fn, ...) -> id         fn(premature, ...) in a coroutine of its own, no request
--   sched.every(ms, fn, ...) -> id         again and again, the next one ms after the last has
-- ended
--   sched.stop(id)
--   Timers belong to the plugin that made them (runtime.plugin() works inside). nil, err when
-- refused:
--   'process exiting', 'too many pending timers'.
--
-- GLOBALS. Before any plugin loads, bootstrap requires 'moongate.pdk' (its result becomes the
-- globals moongate and kong) and 'moongate.ngx' (becomes ngx).
--
-- THE GENERATION. runtime.generation (nil until it is loaded):
--   number, config   what moongate.config.load returned
--   plugins          name -> { name =, handler =, schema =, file =, index = }
-- Route and service entities: runtime.generation.config, by mg_route.index + 1.
local api = require 'moongate.runtime.ffi'
local boot = require 'moongate.runtime.boot'
local guard = require 'moongate.runtime.guard'
local sched = require 'moongate.runtime.sched'

local M = {}

local shared = api.shared

M.shared = shared
M.sched = sched
M.PHASE = boot.phases
M.errors = boot.errors
M.version = boot.version
M.worker, M.workers = boot.worker, boot.workers

--- The generation, once it is loaded.
M.generation = nil

local phase_names = {}
for name, number in pairs(boot.phases) do
    phase_names[number] = name
end

local slots = {}   -- pool place + 1 -> object
local bases = {}   -- chain + 1 -> base (moongate.runtime.chain)
local turns = {}   -- turn -> { plugin = name, index = plugin index }

-- Drops what belongs to one request.
local function clear(object)
    object.consumer, object.credential, object.ctx = nil, nil, nil
    object.picked, object.skipped = nil, nil
end

-- Makes the object of a place ready for the request that is there now.
local function renew(slot, object)
    if not object then
        -- All keys from the start: a key that is set to nil keeps its place, so that a request
        -- later costs a few stores and never a new hash part.
        object = { cdata = false, number = -1, consumer = false, credential = false, ctx = false,
            picked = false, skipped = false, confs = {} }
        slots[slot + 1] = object
    end
    if object.cdata ~= shared.request then
        object.cdata = shared.request
    end
    object.number = shared.number
    clear(object)
    return object
end

--- The running request.
-- @treturn table|nil its object, see above
function M.request()
    local slot = shared.slot
    if slot < 0 then
        return nil
    end
    local object = slots[slot + 1]
    if object and object.number == shared.number then
        return object
    end
    return renew(slot, object)
end

--- The table of what Lua keeps for a request.
-- @tparam table object of M.request
-- @treturn table
function M.ctx(object)
    local ctx = object.ctx
    if not ctx then
        ctx = {}
        object.ctx = ctx
        shared.dirty = 1
    end
    return ctx
end

--- @treturn string|nil name of the running phase; nil while modules load
function M.phase()
    return phase_names[shared.phase]
end

--- @treturn string|nil name of the plugin whose turn it is
function M.plugin()
    local turn = turns[shared.turn]
    return turn and turn.plugin
end

--- @treturn table|nil the configuration with which the running handler was called
function M.conf()
    local turn = turns[shared.turn]
    local base = turn and shared.slot >= 0 and bases[shared.chain + 1]
    if not base then
        return nil
    end
    local place = base.place_of[turn.index]
    if place and base.dynamic then
        local object = M.request()
        return object.picked == base and object.confs[place] or nil
    end
    return place and base[place] or nil
end

--- What the functions of a chain get (moongate.runtime.chain).
-- @tparam number chain index, from 0
function M.base(chain)
    return bases[chain + 1]
end

--- Leaves the handler after the answer was made; see above.
function M.exit()
    local phase = phase_names[shared.phase]
    shared.exited = shared.turn
    if phase == 'rewrite' or phase == 'access' or phase == 'response' then
        sched.leave()
    elseif phase ~= 'header_filter' then
        shared.exited = 0
        error('a request cannot be ended in phase ' .. tostring(phase), 2)
    end
end

--- Called by bootstrap with what was built.
function M.set_chains(description)
    for i, chain in ipairs(description.chains) do
        bases[i] = chain.confs
    end
    for i, turn in ipairs(description.turns) do
        turns[i] = turn
    end
end

--- Called at a request's end when it had a ctx.
function M.forget(slot)
    local object = slots[slot + 1]
    if object then
        clear(object)
        object.number = -1
    end
end

M.limit = guard.limit

return M
