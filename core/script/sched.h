/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coroutines that wait. Lua code always runs in a pooled coroutine (a task). A C function called
 * from Lua starts something slow and returns 0; Lua then yields (sched.wait in
 * lua/moongate/runtime/sched.lua); the callback of the slow thing wakes the task. From the side of
 * a C operation:
 *
 *     MG_FFI_EXPORT int mg_ffi_http_start(struct mg_vm *vm, struct operation *operation)
 *     {
 *         int err = mg_sched_begin(vm, on_cancel, operation, &operation->ticket);
 *         return err ? err : start(operation);
 *     }
 *     MG_FFI_EXPORT void mg_ffi_http_free(struct operation *operation)   // started or not
 *     {
 *         mg_sched_forget(operation->vm, operation->ticket, operation);
 *     }
 *     static void on_done(struct operation *operation, int status)
 *     {
 *         mg_sched_wake(operation->vm, operation->ticket, status);   // sched.wait() returns status
 *     }
 *
 * A ticket names one wait for ever: waking one that is over does nothing. Results other than the
 * status are fetched by Lua through FFI functions afterwards.
 */
#pragma once

#include "base/err.h"
#include "script/task.h"

/* From an FFI function: the running coroutine will wait for this. cancel may be NULL. MG_ECANCELLED
 * when nothing that may wait is running. A second call before the wait replaces the first. */
MG_NODISCARD int mg_sched_begin(struct mg_vm *vm, mg_cancel_fn *cancel, void *context,
                                struct mg_ticket *ticket);
/* The operation is gone, whether it was waited for or failed to start: it is not cancelled any
 * more. No effect when the wait is over or for something else. */
void mg_sched_forget(struct mg_vm *vm, struct mg_ticket ticket, const void *context);
/* Ends the wait: the coroutine goes on at once, and with it maybe the request. From callbacks of
 * the loop only, never from an FFI function; may free what the caller stands on, so call it
 * last. */
void mg_sched_wake(struct mg_vm *vm, struct mg_ticket ticket, int status);
/* The same in the next loop turn; may be called from anywhere. */
void mg_sched_wake_later(struct mg_vm *vm, struct mg_ticket ticket, int status);

/* ---- for the script layer ------------------------------------------------------------------- */

void mg_sched_init(struct mg_vm *vm);
/* Cancels what waits. */
void mg_sched_deinit(struct mg_vm *vm);
/* A task whose coroutine has an empty stack: push a function and its arguments on task->co, set
 * phase, chain, req and on_end, then run it. */
struct mg_task *mg_sched_take(struct mg_vm *vm);
/* Runs it until it ends or waits. Only for WAITING is the task still the scheduler's; else the
 * caller looks at its stack and releases it. */
enum mg_run mg_sched_run(struct mg_task *task, int arguments);
void mg_sched_release(struct mg_task *task);
/* Gives up a waiting task: its operation is cancelled, its coroutine dropped, on_end is not
 * called. */
void mg_sched_abandon(struct mg_task *task);
/* Milliseconds from a number of Lua's, which may be anything: rounded up, 0 for NaN and less than
 * 0. */
uint64_t mg_sched_ms(double ms);
/* Tasks that run or wait, and timers pending. */
uint32_t mg_sched_busy(const struct mg_vm *vm);
/* Tells on_idle when a retired VM has nothing left to do. That may free the VM. */
void mg_sched_check_idle(struct mg_vm *vm);
