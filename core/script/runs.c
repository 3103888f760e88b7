/* SPDX-License-Identifier: Apache-2.0 */
/* A route has a table of words for each phase in which a chain has run for it. */
#include "script/runs.h"

#include "base/shm_metrics.h"
#include "script/plugin_count.h"

#include "script/ffi.h"

#define SELDOM __attribute__((noinline, cold)) /* kept out of the way of what is done always */

static int define(struct mg_shm *shm)
{
    static const char *const labels[] = {"plugin", "phase", "route", "outcome"};
    const struct mg_metric_def def = {.name = MG_STR("moongate_plugin_runs_total"),
                                      .help = MG_STR("handlers that were run for requests"),
                                      .type = MG_METRIC_COUNTER,
                                      .labels = labels,
                                      .label_count = 4};
    return mg_metric_open(shm, &def);
}

void mg_runs_define(struct mg_shm *shm)
{
    (void)define(shm);
}

/* What is counted for. */
struct run {
    struct mg_req *req;
    const struct mg_chain *chain;
    enum mg_phase phase;
    uint32_t *words;
};

static SELDOM uint32_t *make_words(const struct run *run, struct mg_route_runs **runs)
{
    struct mg_arena *arena = &run->req->config->arena;
    if (!*runs) {
        *runs = mg_arena_zalloc(arena, sizeof **runs);
    }
    const size_t count = (size_t)run->chain->count * MG_RUNS_OUTCOMES;
    uint32_t *words = mg_arena_zalloc(arena, (count + 1) * sizeof *words);
    (*runs)->words[run->phase] = words;
    return words;
}

static inline struct run run_of(struct mg_req *req, enum mg_phase phase,
                                const struct mg_chain *chain)
{
    struct mg_route_runs **runs = req->route ? &req->route->runs : &req->config->runs;
    struct run run = {.req = req, .chain = chain, .phase = phase};
    run.words = *runs ? (*runs)->words[phase] : NULL;
    run.words = run.words ? run.words : make_words(&run, runs);
    return run;
}

static struct run run_of_task(const struct mg_task *task)
{
    return run_of(task->req, (enum mg_phase)task->phase, &task->vm->chains[task->chain]);
}

static const char *plugin_at(const struct run *run, uint32_t place)
{
    const struct mg_vm *vm = run->req->vm;
    for (uint32_t i = 1; i < vm->turn_count; i++) {
        if (vm->turns[i].plugin_index == run->chain->plugins[place]) {
            return vm->turns[i].plugin;
        }
    }
    return "";
}

static SELDOM void find_word(const struct run *run, uint32_t place, enum mg_runs_outcome outcome,
                             uint32_t *word)
{
    static const char *const outcomes[] = {"ok", "exit", "error", "limit"};
    const struct mg_route *route = run->req->route;
    struct mg_shm *shm = run->req->vm->options.shm;
    const mg_str name = !route ? MG_STR("_none") : route->name.len > 0 ? route->name : route->id;
    const mg_str values[] = {mg_str_from(plugin_at(run, place)),
                             mg_str_from(mg_phase_name(run->phase)), name,
                             mg_str_from(outcomes[outcome])};
    const int metric = define(shm);
    if (metric >= 0) {
        *word = mg_series_open(shm, (uint32_t)metric, values, NULL) + 1;
    }
}

static inline void count(const struct run *run, uint32_t place, enum mg_runs_outcome outcome)
{
    uint32_t *word = &run->words[place * MG_RUNS_OUTCOMES + outcome];
    if (__builtin_expect(*word == 0, 0)) {
        find_word(run, place, outcome, word);
    }
    if (*word > 0) {
        run->req->vm->counters[*word - 1]++;
    }
}

/* Handlers at places from .. end - 1. skipped: bits of places without a configuration. */
static inline void count_all(const struct run *run, uint32_t from, uint32_t end, uint32_t skipped)
{
    const struct mg_chain_calls *calls = &run->chain->calls[run->phase];
    for (uint32_t i = 0; i < calls->count && calls->places[i] < end; i++) {
        const uint32_t place = calls->places[i];
        if (place >= from && (skipped == 0 || (skipped >> place & 1) == 0)) {
            count(run, place, MG_RUNS_OK);
        }
    }
}

SELDOM void mg_runs_plan_first(struct mg_req *req, enum mg_phase phase, uint32_t place)
{
    if (req->vm->options.shm) {
        const struct run run = run_of(req, phase, mg_chain_of(req->vm, req->route));
        count(&run, place, MG_RUNS_OK);
    }
}

static bool is_counted(const struct mg_task *task)
{
    return task->req && task->vm->options.shm;
}

/* Does each handler of the task say when it has ended? */
static bool tells(const struct mg_task *task)
{
    return task->careful || task->vm->chains[task->chain].is_long;
}

/* Handlers of the task before the place `end`, one of which has made the answer and gone on. */
static SELDOM void count_exited(const struct run *run, const struct mg_task *task, uint32_t end)
{
    const uint32_t skipped = (uint32_t)task->skipped;
    const int place = mg_chain_place(run->chain, task->vm->turns[task->exited].plugin_index);
    if (place < 0 || (uint32_t)place >= end) {
        count_all(run, task->first, end, skipped);
        return;
    }
    count_all(run, task->first, (uint32_t)place, skipped);
    count(run, (uint32_t)place, MG_RUNS_EXIT);
    count_all(run, (uint32_t)place + 1, end, skipped);
}

static inline void count_task(const struct run *run, const struct mg_task *task, uint32_t end)
{
    if (__builtin_expect(task->exited != 0, 0)) {
        count_exited(run, task, end);
    } else {
        count_all(run, task->first, end, (uint32_t)task->skipped);
    }
}

void mg_runs_done(struct mg_task *task)
{
    if (is_counted(task) && !tells(task)) {
        const struct run run = run_of_task(task);
        count_task(&run, task, UINT32_MAX);
    }
}

void mg_runs_stopped(struct mg_task *task, int place, enum mg_runs_outcome outcome)
{
    mg_plugin_slice_end(task);
    if (!is_counted(task) || place < 0) {
        return;
    }
    const struct run run = run_of_task(task);
    if (!tells(task)) {
        count_task(&run, task, (uint32_t)place);
    }
    if (outcome != MG_RUNS_NONE) {
        count(&run, (uint32_t)place, outcome);
    }
}

void mg_runs_passed(struct mg_vm *vm, uint32_t turn)
{
    struct mg_task *task = vm->sched.running;
    if (!task || !is_counted(task) || turn >= vm->turn_count) {
        return;
    }
    mg_plugin_slice_end(task);
    const struct run run = run_of_task(task);
    const int place = mg_chain_place(run.chain, vm->turns[turn].plugin_index);
    if (place >= 0) {
        const bool exited = vm->shared->exited == (int32_t)turn;
        count(&run, (uint32_t)place, exited ? MG_RUNS_EXIT : MG_RUNS_OK);
    }
}
