/* SPDX-License-Identifier: Apache-2.0 */
#include "model/calendar.h"

#define DAY_MS INT64_C(86400000)
#define EPOCH_YEAR 1970
#define DAYS_TO_EPOCH INT64_C(719162) /* from 1 January of the year 1 */

static int is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Days from the epoch to 1 January. */
static int64_t days_to_year(int64_t year)
{
    const int64_t past = year - 1;
    return 365 * past + past / 4 - past / 100 + past / 400 - DAYS_TO_EPOCH;
}

static int64_t year_of(int64_t day)
{
    int64_t year = EPOCH_YEAR + day / 366; /* no later than the year */
    while (days_to_year(year + 1) <= day) {
        year++;
    }
    return year;
}

static struct mg_period period(int64_t begin_day, int64_t end_day)
{
    return (struct mg_period){.begin_ms = begin_day * DAY_MS, .end_ms = end_day * DAY_MS};
}

struct mg_period mg_calendar_period(enum mg_calendar unit, int64_t now_ms)
{
    static const int lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const int64_t day = now_ms / DAY_MS;
    const int64_t year = year_of(day);
    if (unit == MG_CALENDAR_YEAR) {
        return period(days_to_year(year), days_to_year(year + 1));
    }
    int64_t begin = days_to_year(year);
    for (int month = 0;; month++) {
        const int64_t end = begin + lengths[month] + (month == 1 && is_leap(year));
        if (day < end) {
            return period(begin, end);
        }
        begin = end;
    }
}
