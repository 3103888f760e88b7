/* SPDX-License-Identifier: Apache-2.0 */
/* base/shm_keyed: records of breakers by key. */
#include "base/shm_keyed.h"

#include "base/shm.h"
#include "base/shm_cells.h"
#include "support/workers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW INT64_C(1700000000000)
#define MAX_KEYS 1024
#define FORGET_MS 10000

struct table {
    struct mg_shm *shm;
    uint32_t owner;
};

static struct mg_breaker_record *owner_of(struct table *table)
{
    return mg_breaker_record(table->shm, table->owner);
}

static int setup(void **state)
{
    struct table *table = calloc(1, sizeof *table);
    const struct mg_shm_wish wish = {.workers = 4, .keyed = MAX_KEYS};
    assert_int_equal(mg_shm_create_with(mg_shm_bytes_needed(&wish), &wish, &table->shm), 0);
    const int owner = mg_breaker_record_open(table->shm, MG_STR("key:all"), NOW);
    assert_true(owner >= 0);
    table->owner = (uint32_t)owner;
    owner_of(table)->forget_ms = FORGET_MS;
    *state = table;
    return 0;
}

static int teardown(void **state)
{
    struct table *table = *state;
    mg_shm_close(table->shm);
    free(table);
    return 0;
}

static int open_key(struct table *table, unsigned number, uint32_t max_keys, int64_t now_ms)
{
    char text[16];
    const int length = snprintf(text, sizeof text, "k%u", number);
    const struct mg_cell_key key =
        mg_shm_key_with(table->shm, owner_of(table)->id, mg_str_make(text, (size_t)length));
    return mg_keyed_open(table->shm, table->owner, key, max_keys, now_ms);
}

static void a_key_has_one_record(void **state)
{
    struct table *table = *state;
    const int a = open_key(table, 1, 16, NOW), b = open_key(table, 2, 16, NOW);
    assert_true(a > 0 && b > 0 && a != b);
    assert_int_equal(open_key(table, 1, 16, NOW + 1), a);
    assert_int_equal(owner_of(table)->keys, 2);
    const struct mg_breaker_record *record = mg_breaker_record(table->shm, (uint32_t)a);
    assert_string_equal(record->name, "key:all");
    assert_ptr_equal(record - record->owner_back, owner_of(table));
}

static void b4_a_hundred_thousand_keys_take_no_more_than_their_number(void **state)
{
    struct table *table = *state;
    unsigned placed = 0;
    int first[MAX_KEYS];
    for (unsigned i = 0; i < 100000; i++) {
        const int index = open_key(table, i, MAX_KEYS, NOW);
        placed += index >= 0;
        if (i < MAX_KEYS) {
            first[i] = index;
        }
    }
    assert_int_equal(placed, MAX_KEYS);
    assert_int_equal(owner_of(table)->keys, MAX_KEYS);
    unsigned without = 0;
    for (unsigned i = 0; i < MAX_KEYS; i++) { /* who was there first is there still */
        without += first[i] < 0;
        assert_int_equal(open_key(table, i, MAX_KEYS, NOW), first[i]);
    }
    assert_true(without <= 2); /* both groups full before all were in use */
}

static void what_is_idle_makes_room_and_what_is_not_stays(void **state)
{
    struct table *table = *state;
    for (unsigned i = 0; i < 16; i++) {
        assert_true(open_key(table, i, 16, NOW) >= 0);
    }
    const int busy = open_key(table, 0, 16, NOW);
    mg_breaker_record(table->shm, (uint32_t)busy)->state = 1; /* OPEN */
    assert_int_equal(open_key(table, 100, 16, NOW + FORGET_MS), MG_EFULL);
    for (int tick = 0; tick < 8; tick++) {
        mg_keyed_sweep(table->shm, NOW + FORGET_MS + 1);
    }
    assert_int_equal(owner_of(table)->keys, 1);
    assert_int_equal(open_key(table, 0, 16, NOW + FORGET_MS + 1), busy);
    for (int tick = 0; tick < 8; tick++) {
        mg_keyed_sweep(table->shm, NOW + 2 * FORGET_MS + 3600002);
    }
    assert_int_equal(owner_of(table)->keys, 0); /* nobody has asked for an hour */
}

static void a_record_with_probes_is_never_taken(void **state)
{
    struct table *table = *state;
    const int index = open_key(table, 1, 16, NOW);
    mg_breaker_record(table->shm, (uint32_t)index)->probes.state[0] = 1;
    for (int tick = 0; tick < 8; tick++) {
        mg_keyed_sweep(table->shm, NOW + 7200000);
    }
    assert_int_equal(owner_of(table)->keys, 1);
    assert_int_equal(open_key(table, 1, 16, NOW + 7200000), index);
}

static void count_record(void *context, const struct mg_breaker_record *record)
{
    (void)record;
    ++*(unsigned *)context;
}

static void an_owner_has_its_own_records_only(void **state)
{
    struct table *table = *state, other = *table;
    const int index = mg_breaker_record_open(table->shm, MG_STR("key:other"), NOW);
    other.owner = (uint32_t)index;
    for (unsigned i = 0; i < 10; i++) {
        assert_int_not_equal(open_key(table, i, 16, NOW), open_key(&other, i, 16, NOW));
    }
    mg_keyed_drop(table->shm, table->owner);
    assert_int_equal(owner_of(table)->keys, 0);
    unsigned mine = 0, others = 0;
    mg_keyed_each(table->shm, table->owner, count_record, &mine);
    mg_keyed_each(table->shm, other.owner, count_record, &others);
    assert_int_equal(mine, 0);
    assert_int_equal(others, 10);
}

static void there_is_no_place_where_none_was_planned(void **state)
{
    (void)state;
    struct table table;
    assert_int_equal(mg_shm_create(16 << 20, 1, &table.shm), 0);
    table.owner = (uint32_t)mg_breaker_record_open(table.shm, MG_STR("key:all"), NOW);
    assert_int_equal(open_key(&table, 1, 16, NOW), MG_EFULL);
    mg_keyed_sweep(table.shm, NOW);
    mg_shm_close(table.shm);
}

static bool open_many(void *context, uint32_t worker)
{
    struct table *table = context;
    bool good = true;
    for (unsigned i = 0; i < 20000; i++) {
        const unsigned number = (i * 7 + worker) % 500;
        const int index = open_key(table, number, MAX_KEYS, NOW);
        good = good && index >= 0 && open_key(table, number, MAX_KEYS, NOW) == index;
    }
    return good;
}

static void many_workers_find_the_same_records(void **state)
{
    struct table *table = *state;
    struct workers workers;
    workers_start(&workers, 4, open_many, table);
    assert_true(workers_wait(&workers));
    assert_int_equal(owner_of(table)->keys, 500);
}

static void a_region_whose_record_leads_out_of_it_is_refused(void **state)
{
    struct table *table = *state;
    struct mg_shm *again = NULL;
    const int index = open_key(table, 1, 16, NOW);
    int fd = dup(mg_shm_fd(table->shm));
    assert_int_equal(mg_shm_attach(fd, &again), 0);
    mg_shm_close(again);
    mg_breaker_record(table->shm, (uint32_t)index)->owner_back = 1000000;
    fd = dup(mg_shm_fd(table->shm));
    assert_int_equal(mg_shm_attach(fd, &again), MG_EINVALID);
    close(fd);
}

int main(void)
{
#define WITH_TABLE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_TABLE(a_key_has_one_record),
        WITH_TABLE(b4_a_hundred_thousand_keys_take_no_more_than_their_number),
        WITH_TABLE(what_is_idle_makes_room_and_what_is_not_stays),
        WITH_TABLE(a_record_with_probes_is_never_taken),
        WITH_TABLE(an_owner_has_its_own_records_only),
        cmocka_unit_test(there_is_no_place_where_none_was_planned),
        WITH_TABLE(many_workers_find_the_same_records),
        WITH_TABLE(a_region_whose_record_leads_out_of_it_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
