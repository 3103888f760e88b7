/* SPDX-License-Identifier: Apache-2.0 */
/* The part of `moongate status` about upstreams and their targets, from shared memory. */
#pragma once

#include "json_out.h"
#include "master_state.h"

/* Lines for people: upstreams with targets, and hosts of services of which there is something to
 * tell. */
void mg_status_upstreams_text(struct mg_master *master, uint64_t now_ms, struct mg_buf *out);
/* The field "upstreams": all of them. */
void mg_status_upstreams_json(struct mg_master *master, uint64_t now_ms, struct mg_json_out *json);
