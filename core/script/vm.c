/* SPDX-License-Identifier: Apache-2.0 */
/* What all parts of the script layer do with a state. */
#include "script/vm.h"

#include "base/stats.h"

#include "script/ffi.h"

#include <lauxlib.h>

#define MOST_FINALISER_ERRORS 100 /* in one collection; enough is freed by then */

void mg_vm_log(struct mg_vm *vm, enum mg_log_level level, const char *component, const void *site,
               mg_str text)
{
    if (vm->options.on_log) {
        vm->options.on_log(vm->options.log_context, level, component, text);
    } else {
        mg_log_bytes(vm->options.log, level, component, site, text);
    }
}

static int add_traceback(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TSTRING) {
        luaL_traceback(L, L, lua_tostring(L, 1), 1);
    }
    return 1;
}

int mg_vm_call(struct mg_vm *vm, int arguments, int results)
{
    lua_State *L = vm->L;
    const int base = lua_gettop(L) - arguments;
    struct mg_budget_run run;
    mg_budget_run_init(&run);
    if (!vm->traceback) { /* kept: a C function is a new object each time it is pushed */
        lua_pushcfunction(L, add_traceback);
        vm->traceback = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->traceback);
    lua_insert(L, base);
    vm->shared->unwind = MG_UNWIND_NONE;
    if (vm->budget) {
        mg_budget_begin(vm->budget, L, &vm->watch, &run);
    }
    vm->alloc.enforced = true;
    const int failed = lua_pcall(L, arguments, results, base);
    vm->alloc.enforced = false;
    if (vm->budget) {
        mg_budget_end(vm->budget);
    }
    lua_remove(L, base);
    return failed ? MG_ELUA : 0;
}

const char *mg_vm_error(struct mg_vm *vm)
{
    if (luaL_callmeta(vm->L, -1, "__tostring")) {
        lua_remove(vm->L, -2);
    }
    const char *text = lua_tostring(vm->L, -1);
    return text ? text : "error object is not a text";
}

static int on_collect(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

/* A finaliser's error ends a collection. Those of plugins are caught (runtime/finaliser.lua); what
 * is left are C libraries, whose errors would otherwise end the worker. */
void mg_vm_full_gc(lua_State *L)
{
    for (int tries = 0; tries < MOST_FINALISER_ERRORS && lua_cpcall(L, on_collect, NULL); tries++) {
        lua_pop(L, 1);
    }
}

/* Live data may well stay over the soft limit: the next collection waits until half of what was
 * then left is used up. */
void mg_vm_collect(struct mg_vm *vm)
{
    struct mg_alloc *alloc = &vm->alloc;
    const uint64_t refused = alloc->refused - vm->refused;
    mg_vm_full_gc(vm->L);
    mg_alloc_set_soft(alloc);
    if (refused) {
        vm->refused = alloc->refused;
        vm->exhausted = mg_alloc_is_exhausted(alloc);
        if (vm->options.stats) {
            mg_stats_add(vm->options.stats, MG_STAT_LUA_MEMORY, refused);
        }
    }
}
