/* SPDX-License-Identifier: Apache-2.0 */
#include "base/shm_limits.h"

#include "base/shm_region.h"

#include <string.h>

#define LONGEST_WINDOW_MS (INT64_C(366) * 86400000)
#define NETWORK_SHARE 16 /* a class of networks may have this part of a limit's keys */

/* As in shm_cells.c: a kill falls between two instructions, nobody looks without the lock. */
static inline void keep_order(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static bool same_key(struct mg_cell_key a, struct mg_cell_key b)
{
    return a.hash[0] == b.hash[0] && a.hash[1] == b.hash[1];
}

static void fill(struct mg_limit_record *record, const struct mg_limit_opening *opening)
{
    record->id = (struct mg_cell_key){0}; /* not found by others, if we are killed in between */
    keep_order();
    const size_t room = sizeof record->name;
    const size_t length = opening->name.len < room ? opening->name.len : room - 1;
    memset(record->name, 0, room);
    memcpy(record->name, opening->name.ptr, length);
    record->family = opening->family;
    record->used_ms = record->former_until_ms = 0;
    record->is_current = record->former = record->live = 0;
    memset(record->live_of, 0, sizeof record->live_of);
    record->overflowed = record->near = record->over_admit = 0;
    record->bans = record->running = record->swept = 0;
    record->overflow = (struct mg_cell){0};
    keep_order();
    record->id = opening->id;
}

/* The record with that identity, else one that may be taken for it: the first that was never used,
 * else the first that is long unused. NULL: none. */
static struct mg_limit_record *choose(struct mg_shm *shm, struct mg_cell_key id, int64_t now_ms)
{
    struct mg_shm_head *head = shm->head;
    struct mg_limit_record *old_one = NULL;
    for (uint32_t i = 0; i < head->limits_used; i++) {
        struct mg_limit_record *record = mg_region_limit(shm, i);
        if (same_key(record->id, id)) {
            return record;
        }
        if (record->live == 0 && record->overflow.free_at_ms != MG_CELL_HELD &&
            now_ms - record->used_ms > MG_RECORD_UNUSED_MS) {
            old_one = old_one ? old_one : record;
        }
    }
    if (head->limits_used < head->limits) {
        return mg_region_limit(shm, head->limits_used++);
    }
    return old_one;
}

static struct mg_limit_record *current_of(struct mg_shm *shm, struct mg_cell_key family)
{
    for (uint32_t i = 0; i < shm->head->limits_used; i++) {
        struct mg_limit_record *record = mg_region_limit(shm, i);
        if (record->is_current && record->id.hash[0] != 0 && same_key(record->family, family)) {
            return record;
        }
    }
    return NULL;
}

static void become_current(struct mg_shm *shm, struct mg_limit_record *record, int64_t now_ms)
{
    struct mg_limit_record *before = current_of(shm, record->family);
    if (before == record) {
        return;
    }
    if (before) {
        before->is_current = 0;
    }
    record->former = 0;
    if (before && before->window_ms > 0 && before->window_ms <= LONGEST_WINDOW_MS) {
        record->former_id = before->id;
        record->former_until_ms = now_ms + before->window_ms;
        record->former = (uint32_t)(before - mg_region_limit(shm, 0)) + 1;
    }
    record->is_current = 1;
}

int mg_limit_record_open(struct mg_shm *shm, const struct mg_limit_opening *opening, int64_t now_ms)
{
    mg_require(opening->rule_bytes <= MG_LIMIT_RULE_BYTES);
    const uint32_t guard = mg_region_open_shard(shm);
    mg_shard_lock(shm, guard);
    struct mg_limit_record *record = choose(shm, opening->id, now_ms);
    if (record) {
        if (!same_key(record->id, opening->id)) {
            fill(record, opening);
        }
        record->max_keys = opening->max_keys;
        record->used_ms = now_ms > record->used_ms ? now_ms : record->used_ms;
        record->window_ms = opening->window_ms;
        record->until = opening->until;
        if (opening->rule_bytes > 0) {
            memcpy(record->rule, opening->rule, opening->rule_bytes);
        }
        become_current(shm, record, now_ms);
    }
    mg_shard_unlock(shm, guard);
    return record ? (int)(record - mg_region_limit(shm, 0)) : MG_EFULL;
}

bool mg_limit_record_is(const struct mg_shm *shm, uint32_t record, struct mg_cell_key id)
{
    return record < shm->head->limits && same_key(mg_region_limit(shm, record)->id, id);
}

bool mg_limit_record_read(const struct mg_shm *shm, uint32_t record, struct mg_limit_record *out)
{
    if (record >= shm->head->limits || mg_region_limit(shm, record)->id.hash[0] == 0) {
        return false;
    }
    *out = *mg_region_limit(shm, record);
    return true;
}

/* Relaxed, all three: the numbers are for people. */
void mg_limit_record_near(struct mg_shm *shm, uint32_t record)
{
    __atomic_add_fetch(&mg_region_limit(shm, record)->near, 1, __ATOMIC_RELAXED);
}

void mg_limit_record_ban(struct mg_shm *shm, uint32_t record)
{
    __atomic_add_fetch(&mg_region_limit(shm, record)->bans, 1, __ATOMIC_RELAXED);
}

void mg_limit_record_over_admit(struct mg_shm *shm, uint32_t record, uint64_t units)
{
    __atomic_store_n(&mg_region_limit(shm, record)->over_admit, units, __ATOMIC_RELAXED);
}

static bool take_one(uint32_t *count, uint32_t most)
{
    if (__atomic_add_fetch(count, 1, __ATOMIC_RELAXED) <= most) {
        return true;
    }
    __atomic_sub_fetch(count, 1, __ATOMIC_RELAXED);
    return false;
}

/* Several workers count at once: relaxed, since each number stands for itself. */
bool mg_limit_live_take(struct mg_shm *shm, uint32_t record, uint8_t network)
{
    struct mg_limit_record *limit = mg_region_limit(shm, record);
    const uint32_t share = (limit->max_keys + NETWORK_SHARE - 1) / NETWORK_SHARE;
    if (!take_one(&limit->live_of[network], share)) {
        return false;
    }
    if (!take_one(&limit->live, limit->max_keys)) {
        __atomic_sub_fetch(&limit->live_of[network], 1, __ATOMIC_RELAXED);
        return false;
    }
    return true;
}

void mg_limit_live_drop(struct mg_shm *shm, uint32_t record, uint8_t network)
{
    struct mg_limit_record *limit = mg_region_limit(shm, record);
    __atomic_sub_fetch(&limit->live_of[network], 1, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&limit->live, 1, __ATOMIC_RELAXED);
}

void mg_limit_record_swept(struct mg_shm *shm, const struct mg_cell *cell, int64_t now_ms)
{
    if (cell->limit == 0 || cell->limit > shm->head->limits_used) {
        return;
    }
    struct mg_limit_record *record = mg_region_limit(shm, cell->limit - 1);
    if (record->until > 0 && record->until <= 4 && cell->state[record->until - 1] > now_ms) {
        record->swept++;
    }
}

/* Relaxed: the number is for people. */
void mg_limit_records_swept(struct mg_shm *shm)
{
    for (uint32_t i = 0; i < shm->head->limits_used; i++) {
        struct mg_limit_record *record = mg_region_limit(shm, i);
        __atomic_store_n(&record->running, record->swept, __ATOMIC_RELAXED);
        record->swept = 0;
    }
}
