/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts what handlers did, by plugin, phase, route and outcome: moongate_plugin_runs_total. The
 * fast way through a chain does not tell when a handler has ended: what it ran is counted when the
 * phase is over, or has got stuck at a place.
 *
 *     mg_runs_plan_done(req, phase, words, place);    // a plan did all of it
 *     mg_runs_done(task);                             // all handlers of the phase have ended
 *     mg_runs_stopped(task, place, MG_RUNS_EXIT);     // those before the place have; and that one
 *     mg_runs_passed(vm, turn);                       // one that was called by itself
 */
#pragma once

#include "model/req.h"
#include "script/chain.h"
#include "script/task.h"
#include "script/vm.h"

struct mg_shm;

enum mg_runs_outcome {
    MG_RUNS_OK,
    MG_RUNS_EXIT,
    MG_RUNS_ERROR,
    MG_RUNS_LIMIT,
    MG_RUNS_OUTCOMES,
    MG_RUNS_NONE = MG_RUNS_OUTCOMES /* given up: not counted */
};

/* Makes the metric, so that it is shown from the start. */
void mg_runs_define(struct mg_shm *shm);

/* Words of the series plus 1, by place and outcome; 0: not known yet. */
struct mg_route_runs {
    uint32_t *words[MG_PHASE_COUNT];
};

/* Those of the request's route in a phase; NULL: not known yet. */
static inline const uint32_t *mg_runs_words(const struct mg_req *req, enum mg_phase phase)
{
    const struct mg_route_runs *runs = req->route ? req->route->runs : req->config->runs;
    return runs ? runs->words[phase] : NULL;
}

/* The first one of a route. */
void mg_runs_plan_first(struct mg_req *req, enum mg_phase phase, uint32_t place);

static inline void mg_runs_plan_done(struct mg_req *req, enum mg_phase phase, const uint32_t *words,
                                     uint32_t place)
{
    const uint32_t word = words ? words[place * MG_RUNS_OUTCOMES + MG_RUNS_OK] : 0;
    if (__builtin_expect(word > 0, 1)) {
        req->vm->counters[word - 1]++;
    } else {
        mg_runs_plan_first(req, phase, place);
    }
}

/* Handlers from task->first on. */
void mg_runs_done(struct mg_task *task);
/* place: -1 is nobody's. */
void mg_runs_stopped(struct mg_task *task, int place, enum mg_runs_outcome outcome);
/* The handler of the turn, in the task that runs. */
void mg_runs_passed(struct mg_vm *vm, uint32_t turn);
