/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A generation: an immutable configuration snapshot and its own Lua state, built from a bundle
 * beside the old one, referenced by its requests, freed when the last one ends.
 *
 *     struct mg_generation *generation;
 *     mg_generation_build(&environment, bundle, number, on_built, context);
 *     // loads on libuv's pool, then runs init_worker and configure, then calls on_built
 *     mg_generation_hold(generation) / mg_generation_release(generation)
 */
#pragma once

#include "model/config.h"
#include "model/peer.h"
#include "net/loop.h"

struct mg_vm;
struct mg_bundle;
struct mg_log;
struct mg_shm;
struct mg_pool;
struct mg_dns;
struct mg_sinks;
struct mg_redis_set;

/* What a generation's Lua may reach; outlives it. */
struct mg_environment {
    struct mg_loop *loop;
    struct mg_log *log;
    struct mg_shm *shm;
    struct mg_pool *pool; /* for moongate.http */
    struct mg_dns *dns;
    struct mg_sinks *sinks;     /* for access logs; NULL: entries of access-log are refused */
    struct mg_redis_set *redis; /* for moongate.redis; NULL: it fails */
    const char *lua_path;       /* folder of lua/moongate */
    const char *plugins_path;   /* folder of the plugins we ship */
    const char *ffi_header;     /* path of core/script/ffi.h */
    uint32_t worker, workers;   /* index and number */
    bool compiler_off;          /* tests: no JIT, no profiler */
    /* of generation.c: made with the first build, gone with the loop */
    struct mg_builder *builder;
};

struct mg_generation {
    uint64_t number;
    struct mg_config *config;
    struct mg_peers *peers;
    struct mg_vm *vm;
    uint32_t references; /* the worker's own and one per request */
    uint64_t built_ms;
    bool retired;
    struct mg_environment *environment;
    struct mg_link link; /* among those that have no reference left but timers that run */
};

/* status 0: generation is ready with one reference, which the callback owns. Else its text names
 * every failing plugin and error; generation is NULL. */
typedef void mg_built_fn(void *context, int status, struct mg_generation *generation,
                         const char *errors);

/* Loads modules and validates on libuv's pool, then runs init_worker and configure on the loop. The
 * callback fires exactly once, later. The bundle is borrowed until then. */
MG_NODISCARD int mg_generation_build(struct mg_environment *environment,
                                     const struct mg_bundle *bundle, uint64_t number,
                                     mg_built_fn *on_built, void *context);
static inline void mg_generation_hold(struct mg_generation *generation)
{
    generation->references++;
}
/* Frees everything with the last reference. */
void mg_generation_release(struct mg_generation *generation);
/* Another generation took over: timers fire with premature = true, ngx.worker.exiting() becomes
 * true, the CPU limiter moves (mg_generation_activate of the new one does that), the worker's
 * reference is given back. */
void mg_generation_retire(struct mg_generation *generation);
/* The plugin has hung three workers: it goes into quarantine here too. */
void mg_generation_quarantine(struct mg_generation *generation, mg_str plugin);
/* Its Lua memory stays over 90 % of limits.lua_memory: the worker is to be drained and replaced. */
bool mg_generation_is_exhausted(const struct mg_generation *generation);
/* Memory of its Lua state, in use now. */
size_t mg_generation_lua_bytes(const struct mg_generation *generation);
/* It is the current one: its compiler goes on and it owns the profiler. */
void mg_generation_activate(struct mg_generation *generation, struct mg_generation *previous);
