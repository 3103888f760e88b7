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

local function later(reason, description)
    return { type = 'any', not_supported_yet = reason, description = description }
end

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
    local pending = about('requests of a worker that wait for a connection',
        count(value(128), 0, 1000000))
    pending.not_supported_yet = function(it)
        return it ~= 128 and 'a queue of waiting requests' or nil
    end
    return {
        { keepalive = about('idle connections that a worker keeps for a host',
            count(value(64), 0, 65535)) },
        { keepalive_idle = about('an idle one is closed after it', ms(value('55s'), 1)) },
        { limits = {
            type = 'record', required = default,
            fields = {
                { connections = about('connections of a worker; above it 503',
                    count(value(1024), 1, 1000000)) },
                { pending = pending },
                { requests = about('requests of a worker under way; above it 503',
                    count(value(1024), 1, 1000000)) },
            },
        } },
        { outlier = later('ejection of single targets', 'leave out a target that fails') },
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
