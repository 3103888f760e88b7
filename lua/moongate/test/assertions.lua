-- SPDX-License-Identifier: Apache-2.0
-- Assertions about answers and about what the upstream got, for luassert:
--
--     assert.response(res).has.status(200)
--     local value = assert.response(res).has.header('Content-Type')
--     assert.request(res).has.queryparam('page')
local cjson = require 'cjson'
local luassert = require 'luassert'
local message = require 'moongate.test.message'
local say = require 'say'

local M = {}

local SUBJECT = 'moongate_subject'

-- ---- what is looked at -------------------------------------------------------------------------

local function set_subject(state, kind, value)
    rawset(state, SUBJECT, { kind = kind, value = value })
    return state
end

local function on_response(state, arguments)
    local value = arguments[1]
    if type(value) ~= 'table' or type(value.headers) ~= 'table' then
        error('assert.response() wants an answer of the gateway, got ' .. tostring(value), 3)
    end
    return set_subject(state, 'response', value)
end

local function on_request(state, arguments)
    local value = arguments[1]
    if type(value) ~= 'table' then
        error('assert.request() wants an answer or a request, got ' .. tostring(value), 3)
    end
    local request = value.method and value or value.upstream
    if not request then
        error(('assert.request(): no request reached the upstream (status %s, outcome %s)')
            :format(tostring(value.status), tostring(value.outcome)), 3)
    end
    return set_subject(state, 'request', request)
end

-- ---- results -----------------------------------------------------------------------------------

-- The sentence becomes the failure's text, for both directions.
local function tell(arguments, ...)
    arguments[1], arguments.n = (...):format(select(2, ...)), 1
    arguments.nofmt = { true }
end

local function subject_of(state, name, kind)
    local subject = rawget(state, SUBJECT)
    if not subject then
        error(('%s() needs assert.response(r) or assert.request(r) before it'):format(name), 4)
    elseif kind and subject.kind ~= kind then
        error(('%s() is for assert.%s(r)'):format(name, kind), 4)
    end
    return subject.value, subject.kind
end

local function names_of(map)
    local names = {}
    for name in pairs(map) do
        names[#names + 1] = tostring(name)
    end
    table.sort(names)
    return #names > 0 and table.concat(names, ', ') or 'none'
end

local function excerpt(text)
    text = text or ''
    return #text > 500 and text:sub(1, 500) .. ' …' or text
end

-- ---- assertions --------------------------------------------------------------------------------

local function has_status(state, arguments)
    local response = subject_of(state, 'status', 'response')
    local wanted = arguments[1]
    tell(arguments, 'status: wanted %s, got %s (outcome %s), body: %s', tostring(wanted),
        tostring(response.status), tostring(response.outcome), excerpt(response.body))
    return response.status == wanted, { response.body }
end

local function has_header(state, arguments)
    local value, kind = subject_of(state, 'header')
    local name = arguments[1]
    local found = value.headers[name:lower()]
    tell(arguments, '%s header %s: %s; there are: %s', kind, name,
        found and 'is ' .. tostring(found) or 'is not there', names_of(value.headers))
    return found ~= nil, { found }
end

local function has_jsonbody(state, arguments)
    local value, kind = subject_of(state, 'jsonbody')
    local ok, json = pcall(cjson.decode, value.body)
    tell(arguments, '%s body: %s JSON: %s', kind, ok and 'is' or 'is no', excerpt(value.body))
    return ok, { ok and json or nil }
end

local function has_param(name, where, args_of)
    return function(state, arguments)
        local request = subject_of(state, name, 'request')
        local args = args_of(request)
        local wanted = arguments[1]
        tell(arguments, '%s parameter %s: %s; there are: %s', where, tostring(wanted),
            args[wanted] ~= nil and 'is ' .. tostring(args[wanted]) or 'is not there',
            names_of(args))
        return args[wanted] ~= nil, { args[wanted] }
    end
end

local function query_of(request)
    return message.decode_args(request.query)
end

local function form_of(request)
    return message.decode_args(request.body)
end

-- assert.res_status(n, r) gives the body.
local function res_status(_, arguments)
    local wanted, response = arguments[1], arguments[2]
    if type(response) ~= 'table' then
        error('assert.res_status(n, r) wants an answer, got ' .. tostring(response), 3)
    end
    tell(arguments, 'status: wanted %s, got %s (outcome %s), body: %s', tostring(wanted),
        tostring(response.status), tostring(response.outcome), excerpt(response.body))
    return response.status == wanted, { response.body }
end

--- Registers them with luassert; again and again is harmless.
function M.install()
    say:set('assertion.moongate', '%s')
    local function assertion(name, fn)
        luassert:register('assertion', name, fn, 'assertion.moongate', 'assertion.moongate')
    end
    luassert:register('modifier', 'response', on_response)
    luassert:register('modifier', 'request', on_request)
    assertion('status', has_status)
    assertion('header', has_header)
    assertion('jsonbody', has_jsonbody)
    assertion('queryparam', has_param('queryparam', 'query', query_of))
    assertion('formparam', has_param('formparam', 'form', form_of))
    assertion('res_status', res_status)
end

return M
