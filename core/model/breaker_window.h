/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A breaker's window of results; for model/breaker.c.
 *
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

/* What one result counts as; `total` but for a slowness that shows later. */
struct mg_breaker_facets {
    bool failure, network, slow;
};

struct mg_breaker_counts {
    uint64_t total, failures, network, slow;
};

/* Adds a result to the window of that epoch. place: for mg_breaker_window_slow. Counts what is in
 * the window then; nothing, after a plain success where all others are, which makes nobody trip. */
struct mg_breaker_counts mg_breaker_window_add(struct mg_breaker *breaker, uint32_t epoch,
                                               int64_t now_ms, struct mg_breaker_facets facets,
                                               uint64_t *place);
/* A result that was added at that place, in the same epoch, turns out to be slow. */
struct mg_breaker_counts mg_breaker_window_slow(struct mg_breaker *breaker, uint32_t epoch,
                                                int64_t now_ms, uint64_t place);
/* What a record's window holds, whatever rule it has. */
struct mg_breaker_counts mg_breaker_window_read(const struct mg_breaker_record *record,
                                                uint32_t epoch, int64_t now_ms);
/* Makes the record's window that of the rule: a digest of its shape, in breaker->shape. */
void mg_breaker_window_shape(struct mg_breaker *breaker);
/* Adds 1 to a word of 14 bits epoch and a count, or sets the count to 0; the new count. */
uint64_t mg_breaker_count_in_epoch(uint64_t *word, uint32_t epoch, bool add);
