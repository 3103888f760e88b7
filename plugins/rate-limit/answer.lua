-- SPDX-License-Identifier: Apache-2.0
-- The answers that rate-limit makes: denials and bans (README.md). What they have in common is
-- written once, for a client that hammers costs a gateway mostly this.
local cjson = require 'cjson'
local base = require 'moongate.pdk.base'
local expression = require 'moongate.expression'
local fields = require 'moongate.plugins.rate-limit.fields'
local headers = require 'moongate.plugins.rate-limit.headers'
local C = require('moongate.runtime.ffi').C

local M = {}

local PLAIN, JSON = 'text/plain; charset=utf-8', 'application/json; charset=utf-8'

-- The members of a problem that are the same each time, without the last brace.
local function problem_head(kind, status)
    local what = fields.problems[kind]
    return ('{"type":%s,"title":%s,"status":%d'):format((cjson.encode(what.type):gsub('\\/', '/')),
        cjson.encode(what.title), status)
end

-- Body of the configuration and what it is; nil where a problem is made for each denial.
local function body_of(conf)
    local body = conf.body
    if body == nil or expression.is(body) then
        return nil, fields.problem_content_type
    elseif type(body) == 'string' then
        return body, PLAIN
    end
    return cjson.encode(body), JSON
end

--- What the denials of an entry have in common.
-- @tparam table conf checked
-- @treturn table form, for M.denial
function M.form(conf)
    local body, kind = body_of(conf)
    return {
        body = body, content_type = conf.content_type or kind,
        content_type_given = conf.content_type,
        head = problem_head('exceeded', conf.status),
        ban_head = conf.ban and problem_head('banned', conf.ban.status),
        expression = expression.is(conf.body) and expression.compile(conf.body, { option = 'body',
            names = { 'limit', 'quota', 'remaining', 'retry_after', 'banned' } }) or nil,
        jitter = conf.retry_after_jitter.percent / 100,
        most_jitter_ms = conf.retry_after_jitter.max,
    }
end

-- Seconds to wait, spread so that not all clients come back at once.
local function retry_after(form, retry_ms)
    local most_ms = math.min(retry_ms * form.jitter, form.most_jitter_ms)
    return headers.seconds(retry_ms + math.random() * most_ms)
end

-- The limits that deny; their names need no escapes.
local function violated(list)
    local names
    for i = 1, #list do
        local limit = list[i]
        if limit.answer.asked ~= 0 and limit.answer.ok == 0 and not limit.shadow then
            names = names and names .. ',"' .. limit.name .. '"' or '"' .. limit.name .. '"'
        end
    end
    return names
end

local function with_request_id(req, members)
    local id = base.text(req, C.MG_FFI_REQUEST_ID) or ''
    return members .. ',"request_id":' .. cjson.encode(id) .. '}'
end

local function set_kind(req, content_type)
    headers.set_text(req, 'Content-Type', content_type)
    headers.set_text(req, 'Cache-Control', 'no-store')
end

-- Can a denied request never pass?
local function is_hopeless(list)
    for i = 1, #list do
        local answer = list[i].answer
        if answer.asked ~= 0 and answer.too_big ~= 0 and not list[i].shadow then
            return true
        end
    end
    return false
end

-- What the body in Lua gives: a text, or a table that becomes JSON; nil where it cannot be used.
local function computed(form, ...)
    local ok, body = form.expression(...)
    if ok and type(body) == 'table' then
        local encoded, text = pcall(cjson.encode, body)
        if encoded then
            return text, JSON
        end
    elseif ok and type(body) == 'string' then
        return body, PLAIN
    end
    if ok then
        form.expression:refuse(body, 'text or a table')
    end
    return nil
end

-- Sets Content-Type and gives the body: the configured one, or the problem.
local function finish(req, form, problem, ...)
    if form.expression then
        local body, kind = computed(form, ...)
        if body then
            set_kind(req, form.content_type_given or kind)
            return body
        end
    end
    set_kind(req, form.content_type)
    return form.body or with_request_id(req, problem)
end

--- The answer to a request that is over a limit: sets its fields.
-- @tparam cdata req
-- @tparam table form of M.form
-- @tparam table list the entry's limits
-- @tparam table shown the limit to wait for
-- @treturn string body
-- @treturn number|nil seconds to wait; nil where waiting does not help
function M.denial(req, form, list, shown)
    local wait = not is_hopeless(list) and retry_after(form, shown.answer.retry_ms) or nil
    if wait then
        headers.set_number(req, fields.retry_after, wait)
    end
    local problem = form.head .. ',"' .. fields.violated_policies .. '":[' .. violated(list) .. ']'
        .. (wait and ',"' .. fields.retry_member .. '":' .. wait or '')
    return finish(req, form, problem, shown.name, headers.quota(shown), 0, wait, false), wait
end

--- The answer to a banned request: sets its fields.
-- @tparam cdata req
-- @tparam table form of M.form
-- @tparam number ban_ms time left
-- @treturn string body
-- @treturn number seconds to wait
function M.ban(req, form, ban_ms)
    local wait = retry_after(form, ban_ms)
    headers.set_number(req, fields.retry_after, wait)
    local problem = form.ban_head .. ',"' .. fields.retry_member .. '":' .. wait
    return finish(req, form, problem, nil, nil, 0, wait, true), wait
end

--- The answer to a request that could not be decided: sets its fields.
-- @tparam cdata req
-- @treturn string body
function M.without_store(req)
    headers.set_number(req, fields.retry_after, 1)
    set_kind(req, fields.problem_content_type)
    return with_request_id(req, problem_head('store', 503)
        .. ',"' .. fields.retry_member .. '":1')
end

--- The answer to a request without what its key needs: sets its fields.
-- @tparam cdata req
-- @treturn string body
function M.without_key(req)
    set_kind(req, fields.problem_content_type)
    return with_request_id(req, problem_head('key_missing', 403))
end

return M
