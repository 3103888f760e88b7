/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `moongate status`: what runs, from the master's table and the statistics in shared memory.
 * Reading them stops nobody.
 */
#pragma once

#include "master_state.h"

#define MG_STATUS_VERSION                                                                          \
    1 /* of the JSON's shape: raised when a field changes its meaning or goes */

/* For people: a few lines, counters that are not 0. */
void mg_status_text(struct mg_master *master, uint64_t now_ms, struct mg_buf *out);
/* One JSON object and a line end. */
void mg_status_json(struct mg_master *master, uint64_t now_ms, struct mg_buf *out);
