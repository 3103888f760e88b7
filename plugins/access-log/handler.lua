-- SPDX-License-Identifier: Apache-2.0
-- access-log: one truthful line for each request, with why it ended as it did. The lines are made
-- and queued in C (moongate.access_log); the engine decides which requests get one.
local engine = require 'moongate.plugins.access-log.engine'
local settings = require 'moongate.plugins.access-log.settings'

-- A log that cannot be opened is found out at the start, not by its absence.
local plugin = { PRIORITY = 9, VERSION = '1.0.0', MUST_CONFIGURE = true }

plugin.entries = {} -- by configuration; filled once, in configure

function plugin:configure(configs)
    for _, conf in ipairs(configs or {}) do
        self.entries[conf] = engine.open(conf)
    end
end

-- Only then is it measured how long each plugin takes.
function plugin.WANTS_TIMES(conf)
    return settings.shows(conf, 'plugin_ms')
end

function plugin:log(conf)
    self.entries[conf]:log()
end

function plugin:PLAN(_, conf)
    return self.entries[conf]:plan()
end

return plugin
