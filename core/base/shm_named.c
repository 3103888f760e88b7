/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of breakers follow the configuration. The missing ones are made under the lock for
 * opening, so that no worker makes the same one beside; the list is sorted before that.
 */
#include "base/shm_named.h"

#include "base/shm_cells.h"
#include "base/shm_keyed.h"
#include "base/shm_region.h"
#include "base/shm_words.h"

#include <stdlib.h>

struct wanted {
    struct mg_cell_key id;
    mg_str name;
    bool there;
};

static int compare(const void *a, const void *b)
{
    const struct mg_cell_key *x = &((const struct wanted *)a)->id;
    const struct mg_cell_key *y = &((const struct wanted *)b)->id;
    const unsigned at = x->hash[0] == y->hash[0] ? 1 : 0;
    return x->hash[at] < y->hash[at] ? -1 : x->hash[at] > y->hash[at];
}

static struct wanted *find(struct wanted *list, size_t count, struct mg_cell_key id)
{
    const struct wanted key = {.id = id};
    return count > 0 ? bsearch(&key, list, count, sizeof *list, compare) : NULL;
}

static void drop_others(struct mg_shm *shm, struct wanted *list, size_t count)
{
    for (uint32_t i = 0; i < shm->head->breakers_used; i++) {
        const struct mg_breaker_record *record = mg_breaker_record(shm, i);
        if (record && !find(list, count, record->id)) {
            mg_keyed_drop(shm, i);
            mg_breaker_record_drop(shm, i);
        }
    }
}

/* The lock is held. */
static void make_missing(struct mg_shm *shm, struct wanted *list, size_t count, int64_t now_ms)
{
    uint32_t from = 0;
    for (uint32_t i = 0; i < shm->head->breakers_used; i++) {
        const struct mg_breaker_record *record = mg_breaker_record(shm, i);
        struct wanted *found = record ? find(list, count, record->id) : NULL;
        if (found) {
            found->there = true;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!list[i].there &&
            !mg_breaker_record_add(shm, list[i].id, list[i].name, now_ms, &from)) {
            return; /* full: it will be made when it is asked for, if it can */
        }
    }
}

void mg_breaker_records_follow(struct mg_shm *shm, const mg_str *names, size_t count,
                               int64_t now_ms)
{
    struct wanted *list = calloc(count + 1, sizeof *list);
    mg_require(list != NULL);
    for (size_t i = 0; i < count; i++) {
        list[i] = (struct wanted){.id = mg_shm_key(shm, names[i]), .name = names[i]};
    }
    qsort(list, count, sizeof *list, compare);
    drop_others(shm, list, count);
    const uint32_t guard = mg_region_open_shard(shm);
    mg_shard_lock(shm, guard);
    make_missing(shm, list, count, now_ms);
    mg_shard_unlock(shm, guard);
    free(list);
}
