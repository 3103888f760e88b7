/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a circuit breaker is made of, as plain data: its rule, its states, the kinds of results
 * (plugins/circuit-breaker/README.md).
 *
 * Times are milliseconds, shares thousandths of a percent (50 % = 50000), 0 = off.
 */
#pragma once

#include "base/shm_records.h"

#include <stdbool.h>
#include <stdint.h>

struct mg_shm;

#define MG_BREAKER_SHARE(percent) ((uint32_t)((percent)*1000 + 0.5))
#define MG_BREAKER_ALL 100000U /* the share that is all */

struct mg_breaker_rule {
    bool by_count;         /* window: the last window_calls results, else window_ms in buckets */
    bool shadow;           /* for people: the caller refuses nothing */
    uint32_t window_ms;    /* 1,000 .. 600,000 */
    uint32_t buckets;      /* 1 .. 60; a bucket leaves the window as a whole */
    uint32_t window_calls; /* 10 .. 1,024 */
    uint32_t min_requests; /* results before a share can trip, 1 or more */
    uint32_t failure_share, network_share, slow_share; /* thousandths of a percent */
    uint32_t consecutive;                              /* failures in a row; up to 1,000 */
    uint32_t open_base_ms, open_max_ms;
    uint32_t open_factor;   /* thousandths: 2000 = twice as long each time; 1,000 .. 10,000 */
    uint32_t open_jitter;   /* share by which an open time may be longer or shorter */
    uint32_t probes;        /* max_inflight, 1 .. 1,000 */
    uint32_t probe_results; /* required, 1 .. 1,000 */
    uint32_t probe_good;    /* success_percent as a share */
    uint32_t ramp_ms;       /* 0 .. 600,000; 0: good probes close it at once */
    uint32_t max_keys;      /* breakers by key that it may have; 0: it has no keys */
};

enum mg_breaker_state {
    MG_BREAKER_CLOSED,
    MG_BREAKER_OPEN,
    MG_BREAKER_HALF_OPEN,
    MG_BREAKER_RAMP,
    MG_BREAKER_FORCED_OPEN,
    MG_BREAKER_FORCED_CLOSED,
    MG_BREAKER_STATES,
};

enum mg_breaker_reason {
    MG_BREAKER_NO_REASON,
    MG_BREAKER_FAILURE_PERCENT,
    MG_BREAKER_NETWORK,
    MG_BREAKER_SLOW,
    MG_BREAKER_CONSECUTIVE,
    MG_BREAKER_TIME,
    MG_BREAKER_PROBES_FAILED,
    MG_BREAKER_PROBES_OK,
    MG_BREAKER_RAMP_FAILED,
    MG_BREAKER_RAMP_DONE,
    MG_BREAKER_FORCED,
    MG_BREAKER_AUTO,
    MG_BREAKER_RESET,
    MG_BREAKER_REASONS,
};

enum mg_breaker_result {
    MG_RESULT_SUCCESS,
    MG_RESULT_FAILURE,
    MG_RESULT_NETWORK, /* a failure of the network: counts as both */
    MG_RESULT_LEFT,    /* the client left before the head: counts where it is slow, but of probes */
    MG_RESULT_NONE,    /* nothing is recorded; the slot is given back */
};

/* Results as they are counted. Success and failure exclude each other; network is a failure
 * besides, slow is either besides (or a client that left). */
enum mg_breaker_counted {
    MG_COUNTED_SUCCESS,
    MG_COUNTED_FAILURE,
    MG_COUNTED_SLOW,
    MG_COUNTED_NETWORK,
    MG_COUNTED_IGNORED, /* an admitted request that said nothing about the upstream */
    MG_COUNTED_KINDS,
};

struct mg_breaker {
    struct mg_breaker_rule rule;
    /* filled in by mg_breaker_open */
    struct mg_shm *shm;
    struct mg_cell_key id;
    uint32_t record, shape;
    bool keyed; /* made by mg_breaker_of_key */
    char name[MG_BREAKER_NAME];
};
