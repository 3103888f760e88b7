-- SPDX-License-Identifier: Apache-2.0
--
-- Puts the project's Lua modules in reach of a plain luajit that stands in the root of the tree:
--
--     require('tools.modules').use(arg)      -- first thing, with the arguments of the program
--
-- The two modules in C, moongate.yaml and cjson, come from a build folder: $MOONGATE_BUILD, else
-- the folder of $MOONGATE_BIN, else build/release or what else has been built in build/.
-- A sanitizer's runtime has to be in a process from its start, so for such a build the program is
-- started again with LD_PRELOAD; what it starts itself gets the first environment back.
local ffi = require 'ffi'

local M = {}

ffi.cdef [[
int setenv(const char *name, const char *value, int overwrite);
int unsetenv(const char *name);
int execvp(const char *file, const char *const argv[]);
]]

local SAVED = 'MOONGATE_ASAN_OPTIONS'
local EXIT_USAGE = 2

local function readable(path)
    local file = io.open(path)
    if file then
        file:close()
    end
    return file ~= nil
end

--- The build folder that has the modules in C; without one the program ends.
-- @treturn string
function M.build_folder()
    local given = os.getenv('MOONGATE_BUILD')
    if given then
        return given
    end
    local beside = (os.getenv('MOONGATE_BIN') or ''):match('^(.*)/[^/]*$')
    for _, folder in ipairs({ beside or 'build/release', 'build/release', 'build/debug',
        'build/asan' }) do
        if readable(folder .. '/lua/cjson.so') then
            return folder
        end
    end
    io.stderr:write('no build folder has lua/cjson.so: run script/build release all\n')
    os.exit(EXIT_USAGE)
end

local function set_env(name, value)
    if value then
        ffi.C.setenv(name, value, 1)
    else
        ffi.C.unsetenv(name)
    end
end

-- LuaJIT does not free all it holds when a process ends by os.exit, so leaks are not looked for.
local function start_again(runtime, arguments)
    local options = os.getenv('ASAN_OPTIONS')
    set_env(SAVED, options or '')
    set_env('ASAN_OPTIONS', (options and options .. ':' or '') .. 'detect_leaks=0')
    set_env('LD_PRELOAD', runtime)
    local argv = ffi.new('const char *[?]', #arguments + 3)
    argv[0] = 'luajit'
    for i = 0, #arguments do
        argv[i + 1] = arguments[i]
    end
    ffi.C.execvp(argv[0], argv)
    error('cannot start luajit again')
end

local function preload(build, arguments)
    local saved = os.getenv(SAVED)
    if saved then
        set_env('ASAN_OPTIONS', saved ~= '' and saved or nil)
        set_env('LD_PRELOAD', nil)
        set_env(SAVED, nil)
        return
    end
    local file = io.open(build .. '/lua/preload')
    local runtime = file and file:read('*l') or ''
    if file then
        file:close()
    end
    if runtime ~= '' then
        start_again(runtime, arguments)
    end
end

--- Sets package.path and package.cpath.
-- @tparam table arguments the global arg
function M.use(arguments)
    local build = M.build_folder()
    preload(build, arguments)
    package.cpath = build .. '/lua/?.so;' .. package.cpath
    package.path = './lua/?.lua;./lua/?/init.lua;./?.lua;' .. package.path
end

return M
