-- SPDX-License-Identifier: Apache-2.0
-- moongate.configuration: what plugins ask about the gateway they run in, under Kong's names.
-- Read-only.
local runtime = require 'moongate.runtime'

local FIXED = { database = 'off', role = 'traditional', router_flavor = 'traditional_compatible' }

local readers = {}

-- The gateway section, or an empty table while the configuration is being loaded.
local function gateway()
    local generation = runtime.generation
    return generation and generation.config and generation.config.gateway or {}
end

function readers.loaded_plugins()
    local names = {}
    for name in pairs(runtime.generation and runtime.generation.plugins or {}) do
        names[name] = true
    end
    return names
end

function readers.trusted_ips()
    local copy = {}
    for i, range in ipairs(gateway().trusted_ips or {}) do
        copy[i] = range
    end
    return copy
end

function readers.log_level()
    local log = gateway().log
    return log and log.level or 'notice'
end

function readers.prefix()
    return '.'
end

function readers.proxy_listeners()
    local list = {}
    for i, listener in ipairs(gateway().listeners or {}) do
        local ip, port = tostring(listener.address):match('^(.*):(%d+)$')
        list[i] = { ip = ip or listener.address, port = tonumber(port), ssl = false, http2 = false }
    end
    return list
end

return setmetatable({}, {
    __index = function(_, key)
        local reader = readers[key]
        if reader then
            return reader()
        end
        return FIXED[key]
    end,
    __newindex = function()
        error('moongate.configuration is read-only', 2)
    end,
})
