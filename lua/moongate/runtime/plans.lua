-- SPDX-License-Identifier: Apache-2.0
-- Plans: what hooks do in C (docs/plugin-reference.md, "Plans"). After a plugin's `configure` its
-- configurations are asked for plans, and each chain where they stand learns which hooks at the
-- front of a phase have one, and which function runs the hooks behind them. The chains' tables keep
-- the plans alive. Where a consumer decides which configuration is in force, there are none.
local boot = require 'moongate.runtime.boot'
local api = require 'moongate.runtime.ffi'

local M = {}

local C, shared = api.C, api.shared
local PHASES = { 'access', 'header_filter', 'log' } -- the others see parts of bodies, or no route

local chains = {} -- base of each
local rest        -- function (base, phase, from): what runs from that place on, or nil

--- Called by load.lua.
-- @tparam table description of moongate.runtime.chain
-- @tparam function|nil rest_of see above; nil: nothing is planned
function M.use(description, rest_of)
    chains, rest = {}, rest_of
    for i, chain in ipairs(description.chains) do
        chains[i] = chain.confs
    end
end

-- The places at the front of a phase that have plans, and the first one behind them.
local function front(base, phase)
    local places = {}
    for place, at in ipairs(base.places) do
        if at.handler[phase] then
            if not base.plans[phase][place] then
                return places, place
            end
            places[#places + 1] = place
        end
    end
    return places, nil
end

local function tell(index, base, phase)
    local places, behind = front(base, phase)
    C.mg_ffi_plan_clear(shared.vm, index, boot.phases[phase])
    for _, place in ipairs(places) do
        C.mg_ffi_plan_step(shared.vm, index, boot.phases[phase], place - 1,
            base.plans[phase][place])
    end
    boot.rest(index, boot.phases[phase], behind and rest(base, phase, behind))
end

-- Asks for the plans of one place.
local function ask(index, base, place, handler)
    base.plans = base.plans or { access = {}, header_filter = {}, log = {} }
    for _, phase in ipairs(PHASES) do
        local plan = handler[phase] and handler:PLAN(phase, base[place])
        if plan then
            base.plans[phase][place] = plan
            tell(index, base, phase)
        end
    end
end

--- Asks a plugin that has been configured for its plans.
-- @tparam table plugin of the generation
function M.ask(plugin)
    if not rest or not plugin.handler.PLAN then
        return
    end
    for i, base in ipairs(chains) do
        local place = base.place_of[plugin.index]
        if place and not base.dynamic then
            ask(i - 1, base, place, plugin.handler)
        end
    end
end

return M
