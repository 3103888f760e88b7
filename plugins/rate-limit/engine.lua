-- SPDX-License-Identifier: Apache-2.0
-- An entry of rate-limit, told in the order of a request: exempt or not, its cost, the decision
-- (policy.lua), what the client and the upstream are told (headers.lua, answer.lua), and the
-- correction of the charge when the answer is known (cost.lua). The Kong-named front rate-limiting
-- uses it too.
local moongate = moongate
local answer = require 'moongate.plugins.rate-limit.answer'
local base = require 'moongate.pdk.base'
local cost = require 'moongate.plugins.rate-limit.cost'
local exempt = require 'moongate.plugins.rate-limit.exempt'
local expression = require 'moongate.expression'
local fields = require 'moongate.plugins.rate-limit.fields'
local headers = require 'moongate.plugins.rate-limit.headers'
local plan = require 'moongate.plugins.rate-limit.plan'
local policy = require 'moongate.plugins.rate-limit.policy'
local C = require('moongate.runtime.ffi').C

local M = {}

local Engine = {}
Engine.__index = Engine

local LIMITED = C.mg_ffi_outcome_of('limited', #'limited')
local BANNED = C.mg_ffi_outcome_of('banned', #'banned')
local STORE_DENIED = C.mg_ffi_outcome_of('store_denied', #'store_denied')
local ACCESS_DENIED = C.mg_ffi_outcome_of('access_denied', #'access_denied')

--- Opens an entry. Raises where its limits cannot be counted.
-- @tparam table conf checked options of rate-limit
-- @tparam table owner the configuration as the handler got it, whose ids say whose counters
-- @treturn Engine
function M.new(conf, owner)
    local scoped = setmetatable({ route_id = owner.route_id, service_id = owner.service_id,
        consumer_id = owner.consumer_id }, { __index = conf })
    local own, err = policy.new(scoped)
    if not own then
        error(err, 0)
    end
    local constant, variable = cost.of_request(conf.cost)
    local cost_counter = variable and own:counter(own.limits[1].name, 'cost') or -1
    return setmetatable({
        conf = conf, policy = own, form = answer.form(conf), sets = headers.sets(conf.headers),
        is_exempt = exempt.compile(conf.exempt), cost = constant, cost_of = variable,
        cost_counter = cost_counter,
        true_cost = cost.of_answer(conf), marks = conf.on_exceed == 'mark',
        on_denied = conf.on_denied and expression.compile(conf.on_denied, { option = 'on_denied',
            names = { 'limit', 'quota', 'retry_after', 'banned' } }),
    }, Engine)
end

-- Where the cost of a request will be corrected, its charges are kept until then.
local function remember(self, req)
    local charges = C.mg_ffi_limits_charges(self.policy.set, req)
    if charges ~= nil then
        moongate.ctx.plugin.charges = charges
    end
end

local function tell_denied(self, name, quota, wait, is_banned)
    if self.on_denied then
        self.on_denied(name, quota, wait, is_banned)
    end
end

local function deny(self, req, shown)
    C.mg_ffi_req_set_outcome(req, LIMITED)
    local quota = headers.quota(shown) -- the body may wait, and then it is another request's
    local body, wait = answer.denial(req, self.form, self.policy.limits, shown)
    tell_denied(self, shown.name, quota, wait, false)
    return moongate.response.exit(self.conf.status, body)
end

local function refuse_banned(self, req, verdict)
    C.mg_ffi_req_set_outcome(req, BANNED)
    local body, wait = answer.ban(req, self.form, verdict.ban_ms)
    tell_denied(self, nil, nil, wait, true)
    return moongate.response.exit(self.conf.ban.status, body)
end

local function refuse_keyless(req)
    C.mg_ffi_req_set_outcome(req, ACCESS_DENIED)
    return moongate.response.exit(403, answer.without_key(req))
end

local function refuse_storeless(req)
    C.mg_ffi_req_set_outcome(req, STORE_DENIED)
    return moongate.response.exit(503, answer.without_store(req))
end

-- The upstream is told which limits it is over.
local function mark(self, req, shown)
    local names
    for _, limit in ipairs(self.policy.judged) do
        if limit.answer.asked ~= 0 and limit.answer.ok == 0 then
            names = names and names .. ',' .. limit.name or limit.name
        end
    end
    moongate.service.request.set_header(fields.exceeded, names)
    self.policy:note(req, shown, 'marked')
end

-- Waits until the request's turn. False: too many wait already.
local function wait_turn(self, req, delay_ms)
    local sleep = C.mg_ffi_limits_sleep(self.policy.set, req, delay_ms)
    if sleep == nil then
        return false
    end
    moongate.sleep(delay_ms / 1000)
    C.mg_ffi_limits_wake(sleep)
    return true
end

-- The charges may be remembered, and are given back once.
local function give_back(self, req)
    local charges = moongate.ctx.plugin.charges or C.mg_ffi_limits_charges(self.policy.set, req)
    moongate.ctx.plugin.charges = nil
    if charges ~= nil then
        C.mg_ffi_charges_settle(charges, 0)
    end
end

local function go_on(self, req, shown, verdict)
    if self.true_cost then
        remember(self, req)
    end
    if verdict.delay_ms > 0 then
        local own = self.policy
        if not wait_turn(self, req, verdict.delay_ms) then
            give_back(self, req)
            own:note(req, shown, 'denied')
            return deny(self, req, shown)
        end
    end
    return nil
end

local function units_of(self, req)
    local units = self.cost or self.cost_of(req)
    if not units then
        C.mg_ffi_limits_missing(self.policy.set, self.cost_counter)
        units = 1
    end
    return units
end

-- planned: the plan (plan.lua) has decided already.
function Engine:access(planned)
    local req, object = base.request(base.ACCESS)
    if self.marks then
        moongate.service.request.clear_header(fields.exceeded)
    end
    if self.is_exempt and self.is_exempt(req, object) then
        self.policy:note(req, nil, 'exempt')
        return nil
    end
    local decision, shown, verdict
    if planned then
        decision, shown, verdict = self.policy:judge(req, self.policy:verdict())
    else
        decision, shown, verdict = self.policy:decide(req, object, units_of(self, req))
    end
    if shown and self.policy.enforces and not (decision == 'denied' and self.marks) then
        headers.set(req, self.sets, self.policy.limits, shown)
    end
    if decision == 'denied' and self.marks then
        return mark(self, req, shown)
    elseif decision == 'denied' then
        return deny(self, req, shown)
    elseif decision == 'banned' then
        return refuse_banned(self, req, verdict)
    elseif decision == 'no key' then
        return refuse_keyless(req)
    elseif decision == 'no store' then
        return refuse_storeless(req)
    end
    return go_on(self, req, shown, verdict)
end

-- The charge becomes what the request has cost. A client that leaves before this pays nothing.
local function settle(self, req)
    local charges = moongate.ctx.plugin.charges
    if charges then
        moongate.ctx.plugin.charges = nil
        local units = self.true_cost(req, moongate.response.get_status())
        C.mg_ffi_charges_settle(charges, units or -1)
    end
end

function Engine:header_filter()
    local req = base.request(base.RESPONSE)
    if self.true_cost then
        settle(self, req)
    end
    headers.prefer_upstream(req, self.sets)
end

--- What is done without the hooks.
-- @tparam string phase access or header_filter
-- @treturn cdata|nil
function Engine:plan_of(phase)
    self.plan = self.plan or plan.new(self)
    return self.plan and self.plan:of(phase)
end

return M
