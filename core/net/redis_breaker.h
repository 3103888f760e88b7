/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The breaker around a store, common to all workers: words in the shared memory (base/shm_words.h).
 *
 *             `failures` within `within_ms`, or as many in a row
 *     CLOSED ───────────────────────────────────────────────────► OPEN ◄──────┐
 *       ▲                                                           │          │ the probe failed:
 *       │ the probe succeeded                  open time over, one  ▼          │ twice the time, at
 *       └────────────────────────────────────────────── worker ── PROBING ────┘ most max_ms
 *
 * While it is not CLOSED nobody asks the store but the worker that probes in the background; when
 * that one dies, another may take the probe over after its time. Open times have a jitter of 10 %.
 *
 *     if (mg_redis_breaker_is_open(&breaker)) return MG_REDIS_OPEN;
 *     ...
 *     if (mg_redis_breaker_failure(&breaker, now_ms, random, MG_REDIS_TIMEOUT)) log("opened");
 */
#pragma once

#include "base/shm_records.h"
#include "net/redis_result.h"

struct mg_redis_breaker_rule {
    uint32_t failures; /* 1 .. 1000 */
    uint64_t within_ms, open_ms, max_ms;
};

struct mg_redis_breaker {
    struct mg_store_record *record; /* outlives the breaker */
    struct mg_redis_breaker_rule rule;
};

bool mg_redis_breaker_is_open(const struct mg_redis_breaker *breaker);
/* Monotonic ms, of one clock for all workers, in all of these. */

/* The store answered. */
void mg_redis_breaker_success(struct mg_redis_breaker *breaker);
/* The store failed. true: this failure opened it. random: any 32 bits. */
bool mg_redis_breaker_failure(struct mg_redis_breaker *breaker, uint64_t now_ms, uint32_t random,
                              enum mg_redis_result reason);
/* When a probe may begin: the end of the open time, or of another worker's probe. 0 when it is
 * closed. */
uint64_t mg_redis_breaker_probe_at(const struct mg_redis_breaker *breaker);
/* Takes the probe for this worker, for at most lease_ms. early: before the open time is over (there
 * is news). false: it is not open, not due, or another worker probes. */
bool mg_redis_breaker_probe(struct mg_redis_breaker *breaker, uint64_t now_ms, uint64_t lease_ms,
                            bool early);
/* Result of the probe this worker took. */
void mg_redis_breaker_probed(struct mg_redis_breaker *breaker, uint64_t now_ms, uint32_t random,
                             bool success, enum mg_redis_result reason);
/* Counts an operation in the store's record. */
void mg_redis_breaker_count(struct mg_redis_breaker *breaker, enum mg_redis_result result);
/* Why it failed last; OK when it never did. */
enum mg_redis_result mg_redis_breaker_reason(const struct mg_store_record *record);
/* ms that it was not closed, up to now. */
uint64_t mg_redis_breaker_open_ms(const struct mg_store_record *record, uint64_t now_ms);
/* "closed", "open" or "probing"; static. */
const char *mg_redis_breaker_state(const struct mg_store_record *record);
