-- SPDX-License-Identifier: Apache-2.0
-- file-log: appends a line for each request to a file.
-- Kong's options, access-log's engine.
local front = require 'moongate.plugins.access-log.front'

-- Kong looks for a renamed file with each line when told to reopen, else never; here the path is
-- looked at once a second in any case.
return front.plugin(9, function(conf)
    return { type = 'file', path = conf.path, mode = '0644',
        reopen_check = conf.reopen and 1 or 1000 }
end)
