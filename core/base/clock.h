/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The time of one loop. Taken once per loop turn (mg_clock_update), so everything in a turn sees
 * the same instant, and replaced by a virtual clock in tests.
 *
 *     mg_clock_update(&loop->clock);               // at the start of a turn
 *     uint64_t deadline = mg_clock_ms(&loop->clock) + timeout_ms;
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mg_clock {
    uint64_t now_us;     /* monotonic, microseconds */
    int64_t wall_offset; /* wall time - monotonic time, microseconds */
    bool is_virtual;     /* moves only by mg_clock_advance */
    char http_date[32];  /* IMF-fixdate of the present second (RFC 9110, 5.6.7), NUL-terminated */
    int64_t date_second; /* the second http_date was made for */
};

void mg_clock_init(struct mg_clock *clock);
/* Starts a virtual clock at the given wall time; it stands still until advanced. */
void mg_clock_init_virtual(struct mg_clock *clock, int64_t wall_ms);
/* Reads the real clocks; nothing on a virtual one. */
void mg_clock_update(struct mg_clock *clock);
/* Virtual clocks only. */
void mg_clock_advance(struct mg_clock *clock, uint64_t us);

static inline uint64_t mg_clock_ms(const struct mg_clock *clock)
{
    return clock->now_us / 1000;
}

/* Milliseconds since the epoch. */
static inline int64_t mg_clock_wall_ms(const struct mg_clock *clock)
{
    return ((int64_t)clock->now_us + clock->wall_offset) / 1000;
}

/* A precise reading for durations, microseconds: the real clock now, or the virtual one as it
 * stands. */
uint64_t mg_clock_precise_us(const struct mg_clock *clock);

/* "Tue, 15 Nov 1994 08:12:31 GMT", 29 bytes, formatted once a second. Lives until the next call. */
const char *mg_clock_http_date(struct mg_clock *clock);
