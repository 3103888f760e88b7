-- SPDX-License-Identifier: Apache-2.0
-- Which entries of rate-limit are done in C, for requests that are admitted at once
-- (core/script/api_limit_plan.c): those that count in memory, by keys that C can make, at a cost
-- that is known before.
local ffi = require 'ffi'
local api = require 'moongate.runtime.ffi'

local M = {}

local C = api.C
local PHASE = require('moongate.runtime').PHASE

local Plan = {}
Plan.__index = Plan

local MISSING = { ip = C.MG_FFI_MISSING_IP, skip = C.MG_FFI_MISSING_SKIP,
    shared = C.MG_FFI_MISSING_SHARED, deny = C.MG_FFI_MISSING_DENY }

-- Kind of a part of a key -> how C makes it.
local PARTS = {
    ip = { C.MG_FFI_PART_ADDRESS }, const = { C.MG_FFI_PART_CONST },
    header = { C.MG_FFI_PART_HEADER },
    method = { C.MG_FFI_PART_TEXT, C.MG_FFI_METHOD }, path = { C.MG_FFI_PART_TEXT, C.MG_FFI_PATH },
    host = { C.MG_FFI_PART_TEXT, C.MG_FFI_HOST },
    route = { C.MG_FFI_PART_TEXT, C.MG_FFI_ROUTE_ID },
    service = { C.MG_FFI_PART_TEXT, C.MG_FFI_SERVICE_ID },
    ['each route'] = { C.MG_FFI_PART_EACH, C.MG_FFI_ROUTE_ID },
    ['each service'] = { C.MG_FFI_PART_EACH, C.MG_FFI_SERVICE_ID },
}

local function are_known(parts)
    for _, part in ipairs(parts) do
        if not PARTS[part.kind] then
            return false
        end
    end
    return true
end

-- The groups of a policy, and its ban's key as one more.
local function groups_of(policy)
    local groups = { unpack(policy.groups) }
    if policy.ban_parts then
        groups[#groups + 1] = { parts = policy.ban_parts, limits = {}, is_ban = true }
    end
    return groups
end

local function is_possible(engine, sets, groups)
    local policy = engine.policy
    if policy.store or policy.values or engine.marks or engine.is_exempt or not engine.cost
        or engine.true_cost or sets.each or sets.lists then
        return false
    end
    for _, group in ipairs(groups) do
        if not are_known(group.parts) then
            return false
        end
    end
    return true
end

local function add_group(plan, group, is_judged)
    C.mg_ffi_limits_plan_group(plan, group.is_ban and 1 or 0, group.shadow and 1 or 0)
    for _, part in ipairs(group.parts) do
        local kind, name = PARTS[part.kind], part.name or ''
        C.mg_ffi_limits_plan_part(plan, kind[1], kind[2] or 0, name, #name, part.counter or -1)
    end
    for _, limit in ipairs(group.limits) do
        C.mg_ffi_limits_plan_limit(plan, limit.index, is_judged[limit] and 1 or 0)
    end
end

--- The plan of an entry.
-- @tparam table engine of engine.lua
-- @treturn table|nil to be kept as long as its plans
function M.new(engine)
    local policy, sets = engine.policy, engine.sets
    local groups = groups_of(policy)
    if not is_possible(engine, sets, groups) then
        return nil
    end
    local plan = ffi.gc(C.mg_ffi_limits_plan(policy.set,
        ffi.new('struct mg_ffi_limits_plan_form', { cost = engine.cost,
            ipv4_bits = policy.prefixes.ipv4, ipv6_bits = policy.prefixes.ipv6,
            missing = MISSING[policy.missing], enforces = policy.enforces and 1 or 0 })),
        C.mg_ffi_limits_plan_free)
    local is_judged = {}
    for _, limit in ipairs(policy.judged) do
        is_judged[limit] = true
    end
    for _, group in ipairs(groups) do
        add_group(plan, group, is_judged)
    end
    for _, triple in ipairs(sets.triples) do
        C.mg_ffi_limits_plan_triple(plan, triple.limit, triple.remaining, triple.reset)
    end
    return setmetatable({ plan = plan }, Plan)
end

--- @tparam string phase access or header_filter
-- @treturn cdata
function Plan:of(phase)
    return C.mg_ffi_limits_plan_of(self.plan, PHASE[phase])
end

return M
