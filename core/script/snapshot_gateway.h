/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The section `gateway:` of a checked snapshot (plugin-interface, 9.5) as C data, for
 * script/snapshot.c. Lua errors pass through.
 */
#pragma once

#include "script/snapshot_read.h"

/* Fills config->gateway from the table at the stack index. */
void mg_snapshot_gateway(struct mg_snapshot_reader *reader, int at);

/* Replaces in limits what the table at the stack index sets (gateway.limits, or a route's own). */
void mg_snapshot_limits(struct mg_snapshot_reader *reader, int at, struct mg_limits *limits);
