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

struct mg_vm;

struct mg_chain {
    int confs; /* reference: what its functions get: the configurations by place */
    /* references to functions; LUA_NOREF where no plugin has the phase */
    int run[MG_PHASE_COUNT];
    int32_t alone[MG_PHASE_COUNT]; /* turn of the one plugin that has the phase; 0: several */
    uint32_t phases;               /* MG_PHASE_BIT */
    uint32_t count;                /* plugins */
    const uint32_t *plugins;       /* plugin_index by place */
    bool is_dynamic;               /* some configuration depends on the consumer */
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
