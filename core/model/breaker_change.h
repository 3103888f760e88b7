/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a breaker's record and its transitions; for model/breaker*.c. A transition is one
 * compare-and-swap of the state word, so one caller in all processes makes it and is told.
 *
 *   state        3 bits state | 7 bits n | 13 bits epoch | 41 bits time
 *                time: OPEN and by hand its end (TIME_MAX: none), else when the state began; ms
 *                since 1970, until 2039
 *   recent[i]    3 bits from | 3 bits to | 4 bits reason | 13 bits epoch | 41 bits time
 *                of the transition that led to that epoch, i = epoch mod 16
 */
#pragma once

#include "base/shm_words.h"
#include "model/breaker_rule.h"

#define MG_BREAKER_N_MAX 127
#define MG_BREAKER_EPOCHS (1U << 13)
#define MG_BREAKER_TIME_MAX ((INT64_C(1) << 41) - 1)

struct mg_breaker_word {
    enum mg_breaker_state state;
    uint32_t n, epoch;
    int64_t time_ms;
};

struct mg_breaker_event {
    enum mg_breaker_state from, to;
    enum mg_breaker_reason reason;
    uint32_t epoch;
    int64_t time_ms;
};

/* A transition that a call brought about. */
struct mg_breaker_change {
    bool happened;
    enum mg_breaker_state from, to;
    enum mg_breaker_reason reason;
    uint32_t n;                              /* openings in a row */
    int64_t open_ms;                         /* to OPEN: how long; by hand: -1 = without end */
    uint64_t total, failures, network, slow; /* in the window, or of the probes */
};

/* Where things are counted in a record's counters. */
enum {
    /* by enum mg_breaker_counted */
    MG_BREAKER_AT_RESULTS = 0,
    MG_BREAKER_AT_REJECTED = MG_BREAKER_AT_RESULTS + MG_COUNTED_KINDS, /* by state */
    MG_BREAKER_AT_SHADOW = MG_BREAKER_AT_REJECTED + MG_BREAKER_STATES,
    MG_BREAKER_AT_STALE,
    MG_BREAKER_AT_OPEN_MS,  /* of openings that are over */
    MG_BREAKER_AT_OVERFLOW, /* requests whose key found no place */
    MG_BREAKER_AT_EDGES,    /* transitions, by mg_breaker_edge */
};
#define MG_BREAKER_EDGES 15

/* The transitions there are, by state they lead to and reason. */
struct mg_breaker_edge {
    enum mg_breaker_state to;
    enum mg_breaker_reason reason;
};
extern const struct mg_breaker_edge mg_breaker_edges[MG_BREAKER_EDGES];

struct mg_breaker_word mg_breaker_word_of(uint64_t word);
uint64_t mg_breaker_word_make(struct mg_breaker_word parts);
/* False: nothing is known of a transition to that epoch. */
bool mg_breaker_event_of(const struct mg_breaker_record *record, uint32_t epoch,
                         struct mg_breaker_event *event);

/* Adds to a record's counter, and to that of its owner when it is one by key. */
void mg_breaker_count(struct mg_breaker_record *record, unsigned at, uint64_t n);
/* Milliseconds in OPEN and FORCED_OPEN, the present time included. */
uint64_t mg_breaker_open_ms(const struct mg_breaker_record *record, int64_t now_ms);

/* Makes the transition from the state that was seen, unless another has left it meanwhile. next
 * gives state, n and time. Counts, and fills in change but for its numbers of results. */
bool mg_breaker_move(struct mg_breaker_record *record, uint64_t seen, struct mg_breaker_word next,
                     enum mg_breaker_reason reason, int64_t now_ms,
                     struct mg_breaker_change *change);
