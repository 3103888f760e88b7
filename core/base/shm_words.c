/* SPDX-License-Identifier: Apache-2.0 */
/* Words by compare-and-swap, and the tables of breaker and store records. Why each memory order is
 * enough stands in the header. */
#include "base/shm_words.h"

#include "base/shm_cells.h"
#include "base/shm_region.h"

#include <string.h>

#define USED_MS 60000 /* how exactly used_ms is kept */

uint64_t mg_word_load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

bool mg_word_swap(uint64_t *word, uint64_t *expected, uint64_t value)
{
    return __atomic_compare_exchange_n(word, expected, value, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

void mg_word_store(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

void mg_word_add(uint64_t *word, uint64_t n)
{
    __atomic_fetch_add(word, n, __ATOMIC_RELAXED);
}

void mg_word_bit(uint64_t *word, unsigned bit, bool on)
{
    if (on) {
        __atomic_fetch_or(word, UINT64_C(1) << bit, __ATOMIC_RELAXED);
    } else {
        __atomic_fetch_and(word, ~(UINT64_C(1) << bit), __ATOMIC_RELAXED);
    }
}

static bool same_id(struct mg_cell_key a, struct mg_cell_key b)
{
    return a.hash[0] == b.hash[0] && a.hash[1] == b.hash[1];
}

/* Order: not to be found by others while it is half filled, should we be killed in between. */
static void fill_breaker(struct mg_breaker_record *record, struct mg_cell_key id, mg_str name,
                         int64_t now_ms)
{
    __atomic_store_n(&record->id.hash[0], 0, __ATOMIC_RELEASE);
    memset((char *)record + sizeof record->id, 0, sizeof *record - sizeof record->id);
    const size_t length = name.len < sizeof record->name ? name.len : sizeof record->name - 1;
    memcpy(record->name, name.ptr, length);
    record->used_ms = now_ms;
    record->id.hash[1] = id.hash[1];
    __atomic_store_n(&record->id.hash[0], id.hash[0], __ATOMIC_RELEASE);
}

/* As choose_limit of shm_cells.c; a record with probes under way is never taken. */
static struct mg_breaker_record *choose_breaker(struct mg_shm *shm, struct mg_cell_key id,
                                                int64_t now_ms)
{
    struct mg_shm_head *head = shm->head;
    struct mg_breaker_record *old_one = NULL;
    for (uint32_t i = 0; i < head->breakers_used; i++) {
        struct mg_breaker_record *record = mg_region_breaker(shm, i);
        if (same_id(record->id, id)) {
            return record;
        }
        const bool is_free = record->id.hash[0] == 0;
        if (record->probes.state[0] == 0 && record->keys == 0 &&
            (is_free || now_ms - record->used_ms > MG_RECORD_UNUSED_MS)) {
            old_one = old_one && !is_free ? old_one : record;
        }
    }
    if (old_one && old_one->id.hash[0] == 0) {
        return old_one;
    }
    return head->breakers_used < head->breakers ? mg_region_breaker(shm, head->breakers_used++)
                                                : old_one;
}

int mg_breaker_record_open(struct mg_shm *shm, mg_str name, int64_t now_ms)
{
    const struct mg_cell_key id = mg_shm_key(shm, name);
    const uint32_t guard = mg_region_open_shard(shm);
    mg_shard_lock(shm, guard);
    struct mg_breaker_record *record = choose_breaker(shm, id, now_ms);
    if (record && same_id(record->id, id)) {
        record->used_ms = now_ms > record->used_ms ? now_ms : record->used_ms;
    } else if (record) {
        fill_breaker(record, id, name, now_ms);
    }
    mg_shard_unlock(shm, guard);
    return record ? (int)(record - mg_region_breaker(shm, 0)) : MG_EFULL;
}

struct mg_breaker_record *mg_breaker_record(struct mg_shm *shm, uint32_t index)
{
    const struct mg_shm_head *head = shm->head;
    if (index >= head->breakers ? index - head->breakers >= head->keyed
                                : index >= head->breakers_used) {
        return NULL;
    }
    struct mg_breaker_record *record = mg_region_breaker(shm, index);
    return record->id.hash[0] != 0 ? record : NULL;
}

bool mg_breaker_record_add(struct mg_shm *shm, struct mg_cell_key id, mg_str name, int64_t now_ms,
                           uint32_t *from)
{
    struct mg_shm_head *head = shm->head;
    for (; *from < head->breakers; ++*from) {
        struct mg_breaker_record *record = mg_region_breaker(shm, *from);
        const bool is_new = *from >= head->breakers_used;
        if (is_new ||
            (record->id.hash[0] == 0 && record->probes.state[0] == 0 && record->keys == 0)) {
            head->breakers_used = is_new ? *from + 1 : head->breakers_used;
            fill_breaker(record, id, name, now_ms);
            return true;
        }
    }
    return false;
}

int mg_breaker_record_find(struct mg_shm *shm, mg_str name)
{
    const struct mg_cell_key id = mg_shm_key(shm, name);
    for (uint32_t i = 0; i < shm->head->breakers_used; i++) {
        if (same_id(mg_region_breaker(shm, i)->id, id)) {
            return (int)i;
        }
    }
    return -1;
}

void mg_breaker_record_drop(struct mg_shm *shm, uint32_t index)
{
    const uint32_t guard = mg_region_open_shard(shm);
    mg_shard_lock(shm, guard);
    __atomic_store_n(&mg_region_breaker(shm, index)->id.hash[0], 0, __ATOMIC_RELEASE);
    mg_shard_unlock(shm, guard);
}

bool mg_breaker_record_used(struct mg_shm *shm, uint32_t index, struct mg_cell_key id,
                            int64_t now_ms)
{
    struct mg_breaker_record *record = mg_region_breaker(shm, index);
    if (!same_id(record->id, id)) {
        return false;
    }
    if (now_ms - record->used_ms > USED_MS) {
        __atomic_store_n(&record->used_ms, now_ms, __ATOMIC_RELAXED);
    }
    return true;
}

/* --- stores ----------------------------------------------------------------------------------- */

/* Order as in fill_breaker. */
static void fill_store(struct mg_store_record *record, struct mg_cell_key id, mg_str name,
                       int64_t now_ms)
{
    __atomic_store_n(&record->id.hash[0], 0, __ATOMIC_RELEASE);
    memset((char *)record + sizeof record->id, 0, sizeof *record - sizeof record->id);
    memcpy(record->name, name.ptr,
           name.len < sizeof record->name ? name.len : sizeof record->name - 1);
    record->used_ms = now_ms;
    record->id.hash[1] = id.hash[1];
    __atomic_store_n(&record->id.hash[0], id.hash[0], __ATOMIC_RELEASE);
}

static struct mg_store_record *choose_store(struct mg_shm *shm, struct mg_cell_key id,
                                            int64_t now_ms)
{
    struct mg_shm_head *head = shm->head;
    struct mg_store_record *old_one = NULL;
    for (uint32_t i = 0; i < head->stores_used; i++) {
        struct mg_store_record *record = mg_region_store(shm, i);
        if (same_id(record->id, id)) {
            return record;
        }
        if (now_ms - record->used_ms > MG_RECORD_UNUSED_MS) {
            old_one = old_one ? old_one : record;
        }
    }
    return head->stores_used < MG_STORES ? mg_region_store(shm, head->stores_used++) : old_one;
}

int mg_store_record_open(struct mg_shm *shm, mg_str identity, mg_str name, int64_t now_ms)
{
    const struct mg_cell_key id = mg_shm_key(shm, identity);
    const uint32_t guard = mg_region_open_shard(shm);
    mg_shard_lock(shm, guard);
    struct mg_store_record *record = choose_store(shm, id, now_ms);
    if (record && same_id(record->id, id)) {
        record->used_ms = now_ms > record->used_ms ? now_ms : record->used_ms;
    } else if (record) {
        fill_store(record, id, name, now_ms);
    }
    mg_shard_unlock(shm, guard);
    return record ? (int)(record - mg_region_store(shm, 0)) : MG_EFULL;
}

struct mg_store_record *mg_store_record(struct mg_shm *shm, uint32_t index)
{
    if (index >= shm->head->stores_used) {
        return NULL;
    }
    struct mg_store_record *record = mg_region_store(shm, index);
    return record->id.hash[0] != 0 ? record : NULL;
}

void mg_store_record_used(struct mg_store_record *record, int64_t now_ms)
{
    if (now_ms - record->used_ms > USED_MS) {
        __atomic_store_n(&record->used_ms, now_ms, __ATOMIC_RELAXED);
    }
}
