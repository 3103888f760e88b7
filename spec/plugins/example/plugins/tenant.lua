-- SPDX-License-Identifier: Apache-2.0
-- only known tenants pass; the upstream and the client are told which
local plugin = { PRIORITY = 950, VERSION = '1.0.0', config = {
    header  = { type = 'string', default = 'X-Tenant' },
    allowed = { type = 'set', elements = { type = 'string' }, required = true } } }

function plugin:access(conf)
    local tenant = moongate.request.get_header(conf.header)
    if not (tenant and conf.allowed[tenant]) then
        return moongate.response.exit(403, { message = 'unknown tenant' })
    end
    moongate.ctx.plugin.tenant = tenant
    moongate.service.request.set_header('X-Tenant-Checked', tenant)
end

function plugin:header_filter()
    moongate.response.set_header('X-Served-Tenant', moongate.ctx.plugin.tenant or 'none')
end

return plugin
