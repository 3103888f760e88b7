-- SPDX-License-Identifier: Apache-2.0
-- access-log: one truthful line for each request, with why it ended as it did. The lines are made
-- and queued in C (moongate.access_log); here an entry's configuration is turned into that.
local moongate = moongate
local access_log = require 'moongate.access_log'
local settings = require 'moongate.plugins.access-log.settings'

-- A log that cannot be opened is found out at the start, not by its absence.
local plugin = { PRIORITY = 9, VERSION = '1.0.0', MUST_CONFIGURE = true }

plugin.logs = {} -- configuration -> list of open logs; filled once, in configure

local function open_all(conf)
    local list = {}
    for i, one in ipairs(settings.of(conf, ngx.worker.count())) do
        local log, err = access_log.open(one)
        if not log then
            error(err, 0)
        end
        list[i] = log
    end
    return list
end

local function warn(conf)
    if conf.redact.replace then
        moongate.log.warn('redact.replace: the built-in lists of secrets are off')
    end
    local hashes = conf.redact.action == 'hash' or conf.client_ip == 'hash'
    if hashes and not conf.redact.key then
        moongate.log.warn('redact.key is not set: hashes differ from start to start')
    end
end

function plugin:configure(configs)
    for _, conf in ipairs(configs or {}) do
        self.logs[conf] = open_all(conf)
        warn(conf)
    end
end

function plugin:log(conf)
    for _, log in ipairs(self.logs[conf]) do
        log:write()
    end
end

return plugin
