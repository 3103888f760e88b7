/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The windows of circuit breakers: by time, a ring of buckets; by count, a ring of bits. A word
 * that bears another mark or round than it should counts as 0, so nothing is ever cleared and
 * nobody waits for anybody. A process killed between two words leaves one result half counted.
 */
#include "model/breaker_window.h"

#define MARK_SHIFT 48
#define ROUND_SHIFT 28
#define BUCKET_COUNT ((UINT64_C(1) << ROUND_SHIFT) - 1)
#define ROUNDS (1U << 20)
#define CALLS_COUNT ((UINT64_C(1) << MARK_SHIFT) - 1)
#define EPOCH_SHIFT 50

/* 16 bits that differ between epochs and between shapes in a row. */
static uint64_t mark_of(const struct mg_breaker_record *record, uint32_t epoch)
{
    const uint32_t changes = (uint32_t)mg_word_load(&record->window);
    return (epoch + changes * 16411U) & 0xffff;
}

void mg_breaker_window_shape(struct mg_breaker *breaker)
{
    const struct mg_breaker_rule *rule = &breaker->rule;
    breaker->shape =
        rule->by_count ? 0x80000000U | rule->window_calls : rule->window_ms * 64U + rule->buckets;
    uint64_t *word = &mg_breaker_record(breaker->shm, breaker->record)->window;
    uint64_t seen = mg_word_load(word);
    while ((uint32_t)(seen >> 32) != breaker->shape) {
        const uint64_t next = (uint64_t)breaker->shape << 32 | (uint32_t)((uint32_t)seen + 1);
        if (mg_word_swap(word, &seen, next)) {
            return;
        }
    }
}

/* Adds 1 to the count of a bucket's word, which is 0 under another tag. Full counts stay. A result
 * of a worker whose clock is a little late, in the bucket that has just been reused, goes there. */
static void add_tagged(uint64_t *word, uint64_t tag)
{
    uint64_t seen = mg_word_load(word), next;
    do {
        const uint64_t its_tag = seen >> ROUND_SHIFT;
        const bool mine = its_tag == tag || its_tag == tag + 1;
        const uint64_t count = mine ? seen & BUCKET_COUNT : 0;
        next = (mine ? its_tag : tag) << ROUND_SHIFT | (count < BUCKET_COUNT ? count + 1 : count);
    } while (!mg_word_swap(word, &seen, next));
}

static uint64_t read_tagged(const uint64_t *word, uint64_t tag)
{
    const uint64_t seen = mg_word_load(word);
    return seen >> ROUND_SHIFT == tag ? seen & BUCKET_COUNT : 0;
}

/* The tag of the bucket with that number. */
static uint64_t tag_of(uint64_t mark, uint64_t number, uint32_t buckets)
{
    return mark << (MARK_SHIFT - ROUND_SHIFT) | (number / buckets) % ROUNDS;
}

static struct mg_breaker_counts add_by_time(struct mg_breaker_record *record,
                                            const struct mg_breaker_rule *rule, uint64_t mark,
                                            int64_t now_ms, enum mg_breaker_result result)
{
    const uint32_t buckets = rule->buckets;
    const uint64_t number = (uint64_t)now_ms * buckets / rule->window_ms;
    const uint64_t tag = tag_of(mark, number, buckets);
    add_tagged(&record->buckets[number % buckets].total, tag);
    if (result != MG_RESULT_SUCCESS) {
        add_tagged(&record->buckets[number % buckets].failures, tag);
    }
    if (result == MG_RESULT_NETWORK) {
        add_tagged(&record->buckets[number % buckets].network, tag);
    }
    struct mg_breaker_counts counts = {0};
    for (uint32_t age = 0; age < buckets && age <= number; age++) {
        const uint64_t of = number - age, its_tag = tag_of(mark, of, buckets);
        counts.total += read_tagged(&record->buckets[of % buckets].total, its_tag);
        counts.failures += read_tagged(&record->buckets[of % buckets].failures, its_tag);
        counts.network += read_tagged(&record->buckets[of % buckets].network, its_tag);
    }
    return counts;
}

/* How many of the first `count` bits are set. */
static uint64_t bits_set(const uint64_t *words, uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i * 64 < count; i++) {
        const uint64_t left = count - i * 64;
        const uint64_t mask = left >= 64 ? UINT64_MAX : (UINT64_C(1) << left) - 1;
        sum += (uint64_t)__builtin_popcountll(mg_word_load(&words[i]) & mask);
    }
    return sum;
}

/* The place of the oldest result takes the new one. A place that was not written under this mark
 * lies beyond the count, so its old bits are not looked at. */
static struct mg_breaker_counts add_by_count(struct mg_breaker_record *record,
                                             const struct mg_breaker_rule *rule, uint64_t mark,
                                             enum mg_breaker_result result)
{
    uint64_t seen = mg_word_load(&record->calls), count;
    do {
        count = seen >> MARK_SHIFT == mark ? seen & CALLS_COUNT : 0;
    } while (!mg_word_swap(&record->calls, &seen, mark << MARK_SHIFT | (count + 1)));
    const uint64_t place = count % rule->window_calls;
    const unsigned bit = (unsigned)(place % 64);
    mg_word_bit(&record->ring.failed[place / 64], bit, result != MG_RESULT_SUCCESS);
    mg_word_bit(&record->ring.network[place / 64], bit, result == MG_RESULT_NETWORK);
    const uint64_t total = count + 1 < rule->window_calls ? count + 1 : rule->window_calls;
    return (struct mg_breaker_counts){.total = total,
                                      .failures = bits_set(record->ring.failed, total),
                                      .network = bits_set(record->ring.network, total)};
}

struct mg_breaker_counts mg_breaker_window_add(struct mg_breaker *breaker, uint32_t epoch,
                                               int64_t now_ms, enum mg_breaker_result result)
{
    struct mg_breaker_record *record = mg_breaker_record(breaker->shm, breaker->record);
    if ((uint32_t)(mg_word_load(&record->window) >> 32) != breaker->shape) {
        return (struct mg_breaker_counts){0}; /* a newer generation has another window */
    }
    const uint64_t mark = mark_of(record, epoch);
    return breaker->rule.by_count ? add_by_count(record, &breaker->rule, mark, result)
                                  : add_by_time(record, &breaker->rule, mark, now_ms, result);
}

uint64_t mg_breaker_count_in_epoch(uint64_t *word, uint32_t epoch, bool add)
{
    const uint64_t counts = (UINT64_C(1) << EPOCH_SHIFT) - 1;
    uint64_t seen = mg_word_load(word), count;
    do {
        count = add ? (seen >> EPOCH_SHIFT == epoch ? seen & counts : 0) + 1 : 0;
        if (!add && (seen >> EPOCH_SHIFT != epoch || (seen & counts) == 0)) {
            return 0; /* it is 0: success after success changes no word */
        }
    } while (!mg_word_swap(word, &seen, (uint64_t)epoch << EPOCH_SHIFT | count));
    return count;
}
