-- SPDX-License-Identifier: Apache-2.0
-- The header fields that tell clients of their limits (policies.md 2.6). Seconds are rounded up and
-- at least 1. On a denial nothing remains and the reset is the retry time, so Retry-After is never
-- earlier. All of this runs on every answer: it makes no strings and no tables.
local ffi = require 'ffi'
local fields = require 'moongate.plugins.rate-limit.fields'
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
-- @treturn table { triples = list, each = boolean }
function M.sets(names)
    local sets = { triples = {}, each = false }
    for _, name in ipairs(names) do
        sets.triples[#sets.triples + 1] = fields.triples[name]
        sets.each = sets.each or name == 'x-ratelimit-each'
    end
    return sets
end

-- The overflow counter has ten times the room: more than there can be is not shown.
local function remaining_of(limit)
    if limit.answer.ok == 0 then
        return 0
    end
    return math.max(0, math.min(limit.answer.remaining, math.max(limit.quota, limit.burst)))
end

local function set_each(req, list)
    for i = 1, #list do
        local limit = list[i]
        if limit.answer.asked ~= 0 and not limit.shadow then
            M.set_number(req, limit.each.limit, limit.quota)
            M.set_number(req, limit.each.remaining, remaining_of(limit))
        end
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
        M.set_number(req, triple.limit, shown.quota)
        M.set_number(req, triple.remaining, remaining)
        M.set_number(req, triple.reset, reset)
    end
    if sets.each then
        set_each(req, list)
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
end

return M
