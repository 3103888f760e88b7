/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts what handlers did, by plugin, phase, route and outcome: moongate_plugin_runs_total. The
 * fast way through a chain does not tell when a handler has ended: what it ran is counted when the
 * phase is over, or has got stuck at a place.
 *
 *     mg_runs_planned(req, phase, chain, place);      // the plans of places before that one
 *     mg_runs_done(task);                             // all handlers of the phase have ended
 *     mg_runs_stopped(task, place, MG_RUNS_EXIT);     // those before the place have; and that one
 *     mg_runs_passed(vm, turn);                       // one that was called by itself
 */
#pragma once

#include "script/chain.h"
#include "script/task.h"

struct mg_req;
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
void mg_runs_planned(struct mg_req *req, enum mg_phase phase, const struct mg_chain *chain,
                     uint32_t end);
/* Handlers from task->first on. */
void mg_runs_done(struct mg_task *task);
/* place: -1 is nobody's. */
void mg_runs_stopped(struct mg_task *task, int place, enum mg_runs_outcome outcome);
/* The handler of the turn, in the task that runs. */
void mg_runs_passed(struct mg_vm *vm, uint32_t turn);
