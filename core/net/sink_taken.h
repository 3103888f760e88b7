/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sinks whose batches somebody above takes and delivers: functions in Lua.
 *
 *     mg_str lines = mg_sink_take(sink);     // empty: nothing waits, or it is not time yet
 *     ...                                    // may take long
 *     mg_sink_taken(sink, true);             // false: the same lines come again, later
 *
 * Between the two no other batch is given. Who takes a batch and is never heard of again has failed
 * after MG_SINK_TAKEN_MS. A sink without references gives up what it has.
 */
#pragma once

#include "net/sink_base.h"

#define MG_SINK_TAKEN_MS 70000 /* longer than any task of a plugin may last by default */

extern const struct mg_sink_type mg_sink_taken_type;

/* At most settings.batch lines, each with its LF, records of loss before them; until
 * mg_sink_taken. */
mg_str mg_sink_take(struct mg_sink *sink);
/* Nothing when no batch is taken. */
void mg_sink_taken(struct mg_sink *sink, bool delivered);
