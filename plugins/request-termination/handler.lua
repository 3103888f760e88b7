-- SPDX-License-Identifier: Apache-2.0
-- request-termination: answers in place of the upstream, with a fixed status and body.
local moongate = moongate

local plugin = { PRIORITY = 2, VERSION = '1.0.0' }

local JSON = 'application/json; charset=utf-8'

-- Without a trigger every request ends here; with one, those that carry it.
local function is_triggered(trigger)
    if not trigger then
        return true
    end
    return moongate.request.get_header(trigger) ~= nil
        or moongate.request.get_query_arg(trigger) ~= nil
end

-- What the gateway received, for finding out what a client sends.
local function echo(conf)
    local request, route = moongate.request, moongate.router.get_route()
    local body, body_error = request.get_raw_body()
    return moongate.response.exit(conf.status_code, {
        message = conf.message,
        request = {
            scheme = request.get_scheme(),
            host = request.get_host(),
            port = request.get_port(),
            method = request.get_method(),
            path = request.get_path(),
            query = request.get_query(),
            headers = request.get_headers(),
            raw_body = body,
            body_error = body_error,
        },
        matched_route = route and { id = route.id, name = route.name },
    })
end

function plugin.access(_, conf)
    if not is_triggered(conf.trigger) then
        return nil
    elseif conf.echo then
        return echo(conf)
    elseif conf.body then
        return moongate.response.exit(conf.status_code, conf.body,
            { ['Content-Type'] = conf.content_type or JSON })
    elseif conf.status_code < 400 then
        return moongate.response.exit(conf.status_code,
            conf.message and { message = conf.message } or nil)
    end
    return moongate.response.error(conf.status_code, conf.message)
end

return plugin
