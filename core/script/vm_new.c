/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of a Lua state. Everything that may raise runs inside one protected call (on_start), so a
 * broken runtime file or an early lack of memory is a message, not an abort.
 */
#include "script/vm_new.h"

#include "base/shm_metrics.h"
#include "net/tls.h"
#include "script/boot.h"
#include "script/plugin_count.h"
#include "script/runs.h"
#include "script/sched.h"
#include "script/timer.h"

#include "script/ffi.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

#define BOOT_MODULE "moongate.runtime.boot"
#define STEP_MULTIPLIER 400 /* the collector keeps ahead of plugins that make much garbage */

static void open_modules(lua_State *L, const struct mg_vm_module *module)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    for (; module && module->name; module++) {
        lua_pushcfunction(L, module->open);
        lua_setfield(L, -2, module->name);
    }
    lua_pop(L, 2);
}

static void set_loaded(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 2);
}

/* Takes a reference to the function entry[name]. */
static int entry_ref(lua_State *L, int entry, const char *name)
{
    lua_getfield(L, entry, name);
    if (!lua_isfunction(L, -1)) {
        luaL_error(L, "moongate.runtime.bootstrap has no function '%s'", name);
    }
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static void take_entries(struct mg_vm *vm, lua_State *L)
{
    const int entry = lua_gettop(L);
    luaL_checktype(L, entry, LUA_TTABLE);
    vm->entry.load = entry_ref(L, entry, "load");
    vm->entry.fire = entry_ref(L, entry, "fire");
    vm->entry.slow = entry_ref(L, entry, "slow");
    vm->entry.collect = entry_ref(L, entry, "collect");
    vm->entry.forget = entry_ref(L, entry, "forget");
    vm->entry.configure = entry_ref(L, entry, "configure");
    vm->entry.bundle = entry_ref(L, entry, "bundle");
    vm->entry.chain = entry_ref(L, entry, "chain");
    lua_getfield(L, entry, "limit");
    lua_setfield(L, LUA_REGISTRYINDEX, "mg.limit");
}

static int on_start(lua_State *L)
{
    struct mg_vm *vm = lua_touserdata(L, 1);
    luaL_openlibs(L);
    mg_budget_compiler_off(L);
    lua_gc(L, LUA_GCSETSTEPMUL, STEP_MULTIPLIER);
    open_modules(L, vm->options.modules);
    mg_boot_push(vm, L);
    set_loaded(L, BOOT_MODULE);
    mg_boot_push_module(vm, L, "moongate.runtime.bootstrap");
    size_t bytes;
    const char *source = lua_tolstring(L, -2, &bytes);
    if (luaL_loadbufferx(L, source, bytes, lua_tostring(L, -1), "t")) {
        lua_error(L);
    }
    lua_call(L, 0, 1);
    take_entries(vm, L);
    return 0;
}

static const char *error_text(lua_State *L)
{
    const char *text = lua_tostring(L, -1);
    return text ? text : "error object is not a text";
}

static void init_shared(struct mg_vm *vm)
{
    vm->shared = calloc(1, sizeof *vm->shared);
    mg_require(vm->shared != NULL);
    vm->shared->slot = -1;
    vm->shared->phase = -1; /* modules are loaded */
    vm->shared->vm = vm;
    vm->turns = calloc(1, sizeof *vm->turns);
    mg_require(vm->turns != NULL);
    vm->turn_count = 1;
    if (vm->options.shm) {
        mg_plugin_count_define(vm->options.shm, vm->options.worker);
        mg_runs_define(vm->options.shm);
        vm->counters = mg_metric_words(vm->options.shm, vm->options.worker);
    }
    vm->turns[0] = (struct mg_turn){.cpu_ms = 50, .cpu_ticks = 13, .wall_ms = 60000};
    vm->watch = (struct mg_budget_watch){
        .turn = &vm->shared->turn,
        .unwind = &vm->shared->unwind,
        .phase = &vm->shared->phase,
        .expression = &vm->shared->expression,
        .turns = vm->turns,
        .turn_count = vm->turn_count,
        .slot = vm->options.slot,
    };
}

struct mg_vm *mg_vm_new(const struct mg_vm_options *options, char *message, size_t message_bytes)
{
    struct mg_vm *vm = calloc(1, sizeof *vm);
    mg_require(vm != NULL);
    vm->options = *options;
    vm->loop = options->loop;
    init_shared(vm);
    mg_sched_init(vm);
    vm->L = luaL_newstate();
    if (!vm->L) {
        snprintf(message, message_bytes, "no memory for a Lua state");
        mg_vm_free(vm);
        return NULL;
    }
    mg_alloc_attach(&vm->alloc, vm->L, options->memory_bytes);
    vm->alloc.enforced = true;
    const int failed = lua_cpcall(vm->L, on_start, vm);
    vm->alloc.enforced = false;
    if (failed) {
        snprintf(message, message_bytes, "the Lua runtime does not start: %s", error_text(vm->L));
        mg_vm_free(vm);
        return NULL;
    }
    return vm;
}

void mg_vm_free(struct mg_vm *vm)
{
    if (!vm) {
        return;
    }
    mg_timer_deinit(vm);
    mg_sched_deinit(vm);
    if (vm->L) {
        if (vm->budget) {
            mg_budget_drop_profiler(vm->budget, vm->L);
        }
        mg_alloc_close(&vm->alloc, vm->L);
    }
    mg_tls_context_free(vm->tls[0]);
    mg_tls_context_free(vm->tls[1]);
    free(vm->chains);
    free(vm->quarantines);
    free(vm->turns);
    free(vm->shared);
    free(vm);
}

void mg_vm_adopt(struct mg_vm *vm, struct mg_budget *budget)
{
    vm->budget = budget;
    vm->options.bundle = NULL; /* was borrowed for loading */
    vm->shared->loop_thread = 1;
}
