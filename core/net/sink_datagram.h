/* SPDX-License-Identifier: Apache-2.0 */
/* Sinks that send each line as a datagram: UDP, syslog over UDP or a unix socket. What the kernel
 * has taken counts as written; nobody can know more. */
#pragma once

#include "net/sink_base.h"

extern const struct mg_sink_type mg_sink_datagram;
