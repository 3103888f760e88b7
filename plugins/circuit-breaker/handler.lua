-- SPDX-License-Identifier: Apache-2.0
-- circuit-breaker: stops sending requests to an upstream that fails, answers at once instead, and
-- lets it recover under a few probes. The state machine is in C, shared by all workers
-- (core/model/breaker.h); here requests are asked for, judged and answered.
local moongate = moongate
local breakers = require 'moongate.breaker'
local fallback = require 'moongate.plugins.circuit-breaker.fallback'
local opened = require 'moongate.plugins.circuit-breaker.opened'
local results = require 'moongate.plugins.circuit-breaker.results'

local plugin = { PRIORITY = 90, VERSION = '1.0.0' }

plugin.opened = opened.new()

local BREAKER_OPEN = breakers.outcome_of('breaker_open')
local PROBE_TIMEOUT = breakers.outcome_of('probe_timeout')
local OPEN = 1 -- of breaker.answer.state

-- One line for each transition and host: C tells one caller in all workers.
local function tell(breaker)
    local answer = breaker.answer
    if answer.changed == 0 then
        return
    end
    local to = breakers.state_name(answer.to)
    local parts = { ('breaker %s: %s -> %s (%s)'):format(breaker.name,
        breakers.state_name(answer.from), to, breakers.reason_name(answer.reason)) }
    if answer.total > 0 then
        parts[#parts + 1] = ('%d of %d results failed'):format(answer.failures, answer.total)
    end
    if answer.network > 0 then
        parts[#parts + 1] = ('%d of them in the network'):format(answer.network)
    end
    if to == 'open' then
        parts[#parts + 1] = ('open for %.1f s, opening %d in a row')
            :format(answer.open_ms / 1000, answer.n)
    end
    local write = to == 'open' and moongate.log.warn or moongate.log.notice
    write(table.concat(parts, ', '))
end

function plugin:access(conf)
    local breaker = self.opened:of_route(conf, moongate.router.get_route())
    if not breaker then
        return nil
    end
    local admitted, answer = breaker:ask(), breaker.answer
    local state, left_ms = answer.state, answer.retry_ms
    tell(breaker)
    if not admitted then
        breakers.note(breaker.notes.denied[state])
        if conf.mode == 'shadow' then
            return nil
        end
        breakers.set_outcome(BREAKER_OPEN)
        return fallback.answer(conf, breaker.name, state == OPEN and left_ms or nil)
    end
    local is_probe = answer.probe == 1
    breakers.note(breaker.notes[is_probe and 'probe' or 'allowed'][state])
    if is_probe and conf.mode == 'enforce' then
        breakers.limit_head(conf.half_open.timeout, PROBE_TIMEOUT)
    elseif is_probe then
        moongate.ctx.plugin.is_probe = true
    end
    return nil
end

-- In shadow mode a probe that takes too long is not cut, but it has failed all the same.
local function judge(conf)
    local result = results.of_head(conf)
    if result == breakers.SUCCESS and conf.mode == 'shadow' and moongate.ctx.plugin.is_probe
        and breakers.upstream_ms() > conf.half_open.timeout then
        return breakers.NETWORK
    end
    return result
end

-- One result for each client request, and one more where the body broke off.
local function record(conf, breaker)
    local result = judge(conf)
    if result and breaker:result(result, false) then
        tell(breaker)
    end
    if results.body_broke() and breaker:result(breakers.FAILURE, true) then
        tell(breaker)
    end
end

function plugin:header_filter(conf)
    local breaker = self.opened:of_route(conf, moongate.router.get_route())
    if not breaker then
        return nil
    end
    record(conf, breaker)
    if breakers.outcome() == PROBE_TIMEOUT then
        local answer = breaker.answer
        return fallback.answer(conf, breaker.name,
            answer.changed == 1 and answer.to == OPEN and answer.open_ms or nil)
    end
    return nil
end

-- What header_filter did not see: upgraded connections, bodies that broke off. A client that left
-- early leaves no result; its probe's slot is free again when the request ends.
function plugin:log(conf)
    local breaker = self.opened:of_route(conf, moongate.router.get_route())
    if breaker then
        record(conf, breaker)
    end
end

return plugin
