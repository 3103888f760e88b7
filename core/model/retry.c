/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The budget in one word. All that has ever been earned is a number that only grows: a thousandth
 * of a token a unit, budget_each for each first try and 3 for each millisecond. The word says how
 * much of it has been spent or ran over the edge: what is left is the difference, at most CAP. So
 * taking one is one compare-and-swap, and a first try only counts itself.
 */
#include "model/retry.h"

#define TOKEN 1000U
#define CAP (30U * TOKEN)
#define EACH_MS 3U /* 3 tokens a second */

const char *mg_retry_result_name(enum mg_retry_result result)
{
    static const char *const names[] = {"ok", "failed", "budget"};
    return names[result];
}

struct mg_retry mg_retry_usual(void)
{
    return (struct mg_retry){
        .attempts = 1,
        .on = MG_RETRY_CONNECT_FAILURE | MG_RETRY_RESET_BEFORE_SEND | MG_RETRY_RETRY_AFTER,
        .methods = 1U << MG_METHOD_GET | 1U << MG_METHOD_HEAD | 1U << MG_METHOD_OPTIONS |
                   1U << MG_METHOD_PUT | 1U << MG_METHOD_DELETE,
        .backoff_base = 25,
        .backoff_max = 250,
        .budget = 20,
    };
}

void mg_retry_add_status(struct mg_retry *retry, uint16_t status)
{
    if (status >= MG_RETRY_STATUS_FIRST && status < MG_RETRY_STATUS_END) {
        const unsigned bit = status - MG_RETRY_STATUS_FIRST;
        retry->statuses[bit / 64] |= UINT64_C(1) << bit % 64;
    }
}

bool mg_retry_wants_status(const struct mg_retry *retry, uint16_t status, mg_str retry_after)
{
    if (status < MG_RETRY_STATUS_FIRST || status >= MG_RETRY_STATUS_END) {
        return false;
    }
    const unsigned bit = status - MG_RETRY_STATUS_FIRST;
    uint64_t seconds;
    return (retry->statuses[bit / 64] >> bit % 64 & 1U) != 0 ||
           (status == 503 && (retry->on & MG_RETRY_RETRY_AFTER) &&
            mg_str_to_u64(mg_str_trim(retry_after), &seconds) && seconds <= 1);
}

void mg_retry_set_budget(struct mg_upstream_record *record, const struct mg_retry *retry)
{
    record->budget_each = (uint64_t)retry->budget * (TOKEN / 100);
}

/* A new bucket is full. */
static uint64_t earned(const struct mg_upstream_record *record, uint64_t now_ms)
{
    return CAP + mg_word_load(&record->first_tries) * record->budget_each + now_ms * EACH_MS;
}

/* Of what was earned, what counts as spent: the bucket holds no more than CAP. */
static uint64_t spent_of(uint64_t spent, uint64_t all)
{
    if (spent > all) { /* the share was lowered by a reload: what is owed is forgotten */
        return all;
    }
    return all - spent > CAP ? all - CAP : spent;
}

bool mg_retry_take(struct mg_upstream_record *record, uint64_t now_ms)
{
    uint64_t seen = mg_word_load(&record->budget);
    for (;;) {
        const uint64_t all = earned(record, now_ms);
        const uint64_t spent = spent_of(seen, all);
        if (all - spent < TOKEN) {
            mg_word_add(&record->retries[MG_RETRY_BUDGET], 1);
            return false;
        }
        if (mg_word_swap(&record->budget, &seen, spent + TOKEN)) {
            return true;
        }
    }
}

uint64_t mg_retry_left(const struct mg_upstream_record *record, uint64_t now_ms)
{
    const uint64_t all = earned(record, now_ms);
    return all - spent_of(mg_word_load(&record->budget), all);
}

uint64_t mg_retry_backoff(const struct mg_retry *retry, uint32_t n, uint32_t random)
{
    uint64_t most = retry->backoff_base;
    for (uint32_t i = 1; i < n && most < retry->backoff_max; i++) {
        most *= 2;
    }
    most = most < retry->backoff_max ? most : retry->backoff_max;
    return (uint64_t)random * (most + 1) >> 32;
}
