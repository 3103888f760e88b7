-- SPDX-License-Identifier: Apache-2.0
-- What a client sees of a decision: header fields on every answer, and the denial itself
-- (policies.md 2.6). Seconds are rounded up and at least 1. On a denial nothing remains and the
-- reset is the retry time, so Retry-After is never earlier.
local cjson = require 'cjson'
local ffi = require 'ffi'
local base = require 'moongate.pdk.base'
local fields = require 'moongate.plugins.rate-limit.fields'
local C = require('moongate.runtime.ffi').C

local M = {}

local PLAIN, JSON = 'text/plain; charset=utf-8', 'application/json; charset=utf-8'

local view = ffi.new('struct mg_ffi_str')

local function set_number(req, name, number)
    C.mg_ffi_limits_field(req, name, #name, number)
end

local function seconds(ms)
    return math.max(1, math.ceil(ms / 1000))
end

-- The overflow counter has ten times the room: more than there can be is not shown.
local function remaining_of(limit)
    if limit.answer.ok == 0 then
        return 0
    end
    return math.max(0, math.min(limit.answer.remaining, math.max(limit.quota, limit.burst)))
end

local function set_triple(req, triple, limit, remaining, reset)
    set_number(req, triple.limit, limit.quota)
    set_number(req, triple.remaining, remaining)
    set_number(req, triple.reset, reset)
end

local function set_each(req, list)
    for i = 1, #list do
        local limit = list[i]
        if limit.answer.asked ~= 0 and not limit.shadow then
            set_number(req, limit.each.limit, limit.quota)
            set_number(req, limit.each.remaining, remaining_of(limit))
        end
    end
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

--- Puts the fields on the answer, whoever will make it.
-- @tparam cdata req
-- @tparam table sets of M.sets
-- @tparam table list the entry's limits
-- @tparam table shown the one that the triples are about
function M.set_fields(req, sets, list, shown)
    local answer = shown.answer
    local reset = seconds(answer.ok == 0 and answer.retry_ms or answer.reset_ms)
    local remaining = remaining_of(shown)
    for i = 1, #sets.triples do
        set_triple(req, sets.triples[i], shown, remaining, reset)
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

-- Seconds to wait, spread so that not all clients come back at once.
local function retry_after(conf, retry_ms)
    local jitter = conf.retry_after_jitter
    local most = math.min(retry_ms * jitter.percent / 100, jitter.max)
    return seconds(retry_ms + math.random() * most)
end

local function violated(list)
    local names = {}
    for i = 1, #list do
        local limit = list[i]
        if limit.answer.asked ~= 0 and limit.answer.ok == 0 and not limit.shadow then
            names[#names + 1] = '"' .. limit.name .. '"'
        end
    end
    return table.concat(names, ',')
end

local function problem(req, kind, status, more)
    local what = fields.problems[kind]
    return ('{"type":%s,"title":%s,"status":%d%s,"request_id":%s}'):format(
        cjson.encode(what.type):gsub('\\/', '/'), cjson.encode(what.title), status, more,
        cjson.encode(base.text(req, C.MG_FFI_REQUEST_ID) or ''))
end

local function body_of(conf, req, list, wait)
    local body = conf.body
    if type(body) == 'string' then
        return body, PLAIN
    elseif body ~= nil then
        return cjson.encode(body), JSON
    end
    local more = (',"%s":[%s],"%s":%d'):format(fields.violated_policies, violated(list),
        fields.retry_member, wait)
    return problem(req, 'exceeded', conf.status, more), fields.problem_content_type
end

--- The answer to a request that is over a limit.
-- @tparam table conf
-- @tparam cdata req
-- @tparam table list the entry's limits
-- @tparam table shown the limit to wait for
-- @treturn string body
-- @treturn table headers
function M.denial(conf, req, list, shown)
    local wait = retry_after(conf, shown.answer.retry_ms)
    local body, kind = body_of(conf, req, list, wait)
    return body, {
        ['Content-Type'] = conf.content_type or kind, ['Cache-Control'] = 'no-store',
        [fields.retry_after] = ('%d'):format(wait),
    }
end

--- The answer to a request without what its key needs.
-- @tparam cdata req
-- @treturn string body
-- @treturn table headers
function M.without_key(req)
    return problem(req, 'key_missing', 403, ''), {
        ['Content-Type'] = fields.problem_content_type, ['Cache-Control'] = 'no-store',
    }
end

return M
