/* SPDX-License-Identifier: Apache-2.0 */
/* Records of upstreams and targets: found again by name, kept apart, given to others when unused;
 * and the lease of who checks. */
#include "base/shm.h"
#include "base/shm_upstreams.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MIB (1024 * 1024)
#define HOUR_MS 3600000U

static struct mg_shm *new_region(void)
{
    struct mg_shm *shm;
    assert_int_equal(mg_shm_create(8 * MIB, 2, &shm), 0);
    return shm;
}

static void a_record_is_found_again_by_its_name(void **state)
{
    (void)state;
    struct mg_shm *shm = new_region();
    struct mg_upstream_opening opening = {.shm = shm, .generation = 1, .now_ms = 1000};
    const int orders = mg_upstream_record_open(&opening, MG_STR("orders"));
    const int users = mg_upstream_record_open(&opening, MG_STR("users"));
    assert_true(orders >= 0 && users >= 0 && orders != users);
    mg_upstream_record(shm, (uint32_t)orders)->first_tries = 7;
    opening.generation = 2;
    assert_int_equal(mg_upstream_record_open(&opening, MG_STR("orders")), orders);
    const struct mg_upstream_record *record = mg_upstream_record(shm, (uint32_t)orders);
    assert_string_equal(record->head.name, "orders");
    assert_int_equal(record->first_tries, 7);
    assert_int_equal(record->head.generation, 2);
    assert_int_equal(mg_upstream_record_index(shm, record), orders);
    const struct mg_upstream_record elsewhere = {.budget = 0};
    assert_int_equal(mg_upstream_record_index(shm, &elsewhere), -1);
    mg_shm_close(shm);
}

static void a_target_belongs_to_its_upstream(void **state)
{
    (void)state;
    struct mg_shm *shm = new_region();
    const struct mg_upstream_opening opening = {.shm = shm, .generation = 1, .now_ms = 1000};
    const uint32_t a = (uint32_t)mg_upstream_record_open(&opening, MG_STR("a"));
    const uint32_t b = (uint32_t)mg_upstream_record_open(&opening, MG_STR("b"));
    const int first = mg_target_record_open(&opening, a, MG_STR("10.0.0.1:80"));
    const int second = mg_target_record_open(&opening, b, MG_STR("10.0.0.1:80"));
    assert_true(first >= 0 && second >= 0 && first != second);
    assert_int_equal(mg_target_record_open(&opening, a, MG_STR("10.0.0.1:80")), first);
    assert_int_equal(mg_target_record(shm, (uint32_t)first)->upstream, a);
    assert_int_equal(mg_target_record(shm, (uint32_t)second)->upstream, b);
    mg_shm_close(shm);
}

static void a_full_table_takes_new_ones_when_old_ones_are_unused(void **state)
{
    (void)state;
    struct mg_shm *shm = new_region();
    const uint32_t places = mg_upstream_records(shm);
    struct mg_upstream_opening opening = {.shm = shm, .generation = 1, .now_ms = 1000};
    char name[32];
    uint32_t refused = 0;
    for (uint32_t i = 0; i < 2 * places; i++) {
        const int length = snprintf(name, sizeof name, "u%u", i);
        refused += mg_upstream_record_open(&opening, mg_str_make(name, (size_t)length)) < 0;
    }
    assert_in_range(refused, places, places + places / 4);
    const int length = snprintf(name, sizeof name, "late");
    assert_int_equal(mg_upstream_record_open(&opening, mg_str_make(name, (size_t)length)),
                     MG_EFULL);
    opening.now_ms += HOUR_MS + 1;
    const int late = mg_upstream_record_open(&opening, mg_str_make(name, (size_t)length));
    assert_true(late >= 0);
    assert_string_equal(mg_upstream_record(shm, (uint32_t)late)->head.name, "late");
    mg_shm_close(shm);
}

static void names_are_cut_and_still_differ(void **state)
{
    (void)state;
    struct mg_shm *shm = new_region();
    const struct mg_upstream_opening opening = {.shm = shm, .generation = 1, .now_ms = 1000};
    char name[200];
    memset(name, 'n', sizeof name);
    const int first = mg_upstream_record_open(&opening, mg_str_make(name, 199));
    const int second = mg_upstream_record_open(&opening, mg_str_make(name, 200));
    assert_true(first >= 0 && second >= 0 && first != second);
    assert_int_equal(strlen(mg_upstream_record(shm, (uint32_t)first)->head.name),
                     MG_UPSTREAM_NAME - 1);
    mg_shm_close(shm);
}

static void one_worker_has_the_lease_until_it_is_over_or_given_up(void **state)
{
    (void)state;
    struct mg_shm *shm = new_region();
    assert_true(mg_check_lease_take(shm, 0, 1000, 2000));
    assert_false(mg_check_lease_take(shm, 1, 1000, 2000));
    assert_true(mg_check_lease_take(shm, 0, 2000, 2000)); /* renewed */
    assert_false(mg_check_lease_take(shm, 1, 3999, 2000));
    assert_false(mg_check_lease_take(shm, 1, 3999, 0)); /* not its own to give up */
    assert_false(mg_check_lease_take(shm, 1, 3999, 2000));
    assert_true(mg_check_lease_take(shm, 1, 4000, 2000));
    assert_false(mg_check_lease_take(shm, 0, 4001, 2000));
    assert_false(mg_check_lease_take(shm, 1, 4002, 0));
    assert_true(mg_check_lease_take(shm, 0, 4003, 2000));
    mg_shm_close(shm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_found_again_by_its_name),
        cmocka_unit_test(a_target_belongs_to_its_upstream),
        cmocka_unit_test(a_full_table_takes_new_ones_when_old_ones_are_unused),
        cmocka_unit_test(names_are_cut_and_still_differ),
        cmocka_unit_test(one_worker_has_the_lease_until_it_is_over_or_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
