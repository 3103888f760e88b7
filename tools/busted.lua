-- SPDX-License-Identifier: Apache-2.0
--
-- luajit tools/busted.lua [BUSTED OPTIONS] FILE...
--
-- busted under LuaJIT, which the distribution's own command does not use, with the modules of
-- lua/ and plugins/ in reach. Run from the root of the tree.
--
-- The two modules in C, moongate.yaml and cjson, come from a build folder: $MOONGATE_BUILD, else
-- the folder of $MOONGATE_BIN, else build/release or what else has been built in build/.
-- A sanitizer's runtime has to be in a process from its start, so for such a build this program
-- starts itself again with LD_PRELOAD; what the specs start gets the first environment back.
local ffi = require 'ffi'

ffi.cdef [[
int setenv(const char *name, const char *value, int overwrite);
int unsetenv(const char *name);
int execvp(const char *file, const char *const argv[]);
]]

local SAVED = 'MOONGATE_ASAN_OPTIONS'

local function readable(path)
    local file = io.open(path)
    if file then
        file:close()
    end
    return file ~= nil
end

local function build_folder()
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
    io.stderr:write('busted.lua: no build folder has lua/cjson.so; run script/build release all\n')
    os.exit(2)
end

local function set_env(name, value)
    if value then
        ffi.C.setenv(name, value, 1)
    else
        ffi.C.unsetenv(name)
    end
end

-- LuaJIT does not free all it holds when a process ends by os.exit, so leaks are not looked for.
local function start_again(runtime)
    local options = os.getenv('ASAN_OPTIONS')
    set_env(SAVED, options or '')
    set_env('ASAN_OPTIONS', (options and options .. ':' or '') .. 'detect_leaks=0')
    set_env('LD_PRELOAD', runtime)
    local argv = ffi.new('const char *[?]', #arg + 3)
    argv[0] = 'luajit'
    for i = 0, #arg do
        argv[i + 1] = arg[i]
    end
    ffi.C.execvp(argv[0], argv)
    error('cannot start luajit again')
end

local function preload(build)
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
        start_again(runtime)
    end
end

local build = build_folder()
preload(build)
package.cpath = build .. '/lua/?.so;' .. package.cpath
package.path = './lua/?.lua;./lua/?/init.lua;./?.lua;' .. package.path
require('busted.runner')({ standalone = false })
