/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/shm_cells: locks whose owner is killed, the journal, ledgers, how far the table fills. The
 * private header is used to stop a process in the middle of a write, which no public call does.
 */
#include "base/shm_cells.h"

#include "base/shm_limits.h"

#include "base/shm.h"
#include "base/shm_region.h"
#include "support/workers.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/futex.h>

#define NOW 1000000

static int setup(void **state)
{
    return mg_shm_create(16 << 20, 2, (struct mg_shm **)state);
}

static int teardown(void **state)
{
    mg_shm_close(*state);
    return 0;
}

static uint32_t open_limit(struct mg_shm *shm, uint32_t max_keys)
{
    const struct mg_limit_opening opening = {
        .id = mg_shm_key(shm, MG_STR("l")), .name = MG_STR("l"), .max_keys = max_keys};
    const int record = mg_limit_record_open(shm, &opening, NOW);
    assert_true(record >= 0);
    return (uint32_t)record;
}

static struct mg_cell_ask ask_of(struct mg_shm *shm, unsigned key)
{
    char text[32];
    snprintf(text, sizeof text, "key %u", key);
    return (struct mg_cell_ask){.key = mg_shm_key(shm, mg_str_from(text)),
                                .record = 0,
                                .network = (uint8_t)(key % MG_NETWORKS)};
}

/* Writes state[0] = value for the key. */
static void put(struct mg_shm *shm, unsigned key, int64_t value, uint32_t worker, uint32_t hold)
{
    const struct mg_cell_ask ask = ask_of(shm, key);
    struct mg_cell_place place;
    struct mg_cell image = {.state = {value}, .free_at_ms = MG_CELL_HELD};
    mg_cells_lock(shm, &ask, 1, NOW, &place);
    mg_cells_write(shm, &place, &image, worker, hold);
    mg_cells_unlock(shm, &place, 1);
}

/* state[0] of the key, or -1 when nothing is known of it. */
static int64_t get(struct mg_shm *shm, unsigned key)
{
    const struct mg_cell_ask ask = ask_of(shm, key);
    struct mg_cell_place place;
    mg_cells_lock(shm, &ask, 1, NOW, &place);
    const int64_t value = place.fresh ? -1 : place.cell->state[0];
    mg_cells_unlock(shm, &place, 1);
    return value;
}

static void what_is_written_is_found_again(void **state)
{
    open_limit(*state, 4096);
    for (unsigned key = 0; key < 4000; key++) {
        assert_int_equal(get(*state, key), -1);
        put(*state, key, key, 0, 0);
    }
    for (unsigned key = 0; key < 4000; key++) {
        assert_int_equal(get(*state, key), key);
    }
}

static bool die_inside(void *context, uint32_t index)
{
    const struct mg_cell_ask ask = ask_of(context, index);
    struct mg_cell_place place;
    mg_cells_lock(context, &ask, 1, NOW, &place);
    kill(getpid(), SIGKILL);
    return false;
}

static void a_lock_of_a_killed_process_is_taken_over(void **state)
{
    open_limit(*state, 4096);
    put(*state, 0, 41, 0, 0);
    struct workers workers;
    workers_start(&workers, 1, die_inside, *state);
    assert_false(workers_wait(&workers));
    assert_int_equal(get(*state, 0), 41);
    put(*state, 0, 42, 0, 0);
    assert_int_equal(get(*state, 0), 42);
}

/* Dies at a chosen step of a journalled write that charges a cell and marks the entry held. */
struct crash {
    struct mg_shm *shm;
    int step;
};

static bool die_while_writing(void *context, uint32_t index)
{
    struct crash *crash = context;
    struct mg_shm *shm = crash->shm;
    const struct mg_cell_ask ask = ask_of(shm, 0);
    struct mg_cell_place place;
    const uint32_t hold = mg_hold_take(shm, index, 1);
    struct mg_hold_entry *entry = &mg_region_ledger(shm, index)->entries[hold];
    mg_cells_lock(shm, &ask, 1, NOW, &place);
    struct mg_shard *shard = mg_region_shard(shm, place.shard);
    entry->cell = mg_region_offset(shm, place.cell);
    entry->shard = place.shard;
    shard->image = *place.cell;
    shard->image.state[0]++;
    shard->hold = mg_region_offset(shm, entry);
    shard->hold_state = MG_HOLD_HELD;
    if (crash->step >= 1) {
        shard->cell = mg_region_offset(shm, place.cell);
    }
    if (crash->step >= 2) { /* half of the cell */
        memcpy(place.cell, &shard->image, sizeof shard->image / 2);
    }
    if (crash->step >= 3) {
        *place.cell = shard->image;
    }
    if (crash->step >= 4) {
        entry->state = MG_HOLD_HELD;
    }
    if (crash->step >= 5) {
        shard->cell = 0;
    }
    kill(getpid(), SIGKILL);
    return false;
}

static void a_write_is_done_wholly_or_not_at_all_wherever_it_is_killed(void **state)
{
    open_limit(*state, 4096);
    put(*state, 0, 3, 1, 0);
    for (int step = 0; step <= 5; step++) {
        for (int master_first = 0; master_first < 2; master_first++) {
            struct crash crash = {.shm = *state, .step = step};
            struct workers workers;
            workers_start(&workers, 1, die_while_writing, &crash);
            assert_false(workers_wait(&workers));
            if (!master_first) { /* another worker meets the lock before the master does */
                assert_int_equal(get(*state, 0), step == 0 ? 3 : 4);
            }
            assert_int_equal(mg_shm_worker_died(*state, 0), step == 0 ? 0 : 1);
            assert_int_equal(get(*state, 0), 3);
            assert_int_equal(mg_holds_count(*state, 0), 0);
        }
    }
}

/* Dies in a give-back after the entry is free, before the journal is closed. */
static bool die_while_giving_back(void *context, uint32_t index)
{
    struct mg_shm *shm = context;
    const uint32_t hold = mg_hold_take(shm, index, 1);
    put(shm, 0, get(shm, 0) + 1, index, hold);
    struct mg_hold_entry *entry = &mg_region_ledger(shm, index)->entries[hold];
    mg_shard_lock(shm, entry->shard);
    struct mg_shard *shard = mg_region_shard(shm, entry->shard);
    struct mg_cell *cell = mg_region_at(shm, entry->cell);
    cell->state[0]--;
    shard->image = *cell;
    shard->hold = mg_region_offset(shm, entry);
    shard->hold_state = MG_HOLD_FREE;
    shard->cell = entry->cell;
    entry->state = MG_HOLD_FREE;
    kill(getpid(), SIGKILL);
    return false;
}

static void an_open_journal_never_touches_a_later_owner_of_the_entry(void **state)
{
    struct mg_shm *shm = *state;
    open_limit(shm, 4096);
    put(shm, 0, 5, 1, 0);
    struct workers workers;
    workers_start(&workers, 1, die_while_giving_back, shm);
    assert_false(workers_wait(&workers));
    assert_int_equal(mg_shm_worker_died(shm, 0), 0);
    const uint32_t hold = mg_hold_take(shm, 0, 1); /* the same entry, another cell */
    put(shm, 1, 1, 0, hold);
    assert_int_equal(get(shm, 0), 5); /* would finish the journal now, had it been left open */
    assert_int_equal(mg_holds_count(shm, 0), 1);
    assert_int_equal(mg_shm_worker_died(shm, 0), 1);
    assert_int_equal(get(shm, 1), 0);
}

static void one_key_in_fifty_finds_no_place_in_a_table_that_is_full_to_four_fifths(void **state)
{
    struct mg_shm *shm = *state;
    struct mg_shm_room room;
    mg_shm_room(shm, &room);
    const unsigned keys = (unsigned)((uint64_t)room.cells * 4 / 5);
    open_limit(shm, room.cells);
    unsigned overflowed = 0;
    for (unsigned key = 0; key < keys; key++) {
        const struct mg_cell_ask ask = ask_of(shm, key);
        struct mg_cell_place place;
        struct mg_cell image = {.free_at_ms = MG_CELL_HELD};
        mg_cells_lock(shm, &ask, 1, NOW, &place);
        overflowed += place.overflow;
        mg_cells_write(shm, &place, &image, 0, 0);
        mg_cells_unlock(shm, &place, 1);
    }
    assert_true(overflowed * 50 <= keys);
}

static void a_sweep_frees_what_has_expired_and_nothing_else(void **state)
{
    struct mg_shm *shm = *state;
    const uint32_t record = open_limit(shm, 10000);
    for (unsigned key = 0; key < 2000; key++) {
        const struct mg_cell_ask ask = ask_of(shm, key);
        struct mg_cell_place place;
        struct mg_cell image = {.state = {key}, .free_at_ms = NOW + (key % 2 ? 10 : 20)};
        mg_cells_lock(shm, &ask, 1, NOW, &place);
        mg_cells_write(shm, &place, &image, 0, 0);
        mg_cells_unlock(shm, &place, 1);
    }
    uint32_t freed = 0;
    for (int part = 0; part < 8; part++) {
        freed += mg_cells_sweep(shm, NOW + 9);
    }
    assert_int_equal(freed, 0);
    for (int part = 0; part < 8; part++) {
        freed += mg_cells_sweep(shm, NOW + 10);
    }
    assert_int_equal(freed, 1000);
    struct mg_limit_record seen;
    assert_true(mg_limit_record_read(shm, record, &seen));
    assert_int_equal(seen.live, 1000);
    for (unsigned key = 0; key < 2000; key++) {
        assert_int_equal(get(shm, key), key % 2 ? -1 : (int64_t)key);
    }
}

static void memory_is_taken_as_it_is_used(void **state)
{
    struct mg_shm *shm = *state;
    const unsigned page = MG_PAGE_CELLS * sizeof(struct mg_cell);
    open_limit(shm, 10000);
    assert_int_equal(mg_region_offset(shm, mg_region_cell(shm, 0, 0)) % page, 0);
    put(shm, 1, 1, 0, 0);
    unsigned touched = 0;
    for (uint32_t shard = 0; shard < shm->head->shards; shard++) {
        touched += (unsigned)__builtin_popcount(mg_region_shard(shm, shard)->touched);
    }
    assert_int_equal(touched, 1);
}

static void keys_of_two_parts_differ_from_all_others(void **state)
{
    struct mg_shm *shm = *state;
    const struct mg_cell_key a = mg_shm_key(shm, MG_STR("a")), b = mg_shm_key(shm, MG_STR("b"));
    const struct mg_cell_key ax = mg_shm_key_with(shm, a, MG_STR("x"));
    const struct mg_cell_key bx = mg_shm_key_with(shm, b, MG_STR("x"));
    const struct mg_cell_key x = mg_shm_key(shm, MG_STR("x"));
    assert_memory_not_equal(&ax, &bx, sizeof ax);
    assert_memory_not_equal(&ax, &x, sizeof ax);
    const struct mg_cell_key again = mg_shm_key_with(shm, a, MG_STR("x"));
    assert_memory_equal(&ax, &again, sizeof ax);
}

static void another_region_has_other_keys(void **state)
{
    struct mg_shm *other = NULL;
    assert_int_equal(mg_shm_create(16 << 20, 2, &other), 0);
    const struct mg_cell_key here = mg_shm_key(*state, MG_STR("a"));
    const struct mg_cell_key there = mg_shm_key(other, MG_STR("a"));
    assert_memory_not_equal(&here, &there, sizeof here);
    mg_shm_close(other);
}

/* The lock is given back as if the wake-up had gone to somebody who was killed. The words of the
 * C library's mutex are looked at, because no public call loses one. */
static bool wait_or_lose(void *context, uint32_t index)
{
    struct mg_shm *shm = context;
    int *word = &mg_region_shard(shm, 0)->mutex.__data.__lock;
    alarm(60); /* instead of hanging */
    if (index == 0) {
        mg_shard_lock(shm, 0);
        while (!((unsigned)__atomic_load_n(word, __ATOMIC_SEQ_CST) & FUTEX_WAITERS)) {
        }
        usleep(1000); /* it sleeps soon after it has said so */
        __atomic_store_n(word, 0, __ATOMIC_SEQ_CST);
        return true;
    }
    while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == 0) {
    }
    mg_shard_lock(shm, 0);
    mg_shard_unlock(shm, 0);
    return true;
}

static void a_lost_wake_up_does_not_stop_a_worker(void **state)
{
    struct workers workers;
    workers_start(&workers, 2, wait_or_lose, *state);
    assert_true(workers_wait(&workers));
}

int main(void)
{
#define WITH_REGION(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_REGION(what_is_written_is_found_again),
        WITH_REGION(a_lock_of_a_killed_process_is_taken_over),
        WITH_REGION(a_write_is_done_wholly_or_not_at_all_wherever_it_is_killed),
        WITH_REGION(an_open_journal_never_touches_a_later_owner_of_the_entry),
        WITH_REGION(one_key_in_fifty_finds_no_place_in_a_table_that_is_full_to_four_fifths),
        WITH_REGION(a_sweep_frees_what_has_expired_and_nothing_else),
        WITH_REGION(memory_is_taken_as_it_is_used),
        WITH_REGION(keys_of_two_parts_differ_from_all_others),
        WITH_REGION(another_region_has_other_keys),
        WITH_REGION(a_lost_wake_up_does_not_stop_a_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
