/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells systemd about the service's state (sd_notify(3), without its library): a datagram to
 * $NOTIFY_SOCKET, nothing when that is not set.
 *
 *     mg_notify("READY=1\nSTATUS=2 workers");
 */
#pragma once

#include <stdint.h>

void mg_notify(const char *state);
/* How often WATCHDOG=1 is expected, ms; 0 = not at all. Half of what systemd set. */
uint64_t mg_notify_interval_ms(void);
