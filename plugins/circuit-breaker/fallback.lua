-- SPDX-License-Identifier: Apache-2.0
-- What a client gets instead of the upstream's answer.
local moongate, ngx = moongate, ngx
local cjson = require 'cjson'

local M = {}

-- RFC 9457; the type is the one of draft-ietf-httpapi-ratelimit-headers.
local PROBLEM = '{"type":"https://iana.org/assignments/http-problem-types'
    .. '#temporary-reduced-capacity",'
    .. '"title":"Request cannot be satisfied due to temporary server capacity constraints",'
    .. '"status":503,"breaker":%s,"request_id":%s,'
    .. '"message":"The upstream server is currently unavailable"}\n'
local SPREAD = 0.1 -- share added to Retry-After at random, so that clients do not return at once
local STATUS = 503
local TEXT = 'text/plain; charset=utf-8'

-- Whole seconds, at least 1. While probes are under way a slot may be free any time.
local function retry_after(open_ms)
    local seconds = (open_ms or 0) / 1000 * (1 + math.random() * SPREAD)
    return math.max(1, math.ceil(seconds))
end

--- Answers the running request with a problem document.
-- @tparam string name of the breaker
-- @tparam number|nil open_ms open time left; nil: it is half open, or traffic rises
function M.problem(name, open_ms)
    local body = PROBLEM:format(cjson.encode(name), cjson.encode(ngx.var.request_id))
    return moongate.response.exit(STATUS, body, {
        ['Content-Type'] = 'application/problem+json', ['Cache-Control'] = 'no-store',
        ['Retry-After'] = tostring(retry_after(open_ms)),
    })
end

local function has_type(headers)
    for name in pairs(headers) do
        if name:lower():gsub('_', '-') == 'content-type' then
            return true
        end
    end
    return false
end

local function given(fallback)
    local headers = {}
    for name, value in pairs(fallback.headers or {}) do
        headers[name] = value
    end
    if type(fallback.body) == 'string' and not has_type(headers) then
        headers['Content-Type'] = TEXT
    end
    return moongate.response.exit(fallback.status or STATUS, fallback.body, headers)
end

local function is_answer(status, body, headers)
    return type(status) == 'number' and status % 1 == 0 and status >= 200 and status <= 599
        and (body == nil or type(body) == 'string' or type(body) == 'table')
        and (headers == nil or type(headers) == 'table')
end

-- What an expression gives; the problem where it cannot be used.
local function computed(breaker, state, open_ms)
    local code = breaker.entry.code
    local ok, status, body, headers = code(breaker.name, state, retry_after(open_ms))
    if ok and is_answer(status, body, headers) then
        local sent, reason = pcall(moongate.response.exit, status, body, headers)
        if sent then
            return reason
        end
        code:refuse(tostring(reason), 'an answer')
    elseif ok then
        code:refuse(status, 'a status from 200 to 599, text or a table, and a table of headers')
    end
    return M.problem(breaker.name, open_ms)
end

--- Answers the running request.
-- @tparam table breaker of opened.lua
-- @tparam string state its name
-- @tparam number|nil open_ms open time left; nil: it is half open, or traffic rises
function M.answer(breaker, state, open_ms)
    local fallback = breaker.entry.conf.fallback
    if fallback.kind == 'response' then
        return given(fallback)
    elseif fallback.kind == 'lua' then
        return computed(breaker, state, open_ms)
    end
    return M.problem(breaker.name, open_ms) -- error; and a request that cannot be sent elsewhere
end

return M
