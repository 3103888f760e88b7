/* SPDX-License-Identifier: Apache-2.0 */
/* model/calendar: against the C library's gmtime_r. */
#include "model/calendar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static struct tm fields_of(int64_t ms)
{
    const time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    return tm;
}

/* Is it midnight of the first of a month (of January, for a year)? */
static void check_begin(int64_t ms, enum mg_calendar unit)
{
    const struct tm tm = fields_of(ms);
    assert_int_equal(ms % 86400000, 0);
    assert_int_equal(tm.tm_mday, 1);
    if (unit == MG_CALENDAR_YEAR) {
        assert_int_equal(tm.tm_mon, 0);
    }
}

static void check_at(int64_t ms, enum mg_calendar unit)
{
    const struct mg_period period = mg_calendar_period(unit, ms);
    assert_true(period.begin_ms <= ms && ms < period.end_ms);
    check_begin(period.begin_ms, unit);
    check_begin(period.end_ms, unit);
    const struct tm begin = fields_of(period.begin_ms), last = fields_of(period.end_ms - 1);
    assert_int_equal(begin.tm_year, last.tm_year);
    if (unit == MG_CALENDAR_MONTH) {
        assert_int_equal(begin.tm_mon, last.tm_mon);
    } else {
        assert_int_equal(last.tm_mon, 11);
    }
}

static void every_day_of_300_years_lies_in_its_month_and_year(void **state)
{
    (void)state;
    for (int64_t day = 0; day < 300 * 366; day++) {
        check_at(day * 86400000, MG_CALENDAR_MONTH);
        check_at(day * 86400000 + 86399999, MG_CALENDAR_MONTH);
        check_at(day * 86400000, MG_CALENDAR_YEAR);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_day_of_300_years_lies_in_its_month_and_year),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
