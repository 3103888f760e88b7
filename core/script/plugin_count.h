/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is counted by plugin in the shared metrics (base/shm_metrics.h), beside the statistics that
 * count it for all together: it happens seldom, or is dear anyway.
 *
 *     mg_plugin_count(vm, vm->shared->turn, MG_PLUGIN_YIELD);
 */
#pragma once

#include "script/turn.h"

struct mg_shm;
struct mg_task;
struct mg_vm;

/* Makes the metrics, so that they are shown from the start. No plugin is in quarantine yet, as far
 * as this worker is concerned. */
void mg_plugin_count_define(struct mg_shm *shm, uint32_t worker);
/* turn 0: no plugin. */
void mg_plugin_count(struct mg_vm *vm, uint32_t turn, enum mg_plugin_event event);
/* Whether this worker calls the plugin. */
void mg_plugin_set_quarantined(struct mg_vm *vm, uint32_t turn, bool quarantined);

/* --- times: of each wait, and of the CPU in the runs that are measured ------------------------ */

/* One run in so many, of all chains; a prime, so that it does not fall in step with the phases of a
 * request. Each counts for all of them. */
#define MG_PLUGIN_MEASURED 127

/* The handler of the turn begins, or goes on after a wait, in a task that is measured ... */
void mg_plugin_slice_begin(struct mg_task *task);
/* ... and ends or waits; harmless where none has begun. */
void mg_plugin_slice_end(struct mg_task *task);
/* The same for a plan; begun_us: what the first gave. */
uint64_t mg_plugin_plan_begin(void);
void mg_plugin_plan_end(struct mg_vm *vm, uint32_t plugin_index, enum mg_phase phase,
                        uint64_t begun_us);
/* The task waits from now on; it does no more. */
void mg_plugin_wait_begin(struct mg_task *task);
void mg_plugin_wait_end(struct mg_task *task);
