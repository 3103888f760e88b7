/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process tells of itself in metrics: a worker once a second its memory, CPU time,
 * descriptors and how late its loop is; the master how the last reload ended.
 *
 *     mg_vitals_open(&vitals, &parts);
 *     mg_vitals_close(&vitals);
 */
#pragma once

#include "base/shm.h"
#include "net/loop.h"

struct mg_generation;

struct mg_vitals_parts { /* borrowed; outlive the vitals */
    struct mg_loop *loop;
    struct mg_shm *shm;
    uint32_t worker;
    struct mg_generation *const *current; /* whose Lua state is counted; may be NULL */
};

struct mg_vitals {
    struct mg_vitals_parts parts;
    struct mg_deadline tick;
    uint64_t due_ms, cpu_us, ticks;
    int cpu, lag, lua_bytes, resident, open_files, max_files; /* metrics; negative: no room */
    mg_str label;
    char label_text[12];
};

void mg_vitals_open(struct mg_vitals *vitals, const struct mg_vitals_parts *parts);
void mg_vitals_close(struct mg_vitals *vitals);

/* For the master: the first start and every reload. wall_ms counts where it did not fail. */
void mg_vitals_reloaded(struct mg_shm *shm, bool failed, int64_t wall_ms);
