-- SPDX-License-Identifier: Apache-2.0
-- The plugin development kit: this table becomes the globals `moongate` and `kong`
-- (docs/plugin-reference.md). One file a noun; a function that needs what is not built
-- yet (databases, TLS) is absent.
local ffi = require 'ffi'
local base = require 'moongate.pdk.base'
local runtime = require 'moongate.runtime'
local C = require('moongate.runtime.ffi').C

local M = {
    --- The level of Kong's interface that is followed.
    version = '3.10.0',
    version_num = 3010000,
    gateway_version = ffi.string(C.mg_ffi_version()),
    request = require 'moongate.pdk.request',
    response = require 'moongate.pdk.response',
    service = require 'moongate.pdk.service',
    client = require 'moongate.pdk.client',
    ctx = require 'moongate.pdk.ctx',
    log = require 'moongate.pdk.log',
    ip = require 'moongate.pdk.ip',
    node = require 'moongate.pdk.node',
    nginx = require 'moongate.pdk.nginx',
    plugin = require 'moongate.pdk.plugin',
    table = require 'moongate.pdk.table',
    tracing = require 'moongate.pdk.tracing',
    vault = require 'moongate.pdk.vault',
    configuration = require 'moongate.pdk.configuration',
    http = require 'moongate.http',
    redis = require 'moongate.redis',
    metrics = require 'moongate.pdk.metrics',
}

M.service.request = require 'moongate.pdk.service_request'
M.service.response = require 'moongate.pdk.service_response'

local router = require 'moongate.pdk.router'
M.router = { get_route = router.get_route, get_service = router.get_service }

M.cluster = { get_id = M.node.get_id }
M.telemetry = { log = function() end }  -- a no-op in the interface

local function check_seconds(seconds, what)
    if type(seconds) ~= 'number' or seconds ~= seconds or seconds < 0 then
        base.raise(what .. ' must be a number of seconds, 0 or more')
    end
    return seconds * 1000
end

--- Waits.
-- @tparam number seconds with a fraction of ms
function M.sleep(seconds)
    runtime.sched.sleep(check_seconds(seconds, 'delay'))
end

--- Runs fn() again and again, `seconds` after its last end, until the generation retires.
-- @tparam number seconds more than 0
-- @tparam function fn may wait
-- @tparam[opt] table opts { once_per_node = true }: in one worker only
-- @treturn number|nil id of the timer, 0 where another worker has it
-- @treturn string|nil error
function M.every(seconds, fn, opts)
    local ms = check_seconds(seconds, 'interval')
    if ms == 0 then
        base.raise('interval must be more than 0')
    end
    base.check_type(fn, 'function', 'callback')
    if opts and opts.once_per_node and C.mg_ffi_worker_id(runtime.shared.vm) ~= 0 then
        return 0
    end
    return runtime.sched.every(ms, function(premature)
        if not premature then
            fn()
        end
    end)
end

return M
