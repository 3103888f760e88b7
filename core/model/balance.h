/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which target of a group is asked next: round robin (smooth weighted), least connections,
 * consistent hash (a ring of slots), latency (the better of two at random). Targets that are out
 * are passed over, those that come back get their share (model/health.h), and those that have all
 * they may have (limits.target_connections) get nothing.
 *
 *     struct mg_pick pick = {.hash = hash, .tried = tried, .now_ms = now_ms};
 *     struct mg_peer *peer = mg_balance_pick(group, &pick);      // NULL: none; see pick.is_full
 */
#pragma once

#include "model/health.h"

struct mg_pick {
    uint64_t hash; /* for consistent hashing */
    /* bitmap of peer indexes of this request's earlier tries (targets over 64 share bit index %
     * 64); another target is preferred, a tried one is used when none is left */
    uint64_t tried;
    uint64_t now_ms;
    /* out; false and 0 before */
    bool probe;     /* the request is the target's probe */
    uint32_t epoch; /* of the target's health, for the result */
    bool is_full;   /* none, because all have what they may have */
};

/* NULL: the group has no target with weight, is closed for its threshold, or is full. */
struct mg_peer *mg_balance_pick(struct mg_peer_group *group, struct mg_pick *pick);
/* The head of an answer, or a failure, came after so long. */
void mg_balance_latency(struct mg_peer_group *group, struct mg_peer *peer, uint64_t us,
                        uint64_t now_ms);
