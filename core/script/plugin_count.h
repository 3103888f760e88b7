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
struct mg_vm;

/* Makes the metrics, so that they are shown from the start. */
void mg_plugin_count_define(struct mg_shm *shm);
/* turn 0: no plugin. */
void mg_plugin_count(struct mg_vm *vm, uint32_t turn, enum mg_plugin_event event);
