/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway's error log, for master, workers and commands:
 *
 *     2026-11-24T03:40:00.123Z warn worker: cannot accept error="too many open files" pid=17
 *
 * One event is one line and one write(2) of at most 4 KiB: control bytes, line ends and bytes that
 * are no UTF-8 are written as \n, \t or \xHH, a longer message is cut and ends in "[cut]". A call
 * site (known by the address of its format) writes at most 10 lines a second, then counts; the
 * count comes with its next line or with mg_log_flush, as "N suppressed". What a full pipe or disk
 * refuses is counted and reported the same way, as "N lost".
 *
 *     struct mg_log *log;
 *     if (mg_log_open(&log, NULL, MG_LOG_NOTICE) == 0) {            // standard error
 *         mg_log_write(log, MG_LOG_WARN, "worker", "cannot accept error=\"%s\" pid=%d", text, pid);
 *     }
 *     mg_log_close(log);
 *
 * Facts follow the message as key=value; a value that may hold blanks goes into double quotes, and
 * mg_log_quote makes one from a peer's bytes.
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

#include <stddef.h>

#define MG_LOG_TEXT_LINES 200  /* of one report */
#define MG_LOG_LINE_BYTES 4096 /* of a line with its line end: what a pipe writes in one piece */

/* As in syslog (RFC 5424, 6.2.1), most urgent first. */
enum mg_log_level {
    MG_LOG_EMERG,
    MG_LOG_ALERT,
    MG_LOG_CRIT,
    MG_LOG_ERROR,
    MG_LOG_WARN,
    MG_LOG_NOTICE,
    MG_LOG_INFO,
    MG_LOG_DEBUG,
};

struct mg_log;

/* path: appended to, made with mode 0640 when missing; NULL or "stderr": standard error, which is
 * not closed. level: the least urgent one written. Negative errno when the file cannot be
 * opened. */
MG_NODISCARD int mg_log_open(struct mg_log **out, const char *path, enum mg_log_level level);
/* Flushes first. */
void mg_log_close(struct mg_log *log);
/* Opens the file anew (log rotation). On failure the old one stays in use. */
MG_NODISCARD int mg_log_reopen(struct mg_log *log);
void mg_log_set_level(struct mg_log *log, enum mg_log_level level);
/* Times come from clock (borrowed) from now on, for tests; NULL: from the system, as at the
 * start. */
void mg_log_set_clock(struct mg_log *log, const struct mg_clock *clock);
/* Whether a line of this level would be written; false when log is NULL. */
bool mg_log_enabled(const struct mg_log *log, enum mg_log_level level);

/* One line; nothing when log is NULL. The suppression counts by the address of format; component is
 * a module or "plugin NAME". */
void mg_log_write(struct mg_log *log, enum mg_log_level level, const char *component,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same for bytes that come from elsewhere (a Lua plugin); site: any address that stands for the
 * place, NULL = never suppressed. */
void mg_log_bytes(struct mg_log *log, enum mg_log_level level, const char *component,
                  const void *site, mg_str message);
/* A report: each line of the text is a line of the log, none is suppressed. Empty lines are left
 * out; above MG_LOG_TEXT_LINES the rest is counted. */
void mg_log_text(struct mg_log *log, enum mg_log_level level, const char *component, mg_str text);
/* Writes the counts that are still owed. For the owner's slow timer. */
void mg_log_flush(struct mg_log *log);

/* "emerg" ... "debug", also "warning" and "err"; MG_EINVALID. */
MG_NODISCARD int mg_log_level_parse(mg_str name, enum mg_log_level *level);
const char *mg_log_level_name(enum mg_log_level level);
/* bytes in double quotes, with '"' and '\' escaped by a '\', cut to fit; NUL-terminated. Returns
 * into. */
const char *mg_log_quote(char *into, size_t into_bytes, mg_str bytes);
