/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of log sinks in the shared memory: a record for each sink by its name, with one part for
 * each worker, which that worker alone writes. How many lines are queued is never stored but
 * follows from the other numbers, each of which changes by one store. So at every moment, also when
 * a worker is killed between two instructions,
 *
 *     offered = written + dropped + queued
 *
 *     int index = mg_sink_record_open(shm, MG_STR("/var/log/a.log"), now_ms);
 *     struct mg_sink_part *part = mg_sink_part(shm, index, worker);
 *     part->offered++;                       // then written, or dropped[reason]
 *
 * Readers (metrics) visit all of them:
 *
 *     struct mg_sink_totals totals;
 *     for (uint32_t i = 0; i < MG_SINK_RECORDS; i++) {
 *         if (mg_sink_totals(shm, i, &totals)) ...
 *     }
 */
#pragma once

#include "base/err.h"
#include "base/shm_records.h"
#include "base/str.h"

#include <stdbool.h>

struct mg_shm;

/* Finds or makes the record of the sink with that name, which holds no secret; cut where it is too
 * long. When there is no room it is that of all further sinks, "__overflow__". */
uint32_t mg_sink_record_open(struct mg_shm *shm, mg_str name, int64_t now_ms);
/* The part of a worker in a record that was opened. */
struct mg_sink_part *mg_sink_part(struct mg_shm *shm, uint32_t index, uint32_t worker);
/* Lines offered and neither written nor dropped. */
uint64_t mg_sink_part_queued(const struct mg_sink_part *part);

/* What all workers have counted, since the record was made. */
struct mg_sink_totals {
    const char *name; /* lives as long as shm */
    uint64_t offered, written, queued;
    uint64_t dropped[MG_SINK_REASONS]; /* by enum mg_sink_reason */
    uint64_t bytes_written;
    uint64_t queue_bytes;
    uint64_t flushes, flush_us;              /* batches or writes that ended well; their time */
    uint64_t flush_buckets[MG_SINK_BUCKETS]; /* of them, by mg_sink_bounds_us; not cumulative */
    bool is_open;                            /* a worker has it */
    bool is_up;                              /* open, and no worker finds it failing */
};

/* Upper bounds of all buckets but the last, in microseconds. */
extern const uint32_t mg_sink_bounds_us[MG_SINK_BUCKETS - 1];
/* false: there is no record at that index (0 .. MG_SINK_RECORDS - 1). */
bool mg_sink_totals(struct mg_shm *shm, uint32_t index, struct mg_sink_totals *out);
void mg_sink_part_flushed(struct mg_sink_part *part, uint64_t us);
/* "queue_full"; static. */
const char *mg_sink_reason_word(enum mg_sink_reason reason);

/* The worker has ended: its queued lines are dropped, as MG_SINK_WORKER_DIED. For base/shm. */
void mg_sinks_of_dead(struct mg_shm *shm, uint32_t worker);
