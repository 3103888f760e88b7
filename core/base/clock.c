/* SPDX-License-Identifier: Apache-2.0 */
/* Real and virtual time. */
#include "base/clock.h"

#include "base/err.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_us(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000U + (uint64_t)ts.tv_nsec / 1000U;
}

void mg_clock_init(struct mg_clock *clock)
{
    *clock = (struct mg_clock){.date_second = -1};
    mg_clock_update(clock);
}

void mg_clock_init_virtual(struct mg_clock *clock, int64_t wall_ms)
{
    *clock = (struct mg_clock){.is_virtual = true, .date_second = -1};
    clock->now_us = 1000000U; /* not 0, so that "0 = never" stays usable */
    clock->wall_offset = wall_ms * 1000 - (int64_t)clock->now_us;
}

void mg_clock_update(struct mg_clock *clock)
{
    if (clock->is_virtual) {
        return;
    }
    clock->now_us = read_us(CLOCK_MONOTONIC);
    clock->wall_offset = (int64_t)read_us(CLOCK_REALTIME) - (int64_t)clock->now_us;
}

void mg_clock_advance(struct mg_clock *clock, uint64_t us)
{
    mg_require(clock->is_virtual);
    clock->now_us += us;
}

uint64_t mg_clock_precise_us(const struct mg_clock *clock)
{
    return clock->is_virtual ? clock->now_us : read_us(CLOCK_MONOTONIC);
}

const char *mg_clock_http_date(struct mg_clock *clock)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const int64_t second = mg_clock_wall_ms(clock) / 1000;
    if (second != clock->date_second) {
        const time_t seconds = (time_t)second;
        struct tm tm;
        gmtime_r(&seconds, &tm);
        snprintf(clock->http_date, sizeof clock->http_date, "%s, %02u %s %04u %02u:%02u:%02u GMT",
                 days[tm.tm_wday % 7], (unsigned)tm.tm_mday % 100, months[tm.tm_mon % 12],
                 (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
                 (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
        clock->date_second = second;
    }
    return clock->http_date;
}
