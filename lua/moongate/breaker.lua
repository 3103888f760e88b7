-- SPDX-License-Identifier: Apache-2.0
-- Circuit breakers, whose state all workers share (core/model/breaker.h). For the plugin
-- circuit-breaker.
--
--     local breaker, err = breaker.open('upstream:orders', rule)
--     if breaker:ask() or breaker.answer.probe == 1 then ... end    -- in access
--     breaker:result(breaker.SUCCESS)                               -- when the answer is known
--     if breaker.answer.changed == 1 then ... end                   -- that call made a transition
--
-- breaker.answer is a permanent struct mg_ffi_breaker_answer: what the last ask or result said.
-- None of these waits, unless a key in Lua does.
local ffi = require 'ffi'
local base = require 'moongate.pdk.base'
local key = require 'moongate.key'
local key_parts = require 'moongate.key_parts'
local C = require('moongate.runtime.ffi').C
local PHASE = require('moongate.runtime').PHASE
local shared = require('moongate.runtime.ffi').shared

local M = { SUCCESS = 0, FAILURE = 1, NETWORK = 2, LEFT = 3, NONE = 4, STATES = 6 }

-- The running request alone: base.request gives its object as well.
local function request()
    local req = base.request(base.REQUEST)
    return req
end

local methods = {}
local meta = { __index = methods }

local function rule_of(settings)
    local rule = ffi.new('struct mg_ffi_breaker_rule')
    for name, value in pairs(settings) do
        rule[name] = value
    end
    return rule
end

--- The breaker of that name, made if there is none.
-- @tparam string name at most 95 bytes; breakers of the same name are one
-- @tparam table settings fields of struct mg_ffi_breaker_rule
-- @treturn table|nil
-- @treturn string|nil error: no shared memory, no room, a number out of range
function M.open(name, settings)
    local err = ffi.new('int[1]')
    local handle = C.mg_ffi_breaker_new(shared.vm, rule_of(settings), name, #name, err)
    if handle == nil then
        return nil, ('breaker %s: %s'):format(name, ffi.string(C.mg_ffi_err_text(err[0])))
    end
    return setmetatable({
        name = name, handle = ffi.gc(handle, C.mg_ffi_breaker_free),
        answer = C.mg_ffi_breaker_answer(handle),
    }, meta)
end

--- Keys of requests, for a breaker that has one for each key.
-- @tparam table words checked, as of rate-limit's option `key`
-- @treturn table|nil nil: there is no shared memory
function M.keys(words)
    local set = C.mg_ffi_limits_new(shared.vm)
    return set ~= nil and { set = ffi.gc(set, C.mg_ffi_limits_free),
        parts = key.prepare(key_parts.list(words)) } or nil
end

-- Values in Lua may wait, and others build their keys meanwhile: so all are computed first.
local function compute(parts)
    local values
    for i = 1, #parts do
        if parts[i].expression then
            values = values or {}
            values[i] = key.compute(parts[i])
        end
    end
    return values
end

local PREFIXES = { ipv4 = 32, ipv6 = 64 } -- bits of a client's address

-- Requests that lack a part are one key.
local function build(keys)
    local values = compute(keys.parts)
    if values then
        for i = 1, #keys.parts do
            keys.parts[i].value = values[i]
        end
    end
    local req, object = base.request(base.REQUEST)
    key.build(keys.set, req, object, keys.parts, PREFIXES, 'shared')
end

local plans = {}
local plan_meta = { __index = plans }

--- What is done for most requests without Lua (core/script/api_breaker_plan.c).
-- @tparam table statuses status -> true where it is a failure
-- @treturn table
function M.plan(statuses)
    local plan = ffi.gc(C.mg_ffi_breaker_plan(shared.vm), C.mg_ffi_breaker_plan_free)
    for status = 100, 599 do
        if statuses[status] then
            C.mg_ffi_breaker_plan_fails(plan, status)
        end
    end
    return setmetatable({ plan = plan }, plan_meta)
end

--- Requests of the running one's route meet this breaker from now on.
-- @tparam table|false breaker false: none
-- @tparam table|nil notes by state: the access log's of those that it admits
function plans:meet(breaker, notes)
    local req = request()
    C.mg_ffi_breaker_plan_meet(self.plan, req, breaker and breaker.handle or nil)
    for state, json in pairs(notes or {}) do
        C.mg_ffi_breaker_plan_note(self.plan, req, state, json, #json)
    end
end

--- The plan of a phase; keep this table as long as it.
-- @tparam string phase access, header_filter or log
-- @treturn cdata
function plans:of(phase)
    return C.mg_ffi_breaker_plan_of(self.plan, PHASE[phase])
end

--- May the running request go to the upstream? A probe's slot is given back when the request ends.
-- @tparam[opt] table keys of M.keys: the breaker of the request's key is asked. May wait.
-- @treturn boolean
function methods:ask(keys)
    if keys then
        build(keys)
    end
    return C.mg_ffi_breaker_ask(self.handle, request(), keys and keys.set or nil) == 1
end

--- Was the running request admitted, and has no result yet?
-- @treturn boolean
function M.waits()
    return C.mg_ffi_breaker_waits(request()) == 1
end

--- The result of the running request. The first one counts; with `again` a further one does.
-- @tparam number result SUCCESS, FAILURE, NETWORK, LEFT (the client, before the head) or NONE
-- @tparam[opt=false] boolean again
-- @treturn boolean whether it counted: not when the request was refused or never asked
function methods:result(result, again)
    return C.mg_ffi_breaker_result(self.handle, request(), result, again and 1 or 0) == 1
end

--- The running request is over: was it slow until its end? Only where that is asked for.
-- @treturn boolean
function methods:finish()
    return C.mg_ffi_breaker_end(self.handle, request()) == 1
end

--- Has somebody changed the state by hand? One worker is told of each change, in breaker.answer.
-- @treturn boolean
function methods:heard()
    return C.mg_ffi_breaker_heard(self.handle) == 1
end

--- @tparam number state of breaker.answer
-- @treturn string closed, open, half_open, ramp, forced_open, forced_closed
function M.state_name(state)
    return ffi.string(C.mg_ffi_breaker_state_name(state))
end

--- @tparam number reason of breaker.answer
-- @treturn string as in the error log
function M.reason_name(reason)
    return ffi.string(C.mg_ffi_breaker_reason_name(reason))
end

--- Number of an outcome word, to compare with M.outcome().
-- @tparam string word
-- @treturn number -1: there is no such word
function M.outcome_of(word)
    return C.mg_ffi_outcome_of(word, #word)
end

--- How the running request ends, or `ok` while it has not.
-- @treturn number see M.outcome_of
function M.outcome()
    return C.mg_ffi_req_outcome(request())
end

--- Says why the request ends, before response.exit.
-- @tparam number outcome see M.outcome_of
function M.set_outcome(outcome)
    C.mg_ffi_req_set_outcome(request(), outcome)
end

--- Status of the upstream's answer, whatever plugins made of it.
-- @treturn number 0: it did not answer
function M.upstream_status()
    return C.mg_ffi_req_int(request(), C.MG_FFI_UP_STATUS)
end

--- Milliseconds from the first byte to the upstream until its response head.
-- @treturn number -1: there was none
function M.upstream_ms()
    return C.mg_ffi_req_measure(request(), C.MG_FFI_UPSTREAM_MS)
end

--- Cuts the exchange when the upstream's head is not there in time; the request then ends with 503.
-- @tparam number ms from the start of the exchange
-- @tparam number outcome see M.outcome_of
function M.limit_head(ms, outcome)
    C.mg_ffi_up_head_timeout(request(), ms, outcome)
end

--- Leaves what the access log shows as `breaker`.
-- @tparam string json an object
function M.note(json)
    C.mg_ffi_req_note_breaker(request(), json, #json)
end

return M
