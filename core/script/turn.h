/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A turn: a plugin together with the limits that hold for one of its configurations (its on_error,
 * cpu_ms and wall_ms, which may differ by instance_name). Generated chain code stores the index of
 * the turn in mg_ffi_shared.turn before each handler; this table says what that means. Index 0 is
 * "no plugin": core code, and timers that belong to none.
 */
#pragma once

#include "model/config.h"

#define MG_CPU_TICK_MS 4 /* Debian's kernels fire CPU-clock timers at this pace */

/* What is counted by plugin: script/plugin_count.h. The first three are failures. */
enum mg_plugin_event {
    MG_PLUGIN_ERROR,
    MG_PLUGIN_LIMIT,
    MG_PLUGIN_QUARANTINED, /* not run */
    MG_PLUGIN_YIELD,
    MG_PLUGIN_EVENTS
};

/* What is measured by plugin and phase. */
enum mg_plugin_time {
    MG_PLUGIN_CPU, /* of its handlers, estimated from one run in many: script/hook.c */
    MG_PLUGIN_WAIT,
    MG_PLUGIN_TIMES
};

struct mg_turn {
    const char *plugin; /* name; lives as long as the VM */
    uint32_t cpu_ms;    /* of one slice; 0 = unlimited */
    uint32_t cpu_ticks; /* the same, rounded up */
    uint64_t wall_ms;   /* of one phase call; 0 = unlimited */
    bool open;          /* on_error: open */
    bool may_quarantine;
    uint32_t plugin_index; /* same for all turns of a plugin */
    /* plugin_count's: its words plus 1; 0: not known yet */
    uint32_t counted[MG_PLUGIN_EVENTS];
    uint32_t timed[MG_PLUGIN_TIMES][MG_PHASE_COUNT];
};

/* Limits that a plugin reached, and what follows. */
struct mg_quarantine {
    uint64_t limit_ms[3]; /* when the last three limits were reached, latest first; 0 = never */
    uint64_t until_ms;    /* not called before; 0 = free */
    uint64_t trial_ms;    /* when the one call after that began; 0 = not yet */
};
