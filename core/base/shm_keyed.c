/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of breakers by key. Looking is one load of each identity; making and freeing happen under
 * the lock for opening records, and a record's identity is written last, so whoever finds it finds
 * it whole.
 */
#include "base/shm_keyed.h"

#include "base/shm_region.h"

#include <string.h>

#define SWEEP_PARTS 8 /* ticks of 250 ms that a sweep of all takes */
#define USED_MS 500   /* how exactly used_ms is kept */
#define STATE_MASK 7  /* of the state word: 0 = CLOSED */

/* The i-th of the places that a key may have: first its one group, then the other. */
static uint32_t place_of(const struct mg_shm_head *head, struct mg_cell_key key, uint32_t i)
{
    const uint32_t groups = head->keyed / MG_KEYED_GROUP;
    const uint64_t hash = key.hash[i / MG_KEYED_GROUP];
    return head->breakers + (uint32_t)(hash % groups) * MG_KEYED_GROUP + i % MG_KEYED_GROUP;
}

static void touch(struct mg_breaker_record *record, int64_t now_ms)
{
    if (now_ms - __atomic_load_n(&record->used_ms, __ATOMIC_RELAXED) > USED_MS) {
        __atomic_store_n(&record->used_ms, now_ms, __ATOMIC_RELAXED);
    }
}

static int look_up(struct mg_shm *shm, struct mg_cell_key key, int64_t now_ms)
{
    for (uint32_t i = 0; i < 2 * MG_KEYED_GROUP; i++) {
        const uint32_t index = place_of(shm->head, key, i);
        struct mg_breaker_record *record = mg_region_breaker(shm, index);
        /* Acquire: who sees the identity sees what was written before it. */
        if (__atomic_load_n(&record->id.hash[0], __ATOMIC_ACQUIRE) == key.hash[0] &&
            record->id.hash[1] == key.hash[1]) {
            touch(record, now_ms);
            return (int)index;
        }
    }
    return MG_EFULL;
}

static bool is_used(const struct mg_breaker_record *record)
{
    return record->id.hash[0] != 0;
}

static struct mg_breaker_record *owner_of(struct mg_breaker_record *record)
{
    return record - record->owner_back;
}

/* As good as new, or forgotten. */
static bool is_idle(const struct mg_breaker_record *record, int64_t now_ms)
{
    const int64_t unused_ms = now_ms - record->used_ms;
    const bool closed = (mg_word_load(&record->state) & STATE_MASK) == 0;
    return record->probes.state[0] == 0 &&
           (unused_ms > MG_RECORD_UNUSED_MS || (closed && unused_ms > record->forget_ms));
}

/* The lock for opening is held. */
static void free_record(struct mg_breaker_record *record)
{
    struct mg_breaker_record *owner = owner_of(record);
    __atomic_store_n(&record->id.hash[0], 0, __ATOMIC_RELEASE);
    if (owner->keys > 0) {
        __atomic_store_n(&owner->keys, owner->keys - 1, __ATOMIC_RELAXED);
    }
}

/* What a key's two groups have to offer. */
struct offer {
    struct mg_breaker_record *free[2]; /* a free place of each group */
    unsigned free_count[2];
    struct mg_breaker_record *idle; /* the owner's own, if there is one */
};

static void look_around(struct mg_shm *shm, const struct mg_breaker_record *owner,
                        struct mg_cell_key key, int64_t now_ms, struct offer *offer)
{
    *offer = (struct offer){.idle = NULL};
    for (uint32_t i = 0; i < 2 * MG_KEYED_GROUP; i++) {
        struct mg_breaker_record *record = mg_region_breaker(shm, place_of(shm->head, key, i));
        const unsigned group = i / MG_KEYED_GROUP;
        if (!is_used(record)) {
            const bool is_free = record->probes.state[0] == 0;
            offer->free[group] = is_free ? record : offer->free[group];
            offer->free_count[group] += is_free;
        } else if (is_idle(record, now_ms) && (!offer->idle || owner_of(record) == owner)) {
            offer->idle = record;
        }
    }
}

/* A free place in the emptier group, so that hardly any two groups are full before the table is; or
 * one that is made free. NULL: none, or too many keys. */
static struct mg_breaker_record *choose(struct mg_shm *shm, struct mg_breaker_record *owner,
                                        struct mg_cell_key key, uint32_t max_keys, int64_t now_ms)
{
    struct offer offer;
    look_around(shm, owner, key, now_ms, &offer);
    struct mg_breaker_record *found = offer.free[offer.free_count[1] > offer.free_count[0]];
    if (offer.idle && (!found || owner->keys >= max_keys)) {
        free_record(offer.idle);
        found = offer.idle;
    }
    return owner->keys < max_keys ? found : NULL;
}

static void fill(struct mg_breaker_record *record, struct mg_breaker_record *owner,
                 struct mg_cell_key key, int64_t now_ms)
{
    memset((char *)record + sizeof record->id, 0, sizeof *record - sizeof record->id);
    memcpy(record->name, owner->name, sizeof record->name);
    record->owner_back = (uint32_t)(record - owner);
    record->forget_ms = owner->forget_ms;
    record->used_ms = now_ms;
    record->id.hash[1] = key.hash[1];
    __atomic_store_n(&owner->keys, owner->keys + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&record->id.hash[0], key.hash[0], __ATOMIC_RELEASE);
}

int mg_keyed_open(struct mg_shm *shm, uint32_t owner_index, struct mg_cell_key key,
                  uint32_t max_keys, int64_t now_ms)
{
    if (shm->head->keyed < MG_KEYED_GROUP) {
        return MG_EFULL;
    }
    int index = look_up(shm, key, now_ms);
    if (index >= 0) {
        return index;
    }
    struct mg_breaker_record *owner = mg_region_breaker(shm, owner_index);
    const uint32_t guard = mg_region_open_shard(shm);
    mg_shard_lock(shm, guard);
    index = look_up(shm, key, now_ms); /* somebody was faster */
    struct mg_breaker_record *record = index < 0 ? choose(shm, owner, key, max_keys, now_ms) : NULL;
    if (record) {
        fill(record, owner, key, now_ms);
        index = (int)(record - mg_region_breaker(shm, 0));
    }
    mg_shard_unlock(shm, guard);
    return index;
}

void mg_keyed_sweep(struct mg_shm *shm, int64_t now_ms)
{
    struct mg_shm_head *head = shm->head;
    const uint32_t guard = mg_region_open_shard(shm);
    const uint32_t part = head->keyed / SWEEP_PARTS + 1;
    uint32_t at = head->keyed_sweep < head->keyed ? head->keyed_sweep : 0;
    const uint32_t end = head->keyed - at < part ? head->keyed : at + part;
    for (; at < end; at++) {
        struct mg_breaker_record *record = mg_region_breaker(shm, head->breakers + at);
        if (is_used(record) && is_idle(record, now_ms)) {
            mg_shard_lock(shm, guard);
            if (is_used(record) && is_idle(record, now_ms)) {
                free_record(record);
            }
            mg_shard_unlock(shm, guard);
        }
    }
    head->keyed_sweep = end < head->keyed ? end : 0;
}

void mg_keyed_drop(struct mg_shm *shm, uint32_t owner)
{
    const struct mg_breaker_record *of = mg_region_breaker(shm, owner);
    const uint32_t guard = mg_region_open_shard(shm);
    for (uint32_t i = 0; i < shm->head->keyed && of->keys > 0; i++) {
        struct mg_breaker_record *record = mg_region_breaker(shm, shm->head->breakers + i);
        if (is_used(record) && owner_of(record) == of) {
            mg_shard_lock(shm, guard);
            free_record(record);
            mg_shard_unlock(shm, guard);
        }
    }
}

void mg_keyed_each(struct mg_shm *shm, uint32_t owner,
                   void (*each)(void *context, const struct mg_breaker_record *record),
                   void *context)
{
    const struct mg_breaker_record *of = mg_region_breaker(shm, owner);
    for (uint32_t i = 0; i < shm->head->keyed && of->keys > 0; i++) {
        struct mg_breaker_record *record = mg_region_breaker(shm, shm->head->breakers + i);
        if (is_used(record) && owner_of(record) == of) {
            each(context, record);
        }
    }
}
