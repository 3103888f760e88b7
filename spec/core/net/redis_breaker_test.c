/* SPDX-License-Identifier: Apache-2.0 */
/* The breaker around a store: what opens it, when it is probed and by whom, what closes it. */
#include "net/redis_breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MIDDLE 512 /* a random number that gives the middle of the jitter, near enough */

struct fixture {
    struct mg_store_record record;
    struct mg_redis_breaker breaker, other; /* two workers */
};

static int set_up(void **state)
{
    static struct fixture f;
    const struct mg_redis_breaker breaker = {
        .record = &f.record,
        .rule = {.failures = 5, .within_ms = 1000, .open_ms = 1000, .max_ms = 2000}};
    f = (struct fixture){.breaker = breaker, .other = breaker};
    *state = &f;
    return 0;
}

static bool fail_at(struct fixture *f, uint64_t now_ms)
{
    return mg_redis_breaker_failure(&f->breaker, now_ms, MIDDLE, MG_REDIS_TIMEOUT);
}

static void open_at(struct fixture *f, uint64_t now_ms)
{
    for (int i = 0; i < 4; i++) {
        assert_false(fail_at(f, now_ms));
    }
    assert_false(mg_redis_breaker_is_open(&f->other));
    assert_true(fail_at(f, now_ms));
    assert_true(mg_redis_breaker_is_open(&f->other));
}

static void failures_in_a_row_open_it(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 4; i++) {
        assert_false(fail_at(f, 10000 + i * 5000));
    }
    assert_true(fail_at(f, 40000));
    assert_int_equal(mg_redis_breaker_reason(&f->record), MG_REDIS_TIMEOUT);
    assert_int_equal(f->record.opened, 1);
    assert_false(fail_at(f, 40000)); /* it is open */
}

static void the_time_that_it_was_open_adds_up(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mg_redis_breaker_open_ms(&f->record, 9000), 0);
    open_at(f, 10000);
    assert_int_equal(mg_redis_breaker_open_ms(&f->record, 10500), 500);
    assert_true(mg_redis_breaker_probe(&f->breaker, 12000, 100, false));
    assert_int_equal(mg_redis_breaker_open_ms(&f->record, 12050), 2050);
    mg_redis_breaker_probed(&f->breaker, 12100, MIDDLE, true, MG_REDIS_OK);
    assert_int_equal(mg_redis_breaker_open_ms(&f->record, 50000), 2100);
    open_at(f, 60000);
    assert_int_equal(mg_redis_breaker_open_ms(&f->record, 60001), 2101);
}

static void failures_within_the_time_open_it(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 4; i++) {
        assert_false(fail_at(f, 10000 + i * 200));
        mg_redis_breaker_success(&f->other);
    }
    assert_true(fail_at(f, 10800));
}

static void failures_far_apart_do_not(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 50; i++) {
        assert_false(fail_at(f, 10000 + i * 300));
        mg_redis_breaker_success(&f->other);
    }
}

static void one_worker_probes_when_the_time_is_over(void **state)
{
    struct fixture *f = *state;
    open_at(f, 10000);
    const uint64_t at_ms = mg_redis_breaker_probe_at(&f->other);
    assert_in_range(at_ms, 10900, 11100);
    assert_false(mg_redis_breaker_probe(&f->other, at_ms - 1, 200, false));
    assert_true(mg_redis_breaker_probe(&f->other, at_ms, 200, false));
    assert_false(mg_redis_breaker_probe(&f->breaker, at_ms, 200, false));
    assert_true(mg_redis_breaker_is_open(&f->breaker));
    mg_redis_breaker_probed(&f->other, at_ms + 5, MIDDLE, true, MG_REDIS_OK);
    assert_false(mg_redis_breaker_is_open(&f->breaker));
    assert_int_equal(mg_redis_breaker_probe_at(&f->breaker), 0);
    open_at(f, at_ms + 10); /* what was counted before is forgotten */
}

static void a_probe_that_fails_doubles_the_time(void **state)
{
    struct fixture *f = *state;
    uint64_t now_ms = 10000;
    open_at(f, now_ms);
    for (int i = 0; i < 3; i++) {
        now_ms = mg_redis_breaker_probe_at(&f->breaker);
        assert_true(mg_redis_breaker_probe(&f->breaker, now_ms, 200, false));
        mg_redis_breaker_probed(&f->breaker, now_ms, MIDDLE, false, MG_REDIS_AUTH);
        assert_in_range(mg_redis_breaker_probe_at(&f->breaker) - now_ms, 1800, 2200);
    }
    assert_int_equal(mg_redis_breaker_reason(&f->record), MG_REDIS_AUTH);
}

static void the_probe_of_a_dead_worker_is_taken_over(void **state)
{
    struct fixture *f = *state;
    open_at(f, 10000);
    assert_true(mg_redis_breaker_probe(&f->breaker, 12000, 200, false));
    assert_false(mg_redis_breaker_probe(&f->other, 12199, 200, false));
    assert_true(mg_redis_breaker_probe(&f->other, 12200, 200, false));
    mg_redis_breaker_probed(&f->other, 12201, MIDDLE, true, MG_REDIS_OK);
    mg_redis_breaker_probed(&f->breaker, 12202, MIDDLE, false, MG_REDIS_TIMEOUT); /* too late */
    assert_false(mg_redis_breaker_is_open(&f->other));
}

static void news_allow_an_early_probe(void **state)
{
    struct fixture *f = *state;
    assert_false(mg_redis_breaker_probe(&f->breaker, 10000, 200, true)); /* it is closed */
    open_at(f, 10000);
    assert_true(mg_redis_breaker_probe(&f->breaker, 10001, 200, true));
    assert_false(mg_redis_breaker_probe(&f->other, 10002, 200, true));
}

static void open_times_have_a_jitter(void **state)
{
    struct fixture *f = *state;
    uint64_t least = UINT64_MAX, most = 0;
    for (uint32_t random = 0; random < 1024; random++) {
        f->record = (struct mg_store_record){.opened = 0};
        for (int i = 0; i < 5; i++) {
            (void)mg_redis_breaker_failure(&f->breaker, 10000, random, MG_REDIS_TIMEOUT);
        }
        const uint64_t ms = mg_redis_breaker_probe_at(&f->breaker) - 10000;
        least = ms < least ? ms : least;
        most = ms > most ? ms : most;
    }
    assert_int_equal(least, 900);
    assert_int_equal(most, 1100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(failures_in_a_row_open_it, set_up),
        cmocka_unit_test_setup(failures_within_the_time_open_it, set_up),
        cmocka_unit_test_setup(the_time_that_it_was_open_adds_up, set_up),
        cmocka_unit_test_setup(failures_far_apart_do_not, set_up),
        cmocka_unit_test_setup(one_worker_probes_when_the_time_is_over, set_up),
        cmocka_unit_test_setup(a_probe_that_fails_doubles_the_time, set_up),
        cmocka_unit_test_setup(the_probe_of_a_dead_worker_is_taken_over, set_up),
        cmocka_unit_test_setup(news_allow_an_early_probe, set_up),
        cmocka_unit_test_setup(open_times_have_a_jitter, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
