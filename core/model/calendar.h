/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Months and years of the Gregorian calendar in UTC, for limits whose window is one of them. Pure.
 *
 *     struct mg_period now = mg_calendar_period(MG_CALENDAR_MONTH, now_ms);
 *     ... now.begin_ms <= now_ms && now_ms < now.end_ms ...
 */
#pragma once

#include <stdint.h>

enum mg_calendar { MG_CALENDAR_NONE, MG_CALENDAR_MONTH, MG_CALENDAR_YEAR };

/* Milliseconds since the epoch, without leap seconds, as POSIX counts. end_ms is the next begin. */
struct mg_period {
    int64_t begin_ms, end_ms;
};

/* The month or year that holds now_ms, which is 0 or more. unit is not MG_CALENDAR_NONE. */
struct mg_period mg_calendar_period(enum mg_calendar unit, int64_t now_ms);
