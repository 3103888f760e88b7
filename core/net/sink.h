/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where access-log lines go: standard output, standard error, a file, or over the network. One
 * registry per worker; it outlives generations, and a sink with equal settings is the same sink for
 * all of them, with its queue and connection. Nothing here waits: what a bounded queue cannot hold
 * is counted and told to the reader.
 *
 *     struct mg_sinks *sinks = mg_sinks_open(&parts);
 *     int err = mg_sink_open(sinks, &settings, &sink, message, sizeof message);
 *     mg_sink_put(sink, MG_STR("{...}\n"), MG_SINK_INFO);
 *     mg_sinks_flush(sinks);       // in the loop's before_poll
 *     mg_sink_close(sink);         // gives a reference back; the last one drains in the background
 *     mg_sinks_close(sinks, 5000); // after the last generation, before the resolver
 */
#pragma once

#include "net/sink_base.h"

#define MG_SINK_INFO 6 /* severity of RFC 5424 */

/* Files over RLIMIT_FSIZE become an error instead of the process's end (SIGXFSZ is ignored from
 * here on). */
struct mg_sinks *mg_sinks_open(const struct mg_sinks_parts *parts);
/* Writes what is queued for at most most_ms, counts the rest as lost and frees everything. A sink
 * that still has references takes no more lines. Runs the loop while something is under way. */
void mg_sinks_close(struct mg_sinks *sinks, uint64_t most_ms);

/* The sink with these settings, with one more reference. A negative errno with a sentence that
 * names the file in message; what is over the network is not tried here. */
MG_NODISCARD int mg_sink_open(struct mg_sinks *sinks, const struct mg_sink_settings *settings,
                              struct mg_sink **out, char *message, size_t message_bytes);
void mg_sink_close(struct mg_sink *sink);
/* Bytes of the longest line it takes in one piece, its LF included. */
size_t mg_sink_line_bytes(const struct mg_sink *sink);
/* One line with its LF, copied. severity is for syslog. */
void mg_sink_put(struct mg_sink *sink, mg_str line, unsigned severity);
void mg_sink_counts(const struct mg_sink *sink, struct mg_sink_counts *counts);

/* Hands on what is queued; to be called once per loop turn. */
void mg_sinks_flush(struct mg_sinks *sinks);
/* Opens all files anew (log rotation), soon. */
void mg_sinks_reopen(struct mg_sinks *sinks);
