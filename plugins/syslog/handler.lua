-- SPDX-License-Identifier: Apache-2.0
-- syslog: sends a syslog message for each request to this host's syslog.
-- Kong's options, access-log's engine.
local front = require 'moongate.plugins.access-log.front'

local SEVERITIES = { emerg = 0, alert = 1, crit = 2, err = 3, warning = 4, notice = 5, info = 6,
    debug = 7 }

return front.plugin(4, function(conf, ours)
    ours.severities = {
        fine = SEVERITIES[conf.successful_severity],
        client = SEVERITIES[conf.client_errors_severity],
        server = SEVERITIES[conf.server_errors_severity],
        most = SEVERITIES[conf.log_level],
    }
    return { type = 'syslog', socket = '/dev/log', tag = 'kong', facility = conf.facility:lower() }
end)
