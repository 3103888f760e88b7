/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C side of the runtime's start. Functions here are plain lua_CFunctions with the VM as their
 * first upvalue: none of them is on a hot path.
 */
#include "script/boot.h"

#include "base/hash.h"
#include "base/stats.h"
#include "script/bundle.h"
#include "script/chain.h"
#include "script/fault.h"
#include "script/plugin_count.h"
#include "script/runs.h"
#include "script/vm.h"

#include <dirent.h>
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#ifndef MOONGATE_VERSION
#define MOONGATE_VERSION "0.0.0"
#endif
#define SOURCE_BYTES (4 * 1024 * 1024) /* the largest Lua source we read */

static struct mg_vm *vm_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* Pushes the whole file, or raises with the system's reason. */
static void push_file(lua_State *L, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        luaL_error(L, "%s: %s", path, strerror(errno));
        return;
    }
    char *bytes = lua_newuserdata(L, SOURCE_BYTES); /* freed by Lua, whatever happens */
    const size_t length = fread(bytes, 1, SOURCE_BYTES, file);
    fclose(file);
    lua_pushlstring(L, bytes, length);
    lua_remove(L, -2);
}

static void push_file_beside(lua_State *L, const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    lua_pushlstring(L, path, slash ? (size_t)(slash - path) + 1 : 0);
    lua_pushstring(L, name);
    lua_concat(L, 2);
    push_file(L, lua_tostring(L, -1));
    lua_remove(L, -2);
}

/* bundle(name) -> text | nil */
static int on_bundle(lua_State *L)
{
    const struct mg_bundle *bundle = vm_of(L)->options.bundle;
    size_t length;
    const char *name = luaL_checklstring(L, 1, &length);
    mg_str data;
    if (!bundle || !mg_bundle_find(bundle, mg_str_make(name, length), &data)) {
        lua_pushnil(L);
    } else {
        lua_pushlstring(L, data.ptr, data.len);
    }
    return 1;
}

static void add_name(void *context, mg_str name, mg_str data)
{
    (void)data;
    lua_State *L = context;
    lua_pushlstring(L, name.ptr, name.len);
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
}

/* bundle_names(prefix) -> array of entry names */
static int on_bundle_names(lua_State *L)
{
    const struct mg_bundle *bundle = vm_of(L)->options.bundle;
    size_t length;
    const char *prefix = luaL_checklstring(L, 1, &length);
    lua_newtable(L);
    if (bundle) {
        mg_bundle_each(bundle, mg_str_make(prefix, length), add_name, L);
    }
    return 1;
}

/* log(level, component, text): never held back, see lua/moongate/runtime/log.lua */
static int on_log(lua_State *L)
{
    size_t length;
    const lua_Integer level = luaL_checkinteger(L, 1);
    const char *component = luaL_checkstring(L, 2), *text = luaL_checklstring(L, 3, &length);
    luaL_argcheck(L, level >= MG_LOG_EMERG && level <= MG_LOG_DEBUG, 1, "no such level");
    mg_vm_log(vm_of(L), (enum mg_log_level)level, component, NULL, mg_str_make(text, length));
    return 0;
}

static int on_limit_text(lua_State *L)
{
    char text[256];
    mg_fault_limit_text(vm_of(L), text, sizeof text);
    lua_pushstring(L, text);
    return 1;
}

/* passed(turn) */
static int on_passed(lua_State *L)
{
    const uint32_t turn = (uint32_t)luaL_checkinteger(L, 1);
    mg_fault_passed(vm_of(L), turn);
    mg_runs_passed(vm_of(L), turn);
    return 0;
}

/* blocked(turn) -> 0 | 1 | 2 */
static int on_blocked(lua_State *L)
{
    const lua_Integer turn = luaL_checkinteger(L, 1);
    const int blocked = turn > 0 ? mg_fault_blocked(vm_of(L), (uint32_t)turn) : 0;
    lua_pushinteger(L, blocked);
    if (blocked == 0 && vm_of(L)->sched.running) {
        mg_plugin_slice_begin(vm_of(L)->sched.running);
    }
    return 1;
}

/* list(folder) -> array of file names, empty where there is no such folder */
static int on_list(lua_State *L)
{
    DIR *folder = opendir(luaL_checkstring(L, 1));
    lua_newtable(L);
    if (!folder) {
        return 1;
    }
    const struct dirent *entry;
    int count = 0;
    while ((entry = readdir(folder)) && count < 100000) {
        if (entry->d_name[0] != '.') {
            lua_pushstring(L, entry->d_name);
            lua_rawseti(L, -2, ++count);
        }
    }
    closedir(folder);
    return 1;
}

/* sha1(text) -> 40 hexadecimal digits */
static int on_sha1(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    uint8_t digest[MG_SHA1_BYTES];
    char hex[2 * MG_SHA1_BYTES];
    mg_hash_sha1(mg_str_make(text, length), digest);
    mg_hash_hex(digest, sizeof digest, hex);
    lua_pushlstring(L, hex, sizeof hex);
    return 1;
}

/* rest(chain, phase, function | nil): what runs behind the plans of the phase; chain from 0 */
static int on_rest(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    const lua_Integer chain = luaL_checkinteger(L, 1), phase = luaL_checkinteger(L, 2);
    luaL_argcheck(L, chain >= 0 && chain < (lua_Integer)vm->chain_count, 1, "no such chain");
    luaL_argcheck(L, phase >= 0 && phase < MG_PHASE_COUNT, 2, "no such phase");
    lua_settop(L, 3);
    mg_chain_rest(&vm->chains[chain], (enum mg_phase)phase, L);
    return 0;
}

/* count_abort(): the compiler gave a trace up */
static int on_count_abort(lua_State *L)
{
    struct mg_vm *vm = vm_of(L);
    if (vm->options.stats) {
        mg_stats_add(vm->options.stats, MG_STAT_TRACE_ABORTS, 1);
    }
    return 0;
}

/* address(offset) -> light userdata inside the shared struct */
static int on_address(lua_State *L)
{
    char *base = (char *)vm_of(L)->shared;
    lua_pushlightuserdata(L, base + luaL_checkinteger(L, 1));
    return 1;
}

static void set_function(struct mg_vm *vm, lua_State *L, const char *name, lua_CFunction function)
{
    lua_pushlightuserdata(L, vm);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, int value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void set_text(lua_State *L, const char *name, const char *text)
{
    if (text) {
        lua_pushstring(L, text);
        lua_setfield(L, -2, name);
    }
}

static void set_constants(lua_State *L)
{
    lua_newtable(L);
    for (int phase = 0; phase < MG_PHASE_COUNT; phase++) {
        set_number(L, mg_phase_name((enum mg_phase)phase), phase);
    }
    lua_setfield(L, -2, "phases");
    lua_newtable(L);
#define SET_ERROR(name, number, text) set_number(L, #name, MG_E##name);
    MG_ERR_MAP(SET_ERROR)
#undef SET_ERROR
    lua_setfield(L, -2, "errors");
    lua_newtable(L);
    set_number(L, "CPU", MG_UNWIND_CPU);
    set_number(L, "WALL", MG_UNWIND_WALL);
    set_number(L, "EXIT", MG_UNWIND_EXIT);
    set_number(L, "QUARANTINE", MG_UNWIND_QUARANTINE);
    lua_setfield(L, -2, "unwind");
}

static void push_header(struct mg_vm *vm, lua_State *L)
{
    mg_str data;
    if (vm->options.bundle && mg_bundle_find(vm->options.bundle, MG_STR("ffi.h"), &data)) {
        lua_pushlstring(L, data.ptr, data.len);
        return;
    }
    push_file(L, vm->options.ffi_header);
    push_file_beside(L, vm->options.ffi_header, "ffi_log.h");
    push_file_beside(L, vm->options.ffi_header, "ffi_plan.h");
    lua_concat(L, 3);
}

void mg_boot_push(struct mg_vm *vm, lua_State *L)
{
    lua_newtable(L);
    lua_pushlightuserdata(L, vm->shared);
    lua_setfield(L, -2, "shared");
    push_header(vm, L);
    lua_setfield(L, -2, "ffi_source");
    set_text(L, "lua_path", vm->options.lua_path);
    set_text(L, "plugins_path", vm->options.plugins_path);
    set_text(L, "version", MOONGATE_VERSION);
    if (vm->options.bundle) {
        set_function(vm, L, "bundle", on_bundle);
        set_function(vm, L, "bundle_names", on_bundle_names);
    }
    set_function(vm, L, "log", on_log);
    set_function(vm, L, "limit_text", on_limit_text);
    set_function(vm, L, "blocked", on_blocked);
    set_function(vm, L, "passed", on_passed);
    set_function(vm, L, "address", on_address);
    set_function(vm, L, "count_abort", on_count_abort);
    set_function(vm, L, "rest", on_rest);
    set_function(vm, L, "list", on_list);
    set_function(vm, L, "sha1", on_sha1);
    set_constants(L);
    set_number(L, "worker", (int)vm->options.worker);
    set_number(L, "workers", (int)vm->options.workers);
    lua_pushboolean(L, vm->options.bare);
    lua_setfield(L, -2, "bare");
}

void mg_boot_push_module(struct mg_vm *vm, lua_State *L, const char *module)
{
    if (vm->options.bundle) {
        mg_str data;
        lua_pushfstring(L, "lua:%s", module);
        if (!mg_bundle_find(vm->options.bundle, mg_str_from(lua_tostring(L, -1)), &data)) {
            luaL_error(L, "the bundle has no %s", module);
        }
        const ptrdiff_t end = mg_str_find(data, '\n', 0); /* first line: the path */
        if (end < 0) {
            luaL_error(L, "the bundle's entry of %s has no path", module);
        }
        lua_pop(L, 1);
        lua_pushlstring(L, data.ptr + end + 1, data.len - (size_t)end - 1);
        lua_pushlstring(L, "@", 1);
        lua_pushlstring(L, data.ptr, (size_t)end);
        lua_concat(L, 2);
        return;
    }
    const char *file = luaL_gsub(L, module, ".", "/");
    lua_pushfstring(L, "%s/%s.lua", vm->options.lua_path, file);
    push_file(L, lua_tostring(L, -1));
    lua_pushfstring(L, "@%s", lua_tostring(L, -2));
    lua_remove(L, -3);
    lua_remove(L, -3);
}
