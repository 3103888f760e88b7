/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rate limits: the decision over several limits and a ban as one atomic step over all workers
 * (plugins/rate-limit/README.md). Everything is an integer; times are milliseconds. The
 * arithmetic of one limit is pure (limit_rule.h), as is that of a ban (limit_ban.h).
 *
 *     struct mg_limit limit = {.rule = {.algorithm = MG_LIMIT_SLIDING_WINDOW, .quota = 100,
 *                                       .window_ms = 60000},
 *                              .max_keys = 65536};
 *     int err = mg_limit_open(shm, &limit, MG_STR("route:7 minute"), MG_STR("minute"), now_ms);
 *     struct mg_limit_ask ask = {.limit = &limit, .key = mg_limit_key(shm, &limit, key),
 *                                .cost = 1};
 *     struct mg_limit_request request = {.worker = 0, .now_ms = now_ms, .asks = &ask, .count = 1};
 *     struct mg_limit_answer answer;
 *     struct mg_limit_verdict verdict = mg_limits_take(shm, &request, &answer);
 */
#pragma once

#include "base/shm_cells.h"
#include "base/shm_limits.h"
#include "model/limit_ban.h"
#include "model/limit_rule.h"

#include <stdbool.h>
#include <stdint.h>

struct mg_shm;

#define MG_LIMITS_AT_ONCE 16
#define MG_LIMIT_NAME 36

/* The limit that stood in its place before its window or algorithm was edited: a key's first use
 * begins with what was used there. */
struct mg_limit_former {
    struct mg_limit_rule rule;
    struct mg_cell_key id;
    uint32_t record;
    int64_t until_ms; /* one old window after the edit; 0 = there is none */
};

struct mg_limit {
    struct mg_limit_rule rule;
    bool shadow;       /* decides and counts, but its verdict is ignored */
    uint32_t max_keys; /* 1 or more */
    /* filled in by mg_limit_open */
    struct mg_cell_key family, id; /* without and with algorithm and window */
    uint32_t record;
    char name[MG_LIMIT_NAME];
    struct mg_limit_former former;
};

/* identity: what makes its counters its own (scope, name, key, shadow). Algorithm and window are
 * added to it; quota and burst are not, so that a count survives their edit. MG_EINVALID as
 * mg_limit_rule_check; MG_EFULL: no record is free. */
MG_NODISCARD int mg_limit_open(struct mg_shm *shm, struct mg_limit *limit, mg_str identity,
                               mg_str name, int64_t now_ms);
/* Opens it again where it was unused for so long that another limit was given its record; false:
 * there is none for it. mg_limits_take does so. */
bool mg_limit_renew(struct mg_shm *shm, struct mg_limit *limit, int64_t now_ms);
/* The cell's key for a request's key. */
struct mg_cell_key mg_limit_key(const struct mg_shm *shm, const struct mg_limit *limit, mg_str key);
/* The same in the former limit, for struct mg_limit_ask; zero where there is none at now_ms. */
struct mg_cell_key mg_limit_former_key(const struct mg_shm *shm, const struct mg_limit *limit,
                                       mg_str key, int64_t now_ms);

/* A ban that is common to the limits of one entry. */
struct mg_limit_ban {
    struct mg_ban_rule rule;
    uint32_t max_keys;
    struct mg_cell_key id; /* filled in by mg_limit_ban_open */
    uint32_t record;
    char name[MG_LIMIT_NAME];
};

/* A key's count in another store. */
struct mg_limit_elsewhere {
    const struct mg_limit_rule *rule; /* of the whole */
    uint32_t parts;                   /* of which a host has one; 1 or more */
    const int64_t *state;
    int64_t reset_ms;
};

/* As mg_limit_open. MG_EINVALID as mg_ban_rule_check. */
MG_NODISCARD int mg_limit_ban_open(struct mg_shm *shm, struct mg_limit_ban *ban, mg_str identity,
                                   mg_str name, int64_t now_ms);
struct mg_cell_key mg_limit_ban_key(const struct mg_shm *shm, const struct mg_limit_ban *ban,
                                    mg_str key);

struct mg_limit_ask {
    struct mg_limit *limit;
    struct mg_cell_key key;
    struct mg_cell_key former_key; /* 0, 0: none */
    int64_t cost;                  /* 0: checked, not charged */
    bool has_quota;                /* of this request: 0 .. MG_LIMIT_QUOTA_MAX, 0 denies */
    int64_t quota;
};

struct mg_limit_request {
    uint32_t worker;
    int64_t now_ms;
    uint8_t network;   /* class of the client's network: each has its share of a limit's cells */
    bool count_denied; /* a denied request adds its cost too, up to the quota */
    const struct mg_limit_ask *asks;
    unsigned count;                 /* 1 .. MG_LIMITS_AT_ONCE */
    const struct mg_limit_ban *ban; /* may be NULL */
    struct mg_cell_key ban_key;
};

struct mg_limit_answer {
    bool ok, too_big;
    bool overflow; /* decided in an overflow cell */
    bool charged;
    int64_t quota;                         /* in force; ten times the rule's in an overflow cell */
    int64_t remaining, reset_ms, retry_ms; /* right after the decision */
    int64_t delay_ms;                      /* leaky-bucket: to wait before going on */
    uint32_t hold; /* concurrency, charged: for mg_limit_release; 0 = nothing held */
    /* where it was charged, for mg_limit_correct */
    struct mg_cell_key cell;
    int64_t charged_in;
};

struct mg_limit_verdict {
    bool admitted;
    bool banned;      /* it is banned: nothing was looked at, nothing charged, answers not filled */
    bool ban_began;   /* this denial began the ban; answers are filled */
    bool ban_refused; /* it would have, but there was no room or the key is in an overflow cell */
    int64_t ban_ms;   /* time left of the ban */
    int64_t delay_ms; /* the largest of the limits; 0 where denied */
};

/* Looks at the ban and at all limits and charges all, or none. A shadow limit that would deny is
 * not charged. Cannot fail: a concurrency limit whose worker can hold no more, and a limit that can
 * have no record, are not ok. */
struct mg_limit_verdict mg_limits_take(struct mg_shm *shm, const struct mg_limit_request *request,
                                       struct mg_limit_answer *answers);
/* The usual case of it, for less: one limit and no ban, whose key is known and may go on at once.
 * The answer is that of mg_limits_take, and the request is admitted. False: nothing was done, and
 * mg_limits_take has to decide. */
bool mg_limits_take_known(struct mg_shm *shm, const struct mg_limit_ask *ask, int64_t now_ms,
                          struct mg_limit_answer *answer);
/* The admitted request has ended. */
void mg_limit_release(struct mg_shm *shm, uint32_t worker, uint32_t hold);
/* Adds that many units (negative: gives them back) to what was charged, where that still counts.
 * False: the cell is gone, nothing to correct. Not for concurrency. */
bool mg_limit_correct(struct mg_shm *shm, const struct mg_limit *limit,
                      const struct mg_limit_answer *answer, int64_t now_ms, int64_t units);
/* What a host knows of a key that is counted elsewhere by another rule: limit's rule is its part, a
 * `parts`-th of full, and the key's state there is `state`, with that reset. The key's count here
 * becomes its part of it, but no less than it is: such news may overtake one another. False where
 * there is no room for the key. Not for concurrency. */
bool mg_limit_learn(struct mg_shm *shm, struct mg_limit *limit, struct mg_cell_key key,
                    uint8_t network, int64_t now_ms, const struct mg_limit_elsewhere *elsewhere);
/* Units of a concurrency limit that are in flight. */
int64_t mg_limit_in_flight(struct mg_shm *shm, const struct mg_limit *limit, struct mg_cell_key key,
                           int64_t now_ms);
/* Ends the key's ban; false: there was none. */
bool mg_limit_ban_lift(struct mg_shm *shm, const struct mg_limit_ban *ban, struct mg_cell_key key,
                       int64_t now_ms);
/* ms that are left of the key's ban, and what is known of it; 0: not banned. */
int64_t mg_limit_ban_left_ms(struct mg_shm *shm, const struct mg_limit_ban *ban,
                             struct mg_cell_key key, int64_t now_ms, struct mg_ban_state *state);
/* Makes the key's ban last until then at least, such as another host has decided. */
bool mg_limit_ban_until(struct mg_shm *shm, const struct mg_limit_ban *ban, struct mg_cell_key key,
                        uint8_t network, int64_t now_ms, const struct mg_ban_state *state);
/* The key is banned for so long from now, the so many-th time in a row: another host says so. */
void mg_limit_ban_learn(struct mg_shm *shm, const struct mg_limit_ban *ban, struct mg_cell_key key,
                        uint8_t network, int64_t now_ms, int64_t left_ms, int64_t in_a_row);
