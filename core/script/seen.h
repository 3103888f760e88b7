/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first octets of bodies that pass, kept for the access log where an entry of the generation
 * wants them. Nothing is held back for that.
 *
 *     mg_seen(req, MG_SEEN_REQUEST, octets);      // each piece, in order
 */
#pragma once

#include "model/req.h"
#include "script/vm.h"

enum mg_seen_side { MG_SEEN_REQUEST, MG_SEEN_RESPONSE };

void mg_seen_more(struct mg_req *req, enum mg_seen_side side, mg_str octets);

/* Whether the next octets would be kept. */
static inline bool mg_seen_wants(const struct mg_req *req, enum mg_seen_side side)
{
    return __builtin_expect(req->vm != NULL && req->vm->seen_bytes[side] > req->seen[side].len, 0);
}

static inline void mg_seen(struct mg_req *req, enum mg_seen_side side, mg_str octets)
{
    if (mg_seen_wants(req, side)) {
        mg_seen_more(req, side, octets);
    }
}
