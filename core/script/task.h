/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A task: a pooled coroutine and what it runs for. Types only; sched.h has what is done with them.
 */
#pragma once

#include "base/deadline.h"
#include "base/list.h"
#include "script/budget.h"

#include <stdbool.h>
#include <stdint.h>

struct lua_State;
struct mg_req;
struct mg_vm;

/* One wait of one task, for ever. */
struct mg_ticket {
    uint32_t task, number;
};

/* Called when the wait is given up before it was woken (wall limit, end of the generation or of the
 * request): stops the operation; the context is not used by the scheduler after it. */
typedef void mg_cancel_fn(void *context);

enum mg_run {
    MG_RUN_DONE,
    MG_RUN_WAITING,
    MG_RUN_EXIT,   /* a handler called response.exit */
    MG_RUN_FAILED, /* the error value is on top of the coroutine's stack */
};

/* Bits of mg_req.lua_ref. */
#define MG_REQ_CAREFUL 1 /* a body_filter failed: later rounds must skip it */
#define MG_REQ_DIRTY 2   /* Lua keeps tables for it: entry.forget is called at its end */

enum mg_task_state { MG_TASK_FREE, MG_TASK_READY, MG_TASK_RUNNING, MG_TASK_WAITING };

struct mg_task {
    struct lua_State *co; /* NULL: to be made anew */
    int anchor;           /* registry reference that keeps co */
    enum mg_task_state state;
    uint32_t index, ticket;
    bool touched;  /* it waited or began something: there is more to undo at its end */
    bool began;    /* mg_sched_begin was called in this slice */
    bool wall_hit; /* the next resume raises the wall limit */
    bool plain;    /* waits by a plain coroutine.yield() */
    bool careful;  /* runs handlers one by one: script/hook.c */
    bool measured; /* its CPU time is taken: script/plugin_count.h */
    int status;    /* for wake_later and sleep */
    mg_cancel_fn *cancel;
    void *cancel_context;
    struct mg_vm *vm;
    struct mg_req *req; /* NULL: a timer or a start */
    uint32_t number;    /* of req */
    int32_t phase, turn;
    int32_t exited;    /* turn of the last one that called response.exit in this run; 0: none has */
    uint32_t first;    /* place of the chain where it began */
    int32_t skipped;   /* bits of places that have no configuration for this consumer */
    uint64_t slice_us; /* CPU time of the thread when the slice began; 0 = none has */
    uint64_t waits_us; /* when it began to wait; 0 = it does not */
    uint32_t chain;
    int32_t wall_turn;        /* whose wall time the deadline measures */
    struct mg_deadline wall;  /* of the phase call, armed at its first wait */
    struct mg_deadline alarm; /* sleep and wake_later */
    struct mg_budget_run run;
    struct mg_link link; /* in the pool, or among those that are ready */
    /* The end of a task that had waited; the task is released when it returns. */
    void (*on_end)(struct mg_task *task, enum mg_run result);
    void *context; /* of on_end */
};
