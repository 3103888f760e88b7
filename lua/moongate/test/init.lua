-- SPDX-License-Identifier: Apache-2.0
-- For specs of plugins, under `moongate test`:
--
--     local gateway = require 'moongate.test'
--     local gw = gateway.start('moongate.yml')
--     local res = gw:get('/orders', { headers = { ['X-Tenant'] = 'acme' } })
--     assert.response(res).has.status(200)
--     gw:stop()
--
-- The gateway runs in this process with a clock of its own, without ports; the upstream is the
-- test's: it echoes what it gets, unless told otherwise (gateway.lua, upstream.lua).
if not package.loaded['moongate.program'] then
    error('moongate.test works under `moongate test` only', 0)
end

require('moongate.test.assertions').install()

local gateway = require 'moongate.test.gateway'
local plugin = require 'moongate.test.plugin'

return {
    start = gateway.start,
    load = plugin.load,
    validate = plugin.validate,
}
