/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of syslog messages. */
#include "net/sink_syslog.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define HOST_BYTES 256 /* RFC 5424, 6: HOSTNAME has at most 255 */

/* HOSTNAME is printable ASCII without blanks, or "-". */
static void host_name(char out[HOST_BYTES])
{
    if (gethostname(out, HOST_BYTES) != 0) {
        out[0] = '\0';
    }
    out[HOST_BYTES - 1] = '\0';
    for (char *at = out; *at; at++) {
        *at = *at > ' ' && *at < 0x7f ? *at : '-';
    }
    if (out[0] == '\0') {
        snprintf(out, HOST_BYTES, "-");
    }
}

size_t mg_syslog_head(char out[MG_SYSLOG_HEAD_BYTES], const struct mg_sink_settings *settings,
                      unsigned severity, int64_t wall_ms)
{
    char host[HOST_BYTES], date[24];
    const time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    host_name(host);
    gmtime_r(&seconds, &tm);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    const int length =
        snprintf(out, MG_SYSLOG_HEAD_BYTES, "<%u>1 %s.%03uZ %s %.48s %ld - - ",
                 settings->facility * 8 + severity, date, (unsigned)(wall_ms % 1000), host,
                 settings->tag.len > 0 ? settings->tag.ptr : "-", (long)getpid());
    return length < MG_SYSLOG_HEAD_BYTES ? (size_t)length : MG_SYSLOG_HEAD_BYTES - 1;
}
