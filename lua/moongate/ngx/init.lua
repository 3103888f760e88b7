-- SPDX-License-Identifier: Apache-2.0
-- The global `ngx`: the common names of OpenResty's interface over the kit, so that plugins written
-- for Kong run. Our own plugins use `moongate`. docs/plugin-reference.md lists what is here.
local ffi = require 'ffi'
local cjson = require 'cjson'
local base = require 'moongate.pdk.base'
local constants = require 'moongate.ngx.constants'
local log = require 'moongate.pdk.log'
local output = require 'moongate.ngx.output'
local response = require 'moongate.pdk.response'
local runtime = require 'moongate.runtime'
local timer = require 'moongate.ngx.timer'
local C = require('moongate.runtime.ffi').C

local M = {}

for name, value in pairs(constants) do
    M[name] = value
end

local shared = runtime.shared

--- The same light userdata as cjson.null.
M.null = cjson.null
M.arg = require 'moongate.ngx.arg'
M.header = require 'moongate.ngx.header'
M.req = require 'moongate.ngx.req'
M.var = require 'moongate.ngx.var'
M.timer = { at = timer.at, every = timer.every }
M.is_subrequest = false
M.exit, M.say, M.print = output.exit, output.say, output.print
M.config = { subsystem = 'http', debug = false, nginx_version = 1027001, ngx_lua_version = 10027,
    prefix = function() return './' end }

M.resp = {
    --- Headers of the answer, by lower-case name.
    -- @tparam[opt=100] number max 0 = no limit
    get_headers = function(max)
        local fields = require 'moongate.pdk.fields'
        max = max == 0 and 100000 or max or 100
        return fields.all(base.request(base.REQUEST), C.MG_FFI_RESPONSE, max)
    end,
}

M.worker = {
    pid = function() return C.mg_ffi_process_id() end,
    id = function() return C.mg_ffi_worker_id(shared.vm) end,
    count = function() return C.mg_ffi_worker_count(shared.vm) end,
    --- true once this generation is retired
    exiting = function() return shared.exiting ~= 0 end,
}

--- Seconds since the epoch with ms, as of this loop turn.
function M.now()
    return C.mg_ffi_sched_now(shared.vm)
end

--- Whole seconds since the epoch.
function M.time()
    return math.floor(C.mg_ffi_sched_now(shared.vm))
end

--- Takes the time anew.
function M.update_time()
    C.mg_ffi_sched_update_time(shared.vm)
end

--- Waits.
-- @tparam number seconds
function M.sleep(seconds)
    seconds = tonumber(seconds)
    if not seconds or seconds < 0 then
        base.raise('invalid sleep duration')
    end
    runtime.sched.sleep(seconds * 1000)
end

local function joined(...)
    local parts = { ... }
    for i = 1, select('#', ...) do
        local value = parts[i]
        if value == cjson.null then
            parts[i] = 'null'
        else
            parts[i] = tostring(value)
        end
    end
    return table.concat(parts)
end

--- One line of the error log.
-- @tparam number level ngx.ERR and its kin
function M.log(level, ...)
    base.check_type(level, 'number', 'log level')
    local syslog = math.min(math.max(level - 1, 0), 7)  -- nginx counts from emerg = 1
    if log.is_on(syslog) then
        log.write(syslog, joined(...))
    end
end

-- OpenResty's names for our phases
local PHASES = { init_worker = 'init_worker', configure = 'init_worker', rewrite = 'rewrite',
    access = 'access', response = 'access', header_filter = 'header_filter',
    body_filter = 'body_filter', log = 'log', timer = 'timer' }

--- @treturn string
function M.get_phase()
    return PHASES[runtime.phase()] or 'init'
end

local readers, writers = {}, {}

function readers.ctx()
    local object = runtime.request()
    if not object then
        return timer.ctx()
    end
    local ctx = runtime.ctx(object)
    local own = ctx.ngx
    if not own then
        own = {}
        ctx.ngx = own
    end
    return own
end

function writers.ctx(value)
    base.check_type(value, 'table', 'ngx.ctx')
    local object = runtime.request()
    if not object then
        base.raise('no request found')
    end
    runtime.ctx(object).ngx = value
end

function readers.status()
    return C.mg_ffi_req_int(base.request(base.REQUEST), C.MG_FFI_STATUS)
end

function writers.status(value)
    response.set_status(tonumber(value))
end

function readers.headers_sent()
    return C.mg_ffi_req_int(base.request(base.REQUEST), C.MG_FFI_HEAD_SENT) == 1
end

--- @treturn string text of an HTTP status code's reason, "" if unknown
function M.get_reason(status)
    return ffi.string(C.mg_ffi_status_reason(status))
end

return setmetatable(M, {
    __index = function(_, key)
        local reader = readers[key]
        return reader and reader()
    end,
    __newindex = function(self, key, value)
        local writer = writers[key]
        if writer then
            writer(value)
        else
            rawset(self, key, value)
        end
    end,
})
