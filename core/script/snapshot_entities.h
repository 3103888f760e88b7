/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services, upstreams with their targets, and routes of a checked snapshot as C data, for
 * script/snapshot.c. Lua errors pass through.
 */
#pragma once

#include "script/snapshot_read.h"

/* at: stack index of the snapshot; gateway: of its section `gateway`, already read. Fills services,
 * upstreams and routes of the configuration. */
void mg_snapshot_entities(struct mg_snapshot_reader *reader, int at, int gateway);
