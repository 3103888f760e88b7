/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the description that lua/moongate/runtime/chain.lua makes:
 *
 *   { turns   = { { plugin =, index =, cpu_ms =, wall_ms =, open =, quarantine = }, ... },
 *     plugins = number of them,
 *     chains  = { { confs = {...}, run = { access = fn, ... }, plugins = { index, ... },
 *                   dynamic =, body_read_only =, alone = { access = turn, ... },
 *                   calls = { access = { place, ... }, ... }, long = }, ... },
 *     routes  = { chain, ... }, global = chain, identity = { name, ... } }
 *
 * Indexes of chains and plugins, and places, count from 1 there.
 */
#include "script/chain.h"

#include "base/arena.h"
#include "script/vm.h"

#include "script/export.h"
#include "script/ffi.h"
#include "script/ffi_log.h"
#include "script/ffi_plan.h"

#include <lauxlib.h>
#include <stdlib.h>

struct intake {
    struct mg_vm *vm;
    struct mg_config *config;
};

static uint64_t number_field(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    const double value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value > 0 ? (uint64_t)value : 0;
}

static bool flag_field(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    const bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* The text lives in the arena of the snapshot, which outlives the VM's use of it. */
static const char *text_field(struct intake *in, lua_State *L, const char *name)
{
    size_t length;
    lua_getfield(L, -1, name);
    const char *text = luaL_checklstring(L, -1, &length);
    const char *copy = mg_arena_copy(&in->config->arena, mg_str_make(text, length));
    lua_pop(L, 1);
    return copy;
}

static void take_turns(struct intake *in, lua_State *L)
{
    struct mg_vm *vm = in->vm;
    lua_getfield(L, 1, "turns");
    const uint32_t count = (uint32_t)lua_objlen(L, -1);
    vm->turns = realloc(vm->turns, (count + 1) * sizeof *vm->turns);
    mg_require(vm->turns != NULL);
    for (uint32_t i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, (int)i);
        const uint32_t cpu_ms = (uint32_t)number_field(L, "cpu_ms");
        vm->turns[i] = (struct mg_turn){
            .plugin = text_field(in, L, "plugin"),
            .plugin_index = (uint32_t)number_field(L, "index") - 1,
            .cpu_ms = cpu_ms,
            .cpu_ticks = (cpu_ms + MG_CPU_TICK_MS - 1) / MG_CPU_TICK_MS,
            .wall_ms = number_field(L, "wall_ms"),
            .open = flag_field(L, "open"),
            .may_quarantine = flag_field(L, "quarantine"),
        };
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    vm->turn_count = count + 1;
    vm->watch.turns = vm->turns;
    vm->watch.turn_count = vm->turn_count;
}

static void take_functions(struct mg_chain *chain, lua_State *L)
{
    lua_getfield(L, -1, "run");
    for (int phase = 0; phase < MG_PHASE_COUNT; phase++) {
        lua_getfield(L, -1, mg_phase_name((enum mg_phase)phase));
        chain->run[phase] = LUA_NOREF;
        if (lua_isfunction(L, -1)) {
            chain->phases |= MG_PHASE_BIT((unsigned)phase);
            chain->run[phase] = luaL_ref(L, LUA_REGISTRYINDEX);
        } else {
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

static void take_alone(struct mg_chain *chain, lua_State *L)
{
    lua_getfield(L, -1, "alone");
    for (int phase = 0; phase < MG_PHASE_COUNT; phase++) {
        chain->alone[phase] = (int32_t)number_field(L, mg_phase_name((enum mg_phase)phase));
    }
    lua_pop(L, 1);
}

/* The numbers of the list on top, each less 1. */
static const uint32_t *take_list(struct intake *in, lua_State *L, uint32_t *count)
{
    *count = (uint32_t)lua_objlen(L, -1);
    uint32_t *list = mg_arena_alloc(&in->config->arena, (*count + 1) * sizeof *list);
    for (uint32_t i = 0; i < *count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        list[i] = (uint32_t)lua_tointeger(L, -1) - 1;
        lua_pop(L, 1);
    }
    return list;
}

static void take_places(struct intake *in, struct mg_chain *chain, lua_State *L)
{
    lua_getfield(L, -1, "plugins");
    chain->plugins = take_list(in, L, &chain->count);
    lua_pop(L, 1);
}

static void take_calls(struct intake *in, struct mg_chain *chain, lua_State *L)
{
    lua_getfield(L, -1, "calls");
    for (int phase = 0; phase < MG_PHASE_COUNT; phase++) {
        lua_getfield(L, -1, mg_phase_name((enum mg_phase)phase));
        if (lua_istable(L, -1)) {
            chain->calls[phase].places = take_list(in, L, &chain->calls[phase].count);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void take_chains(struct intake *in, lua_State *L)
{
    struct mg_vm *vm = in->vm;
    lua_getfield(L, 1, "chains");
    const uint32_t count = (uint32_t)lua_objlen(L, -1);
    vm->chains = calloc(count + 1, sizeof *vm->chains);
    mg_require(vm->chains != NULL);
    vm->chain_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct mg_chain *chain = &vm->chains[i];
        lua_rawgeti(L, -1, (int)i + 1);
        lua_getfield(L, -1, "confs");
        chain->confs = luaL_ref(L, LUA_REGISTRYINDEX);
        take_functions(chain, L);
        take_places(in, chain, L);
        take_alone(chain, L);
        take_calls(in, chain, L);
        chain->is_dynamic = flag_field(L, "dynamic");
        chain->is_long = flag_field(L, "long");
        chain->body_read_only = flag_field(L, "body_read_only");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static uint32_t chain_index(const struct intake *in, lua_State *L, lua_Integer index)
{
    if (index < 1 || (uint32_t)index > in->vm->chain_count) {
        luaL_error(L, "no chain %d", (int)index);
    }
    return (uint32_t)index - 1;
}

static void take_routes(struct intake *in, lua_State *L)
{
    struct mg_config *config = in->config;
    lua_getfield(L, 1, "routes");
    if (lua_objlen(L, -1) != config->route_count) {
        luaL_error(L, "%d routes have chains, %d are configured", (int)lua_objlen(L, -1),
                   (int)config->route_count);
    }
    for (uint32_t i = 0; i < config->route_count; i++) {
        struct mg_route *route = &config->routes[i];
        lua_rawgeti(L, -1, (int)i + 1);
        route->chain = chain_index(in, L, lua_tointeger(L, -1));
        lua_pop(L, 1);
        const struct mg_chain *chain = &in->vm->chains[route->chain];
        route->phases = chain->phases & ~MG_PHASE_BIT(MG_PHASE_REWRITE);
        route->body_read_only = chain->body_read_only;
    }
    lua_pop(L, 1);
    lua_getfield(L, 1, "global");
    config->global_chain = chain_index(in, L, lua_tointeger(L, -1));
    lua_pop(L, 1);
    config->global_phases =
        in->vm->chains[config->global_chain].phases & ~MG_PHASE_BIT(MG_PHASE_ACCESS);
    config->global_body_read_only = in->vm->chains[config->global_chain].body_read_only;
}

static void take_identity(struct intake *in, lua_State *L)
{
    struct mg_config *config = in->config;
    lua_getfield(L, 1, "identity");
    const uint32_t count = (uint32_t)lua_objlen(L, -1);
    config->identity_names =
        mg_arena_alloc(&config->arena, (count + 1) * sizeof *config->identity_names);
    config->identity_count = count;
    for (uint32_t i = 0; i < count; i++) {
        size_t length;
        lua_rawgeti(L, -1, (int)i + 1);
        const char *name = luaL_checklstring(L, -1, &length);
        config->identity_names[i] = mg_arena_copy_str(&config->arena, mg_str_make(name, length));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* (description, intake) */
static int on_take(lua_State *L)
{
    struct intake *in = lua_touserdata(L, 2);
    luaL_checktype(L, 1, LUA_TTABLE);
    take_turns(in, L);
    lua_getfield(L, 1, "plugins");
    in->vm->plugin_count = (uint32_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    in->vm->quarantines = calloc(in->vm->plugin_count + 1, sizeof *in->vm->quarantines);
    mg_require(in->vm->quarantines != NULL);
    take_chains(in, L);
    take_routes(in, L);
    take_identity(in, L);
    return 0;
}

int mg_chain_take(struct mg_vm *vm, struct mg_config *config)
{
    struct intake in = {.vm = vm, .config = config};
    lua_State *L = vm->L;
    vm->config = config;
    lua_pushcfunction(L, on_take);
    lua_insert(L, -2);
    lua_pushlightuserdata(L, &in);
    return mg_vm_call(vm, 2, 0);
}

const struct mg_chain *mg_chain_of(const struct mg_vm *vm, const struct mg_route *route)
{
    return &vm->chains[route ? route->chain : vm->config->global_chain];
}

int mg_chain_place(const struct mg_chain *chain, uint32_t plugin_index)
{
    for (uint32_t i = 0; i < chain->count; i++) {
        if (chain->plugins[i] == plugin_index) {
            return (int)i;
        }
    }
    return -1;
}

/* --- plans ----------------------------------------------------------------------------------- */

void mg_chain_rest(struct mg_chain *chain, enum mg_phase phase, lua_State *L)
{
    luaL_unref(L, LUA_REGISTRYINDEX, chain->run[phase]);
    chain->run[phase] = LUA_NOREF;
    if (lua_isfunction(L, -1)) {
        chain->run[phase] = luaL_ref(L, LUA_REGISTRYINDEX);
    } else {
        lua_pop(L, 1);
    }
}

static struct mg_chain_plans *plans_of(struct mg_vm *vm, int chain, int phase)
{
    mg_require(chain >= 0 && (uint32_t)chain < vm->chain_count);
    mg_require(phase >= 0 && phase < MG_PHASE_COUNT);
    return &vm->chains[chain].plans[phase];
}

MG_FFI_EXPORT void mg_ffi_plan_clear(struct mg_vm *vm, int chain, int phase)
{
    plans_of(vm, chain, phase)->count = 0;
}

MG_FFI_EXPORT void mg_ffi_plan_step(struct mg_vm *vm, int chain, int phase, int place,
                                    struct mg_hook_plan *plan)
{
    struct mg_chain_plans *plans = plans_of(vm, chain, phase);
    const uint32_t places = vm->chains[chain].count;
    mg_require(plans->count < places && place >= 0 && (uint32_t)place < places);
    if (!plans->steps) {
        plans->steps = mg_arena_zalloc(&vm->config->arena, places * sizeof *plans->steps);
    }
    plans->steps[plans->count++] = (struct mg_chain_step){.plan = plan, .place = place};
}
