/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ledgers (shm_cells.h). An entry is taken before the lock, becomes held in the same journalled
 * step that charges the cell, and becomes free in the same step that gives back. So whenever a
 * worker is killed, each of its entries says truly whether the cell counts it, once the cell's lock
 * was taken. An entry's cell is forgotten only after that lock was given back: as long as it is
 * there, a journal may still have something to say about the entry.
 */
#include "base/shm_cells.h"

#include "base/shm_region.h"

uint32_t mg_hold_take(struct mg_shm *shm, uint32_t worker, uint32_t amount)
{
    struct mg_ledger *ledger = mg_region_ledger(shm, worker);
    uint32_t hold = ledger->first_free;
    if (hold != 0) {
        ledger->first_free = ledger->entries[hold].next;
    } else if (ledger->mark < shm->head->holds) {
        hold = ledger->mark++;
    } else {
        return 0;
    }
    ledger->entries[hold] = (struct mg_hold_entry){.amount = amount, .state = MG_HOLD_TAKEN};
    return hold;
}

void mg_hold_drop(struct mg_shm *shm, uint32_t worker, uint32_t hold)
{
    struct mg_ledger *ledger = mg_region_ledger(shm, worker);
    ledger->entries[hold] = (struct mg_hold_entry){.next = ledger->first_free};
    ledger->first_free = hold;
}

/* The lock of the entry's shard is held, the entry too. */
static void give_back_locked(struct mg_shm *shm, struct mg_hold_entry *entry)
{
    struct mg_cell *cell = mg_region_at(shm, entry->cell);
    struct mg_cell image = *cell;
    image.state[0] = image.state[0] > entry->amount ? image.state[0] - entry->amount : 0;
    image.free_at_ms = image.state[0] > 0 ? MG_CELL_HELD : 0;
    mg_shard_write(shm, entry->shard, cell, &image, entry, MG_HOLD_FREE);
}

void mg_hold_give_back(struct mg_shm *shm, uint32_t worker, uint32_t hold)
{
    struct mg_ledger *ledger = mg_region_ledger(shm, worker);
    struct mg_hold_entry *entry = &ledger->entries[hold];
    mg_require(entry->state == MG_HOLD_HELD);
    const uint32_t shard = entry->shard;
    mg_shard_lock(shm, shard);
    give_back_locked(shm, entry);
    mg_shard_unlock(shm, shard);
    mg_hold_drop(shm, worker, hold);
}

/* Taking the lock finishes what the dead worker was writing there, which may change the entry. */
static uint32_t settle_entry(struct mg_shm *shm, struct mg_hold_entry *entry)
{
    uint32_t given = 0;
    if (entry->cell != 0) {
        const uint32_t shard = entry->shard;
        mg_shard_lock(shm, shard);
        if (entry->state == MG_HOLD_HELD) {
            give_back_locked(shm, entry);
            given = 1;
        }
        mg_shard_unlock(shm, shard);
    }
    *entry = (struct mg_hold_entry){.state = MG_HOLD_FREE};
    return given;
}

uint32_t mg_holds_of_dead(struct mg_shm *shm, uint32_t worker)
{
    struct mg_ledger *ledger = mg_region_ledger(shm, worker);
    uint32_t given = 0;
    for (uint32_t i = 1; i < ledger->mark; i++) {
        if (ledger->entries[i].state != MG_HOLD_FREE || ledger->entries[i].cell != 0) {
            given += settle_entry(shm, &ledger->entries[i]);
        }
    }
    ledger->first_free = 0;
    ledger->mark = 1;
    return given;
}

uint32_t mg_holds_count(const struct mg_shm *shm, uint32_t worker)
{
    const struct mg_ledger *ledger = mg_region_ledger(shm, worker);
    uint32_t count = 0;
    for (uint32_t i = 1; i < ledger->mark; i++) {
        count += ledger->entries[i].state != MG_HOLD_FREE;
    }
    return count;
}
