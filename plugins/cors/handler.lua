-- SPDX-License-Identifier: Apache-2.0
-- cors: cross-origin resource sharing (Fetch standard, "CORS protocol"): answers preflight requests
-- and puts the headers on answers that a browser needs before it shows them to a page.
local moongate = moongate
local origins = require 'moongate.plugins.cors.origins'

local plugin = { PRIORITY = 2000, VERSION = '1.0.0' }

local set, add, clear = moongate.response.set_header, moongate.response.add_header,
    moongate.response.clear_header

-- The answer depends on who asks: caches must know (RFC 9110, 12.5.5).
local function vary_by_origin()
    add('Vary', 'Origin')
end

-- Sets Access-Control-Allow-Origin. Returns whether every origin is allowed.
local function allow_origin(conf, origin)
    local rule = origins.rule(conf)
    if rule.any then
        set('Access-Control-Allow-Origin', '*')
        return true
    end
    vary_by_origin()
    if rule.only then
        set('Access-Control-Allow-Origin', rule.only)
    elseif origin and origins.is_allowed(rule, origin) then
        set('Access-Control-Allow-Origin', origin)
    else
        clear('Access-Control-Allow-Origin')
    end
    return false
end

-- A browser takes credentials only with an origin that is named.
local function allow_credentials(conf, origin, any)
    if not conf.credentials then
        return
    end
    if any and origin then
        vary_by_origin()
        set('Access-Control-Allow-Origin', origin)
    end
    if not any or origin then
        set('Access-Control-Allow-Credentials', 'true')
    end
end

local function is_preflight()
    local request = moongate.request
    return request.get_method() == 'OPTIONS' and request.get_header('Origin')
        and request.get_header('Access-Control-Request-Method')
end

local function answer_preflight(conf)
    local request = moongate.request
    local origin = request.get_header('Origin')
    allow_credentials(conf, origin, allow_origin(conf, origin))
    local headers = conf.headers and #conf.headers > 0 and table.concat(conf.headers, ',')
        or request.get_header_all('Access-Control-Request-Headers')
    if headers then
        set('Access-Control-Allow-Headers', headers)
    end
    set('Access-Control-Allow-Methods', table.concat(conf.methods, ','))
    if conf.max_age then
        set('Access-Control-Max-Age', ('%d'):format(conf.max_age))
    end
    if conf.private_network
        and request.get_header('Access-Control-Request-Private-Network') == 'true' then
        set('Access-Control-Allow-Private-Network', 'true')
    end
    moongate.ctx.plugin.answered = true
    return moongate.response.exit(200)
end

function plugin.access(_, conf)
    if not conf.preflight_continue and is_preflight() then
        return answer_preflight(conf)
    end
    return nil
end

function plugin.header_filter(_, conf)
    if moongate.ctx.plugin.answered then
        return
    end
    local origin = moongate.request.get_header('Origin')
    if not origin and not conf.allow_origin_absent then
        return
    end
    allow_credentials(conf, origin, allow_origin(conf, origin))
    if conf.exposed_headers and #conf.exposed_headers > 0 then
        set('Access-Control-Expose-Headers', table.concat(conf.exposed_headers, ','))
    end
end

return plugin
