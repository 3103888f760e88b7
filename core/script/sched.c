/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks and timers. A task goes
 *
 *     FREE --take--> READY --run--> RUNNING --yield--> WAITING --wake--> RUNNING ... --> release
 *
 * Only one task runs at a time and nothing runs inside it: FFI functions never enter Lua, so a
 * wake-up from within one is put off to the next loop turn by an alarm that is due at once.
 *
 * What a coroutine yields tells why: &shared->slot (as light userdata) = it waits, &shared->exited
 * = it ended by response.exit, anything else = the plugin called coroutine.yield(), run it again
 * next turn.
 */
#include "script/sched.h"

#include "base/shm.h"
#include "model/req.h"
#include "net/loop.h"
#include "script/plugin_count.h"
#include "script/vm.h"

#include "script/export.h"
#include "script/ffi.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <time.h>

/* --- pool
 * --------------------------------------------------------------------------------------- */

void mg_sched_init(struct mg_vm *vm)
{
    mg_link_init(&vm->sched.free);
    mg_link_init(&vm->sched.ready);
    mg_deadline_init(&vm->sched.turn);
}

static struct mg_task *new_task(struct mg_vm *vm)
{
    struct mg_sched *sched = &vm->sched;
    if (sched->task_count == sched->task_size) {
        sched->task_size = sched->task_size ? sched->task_size * 2 : 16;
        sched->tasks = realloc(sched->tasks, sched->task_size * sizeof(struct mg_task *));
        mg_require(sched->tasks != NULL);
    }
    struct mg_task *task = calloc(1, sizeof *task);
    mg_require(task != NULL);
    task->index = sched->task_count;
    task->vm = vm;
    mg_link_init(&task->link);
    mg_deadline_init(&task->wall);
    mg_deadline_init(&task->alarm);
    sched->tasks[sched->task_count++] = task;
    return task;
}

static int on_new_thread(lua_State *L)
{
    struct mg_task *task = lua_touserdata(L, 1);
    lua_State *co = lua_newthread(L);
    task->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
    task->co = co;
    return 0;
}

/* Without memory even for a thread there is one more try after a full collection. */
static bool make_thread(struct mg_task *task)
{
    lua_State *L = task->vm->L;
    for (int attempt = 0; attempt < 2; attempt++) {
        if (lua_cpcall(L, on_new_thread, task) == 0) {
            return true;
        }
        lua_pop(L, 1);
        mg_vm_full_gc(L);
    }
    return false;
}

struct mg_task *mg_sched_take(struct mg_vm *vm)
{
    struct mg_link *first = vm->sched.free.next;
    struct mg_task *task;
    if (first != &vm->sched.free) {
        task = MG_CONTAINER(first, struct mg_task, link);
        mg_link_remove(first);
    } else {
        task = new_task(vm);
    }
    if (!task->co && !make_thread(task)) {
        mg_list_push(&vm->sched.free, &task->link);
        return NULL;
    }
    vm->sched.busy++;
    task->state = MG_TASK_READY;
    task->req = NULL;
    task->turn = 0;
    task->wall_turn = -1;
    task->wall_hit = task->careful = task->measured = false;
    task->exited = 0;
    task->skipped = 0;
    task->first = 0;
    task->slice_us = task->waits_us = 0;
    mg_budget_run_init(&task->run);
    return task;
}

void mg_sched_check_idle(struct mg_vm *vm)
{
    if (vm->retired && vm->on_idle && mg_sched_busy(vm) == 0) {
        vm->on_idle(vm->idle_context);
    }
}

static void drop_thread(struct mg_task *task)
{
    luaL_unref(task->vm->L, LUA_REGISTRYINDEX, task->anchor);
    task->co = NULL;
}

/* Also when it ends without having waited for what it began. */
static void cancel_wait(struct mg_task *task)
{
    mg_cancel_fn *cancel = task->cancel;
    task->cancel = NULL;
    task->ticket++;
    mg_deadline_cancel(&task->alarm);
    mg_link_remove(&task->link);
    if (cancel) {
        cancel(task->cancel_context);
    }
}

void mg_sched_release(struct mg_task *task)
{
    struct mg_vm *vm = task->vm;
    if (task->co) {
        if (lua_status(task->co) == 0) {
            lua_settop(task->co, 0);
        } else { /* it failed, or was left in the middle */
            drop_thread(task);
        }
    }
    if (task->touched) {
        cancel_wait(task);
        mg_deadline_cancel(&task->wall);
        task->touched = false;
    }
    task->state = MG_TASK_FREE;
    task->req = NULL;
    mg_list_push(&vm->sched.free, &task->link);
    vm->sched.busy--;
    mg_vm_check_memory(vm);
    mg_sched_check_idle(vm);
}

void mg_sched_abandon(struct mg_task *task)
{
    mg_require(task->state == MG_TASK_WAITING);
    cancel_wait(task);
    mg_sched_release(task);
}

void mg_sched_deinit(struct mg_vm *vm)
{
    struct mg_sched *sched = &vm->sched;
    for (uint32_t i = 0; i < sched->task_count; i++) {
        struct mg_task *task = sched->tasks[i];
        if (task->state == MG_TASK_WAITING) {
            cancel_wait(task);
        }
        mg_deadline_cancel(&task->wall);
        mg_deadline_cancel(&task->alarm);
        free(task);
    }
    free(sched->tasks);
    mg_deadline_cancel(&sched->turn);
    *sched = (struct mg_sched){0};
}

uint32_t mg_sched_busy(const struct mg_vm *vm)
{
    return vm->sched.busy + vm->sched.timer_count;
}

/* --- running
 * ------------------------------------------------------------------------------------ */

static void resume_task(struct mg_task *task, int arguments);

static void on_alarm(struct mg_deadline *deadline)
{
    struct mg_task *task = MG_CONTAINER(deadline, struct mg_task, alarm);
    task->cancel = NULL;
    if (task->plain) { /* coroutine.yield() returns nothing */
        resume_task(task, 0);
        return;
    }
    lua_pushinteger(task->co, task->status);
    resume_task(task, 1);
}

/* What becomes ready while this runs waits for the next turn, else a handler that only yields would
 * hold the loop. */
static void on_turn(struct mg_deadline *deadline)
{
    struct mg_sched *sched = MG_CONTAINER(deadline, struct mg_sched, turn);
    struct mg_link now;
    if (mg_list_empty(&sched->ready)) {
        return;
    }
    now = sched->ready; /* the ring moves to a head of our own */
    now.next->prev = now.prev->next = &now;
    mg_link_init(&sched->ready);
    sched->flushing = true;
    while (!mg_list_empty(&now)) {
        struct mg_task *task = MG_CONTAINER(now.next, struct mg_task, link);
        mg_link_remove(&task->link);
        on_alarm(&task->alarm);
    }
    sched->flushing = false;
}

static void make_ready(struct mg_task *task, int status)
{
    struct mg_sched *sched = &task->vm->sched;
    struct mg_loop *loop = task->vm->loop;
    task->status = status;
    task->touched = true;
    mg_deadline_cancel(&task->alarm);
    mg_link_remove(&task->link);
    mg_list_append(&sched->ready, &task->link);
    if (!mg_deadline_armed(&sched->turn)) {
        mg_deadline_arm_at(&loop->deadlines, &sched->turn, on_turn,
                           mg_loop_now_ms(loop) + sched->flushing);
    }
}

static void arm_alarm(struct mg_task *task, uint64_t ms)
{
    struct mg_loop *loop = task->vm->loop;
    task->status = 0;
    mg_deadline_arm_at(&loop->deadlines, &task->alarm, on_alarm, mg_loop_now_ms(loop) + ms);
}

/* The call has lasted wall_ms: what it waits for is given up, and it is resumed with an error. */
static void on_wall(struct mg_deadline *deadline)
{
    struct mg_task *task = MG_CONTAINER(deadline, struct mg_task, wall);
    cancel_wait(task);
    task->wall_hit = true;
    lua_pushinteger(task->co, MG_ELUA_LIMIT);
    resume_task(task, 1);
}

/* The wall time of a phase call begins, near enough, with its first wait. */
static void watch_wall(struct mg_task *task)
{
    const struct mg_vm *vm = task->vm;
    if (task->phase == MG_PHASE_TIMER || task->wall_turn == task->turn) {
        return;
    }
    task->wall_turn = task->turn;
    const uint64_t wall_ms = vm->turns[task->turn].wall_ms;
    mg_deadline_cancel(&task->wall);
    if (wall_ms) {
        mg_deadline_arm(mg_deadlines_class(&vm->loop->deadlines, wall_ms), &task->wall, on_wall,
                        mg_loop_now_ms(vm->loop));
    }
}

static enum mg_run suspend(struct mg_task *task)
{
    struct mg_vm *vm = task->vm;
    const void *why = lua_gettop(task->co) == 1 ? lua_touserdata(task->co, 1) : NULL;
    if (why == &vm->shared->exited) {
        return MG_RUN_EXIT;
    }
    lua_settop(task->co, 0);
    task->state = MG_TASK_WAITING;
    task->touched = true;
    if (vm->options.stats) {
        mg_stats_add(vm->options.stats, MG_STAT_PLUGIN_YIELDS, 1);
        mg_plugin_count(vm, (uint32_t)vm->shared->turn, MG_PLUGIN_YIELD);
    }
    mg_plugin_wait_begin(task);
    task->plain = why != &vm->shared->slot;
    if (task->plain) {
        make_ready(task, 0); /* coroutine.yield(): the next loop turn */
    }
    watch_wall(task);
    return MG_RUN_WAITING;
}

static void note_running(const struct mg_task *task)
{
    struct mg_vm *vm = task->vm;
    const struct mg_req *req = task->req;
    const char *plugin = vm->turns[task->turn].plugin;
    mg_slot_running(vm->options.slot, mg_str_from(plugin),
                    mg_str_from(mg_phase_name((enum mg_phase)task->phase)),
                    req && req->route ? req->route->name : MG_STR(""),
                    req ? req->request_id : MG_STR(""));
}

/* shared says what runs from now on. */
static void describe(const struct mg_task *task)
{
    struct mg_ffi_shared *shared = task->vm->shared;
    const struct mg_req *req = task->req;
    shared->slot = req ? (int32_t)req->slot : -1;
    shared->number = task->number;
    shared->request = task->req;
    shared->phase = task->phase;
    shared->turn = task->turn;
    shared->chain = task->chain;
    shared->exited = task->exited;
    shared->skipped = task->skipped;
    shared->dirty = 0;
    shared->task = task->index;
    shared->ticket = task->ticket;
    shared->unwind = task->wall_hit ? MG_UNWIND_WALL : MG_UNWIND_NONE;
    if (task->vm->options.slot) {
        note_running(task);
    }
}

static enum mg_run outcome_of(struct mg_task *task, int status)
{
    if (task->vm->shared->unwind != MG_UNWIND_NONE && task->vm->shared->unwind != MG_UNWIND_EXIT) {
        return MG_RUN_FAILED; /* also when Lua swallowed the error (an xpcall handler can) */
    }
    if (status == 0) {
        return MG_RUN_DONE;
    }
    if (status == LUA_YIELD) {
        return suspend(task);
    }
    return task->vm->shared->unwind == MG_UNWIND_EXIT ? MG_RUN_EXIT : MG_RUN_FAILED;
}

enum mg_run mg_sched_run(struct mg_task *task, int arguments)
{
    struct mg_vm *vm = task->vm;
    mg_require(vm->sched.running == NULL);
    vm->sched.running = task;
    task->state = MG_TASK_RUNNING;
    task->began = false;
    describe(task);
    vm->shared->expression = 0;
    if (task->waits_us > 0) {
        mg_plugin_wait_end(task);
    }
    if (vm->budget) {
        mg_budget_begin(vm->budget, task->co, &vm->watch, &task->run);
    }
    vm->alloc.enforced = true;
    const int status = lua_resume(task->co, arguments);
    vm->alloc.enforced = false;
    if (vm->budget) {
        mg_budget_end(vm->budget);
    }
    if (vm->options.slot) {
        mg_slot_idle(vm->options.slot);
        mg_slot_beat(vm->options.slot); /* a turn of many is not stuck, however long it takes */
    }
    vm->sched.running = NULL;
    task->turn = vm->shared->turn;
    task->exited = vm->shared->exited;
    task->skipped = vm->shared->skipped;
    if (vm->shared->dirty && task->req) {
        task->req->lua_ref |= MG_REQ_DIRTY;
    }
    const enum mg_run result = outcome_of(task, status);
    vm->shared->slot = -1;
    if (result == MG_RUN_WAITING) { /* else when its stack, which may hold much, is gone */
        mg_vm_check_memory(vm);
    }
    return result;
}

static void resume_task(struct mg_task *task, int arguments)
{
    task->ticket++;
    const enum mg_run result = mg_sched_run(task, arguments);
    if (result != MG_RUN_WAITING) {
        task->on_end(task, result);
        mg_sched_release(task);
    }
}

/* --- waiting
 * ------------------------------------------------------------------------------------ */

int mg_sched_begin(struct mg_vm *vm, mg_cancel_fn *cancel, void *context, struct mg_ticket *ticket)
{
    struct mg_task *task = vm->sched.running;
    if (!task || !vm->loop) {
        return MG_ECANCELLED;
    }
    task->began = task->touched = true;
    task->cancel = cancel;
    task->cancel_context = context;
    *ticket = (struct mg_ticket){.task = task->index, .number = task->ticket};
    return 0;
}

static struct mg_task *find_waiting(struct mg_vm *vm, struct mg_ticket ticket)
{
    if (ticket.task >= vm->sched.task_count) {
        return NULL;
    }
    struct mg_task *task = vm->sched.tasks[ticket.task];
    return task->state >= MG_TASK_RUNNING && task->ticket == ticket.number ? task : NULL;
}

void mg_sched_forget(struct mg_vm *vm, struct mg_ticket ticket, const void *context)
{
    struct mg_task *task = find_waiting(vm, ticket);
    if (task && task->cancel_context == context) {
        task->cancel = NULL;
    }
}

void mg_sched_wake(struct mg_vm *vm, struct mg_ticket ticket, int status)
{
    struct mg_task *task = find_waiting(vm, ticket);
    if (!task) {
        return;
    }
    mg_require(task->state == MG_TASK_WAITING);
    mg_deadline_cancel(&task->alarm);
    mg_link_remove(&task->link);
    task->cancel = NULL;
    lua_pushinteger(task->co, status);
    resume_task(task, 1);
}

void mg_sched_wake_later(struct mg_vm *vm, struct mg_ticket ticket, int status)
{
    struct mg_task *task = find_waiting(vm, ticket);
    if (task) {
        task->cancel = NULL;
        make_ready(task, status);
    }
}

/* --- for Lua
 * ------------------------------------------------------------------------------------ */

/* Numbers from Lua may be anything: NaN, negative, huge. */
uint64_t mg_sched_ms(double ms)
{
    const double most = 4e12; /* over a hundred years */
    if (!(ms > 0)) {
        return 0;
    }
    return ms < most ? (uint64_t)ms + ((double)(uint64_t)ms < ms) : (uint64_t)most;
}

MG_FFI_EXPORT int mg_ffi_sched_sleep(struct mg_vm *vm, double ms)
{
    struct mg_ticket ticket;
    const int err = mg_sched_begin(vm, NULL, NULL, &ticket);
    if (!err && ms >= 1) {
        arm_alarm(vm->sched.running, mg_sched_ms(ms));
    } else if (!err) {
        make_ready(vm->sched.running, 0);
    }
    return err;
}

MG_FFI_EXPORT int mg_ffi_sched_wake(struct mg_vm *vm, uint32_t task, uint32_t ticket, int status)
{
    mg_sched_wake_later(vm, (struct mg_ticket){.task = task, .number = ticket}, status);
    return 0;
}

/* The loop's clock belongs to the loop's thread: while modules are loaded the system's is read. */
static double system_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const long ms = now.tv_nsec / 1000000;
    return (double)now.tv_sec * 1000 + (double)ms;
}

MG_FFI_EXPORT double mg_ffi_sched_now(struct mg_vm *vm)
{
    if (!vm->loop || !vm->shared->loop_thread) {
        return system_ms() / 1000;
    }
    return (double)mg_clock_wall_ms(&vm->loop->clock) / 1000;
}

MG_FFI_EXPORT void mg_ffi_sched_update_time(struct mg_vm *vm)
{
    if (vm->loop && vm->shared->loop_thread) {
        mg_clock_update(&vm->loop->clock);
    }
}
