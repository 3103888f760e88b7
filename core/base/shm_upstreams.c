/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two tables of records, by open addressing: a record stands within PROBES places of its hash. They
 * are opened under the region's lock for that, and read and counted in without one.
 */
#include "base/shm_upstreams.h"

#include "base/shm_cells.h"
#include "base/shm_region.h"

#include <string.h>

#define PROBES 64
#define LEASE_WORKER_BITS 16 /* low: worker + 1; the rest: until when */

static bool same_id(struct mg_cell_key a, struct mg_cell_key b)
{
    return a.hash[0] == b.hash[0] && a.hash[1] == b.hash[1];
}

/* A table as bytes; each record begins with its head. */
struct table {
    char *base;
    size_t size;
    uint32_t count;
};

static struct mg_upstream_head *head_at(const struct table *table, uint32_t index)
{
    return (struct mg_upstream_head *)(void *)(table->base + (size_t)index * table->size);
}

/* The place of the one with that id, or one that is free, or one that is not used any more. */
static int choose(const struct table *table, struct mg_cell_key id, uint64_t now_ms)
{
    int place = MG_EFULL;
    for (uint32_t i = 0; i < PROBES && i < table->count; i++) {
        const uint32_t at = (uint32_t)((id.hash[0] + i) % table->count);
        const struct mg_upstream_head *head = head_at(table, at);
        if (same_id(head->id, id)) {
            return (int)at;
        }
        const bool is_free = head->id.hash[0] == 0;
        if (place < 0 && (is_free || (int64_t)now_ms - head->used_ms > MG_RECORD_UNUSED_MS)) {
            place = (int)at;
        }
        if (is_free) {
            break;
        }
    }
    return place;
}

/* Order: not to be found by others while it is half filled, should we be killed in between. */
static void fill(const struct table *table, uint32_t at, struct mg_cell_key id, mg_str name)
{
    struct mg_upstream_head *head = head_at(table, at);
    __atomic_store_n(&head->id.hash[0], 0, __ATOMIC_RELEASE);
    memset((char *)head + sizeof head->id, 0, table->size - sizeof head->id);
    memcpy(head->name, name.ptr, name.len < sizeof head->name ? name.len : sizeof head->name - 1);
    head->id.hash[1] = id.hash[1];
    __atomic_store_n(&head->id.hash[0], id.hash[0], __ATOMIC_RELEASE);
}

static int open_in(const struct table *table, const struct mg_upstream_opening *opening,
                   struct mg_cell_key id, mg_str name)
{
    const uint32_t guard = mg_region_open_shard(opening->shm);
    mg_shard_lock(opening->shm, guard);
    const int at = choose(table, id, opening->now_ms);
    if (at >= 0) {
        struct mg_upstream_head *head = head_at(table, (uint32_t)at);
        if (!same_id(head->id, id)) {
            fill(table, (uint32_t)at, id, name);
        }
        mg_upstream_touch(head, opening->now_ms);
        if (head->generation < opening->generation) {
            head->generation = opening->generation;
        }
    }
    mg_shard_unlock(opening->shm, guard);
    return at;
}

int mg_upstream_record_open(const struct mg_upstream_opening *opening, mg_str name)
{
    const struct table table = {.base = (char *)mg_region_upstream(opening->shm, 0),
                                .size = sizeof(struct mg_upstream_record),
                                .count = opening->shm->head->upstreams};
    return open_in(&table, opening, mg_shm_key(opening->shm, name), name);
}

int mg_target_record_open(const struct mg_upstream_opening *opening, uint32_t upstream, mg_str name)
{
    const struct table table = {.base = (char *)mg_region_target(opening->shm, 0),
                                .size = sizeof(struct mg_target_record),
                                .count = opening->shm->head->upstreams};
    const struct mg_cell_key id =
        mg_shm_key_with(opening->shm, mg_region_upstream(opening->shm, upstream)->head.id, name);
    const int at = open_in(&table, opening, id, name);
    if (at >= 0) {
        mg_region_target(opening->shm, (uint32_t)at)->upstream = upstream;
    }
    return at;
}

uint32_t mg_upstream_records(const struct mg_shm *shm)
{
    return shm->head->upstreams;
}

int mg_upstream_record_index(const struct mg_shm *shm, const struct mg_upstream_record *record)
{
    const uintptr_t first = (uintptr_t)mg_region_upstream(shm, 0), at = (uintptr_t)record;
    const uintptr_t end = (uintptr_t)mg_region_upstream(shm, shm->head->upstreams);
    return at >= first && at < end ? (int)((at - first) / sizeof *record) : -1;
}

struct mg_upstream_record *mg_upstream_record(struct mg_shm *shm, uint32_t index)
{
    struct mg_upstream_record *record =
        index < shm->head->upstreams ? mg_region_upstream(shm, index) : NULL;
    return record && __atomic_load_n(&record->head.id.hash[0], __ATOMIC_ACQUIRE) ? record : NULL;
}

struct mg_target_record *mg_target_record(struct mg_shm *shm, uint32_t index)
{
    struct mg_target_record *record =
        index < shm->head->upstreams ? mg_region_target(shm, index) : NULL;
    return record && __atomic_load_n(&record->head.id.hash[0], __ATOMIC_ACQUIRE) ? record : NULL;
}

/* Relaxed: it decides about reuse only, after an hour. */
void mg_upstream_touch(struct mg_upstream_head *head, uint64_t now_ms)
{
    __atomic_store_n(&head->used_ms, (int64_t)now_ms, __ATOMIC_RELAXED);
}

/* One word, so two workers never both have it. */
bool mg_check_lease_take(struct mg_shm *shm, uint32_t worker, uint64_t now_ms, uint64_t ms)
{
    uint64_t *word = &shm->head->check_lease;
    uint64_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    const uint64_t owner = seen & ((1U << LEASE_WORKER_BITS) - 1);
    const uint64_t until_ms = seen >> LEASE_WORKER_BITS;
    const bool is_mine = owner == worker + 1;
    /* further away than any lease is long: of another boot of the clock */
    if (!is_mine && owner != 0 && until_ms > now_ms && until_ms - now_ms < 3600000) {
        return false;
    }
    if (ms == 0 && !is_mine) {
        return false;
    }
    const uint64_t next = ms == 0 ? 0 : (now_ms + ms) << LEASE_WORKER_BITS | (worker + 1);
    return __atomic_compare_exchange_n(word, &seen, next, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE) &&
           ms > 0;
}
