/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a request may be tried once more: the conditions as configured, the wait before it, and the
 * budget that keeps retries from burying an upstream that fails.
 *
 * The budget is a bucket of at most 30 tokens for each upstream and host: a first try adds a share
 * of one (20 %), time adds 3 a second, a retry takes one. So in any 10 s there are at most that
 * share of the first tries, and 60, of retries.
 *
 *     mg_retry_first(record);                                  // each request, once
 *     if (mg_retry_take(record, now_ms)) wait = mg_retry_backoff(retry, 1, random);
 */
#pragma once

#include "base/shm_upstreams.h"
#include "base/shm_words.h"
#include "model/config.h"

/* What became of a retry, or of the wish for one. */
enum mg_retry_result {
    MG_RETRY_OK,     /* the further try was answered */
    MG_RETRY_FAILED, /* it failed too */
    MG_RETRY_BUDGET, /* there was none: no token was left */
};

/* "budget"; static */
const char *mg_retry_result_name(enum mg_retry_result result);

/* What is in force without a configuration. */
struct mg_retry mg_retry_usual(void);
void mg_retry_add_status(struct mg_retry *retry, uint16_t status);
/* Is the answer with that status to be retried? retry_after: value of that field, or empty. */
bool mg_retry_wants_status(const struct mg_retry *retry, uint16_t status, mg_str retry_after);

/* Share of a retry that each first try pays for. */
void mg_retry_set_budget(struct mg_upstream_record *record, const struct mg_retry *retry);
static inline void mg_retry_first(struct mg_upstream_record *record)
{
    mg_word_add(&record->first_tries, 1);
}
/* Takes a token; false: there is none, which is counted. */
bool mg_retry_take(struct mg_upstream_record *record, uint64_t now_ms);
/* Tokens in the bucket, in thousandths. */
uint64_t mg_retry_left(const struct mg_upstream_record *record, uint64_t now_ms);

/* Before the n-th retry (1 ..): evenly between 0 and base x 2^(n - 1), at most max; ms. random: any
 * 32 bits. */
uint64_t mg_retry_backoff(const struct mg_retry *retry, uint32_t n, uint32_t random);
