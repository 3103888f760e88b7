/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU limiter: stops Lua code that runs too long without waiting, compiled loops included
 * (docs/plugin-reference.md).
 *
 * The thread has a 4 ms timer on its own CPU clock. Its signal handler counts ticks of the running
 * slice; at the limit it sets a debug hook, which raises. A compiled loop never looks at hooks, but
 * while LuaJIT's profiler runs each compiled loop leaves to the interpreter at every sample, and
 * there the hook is seen. One state of a process can have the profiler: the newest; all others run
 * without their compiler.
 *
 *     mg_budget_open(&budget);                     // this thread's
 *     mg_budget_take_profiler(&budget, L);         // the newest state
 *     mg_budget_begin(&budget, &slice);            // no system call
 *     lua_resume(co, n);
 *     if (mg_budget_end(&budget)) ... stopped: shared->unwind says so ...
 *
 * A turn gets cpu_ms for each slice, counted anew when mg_ffi_shared.turn changes, and ten times
 * that for the whole phase call. A value in Lua (mg_ffi_shared.expression) gets half of a slice.
 * Time is measured in ticks: what a tick meets is charged with it.
 */
#pragma once

#include "base/err.h"
#include "script/turn.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct lua_State;
struct mg_slot;

/* Why pcall and its kin must raise again; mg_ffi_shared.unwind, boot.unwind in Lua. */
enum mg_unwind {
    MG_UNWIND_NONE,
    MG_UNWIND_CPU,
    MG_UNWIND_WALL,
    MG_UNWIND_EXIT,
    MG_UNWIND_QUARANTINE,
};

/* CPU time of one phase call of a task; ticks. */
struct mg_budget_run {
    int32_t turn, total_turn; /* whose ticks are counted; -1 = none seen yet */
    uint32_t slice, total;
};

/* What the signal handler looks at while Lua runs. Made once for each VM. */
struct mg_budget_watch {
    const volatile int32_t *turn; /* &mg_ffi_shared.turn */
    volatile int32_t *unwind;     /* &mg_ffi_shared.unwind */
    const volatile int32_t *phase;
    volatile int32_t *expression; /* &mg_ffi_shared.expression */
    const struct mg_turn *turns;  /* replaced only while nothing runs */
    uint32_t turn_count;
    struct mg_slot *slot; /* of the heartbeat; the plugin is noted there. May be NULL */
};

struct mg_budget {
    volatile sig_atomic_t armed, hit;
    struct lua_State *volatile L;
    const struct mg_budget_watch *volatile watch;
    struct mg_budget_run *volatile run;
    timer_t timer;
    bool has_timer;
    bool is_deadline;           /* each tick stops */
    char place[96];             /* where it was stopped last: "file.lua:12" */
    struct mg_budget *outer;    /* of this thread, opened before */
    struct lua_State *profiled; /* the state with the profiler, or NULL */
};

/* One budget counts in a thread: the one opened last, until it is closed (the checker may run on a
 * thread that has a loop). */

/* Makes this thread's budget: installs the process-wide handler, starts the thread's timer,
 * unblocks the signals here. The memory must stay until mg_budget_close, in the same thread.
 * Negative errno. */
MG_NODISCARD int mg_budget_open(struct mg_budget *budget);
/* The same for a thread that loads modules (of libuv's pool, or the checker's): whatever runs in a
 * slice after that many ms of real time is stopped. */
MG_NODISCARD int mg_budget_open_deadline(struct mg_budget *budget, uint64_t ms);
void mg_budget_close(struct mg_budget *budget);
/* Call once, before libuv's pool starts: the signals stay blocked in every thread that has no
 * budget. */
void mg_budget_block_signals(void);

/* L becomes the one state that is compiled and sampled; the last one loses both. */
void mg_budget_take_profiler(struct mg_budget *budget, struct lua_State *L);
/* L is about to be closed. */
void mg_budget_drop_profiler(struct mg_budget *budget, struct lua_State *L);
/* No compiler; call after luaL_openlibs, which turns it on. */
void mg_budget_compiler_off(struct lua_State *L);

void mg_budget_run_init(struct mg_budget_run *run);

static inline void mg_budget_begin(struct mg_budget *budget, struct lua_State *L,
                                   const struct mg_budget_watch *watch, struct mg_budget_run *run)
{
    run->turn = -1; /* the first tick of a slice is not charged: it may have begun just before it */
    run->slice = 0;
    budget->L = L;
    budget->watch = watch;
    budget->run = run;
    budget->hit = 0;
    budget->armed = 1;
}

/* What was stopped is over, and what called it goes on in the same slice. */
void mg_budget_forgive(struct mg_budget *budget);
/* Whether the limit was reached; the hook is gone when this returns. */
bool mg_budget_stopped(struct mg_budget *budget);
static inline bool mg_budget_end(struct mg_budget *budget)
{
    budget->armed = 0;
    return __builtin_expect(budget->hit != 0, 0) && mg_budget_stopped(budget);
}
