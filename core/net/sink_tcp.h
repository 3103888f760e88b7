/* SPDX-License-Identifier: Apache-2.0 */
/* Sinks that write lines to a TCP connection: plain, or as syslog messages. What the kernel has
 * taken counts as written; a line that it took in part is sent again, whole, on the next
 * connection. */
#pragma once

#include "net/sink_base.h"

extern const struct mg_sink_type mg_sink_tcp;
