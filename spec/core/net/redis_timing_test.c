/* SPDX-License-Identifier: Apache-2.0 */
/* How long commands take, by store. */
#include "net/redis_timing.h"

#include "base/shm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void workers_count_in_one_histogram_a_store(void **state)
{
    (void)state;
    struct mg_shm *shm;
    struct mg_redis_timing first, second, other;
    assert_int_equal(mg_shm_create(16 << 20, 2, &shm), 0);
    const int metric = mg_redis_timing_define(shm);
    assert_true(metric >= 0);
    mg_redis_timing_open(&first, shm, 0, MG_STR("main"));
    mg_redis_timing_open(&second, shm, 1, MG_STR("main"));
    mg_redis_timing_open(&other, shm, 1, MG_STR("other"));
    assert_int_equal(first.series, second.series);
    assert_int_not_equal(first.series, other.series);
    mg_redis_timing_observe(&first, 500); /* the first bound itself */
    mg_redis_timing_observe(&second, 501);
    mg_redis_timing_observe(&other, 20000000); /* above all */
    const uint32_t buckets = mg_metric_record(shm, (uint32_t)metric)->bound_count + 1;
    const uint32_t words[] = {first.series, first.series + 1, other.series + buckets - 1};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        assert_float_equal(mg_metric_sum(shm, (uint32_t)metric, words[i], true), 1, 0);
    }
    assert_float_equal(mg_metric_sum(shm, (uint32_t)metric, first.series + buckets, false),
                       0.001001, 1e-9);
    mg_shm_close(shm);
}

static void without_shared_memory_nothing_is_counted(void **state)
{
    (void)state;
    struct mg_redis_timing timing;
    mg_redis_timing_open(&timing, NULL, 0, MG_STR("main"));
    assert_null(timing.shm);
    mg_redis_timing_observe(&timing, 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_count_in_one_histogram_a_store),
        cmocka_unit_test(without_shared_memory_nothing_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
