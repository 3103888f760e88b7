/* SPDX-License-Identifier: Apache-2.0 */
/* Records of log sinks. */
#include "base/shm_sinks.h"

#include "base/shm_cells.h"
#include "base/shm_region.h"

#include <string.h>

const uint32_t mg_sink_bounds_us[MG_SINK_BUCKETS - 1] = {1000,   5000,    10000,   50000,   100000,
                                                         500000, 1000000, 5000000, 10000000};

const char *mg_sink_reason_word(enum mg_sink_reason reason)
{
    static const char *const words[MG_SINK_REASONS] = {
        [MG_SINK_QUEUE_FULL] = "queue_full",
        [MG_SINK_RETRY_EXPIRED] = "retry_expired",
        [MG_SINK_REFUSED] = "refused",
        [MG_SINK_TOO_BIG] = "too_big",
        [MG_SINK_DISK] = "disk",
        [MG_SINK_SHUTDOWN] = "shutdown",
        [MG_SINK_WORKER_DIED] = "worker_died",
    };
    return words[reason];
}

/* --- records -------------------------------------------------------------------------------- */

static bool is_open(struct mg_shm *shm, uint32_t index)
{
    for (uint32_t worker = 0; worker < shm->head->workers; worker++) {
        if (mg_sink_part(shm, index, worker)->open > 0) {
            return true;
        }
    }
    return false;
}

static bool has_id(const struct mg_sink_record *record, struct mg_cell_key id)
{
    return record->id.hash[0] == id.hash[0] && record->id.hash[1] == id.hash[1];
}

/* The record with that id, else one to be filled: never used, or of a sink that is gone. */
static uint32_t choose(struct mg_shm *shm, struct mg_cell_key id, int64_t now_ms)
{
    struct mg_shm_head *head = shm->head;
    uint32_t old_one = MG_SINK_RECORDS;
    for (uint32_t i = 0; i < head->sinks_used; i++) {
        const struct mg_sink_record *record = mg_region_sink(shm, i);
        if (has_id(record, id)) {
            return i;
        }
        if (old_one == MG_SINK_RECORDS && now_ms - record->used_ms > MG_RECORD_UNUSED_MS &&
            !is_open(shm, i)) {
            old_one = i;
        }
    }
    return head->sinks_used < MG_SINK_RECORDS - 1 ? head->sinks_used : old_one;
}

/* Order: others find it by its id, which is written last. */
static void fill(struct mg_shm *shm, uint32_t index, struct mg_cell_key id, mg_str name)
{
    struct mg_sink_record *record = mg_region_sink(shm, index);
    __atomic_store_n(&record->id.hash[0], 0, __ATOMIC_RELEASE);
    memset(record->name, 0, sizeof record->name);
    memcpy(record->name, name.ptr,
           name.len < sizeof record->name ? name.len : sizeof record->name - 1);
    memset(mg_sink_part(shm, index, 0), 0, shm->head->workers * sizeof(struct mg_sink_part));
    record->id.hash[1] = id.hash[1];
    __atomic_store_n(&record->id.hash[0], id.hash[0], __ATOMIC_RELEASE);
}

uint32_t mg_sink_record_open(struct mg_shm *shm, mg_str name, int64_t now_ms)
{
    struct mg_shm_head *head = shm->head;
    const uint32_t guard = mg_region_open_shard(shm);
    struct mg_cell_key id = mg_shm_key(shm, name);
    mg_shard_lock(shm, guard);
    uint32_t index = choose(shm, id, now_ms);
    if (index == MG_SINK_RECORDS) { /* the last one is kept for this */
        name = MG_STR("__overflow__");
        id = mg_shm_key(shm, name);
        index = MG_SINK_RECORDS - 1;
    }
    if (!has_id(mg_region_sink(shm, index), id)) {
        fill(shm, index, id, name);
    }
    if (index == head->sinks_used) {
        head->sinks_used++;
    }
    mg_region_sink(shm, index)->used_ms = now_ms;
    mg_shard_unlock(shm, guard);
    return index;
}

struct mg_sink_part *mg_sink_part(struct mg_shm *shm, uint32_t index, uint32_t worker)
{
    return mg_region_sink_part(shm, index, worker);
}

/* --- reading -------------------------------------------------------------------------------- */

static uint64_t look(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* A line is offered first, so `offered` is read last: else a sum could come out negative. */
uint64_t mg_sink_part_queued(const struct mg_sink_part *part)
{
    uint64_t gone = look(&part->written);
    for (unsigned i = 0; i < MG_SINK_REASONS; i++) {
        gone += look(&part->dropped[i]);
    }
    const uint64_t offered = look(&part->offered);
    return offered > gone ? offered - gone : 0;
}

static void add_part(struct mg_sink_totals *out, const struct mg_sink_part *part)
{
    uint64_t gone = look(&part->written);
    out->written += gone;
    for (unsigned i = 0; i < MG_SINK_REASONS; i++) {
        const uint64_t dropped = look(&part->dropped[i]);
        out->dropped[i] += dropped;
        gone += dropped;
    }
    const uint64_t offered = look(&part->offered);
    out->offered += offered > gone ? offered : gone;
    out->queued += offered > gone ? offered - gone : 0;
    out->bytes_written += look(&part->bytes_written);
    out->queue_bytes += look(&part->queue_bytes);
    out->flush_us += look(&part->flush_us);
    for (unsigned i = 0; i < MG_SINK_BUCKETS; i++) {
        const uint64_t flushes = look(&part->flush_buckets[i]);
        out->flush_buckets[i] += flushes;
        out->flushes += flushes;
    }
    out->is_open = out->is_open || look(&part->open) > 0;
    out->is_up = out->is_up && look(&part->down) == 0;
}

bool mg_sink_totals(struct mg_shm *shm, uint32_t index, struct mg_sink_totals *out)
{
    const struct mg_sink_record *record = mg_region_sink(shm, index);
    if (look(&record->id.hash[0]) == 0) {
        return false;
    }
    *out = (struct mg_sink_totals){.name = record->name, .is_up = true};
    for (uint32_t worker = 0; worker < shm->head->workers; worker++) {
        add_part(out, mg_sink_part(shm, index, worker));
    }
    out->is_up = out->is_up && out->is_open;
    return true;
}

/* --- writing -------------------------------------------------------------------------------- */

void mg_sink_part_flushed(struct mg_sink_part *part, uint64_t us)
{
    unsigned bucket = 0;
    while (bucket < MG_SINK_BUCKETS - 1 && us > mg_sink_bounds_us[bucket]) {
        bucket++;
    }
    part->flush_us += us;
    part->flush_buckets[bucket]++;
}

void mg_sinks_of_dead(struct mg_shm *shm, uint32_t worker)
{
    for (uint32_t i = 0; i < MG_SINK_RECORDS; i++) {
        struct mg_sink_part *part = mg_sink_part(shm, i, worker);
        part->dropped[MG_SINK_WORKER_DIED] += mg_sink_part_queued(part);
        part->queue_bytes = part->open = part->down = 0;
    }
}
