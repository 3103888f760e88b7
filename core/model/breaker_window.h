/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the words of a breaker's record mean, and its window; for model/breaker.c.
 *
 *   state        2 bits state | 7 bits n | 14 bits epoch | 41 bits time
 *                time: OPEN its end, else when the state began; ms since the epoch, until 2039
 *   results      14 bits epoch | 25 bits good | 25 bits bad          (probes)
 *   consecutive  14 bits epoch | 50 bits count
 *   window       32 bits shape | 32 bits number of changes of it
 *   calls        16 bits mark | 48 bits count                        (window by count)
 *   a bucket     16 bits mark | 20 bits round | 28 bits count        (window by time)
 *
 * The mark is made of the epoch and of the number of changes of the window's shape, so whatever
 * belongs to an earlier state or shape counts as 0 without being cleared. The round is the bucket's
 * number divided by the number of buckets: an old bucket could be taken for a new one only after a
 * silence of 2^20 windows (12 days at the shortest window).
 */
#pragma once

#include "base/shm_words.h"
#include "model/breaker_rule.h"

struct mg_breaker_word {
    enum mg_breaker_state state;
    uint32_t n, epoch;
    int64_t time_ms;
};

#define MG_BREAKER_N_MAX 127
#define MG_BREAKER_EPOCHS (1U << 14)
#define MG_BREAKER_TIME_MAX ((INT64_C(1) << 41) - 1)

static inline struct mg_breaker_word mg_breaker_word_of(uint64_t word)
{
    return (struct mg_breaker_word){.state = (enum mg_breaker_state)(word & 3),
                                    .n = (uint32_t)(word >> 2) & MG_BREAKER_N_MAX,
                                    .epoch = (uint32_t)(word >> 9) & (MG_BREAKER_EPOCHS - 1),
                                    .time_ms = (int64_t)(word >> 23)};
}

static inline uint64_t mg_breaker_word_make(struct mg_breaker_word parts)
{
    const int64_t time = parts.time_ms < 0                     ? 0
                         : parts.time_ms > MG_BREAKER_TIME_MAX ? MG_BREAKER_TIME_MAX
                                                               : parts.time_ms;
    return (uint64_t)parts.state | (uint64_t)(parts.n & MG_BREAKER_N_MAX) << 2 |
           (uint64_t)(parts.epoch & (MG_BREAKER_EPOCHS - 1)) << 9 | (uint64_t)time << 23;
}

struct mg_breaker_counts {
    uint64_t total, failures, network;
};

/* Adds a result to the window of that epoch, and tells what the window holds then. */
struct mg_breaker_counts mg_breaker_window_add(struct mg_breaker *breaker, uint32_t epoch,
                                               int64_t now_ms, enum mg_breaker_result result);
/* Makes the record's window that of the rule: a digest of its shape, in breaker->shape. */
void mg_breaker_window_shape(struct mg_breaker *breaker);
/* Adds 1 to a word of 14 bits epoch and a count, or sets the count to 0; the new count. */
uint64_t mg_breaker_count_in_epoch(uint64_t *word, uint32_t epoch, bool add);
