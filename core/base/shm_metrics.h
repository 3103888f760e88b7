/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics in the shared region: what monitoring reads, kept over reloads and deaths of workers.
 *
 * A metric has a name, a type and label names; a series is a metric with values for its labels, and
 * has words in which it is counted: one for a counter or gauge, one per bucket and a sum for a
 * histogram. Each worker has words of its own for counters and histograms, so that counting is a
 * plain add; readers sum them and may be one event behind. Gauges are one word for all workers.
 *
 *     int metric = mg_metric_open(shm, &def);                    // finds or makes; at start
 *     uint32_t series = mg_series_open(shm, (uint32_t)metric, values);  // once per set of values
 *     uint64_t *words = mg_metric_words(shm, worker);
 *     words[series] += 1;                                        // as often as you like
 *
 * A metric holds at most metrics.series sets of values, and all metrics together so many as were
 * asked for when the region was made; whatever comes later is counted in the metric's series
 * __overflow__. Nothing is ever taken away: a series lives as long as the region.
 *
 * Order: a record becomes visible when the count of records is raised, as the last step and under
 * the lock that guards openings. Who was killed before that leaves nothing but a little waste.
 */
#pragma once

#include "base/err.h"
#include "base/shm_records.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define MG_LABEL_BYTES 128 /* longer values of labels are cut */

struct mg_shm;

struct mg_metric_def {
    mg_str name, help; /* names: [a-zA-Z_:][a-zA-Z0-9_:]*, at most MG_METRIC_NAME - 1 bytes */
    enum mg_metric_type type;
    enum mg_metric_unit unit;
    const char *const *labels; /* label_count names */
    uint32_t label_count;      /* at most MG_METRIC_LABELS */
    const double *bounds;      /* of a histogram: bound_count upper bounds, rising */
    uint32_t bound_count;      /* at most MG_METRIC_BOUNDS */
};

/* Finds the metric of that definition or makes it; its index. One of the same name with another
 * type, labels or bounds stays for those who count in it, and is shown no more. MG_EFULL: there are
 * MG_METRICS already; MG_EINVALID: a name or a number is out of bounds. */
int mg_metric_open(struct mg_shm *shm, const struct mg_metric_def *def);
/* First word of the series of those values (as many as the metric has labels). Never fails: where
 * there is no room, it is the series __overflow__, and *full, which may be NULL, is true. */
uint32_t mg_series_open(struct mg_shm *shm, uint32_t metric, const mg_str *values, bool *full);
/* A worker's own words; worker == number of workers: those of the master, and the gauges. */
uint64_t *mg_metric_words(struct mg_shm *shm, uint32_t worker);

/* Adds to a word that is a double: a counter of one's own. */
void mg_real_add(uint64_t *word, double amount);
/* Gauges of MG_UNIT_REAL; any process at any time. */
void mg_gauge_set(struct mg_shm *shm, uint32_t series, double value);
void mg_gauge_add(struct mg_shm *shm, uint32_t series, double amount);
/* Counts a value in a histogram of MG_UNIT_REAL. */
void mg_histogram_observe(const struct mg_shm *shm, uint32_t metric, uint64_t *words,
                          uint32_t series, double value);

/* --- reading ---------------------------------------------------------------------------------- */

uint32_t mg_metric_count(const struct mg_shm *shm);
const struct mg_metric_record *mg_metric_record(const struct mg_shm *shm, uint32_t metric);
uint32_t mg_series_count(const struct mg_shm *shm);
/* The metric of a series, its first word, and the values of its labels (views that live as long as
 * the region; values has room for MG_METRIC_LABELS). */
void mg_series_read(const struct mg_shm *shm, uint32_t index, uint32_t *metric, uint32_t *word,
                    mg_str *values);
/* The sum of all workers' words at that place, in the unit that is shown (seconds). count: the word
 * is a count of a bucket. */
double mg_metric_sum(const struct mg_shm *shm, uint32_t metric, uint32_t word, bool count);
