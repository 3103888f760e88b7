-- SPDX-License-Identifier: Apache-2.0
-- tcp-log: writes a line for each request to a TCP connection.
-- Kong's options, access-log's engine.
local front = require 'moongate.plugins.access-log.front'

return front.plugin(7, function(conf)
    return { type = 'tcp', host = conf.host, port = conf.port, connect = conf.timeout,
        timeout = conf.timeout, transport = conf.tls and 'tls' or 'tcp',
        tls = conf.tls and { server_name = conf.tls_sni } or nil }
end)
