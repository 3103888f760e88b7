-- SPDX-License-Identifier: Apache-2.0
-- The header fields that tell clients of their limits (README.md). Seconds are rounded up and
-- at least 1. On a denial nothing remains and the reset is the retry time, so Retry-After is never
-- earlier. The triples are on every answer: they make no strings and no tables.
local ffi = require 'ffi'
local fields = require 'moongate.plugins.rate-limit.fields'
local kit = require 'moongate.pdk.fields'
local C = require('moongate.runtime.ffi').C

local M = {}

local view = ffi.new('struct mg_ffi_str')

--- Sets a field of the answer to a whole number.
function M.set_number(req, name, number)
    C.mg_ffi_limits_field(req, name, #name, number)
end

--- Sets a field of the answer to a text.
function M.set_text(req, name, value)
    C.mg_ffi_response_field(req, C.MG_FFI_SET, name, #name, value, #value)
end

--- @tparam number ms
-- @treturn number seconds, rounded up, at least 1
function M.seconds(ms)
    return math.max(1, math.ceil(ms / 1000))
end

--- Which fields the option `headers` asks for.
-- @tparam table names
-- @treturn table { triples = list, each = boolean, lists = boolean }
function M.sets(names)
    local sets = { triples = {}, each = false, lists = false }
    for _, name in ipairs(names) do
        sets.triples[#sets.triples + 1] = fields.triples[name]
        sets.each = sets.each or name == 'x-ratelimit-each'
        sets.lists = sets.lists or name == 'ietf-11'
    end
    return sets
end

--- The quota that is in force for the request.
-- @tparam table limit
-- @treturn number
function M.quota(limit)
    local given = limit.given
    return given and given >= 0 and given or limit.quota
end

-- The overflow counter has ten times the room: more than there can be is not shown.
local function remaining_of(limit)
    if limit.answer.ok == 0 then
        return 0
    end
    return math.max(0, math.min(limit.answer.remaining, math.max(M.quota(limit), limit.burst)))
end

local function set_each(req, list)
    for i = 1, #list do
        local limit = list[i]
        if limit.answer.asked ~= 0 and not limit.shadow then
            M.set_number(req, limit.each.limit, M.quota(limit))
            M.set_number(req, limit.each.remaining, remaining_of(limit))
        end
    end
end

-- Units that may be told: at most ten times the even rate over the time, so that a client that
-- trusts them does not spend all at once.
local function told_remaining(limit, remaining, seconds)
    if limit.window == 0 or remaining == 0 then
        return remaining
    end
    local even = M.quota(limit) * seconds * 1000 / limit.window
    return math.min(remaining, math.max(1, math.floor(10 * even)))
end

-- The two items of a limit (fields.lua, ietf-11).
local function items_of(limit)
    local names = fields['ietf-11']
    local quota, answer = M.quota(limit), limit.answer
    local remaining = remaining_of(limit)
    if limit.algorithm == 'concurrency' then
        return ('"%s";%s=%d;%s="%s"'):format(limit.name, names.quota, quota, names.unit,
            names.concurrency), ('"%s";%s=%d'):format(limit.name, names.remaining, remaining)
    end
    local window = math.max(1, math.ceil(limit.window / 1000))
    local seconds = M.seconds(answer.ok == 0 and answer.retry_ms or answer.reset_ms)
    if limit.calendar ~= 0 then
        window = M.seconds(answer.reset_ms)
    elseif limit.window < 1000 then
        quota = math.max(1, math.floor(quota * 1000 / limit.window))
    end
    return ('"%s";%s=%d;%s=%d'):format(limit.name, names.quota, quota, names.window, window),
        ('"%s";%s=%d;%s=%d'):format(limit.name, names.remaining,
            told_remaining(limit, remaining, seconds), names.reset, seconds)
end

-- The lists of the draft: every limit, in the order of the configuration.
local function set_lists(req, list)
    local policies, states
    for i = 1, #list do
        local limit = list[i]
        if limit.answer.asked ~= 0 and not limit.shadow then
            local policy, state = items_of(limit)
            policies = policies and policies .. ', ' .. policy or policy
            states = states and states .. ', ' .. state or state
        end
    end
    if policies then
        M.set_text(req, fields['ietf-11'].policy, policies)
        M.set_text(req, fields['ietf-11'].limit, states)
    end
end

--- Puts the fields on the answer, whoever will make it.
-- @tparam cdata req
-- @tparam table sets of M.sets
-- @tparam table list the entry's limits
-- @tparam table shown the one that the triples are about
function M.set(req, sets, list, shown)
    local answer = shown.answer
    local reset = M.seconds(answer.ok == 0 and answer.retry_ms or answer.reset_ms)
    local remaining = remaining_of(shown)
    for i = 1, #sets.triples do
        local triple = sets.triples[i]
        M.set_number(req, triple.limit, M.quota(shown))
        M.set_number(req, triple.remaining, remaining)
        M.set_number(req, triple.reset, reset)
    end
    if sets.each then
        set_each(req, list)
    end
    if sets.lists then
        set_lists(req, list)
    end
end

-- A whole number in a field, or nil.
local function number_in(req, table_of_fields, name)
    if C.mg_ffi_fields_find(req, table_of_fields, name, #name, 0, view) == 0 then
        return nil
    end
    local text = ffi.string(view.ptr, view.len)
    return text:match('^%d+$') and tonumber(text)
end

local function restore(req, name)
    if C.mg_ffi_fields_find(req, C.MG_FFI_UPSTREAM, name, #name, 0, view) == 0 then
        C.mg_ffi_response_field(req, C.MG_FFI_CLEAR, name, #name, '', 0)
    else
        C.mg_ffi_response_field(req, C.MG_FFI_SET, name, #name, view.ptr, view.len)
    end
end

-- The upstream's items come first, ours are appended.
local function append_to_upstream(req, name)
    local theirs = kit.joined(req, C.MG_FFI_UPSTREAM, name)
    local ours = theirs and kit.first(req, C.MG_FFI_RESPONSE, name)
    if ours then
        M.set_text(req, name, theirs .. ', ' .. ours)
    end
end

--- Gives the upstream's own triple back where less remains there than here.
-- @tparam cdata req
-- @tparam table sets of M.sets
function M.prefer_upstream(req, sets)
    for i = 1, #sets.triples do
        local triple = sets.triples[i]
        local theirs = number_in(req, C.MG_FFI_UPSTREAM, triple.remaining)
        local ours = theirs and number_in(req, C.MG_FFI_RESPONSE, triple.remaining)
        if ours and theirs < ours then
            restore(req, triple.limit)
            restore(req, triple.remaining)
            restore(req, triple.reset)
        end
    end
    if sets.lists then
        append_to_upstream(req, fields['ietf-11'].policy)
        append_to_upstream(req, fields['ietf-11'].limit)
    end
end

return M
