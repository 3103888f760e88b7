/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signal side of the CPU limiter. The handler runs in the thread whose Lua it stops: the timer's
 * signal is directed at that thread, and others have it blocked. lua_sethook is the one Lua
 * function that may be called from a signal handler.
 */
#include "script/budget.h"

#include "base/shm.h"

#include <errno.h>
#include <lua.h>
#include <luajit.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TICK_SIGNAL (SIGRTMIN + 3)
#define PROFILE_INTERVAL "li5" /* ms between samples; each ends a compiled loop's turn */
#define TOTAL_FACTOR 10        /* a whole phase call may use that many slices */

/* A handler has no context argument, so each thread keeps a pointer to its own budget. */
static _Thread_local struct mg_budget *here;

/* Raises the one limit value (vm.c puts it there); runs as a hook, in whatever coroutine is
 * running. */
static void on_limit(lua_State *L, lua_Debug *activation)
{
    lua_sethook(L, NULL, 0, 0);
    if (here && here->L && lua_getinfo(L, "Sl", activation)) {
        snprintf(here->place, sizeof here->place, "%s:%d", activation->short_src,
                 activation->currentline);
    }
    lua_getfield(L, LUA_REGISTRYINDEX, "mg.limit");
    lua_error(L);
}

static void stop(struct mg_budget *budget)
{
    if (!budget->hit) {
        budget->place[0] = '\0';
    }
    budget->hit = 1;
    *budget->watch->unwind = MG_UNWIND_CPU;
    lua_sethook(budget->L, on_limit, LUA_MASKCOUNT, 1);
}

static void name_plugin(const struct mg_budget_watch *watch, int32_t turn)
{
    const char *plugin = watch->turns[turn].plugin;
    if (watch->slot && plugin) {
        mg_slot_plugin(watch->slot, mg_str_from(plugin));
    }
}

/* Has the value that is being computed used up its half of a slice? */
static bool charge_expression(const struct mg_budget_watch *watch, uint32_t ticks, uint32_t limit)
{
    if (*watch->expression == 0 || limit == 0) {
        return false;
    }
    *watch->expression += (int32_t)ticks;
    return (uint32_t)*watch->expression > (limit > 2 ? limit / 2 : 1);
}

/* Has the slice or the call used up its time? */
static bool charge(struct mg_budget *budget, uint32_t ticks)
{
    const struct mg_budget_watch *watch = budget->watch;
    struct mg_budget_run *run = budget->run;
    const int32_t turn = *watch->turn;
    if (turn < 0 || (uint32_t)turn >= watch->turn_count) {
        return false;
    }
    const uint32_t limit = watch->turns[turn].cpu_ticks;
    if (turn == run->turn) {
        run->slice += ticks;
    } else {
        run->turn = turn;
        run->slice = 0; /* these ticks may belong to what ran before */
        name_plugin(watch, turn);
    }
    if (turn == run->total_turn) {
        run->total += ticks;
    } else {
        run->total_turn = turn;
        run->total = 1;
    }
    return charge_expression(watch, ticks, limit) ||
           (limit && (run->slice >= limit ||
                      (run->total > limit * TOTAL_FACTOR && *watch->phase != MG_PHASE_TIMER)));
}

static void on_tick(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    struct mg_budget *budget = here;
    if (!budget || !budget->armed || info->si_value.sival_ptr != budget) {
        return;
    }
    if (budget->is_deadline || charge(budget, 1 + (uint32_t)info->si_overrun) || budget->hit) {
        stop(budget); /* again at each tick: Lua may have caught the last one */
    }
}

/* SIGPROF must never meet its default action, which ends the process, in the moment before the
 * profiler is started or after it was stopped. */
static int install_handlers(void)
{
    struct sigaction tick = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigaction old;
    sigemptyset(&tick.sa_mask);
    if (sigaction(TICK_SIGNAL, &tick, NULL) || sigaction(SIGPROF, NULL, &old)) {
        return -errno;
    }
    if (old.sa_handler == SIG_DFL) {
        struct sigaction ignore = {.sa_handler = SIG_IGN};
        sigemptyset(&ignore.sa_mask);
        return sigaction(SIGPROF, &ignore, NULL) ? -errno : 0;
    }
    return 0;
}

static void change_mask(int how, bool profile)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, TICK_SIGNAL);
    if (profile) {
        sigaddset(&set, SIGPROF);
    }
    pthread_sigmask(how, &set, NULL);
}

void mg_budget_block_signals(void)
{
    change_mask(SIG_BLOCK, true);
}

/* First after first_ms, then every tick. */
static int start_timer(struct mg_budget *budget, clockid_t clock, uint64_t first_ms)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                             .sigev_signo = TICK_SIGNAL,
                             .sigev_value = {.sival_ptr = budget}};
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    if (timer_create(clock, &event, &budget->timer)) {
        return -errno;
    }
    budget->has_timer = true;
    const struct timespec first = {.tv_sec = (time_t)(first_ms / 1000),
                                   .tv_nsec = (long)(first_ms % 1000) * 1000000L};
    const struct timespec tick = {.tv_nsec = MG_CPU_TICK_MS * 1000000L};
    const struct itimerspec every = {.it_interval = tick, .it_value = first};
    return timer_settime(budget->timer, 0, &every, NULL) ? -errno : 0;
}

static int open_budget(struct mg_budget *budget, clockid_t clock, uint64_t first_ms)
{
    int err = install_handlers();
    if (err) {
        return err;
    }
    budget->outer = here;
    here = budget;
    change_mask(SIG_UNBLOCK, !budget->is_deadline);
    err = start_timer(budget, clock, first_ms);
    if (err) {
        mg_budget_close(budget);
    }
    return err;
}

int mg_budget_open(struct mg_budget *budget)
{
    *budget = (struct mg_budget){0};
    return open_budget(budget, CLOCK_THREAD_CPUTIME_ID, MG_CPU_TICK_MS);
}

int mg_budget_open_deadline(struct mg_budget *budget, uint64_t ms)
{
    *budget = (struct mg_budget){.is_deadline = true};
    return open_budget(budget, CLOCK_MONOTONIC, ms ? ms : 1);
}

static void unlink_budget(const struct mg_budget *budget)
{
    struct mg_budget **at = &here;
    while (*at && *at != budget) {
        at = &(*at)->outer;
    }
    if (*at) {
        *at = budget->outer;
    }
}

void mg_budget_close(struct mg_budget *budget)
{
    mg_budget_drop_profiler(budget, budget->profiled);
    if (budget->has_timer) {
        timer_delete(budget->timer);
        budget->has_timer = false;
    }
    unlink_budget(budget);
    if (!here) {
        change_mask(SIG_BLOCK, !budget->is_deadline);
    }
}

/* A sample has nothing to do: that the loop was left is all that is wanted. */
static void on_sample(void *data, lua_State *L, int samples, int vmstate)
{
    (void)data;
    (void)L;
    (void)samples;
    (void)vmstate;
}

void mg_budget_compiler_off(lua_State *L)
{
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
}

void mg_budget_drop_profiler(struct mg_budget *budget, lua_State *L)
{
    if (L && budget->profiled == L) {
        luaJIT_profile_stop(L);
        signal(SIGPROF, SIG_IGN);
        mg_budget_compiler_off(L);
        budget->profiled = NULL;
    }
}

void mg_budget_take_profiler(struct mg_budget *budget, lua_State *L)
{
    mg_budget_drop_profiler(budget, budget->profiled);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
    luaJIT_profile_start(L, PROFILE_INTERVAL, on_sample, NULL);
    budget->profiled = L;
}

void mg_budget_run_init(struct mg_budget_run *run)
{
    *run = (struct mg_budget_run){.turn = -1, .total_turn = -1};
}

void mg_budget_forgive(struct mg_budget *budget)
{
    budget->hit = 0;
    *budget->watch->unwind = MG_UNWIND_NONE;
    lua_sethook(budget->L, NULL, 0, 0);
}

bool mg_budget_stopped(struct mg_budget *budget)
{
    lua_sethook(budget->L, NULL, 0, 0);
    return true;
}
