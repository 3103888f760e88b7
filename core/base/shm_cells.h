/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells: the counters of limiters, 64 bytes each, in a hash table of the shared region. A key is
 * looked up within 8 places, all under one shard's lock; a cell whose time has passed is free. A
 * decision over several keys takes all their locks (in address order, so no two can wait for each
 * other), looks, and then writes all or nothing:
 *
 *     struct mg_cell_place places[MG_CELLS_AT_ONCE];
 *     mg_cells_lock(shm, asks, count, now_ms, places);
 *     ... places[i].fresh ? new : places[i].cell->state ...
 *     mg_cells_write(shm, &places[i], &image, 0);
 *     mg_cells_unlock(shm, places, count);
 *
 * While locked: no allocation, no system call, no yield.
 *
 * A process killed inside leaves nothing to repair: a cell is written to the shard's journal first,
 * so the next owner either finds the old cell or finishes the new one. There are no lists and no
 * pointers.
 *
 * A limit may have max_keys live cells, and a sixteenth of them with clients of one class of
 * networks (MG_NETWORKS). A key beyond that, or one that finds no free place, is decided in the
 * class's overflow cell; where the table has no room for that one either, in the one that stands in
 * the limit's record (shm_limits.h) and is always there. So who invents keys crowds out his own
 * class only, and a live cell is never evicted.
 */
#pragma once

#include "base/err.h"
#include "base/shm_records.h"
#include "base/str.h"

#include <stdbool.h>

struct mg_shm;

#define MG_CELLS_AT_ONCE 36 /* 16 limits, what they were before an edit, a ban */
/* 128-bit SipHash with the region's secret keys. */
struct mg_cell_key mg_shm_key(const struct mg_shm *shm, mg_str bytes);
/* The same of two parts: identity's key and further bytes. Differs from every key of one part. */
/* One of 256 classes of texts, the same in all workers. */
uint8_t mg_shm_class(const struct mg_shm *shm, mg_str bytes);
struct mg_cell_key mg_shm_key_with(const struct mg_shm *shm, struct mg_cell_key identity,
                                   mg_str bytes);

struct mg_cell_ask {
    struct mg_cell_key key;
    uint32_t record;
    uint8_t network;
    bool peek;        /* no place is made for a key that is not there: its place has no cell */
    bool own_or_none; /* as peek, where there is no room but an overflow cell */
};

struct mg_cell_place {
    struct mg_cell *cell;
    uint32_t shard; /* that guards it */
    uint32_t home;  /* that guards the key's places ... */
    uint32_t extra; /* ... and those of its class's overflow cell, where that is locked too */
    uint32_t record;
    struct mg_cell_key key; /* of the cell: an overflow cell's is not the key that was asked for */
    uint8_t network;
    bool fresh;    /* nothing is known of the key: the cell's state is not its own */
    bool overflow; /* it is an overflow cell */
    bool embedded; /* the one in a record */
    bool reserved; /* counted as a live cell of the limit, not written yet */
};

/* count: 1 to MG_CELLS_AT_ONCE, keys all different. Cannot fail. */
void mg_cells_lock(struct mg_shm *shm, const struct mg_cell_ask *asks, unsigned count,
                   int64_t now_ms, struct mg_cell_place *places);
/* Writes state and free_at_ms of image (the rest is filled in). hold: ledger entry of `worker` that
 * becomes held in the same step, 0 = none. */
void mg_cells_write(struct mg_shm *shm, struct mg_cell_place *place, struct mg_cell *image,
                    uint32_t worker, uint32_t hold);
/* The cell is as good as new from now on. */
void mg_cells_empty(struct mg_shm *shm, struct mg_cell_place *place);
void mg_cells_unlock(struct mg_shm *shm, struct mg_cell_place *places, unsigned count);

/* For one key that has a cell of its own and of these times, for less: locks it and gives it; NULL:
 * there is none, and nothing is locked. Nothing else may be locked. */
struct mg_cell *mg_cell_lock_own(struct mg_shm *shm, struct mg_cell_key key, uint32_t *shard);
/* Changes it: what its key was charged in the limit of that record. */
void mg_cell_write_own(struct mg_shm *shm, uint32_t shard, struct mg_cell *cell, uint32_t record,
                       const int64_t state[4], int64_t free_at_ms);
void mg_cell_unlock_own(struct mg_shm *shm, uint32_t shard);

/* The cell that stands in that record of another table (a breaker's probes). */
void mg_cell_lock_embedded(struct mg_shm *shm, struct mg_cell *cell, uint32_t record,
                           struct mg_cell_place *place);

/*
 * The ledger of a worker: what it holds in cells across time. Taken before the locks, held by
 * mg_cells_write, given back once.
 *
 *     uint32_t hold = mg_hold_take(shm, worker, 1);     // 0: the ledger is full
 *     mg_hold_drop(shm, worker, hold);                  // nothing was charged
 *     mg_hold_give_back(shm, worker, hold);             // lowers the cell's state[0] by the amount
 */
uint32_t mg_hold_take(struct mg_shm *shm, uint32_t worker, uint32_t amount);
void mg_hold_drop(struct mg_shm *shm, uint32_t worker, uint32_t hold);
void mg_hold_give_back(struct mg_shm *shm, uint32_t worker, uint32_t hold);
/* Gives back all that a dead worker held, and empties its ledger. Returns how many. */
uint32_t mg_holds_of_dead(struct mg_shm *shm, uint32_t worker);
/* Lines in use: for tests and statistics. */
uint32_t mg_holds_count(const struct mg_shm *shm, uint32_t worker);

/* Frees cells whose time has passed, in an eighth of the table each time: mg_shm_tick calls it
 * every 250 ms, so that each is found within 2 s. Returns how many. */
uint32_t mg_cells_sweep(struct mg_shm *shm, int64_t now_ms);
