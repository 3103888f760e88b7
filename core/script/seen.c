/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies for the access log. */
#include "script/seen.h"

void mg_seen_more(struct mg_req *req, enum mg_seen_side side, mg_str octets)
{
    const uint32_t most = req->vm->seen_bytes[side], have = req->seen[side].len;
    const size_t taken = octets.len < most - have ? octets.len : most - have;
    if (taken == 0) {
        return;
    }
    if (!req->seen[side].octets) {
        req->seen[side].octets = mg_arena_alloc(&req->arena, most);
    }
    memcpy(req->seen[side].octets + have, octets.ptr, taken);
    req->seen[side].len = have + (uint32_t)taken;
}
