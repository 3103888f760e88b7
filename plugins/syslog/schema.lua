-- SPDX-License-Identifier: Apache-2.0
local by_lua = require 'moongate.plugins.access-log.by_lua_option'
local typedefs = require 'moongate.typedefs'

local FACILITIES = { 'AUTH', 'AUTHPRIV', 'CRON', 'DAEMON', 'FTP', 'KERN', 'LPR', 'MAIL', 'NEWS',
    'SYSLOG', 'USER', 'UUCP', 'LOCAL0', 'LOCAL1', 'LOCAL2', 'LOCAL3', 'LOCAL4', 'LOCAL5', 'LOCAL6',
    'LOCAL7' }

local function severity(description)
    return { type = 'string', default = 'info', description = description,
        one_of = { 'debug', 'info', 'notice', 'warning', 'err', 'crit', 'alert', 'emerg' } }
end

return {
    name = 'syslog',
    fields = {
        { protocols = typedefs.protocols_http },
        { config = { type = 'record', fields = {
            { log_level = severity('less urgent messages are not sent') },
            { successful_severity = severity('of answers under 400') },
            { client_errors_severity = severity('of answers from 400') },
            { server_errors_severity = severity('of answers from 500') },
            { facility = { type = 'string', default = 'USER', one_of = FACILITIES,
                description = 'of the messages' } },
            { custom_fields_by_lua = by_lua },
        } } },
    },
}
