-- SPDX-License-Identifier: Apache-2.0
-- udp-log: sends a datagram for each request.
-- Kong's options, access-log's engine.
local front = require 'moongate.plugins.access-log.front'

return front.plugin(8, function(conf)
    return { type = 'udp', host = conf.host, port = conf.port }
end)
