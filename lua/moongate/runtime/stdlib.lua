-- SPDX-License-Identifier: Apache-2.0
-- The standard library as plugins find it (docs/plugin-reference.md). Plugins are the operator's
-- code: io, os, debug and ffi stay; what is changed serves the limits and the event loop.
-- luacheck: globals coroutine os io debug jit
local boot = require 'moongate.runtime.boot'
local guard = require 'moongate.runtime.guard'
local sched = require 'moongate.runtime.sched'

local M = {}

local WARN, NOTICE = 4, 5
local raw_loadstring, raw_load = loadstring, load
local raw_setfenv, raw_debug_setfenv = setfenv, debug.setfenv
local getinfo, open = debug.getinfo, io.open

local function place(level)
    local info = getinfo(level + 1, 'Sl')
    return info and ('%s:%d'):format(info.short_src, info.currentline) or '?'
end

local warned = {}

--- Writes a warning to the error log, once for each key.
local function warn_once(key, text)
    if not warned[key] then
        warned[key] = true
        boot.log(WARN, 'runtime', text)
    end
end

-- ---- chunks: text only -------------------------------------------------------------------------

local function text_mode(mode)
    return mode == nil or mode:find('t', 1, true) ~= nil
end

local NOT_TEXT = 'only chunks of text can be loaded, not bytecode'

local function load_text(chunk, name, mode, ...)
    if not text_mode(mode) then
        return nil, NOT_TEXT
    end
    if select('#', ...) == 0 then
        return raw_load(chunk, name, 't')
    end
    return raw_load(chunk, name, 't', (...))
end

local function load_file(path, mode, ...)
    if not text_mode(mode) then
        return nil, NOT_TEXT
    end
    local file, err = open(path or '', 'rb')
    if not file then
        return nil, 'cannot open ' .. tostring(err)
    end
    local text = file:read('*a')
    file:close()
    return load_text((text:gsub('^#[^\n]*', '')), '@' .. path, 't', ...)
end

local function do_file(path)
    local chunk, err = load_file(path)
    if not chunk then
        error(err, 2)
    end
    return chunk()
end

-- ---- what blocks
-- ---------------------------------------------------------------------------------

local function blocking(name, fn)
    return function(...)
        local where = place(2)
        warn_once(name .. where, ('%s at %s blocks the worker'):format(name, where))
        return fn(...)
    end
end

local function nothing()
end

local function no_exit()
    error('os.exit would end the worker: not allowed in a plugin', 2)
end

local function print_to_log(...)
    local parts = {}
    for i = 1, select('#', ...) do
        parts[i] = tostring((select(i, ...)))
    end
    local plugin = require('moongate.runtime').plugin()
    boot.log(NOTICE, plugin and 'plugin ' .. plugin or 'print', table.concat(parts, '\t'))
end

-- ---- globals
-- -------------------------------------------------------------------------------------

-- Coroutines serve one request after another, so what is loaded in a later one would find the
-- globals that an earlier one was given.
local SHARED = 'it would change the globals of other requests: not allowed in a plugin'

-- A tail call, so that a level means the same as without it.
local function set_environment(what, environment)
    if what == 0 then
        error('setfenv(0, ...): ' .. SHARED, 2)
    end
    return raw_setfenv(what, environment)
end

local function debug_set_environment(what, environment)
    if type(what) == 'thread' then
        error('debug.setfenv of a coroutine: ' .. SHARED, 2)
    end
    return raw_debug_setfenv(what, environment)
end

local function watch_globals()
    setmetatable(_G, {
        __newindex = function(globals, name, value)
            local where = place(2)
            warn_once('global ' .. tostring(name) .. where,
                ("global '%s' is set at %s; use a local"):format(tostring(name), where))
            rawset(globals, name, value)
        end,
    })
end

--- Changes the library in place. Call it once, before any plugin is loaded.
function M.install()
    _G.pcall, _G.xpcall = guard.pcall, guard.xpcall
    for name, fn in pairs(sched.library) do
        coroutine[name] = fn
    end
    _G.load = load_text
    _G.loadstring = function(text, name)
        if type(text) ~= 'string' then
            error("bad argument #1 to 'loadstring' (string expected)", 2)
        end
        return raw_loadstring(text, name, 't')
    end
    _G.loadfile, _G.dofile, _G.print = load_file, do_file, print_to_log
    os.exit = no_exit
    os.execute, io.popen = blocking('os.execute', os.execute), blocking('io.popen', io.popen)
    _G.setfenv, debug.setfenv = set_environment, debug_set_environment
    debug.sethook = nil
    jit.on, jit.off, jit.flush = nothing, nothing, nothing
    jit.opt = { start = nothing }
    package.loaded['jit.opt'] = jit.opt
    package.preload['jit.profile'] = nil
    watch_globals()
end

--- Raises the compiler's bounds: a gateway has more code than a script, and a chain of plugins is
-- one trace, whose constants are the functions, tables and names of all of them. Machine code is
-- not counted as Lua memory, so it has a cap of its own.
--
-- Traces that it gives up are counted only where somebody asks: to tell a listener of one, LuaJIT
-- (of 2022) looks for a Lua function on the stack, and where it gives up late, after an error as
-- for memory, the stack may be one of C functions alone, behind whose end it reads on.
function M.tune()
    if os.getenv('MOONGATE_COUNT_TRACE_ABORTS') then
        jit.attach(function(what)
            if what == 'abort' then
                boot.count_abort()
            end
        end, 'trace')
    end
    jit.opt.start('maxtrace=4000', 'maxmcode=16384', 'maxrecord=8000', 'maxirconst=4000',
        'maxsnap=1000', 'maxside=200')
end

return M
