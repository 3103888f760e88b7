/* SPDX-License-Identifier: Apache-2.0 */
/* base/shm_named: records of breakers follow the configuration. */
#include "base/shm_named.h"

#include "base/shm.h"
#include "base/shm_keyed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW INT64_C(1700000000000)

static int setup(void **state)
{
    struct mg_shm *shm = NULL;
    const struct mg_shm_wish wish = {.workers = 1, .keyed = 64};
    assert_int_equal(mg_shm_create_with(mg_shm_bytes_needed(&wish), &wish, &shm), 0);
    *state = shm;
    return 0;
}

static int teardown(void **state)
{
    mg_shm_close(*state);
    return 0;
}

static void names_that_are_new_get_records_and_others_lose_theirs(void **state)
{
    struct mg_shm *shm = *state;
    const mg_str before[] = {MG_STR("a"), MG_STR("b"), MG_STR("c")};
    const mg_str after[] = {MG_STR("d"), MG_STR("c"), MG_STR("a")};
    mg_breaker_records_follow(shm, before, 3, NOW);
    const int a = mg_breaker_record_find(shm, MG_STR("a"));
    const int b = mg_breaker_record_find(shm, MG_STR("b"));
    assert_true(a >= 0 && b >= 0 && a != b);
    mg_breaker_record(shm, (uint32_t)a)->counters[0] = 7;
    mg_breaker_records_follow(shm, after, 3, NOW + 1);
    assert_int_equal(mg_breaker_record_find(shm, MG_STR("a")), a);
    assert_int_equal(mg_breaker_record(shm, (uint32_t)a)->counters[0], 7);
    assert_int_equal(mg_breaker_record_find(shm, MG_STR("b")), -1);
    assert_int_equal(mg_breaker_record_find(shm, MG_STR("d")), b); /* its place */
    mg_breaker_records_follow(shm, NULL, 0, NOW + 2);
    assert_int_equal(mg_breaker_record_find(shm, MG_STR("a")), -1);
}

static void a_record_that_goes_takes_those_by_key_along(void **state)
{
    struct mg_shm *shm = *state;
    const mg_str name = MG_STR("key:all");
    mg_breaker_records_follow(shm, &name, 1, NOW);
    const uint32_t owner = (uint32_t)mg_breaker_record_find(shm, name);
    const struct mg_cell_key key = {.hash = {1, 2}};
    const int index = mg_keyed_open(shm, owner, key, 16, NOW);
    assert_true(index >= 0);
    mg_breaker_records_follow(shm, NULL, 0, NOW);
    assert_null(mg_breaker_record(shm, (uint32_t)index));
}

static void what_has_no_room_is_left_out(void **state)
{
    struct mg_shm *shm = *state;
    struct mg_shm_room room;
    mg_shm_room(shm, &room);
    const size_t count = room.breakers + 10;
    mg_str *names = calloc(count, sizeof *names);
    char(*texts)[32] = calloc(count, sizeof *texts);
    for (size_t i = 0; i < count; i++) {
        snprintf(texts[i], sizeof texts[i], "route:%zu", i);
        names[i] = mg_str_from(texts[i]);
    }
    mg_breaker_records_follow(shm, names, count, NOW);
    unsigned there = 0;
    for (size_t i = 0; i < count; i++) {
        there += mg_breaker_record_find(shm, names[i]) >= 0;
    }
    assert_int_equal(there, room.breakers);
    free(names);
    free(texts);
}

int main(void)
{
#define WITH_REGION(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_REGION(names_that_are_new_get_records_and_others_lose_theirs),
        WITH_REGION(a_record_that_goes_takes_those_by_key_along),
        WITH_REGION(what_has_no_room_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
