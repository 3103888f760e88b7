/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections over limits.connections: 503 and close, without parsing. While the answer is read the
 * descriptor is in use, so that few are answered at a time (5 % of the limit, at least 16); the
 * others of a flood are closed at once.
 *
 *     if (mg_shed_is_full(server)) {
 *         mg_shed(server, io);   // takes io
 *         return;
 *     }
 */
#pragma once

#include "flow/context.h"

/* Whether as many connections are open as may be, those that only wait for their end included. */
bool mg_shed_is_full(const struct mg_server *server);
/* Counts the connection as refused, and ends it in one way or the other. */
void mg_shed(struct mg_server *server, struct mg_io *io);
