-- SPDX-License-Identifier: Apache-2.0
-- correlation-id: gives each request an id that the upstream, and if wanted the client, gets to
-- see.
local moongate = moongate
local uuid = require 'moongate.uuid'

local plugin = { PRIORITY = 1, VERSION = '1.0.0' }

-- One UUID for this worker and generation, counted up: unique, and made without asking the system
-- for random bytes each time. The worker's only state.
local series = { prefix = uuid.new(), count = 0 }

local generators = {}

generators['uuid'] = uuid.new

generators['uuid#counter'] = function()
    series.count = series.count + 1
    return series.prefix .. '#' .. series.count
end

-- host-port-pid-connection-request-time: tells where a request came in.
function generators.tracker()
    return ('%s-%s-%d-%s-%s-%.3f'):format(moongate.node.get_hostname(),
        moongate.request.get_port(), ngx.worker.pid(), ngx.var.connection,
        ngx.var.connection_requests, ngx.now())
end

function plugin.access(_, conf)
    local id = moongate.request.get_header(conf.header_name)
    if not id or id == '' then
        id = generators[conf.generator]()
        moongate.service.request.set_header(conf.header_name, id)
    end
    if conf.echo_downstream then
        moongate.ctx.plugin.id = id
    end
end

function plugin.header_filter(_, conf)
    if not conf.echo_downstream then
        return
    end
    -- An earlier plugin may have answered, so that access never ran.
    local id = moongate.ctx.plugin.id or moongate.request.get_header(conf.header_name)
    if id and id ~= '' then
        moongate.response.set_header(conf.header_name, id)
    end
end

return plugin
