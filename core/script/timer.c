/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A timer's id is its place in the table + 1; free places form a list.
 */
#include "script/timer.h"

#include "base/stats.h"
#include "net/loop.h"
#include "script/fault.h"
#include "script/sched.h"
#include "script/vm.h"

#include "script/export.h"
#include "script/ffi.h"

#include <stdlib.h>

#define MAX_TIMERS 16384
#define NO_TIMER UINT32_MAX

struct mg_timer {
    struct mg_deadline deadline;
    struct mg_vm *vm;
    uint32_t index, next_free;
    bool pending;
};

static void on_timer_end(struct mg_task *task, enum mg_run result)
{
    if (result == MG_RUN_FAILED) {
        mg_fault_report(task, mg_fault_is_limit(task->vm, task->co));
    }
}

static void release_timer(struct mg_timer *timer)
{
    struct mg_sched *sched = &timer->vm->sched;
    mg_deadline_cancel(&timer->deadline);
    timer->pending = false;
    timer->next_free = sched->timer_free;
    sched->timer_free = timer->index;
    sched->timer_count--;
    if (timer->vm->options.stats) {
        mg_stats_drop(timer->vm->options.stats, MG_STAT_TIMERS, 1);
    }
}

static void fire(struct mg_timer *timer)
{
    struct mg_vm *vm = timer->vm;
    const int id = (int)timer->index + 1;
    struct mg_task *task = mg_sched_take(vm);
    release_timer(timer);
    if (!task) {
        mg_vm_log(vm, MG_LOG_ERROR, "runtime", NULL, MG_STR("no memory to run a timer"));
        return;
    }
    task->phase = MG_PHASE_TIMER;
    task->on_end = on_timer_end;
    lua_rawgeti(task->co, LUA_REGISTRYINDEX, vm->entry.fire);
    lua_pushinteger(task->co, id);
    lua_pushboolean(task->co, vm->retired);
    const enum mg_run result = mg_sched_run(task, 2);
    if (result != MG_RUN_WAITING) {
        on_timer_end(task, result);
        mg_sched_release(task);
    }
}

static void on_deadline(struct mg_deadline *deadline)
{
    fire(MG_CONTAINER(deadline, struct mg_timer, deadline));
}

void mg_timer_expire(struct mg_vm *vm)
{
    for (uint32_t i = 0; i < vm->sched.timer_size; i++) {
        if (vm->sched.timers[i]->pending) {
            fire(vm->sched.timers[i]);
        }
    }
}

void mg_timer_deinit(struct mg_vm *vm)
{
    struct mg_sched *sched = &vm->sched;
    for (uint32_t i = 0; i < sched->timer_size; i++) {
        if (sched->timers[i]->pending) {
            release_timer(sched->timers[i]);
        }
        free(sched->timers[i]);
    }
    free(sched->timers);
    sched->timers = NULL;
    sched->timer_size = 0;
}

/* Timers are never moved: their deadlines are linked. */
static bool grow(struct mg_vm *vm)
{
    struct mg_sched *sched = &vm->sched;
    const uint32_t size = sched->timer_size ? sched->timer_size * 2 : 16;
    if (size > MAX_TIMERS) {
        return false;
    }
    sched->timers = realloc(sched->timers, size * sizeof(struct mg_timer *));
    mg_require(sched->timers != NULL);
    for (uint32_t i = sched->timer_size; i < size; i++) {
        struct mg_timer *timer = calloc(1, sizeof *timer);
        mg_require(timer != NULL);
        mg_deadline_init(&timer->deadline);
        timer->vm = vm;
        timer->index = i;
        timer->next_free = i + 1 < size ? i + 1 : NO_TIMER;
        sched->timers[i] = timer;
    }
    sched->timer_free = sched->timer_size;
    sched->timer_size = size;
    return true;
}

MG_FFI_EXPORT int mg_ffi_sched_timer(struct mg_vm *vm, double ms)
{
    struct mg_sched *sched = &vm->sched;
    if (!vm->loop || !vm->shared->loop_thread) {
        return MG_EUNSUPPORTED; /* modules are being loaded */
    }
    if (vm->retired && ms > 0) {
        return MG_ECANCELLED;
    }
    if (sched->timer_count == sched->timer_size && !grow(vm)) {
        return MG_EFULL;
    }
    struct mg_timer *timer = sched->timers[sched->timer_free];
    sched->timer_free = timer->next_free;
    sched->timer_count++;
    timer->pending = true;
    if (vm->options.stats) {
        mg_stats_add(vm->options.stats, MG_STAT_TIMERS, 1);
    }
    /* A timer that sets itself again with 0 must not hold the loop: 1 ms at least from a timer. */
    const bool again = vm->sched.running && vm->sched.running->phase == MG_PHASE_TIMER;
    const uint64_t delay_ms = mg_sched_ms(ms);
    mg_deadline_arm_at(&vm->loop->deadlines, &timer->deadline, on_deadline,
                       mg_loop_now_ms(vm->loop) + (delay_ms ? delay_ms : again));
    return (int)timer->index + 1;
}

MG_FFI_EXPORT int mg_ffi_sched_timer_stop(struct mg_vm *vm, int id)
{
    struct mg_sched *sched = &vm->sched;
    if (id < 1 || (uint32_t)id > sched->timer_size || !sched->timers[id - 1]->pending) {
        return MG_ENOT_FOUND;
    }
    release_timer(sched->timers[id - 1]);
    return 0;
}
