-- SPDX-License-Identifier: Apache-2.0
-- One entry of rate-limit at work: its limits in shared memory, and the decision on a request.
--
--     local policy, err = policy.new(conf)
--     local verdict, limit = policy:decide(req, object, cost)
--
-- After a decision limit.answer shows what came of each limit, until the entry decides again: read
-- it before anything waits.
local ffi = require 'ffi'
local expression = require 'moongate.expression'
local fields = require 'moongate.plugins.rate-limit.fields'
local headers = require 'moongate.plugins.rate-limit.headers'
local key = require 'moongate.key'
local limits = require 'moongate.plugins.rate-limit.limits'
local parts = require 'moongate.key_parts'
local scopes = require 'moongate.plugins.rate-limit.scopes'
local stores = require 'moongate.plugins.rate-limit.store'
local api = require 'moongate.runtime.ffi'

local C = api.C

local M = {}

local Policy = {}
Policy.__index = Policy

local MOST_UNITS = 1000000000

-- What makes the counters of a limit its own: not its quota or burst. The core adds algorithm and
-- window, and seeds the counters of an edited limit from those before.
local function identity_of(limit, scope)
    return table.concat({ scope, limit.name, parts.text(limit.key),
        limit.shadow and 'shadow' or '' }, '\n')
end

-- The same as a part of a key in Redis, where the key's parts are in its hash.
local function counter_of(scope, name, is_shadow)
    return scope:gsub('[%s{}]', '+') .. ':' .. name .. (is_shadow and ':shadow' or '')
end

local function open(set, limit, scope)
    local rule = ffi.new('struct mg_ffi_limit_rule', {
        algorithm = limit.number, align_first = limit.align_first and 1 or 0,
        shadow = limit.shadow and 1 or 0, calendar = limit.calendar, quota = limit.quota,
        window_ms = limit.window, burst = limit.burst, max_delay_ms = limit.max_delay,
        max_keys = limit.max_keys,
    })
    local identity = identity_of(limit, scope)
    local index = C.mg_ffi_limits_add(set, rule, identity, #identity, limit.name, #limit.name)
    if index < 0 then
        return nil, ('limit %s cannot be counted: %s'):format(limit.name,
            ffi.string(C.mg_ffi_err_text(index)))
    end
    local counter = counter_of(scope, limit.name, limit.shadow)
    C.mg_ffi_limits_counter(set, index, counter, #counter)
    limit.index = index
    limit.answer = C.mg_ffi_limits_answer(set, index)
    limit.given = -1 -- quota of the request; negative: the rule's
    return true
end

local function open_ban(set, conf, scope)
    local ban = conf.ban
    local rule = ffi.new('struct mg_ffi_ban_rule', {
        extend = ban.extend and 1 or 0, after = ban.after, within_ms = ban.within,
        for_ms = ban['for'], factor = ban.factor, max_ms = ban.max,
        forget_ms = ban.forget or ban.max, max_keys = math.max(1, conf.max_keys / 4),
    })
    local identity = scope .. '\n' .. parts.text(parts.list(conf.key))
    local err = C.mg_ffi_limits_ban(set, rule, identity, #identity, 'ban', #'ban')
    if err < 0 then
        return nil, 'bans cannot be counted: ' .. ffi.string(C.mg_ffi_err_text(err))
    end
    local counter = counter_of(scope, 'ban', false)
    C.mg_ffi_limits_counter(set, -1, counter, #counter)
    return true
end

-- Limits with equal keys form a group, whose key is made once.
function Policy:add_to_group(limit, list)
    local text, groups = parts.text(list), self.groups
    for _, group in ipairs(groups) do
        if group.text == text and group.shadow == limit.shadow then
            group.limits[#group.limits + 1] = limit
            return
        end
    end
    groups[#groups + 1] = { text = text, parts = self:prepare(list, limit.name), limits = { limit },
        shadow = limit.shadow }
end

-- The limits whose verdict counts; where there is none, those that only watch.
local function judged(list)
    local enforced = {}
    for _, limit in ipairs(list) do
        if not limit.shadow then
            enforced[#enforced + 1] = limit
        end
    end
    return #enforced > 0 and enforced or list, #enforced > 0
end

-- A value in Lua that a decision needs: owner[field] = compute(owner).
function Policy:add_value(owner, field, compute)
    local values = self.values or {}
    values[#values + 1] = { owner = owner, field = field, compute = compute }
    self.values = values
end

-- Where requests without a part of a key are counted.
function Policy:counter(name, part)
    return C.mg_ffi_limits_part(self.set, name, #name, part, #part)
end

local ALWAYS_THERE = { ip = true, const = true, method = true, path = true }

-- name: of the first limit with that key, which stands for all in the counts.
function Policy:prepare(list, name)
    local ready = key.prepare(list)
    for i, part in ipairs(ready) do
        if not ALWAYS_THERE[part.kind] and not part.kind:find('^each ') then
            local word = part.kind ~= 'lua' and part.name and part.kind .. ':' .. part.name
            part = setmetatable({ counter = self:counter(name, word or part.kind) },
                { __index = part })
            ready[i] = part
        end
        if part.kind == 'lua' then
            self:add_value(part, 'value', key.compute)
        end
    end
    return ready
end

-- The quota of the request: false where the limit does not apply.
local function quota_of(limit)
    local ok, value = limit.expression()
    if not ok then
        return limit.quota
    elseif value == false then
        return false
    elseif type(value) == 'number' and value == math.floor(value) and value >= 0
        and value <= MOST_UNITS then
        return value
    end
    limit.expression:refuse(value, 'a whole number from 0, or false')
    return limit.quota
end

function Policy:add(limit, conf)
    local scope, part = scopes.of(limit, conf)
    local ok, err = open(self.set, limit, scope)
    if not ok then
        return nil, err
    end
    limit.each = fields.each(limit.name)
    if limit.quota_text then
        limit.expression = expression.compile(limit.quota_text, { option = 'quota' })
        self:add_value(limit, 'given', quota_of)
    end
    self:add_to_group(limit, part and { part, unpack(limit.key) } or limit.key)
    return true
end

function Policy:add_ban(conf)
    local scope, part = scopes.of(conf, conf)
    local list = parts.list(conf.key)
    self.ban_parts = self:prepare(part and { part, unpack(list) } or list, 'ban')
    self.ban_text = parts.text(part and { part, unpack(list) } or list)
    return open_ban(self.set, conf, scope)
end

-- Where limits are counted that are not counted in memory.
function Policy:open_store(conf)
    if conf.store ~= 'redis' then
        return true
    end
    local store, err = stores.open(conf.redis)
    if not store then
        return nil, err
    end
    self.store, self.on_store_error = store, conf.on_store_error
    C.mg_ffi_limits_store(self.set, store.handle, conf.on_store_error == 'local' and 1 or 0,
        stores.mode(conf))
    return true
end

--- Opens the limits of an entry.
-- @tparam table conf checked
-- @treturn table|nil
-- @treturn string|nil error
function M.new(conf)
    local set = C.mg_ffi_limits_new(api.shared.vm)
    if set == nil then
        return nil, 'there is no shared memory to count in'
    end
    local self = setmetatable({
        set = ffi.gc(set, C.mg_ffi_limits_free), limits = limits.of(conf), groups = {},
        missing = conf.key_missing,
        prefixes = { ipv4 = conf.ipv4_prefix, ipv6 = conf.ipv6_prefix },
    }, Policy)
    local ok, err = self:open_store(conf)
    if not ok then
        return nil, err
    end
    for _, is_shadow in ipairs({ false, true }) do -- the order of groups, see ask
        for _, limit in ipairs(self.limits) do
            if limit.shadow == is_shadow then
                ok, err = self:add(limit, conf)
                if not ok then
                    return nil, err
                end
            end
        end
    end
    self.judged, self.enforces = judged(self.limits)
    if conf.count_denied then
        C.mg_ffi_limits_count_denied(set)
    end
    if conf.ban and self.enforces then
        ok, err = self:add_ban(conf)
        if not ok then
            return nil, err
        end
    end
    return self
end

-- Any of the values may wait, and other requests are decided meanwhile: so all are computed before
-- the first is put where the decision finds it. Where that waits, they are put there again.
local function compute(values)
    local found = {}
    for i = 1, #values do
        found[i] = values[i].compute(values[i].owner)
    end
    return found
end

local function put(values, found)
    for i = 1, #values do
        values[i].owner[values[i].field] = found[i]
    end
end

-- Gives each limit its key. False: a key has to be there and is not. C keeps the keys that were
-- given until it decides; those of enforcing limits, which come first, are given anew before that.
function Policy:ask(req, object, cost)
    for i = 1, #self.groups do
        local group = self.groups[i]
        if key.build(self.set, req, object, group.parts, self.prefixes, self.missing) then
            if self.store then
                C.mg_ffi_limits_hash(self.set, group.text, #group.text)
            end
            for k = 1, #group.limits do
                local limit = group.limits[k]
                if limit.given then
                    C.mg_ffi_limits_use(self.set, limit.index, cost, limit.given)
                end
            end
        elseif self.missing == 'deny' and not group.shadow then
            return false
        end
    end
    if self.ban_parts
        and key.build(self.set, req, object, self.ban_parts, self.prefixes, self.missing) then
        if self.store then
            C.mg_ffi_limits_hash(self.set, self.ban_text, #self.ban_text)
        end
        C.mg_ffi_limits_use_ban(self.set)
    end
    return true
end

-- Is a nearer to its end than b? concurrency counts only where there is nothing else.
local function is_tighter(a, b)
    if (a.algorithm == 'concurrency') ~= (b.algorithm == 'concurrency') then
        return b.algorithm == 'concurrency'
    end
    local left = a.answer.remaining / math.max(1, headers.quota(a))
    local other = b.answer.remaining / math.max(1, headers.quota(b))
    return left < other or left == other and a.answer.reset_ms > b.answer.reset_ms
end

-- The limit to show: the tightest, or of those that deny the one to wait for longest.
local function pick(list, admitted)
    local shown
    for i = 1, #list do
        local limit = list[i]
        if limit.answer.asked ~= 0 then
            if admitted then
                shown = (not shown or is_tighter(limit, shown)) and limit or shown
            elseif limit.answer.ok == 0
                and (not shown or limit.answer.retry_ms > shown.answer.retry_ms) then
                shown = limit
            end
        end
    end
    return shown
end

-- The word for the access log.
local function decision_of(self, verdict)
    if verdict.banned ~= 0 or verdict.ban_began ~= 0 then
        return 'banned'
    elseif verdict.admitted == 0 then
        return 'denied'
    elseif verdict.delay_ms > 0 then
        return 'delayed'
    end
    for i = 1, self.enforces and 0 or #self.judged do
        local answer = self.judged[i].answer
        if answer.asked ~= 0 and answer.ok == 0 then
            return 'shadow_denied'
        end
    end
    return 'allowed'
end

--- Leaves the note for the access log.
-- @tparam cdata req
-- @tparam table|nil limit to tell of; nil: none, the request was not counted
-- @tparam string decision
function Policy:note(req, limit, decision)
    C.mg_ffi_limits_note(self.set, req, limit and limit.index or -1, decision, #decision)
end

-- The verdict; and the word for the log where the store failed and nothing was decided.
function Policy:take(req, found)
    if not self.store then
        return C.mg_ffi_limits_take(self.set, req)
    end
    local verdict, word = stores.take(self.set, req,
        self.enforces and self.on_store_error or 'allow')
    if found then
        put(self.values, found) -- another request's may be there
    end
    return verdict, word
end

--- The verdict of the plan, which has just decided.
-- @treturn cdata
function Policy:verdict()
    return C.mg_ffi_limits_verdict(self.set)
end

--- Decides on the request, charges it, and leaves the note for the access log. May wait.
-- @tparam cdata req
-- @tparam table object the runtime's, of the request
-- @tparam number cost units
-- @treturn string 'admitted', 'denied', 'banned', 'no key': a part of the key is missing and must
-- not be, or 'no store': it has failed, and nobody passes without it
-- @treturn table|nil the limit to show; nil where none applies
-- @treturn cdata|nil struct mg_ffi_limit_verdict: until the entry decides again
function Policy:decide(req, object, cost)
    local found = self.values and compute(self.values)
    if found then
        put(self.values, found)
    end
    if not self:ask(req, object, cost) then
        return 'no key'
    end
    return self:judge(req, self:take(req, found))
end

--- What a verdict means; as decide.
-- @tparam cdata req
-- @tparam cdata verdict
-- @tparam string|nil word for the log, where the store failed
function Policy:judge(req, verdict, word)
    local is_banned = verdict.banned ~= 0 or verdict.ban_began ~= 0
    if word and not is_banned then
        self:note(req, nil, word)
        return verdict.admitted == 1 and 'admitted' or 'no store', nil, verdict
    end
    local shown = pick(self.judged, verdict.admitted == 1)
    if shown or is_banned then
        self:note(req, shown or self.judged[1], decision_of(self, verdict))
    end
    if is_banned then
        return 'banned', shown, verdict
    end
    return verdict.admitted == 1 and 'admitted' or 'denied', shown, verdict
end

return M
