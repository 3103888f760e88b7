-- SPDX-License-Identifier: Apache-2.0
-- Finalisers of plugins: __gc of a proxy, of a C type, and what ffi.gc is given. They run wherever
-- Lua happens to allocate, so in the middle of another plugin's request, or where nothing could
-- catch an error. Here an error of theirs is logged and goes no further, and they have no request.
local ffi = require 'ffi'
local boot = require 'moongate.runtime.boot'
local guard = require 'moongate.runtime.guard'
local shared = require('moongate.runtime.ffi').shared

local M = {}

local raw_pcall = guard.raw.pcall
local ERROR, NONE, EXIT = 3, -1, boot.unwind.EXIT

-- Not each of them: as many may fail as there is garbage.
local FIRST, THEN_EACH = 10, 10000
local failures = 0

local function report(err)
    failures = failures + 1
    if failures <= FIRST or failures % THEN_EACH == 0 then
        boot.log(ERROR, 'runtime', ('a finaliser failed, %d have so far: %s'):format(failures,
            type(err) == 'string' and err or 'error object is a ' .. type(err) .. ' value'))
    end
end

-- After the call: the request that was interrupted goes on.
local function finish(phase, slot, unwind, ok, err)
    shared.phase, shared.slot = phase, slot
    if shared.unwind == EXIT then
        shared.unwind = unwind
    end
    if not ok then
        report(err)
    end
end

local guarded = setmetatable({}, { __mode = 'kv' })

-- Finalisers in C are left as they are.
local function guard_finaliser(fn)
    if type(fn) ~= 'function' and type(fn) ~= 'table' then
        return fn
    end
    local wrapper = guarded[fn]
    if not wrapper then
        wrapper = function(object)
            local phase, slot, unwind = shared.phase, shared.slot, shared.unwind
            shared.phase, shared.slot = NONE, NONE
            finish(phase, slot, unwind, raw_pcall(fn, object))
        end
        guarded[fn] = wrapper
    end
    return wrapper
end

local proxy_meta = {
    __newindex = function(meta, key, value)
        rawset(meta, key, key == '__gc' and guard_finaliser(value) or value)
    end,
}

--- Changes what sets finalisers: newproxy, ffi.gc, ffi.metatype. Call it once, before any plugin is
-- loaded.
function M.install()
    local raw_newproxy, raw_gc, raw_metatype = newproxy, ffi.gc, ffi.metatype
    _G.newproxy = function(...)
        local proxy = raw_newproxy(...)
        if (...) == true then
            setmetatable(getmetatable(proxy), proxy_meta)
        end
        return proxy
    end
    ffi.gc = function(object, finaliser)
        return raw_gc(object, guard_finaliser(finaliser))
    end
    ffi.metatype = function(ctype, meta)
        if type(meta) == 'table' and meta.__gc ~= nil then
            meta.__gc = guard_finaliser(meta.__gc)
        end
        return raw_metatype(ctype, meta)
    end
end

return M
