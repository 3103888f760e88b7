/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The windows of circuit breakers: by time, a ring of buckets; by count, a ring of bits. A word
 * that bears another mark or round than it should counts as 0, so nothing is ever cleared and
 * nobody waits for anybody. A process killed between two words leaves one result half counted.
 *
 * The shape is 1 bit by count | 31 bits window_calls, or window_ms * 64 + buckets.
 */
#include "model/breaker_window.h"

#define MARK_SHIFT 48
#define ROUND_SHIFT 28
#define BUCKET_COUNT ((UINT64_C(1) << ROUND_SHIFT) - 1)
#define ROUNDS (1U << 20)
#define CALLS_COUNT ((UINT64_C(1) << MARK_SHIFT) - 1)
#define EPOCH_SHIFT 50
#define BY_COUNT 0x80000000U

struct shape {
    bool by_count;
    uint32_t calls, window_ms, buckets;
};

/* False: no window has been made yet, or the words are damaged. */
static bool shape_of(uint32_t digest, struct shape *shape)
{
    *shape = (struct shape){.by_count = (digest & BY_COUNT) != 0,
                            .calls = digest & ~BY_COUNT,
                            .window_ms = digest / 64,
                            .buckets = digest % 64};
    return shape->by_count ? shape->calls >= 1 && shape->calls <= MG_BREAKER_CALLS
                           : shape->window_ms >= 1 && shape->buckets >= 1 &&
                                 shape->buckets <= MG_BREAKER_BUCKETS;
}

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
        rule->by_count ? BY_COUNT | rule->window_calls : rule->window_ms * 64U + rule->buckets;
    struct mg_breaker_record *record = mg_breaker_record(breaker->shm, breaker->record);
    if (!record) {
        return; /* freed meanwhile */
    }
    uint64_t *word = &record->window;
    uint64_t seen = mg_word_load(word);
    while ((uint32_t)(seen >> 32) != breaker->shape) {
        const uint64_t next = (uint64_t)breaker->shape << 32 | (uint32_t)((uint32_t)seen + 1);
        if (mg_word_swap(word, &seen, next)) {
            return;
        }
    }
}

/* --- by time ---------------------------------------------------------------------------------- */

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

static uint64_t counted(uint64_t word, uint64_t tag)
{
    return word >> ROUND_SHIFT == tag ? word & BUCKET_COUNT : 0;
}

/* The tag of the bucket with that number. */
static uint64_t tag_of(uint64_t mark, uint64_t number, uint32_t buckets)
{
    return mark << (MARK_SHIFT - ROUND_SHIFT) | (number / buckets) % ROUNDS;
}

static uint64_t number_of(const struct shape *shape, int64_t now_ms)
{
    return (uint64_t)(now_ms > 0 ? now_ms : 0) * shape->buckets / shape->window_ms;
}

#define LATE_MS 1000 /* by which a worker may be behind another */

static bool is_plain_success(struct mg_breaker_facets facets)
{
    return !facets.failure && !facets.network && !facets.slow;
}

/* Before it is counted, so that nobody who knows of it takes the window for clean. */
static void note_blemish(struct mg_breaker_record *record, int64_t now_ms)
{
    if ((int64_t)mg_word_load(&record->blemish_ms) < now_ms) {
        mg_word_store(&record->blemish_ms, (uint64_t)now_ms);
    }
}

/* Are there plain successes in the window only? Then no sum of it makes a breaker trip. May say no
 * to one that is clean: of a clock that was set back, and for a while after the last blemish. */
static bool is_clean(const struct mg_breaker_record *record, const struct shape *shape,
                     int64_t now_ms)
{
    const int64_t blemish_ms = (int64_t)mg_word_load(&record->blemish_ms);
    const int64_t longest_ms = (int64_t)shape->window_ms + shape->window_ms / shape->buckets;
    return blemish_ms == 0 || now_ms - blemish_ms > longest_ms + LATE_MS;
}

static void add_by_time(struct mg_breaker_record *record, const struct shape *shape, uint64_t mark,
                        int64_t now_ms, struct mg_breaker_facets facets, bool is_new)
{
    const uint64_t number = number_of(shape, now_ms);
    const uint64_t tag = tag_of(mark, number, shape->buckets);
    const uint64_t at = number % shape->buckets;
    if (!is_plain_success(facets)) {
        note_blemish(record, now_ms);
    }
    if (is_new) {
        add_tagged(&record->buckets[at].total, tag);
    }
    if (facets.failure) {
        add_tagged(&record->buckets[at].failures, tag);
    }
    if (facets.network) {
        add_tagged(&record->buckets[at].network, tag);
    }
    if (facets.slow) {
        add_tagged(&record->buckets[at].slow, tag);
    }
}

static struct mg_breaker_counts sum_by_time(const struct mg_breaker_record *record,
                                            const struct shape *shape, uint64_t mark,
                                            int64_t now_ms)
{
    const uint64_t number = number_of(shape, now_ms);
    const uint32_t buckets = shape->buckets;
    struct mg_breaker_counts counts = {0};
    const uint64_t now = tag_of(mark, number, buckets), present = number % buckets;
    const uint64_t before = number < buckets ? now : tag_of(mark, number - buckets, buckets);
    for (uint64_t at = 0; at < buckets && at <= number; at++) {
        /* those behind are of the round before */
        const uint64_t tag = at <= present ? now : before;
        const uint64_t failures = mg_word_load(&record->buckets[at].failures);
        const uint64_t network = mg_word_load(&record->buckets[at].network);
        const uint64_t slow = mg_word_load(&record->buckets[at].slow);
        counts.total += counted(mg_word_load(&record->buckets[at].total), tag);
        if ((failures | network | slow) != 0) { /* of an upstream that is well all are 0 */
            counts.failures += counted(failures, tag);
            counts.network += counted(network, tag);
            counts.slow += counted(slow, tag);
        }
    }
    return counts;
}

/* --- by count --------------------------------------------------------------------------------- */

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

static uint64_t calls_of(const struct mg_breaker_record *record, uint64_t mark)
{
    const uint64_t seen = mg_word_load(&record->calls);
    return seen >> MARK_SHIFT == mark ? seen & CALLS_COUNT : 0;
}

/* The place of the oldest result takes the new one. A place that was not written under this mark
 * lies beyond the count, so its old bits are not looked at. */
static uint64_t add_by_count(struct mg_breaker_record *record, const struct shape *shape,
                             uint64_t mark, struct mg_breaker_facets facets)
{
    uint64_t seen = mg_word_load(&record->calls), count;
    do {
        count = seen >> MARK_SHIFT == mark ? seen & CALLS_COUNT : 0;
    } while (!mg_word_swap(&record->calls, &seen, mark << MARK_SHIFT | (count + 1)));
    const uint64_t place = count % shape->calls;
    const unsigned bit = (unsigned)(place % 64);
    mg_word_bit(&record->ring.failed[place / 64], bit, facets.failure);
    mg_word_bit(&record->ring.network[place / 64], bit, facets.network);
    mg_word_bit(&record->ring.slow[place / 64], bit, facets.slow);
    return count;
}

static struct mg_breaker_counts sum_by_count(const struct mg_breaker_record *record,
                                             const struct shape *shape, uint64_t mark)
{
    const uint64_t count = calls_of(record, mark);
    const uint64_t total = count < shape->calls ? count : shape->calls;
    return (struct mg_breaker_counts){.total = total,
                                      .failures = bits_set(record->ring.failed, total),
                                      .network = bits_set(record->ring.network, total),
                                      .slow = bits_set(record->ring.slow, total)};
}

/* --- both ------------------------------------------------------------------------------------- */

static struct mg_breaker_counts sum_of(const struct mg_breaker_record *record,
                                       const struct shape *shape, uint64_t mark, int64_t now_ms)
{
    return shape->by_count ? sum_by_count(record, shape, mark)
                           : sum_by_time(record, shape, mark, now_ms);
}

/* The record, if its window is of the breaker's shape: a newer generation may have another. */
static struct mg_breaker_record *record_in_shape(struct mg_breaker *breaker, struct shape *shape)
{
    struct mg_breaker_record *record = mg_breaker_record(breaker->shm, breaker->record);
    const bool fits = record && (uint32_t)(mg_word_load(&record->window) >> 32) == breaker->shape &&
                      shape_of(breaker->shape, shape);
    return fits ? record : NULL;
}

struct mg_breaker_counts mg_breaker_window_add(struct mg_breaker *breaker, uint32_t epoch,
                                               int64_t now_ms, struct mg_breaker_facets facets,
                                               uint64_t *place)
{
    struct shape shape;
    struct mg_breaker_record *record = record_in_shape(breaker, &shape);
    *place = 0;
    if (!record) {
        return (struct mg_breaker_counts){0};
    }
    const uint64_t mark = mark_of(record, epoch);
    if (shape.by_count) {
        *place = add_by_count(record, &shape, mark, facets);
    } else {
        add_by_time(record, &shape, mark, now_ms, facets, true);
        if (is_plain_success(facets) && is_clean(record, &shape, now_ms)) {
            return (struct mg_breaker_counts){0};
        }
    }
    return sum_of(record, &shape, mark, now_ms);
}

struct mg_breaker_counts mg_breaker_window_slow(struct mg_breaker *breaker, uint32_t epoch,
                                                int64_t now_ms, uint64_t place)
{
    struct shape shape;
    struct mg_breaker_record *record = record_in_shape(breaker, &shape);
    if (!record) {
        return (struct mg_breaker_counts){0};
    }
    const uint64_t mark = mark_of(record, epoch);
    if (!shape.by_count) {
        add_by_time(record, &shape, mark, now_ms, (struct mg_breaker_facets){.slow = true}, false);
    } else if (calls_of(record, mark) - place <= shape.calls) { /* not pushed out yet */
        const uint64_t at = place % shape.calls;
        mg_word_bit(&record->ring.slow[at / 64], (unsigned)(at % 64), true);
    }
    return sum_of(record, &shape, mark, now_ms);
}

struct mg_breaker_counts mg_breaker_window_read(const struct mg_breaker_record *record,
                                                uint32_t epoch, int64_t now_ms)
{
    struct shape shape;
    if (!shape_of((uint32_t)(mg_word_load(&record->window) >> 32), &shape)) {
        return (struct mg_breaker_counts){0};
    }
    return sum_of(record, &shape, mark_of(record, epoch), now_ms);
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
