-- SPDX-License-Identifier: Apache-2.0
-- The careful way through a chain, and the handlers that run when a generation starts. Handlers are
-- called without pcall: C sees the error, says whose turn it was, and comes back with the next
-- place when the plugin's on_error is open (core/script/hook.c).
local boot = require 'moongate.runtime.boot'
local guard = require 'moongate.runtime.guard'
local plans = require 'moongate.runtime.plans'
local runtime = require 'moongate.runtime'

local M = {}

local shared = runtime.shared
local RUN, FAIL = 0, 2   -- of boot.blocked
local state              -- what chain.build returned
local plugins = {}       -- in the order in which they start

--- Called by load.lua.
function M.use(built, in_order)
    state, plugins = built, in_order
end

local function call(phase, place, fn, conf, planned)
    local turn = state.turn_of[conf]
    shared.turn = turn
    if state.took and phase ~= 'log' then
        state.took(shared.request, turn)
    end
    local blocked = boot.blocked(turn)
    if blocked == FAIL then
        shared.unwind = boot.unwind.QUARANTINE
        error(guard.limit, 0)
    elseif blocked == RUN then
        fn(place.handler, conf, planned)
        boot.passed(turn)
    end
end

local function skip_for_this_request(place)
    local object = runtime.request()
    object.skipped = object.skipped or {}
    object.skipped[place] = true
end

-- The configuration of a place; in access a dynamic one is chosen now, at its turn.
local function conf_at(phase, base, place, confs, object)
    if base.dynamic and phase == 'access' then
        local conf = base[place] or base.options[place] and state.choose(base, place, object)
        confs[place] = conf
        return conf
    end
    return confs[place]
end

--- Runs the handlers of a phase from a place on, one by one.
-- @tparam string phase
-- @tparam table base the chain
-- @tparam number from place
-- @tparam boolean failed the place before has failed
-- @tparam boolean planned the plan of that place has decided; its handler does the rest
function M.slow(phase, base, from, failed, planned)
    local confs, object = base, nil
    if base.dynamic then
        local pick = phase == 'access' and state.start or state.pick
        confs, object = pick(base)
    end
    if failed and phase == 'body_filter' then
        skip_for_this_request(from - 1)
    end
    local skipped = phase == 'body_filter' and runtime.request().skipped
    for place = from, #base.places do
        local at = base.places[place]
        local conf = conf_at(phase, base, place, confs, object)
        local fn = at.handler[phase]
        if fn and conf and not (skipped and skipped[place]) then
            call(phase, at, fn, conf, planned and place == from or nil)
        end
    end
end

--- After an exit or a failure in access: the places that did not run are collected all the same.
function M.collect(base, from)
    local object = runtime.request()
    if object.picked == base then
        state.collect(base, from, object)
    end
end

--- Runs init_worker or configure of a plugin.
-- @tparam string phase
-- @tparam number index
function M.configure(phase, index)
    local plugin = plugins[index]
    local fn = plugin.handler[phase]
    shared.turn = plugin.turn
    if phase == 'init_worker' then
        return fn and fn(plugin.handler)
    elseif fn then
        fn(plugin.handler, #plugin.configs > 0 and plugin.configs or nil)
    end
    plans.ask(plugin)
end

return M
