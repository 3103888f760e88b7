/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One Lua state of the gateway, as the script layer sees it (others only have pointers). vm_new.h
 * makes and frees it. A state is touched by one thread at a time: it may be built in a thread of
 * libuv's pool and then used by the loop's.
 */
#pragma once

#include "base/log.h"
#include "script/alloc.h"
#include "script/budget.h"
#include "script/task.h"

#include <lua.h>

struct mg_bundle;
struct mg_chain;
struct mg_config;
struct mg_ffi_shared;
struct mg_loop;
struct mg_pool;
struct mg_redis_set;
struct mg_shm;
struct mg_sinks;
struct mg_stats;

/* A line of the error log. component: "plugin NAME" or "runtime". */
typedef void mg_vm_log_fn(void *context, enum mg_log_level level, const char *component,
                          mg_str text);

/* A C module that require finds: opener as for package.preload. */
struct mg_vm_module {
    const char *name;
    lua_CFunction open;
};

struct mg_vm_options {
    struct mg_loop *loop; /* NULL: nothing can wait (the checker) */
    struct mg_pool *pool; /* for moongate.http; NULL: it fails */
    /* sources come only from it; NULL = from disk. Borrowed while loading */
    const struct mg_bundle *bundle;
    const char *lua_path;               /* folder that holds moongate/ */
    const char *plugins_path;           /* plugins we ship */
    const char *ffi_header;             /* core/script/ffi.h */
    const struct mg_vm_module *modules; /* ended by a NULL name; may be NULL */
    uint64_t memory_bytes;              /* 0 = no limit */
    bool bare;                          /* tests: without moongate.pdk and moongate.ngx */
    struct mg_log *log;                 /* may be NULL */
    mg_vm_log_fn *on_log;               /* takes the lines instead; may be NULL */
    void *log_context;
    struct mg_shm *shm;         /* for limiters and breakers; may be NULL */
    struct mg_sinks *sinks;     /* for access logs; may be NULL */
    struct mg_redis_set *redis; /* for moongate.redis; may be NULL */
    struct mg_slot *slot;       /* heartbeat; may be NULL */
    struct mg_stats *stats;     /* may be NULL */
    uint32_t worker, workers;
};

/* Pool of tasks and table of timers, used by sched.c only. */
struct mg_sched {
    struct mg_task **tasks; /* by index */
    uint32_t task_count, task_size;
    struct mg_link free;  /* tasks at rest, most recent first */
    struct mg_link ready; /* tasks to be resumed in the next loop turn */
    struct mg_deadline turn;
    bool flushing;
    struct mg_task *running;
    struct mg_timer **timers; /* by id - 1 */
    uint32_t timer_size, timer_free, timer_count;
    uint32_t busy; /* tasks not at rest */
};

struct mg_vm {
    lua_State *L;
    struct mg_ffi_shared *shared;
    struct mg_vm_options options;
    struct mg_loop *loop;
    struct mg_alloc alloc;
    struct mg_budget *budget; /* of the thread that runs it */
    struct mg_budget_watch watch;
    struct mg_sched sched;
    struct mg_turn *turns; /* 0 = no plugin */
    uint32_t turn_count;
    struct mg_quarantine *quarantines; /* by plugin_index */
    uint32_t plugin_count;
    /* plugins in quarantine or on trial: chains run with care while there is one */
    uint32_t quarantined;
    /* the worker's words of base/shm_metrics.h; NULL without options.shm */
    uint64_t *counters;
    uint32_t until_measured; /* runs of chains before the next one is; script/plugin_count.h */
    struct mg_chain *chains;
    uint32_t chain_count;
    struct mg_tls_context *tls[2]; /* of moongate.http: verified, not; NULL: not needed yet */
    struct mg_config *config;      /* of its generation; set before it serves */
    uint32_t seen_bytes[2];  /* of each body that the access log wants to see; script/seen.h */
    bool retired, exhausted; /* exhausted: memory stays over 90 %, replace the worker */
    uint64_t refused;        /* of alloc.refused, what was dealt with */
    int traceback;           /* registry reference to mg_vm_call's handler, 0 = not made yet */
    /* registry references to functions of moongate.runtime.entry */
    struct {
        int load, fire, slow, collect, forget, configure, bundle, chain;
    } entry;
    /* told when the last timer and task of a retired VM ended; may be NULL */
    void (*on_idle)(void *context);
    void *idle_context;
};

/* Calls the function below its arguments on vm->L, with a traceback in errors: 0, or MG_ELUA with
 * the error text (or value) on top. Nothing may wait in it. Limits hold. */
MG_NODISCARD int mg_vm_call(struct mg_vm *vm, int arguments, int results);

/* What mg_vm_call left on top, as a text that lives as long as it stands there. */
const char *mg_vm_error(struct mg_vm *vm);

/* One line of the error log; site: as for mg_log_bytes. */
void mg_vm_log(struct mg_vm *vm, enum mg_log_level level, const char *component, const void *site,
               mg_str text);
/* Collects if the state is over its soft limit or was refused memory. Called between slices. */
void mg_vm_collect(struct mg_vm *vm);
/* A full collection alone, outside of any call; errors of finalisers are dropped. */
void mg_vm_full_gc(struct lua_State *L);
static inline void mg_vm_check_memory(struct mg_vm *vm)
{
    if (__builtin_expect(vm->refused != vm->alloc.refused || mg_alloc_wants_collection(&vm->alloc),
                         0)) {
        mg_vm_collect(vm);
    }
}
