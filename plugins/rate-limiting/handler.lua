-- SPDX-License-Identifier: Apache-2.0
-- rate-limiting: Kong's options, rate-limit's engine.
local engine = require 'moongate.plugins.rate-limit.engine'
local translate = require 'moongate.plugins.rate-limiting.translate'

local plugin = { PRIORITY = 910, VERSION = '1.0.0' }

plugin.engines = {} -- configuration -> engine; filled once, in configure

function plugin:configure(configs)
    for _, conf in ipairs(configs or {}) do
        local ours, err = translate.translate(conf)
        if not ours then
            error(err, 0)
        end
        self.engines[conf] = engine.new(ours, conf)
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
