/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of one rate limit: state and time in, state and verdict out. Pure; everything is
 * an integer, times are milliseconds, divisions are written so that another store gives the same
 * answer at the same time.
 *
 * Letters in the comments: Q quota, w window, B burst, c cost.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "model/calendar.h"

#include <stdbool.h>
#include <stdint.h>

enum mg_limit_algorithm {
    MG_LIMIT_FIXED_WINDOW,
    MG_LIMIT_SLIDING_WINDOW,
    MG_LIMIT_TOKEN_BUCKET,
    MG_LIMIT_GCRA, /* the token bucket under its other name; burst is 1 unless told */
    MG_LIMIT_CONCURRENCY,
    MG_LIMIT_LEAKY_BUCKET,
    MG_LIMIT_ALGORITHMS
};

#define MG_LIMIT_QUOTA_MAX 1000000000
/* For all but fixed-window and concurrency: max(Q, B) x w may be no more than this. */
#define MG_LIMIT_PRODUCT_MAX (INT64_C(1) << 51)
#define MG_LIMIT_OVERFLOW_FACTOR 10 /* quota and burst of an overflow cell */
#define MG_LIMIT_CONCURRENCY_RETRY_MS 1000
#define MG_LIMIT_DELAY_MAX_MS 10000

struct mg_limit_rule {
    enum mg_limit_algorithm algorithm;
    bool align_first;          /* fixed-window: from the key's first request, else multiples of w */
    enum mg_calendar calendar; /* fixed-window: a period of the calendar instead of w */
    int64_t quota;             /* 1 .. MG_LIMIT_QUOTA_MAX; 0 denies all */
    int64_t window_ms;         /* not for concurrency and the calendar */
    int64_t burst;             /* token-bucket, gcra: at once; leaky-bucket: may wait */
    int64_t max_delay_ms;      /* leaky-bucket: 0 .. MG_LIMIT_DELAY_MAX_MS */
};

/* "sliding-window"; static. The algorithm with that name, or MG_LIMIT_ALGORITHMS. */
const char *mg_limit_algorithm_name(enum mg_limit_algorithm algorithm);
enum mg_limit_algorithm mg_limit_algorithm_of(mg_str name);
/* MG_EINVALID: a number out of its range, or the product too large. */
MG_NODISCARD int mg_limit_rule_check(const struct mg_limit_rule *rule);
/* The rule with another quota (0 .. MG_LIMIT_QUOTA_MAX) and its burst; lowered where the product
 * would be too large. A burst that was the quota follows it. */
struct mg_limit_rule mg_limit_rule_with(const struct mg_limit_rule *rule, int64_t quota);

/*
 * What is kept of a key:      state[0]          state[1]        state[2]
 *   fixed-window              start             count
 *   sliding-window            bucket number     count in it     count in the one before
 *   token-bucket, gcra        tokens x w        time
 *   leaky-bucket              backlog x w       time
 *   concurrency               in flight
 */
struct mg_limit_view {
    int64_t state[4]; /* brought to now */
    bool ok;          /* the cost may be charged */
    bool too_big;     /* it never may */
    int64_t retry_ms; /* until it may, if nobody else comes; 0 when ok or too_big */
    int64_t delay_ms; /* leaky-bucket: until its turn */
};

/* state NULL: a new key. Changes nothing. */
void mg_limit_look(const struct mg_limit_rule *rule, const int64_t *state, int64_t now_ms,
                   int64_t cost, struct mg_limit_view *view);
/* Charges what mg_limit_look found ok. */
void mg_limit_charge(const struct mg_limit_rule *rule, struct mg_limit_view *view, int64_t cost);
/* Units that are left, and ms until the limit is (nearer to) full again. */
int64_t mg_limit_remaining(const struct mg_limit_rule *rule, const int64_t *state, int64_t now_ms);
int64_t mg_limit_reset_ms(const struct mg_limit_rule *rule, const int64_t *state, int64_t now_ms);
/* When the state is as good as new. Concurrency: INT64_MAX while units are in flight, else 0. */
int64_t mg_limit_free_at(const struct mg_limit_rule *rule, const int64_t *state);

/* Units that count at now_ms, rounded up; state is brought to now. */
int64_t mg_limit_used(const struct mg_limit_rule *rule, const int64_t *state, int64_t now_ms);
/* Adds units, but no more than until Q (buckets: B) are used. For states brought to now. */
void mg_limit_add_up_to_full(const struct mg_limit_rule *rule, int64_t *state, int64_t now_ms,
                             int64_t units);
/* Charges a denial: the count (window: of the present one; bucket: what is taken) rises by the
 * cost, at most to Q or B, so that who does not pause stays out. Not for concurrency. */
void mg_limit_charge_denied(const struct mg_limit_rule *rule, int64_t *state, int64_t cost);
/* Where a charge went: the window's start or the bucket's number; 0 where it needs none. */
int64_t mg_limit_charged_in(const struct mg_limit_rule *rule, const int64_t *state);
/* Adds units (negative: gives back) to that charge; false where it no longer counts. */
bool mg_limit_amend(const struct mg_limit_rule *rule, int64_t *state, int64_t charged_in,
                    int64_t units);

/* The rule for one of so many hosts that cannot count together: its part of Q and B, at least 1. */
struct mg_limit_rule mg_limit_part_rule(const struct mg_limit_rule *rule, uint32_t parts);
/* One host's part of a state that all have counted to, brought to its time; reset_ms is that of the
 * whole. Not for concurrency. */
void mg_limit_part_of(const struct mg_limit_rule *rule, const int64_t *state, int64_t reset_ms,
                      uint32_t parts, const struct mg_limit_rule *part, int64_t now_ms,
                      int64_t *out);
