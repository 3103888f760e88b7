/* SPDX-License-Identifier: Apache-2.0 */
/* The budget of retries against its bound, the wait before a retry, and which answers lead to one.
 */
#include "model/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define WINDOW_MS 10000U
#define SECONDS 120U

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005U + 1442695040888963407U;
    return *state >> 33;
}

static struct mg_upstream_record new_record(uint32_t percent)
{
    struct mg_upstream_record record = {.budget = 0};
    struct mg_retry retry = mg_retry_usual();
    retry.budget = percent;
    mg_retry_set_budget(&record, &retry);
    return record;
}

/* All that fails is tried again as long as the budget lets it; per_ms requests a millisecond. */
struct run {
    uint32_t first[SECONDS * 1000], again[SECONDS * 1000]; /* in each millisecond */
};

static void fail_all(struct run *run, struct mg_upstream_record *record, uint32_t per_ms)
{
    for (uint32_t ms = 0; ms < SECONDS * 1000; ms++) {
        run->first[ms] = per_ms;
        run->again[ms] = 0;
        for (uint32_t i = 0; i < per_ms; i++) {
            mg_retry_first(record);
            while (mg_retry_take(record, 1000000 + ms)) { /* as many retries as there may be */
                run->again[ms]++;
            }
        }
    }
}

static void b7_in_any_ten_seconds_retries_stay_below_the_share(void **state)
{
    (void)state;
    static struct run run;
    struct mg_upstream_record record = new_record(20);
    fail_all(&run, &record, 1);
    uint64_t first = 0, again = 0, most = 0;
    for (uint32_t ms = 0; ms < SECONDS * 1000; ms++) {
        first += run.first[ms];
        again += run.again[ms];
        if (ms >= WINDOW_MS) {
            first -= run.first[ms - WINDOW_MS];
            again -= run.again[ms - WINDOW_MS];
        }
        if (ms >= WINDOW_MS - 1) {
            assert_true((first + again) * 1000 <= first * 1206);
            most = again > most ? again : most;
        }
    }
    assert_true(most >= 2050); /* and the budget can be used up: 20 % of 10,000, and 60 */
    assert_true(record.retries[MG_RETRY_BUDGET] > 0);
}

static void a_random_load_never_gets_over_the_bound(void **state)
{
    (void)state;
    uint64_t random = 7;
    for (unsigned turn = 0; turn < 50; turn++) {
        struct mg_upstream_record record = new_record(20);
        uint64_t ms = next_random(&random) % 100000, first = 0, again = 0;
        const uint64_t begun = ms;
        /* from a full bucket, so the bound over the whole run is 20 % + 30 + 3 a second */
        for (unsigned i = 0; i < 20000; i++) {
            const uint64_t what = next_random(&random) % 10;
            ms += what == 0 ? next_random(&random) % 50 : 0;
            if (what < 5) {
                mg_retry_first(&record);
                first++;
            } else {
                again += mg_retry_take(&record, ms);
            }
            assert_true(again * 1000 <= first * 200 + 30000 + (ms - begun) * 3);
        }
    }
}

static void an_idle_upstream_has_thirty_retries(void **state)
{
    (void)state;
    struct mg_upstream_record record = new_record(20);
    assert_int_equal(mg_retry_left(&record, 0), 30000);
    assert_int_equal(mg_retry_left(&record, 50000), 30000);
    for (int i = 0; i < 30; i++) {
        assert_true(mg_retry_take(&record, 50000));
    }
    assert_false(mg_retry_take(&record, 50000));
    assert_false(mg_retry_take(&record, 50333));
    assert_true(mg_retry_take(&record, 50334));
    assert_int_equal(mg_retry_left(&record, 50334), 2);
    assert_int_equal(mg_retry_left(&record, 3600000), 30000);
}

static void a_share_of_nothing_leaves_three_a_second(void **state)
{
    (void)state;
    struct mg_upstream_record record = new_record(0);
    unsigned taken = 0;
    for (uint64_t ms = 0; ms < 10000; ms++) {
        mg_retry_first(&record);
        taken += mg_retry_take(&record, 100000 + ms);
    }
    assert_int_equal(taken, 30 + 29);
}

static void a_lower_share_after_a_reload_owes_nothing(void **state)
{
    (void)state;
    struct mg_upstream_record record = new_record(100);
    for (int i = 0; i < 1000; i++) {
        mg_retry_first(&record);
        assert_true(mg_retry_take(&record, 1000));
    }
    struct mg_retry retry = mg_retry_usual();
    retry.budget = 1;
    mg_retry_set_budget(&record, &retry);
    assert_false(mg_retry_take(&record, 1000));
    assert_false(mg_retry_take(&record, 1000)); /* what was owed is not remembered */
    assert_int_equal(mg_retry_left(&record, 1000), 0);
}

static void the_wait_is_random_below_a_limit_that_doubles(void **state)
{
    (void)state;
    const struct mg_retry retry = mg_retry_usual();
    static const uint64_t most[] = {25, 50, 100, 200, 250, 250};
    for (uint32_t n = 1; n <= 6; n++) {
        assert_int_equal(mg_retry_backoff(&retry, n, 0), 0);
        assert_int_equal(mg_retry_backoff(&retry, n, UINT32_MAX), most[n - 1]);
        const uint64_t middle = mg_retry_backoff(&retry, n, UINT32_MAX / 2);
        assert_in_range(middle, most[n - 1] / 2 - 1, most[n - 1] / 2 + 1);
    }
}

static void only_a_503_that_asks_for_a_second_or_less_is_retried(void **state)
{
    (void)state;
    struct mg_retry retry = mg_retry_usual();
    assert_true(mg_retry_wants_status(&retry, 503, MG_STR("0")));
    assert_true(mg_retry_wants_status(&retry, 503, MG_STR("1")));
    assert_false(mg_retry_wants_status(&retry, 503, MG_STR("2")));
    assert_false(mg_retry_wants_status(&retry, 503, MG_STR("")));
    assert_false(mg_retry_wants_status(&retry, 503, MG_STR("Wed, 21 Oct 2026 07:28:00 GMT")));
    assert_false(mg_retry_wants_status(&retry, 502, MG_STR("1")));
    mg_retry_add_status(&retry, 502);
    mg_retry_add_status(&retry, 599);
    mg_retry_add_status(&retry, 600);
    assert_true(mg_retry_wants_status(&retry, 502, MG_STR("")));
    assert_true(mg_retry_wants_status(&retry, 599, MG_STR("")));
    assert_false(mg_retry_wants_status(&retry, 600, MG_STR("")));
    assert_false(mg_retry_wants_status(&retry, 200, MG_STR("0")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(b7_in_any_ten_seconds_retries_stay_below_the_share),
        cmocka_unit_test(a_random_load_never_gets_over_the_bound),
        cmocka_unit_test(an_idle_upstream_has_thirty_retries),
        cmocka_unit_test(a_share_of_nothing_leaves_three_a_second),
        cmocka_unit_test(a_lower_share_after_a_reload_owes_nothing),
        cmocka_unit_test(the_wait_is_random_below_a_limit_that_doubles),
        cmocka_unit_test(only_a_503_that_asks_for_a_second_or_less_is_retried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
