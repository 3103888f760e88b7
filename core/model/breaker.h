/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Circuit breakers: a state machine (plugins/circuit-breaker/README.md) over words that all workers
 * share.
 *
 *            failure or network share, or consecutive failures
 *   CLOSED ───────────────────────────────────────────────────► OPEN
 *     ▲                                                          │ ▲
 *     │ required results in,              open time over,        │ │ too many probes failed
 *     │ enough of them good               a request comes        ▼ │
 *     └─────────────────────────────────────────────────────── HALF_OPEN
 *
 * Every transition raises the epoch; a result counts only in the epoch its request was admitted in.
 * In HALF_OPEN at most max_inflight requests of all workers are under way: each holds a probe slot
 * (a ledger entry) until its result is known, over later epochs too.
 *
 *     struct mg_breaker breaker = {.rule = {...}};
 *     int err = mg_breaker_open(shm, &breaker, MG_STR("upstream:orders"), now_ms);
 *     struct mg_breaker_pass pass;
 *     struct mg_breaker_change change;
 *     if (mg_breaker_ask(&breaker, worker, now_ms, &pass, &change)) ...   // admitted
 *     mg_breaker_result(&breaker, worker, now_ms, random, &pass, MG_RESULT_FAILURE, &change);
 *     if (change.happened) ...                                // one caller in all workers sees it
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "model/breaker_rule.h"

/* What a request was told. */
struct mg_breaker_pass {
    bool admitted;
    bool probe;
    enum mg_breaker_state state;
    uint32_t epoch;
    uint32_t hold;    /* of a probe, until its result; 0 = none */
    int64_t retry_ms; /* when not admitted: until it may be worth asking again */
};

/* A transition that this call brought about. */
struct mg_breaker_change {
    bool happened;
    enum mg_breaker_state from, to;
    enum mg_breaker_reason reason;
    uint32_t n;                        /* openings in a row */
    int64_t open_ms;                   /* to OPEN: how long */
    uint64_t total, failures, network; /* in the window, or of the probes */
};

/* What is known of a breaker, for people. */
struct mg_breaker_view {
    char name[MG_BREAKER_NAME];
    enum mg_breaker_state state;
    uint32_t n, epoch, probes;
    int64_t left_ms; /* OPEN: open time left */
    uint64_t opened, rejected, stale;
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
/* May a request go to the upstream? */
bool mg_breaker_ask(struct mg_breaker *breaker, uint32_t worker, int64_t now_ms,
                    struct mg_breaker_pass *pass, struct mg_breaker_change *change);
/* May an admitted request be sent once more? Not when the breaker has changed its state since and
 * does not let everything pass now. */
bool mg_breaker_may_retry(const struct mg_breaker *breaker, const struct mg_breaker_pass *pass);
/* The result of an admitted request, once: its probe slot is free after that. Of a pass that was
 * not admitted nothing is recorded. random: any 32 bits, for the jitter of an open time. */
void mg_breaker_result(struct mg_breaker *breaker, uint32_t worker, int64_t now_ms, uint32_t random,
                       struct mg_breaker_pass *pass, enum mg_breaker_result result,
                       struct mg_breaker_change *change);
/* index: 0 .. mg_shm_room's breakers - 1; false where there is none. */
bool mg_breaker_view(struct mg_shm *shm, uint32_t index, int64_t now_ms,
                     struct mg_breaker_view *view);
