/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rate limits: the decision of policies.md 2.3. Everything is an integer; times are milliseconds.
 * The arithmetic is pure (state and time in, state and verdict out); mg_limits_take does it for
 * several limits in one atomic step over all workers.
 *
 *     struct mg_limit limit = {.rule = {.algorithm = MG_LIMIT_SLIDING_WINDOW, .quota = 100,
 *                                       .window_ms = 60000},
 *                              .max_keys = 65536};
 *     int err = mg_limit_open(shm, &limit, MG_STR("route:7 minute sliding-window 60000"),
 *                             MG_STR("minute"), now_ms);
 *     struct mg_limit_ask ask = {.limit = &limit, .key = mg_limit_key(shm, &limit, key),
 *                                .cost = 1};
 *     struct mg_limit_answer answer;
 *     bool admitted = mg_limits_take(shm, worker, now_ms, &ask, 1, &answer);
 *
 * Letters in the comments: Q quota, w window, B burst, c cost.
 */
#pragma once

#include "base/shm_cells.h"

#include <stdbool.h>
#include <stdint.h>

struct mg_shm;

enum mg_limit_algorithm {
    MG_LIMIT_FIXED_WINDOW,
    MG_LIMIT_SLIDING_WINDOW,
    MG_LIMIT_TOKEN_BUCKET,
    MG_LIMIT_GCRA, /* the token bucket under its other name; burst is 1 unless told */
    MG_LIMIT_CONCURRENCY,
    MG_LIMIT_ALGORITHMS
};

#define MG_LIMIT_QUOTA_MAX 1000000000
/* For all but fixed-window and concurrency: max(Q, B) x w may be no more than this. */
#define MG_LIMIT_PRODUCT_MAX (INT64_C(1) << 51)
#define MG_LIMIT_OVERFLOW_FACTOR 10 /* quota and burst of an overflow cell */
#define MG_LIMIT_CONCURRENCY_RETRY_MS 1000

struct mg_limit_rule {
    enum mg_limit_algorithm algorithm;
    bool align_first;  /* fixed-window: from the key's first request, else multiples of w */
    int64_t quota;     /* 1 .. MG_LIMIT_QUOTA_MAX */
    int64_t window_ms; /* not for concurrency */
    int64_t burst;     /* token-bucket, gcra */
};

/* "sliding-window"; static. The algorithm with that name, or MG_LIMIT_ALGORITHMS. */
const char *mg_limit_algorithm_name(enum mg_limit_algorithm algorithm);
enum mg_limit_algorithm mg_limit_algorithm_of(mg_str name);
/* MG_EINVALID: a number out of its range, or the product too large. */
MG_NODISCARD int mg_limit_rule_check(const struct mg_limit_rule *rule);

/* --- pure arithmetic ------------------------------------------------------------------------ */

/*
 * What is kept of a key:      state[0]          state[1]        state[2]
 *   fixed-window              start             count
 *   sliding-window            bucket number     count in it     count in the one before
 *   token-bucket, gcra        tokens x w        time
 *   concurrency               in flight
 */
struct mg_limit_view {
    int64_t state[4]; /* brought to now */
    bool ok;          /* the cost may be charged */
    bool too_big;     /* it never may */
    int64_t retry_ms; /* until it may, if nobody else comes; 0 when ok or too_big */
};

/* state NULL: a new key. Changes nothing. */
void mg_limit_look(const struct mg_limit_rule *rule, const int64_t *state, int64_t now_ms,
                   int64_t cost, struct mg_limit_view *view);
/* Charges what mg_limit_look found ok. */
void mg_limit_charge(const struct mg_limit_rule *rule, struct mg_limit_view *view, int64_t cost);
/* Units that are left, and ms until the limit is (nearer to) full again. */
int64_t mg_limit_remaining(const struct mg_limit_rule *rule, const int64_t *state, int64_t now_ms);
int64_t mg_limit_reset_ms(const struct mg_limit_rule *rule, const int64_t *state, int64_t now_ms);
/* When the state is as good as new. MG_CELL_HELD while units are in flight. */
int64_t mg_limit_free_at(const struct mg_limit_rule *rule, const int64_t *state);

/* --- the decision in shared memory ---------------------------------------------------------- */

#define MG_LIMITS_AT_ONCE MG_CELLS_AT_ONCE

struct mg_limit {
    struct mg_limit_rule rule;
    bool shadow;       /* decides and counts, but its verdict is ignored */
    uint32_t max_keys; /* 1 or more */
    /* filled in by mg_limit_open */
    struct mg_cell_key id;
    uint32_t record;
    char name[36];
};

/* identity: what makes its counters its own (scope, name, algorithm, window, shadow), not its
 * numbers. MG_EINVALID as mg_limit_rule_check; MG_EFULL: no record is free. */
MG_NODISCARD int mg_limit_open(struct mg_shm *shm, struct mg_limit *limit, mg_str identity,
                               mg_str name, int64_t now_ms);
/* The cell's key for a request's key. */
struct mg_cell_key mg_limit_key(const struct mg_shm *shm, const struct mg_limit *limit, mg_str key);

struct mg_limit_ask {
    struct mg_limit *limit;
    struct mg_cell_key key;
    int64_t cost;
};

struct mg_limit_answer {
    bool ok, too_big;
    bool overflow;                         /* decided in the overflow cell */
    int64_t remaining, reset_ms, retry_ms; /* right after the decision */
    uint32_t hold; /* concurrency, admitted: for mg_limit_release; 0 = nothing held */
};

/* Looks at all limits and charges all, or none: true = admitted. count: 1 .. MG_LIMITS_AT_ONCE.
 * A shadow limit that would deny is not charged. Cannot fail: a concurrency limit whose worker can
 * hold no more, and a limit that can have no record, are not ok. */
bool mg_limits_take(struct mg_shm *shm, uint32_t worker, int64_t now_ms,
                    const struct mg_limit_ask *asks, unsigned count,
                    struct mg_limit_answer *answers);
/* The admitted request has ended. */
void mg_limit_release(struct mg_shm *shm, uint32_t worker, uint32_t hold);
