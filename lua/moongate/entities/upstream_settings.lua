-- SPDX-License-Identifier: Apache-2.0
--
-- How upstreams are used (docs/upstreams.md): `gateway.retry`, `gateway.upstreams.defaults` and
-- `gateway.upstreams.settings.NAME`. The defaults stand in the first two; what one upstream sets
-- takes the place of them.
local common = require 'moongate.entities.common'
local limits = require 'moongate.entities.limits'

local about = common.about
local ms, count = limits.duration, limits.count

local M = {}

local CONDITIONS = {
    'connect-failure', 'reset-before-send', 'retry-after', 'reset-before-headers', 'head-timeout',
}
-- Those that may be sent twice (RFC 9110, 9.2.2): no other is, once a byte of it has been sent.
local METHODS = { 'GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE' }

--- Fields of `retry`.
-- @tparam boolean default with the values that are in force where nothing is set
function M.retry(default)
    local function value(it)
        return default and it or nil
    end
    return {
        { attempts = about('further tries, where the service does not say',
            count(value(1), 0, 5)) },
        { on = { type = 'array', default = value({ 'connect-failure', 'reset-before-send',
            'retry-after' }),
            elements = { type = 'integer', between = { 400, 599 }, also = CONDITIONS },
            description = 'after what: statuses, and words (docs/upstreams.md)' } },
        { methods = { type = 'array', default = value(METHODS),
            elements = { type = 'string', one_of = METHODS },
            description = 'others only when not one byte was sent' } },
        { per_try_timeout = about('from the start of a try to the head of its answer',
            ms(nil, 1)) },
        { backoff = { type = 'record', required = default, fields = {
            { base = about('the first wait is a random part of it; it doubles with each try',
                ms(value('25ms'), 0)) },
            { max = about('no wait is longer', ms(value('250ms'), 0)) },
        } } },
        { budget = about('percentage of the first tries that may be retried, besides 3 a second',
            count(value(20), 0, 100)) },
    }
end

-- Fields of `outlier`.
local function outlier(default)
    local function value(it)
        return default and it or nil
    end
    return {
        { consecutive_failures = about('in a row take a target out; 0: none do',
            count(value(5), 0, 1000)) },
        { failure_percent = about('of the results of 10 s take a target out; 0: none do',
            count(value(50), 0, 100)) },
        { min_requests = about('results in those 10 s before a percentage counts',
            count(value(20), 1, 10000)) },
        { max_eject_percent = about('of the targets may be out at a time; one always stays',
            count(value(50), 0, 100)) },
        { panic_percent = about('when fewer of the targets are healthy, all are used',
            count(value(30), 0, 100)) },
        { open = { type = 'record', required = default, fields = {
            { base = about('a target is out for so long, a tenth more or less',
                ms(value('5s'), 100)) },
            { factor = about('each time in a row so many times as long', count(value(2), 1, 10)) },
            { max = about('and never longer', ms(value('60s'), 100)) },
        } } },
        { ramp = about('its share of the requests rises to the whole in this time',
            ms(value('10s'), 0, 600000)) },
    }
end

local function settings(default)
    local function value(it)
        return default and it or nil
    end
    local no_link_local
    if default then
        no_link_local = false
    end
    local link_local = about('may lead to 169.254.0.0/16 or fe80::/10',
        { type = 'boolean', default = no_link_local })
    link_local.not_supported_yet = { [true] = 'a rule for link-local addresses' }
    return {
        { keepalive = about('idle connections that a worker keeps for a host',
            count(value(64), 0, 65535)) },
        { keepalive_idle = about('an idle one is closed after it', ms(value('55s'), 1)) },
        { limits = {
            type = 'record', required = default,
            fields = {
                { connections = about('connections of a worker; above it requests wait',
                    count(value(1024), 1, 1000000)) },
                { pending = about('requests of a worker that wait; above it 503',
                    count(value(128), 0, 1000000)) },
                { requests = about('requests of a worker, waiting ones included; above it 503',
                    count(value(1024), 1, 1000000)) },
                { target_connections = about('connections of a worker to one target; 0: no limit',
                    count(value(0), 0, 1000000)) },
            },
        } },
        { outlier = { type = 'record', required = default, fields = outlier(default) } },
        { allow_link_local = link_local },
    }
end

--- Fields of `upstreams.defaults`.
function M.defaults()
    return settings(true)
end

--- Fields of `upstreams.settings.NAME`.
function M.named()
    local fields = settings(false)
    fields[#fields + 1] = { retry = { type = 'record', fields = M.retry(false) } }
    return fields
end

return M
