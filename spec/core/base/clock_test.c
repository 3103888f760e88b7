/* SPDX-License-Identifier: Apache-2.0 */
/* base/clock: virtual time, real time, and the date of HTTP. */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static const int64_t example_ms = 784887151123; /* 1994-11-15 08:12:31.123 UTC */

static void a_virtual_clock_stands_still_until_advanced(void **state)
{
    (void)state;
    struct mg_clock clock;
    mg_clock_init_virtual(&clock, example_ms);
    const uint64_t start = mg_clock_ms(&clock);
    assert_true(start > 0);
    assert_true(mg_clock_wall_ms(&clock) == example_ms);
    mg_clock_update(&clock);
    assert_true(mg_clock_ms(&clock) == start);
    mg_clock_advance(&clock, 2500000);
    assert_true(mg_clock_ms(&clock) == start + 2500);
    assert_true(mg_clock_wall_ms(&clock) == example_ms + 2500);
    assert_true(mg_clock_precise_us(&clock) == clock.now_us);
}

static void the_date_is_that_of_the_present_second(void **state)
{
    (void)state;
    struct mg_clock clock;
    mg_clock_init_virtual(&clock, example_ms);
    assert_string_equal(mg_clock_http_date(&clock), "Tue, 15 Nov 1994 08:12:31 GMT");
    mg_clock_advance(&clock, 876999);
    assert_string_equal(mg_clock_http_date(&clock), "Tue, 15 Nov 1994 08:12:31 GMT");
    mg_clock_advance(&clock, 1);
    assert_string_equal(mg_clock_http_date(&clock), "Tue, 15 Nov 1994 08:12:32 GMT");
}

static void dates_cross_years_and_leap_days(void **state)
{
    (void)state;
    struct mg_clock clock;
    mg_clock_init_virtual(&clock, 1709164799000);
    assert_string_equal(mg_clock_http_date(&clock), "Wed, 28 Feb 2024 23:59:59 GMT");
    mg_clock_advance(&clock, 1000000);
    assert_string_equal(mg_clock_http_date(&clock), "Thu, 29 Feb 2024 00:00:00 GMT");
    mg_clock_init_virtual(&clock, 0);
    assert_string_equal(mg_clock_http_date(&clock), "Thu, 01 Jan 1970 00:00:00 GMT");
}

static void a_real_clock_moves_only_when_updated_and_never_back(void **state)
{
    (void)state;
    struct mg_clock clock;
    mg_clock_init(&clock);
    const uint64_t start = clock.now_us;
    uint64_t precise = mg_clock_precise_us(&clock);
    assert_true(precise >= start);
    while (precise == start) { /* ends within a microsecond */
        precise = mg_clock_precise_us(&clock);
    }
    assert_true(clock.now_us == start);
    mg_clock_update(&clock);
    assert_true(clock.now_us >= precise);
}

static void a_real_clock_knows_the_wall_time(void **state)
{
    (void)state;
    struct mg_clock clock;
    const int64_t before = (int64_t)time(NULL) * 1000;
    mg_clock_init(&clock);
    const int64_t after = ((int64_t)time(NULL) + 2) * 1000;
    assert_true(mg_clock_wall_ms(&clock) >= before - 1000 && mg_clock_wall_ms(&clock) <= after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_virtual_clock_stands_still_until_advanced),
        cmocka_unit_test(the_date_is_that_of_the_present_second),
        cmocka_unit_test(dates_cross_years_and_leap_days),
        cmocka_unit_test(a_real_clock_moves_only_when_updated_and_never_back),
        cmocka_unit_test(a_real_clock_knows_the_wall_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
