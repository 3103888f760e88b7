/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cell table: locks, journal, look-up.
 *
 * Lock order: a process takes shards in rising index, which is rising address, and gives them back
 * all together; so no cycle of waiting can form. Shards that guard cells embedded in records have
 * the highest indexes and are taken last.
 *
 * Places of a key: two groups of four in its shard; the emptier group takes a new key. So the first
 * keys find both groups full when about 6 tenths of the table are in use; 1.4 % at 8 tenths.
 */
/* pthread_mutex_clocklock */
#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): the C library's own switch */
#include "base/shm_cells.h"

#include "base/hash.h"
#include "base/shm_limits.h"
#include "base/shm_region.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define GROUP_CELLS 4
#define GROUPS (MG_SHARD_CELLS / GROUP_CELLS)
#define PAGE_GROUPS (MG_PAGE_CELLS / GROUP_CELLS)
#define SWEEP_PARTS 8
#define LOCK_LOOK_NS 10000000
#define RECORD_USED_MS 60000 /* how exactly used_ms is kept */

/* The order in which a killed process has done its stores is the order of the program, since a kill
 * falls between two instructions and nobody else looks without the lock, which the kernel passes on
 * only after that. So the compiler is all that has to be held to the order. */
static inline void keep_order(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

struct mg_cell_key mg_shm_key(const struct mg_shm *shm, mg_str bytes)
{
    return (struct mg_cell_key){.hash = {mg_hash_siphash(shm->head->keys[0], bytes) | 1,
                                         mg_hash_siphash(shm->head->keys[1], bytes)}};
}

/* Of 256 classes nobody can aim at one: the seed is secret, and no answer shows which it was. */
uint8_t mg_shm_class(const struct mg_shm *shm, mg_str bytes)
{
    uint64_t seed;
    memcpy(&seed, shm->head->keys[0], sizeof seed);
    return (uint8_t)mg_hash_mix(bytes, seed);
}

/* The identity goes into SipHash's key: 128 bits that only this region knows how to make. */
struct mg_cell_key mg_shm_key_with(const struct mg_shm *shm, struct mg_cell_key identity,
                                   mg_str bytes)
{
    uint8_t keys[2][MG_SIPHASH_KEY_BYTES];
    for (unsigned k = 0; k < 2; k++) {
        memcpy(keys[k], shm->head->keys[k], MG_SIPHASH_KEY_BYTES);
        const uint8_t *mask = (const uint8_t *)identity.hash;
        for (unsigned i = 0; i < MG_SIPHASH_KEY_BYTES; i++) {
            keys[k][i] ^= mask[i];
        }
    }
    return (struct mg_cell_key){
        .hash = {mg_hash_siphash(keys[0], bytes) | 1, mg_hash_siphash(keys[1], bytes)}};
}

static bool same_key(struct mg_cell_key a, struct mg_cell_key b)
{
    return a.hash[0] == b.hash[0] && a.hash[1] == b.hash[1];
}

/* --- locks and journal ---------------------------------------------------------------------- */

/* Does what the journal says: all of it again, if some was done. */
static void finish_journal(struct mg_shm *shm, struct mg_shard *shard)
{
    if (shard->cell == 0) {
        return;
    }
    *(struct mg_cell *)mg_region_at(shm, shard->cell) = shard->image;
    if (shard->hold != 0) {
        struct mg_hold_entry *entry = mg_region_at(shm, shard->hold);
        entry->state = shard->hold_state;
    }
    keep_order();
    shard->cell = 0;
}

/* As pthread_mutex_lock, but looks again by itself: a worker that is killed after it was woken and
 * before it holds the lock takes the wake-up with it, and where another came in between nobody is
 * woken any more (the kernel passes a wake-up on only while the lock is free). */
static int lock_patiently(pthread_mutex_t *mutex)
{
    int err = pthread_mutex_trylock(mutex);
    while (err == EBUSY || err == ETIMEDOUT) {
        struct timespec until;
        mg_require(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
        until.tv_nsec += LOCK_LOOK_NS;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        err = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
    }
    return err;
}

void mg_shard_lock(struct mg_shm *shm, uint32_t index)
{
    struct mg_shard *shard = mg_region_shard(shm, index);
    const int err = lock_patiently(&shard->mutex);
    if (err == EOWNERDEAD) {
        finish_journal(shm, shard);
        mg_require(pthread_mutex_consistent(&shard->mutex) == 0);
    } else {
        mg_require(err == 0);
    }
}

void mg_shard_unlock(struct mg_shm *shm, uint32_t index)
{
    mg_require(pthread_mutex_unlock(&mg_region_shard(shm, index)->mutex) == 0);
}

void mg_shard_write(struct mg_shm *shm, uint32_t index, struct mg_cell *cell,
                    const struct mg_cell *image, struct mg_hold_entry *entry,
                    enum mg_hold_state state)
{
    struct mg_shard *shard = mg_region_shard(shm, index);
    shard->image = *image;
    shard->hold = entry ? mg_region_offset(shm, entry) : 0;
    shard->hold_state = state;
    keep_order();
    shard->cell = mg_region_offset(shm, cell);
    keep_order();
    *cell = *image;
    if (entry) {
        entry->state = state;
    }
    keep_order();
    shard->cell = 0;
}

/* --- look-up -------------------------------------------------------------------------------- */

struct groups {
    uint32_t shard, first, second;
};

static struct groups groups_of(const struct mg_shm *shm, struct mg_cell_key key)
{
    const uint64_t high = key.hash[0] >> 32;
    const uint32_t first = (uint32_t)key.hash[1] % GROUPS;
    const uint32_t step = 1 + (uint32_t)(key.hash[1] >> 32) % (GROUPS - 1);
    return (struct groups){.shard = (uint32_t)((high * shm->head->shards) >> 32),
                           .first = first,
                           .second = (first + step) % GROUPS};
}

static bool touched(const struct mg_shard *shard, uint32_t group)
{
    return shard->touched >> (group / PAGE_GROUPS) & 1;
}

/* Its times are of a clock that has stepped back since. What is held has no time. */
static bool is_void(const struct mg_shm *shm, const struct mg_cell *cell)
{
    return cell->era != shm->head->era && cell->free_at_ms != MG_CELL_HELD;
}

static bool is_free(const struct mg_shm *shm, const struct mg_cell *cell, int64_t now_ms)
{
    return cell->key.hash[0] == 0 || cell->free_at_ms <= now_ms || is_void(shm, cell);
}

static bool chosen_before(const struct mg_cell_place *places, unsigned count,
                          const struct mg_cell *cell)
{
    for (unsigned i = 0; i < count; i++) {
        if (places[i].cell == cell) {
            return true;
        }
    }
    return false;
}

/* What a group has for a key: its cell, or how many places are free and the first of them. */
struct finding {
    struct mg_cell *cell, *free_cell;
    struct mg_cell *own_free_cell; /* expired, of the same limit and class of networks */
    unsigned free_count;
};

static void search_group(const struct mg_shm *shm, uint32_t shard, uint32_t group,
                         const struct mg_cell_ask *ask, int64_t now_ms, struct finding *finding,
                         const struct mg_cell_place *places, unsigned count)
{
    struct mg_cell *cells = mg_region_cell(shm, shard, group * GROUP_CELLS);
    if (!touched(mg_region_shard(shm, shard), group)) {
        /* reading would take the page from the system */
        for (unsigned i = 0; i < GROUP_CELLS; i++) {
            if (!chosen_before(places, count, &cells[i])) {
                finding->free_cell = finding->free_cell ? finding->free_cell : &cells[i];
                finding->free_count++;
            }
        }
        return;
    }
    for (unsigned i = 0; i < GROUP_CELLS; i++) {
        struct mg_cell *cell = &cells[i];
        if (same_key(cell->key, ask->key)) {
            finding->cell = cell;
            return;
        }
        if (is_free(shm, cell, now_ms) && !chosen_before(places, count, cell)) {
            finding->free_cell = finding->free_cell ? finding->free_cell : cell;
            if (cell->key.hash[0] != 0 && cell->limit == ask->record + 1 &&
                cell->network == ask->network) {
                finding->own_free_cell = cell;
            }
            finding->free_count++;
        }
    }
}

static void drop_live(struct mg_shm *shm, const struct mg_cell *cell)
{
    if (cell->limit > 0 && cell->limit <= shm->head->limits) {
        mg_limit_live_drop(shm, cell->limit - 1, cell->network);
    }
}

/* A free place for a new key that the limit may have, else NULL. A place whose expired cell is the
 * limit's own, and the class's, costs it nothing. */
static struct mg_cell *place_for_new(struct mg_shm *shm, struct mg_cell_place *place,
                                     const struct finding *first, const struct finding *second,
                                     int64_t now_ms)
{
    const struct finding *best = second->free_count > first->free_count ? second : first;
    struct mg_limit_record *record = mg_region_limit(shm, place->record);
    if (best->free_cell && mg_limit_live_take(shm, place->record, place->network)) {
        place->reserved = true;
        if (now_ms - record->used_ms > RECORD_USED_MS) {
            __atomic_store_n(&record->used_ms, now_ms, __ATOMIC_RELAXED);
        }
        return best->free_cell;
    }
    return first->own_free_cell ? first->own_free_cell : second->own_free_cell;
}

/* What both groups of the key in `ask` have. Its home shard is locked. */
static struct mg_cell *search(const struct mg_shm *shm, const struct mg_cell_ask *ask,
                              int64_t now_ms, struct finding found[2],
                              const struct mg_cell_place *places, unsigned count)
{
    const struct groups groups = groups_of(shm, ask->key);
    found[0] = found[1] = (struct finding){0};
    search_group(shm, groups.shard, groups.first, ask, now_ms, &found[0], places, count);
    if (!found[0].cell) {
        search_group(shm, groups.shard, groups.second, ask, now_ms, &found[1], places, count);
    }
    return found[0].cell ? found[0].cell : found[1].cell;
}

/* Fills in places[at]; its home shard is locked. Without a cell: there is none, and no room. */
static void find_place(struct mg_shm *shm, const struct mg_cell_ask *ask, int64_t now_ms,
                       struct mg_cell_place *places, unsigned at)
{
    struct mg_cell_place *place = &places[at];
    struct finding found[2];
    place->cell = search(shm, ask, now_ms, found, places, at);
    place->fresh = !place->cell || is_void(shm, place->cell);
    if (!place->cell && !ask->peek) {
        place->cell = place_for_new(shm, place, &found[0], &found[1], now_ms);
    }
}

/* --- overflow ------------------------------------------------------------------------------- */

/* A request's keys begin with a tag that is not 0. */
static struct mg_cell_key overflow_key(const struct mg_shm *shm, const struct mg_cell_ask *ask)
{
    const char bytes[2] = {0, (char)ask->network};
    return mg_shm_key_with(shm, mg_region_limit(shm, ask->record)->id,
                           mg_str_make(bytes, sizeof bytes));
}

static bool wants_overflow(const struct mg_cell_ask *ask, const struct mg_cell_place *place)
{
    return !place->cell && !ask->peek && !ask->own_or_none;
}

/* The class's cell in the table, whose shard is locked. */
static void find_overflow(struct mg_shm *shm, const struct mg_cell_ask *ask, uint32_t shard,
                          int64_t now_ms, struct mg_cell_place *places, unsigned at)
{
    struct mg_cell_place *place = &places[at];
    const struct mg_cell_ask own = {.key = overflow_key(shm, ask), .record = ask->record};
    struct finding found[2];
    place->cell = search(shm, &own, now_ms, found, places, at);
    place->fresh = !place->cell || is_void(shm, place->cell);
    if (!place->cell) {
        place->cell = found[0].free_cell ? found[0].free_cell : found[1].free_cell;
    }
    if (place->cell) {
        place->overflow = true;
        place->shard = shard;
        place->key = own.key;
    }
}

/* The cell in the record, whose shard is still to be locked. */
static void use_embedded(struct mg_shm *shm, struct mg_cell_place *place)
{
    place->cell = &mg_region_limit(shm, place->record)->overflow;
    place->shard = mg_region_spare_shard(shm, place->record);
    place->overflow = place->embedded = true;
}

/* --- a decision's locks --------------------------------------------------------------------- */

struct shard_set {
    uint32_t index[3 * MG_CELLS_AT_ONCE];
    unsigned count;
};

/* Keeps the set sorted and without doubles. */
static void add_shard(struct shard_set *set, uint32_t index)
{
    unsigned at = set->count;
    while (at > 0 && set->index[at - 1] >= index) {
        at--;
    }
    if (at < set->count && set->index[at] == index) {
        return;
    }
    memmove(&set->index[at + 1], &set->index[at], (set->count - at) * sizeof set->index[0]);
    set->index[at] = index;
    set->count++;
}

static void lock_set(struct mg_shm *shm, const struct shard_set *set)
{
    for (unsigned i = 0; i < set->count; i++) {
        mg_shard_lock(shm, set->index[i]);
    }
}

/* The embedded cells' locks come last: their shards have the highest indexes. */
static void lock_embedded(struct mg_shm *shm, struct mg_cell_place *places, unsigned count)
{
    struct shard_set set = {.count = 0};
    for (unsigned i = 0; i < count; i++) {
        if (places[i].embedded) {
            add_shard(&set, places[i].shard);
        }
    }
    lock_set(shm, &set);
    for (unsigned i = 0; i < count; i++) {
        if (places[i].embedded) {
            const struct mg_cell *cell = places[i].cell;
            places[i].fresh = cell->key.hash[0] == 0 || is_void(shm, cell);
        }
    }
}

/* Locks the home shards, and those in set, and finds the keys' own places; true: each that needs
 * one has one. */
static bool lock_own(struct mg_shm *shm, const struct mg_cell_ask *asks, unsigned count,
                     int64_t now_ms, struct shard_set *set, struct mg_cell_place *places)
{
    for (unsigned i = 0; i < count; i++) {
        const uint32_t home = groups_of(shm, asks[i].key).shard;
        places[i] = (struct mg_cell_place){.shard = home,
                                           .home = home,
                                           .extra = home,
                                           .record = asks[i].record,
                                           .network = asks[i].network,
                                           .key = asks[i].key};
        add_shard(set, home);
    }
    lock_set(shm, set);
    bool complete = true;
    for (unsigned i = 0; i < count; i++) {
        find_place(shm, &asks[i], now_ms, places, i);
        complete &= !wants_overflow(&asks[i], &places[i]);
    }
    return complete;
}

/* Some key has no place: all is locked anew together with the shards of the classes' overflow
 * cells, for locks are taken in order only. A key that lost its place meanwhile gets the embedded
 * one. */
static void lock_with_overflow(struct mg_shm *shm, const struct mg_cell_ask *asks, unsigned count,
                               int64_t now_ms, struct mg_cell_place *places)
{
    struct shard_set set;
    set.count = 0;
    uint32_t extra[MG_CELLS_AT_ONCE];
    bool prepared[MG_CELLS_AT_ONCE];
    for (unsigned i = 0; i < count; i++) {
        prepared[i] = wants_overflow(&asks[i], &places[i]);
        if (prepared[i]) {
            extra[i] = groups_of(shm, overflow_key(shm, &asks[i])).shard;
            add_shard(&set, extra[i]);
        }
    }
    mg_cells_unlock(shm, places, count);
    lock_own(shm, asks, count, now_ms, &set, places);
    for (unsigned i = 0; i < count; i++) {
        places[i].extra = prepared[i] ? extra[i] : places[i].extra;
        if (!wants_overflow(&asks[i], &places[i])) {
            continue;
        }
        if (prepared[i]) {
            find_overflow(shm, &asks[i], extra[i], now_ms, places, i);
        }
        if (!places[i].cell) {
            use_embedded(shm, &places[i]);
        }
        struct mg_limit_record *record = mg_region_limit(shm, asks[i].record);
        __atomic_add_fetch(&record->overflowed, 1, __ATOMIC_RELAXED);
    }
    lock_embedded(shm, places, count);
}

void mg_cells_lock(struct mg_shm *shm, const struct mg_cell_ask *asks, unsigned count,
                   int64_t now_ms, struct mg_cell_place *places)
{
    struct shard_set set; /* not cleared as a whole: every decision comes through here */
    set.count = 0;
    if (!lock_own(shm, asks, count, now_ms, &set, places)) {
        lock_with_overflow(shm, asks, count, now_ms, places);
    }
}

void mg_cells_write(struct mg_shm *shm, struct mg_cell_place *place, struct mg_cell *image,
                    uint32_t worker, uint32_t hold)
{
    const bool is_new = place->fresh && !place->embedded && !same_key(place->cell->key, place->key);
    image->key = place->key;
    image->limit = place->overflow || place->embedded ? 0 : (place->record + 1) & 0xffffff;
    image->network = is_new ? place->network : place->cell->network;
    image->era = shm->head->era;
    struct mg_hold_entry *entry = NULL;
    if (hold != 0) {
        entry = &mg_region_ledger(shm, worker)->entries[hold];
        entry->cell = mg_region_offset(shm, place->cell);
        entry->shard = place->shard;
        keep_order();
    }
    if (is_new) {
        const uint32_t page =
            (uint32_t)(place->cell - mg_region_cell(shm, place->shard, 0)) / MG_PAGE_CELLS;
        mg_region_shard(shm, place->shard)->touched |= 1U << page;
    }
    const struct mg_cell before = *place->cell;
    mg_shard_write(shm, place->shard, place->cell, image, entry, MG_HOLD_HELD);
    if (is_new && (place->reserved || place->overflow)) {
        drop_live(shm, &before);
    }
    place->reserved = place->fresh = false;
}

void mg_cells_empty(struct mg_shm *shm, struct mg_cell_place *place)
{
    const struct mg_cell before = *place->cell;
    mg_shard_write(shm, place->shard, place->cell, &(struct mg_cell){0}, NULL, MG_HOLD_FREE);
    drop_live(shm, &before);
}

void mg_cells_unlock(struct mg_shm *shm, struct mg_cell_place *places, unsigned count)
{
    struct shard_set set;
    set.count = 0;
    for (unsigned i = 0; i < count; i++) {
        if (places[i].reserved) {
            mg_limit_live_drop(shm, places[i].record, places[i].network);
        }
        add_shard(&set, places[i].shard);
        add_shard(&set, places[i].home);
        add_shard(&set, places[i].extra);
    }
    for (unsigned i = set.count; i > 0; i--) {
        mg_shard_unlock(shm, set.index[i - 1]);
    }
}

static struct mg_cell *own_of_group(const struct mg_shm *shm, uint32_t shard, uint32_t group,
                                    struct mg_cell_key key)
{
    struct mg_cell *cell = mg_region_cell(shm, shard, group * GROUP_CELLS);
    if (!touched(mg_region_shard(shm, shard), group)) {
        return NULL;
    }
    for (unsigned i = 0; i < GROUP_CELLS; i++, cell++) {
        if (same_key(cell->key, key)) {
            return cell;
        }
    }
    return NULL;
}

struct mg_cell *mg_cell_lock_own(struct mg_shm *shm, struct mg_cell_key key, uint32_t *shard)
{
    const struct groups groups = groups_of(shm, key);
    mg_shard_lock(shm, groups.shard);
    struct mg_cell *cell = own_of_group(shm, groups.shard, groups.first, key);
    cell = cell ? cell : own_of_group(shm, groups.shard, groups.second, key);
    if (!cell || cell->era != shm->head->era) {
        mg_shard_unlock(shm, groups.shard);
        return NULL;
    }
    *shard = groups.shard;
    return cell;
}

void mg_cell_write_own(struct mg_shm *shm, uint32_t shard, struct mg_cell *cell, uint32_t record,
                       const int64_t state[4], int64_t free_at_ms)
{
    struct mg_cell image = *cell;
    image.limit = (record + 1) & 0xffffff;
    image.free_at_ms = free_at_ms;
    memcpy(image.state, state, sizeof image.state);
    mg_shard_write(shm, shard, cell, &image, NULL, MG_HOLD_HELD);
}

void mg_cell_unlock_own(struct mg_shm *shm, uint32_t shard)
{
    mg_shard_unlock(shm, shard);
}

void mg_cell_lock_embedded(struct mg_shm *shm, struct mg_cell *cell, uint32_t record,
                           struct mg_cell_place *place)
{
    const uint32_t shard = mg_region_spare_shard(shm, record);
    mg_shard_lock(shm, shard);
    *place = (struct mg_cell_place){.cell = cell,
                                    .shard = shard,
                                    .home = shard,
                                    .extra = shard,
                                    .record = record,
                                    .key = {.hash = {1, 0}},
                                    .fresh = cell->key.hash[0] == 0,
                                    .embedded = true};
}

/* --- sweep ---------------------------------------------------------------------------------- */

/* Empties the page's expired cells under the lock. Forgets a page that has none left, so that the
 * next sweeps need not read it. */
static uint32_t sweep_page(struct mg_shm *shm, uint32_t index, uint32_t page, int64_t now_ms)
{
    uint32_t freed = 0, alive = 0;
    mg_shard_lock(shm, index);
    struct mg_cell *cells = mg_region_cell(shm, index, page * MG_PAGE_CELLS);
    for (unsigned i = 0; i < MG_PAGE_CELLS; i++) {
        if (cells[i].key.hash[0] == 0) {
            continue;
        }
        if (!is_free(shm, &cells[i], now_ms)) {
            alive++;
            mg_limit_record_swept(shm, &cells[i], now_ms);
            continue;
        }
        const struct mg_cell before = cells[i];
        mg_shard_write(shm, index, &cells[i], &(struct mg_cell){0}, NULL, MG_HOLD_FREE);
        drop_live(shm, &before);
        freed++;
    }
    if (alive == 0) {
        mg_region_shard(shm, index)->touched &= ~(1U << page);
    }
    mg_shard_unlock(shm, index);
    return freed;
}

uint32_t mg_cells_sweep(struct mg_shm *shm, int64_t now_ms)
{
    const uint32_t shard_pages = MG_SHARD_CELLS / MG_PAGE_CELLS;
    const uint32_t pages = shm->head->shards * shard_pages;
    uint32_t at = shm->head->sweep_page % pages, freed = 0;
    for (uint32_t n = (pages + SWEEP_PARTS - 1) / SWEEP_PARTS; n > 0; n--) {
        const uint32_t index = at / shard_pages, page = at % shard_pages;
        const struct mg_shard *shard = mg_region_shard(shm, index);
        /* a hint only: a page missed now is found next time */
        if (__atomic_load_n(&shard->touched, __ATOMIC_RELAXED) >> page & 1) {
            freed += sweep_page(shm, index, page, now_ms);
        }
        at = at + 1 == pages ? 0 : at + 1;
        if (at == 0) {
            mg_limit_records_swept(shm);
        }
    }
    shm->head->sweep_page = at;
    return freed;
}
