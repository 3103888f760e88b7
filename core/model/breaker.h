/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Circuit breakers: a state machine (plugins/circuit-breaker/README.md) over words that all workers
 * share. What is known of them: model/breaker_view.h; by hand: model/breaker_hand.h.
 *
 *            failure, slow or network share, or consecutive failures
 *   CLOSED ───────────────────────────────────────────────────► OPEN
 *     ▲                              ┌──────────────────────────►│ ▲
 *     │ ramp time over               │ a trip rule holds         │ │ too many probes failed
 *     └─────────────────────────── RAMP ◄──────────────────────  ▼ │
 *                                    required results in,       HALF_OPEN
 *                                    enough of them good         (open time over, a request comes)
 *
 *   FORCED_OPEN, FORCED_CLOSED: by hand from any state; `auto` or their end lead to CLOSED.
 *
 * Every transition raises the epoch; a result counts only in the epoch its request was admitted in.
 * In HALF_OPEN at most max_inflight requests of all workers are under way: each holds a probe slot
 * (a ledger entry) until its result is known, over later epochs too. In RAMP a share that rises in
 * a straight line from 10 % to all passes, spread evenly by a counter that all workers share.
 *
 *     struct mg_breaker breaker = {.rule = {...}};
 *     int err = mg_breaker_open(shm, &breaker, MG_STR("upstream:orders"), now_ms);
 *     struct mg_breaker_pass pass;
 *     struct mg_breaker_change change;
 *     if (mg_breaker_ask(&breaker, worker, now_ms, &pass, &change)) ...   // admitted
 *     const struct mg_breaker_told told = {.result = MG_RESULT_FAILURE, .random = random};
 *     mg_breaker_result(&breaker, worker, now_ms, &pass, &told, &change);
 *     if (change.happened) ...                                // one caller in all workers sees it
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "model/breaker_change.h"

/* What a request was told. */
struct mg_breaker_pass {
    bool admitted;
    bool probe;
    bool counted; /* its result is in the window */
    enum mg_breaker_state state;
    uint32_t epoch;
    uint32_t hold;    /* of a probe, until its result; 0 = none */
    int64_t retry_ms; /* when not admitted: until it may be worth asking again */
    uint64_t place;   /* in the window */
};

/* What became of it. */
struct mg_breaker_told {
    enum mg_breaker_result result;
    bool slow;
    uint32_t random; /* any 32 bits, for the jitter of an open time */
};

/* "half_open", "probes_failed"; static. */
const char *mg_breaker_state_name(enum mg_breaker_state state);
const char *mg_breaker_reason_name(enum mg_breaker_reason reason);

/* MG_EINVALID: a number out of its range. */
MG_NODISCARD int mg_breaker_rule_check(const struct mg_breaker_rule *rule);
/* Finds or makes the breaker of that name. A window of another shape than before starts empty; all
 * else stays. MG_EINVALID, MG_EFULL. */
MG_NODISCARD int mg_breaker_open(struct mg_shm *shm, struct mg_breaker *breaker, mg_str name,
                                 int64_t now_ms);
/* The breaker of a key, of one that has keys: to be asked and told in its place. Where max_keys are
 * in use it is the one itself, and it is when it was switched by hand. */
void mg_breaker_of_key(struct mg_breaker *owner, mg_str key, int64_t now_ms,
                       struct mg_breaker *found);
/* May a request go to the upstream? */
bool mg_breaker_ask(struct mg_breaker *breaker, uint32_t worker, int64_t now_ms,
                    struct mg_breaker_pass *pass, struct mg_breaker_change *change);
/* May an admitted request be sent once more? Not when the breaker has changed its state since and
 * does not let everything pass now. */
bool mg_breaker_may_retry(const struct mg_breaker *breaker, const struct mg_breaker_pass *pass);
/* The result of an admitted request: its probe slot is free after that. Of a pass that was not
 * admitted nothing is recorded. */
void mg_breaker_result(struct mg_breaker *breaker, uint32_t worker, int64_t now_ms,
                       struct mg_breaker_pass *pass, const struct mg_breaker_told *told,
                       struct mg_breaker_change *change);
/* A request whose result was recorded turns out to be slow. */
void mg_breaker_slow(struct mg_breaker *breaker, int64_t now_ms, uint32_t random,
                     struct mg_breaker_pass *pass, struct mg_breaker_change *change);
