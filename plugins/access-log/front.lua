-- SPDX-License-Identifier: Apache-2.0
-- What the plugins with Kong's names share (file-log, http-log, tcp-log, udp-log, syslog): each
-- translates its options into those of access-log and runs the same engine.
local by_lua = require 'moongate.plugins.access-log.by_lua'
local engine = require 'moongate.plugins.access-log.engine'

local M = {}

-- What access-log has where nothing is set.
local function defaults()
    return {
        format = 'json', custom_fields = {}, client_ip = 'full', max_line = 16 * 1024,
        redact = { headers = {}, names = {}, replace = false, action = 'mask' },
        when = true, sample = 1,
        always = { status_min = 500, denied = true, slow = 1000, outcomes = {} },
        queue = { entries = 10000, bytes = 8 * 1024 * 1024, batch = 200, flush = 1000,
            drop = 'oldest' },
        retry = { first = 50, max = 30000, ['for'] = 60000 },
    }
end

--- A plugin that writes to one sink.
-- @tparam number priority
-- @tparam function translate takes its checked configuration and that of access-log to change;
--   returns the sink
-- @treturn table
function M.plugin(priority, translate)
    local plugin = { PRIORITY = priority, VERSION = '1.0.0', MUST_CONFIGURE = true }
    plugin.entries = {} -- by configuration; filled once, in configure

    function plugin:configure(configs)
        for _, conf in ipairs(configs or {}) do
            local ours = defaults()
            ours.sinks = { translate(conf, ours) }
            by_lua.apply(ours, conf.custom_fields_by_lua)
            self.entries[conf] = engine.open(ours)
        end
    end

    function plugin:log(conf)
        self.entries[conf]:log()
    end

    function plugin:PLAN(_, conf)
        return self.entries[conf]:plan()
    end

    return plugin
end

return M
