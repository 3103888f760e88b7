/* SPDX-License-Identifier: Apache-2.0 */
/* How a region is divided, and its locks. */
#include "base/shm_region.h"

#include <stddef.h>

#define PAGE 4096
#define MIN_SHARDS 4
#define MIN_HOLDS 256
#define MAX_HOLDS 65536
#define LEDGER_SHARE 32   /* of the region, for all ledgers together */
#define UPSTREAM_SHARE 32 /* for the records of upstreams; the same again for those of targets */
#define MIN_UPSTREAMS 64
#define MAX_UPSTREAMS 65536

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

uint32_t mg_region_sizes(void)
{
    const uint64_t sizes[] = {sizeof(struct mg_shm_head),      sizeof(struct mg_slot),
                              sizeof(struct mg_stats),         sizeof(struct mg_hold_entry),
                              sizeof(struct mg_shard),         sizeof(struct mg_limit_record),
                              sizeof(struct mg_cell),          sizeof(struct mg_breaker_record),
                              (uint64_t)MG_STAT_COUNT,         sizeof(pthread_mutex_t),
                              sizeof(struct mg_store_record),  sizeof(struct mg_upstream_record),
                              sizeof(struct mg_target_record), sizeof(struct mg_sink_record),
                              sizeof(struct mg_sink_part)};
    uint64_t digest = 17;
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        digest = digest * 1000003 + sizes[i];
    }
    return (uint32_t)(digest ^ digest >> 32);
}

/* Takes `bytes` at the next multiple of 64. */
static uint64_t place(uint64_t *at, uint64_t bytes)
{
    const uint64_t here = round_up(*at, 64);
    *at = here + bytes;
    return here;
}

/* All offsets for that number of shards; the end. */
static uint64_t lay_out(struct mg_shm_head *head, uint32_t shards)
{
    uint64_t at = sizeof *head;
    head->shards = shards;
    head->limits = shards < 64 ? 64 : shards;
    head->at_slots = place(&at, head->workers * sizeof(struct mg_slot));
    head->at_stats = place(&at, (head->workers + 1) * round_up(sizeof(struct mg_stats), 64));
    head->at_ledgers = place(&at, head->workers * head->ledger_bytes);
    head->at_shards =
        place(&at, ((uint64_t)shards + MG_SPARE_SHARDS + 1) * sizeof(struct mg_shard));
    head->at_limits = place(&at, head->limits * sizeof(struct mg_limit_record));
    head->at_stores = place(&at, MG_STORES * sizeof(struct mg_store_record));
    head->at_breakers = place(&at, head->breakers * sizeof(struct mg_breaker_record));
    head->at_upstreams = place(&at, head->upstreams * sizeof(struct mg_upstream_record));
    head->at_targets = place(&at, head->upstreams * sizeof(struct mg_target_record));
    head->at_sinks = place(&at, MG_SINK_RECORDS * sizeof(struct mg_sink_record));
    head->at_sink_parts =
        place(&at, (uint64_t)MG_SINK_RECORDS * head->workers * sizeof(struct mg_sink_part));
    at = round_up(at, PAGE); /* pages of cells are pages of memory */
    head->at_cells = place(&at, (uint64_t)shards * MG_SHARD_CELLS * sizeof(struct mg_cell));
    return at;
}

bool mg_region_plan(struct mg_shm_head *head, uint64_t bytes, uint32_t workers, uint32_t breakers)
{
    uint64_t holds = bytes / LEDGER_SHARE / sizeof(struct mg_hold_entry) / workers;
    holds = holds < MIN_HOLDS ? MIN_HOLDS : holds > MAX_HOLDS ? MAX_HOLDS : holds;
    head->bytes = bytes;
    head->workers = workers;
    head->breakers = breakers;
    head->holds = (uint32_t)holds;
    const uint64_t upstreams = bytes / UPSTREAM_SHARE / sizeof(struct mg_target_record);
    head->upstreams = upstreams < MIN_UPSTREAMS   ? MIN_UPSTREAMS
                      : upstreams > MAX_UPSTREAMS ? MAX_UPSTREAMS
                                                  : (uint32_t)upstreams;
    head->ledger_bytes =
        round_up(sizeof(struct mg_ledger) + holds * sizeof(struct mg_hold_entry), 64);
    const uint64_t fixed = lay_out(head, MIN_SHARDS);
    if (fixed > bytes) {
        return false;
    }
    const uint64_t shard_bytes = MG_SHARD_CELLS * sizeof(struct mg_cell) + sizeof(struct mg_shard) +
                                 sizeof(struct mg_limit_record);
    uint32_t shards = MIN_SHARDS + (uint32_t)((bytes - fixed) / shard_bytes);
    while (lay_out(head, shards) > bytes) {
        shards--; /* rounding took a little */
    }
    return true;
}

/* --- is a region what it says it is? -------------------------------------------------------- */

static bool has_this_layout(const struct mg_shm_head *head, uint64_t bytes)
{
    struct mg_shm_head plan = {.layout = head->layout};
    return head->bytes == bytes && head->workers >= 1 &&
           mg_region_plan(&plan, bytes, head->workers, head->breakers) &&
           plan.holds == head->holds && plan.shards == head->shards &&
           plan.limits == head->limits && plan.ledger_bytes == head->ledger_bytes &&
           plan.at_slots == head->at_slots && plan.at_stats == head->at_stats &&
           plan.at_ledgers == head->at_ledgers && plan.at_shards == head->at_shards &&
           plan.at_limits == head->at_limits && plan.at_cells == head->at_cells &&
           plan.at_breakers == head->at_breakers && plan.at_stores == head->at_stores &&
           plan.upstreams == head->upstreams && plan.at_upstreams == head->at_upstreams &&
           plan.at_targets == head->at_targets && plan.at_sinks == head->at_sinks &&
           plan.at_sink_parts == head->at_sink_parts && head->sinks_used < MG_SINK_RECORDS &&
           head->limits_used <= head->limits && head->breakers_used <= head->breakers &&
           head->stores_used <= MG_STORES;
}

/* Is there one of `count` things of that size, the first of which stands at `from`? */
static bool is_one_of(uint64_t offset, uint64_t from, uint64_t size, uint64_t count)
{
    return offset >= from && (offset - from) % size == 0 && (offset - from) / size < count;
}

static bool is_cell(const struct mg_shm_head *head, uint64_t offset)
{
    return is_one_of(offset, head->at_cells, sizeof(struct mg_cell),
                     (uint64_t)head->shards * MG_SHARD_CELLS) ||
           is_one_of(offset, head->at_limits + offsetof(struct mg_limit_record, overflow),
                     sizeof(struct mg_limit_record), head->limits) ||
           is_one_of(offset, head->at_breakers + offsetof(struct mg_breaker_record, probes),
                     sizeof(struct mg_breaker_record), head->breakers);
}

static bool is_hold(const struct mg_shm_head *head, uint64_t offset)
{
    if (offset < head->at_ledgers || offset >= head->at_shards) {
        return false;
    }
    const uint64_t in_ledger = (offset - head->at_ledgers) % head->ledger_bytes;
    return is_one_of(in_ledger, sizeof(struct mg_ledger), sizeof(struct mg_hold_entry),
                     head->holds);
}

/* Its free list ends, and stays among the entries that were ever used: else one entry could be
 * taken twice. The worker may be changing it at this moment; it raises the mark before it puts an
 * entry into the list, so the mark is read after the entry. */
static bool is_sound_list(const struct mg_ledger *ledger, uint32_t holds)
{
    uint32_t at = __atomic_load_n(&ledger->first_free, __ATOMIC_ACQUIRE), steps = 0;
    while (at != 0) {
        if (at >= __atomic_load_n(&ledger->mark, __ATOMIC_ACQUIRE) || at >= holds ||
            ++steps > holds) {
            return false;
        }
        at = __atomic_load_n(&ledger->entries[at].next, __ATOMIC_ACQUIRE);
    }
    return true;
}

static bool is_sound_ledger(const struct mg_shm *shm, const struct mg_ledger *ledger)
{
    const struct mg_shm_head *head = shm->head;
    const uint32_t mark = ledger->mark;
    bool sound = mark >= 1 && mark <= head->holds && is_sound_list(ledger, head->holds);
    for (uint32_t i = 1; sound && i < mark; i++) {
        const struct mg_hold_entry *entry = &ledger->entries[i];
        const uint64_t cell = entry->cell;
        sound = entry->shard <= mg_region_open_shard(shm) && (cell == 0 || is_cell(head, cell));
    }
    return sound;
}

/* The journal leads to a cell and an entry, or nowhere. */
static bool is_sound_shard(const struct mg_shm_head *head, const struct mg_shard *shard)
{
    const uint64_t cell = shard->cell, hold = shard->hold;
    return (cell == 0 || is_cell(head, cell)) && (hold == 0 || is_hold(head, hold));
}

/* Sums and differences of times stay far from the ends of 64 bits. */
static bool is_time(int64_t ms)
{
    return ms > -(INT64_C(1) << 60) && ms < INT64_C(1) << 60;
}

static bool are_sound_records(const struct mg_shm *shm)
{
    const struct mg_shm_head *head = shm->head;
    bool sound = is_time(head->offset_ms) && is_time(head->candidate_ms);
    for (uint32_t i = 0; sound && i < head->limits_used; i++) {
        sound = is_time(mg_region_limit(shm, i)->used_ms);
    }
    for (uint32_t i = 0; sound && i < head->breakers_used; i++) {
        sound = is_time(mg_region_breaker(shm, i)->used_ms);
    }
    for (uint32_t i = 0; sound && i < head->stores_used; i++) {
        sound = is_time(mg_region_store(shm, i)->used_ms);
    }
    for (uint32_t i = 0; sound && i < head->upstreams; i++) {
        sound = is_time(mg_region_upstream(shm, i)->head.used_ms) &&
                is_time(mg_region_target(shm, i)->head.used_ms) &&
                mg_region_target(shm, i)->upstream < head->upstreams;
    }
    for (uint32_t i = 0; sound && i < MG_SINK_RECORDS; i++) {
        sound = is_time(mg_region_sink(shm, i)->used_ms);
    }
    return sound;
}

bool mg_region_is_sound(const struct mg_shm *shm)
{
    const struct mg_shm_head *head = shm->head;
    bool sound = has_this_layout(head, shm->bytes) && are_sound_records(shm);
    for (uint32_t i = 0; sound && i < head->workers; i++) {
        sound = is_sound_ledger(shm, mg_region_ledger(shm, i));
    }
    for (uint32_t i = 0; sound && i <= mg_region_open_shard(shm); i++) {
        sound = is_sound_shard(head, mg_region_shard(shm, i));
    }
    return sound;
}

/* --- locks ---------------------------------------------------------------------------------- */

static int make_lock(struct mg_shard *shard, const pthread_mutexattr_t *attributes)
{
    return -pthread_mutex_init(&shard->mutex, attributes);
}

int mg_region_start(struct mg_shm *shm)
{
    pthread_mutexattr_t attributes;
    int err = -pthread_mutexattr_init(&attributes);
    if (err) {
        return err;
    }
    err = -pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (!err) {
        err = -pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    }
    for (uint32_t i = 0; !err && i <= mg_region_open_shard(shm); i++) {
        err = make_lock(mg_region_shard(shm, i), &attributes);
    }
    pthread_mutexattr_destroy(&attributes);
    return err;
}
