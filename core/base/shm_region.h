/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layout of the shared region. Private to base/shm*: others see struct mg_shm as a name only.
 *
 *   head          numbers of everything below, secret hash keys, the master's words
 *   slots         workers
 *   statistics    workers + 1
 *   ledgers       workers x holds
 *   shards        one for MG_SHARD_CELLS cells each, then MG_SPARE_SHARDS that guard the cells
 *                 embedded in records, then one that guards the opening of records
 *   limits        records of limits
 *   cells         shards x MG_SHARD_CELLS
 *   stores        MG_STORES records of stores
 *   breakers      records of breakers: those with names, then those by key
 *   upstreams     records of upstreams: places found by hash
 *   targets       as many records of targets
 *   sinks         MG_SINK_RECORDS records of log sinks, then a part for each and each worker
 *   metrics       MG_METRICS records, records of series, a hash table that finds series (places are
 *                 index + 1), the values of their labels, words x (workers + 1)
 *
 * Everything starts at a multiple of 64 bytes and is named by its offset or index, never by a
 * pointer: another process image may map the region elsewhere.
 */
#pragma once

#include "base/err.h"
#include "base/shm_records.h"
#include "base/stats.h"

#include <pthread.h>
#include <stdbool.h>

#define MG_SHM_LAYOUT 9 /* raised with every change of a struct in here */

#define MG_SHARD_CELLS 1024
#define MG_SPARE_SHARDS 16
#define MG_METRICS_LEVELS 8
#define MG_PAGE_CELLS 64            /* cells in a page of 4 KiB; 16 pages a shard */
#define MG_RECORD_UNUSED_MS 3600000 /* then a record may be given to another limit or breaker */

/* A lock and what is to be finished when its owner was killed. */
struct mg_shard {
    pthread_mutex_t mutex; /* robust, process-shared */
    uint64_t cell;         /* journal: offset of the cell being written, 0 = none ... */
    uint64_t hold;         /* ... and of the ledger entry that changes with it, 0 = none ... */
    uint32_t hold_state;   /* ... to this state */
    uint32_t touched;      /* bit per page of the shard that ever held a cell */
    struct mg_cell image __attribute__((aligned(64))); /* what the cell is to become */
} __attribute__((aligned(64)));

enum mg_hold_state {
    MG_HOLD_FREE,
    MG_HOLD_TAKEN, /* meant for a cell, not charged yet */
    MG_HOLD_HELD,  /* charged */
};

/* A line of a ledger: so much is held in that cell. */
struct mg_hold_entry {
    uint64_t cell; /* offset */
    uint32_t shard;
    uint32_t amount;
    uint32_t state; /* enum mg_hold_state */
    uint32_t next;  /* free list, 0 = end */
};

/* Entry 0 is not used. Only the worker itself changes list and mark. */
struct mg_ledger {
    uint32_t first_free; /* of entries below the mark */
    uint32_t mark;       /* entries from here on were never used */
    struct mg_hold_entry entries[];
};

struct mg_shm_head {
    char magic[8];
    uint32_t layout;
    uint32_t sizes; /* digest of all sizes: another build with other structs does not fit */
    uint64_t bytes;
    uint32_t workers, holds, shards, limits, breakers, upstreams;
    uint32_t metrics_level, series_each;                       /* that one metric may have */
    uint32_t series, series_places, series_text, metric_words; /* sizes of what is shared by all */
    uint64_t at_slots, at_stats, at_ledgers, at_shards, at_limits, at_cells, at_breakers, at_stores,
        at_upstreams, at_targets, at_sinks, at_sink_parts;
    uint64_t at_metrics, at_series, at_series_places, at_series_text, at_metric_words;
    uint64_t ledger_bytes;
    uint8_t keys[2][16]; /* of SipHash */
    /* records from here on were never used */
    uint32_t limits_used, breakers_used, stores_used, sinks_used, metrics_used, series_used;
    uint32_t series_text_used, metric_words_used; /* bytes, words */
    uint32_t keyed;       /* records of breakers by key, behind those with names */
    uint32_t keyed_sweep; /* where the master's next sweep of them begins */
    uint32_t sweep_page;  /* where the master's next sweep begins */
    uint64_t generation;
    uint32_t draining;    /* the gateway was told to end */
    uint64_t check_lease; /* who runs the active health checks (shm_upstreams.c) */
    /* the time of all workers: written by the master only */
    int64_t offset_ms;    /* wall - monotonic, in force */
    int64_t candidate_ms; /* a jump that has not held long enough */
    uint64_t candidate_since_ms;
    uint32_t has_offset, has_candidate;
    uint32_t era; /* raised when the time steps back */
};

struct mg_shm {
    int fd;
    uint64_t bytes;
    struct mg_shm_head *head;
};

/* Fills in what fits into bytes; false when that is nothing. Cells of the wish are not looked at:
 * they get what the rest leaves. level: how much room for metrics, 1 .. MG_METRICS_LEVELS. */
bool mg_region_plan(struct mg_shm_head *head, uint64_t bytes, const struct mg_shm_wish *wish,
                    uint32_t level);
uint32_t mg_region_sizes(void);
/* Does the head describe a region of shm->bytes as mg_region_plan would, and does everything in it
 * that is an index or an offset lead to what it should, and is each time one? What is counted may
 * be anything. */
bool mg_region_is_sound(const struct mg_shm *shm);
/* Makes the locks of a new region. 0 or negative errno. */
MG_NODISCARD int mg_region_start(struct mg_shm *shm);

static inline void *mg_region_at(const struct mg_shm *shm, uint64_t offset)
{
    return (char *)shm->head + offset;
}

static inline uint64_t mg_region_offset(const struct mg_shm *shm, const void *pointer)
{
    return (uint64_t)((const char *)pointer - (const char *)shm->head);
}

static inline struct mg_shard *mg_region_shard(const struct mg_shm *shm, uint32_t index)
{
    return (struct mg_shard *)mg_region_at(shm, shm->head->at_shards) + index;
}

static inline struct mg_cell *mg_region_cell(const struct mg_shm *shm, uint32_t shard,
                                             uint32_t place)
{
    return (struct mg_cell *)mg_region_at(shm, shm->head->at_cells) +
           ((size_t)shard * MG_SHARD_CELLS + place);
}

static inline struct mg_limit_record *mg_region_limit(const struct mg_shm *shm, uint32_t index)
{
    return (struct mg_limit_record *)mg_region_at(shm, shm->head->at_limits) + index;
}

static inline struct mg_breaker_record *mg_region_breaker(const struct mg_shm *shm, uint32_t index)
{
    return (struct mg_breaker_record *)mg_region_at(shm, shm->head->at_breakers) + index;
}

static inline struct mg_upstream_record *mg_region_upstream(const struct mg_shm *shm,
                                                            uint32_t index)
{
    return (struct mg_upstream_record *)mg_region_at(shm, shm->head->at_upstreams) + index;
}

static inline struct mg_target_record *mg_region_target(const struct mg_shm *shm, uint32_t index)
{
    return (struct mg_target_record *)mg_region_at(shm, shm->head->at_targets) + index;
}

static inline struct mg_store_record *mg_region_store(const struct mg_shm *shm, uint32_t index)
{
    return (struct mg_store_record *)mg_region_at(shm, shm->head->at_stores) + index;
}

static inline struct mg_sink_record *mg_region_sink(const struct mg_shm *shm, uint32_t index)
{
    return (struct mg_sink_record *)mg_region_at(shm, shm->head->at_sinks) + index;
}

static inline struct mg_sink_part *mg_region_sink_part(const struct mg_shm *shm, uint32_t index,
                                                       uint32_t worker)
{
    return (struct mg_sink_part *)mg_region_at(shm, shm->head->at_sink_parts) +
           ((size_t)index * shm->head->workers + worker);
}

static inline struct mg_ledger *mg_region_ledger(const struct mg_shm *shm, uint32_t worker)
{
    return mg_region_at(shm, shm->head->at_ledgers + worker * shm->head->ledger_bytes);
}

static inline struct mg_metric_record *mg_region_metric(const struct mg_shm *shm, uint32_t index)
{
    return (struct mg_metric_record *)mg_region_at(shm, shm->head->at_metrics) + index;
}

static inline struct mg_series_record *mg_region_series(const struct mg_shm *shm, uint32_t index)
{
    return (struct mg_series_record *)mg_region_at(shm, shm->head->at_series) + index;
}

/* The shard that guards the cell embedded in a record. */
static inline uint32_t mg_region_spare_shard(const struct mg_shm *shm, uint32_t record)
{
    return shm->head->shards + record % MG_SPARE_SHARDS;
}

/* The shard that guards the opening of records. */
static inline uint32_t mg_region_open_shard(const struct mg_shm *shm)
{
    return shm->head->shards + MG_SPARE_SHARDS;
}

/* A lock whose owner died is taken over, and what that owner was writing is finished first. */
void mg_shard_lock(struct mg_shm *shm, uint32_t index);
void mg_shard_unlock(struct mg_shm *shm, uint32_t index);
/* Cell and ledger entry (may be NULL) change together, or neither does, wherever the process is
 * killed. The shard that guards the cell is locked. */
void mg_shard_write(struct mg_shm *shm, uint32_t index, struct mg_cell *cell,
                    const struct mg_cell *image, struct mg_hold_entry *entry,
                    enum mg_hold_state state);
