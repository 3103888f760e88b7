/* SPDX-License-Identifier: Apache-2.0 */
/* A Lua program in a plain state. What it needs to know is in
 * package.loaded['moongate.program']. */
#include "script/program.h"

#include "script/boot.h"
#include "script/load.h"
#include "script/vm_new.h"

#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <stdio.h>

#define FAILED 1

struct start {
    const struct mg_program_options *options;
    const char *module;
    struct mg_vm *vm; /* behind moongate.runtime.boot; no code runs in it */
    int argc;
    char **argv;
};

static void set_paths(lua_State *L, const struct mg_program_options *options)
{
    lua_getglobal(L, "package");
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;", options->lua_path, options->lua_path);
    lua_getfield(L, -2, "path");
    lua_concat(L, 2);
    lua_setfield(L, -2, "path");
    lua_getfield(L, -1, "preload");
    for (const struct mg_vm_module *module = mg_load_modules; module->name; module++) {
        lua_pushcfunction(L, module->open);
        lua_setfield(L, -2, module->name);
    }
    lua_pop(L, 1);
    lua_getfield(L, -1, "loaded");
    lua_newtable(L);
    lua_pushstring(L, options->lua_path);
    lua_setfield(L, -2, "lua_path");
    lua_pushstring(L, options->plugins_path);
    lua_setfield(L, -2, "plugins_path");
    lua_pushstring(L, options->ffi_header);
    lua_setfield(L, -2, "ffi_header");
    lua_setfield(L, -2, "moongate.program");
    lua_pop(L, 2);
}

/* Modules of the gateway that do not need a request (the loader, schemas) run here too. */
static void set_boot(lua_State *L, struct mg_vm *vm)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaded");
    mg_boot_push(vm, L);
    lua_setfield(L, -2, "moongate.runtime.boot");
    lua_pop(L, 2);
}

/* Protected: raises. Leaves the program's result on the stack. */
static int run(lua_State *L)
{
    const struct start *start = lua_touserdata(L, 1);
    luaL_openlibs(L);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF); /* openlibs turns it on */
    set_paths(L, start->options);
    set_boot(L, start->vm);
    lua_getglobal(L, "require");
    lua_pushstring(L, start->module);
    lua_call(L, 1, 1);
    if (!lua_isfunction(L, -1)) {
        return luaL_error(L, "module '%s' returns no function", start->module);
    }
    lua_createtable(L, start->argc, 0);
    for (int i = 0; i < start->argc; i++) {
        lua_pushstring(L, start->argv[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_call(L, 1, 1);
    return 1;
}

static int traceback(lua_State *L)
{
    if (lua_isstring(L, 1)) {
        luaL_traceback(L, L, lua_tostring(L, 1), 1);
    }
    return 1;
}

int mg_program_run(const struct mg_program_options *options, const char *module, int argc,
                   char **argv)
{
    const struct mg_vm_options vm_options = {.lua_path = options->lua_path,
                                             .plugins_path = options->plugins_path,
                                             .ffi_header = options->ffi_header,
                                             .modules = mg_load_modules,
                                             .workers = 1,
                                             .bare = true};
    char message[512];
    struct mg_vm *vm = mg_vm_new(&vm_options, message, sizeof message);
    lua_State *L = vm ? luaL_newstate() : NULL;
    if (!L) {
        fprintf(stderr, "moongate: %s\n", vm ? "no memory for a Lua state" : message);
        mg_vm_free(vm);
        return FAILED;
    }
    const struct start start = {
        .options = options, .module = module, .vm = vm, .argc = argc, .argv = argv};
    lua_pushcfunction(L, traceback);
    lua_pushcfunction(L, run);
    lua_pushlightuserdata(L, (void *)(uintptr_t)&start);
    int exit_code = FAILED;
    if (lua_pcall(L, 1, 1, 1)) {
        const char *text = lua_tostring(L, -1);
        fprintf(stderr, "moongate: %s\n", text ? text : "an error that is no text");
    } else if (lua_isnumber(L, -1)) {
        exit_code = (int)lua_tointeger(L, -1);
    } else {
        fprintf(stderr, "moongate: module '%s' gave no exit code\n", module);
    }
    lua_close(L);
    mg_vm_free(vm);
    return exit_code;
}

const char *mg_program_luajit(void)
{
    return LUAJIT_VERSION + sizeof "LuaJIT"; /* and the blank */
}
