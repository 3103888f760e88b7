-- SPDX-License-Identifier: Apache-2.0
-- The store redis at work: opened once for all entries that have the same, and asked for each
-- request, once (take.redis.lua, core/model/limit_store.h).
--
--     local own = store.open(conf.redis)
--     C.mg_ffi_limits_store(set, own.handle, 1, store.mode(conf))
--     local verdict, word = store.take(set, req, conf.on_store_error)
local ffi = require 'ffi'
local options = require 'moongate.plugins.rate-limit.store_options'
local redis = require 'moongate.redis'
local runtime = require 'moongate.runtime'
local api = require 'moongate.runtime.ffi'

local C = api.C

local M = {}

-- What on_store_error says: a number for C, and the word for the log where nothing is decided.
local WITHOUT = {
    deny = { number = 0, word = 'store_denied' }, allow = { number = 1, word = 'store_allowed' },
    ['local'] = { number = 2 },
}

-- Read when this file is: so it is in the bundle, whichever plugin counts by this one.
local script = redis.script('limit', 'rate-limit').source
    .. redis.script('take', 'rate-limit').source

local opened = {} -- what makes a store itself -> it

local function new(record, found)
    local instance = redis.open(found.name, found.place)
    local given = ffi.new('struct mg_ffi_limit_store_options', {
        prefix = { ptr = record.prefix, len = #record.prefix },
        script = { ptr = script, len = #script },
        tag_is_prefix = record.tag == 'prefix' and 1 or 0,
        timeout_ms = found.timeout, hold_ttl_ms = record.hold_ttl,
        instances = record.instances == 'auto' and 0 or record.instances,
    })
    local handle = C.mg_ffi_limit_store_new(api.shared.vm, instance.handle, given)
    if handle == nil or not script then -- what `given` points to lives until here
        return nil, 'Redis cannot be reached here'
    end
    return { handle = ffi.gc(handle, C.mg_ffi_limit_store_release), instance = instance }
end

--- Opens the store of an entry; it begins to connect.
-- @tparam table record checked option `redis`
-- @treturn table|nil store: handle
-- @treturn string|nil error
function M.open(record)
    local gateway = runtime.generation.config.gateway
    local found = options.resolve(record, gateway and gateway.redis)
    if not found then
        return nil, ('gateway.redis has no "%s"'):format(record.connection)
    end
    local probe = redis.open(found.name, found.place) -- equal places are one instance
    local key = table.concat({ tostring(ffi.cast('void *', probe.handle)), record.prefix,
        record.tag, found.timeout, record.hold_ttl, record.instances }, '\n')
    local store, err = opened[key], nil
    if not store then
        store, err = new(record, found)
        opened[key] = store
    end
    return store, err
end

--- The mode of an entry.
-- @tparam table conf checked options
-- @treturn cdata struct mg_ffi_limit_mode
function M.mode(conf)
    local record = conf.redis
    local async = record.mode == 'async' and options.async(record)
    local lease = record.mode == 'lease' and options.lease(record)
    return ffi.new('struct mg_ffi_limit_mode', {
        interval_ms = async and async.interval or 0,
        over_admit_permille = async and async.over_admit_percent * 10 or 0,
        -- denials that count, and charges that other hosts may have given back
        asks_before_denial = async and (conf.ban or conf.count_denied or conf.response_cost
            or conf.count_when ~= 'always') and 1 or 0,
        lease_ttl_ms = lease and lease.ttl or 0,
        lease_permille = lease and lease.percent * 10 or 0,
    })
end

--- Decides on what was asked of a set since its last decision.
-- @tparam cdata set struct mg_ffi_limits *
-- @tparam cdata req
-- @tparam string on_error option on_store_error; `allow` also where nothing is enforced
-- @treturn cdata struct mg_ffi_limit_verdict: until the set decides again
-- @treturn string|nil the word for the log where the store failed and nothing was decided
function M.take(set, req, on_error)
    local call = C.mg_ffi_limits_ask(set, req)
    if call == nil then
        return C.mg_ffi_limits_take(set, req)
    end
    if C.mg_ffi_limits_send(call) == 0 then
        runtime.sched.wait()
    end
    local verdict = C.mg_ffi_limits_reply(call)
    if verdict ~= nil then
        return verdict
    end
    local how = WITHOUT[on_error]
    return C.mg_ffi_limits_alone(call, how.number), how.word
end

return M
