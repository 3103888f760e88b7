/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of circuit breakers, for people and for metrics: a snapshot of each record.
 *
 *     static bool show(void *context, const struct mg_breaker_view *view) { ...; return true; }
 *     mg_breaker_visit(shm, now_ms, show, context);
 *
 * For metrics, with enum mg_breaker_counted, mg_breaker_state_name and so on:
 *
 *     moongate_breaker_state{breaker,state}                state
 *     moongate_breaker_transitions_total{breaker,to,reason} transitions, by mg_breaker_edges
 *     moongate_breaker_results_total{breaker,result}       results, by mg_breaker_counted_name
 *     moongate_breaker_rejected_total{breaker,state}       rejected, by state
 *     moongate_breaker_shadow_rejected_total{breaker}      shadow_rejected
 *     moongate_breaker_probes_inflight{breaker}            probes
 *     moongate_breaker_open_seconds_total{breaker}         open_ms / 1000
 *     moongate_breaker_stale_results_total{breaker}        stale
 *
 * The counters only grow as long as the breaker is configured; words are read one by one, so two of
 * them may be a moment apart.
 */
#pragma once

#include "model/breaker_change.h"
#include "model/breaker_window.h"

#define MG_BREAKER_SHOWN 10 /* transitions that are remembered */

struct mg_breaker_view {
    char name[MG_BREAKER_NAME];
    enum mg_breaker_state state;
    bool shadow;
    uint32_t n;       /* openings in a row */
    uint32_t epoch;   /* transitions so far, mod MG_BREAKER_EPOCHS */
    uint32_t probes;  /* under way */
    int64_t since_ms; /* when the state began, 0 = not known */
    int64_t left_ms;  /* OPEN and by hand: time left; -1: without end; other states: 0 */
    struct mg_breaker_counts window;    /* in this epoch; CLOSED and RAMP */
    uint64_t results[MG_COUNTED_KINDS]; /* by enum mg_breaker_counted */
    uint64_t rejected[MG_BREAKER_STATES], shadow_rejected, stale, open_ms;
    uint32_t keys;                          /* breakers by key that it has now, all counted here */
    uint32_t keys_in[MG_BREAKER_STATES];    /* of them, by state */
    uint64_t overflowed;                    /* requests whose key found no place */
    uint64_t transitions[MG_BREAKER_EDGES]; /* of mg_breaker_edges[i] */
    struct mg_breaker_event recent[MG_BREAKER_SHOWN]; /* the last ones, newest first */
    uint32_t recent_count;
};

/* "success", "failure", "slow", "network", "ignored"; static. */
const char *mg_breaker_counted_name(enum mg_breaker_counted counted);
/* index: 0 .. mg_shm_room's breakers - 1; false where there is none. */
bool mg_breaker_view(struct mg_shm *shm, uint32_t index, int64_t now_ms,
                     struct mg_breaker_view *view);
/* Each breaker, until each returns false. */
void mg_breaker_visit(struct mg_shm *shm, int64_t now_ms,
                      bool (*each)(void *context, const struct mg_breaker_view *view),
                      void *context);
