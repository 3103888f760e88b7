/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory that the master and its workers share: one memfd, made before the fork, kept over
 * reloads, crashes of workers and upgrades. Sized at the start; nothing in it is allocated later.
 *
 *   head | slots and statistics | ledgers | locks | limits | stores | breakers | metrics | cells
 *
 * Slots tell the master what a worker does (heartbeat). Statistics are counted here. Cells are the
 * limiters' counters (shm_cells.h), breaker and store records words that all change (shm_words.h),
 * metrics what monitoring reads (shm_metrics.h).
 * A ledger lists what its worker holds across time, so that the master can give it back when the
 * worker dies.
 *
 *     struct mg_shm *shm;
 *     int err = mg_shm_create(bytes, workers, &shm);               // master, before the first fork
 *     mg_shm_tick(shm, monotonic_ms, wall_ms);                     // then, and every 250 ms
 *     struct mg_slot *slot = mg_shm_slot(shm, index);              // worker `index`
 *     mg_slot_begin(slot, getpid());
 *     mg_slot_waiting(slot, true);  poll();  mg_slot_waiting(slot, false);  mg_slot_beat(slot);
 *     mg_stats_add(mg_shm_stats(shm, index), MG_STAT_ACCEPTED, 1);
 *     mg_shm_worker_died(shm, index);                              // master, after waitpid
 *
 * A killed process never leaves anything to repair: locks are robust, and each change under a lock
 * is written to that lock's journal first (shm_cells.c).
 */
#pragma once

#include "base/err.h"
#include "base/shm_records.h"
#include "base/stats.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define MG_SHM_MAX_WORKERS 256

struct mg_shm; /* one process's mapping; fork() hands it on */

/* What a region has room for. */
struct mg_shm_room {
    uint64_t bytes;
    uint32_t workers;
    uint32_t cells;  /* keys of limiters that can be counted at a time */
    uint32_t limits; /* limits, whose keys the cells are */
    uint32_t breakers;
    uint32_t keyed;  /* breakers by key; a fifth is kept free */
    uint32_t series; /* of one metric */
    uint32_t holds;  /* ledger entries of one worker: slots it may hold at a time */
};

/* Bytes needed for that. What a region has over it goes to more cells. */
uint64_t mg_shm_bytes_needed(const struct mg_shm_wish *wish);

/* Makes a region of that size. Pages are taken as they are used. MG_EINVALID: too small, or workers
 * not in 1 .. MG_SHM_MAX_WORKERS; negative errno. */
MG_NODISCARD int mg_shm_create(uint64_t bytes, uint32_t workers, struct mg_shm **shm);
/* As mg_shm_create, with what the wish asks for; cells too, where the size is enough. */
MG_NODISCARD int mg_shm_create_with(uint64_t bytes, const struct mg_shm_wish *wish,
                                    struct mg_shm **shm);
/* Maps a region made by another process image; takes the fd on success. MG_EUNSUPPORTED: made by a
 * version with another layout; MG_EINVALID: no such region, or one that leads out of itself;
 * negative errno. */
MG_NODISCARD int mg_shm_attach(int fd, struct mg_shm **shm);
/* Unmaps and closes; the region itself lives as long as a process has it. */
void mg_shm_close(struct mg_shm *shm);
int mg_shm_fd(const struct mg_shm *shm);
void mg_shm_room(const struct mg_shm *shm, struct mg_shm_room *room);

/* --- workers ------------------------------------------------------------------------------- */

/* index: 0 .. workers - 1 */
struct mg_slot *mg_shm_slot(struct mg_shm *shm, uint32_t index);
/* Statistics of a worker; index == workers: the master's own. */
struct mg_stats *mg_shm_stats(struct mg_shm *shm, uint32_t index);
/* The sum over all workers and the master. */
void mg_shm_stats_sum(struct mg_shm *shm, struct mg_stats *total);

/* First thing a new worker does: empties the slot. */
void mg_slot_begin(struct mg_slot *slot, int32_t pid);
/* The worker accepts requests, on that generation. */
void mg_slot_ready(struct mg_slot *slot, uint64_t generation);

/* A loop turn is over, or a part of one that may have taken long. */
static inline void mg_slot_beat(struct mg_slot *slot)
{
    *(volatile uint64_t *)&slot->beat = slot->beat + 1;
}

/* Around the poll call: a waiting worker is not stuck. */
static inline void mg_slot_waiting(struct mg_slot *slot, bool waiting)
{
    *(volatile uint32_t *)&slot->waiting = waiting;
}

/* Around a resume: what runs from now on. Texts are cut to their places. */
void mg_slot_running(struct mg_slot *slot, mg_str plugin, mg_str phase, mg_str route,
                     mg_str request_id);
/* Another plugin of the same chain runs. */
void mg_slot_plugin(struct mg_slot *slot, mg_str plugin);

/* The resume is over. The texts stay, so that a crash right after still has a suspect. */
static inline void mg_slot_idle(struct mg_slot *slot)
{
    *(volatile uint32_t *)&slot->running = 0;
}

/* The worker that was `index` has ended (waitpid said so): gives back all concurrency slots and
 * probes it held, finishes what it was killed in, sets its gauges to 0 and empties its slot (what
 * ran in it stays until mg_slot_begin). Call it before another worker gets that index. Returns how
 * many things were given back. */
uint32_t mg_shm_worker_died(struct mg_shm *shm, uint32_t index);

/* --- the master's words -------------------------------------------------------------------- */

/* The number of the generation that all workers are to serve. */
void mg_shm_publish_generation(struct mg_shm *shm, uint64_t number);
uint64_t mg_shm_published_generation(const struct mg_shm *shm);
/* The gateway was told to end: load balancers are to look elsewhere. */
void mg_shm_set_draining(struct mg_shm *shm);
bool mg_shm_is_draining(const struct mg_shm *shm);

/*
 * One time for all workers: monotonic time plus an offset that only the master changes. It calls
 * mg_shm_tick with both clocks before the first fork and then every 250 ms. A difference of up to 1
 * s is followed at once (the system's clock is being slewed), a larger jump only after it has held
 * for 60 s; counters that a step back would leave in the future begin anew then. The tick also
 * frees limiter cells whose time has passed (within 2 s each).
 */
void mg_shm_tick(struct mg_shm *shm, uint64_t monotonic_ms, int64_t wall_ms);
/* Milliseconds since the epoch for limiters and breakers; as monotonic_ms before the first tick. */
int64_t mg_shm_now_ms(const struct mg_shm *shm, uint64_t monotonic_ms);
