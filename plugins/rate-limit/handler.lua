-- SPDX-License-Identifier: Apache-2.0
-- rate-limit: admits, delays or denies requests by one or more limits, decided and charged together
-- in memory that all workers share. engine.lua has the story of a request.
local engine = require 'moongate.plugins.rate-limit.engine'

local plugin = { PRIORITY = 910, VERSION = '1.0.0' } -- after plugins that authenticate

plugin.engines = {} -- configuration -> engine; filled once, in configure

function plugin:configure(configs)
    for _, conf in ipairs(configs or {}) do
        self.engines[conf] = engine.new(conf, conf)
    end
end

function plugin:access(conf, planned)
    return self.engines[conf]:access(planned)
end

function plugin:header_filter(conf)
    self.engines[conf]:header_filter()
end

function plugin:PLAN(phase, conf)
    return self.engines[conf]:plan_of(phase)
end

return plugin
