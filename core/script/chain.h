/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chains: which plugins run for a route, in order, with which configurations. Computed in Lua when
 * a generation is built (lua/moongate/runtime/chain.lua) and kept here as registry references, so
 * that a phase is entered with two pushes. Routes with the same plugins and configurations share a
 * chain; chains with the same sequence of plugins share their functions.
 */
#pragma once

#include "base/err.h"
#include "model/config.h"
#include "script/hook_plan.h"

struct lua_State;
struct mg_vm;

/* A place whose hook has a plan. */
struct mg_chain_step {
    struct mg_hook_plan *plan;
    int place;
};

/* Of one phase: the hooks at its front that have plans, in order. */
struct mg_chain_plans {
    struct mg_chain_step *steps; /* room for all places */
    uint32_t count;
};

/* The handlers of one phase. */
struct mg_chain_calls {
    const uint32_t *places;
    uint32_t count;
};

struct mg_chain {
    int confs; /* reference: what its functions get: the configurations by place */
    struct mg_chain_plans plans[MG_PHASE_COUNT];
    /* references to functions, which run the hooks behind the plans; LUA_NOREF where there are
     * none */
    int run[MG_PHASE_COUNT];
    int32_t alone[MG_PHASE_COUNT]; /* turn of the one plugin that has the phase; 0: several */
    uint32_t phases;               /* MG_PHASE_BIT */
    struct mg_chain_calls calls[MG_PHASE_COUNT];
    uint32_t count;          /* plugins */
    const uint32_t *plugins; /* plugin_index by place */
    bool is_dynamic;         /* some configuration depends on the consumer */
    bool is_long;            /* its functions call handlers one by one */
    bool body_read_only;
};

/* Takes over what Lua's load returned (on top of vm->L's stack; popped): the tables of turns and
 * chains, and in config the chain of each route, its phases, the global chain and the identity
 * headers. The routes must be in the order of config->routes. */
MG_NODISCARD int mg_chain_take(struct mg_vm *vm, struct mg_config *config);
/* The chain of a route (NULL: the global one). */
const struct mg_chain *mg_chain_of(const struct mg_vm *vm, const struct mg_route *route);
/* Place of a plugin in the chain, or -1. */
int mg_chain_place(const struct mg_chain *chain, uint32_t plugin_index);
/* The function on top of the stack (popped; nil: none) runs what is behind the plans of a phase. */
void mg_chain_rest(struct mg_chain *chain, enum mg_phase phase, struct lua_State *L);
