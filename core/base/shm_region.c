/* SPDX-License-Identifier: Apache-2.0 */
/* How a region is divided, and its locks. */
#include "base/shm_region.h"

#define PAGE 4096
#define MIN_SHARDS 4
#define MIN_HOLDS 256
#define MAX_HOLDS 65536
#define LEDGER_SHARE 32 /* of the region, for all ledgers together */

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

uint32_t mg_region_sizes(void)
{
    const uint64_t sizes[] = {sizeof(struct mg_shm_head), sizeof(struct mg_slot),
                              sizeof(struct mg_stats),    sizeof(struct mg_hold_entry),
                              sizeof(struct mg_shard),    sizeof(struct mg_limit_record),
                              sizeof(struct mg_cell),     sizeof(struct mg_breaker_record),
                              (uint64_t)MG_STAT_COUNT,    sizeof(pthread_mutex_t)};
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
    head->at_breakers = place(&at, head->breakers * sizeof(struct mg_breaker_record));
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
