/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a syslog message (RFC 5424, 6):
 *
 *     <134>1 2026-11-24T03:40:00.123Z host moongate 4711 - - line
 *
 * 134 = 8 * facility + severity. MSGID and structured data are empty; the line follows.
 */
#pragma once

#include "net/sink_settings.h"

#define MG_SYSLOG_HEAD_BYTES 400
#define MG_SYSLOG_WARNING 4 /* severity of records of loss */

/* The head for a line of that severity (0 .. 7); its length. */
size_t mg_syslog_head(char out[MG_SYSLOG_HEAD_BYTES], const struct mg_sink_settings *settings,
                      unsigned severity, int64_t wall_ms);
