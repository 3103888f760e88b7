/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coroutines that wait. Lua code always runs in a pooled coroutine (a task). A C function called from Lua
 * starts something slow and returns 0; Lua then yields (sched.wait in lua/moongate/runtime/sched.lua);
 * the callback of the slow thing wakes the task. From the side of a C operation:
 *
 *     MG_FFI_EXPORT int mg_ffi_http_start(struct mg_vm *vm, struct operation *operation)
 *     {
 *         int err = mg_sched_begin(vm, on_cancel, operation, &operation->ticket);
 *         return err ? err : start(operation);            // on its error: nothing to undo
 *     }
 *     static void on_done(struct operation *operation, int status)
 *     {
 *         mg_sched_wake(operation->vm, operation->ticket, status);   // sched.wait() returns status
 *     }
 *
 * A ticket names one wait for ever: waking one that is over does nothing. Results other than the status
 * are fetched by Lua through FFI functions afterwards.
 */
#pragma once

#include "base/deadline.h"
#include "base/err.h"
#include "base/list.h"
#include "script/budget.h"

#include <stdbool.h>
#include <stdint.h>

struct lua_State;
struct mg_req;
struct mg_vm;

struct mg_ticket {
    uint32_t task, number;
};

/* Called when the wait is given up before it was woken (wall limit, end of the generation or of the
 * request): stops the operation; the context is not used by the scheduler after it. */
typedef void mg_cancel_fn(void *context);

/* From an FFI function: the running coroutine will wait for this. cancel may be NULL. MG_ECANCELLED when
 * nothing that may wait is running. A second call before the wait replaces the first. */
MG_NODISCARD int mg_sched_begin(struct mg_vm *vm, mg_cancel_fn *cancel, void *context,
                                struct mg_ticket *ticket);
/* Ends the wait: the coroutine goes on at once, and with it maybe the request. From callbacks of the
 * loop only, never from an FFI function; may free what the caller stands on, so call it last. */
void mg_sched_wake(struct mg_vm *vm, struct mg_ticket ticket, int status);
/* The same in the next loop turn; may be called from anywhere. */
void mg_sched_wake_later(struct mg_vm *vm, struct mg_ticket ticket, int status);

/* ---- for the script layer ------------------------------------------------------------------- */

enum mg_run {
    MG_RUN_DONE,
    MG_RUN_WAITING,
    MG_RUN_EXIT,   /* a handler called response.exit */
    MG_RUN_FAILED, /* the error value is on top of the coroutine's stack */
};

/* Why pcall and its kin must raise again; mg_ffi_shared.unwind, runtime.UNWIND in Lua. */
enum mg_unwind {
    MG_UNWIND_NONE,
    MG_UNWIND_CPU,
    MG_UNWIND_WALL,
    MG_UNWIND_EXIT,
    MG_UNWIND_QUARANTINE,
};

enum mg_task_state { MG_TASK_FREE, MG_TASK_READY, MG_TASK_RUNNING, MG_TASK_WAITING };

struct mg_task {
    struct lua_State *co; /* NULL: to be made anew */
    int anchor;           /* registry reference that keeps co */
    enum mg_task_state state;
    uint32_t index, ticket;
    bool began;     /* mg_sched_begin was called in this slice */
    bool wall_hit;  /* the next resume raises the wall limit */
    int status;     /* for wake_later and sleep */
    mg_cancel_fn *cancel;
    void *cancel_context;
    struct mg_vm *vm;
    struct mg_req *req; /* NULL: a timer or a start */
    uint32_t number;    /* of req */
    int32_t phase, turn;
    uint32_t chain;
    int32_t wall_turn;         /* whose wall time the deadline measures */
    struct mg_deadline wall;   /* of the phase call, armed at its first wait */
    struct mg_deadline alarm;  /* sleep and wake_later */
    struct mg_budget_run run;
    struct mg_link link;       /* in the pool */
    /* The end of a task that had waited; the task is released when it returns. */
    void (*on_end)(struct mg_task *task, enum mg_run result);
    void *context; /* of on_end */
};

void mg_sched_init(struct mg_vm *vm);
/* Cancels what waits. */
void mg_sched_deinit(struct mg_vm *vm);
/* A task whose coroutine has an empty stack: push a function and its arguments on task->co, set phase,
 * chain, req and on_end, then run it. */
struct mg_task *mg_sched_take(struct mg_vm *vm);
/* Runs it until it ends or waits. Only for WAITING is the task still the scheduler's; else the caller
 * looks at its stack and releases it. */
enum mg_run mg_sched_run(struct mg_task *task, int arguments);
void mg_sched_release(struct mg_task *task);
/* Gives up a waiting task: its operation is cancelled, its coroutine dropped, on_end is not called. */
void mg_sched_abandon(struct mg_task *task);
/* Tasks that run or wait, and timers pending. */
uint32_t mg_sched_busy(const struct mg_vm *vm);
