-- SPDX-License-Identifier: Apache-2.0
-- circuit-breaker: stops sending requests to an upstream that fails or crawls, answers at once
-- instead, and lets it recover under a few probes and a ramp. The state machine is in C, shared by
-- all workers (core/model/breaker.h); here requests are asked for, judged and answered.
local moongate = moongate
local breakers = require 'moongate.breaker'
local fallback = require 'moongate.plugins.circuit-breaker.fallback'
local opened = require 'moongate.plugins.circuit-breaker.opened'
local results = require 'moongate.plugins.circuit-breaker.results'
local transitions = require 'moongate.plugins.circuit-breaker.transitions'

local plugin = { PRIORITY = 90, VERSION = '1.1.0' }

local OK = breakers.outcome_of('ok')
local BREAKER_OPEN = breakers.outcome_of('breaker_open')
local PROBE_TIMEOUT = breakers.outcome_of('probe_timeout')
local OPEN, FORCED_OPEN = 1, 4 -- of breaker.answer.state

function plugin:configure(configs)
    self.opened = opened.new(configs)
end

local function note_probe(conf)
    if conf.mode == 'enforce' then
        breakers.limit_head(conf.half_open.timeout, PROBE_TIMEOUT)
    else
        moongate.ctx.plugin.is_probe = true
    end
end

-- Asks the breaker, unless the plan has, and tells of what that changed. Whether the request may go
-- on, and else the state and the open time left.
local function ask(breaker, planned)
    local conf, answer = breaker.entry.conf, breaker.answer
    local admitted
    if planned then
        admitted = breakers.waits()
    else
        admitted = breaker:ask(breaker.entry.keys)
    end
    local state, is_probe, unheard = answer.state, answer.probe == 1, answer.unheard == 1
    local left_ms = (state == OPEN or state == FORCED_OPEN) and answer.retry_ms or nil
    transitions.tell(breaker)
    if unheard then
        transitions.hear(breaker)
    end
    local decision = not admitted and 'denied' or is_probe and 'probe' or 'allowed'
    breakers.note(breaker.notes[decision][state])
    if is_probe then
        note_probe(conf)
    end
    return admitted or conf.mode == 'shadow', state, left_ms
end

-- One hop: whatever that upstream's own breaker says, the request goes no further.
local function send_elsewhere(self, breaker, state)
    local name = breaker.entry.conf.fallback.name
    local other = self.opened:of_upstream(name)
    moongate.ctx.plugin.instead = other or false
    if other then
        local admitted, _, left_ms = ask(other)
        if not admitted then
            breakers.set_outcome(BREAKER_OPEN)
            return fallback.problem(other.name, left_ms)
        end
    end
    breakers.note(breaker.notes.fallback[state])
    assert(moongate.service.set_upstream(name))
    return nil
end

function plugin:access(conf, planned)
    local breaker = self.opened:of_route(conf, moongate.router.get_route())
    if not breaker then
        return nil
    end
    local admitted, state, left_ms = ask(breaker, planned)
    if admitted then
        return nil
    elseif conf.fallback.kind == 'upstream' then
        return send_elsewhere(self, breaker, state)
    end
    breakers.set_outcome(BREAKER_OPEN)
    return fallback.answer(breaker, breakers.state_name(state), left_ms)
end

-- The breaker whose upstream the request went to, and whether that was another upstream instead.
local function breaker_of(self, conf)
    local instead
    if conf.fallback.kind == 'upstream' then
        instead = moongate.ctx.plugin.instead
    end
    if instead ~= nil then
        return instead, true
    end
    return self.opened:of_route(conf, moongate.router.get_route()), false
end

-- In shadow mode a probe that takes too long is not cut, but it has failed all the same.
local function judge(entry)
    local result = results.of_head(entry)
    if result == breakers.SUCCESS and entry.conf.mode == 'shadow'
        and moongate.ctx.plugin.is_probe
        and breakers.upstream_ms() > entry.conf.half_open.timeout then
        return breakers.NETWORK
    end
    return result
end

local function tell_result(breaker, result, again)
    if breaker:result(result, again) then
        transitions.tell(breaker)
    end
end

-- One result for each client request, and one more where the body broke off.
local function record(breaker)
    if breakers.waits() then
        local result = judge(breaker.entry)
        if result then
            tell_result(breaker, result, false)
        end
    end
    if results.body_broke() then
        tell_result(breaker, breakers.FAILURE, true)
    end
end

function plugin:header_filter(conf, planned)
    local breaker, elsewhere = breaker_of(self, conf)
    if planned then
        return transitions.tell(breaker)
    elseif breaker then
        record(breaker)
    end
    if elsewhere and breakers.outcome() == OK then
        breakers.set_outcome(BREAKER_OPEN)
    end
    if breaker and breakers.outcome() == PROBE_TIMEOUT then
        local answer = breaker.answer
        local opened_now = answer.changed == 1 and answer.to == OPEN
        return fallback.answer(breaker, opened_now and 'open' or 'half_open',
            opened_now and answer.open_ms or nil)
    end
    return nil
end

-- What header_filter did not see: upgraded connections, bodies that broke off, clients that left,
-- the end of a slow answer.
function plugin:log(conf, planned)
    local breaker = breaker_of(self, conf)
    if planned then
        transitions.tell(breaker)
    elseif breaker then
        record(breaker)
        if breakers.waits() then
            tell_result(breaker, results.of_nothing(), false)
        end
        if breaker:finish() then
            transitions.tell(breaker)
        end
    end
end

-- In shadow mode probes have to be told apart; what an expression says of an answer, Lua knows.
function plugin:PLAN(phase, conf)
    local entry = self.opened.entries[conf]
    if not entry.plan or phase ~= 'access' and (entry.classify or conf.mode == 'shadow') then
        return nil
    end
    return entry.plan:of(phase)
end

return plugin
