-- SPDX-License-Identifier: Apache-2.0
-- moongate.plugin
local base = require 'moongate.pdk.base'
local runtime = require 'moongate.runtime'

local M = {}

--- Id of the plugin entry whose handler runs.
-- @treturn string|nil
function M.get_id()
    base.request(base.REQUEST)
    local conf = runtime.conf()
    return conf and conf.__plugin_id
end

return M
