/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One phase of one request. Hooks that have plans (script/hook_plan.h) are done here, as long as
 * all before them are; Lua is entered for what is behind them. The fast way: the chain's generated
 * function runs all handlers in one coroutine, without pcall and without checks between them. When
 * one fails the coroutine is dead; which one it was stands in shared->turn, and if its on_error is
 * open the rest runs the careful way (entry.slow in Lua: a plain loop from a given place, which
 * also knows quarantine and plugins that are skipped for this request). response.exit leaves the
 * coroutine by a yield that is never resumed.
 *
 * req->script is the task while one waits; req->lua_ref holds MG_REQ_* bits.
 */
#include "script/hook.h"

#include "base/clock.h"
#include "base/stats.h"
#include "net/loop.h"
#include "script/chain.h"
#include "script/fault.h"
#include "script/plugin_count.h"
#include "script/runs.h"
#include "script/sched.h"
#include "script/took.h"
#include "script/vm.h"

#include "script/ffi.h"

#include <lauxlib.h>

#define APART __attribute__((noinline)) /* kept out of the way of plans */

static void on_hook_end(struct mg_task *task, enum mg_run result);

static struct mg_task *take_task(struct mg_req *req, enum mg_phase phase)
{
    struct mg_task *task = mg_sched_take(req->vm);
    if (task) {
        task->req = req;
        task->number = req->number;
        task->phase = (int32_t)phase;
        task->chain = req->route ? req->route->chain : req->config->global_chain;
        task->on_end = on_hook_end;
    }
    return task;
}

static enum mg_run run_task(struct mg_req *req, struct mg_task *task, int arguments)
{
    const enum mg_run result = mg_sched_run(task, arguments);
    if (result == MG_RUN_WAITING) {
        req->script = task;
    }
    return result;
}

/* --- failures -------------------------------------------------------------------------------- */

static enum mg_verdict fail(struct mg_req *req, enum mg_phase phase, const struct mg_turn *turn,
                            bool is_limit)
{
    const uint16_t status = is_limit ? 503 : 500;
    req->outcome = is_limit ? MG_OUTCOME_PLUGIN_LIMIT : MG_OUTCOME_PLUGIN_ERROR;
    req->ended_by = turn->plugin ? mg_str_from(turn->plugin) : MG_STR("core");
    req->ended_in = phase;
    if (phase != MG_PHASE_BODY_FILTER && !req->head_sent) {
        mg_req_problem(req, status,
                       is_limit ? "The gateway cannot handle this request at the moment"
                                : "An unexpected error occurred");
        req->source = MG_SOURCE_ERROR;
    } else if (!req->head_sent) {
        req->status = status;
    }
    return MG_VERDICT_FAILED;
}

/* After an exit or a failure in access the later plugins' configurations are still collected: a
 * chain whose configurations depend on the consumer has noted only those up to `place`. */
static void collect_rest(struct mg_req *req, enum mg_phase phase, const struct mg_chain *chain,
                         int place)
{
    struct mg_vm *vm = req->vm;
    if (phase != MG_PHASE_ACCESS || !chain->is_dynamic) {
        return;
    }
    vm->shared->slot = (int32_t)req->slot;
    vm->shared->number = req->number;
    vm->shared->request = req;
    lua_rawgeti(vm->L, LUA_REGISTRYINDEX, vm->entry.collect);
    lua_rawgeti(vm->L, LUA_REGISTRYINDEX, chain->confs);
    lua_pushinteger(vm->L, place + 1); /* Lua counts from 1, and it is the next one */
    if (mg_vm_call(vm, 2, 0)) {
        lua_pop(vm->L, 1);
    }
    vm->shared->slot = -1;
}

static enum mg_verdict settle(struct mg_task *task, enum mg_run result);

/* Where the careful way begins, and why. */
struct careful {
    int place;
    int32_t exited; /* turn of the one that called response.exit before; 0: none has */
    bool failed;    /* the handler before has failed */
    bool planned;   /* the plan of the place has decided already */
    bool measured;  /* CPU times are taken */
};

/* Runs the handlers from a place on, one by one. */
static enum mg_verdict run_careful(struct mg_req *req, enum mg_phase phase, struct careful from)
{
    struct mg_vm *vm = req->vm;
    const struct mg_chain *chain = mg_chain_of(vm, req->route);
    struct mg_task *task = take_task(req, phase);
    if (!task) {
        return fail(req, phase, &vm->turns[0], true);
    }
    task->exited = from.exited;
    task->careful = true;
    task->measured = from.measured;
    lua_rawgeti(task->co, LUA_REGISTRYINDEX, vm->entry.slow);
    lua_pushstring(task->co, mg_phase_name(phase));
    lua_rawgeti(task->co, LUA_REGISTRYINDEX, chain->confs);
    lua_pushinteger(task->co, from.place + 1);
    lua_pushboolean(task->co, from.failed);
    lua_pushboolean(task->co, from.planned);
    const enum mg_run result = run_task(req, task, 5);
    if (result == MG_RUN_WAITING) {
        return MG_VERDICT_WAITING;
    }
    const enum mg_verdict verdict = settle(task, result);
    mg_sched_release(task);
    return verdict;
}

/* Of the handler that ran last, -1 for none. */
static int place_of(const struct mg_task *task)
{
    const struct mg_turn *turn = &task->vm->turns[task->turn];
    return turn->plugin ? mg_chain_place(&task->vm->chains[task->chain], turn->plugin_index) : -1;
}

static enum mg_verdict settle_failure(struct mg_task *task)
{
    struct mg_req *req = task->req;
    struct mg_vm *vm = task->vm;
    const enum mg_phase phase = (enum mg_phase)task->phase;
    const struct mg_chain *chain = &vm->chains[task->chain];
    const struct mg_turn *turn = &vm->turns[task->turn];
    const int place = place_of(task);
    const bool is_limit = mg_fault_is_limit(vm, task->co);
    mg_fault_report(task, is_limit);
    mg_runs_stopped(task, place, is_limit ? MG_RUNS_LIMIT : MG_RUNS_ERROR);
    if (place >= 0 && (turn->open || phase == MG_PHASE_LOG)) {
        if (phase == MG_PHASE_BODY_FILTER) {
            req->lua_ref |= MG_REQ_CAREFUL;
        }
        return run_careful(
            req, phase,
            (struct careful){.place = place + 1, .failed = true, .exited = task->exited});
    }
    if (phase == MG_PHASE_LOG) {
        return MG_VERDICT_CONTINUE;
    }
    collect_rest(req, phase, chain, place);
    return fail(req, phase, turn, is_limit);
}

/* The one that made the answer need not be the last that ran: in header_filter exit returns. */
static enum mg_verdict settle_exit(struct mg_task *task)
{
    struct mg_req *req = task->req;
    struct mg_vm *vm = task->vm;
    const struct mg_turn *turn = &vm->turns[task->exited];
    if (req->outcome == MG_OUTCOME_OK) {
        req->outcome = MG_OUTCOME_PLUGIN_ANSWER;
    }
    req->ended_by = turn->plugin ? mg_str_from(turn->plugin) : MG_STR("core");
    req->ended_in = (enum mg_phase)task->phase;
    if (turn->plugin && vm->quarantined) {
        mg_fault_passed(vm, (uint32_t)task->exited);
    }
    if (task->phase == MG_PHASE_ACCESS) {
        const struct mg_chain *chain = &vm->chains[task->chain];
        collect_rest(req, MG_PHASE_ACCESS, chain, place_of(task));
    }
    return MG_VERDICT_EXIT;
}

/* What the end of the task means; the task is released by the caller. */
static enum mg_verdict settle(struct mg_task *task, enum mg_run result)
{
    switch (result) {
    case MG_RUN_DONE:
        mg_runs_done(task);
        return task->exited ? settle_exit(task) : MG_VERDICT_CONTINUE;
    case MG_RUN_EXIT:
        mg_runs_stopped(task, place_of(task), MG_RUNS_EXIT);
        return settle_exit(task);
    default:
        return settle_failure(task);
    }
}

/* Adds to what plugins took, waits included. The log phase comes after the answer: it is not
 * counted. */
static void measure(struct mg_req *req, enum mg_phase phase, uint64_t began_us)
{
    if (phase != MG_PHASE_LOG) {
        const uint64_t now_us = mg_clock_precise_us(&req->vm->loop->clock);
        req->plugins_us += now_us - began_us;
        mg_took_end(req, now_us);
    }
}

/* A task that had waited has ended. */
static void on_hook_end(struct mg_task *task, enum mg_run result)
{
    struct mg_req *req = task->req;
    const enum mg_phase phase = (enum mg_phase)task->phase;
    req->script = NULL;
    const enum mg_verdict verdict = settle(task, result);
    if (verdict != MG_VERDICT_WAITING) {
        measure(req, phase, req->hook_began_us);
        req->ops->hook_done(req, phase, (int)verdict);
    }
}

/* --- what flow calls -------------------------------------------------------------------------- */

/* first: place behind the plans. */
static enum mg_verdict run_chain(struct mg_req *req, enum mg_phase phase,
                                 const struct mg_chain *chain, uint32_t first)
{
    struct mg_vm *vm = req->vm;
    struct mg_task *task = take_task(req, phase);
    if (!task) {
        return fail(req, phase, &vm->turns[0], true);
    }
    task->turn = chain->alone[phase];
    task->first = first;
    lua_rawgeti(task->co, LUA_REGISTRYINDEX, chain->run[phase]);
    lua_rawgeti(task->co, LUA_REGISTRYINDEX, chain->confs);
    const enum mg_run result = run_task(req, task, 1);
    if (result == MG_RUN_WAITING) {
        return MG_VERDICT_WAITING;
    }
    const enum mg_verdict verdict = settle(task, result);
    mg_sched_release(task);
    return verdict;
}

/* from: where the careful way is taken, else NULL; first: place behind the plans. */
static APART enum mg_verdict enter_lua(struct mg_req *req, enum mg_phase phase,
                                       const struct mg_chain *chain, const struct careful *from,
                                       uint32_t first)
{
    req->lua_used = true;
    if (phase != MG_PHASE_LOG) { /* which is not measured */
        req->hook_began_us = mg_clock_precise_us(&req->vm->loop->clock);
    }
    const enum mg_verdict verdict =
        from ? run_careful(req, phase, *from) : run_chain(req, phase, chain, first);
    if (verdict != MG_VERDICT_WAITING) {
        measure(req, phase, req->hook_began_us);
    }
    return verdict;
}

/* Is this run one of those that are measured? */
static inline bool is_measured(struct mg_vm *vm)
{
    if (__builtin_expect(vm->until_measured > 0, 1)) {
        vm->until_measured--;
        return false;
    }
    vm->until_measured = MG_PLUGIN_MEASURED - 1;
    return vm->options.shm != NULL;
}

/* A plan whose CPU time is taken. */
static APART enum mg_hook_plan_result run_measured(const struct mg_chain_step *step,
                                                   struct mg_req *req, enum mg_phase phase)
{
    const uint64_t begun_us = mg_plugin_plan_begin();
    const enum mg_hook_plan_result result = step->plan->run(step->plan, req);
    if (result == MG_PLAN_DONE) {
        const struct mg_chain *chain = mg_chain_of(req->vm, req->route);
        mg_plugin_plan_end(req->vm, chain->plugins[step->place], phase, begun_us);
    }
    return result;
}

/* A hook with a plan has to run in Lua, and what is behind it. */
static APART enum mg_verdict leave_plans(struct mg_req *req, enum mg_phase phase,
                                         const struct mg_chain_step *step,
                                         enum mg_hook_plan_result result, bool measured)
{
    const struct careful from = {
        .place = step->place, .planned = result == MG_PLAN_REST, .measured = measured};
    return enter_lua(req, phase, mg_chain_of(req->vm, req->route), &from, 0);
}

/* What is behind the plans. */
static APART enum mg_verdict run_rest(struct mg_req *req, enum mg_phase phase,
                                      const struct mg_chain *chain, uint32_t first, bool measured)
{
    const struct careful from = {.place = (int)first, .measured = measured};
    return enter_lua(req, phase, chain, measured ? &from : NULL, first);
}

enum mg_verdict mg_hook_run(struct mg_req *req, enum mg_phase phase)
{
    struct mg_vm *vm = req->vm;
    const struct mg_chain *chain = mg_chain_of(vm, req->route);
    if (!(chain->phases & MG_PHASE_BIT(phase))) {
        return MG_VERDICT_CONTINUE;
    }
    if (vm->options.stats) {
        mg_stats_add(vm->options.stats, MG_STAT_PLUGIN_RUNS, 1);
    }
    const bool measured = is_measured(vm);
    if (__builtin_expect(vm->quarantined != 0 || (req->lua_ref & MG_REQ_CAREFUL), 0)) {
        const struct careful from = {.measured = measured};
        return enter_lua(req, phase, chain, &from, 0);
    }
    const uint32_t *words = mg_runs_words(req, phase);
    const struct mg_chain_step *step = chain->plans[phase].steps;
    uint32_t first = 0;
    for (uint32_t left = chain->plans[phase].count; left > 0; left--, step++) {
        const enum mg_hook_plan_result result = __builtin_expect(measured, 0)
                                                    ? run_measured(step, req, phase)
                                                    : step->plan->run(step->plan, req);
        if (__builtin_expect(result != MG_PLAN_DONE, 0)) {
            return leave_plans(req, phase, step, result, measured);
        }
        mg_runs_plan_done(req, phase, words, (uint32_t)step->place);
        first = (uint32_t)step->place + 1;
    }
    return chain->run[phase] == LUA_NOREF ? MG_VERDICT_CONTINUE
                                          : run_rest(req, phase, chain, first, measured);
}

void mg_hook_resume(struct mg_req *req, int status)
{
    const struct mg_task *task = req->script;
    if (task) {
        mg_sched_wake(req->vm, (struct mg_ticket){.task = task->index, .number = task->ticket},
                      status);
    }
}

void mg_hook_abandon(struct mg_req *req)
{
    struct mg_task *task = req->script;
    if (!task) {
        return;
    }
    const enum mg_phase phase = (enum mg_phase)task->phase;
    const struct mg_chain *chain = &req->vm->chains[task->chain];
    const struct mg_turn *turn = &req->vm->turns[task->turn];
    const int place = place_of(task);
    req->script = NULL;
    req->ended_by = turn->plugin ? mg_str_from(turn->plugin) : MG_STR("core");
    req->ended_in = phase;
    mg_runs_stopped(task, place, MG_RUNS_NONE);
    mg_sched_abandon(task);
    collect_rest(req, phase, chain, place);
}

enum mg_verdict mg_hook_skip(struct mg_req *req)
{
    struct mg_task *task = req->script;
    if (!task) {
        return MG_VERDICT_CONTINUE;
    }
    const enum mg_phase phase = (enum mg_phase)task->phase;
    const int place = place_of(task);
    req->script = NULL;
    mg_runs_stopped(task, place, MG_RUNS_NONE);
    mg_sched_abandon(task);
    const struct careful from = {.place = place + 1, .failed = true};
    return place < 0 ? MG_VERDICT_CONTINUE : run_careful(req, phase, from);
}

void mg_hook_end(struct mg_req *req)
{
    struct mg_vm *vm = req->vm;
    if (req->script) {
        mg_sched_abandon(req->script);
        req->script = NULL;
    }
    if (req->lua_ref & MG_REQ_DIRTY) {
        lua_rawgeti(vm->L, LUA_REGISTRYINDEX, vm->entry.forget);
        lua_pushinteger(vm->L, (lua_Integer)req->slot);
        if (mg_vm_call(vm, 1, 0)) {
            lua_pop(vm->L, 1);
        }
    }
    req->lua_ref = 0;
    req->lua_used = false;
}

bool mg_hook_waiting(const struct mg_req *req)
{
    return req->script != NULL;
}
