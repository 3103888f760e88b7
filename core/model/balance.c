/* SPDX-License-Identifier: Apache-2.0 */
/* The four ways to choose a target. */
#include "model/balance.h"

#include <math.h>

#define FORGET_MS 10000.0 /* a latency measured so long ago counts 1/e */

/* --- who takes part --------------------------------------------------------------------------- */

static bool has_room(const struct mg_peer_group *group, const struct mg_peer *peer)
{
    const uint32_t most = group->upstream ? group->upstream->settings.limits.target_connections : 0;
    return most == 0 || peer->inflight < most;
}

static bool is_open(const struct mg_peer_group *group, const struct mg_peer *peer, uint64_t tried)
{
    return peer->target->weight > 0 && (tried >> peer->index % 64 & 1U) == 0 && peer->share > 0 &&
           !peer->is_skipped && has_room(group, peer);
}

/* Targets with a part of their share are passed over as often as that asks for: evenly, or, where a
 * hash decides, always for the same keys. */
static void skip_by_share(struct mg_peer_group *group, uint64_t hash)
{
    for (uint32_t i = 0; i < group->count; i++) {
        struct mg_peer *peer = &group->peers[i];
        if (group->ring) {
            peer->is_skipped = (hash >> 32) % 100 >= peer->share;
            continue;
        }
        peer->share_saved += peer->share;
        peer->is_skipped = peer->share_saved < 100;
        if (!peer->is_skipped) {
            peer->share_saved = peer->share < 100 ? peer->share_saved - 100 : 0;
        }
    }
}

static void skip_nobody(struct mg_peer_group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        group->peers[i].is_skipped = false;
    }
}

/* --- the ways --------------------------------------------------------------------------------- */

/* Fewer requests in flight for its weight? */
static int compare_load(const struct mg_peer *a, const struct mg_peer *b)
{
    const uint64_t left = (uint64_t)a->inflight * b->target->weight;
    const uint64_t right = (uint64_t)b->inflight * a->target->weight;
    return (left > right) - (left < right);
}

static const struct mg_peer *least_loaded(const struct mg_peer_group *group, uint64_t tried)
{
    const struct mg_peer *least = NULL;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct mg_peer *peer = &group->peers[i];
        if (is_open(group, peer, tried) && (!least || compare_load(peer, least) < 0)) {
            least = peer;
        }
    }
    return least;
}

/* Smooth weighted round robin (as in nginx): all gain their weight, the richest is taken and pays
 * the sum, so a heavy target's turns are spread out. With least, only peers as little loaded take
 * part. */
static struct mg_peer *pick_in_turn(struct mg_peer_group *group, uint64_t tried,
                                    const struct mg_peer *least)
{
    struct mg_peer *richest = NULL;
    int64_t sum = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        struct mg_peer *peer = &group->peers[i];
        if (!is_open(group, peer, tried) || (least && compare_load(peer, least) != 0)) {
            continue;
        }
        peer->current += peer->target->weight;
        sum += peer->target->weight;
        if (!richest || peer->current > richest->current) {
            richest = peer;
        }
    }
    if (richest) {
        richest->current -= sum;
    }
    return richest;
}

static struct mg_peer *pick_by_hash(struct mg_peer_group *group, uint64_t hash, uint64_t tried)
{
    const uint32_t start = (uint32_t)(hash % group->ring_size);
    for (uint32_t i = 0; i < group->ring_size; i++) {
        struct mg_peer *peer = &group->peers[group->ring[(start + i) % group->ring_size]];
        if (is_open(group, peer, tried)) {
            return peer;
        }
    }
    return pick_in_turn(group, tried, NULL); /* a target too light to own a slot may be left */
}

/* xorshift64 */
static uint32_t draw(struct mg_peer_group *group, uint32_t below)
{
    group->random |= group->random == 0;
    group->random ^= group->random << 13;
    group->random ^= group->random >> 7;
    group->random ^= group->random << 17;
    return (uint32_t)((group->random >> 32) * below >> 32);
}

/* The n-th of those that take part. */
static struct mg_peer *nth_open(struct mg_peer_group *group, uint64_t tried, uint32_t n)
{
    for (uint32_t i = 0; i < group->count; i++) {
        struct mg_peer *peer = &group->peers[i];
        if (is_open(group, peer, tried) && n-- == 0) {
            return peer;
        }
    }
    return NULL;
}

/* As it was measured, fading with time: so a target that was slow is tried again some day. */
static double latency_of(const struct mg_peer *peer, uint64_t now_ms)
{
    return peer->latency_us * exp(-(double)(now_ms - peer->latency_ms) / FORGET_MS);
}

static double cost_of(const struct mg_peer *peer, double latency)
{
    return latency * (peer->inflight + 1) / peer->target->weight;
}

/* Of two at random the one that will be done sooner: by latency, requests in flight and weight. */
static struct mg_peer *pick_by_latency(struct mg_peer_group *group, uint64_t tried, uint64_t now_ms)
{
    uint32_t open = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        open += is_open(group, &group->peers[i], tried);
    }
    if (open < 2) {
        return nth_open(group, tried, 0);
    }
    const uint32_t first = draw(group, open);
    const uint32_t second = (first + 1 + draw(group, open - 1)) % open;
    struct mg_peer *a = nth_open(group, tried, first), *b = nth_open(group, tried, second);
    double left = latency_of(a, now_ms), right = latency_of(b, now_ms);
    left = a->latency_us > 0 ? left : right; /* one that is not known is as good as the other */
    right = b->latency_us > 0 ? right : left;
    if (left == 0) {
        left = right = 1;
    }
    return cost_of(b, right) < cost_of(a, left) ? b : a;
}

/* --- choosing --------------------------------------------------------------------------------- */

static struct mg_peer *choose(struct mg_peer_group *group, const struct mg_pick *pick,
                              uint64_t tried)
{
    if (group->ring) {
        return pick_by_hash(group, pick->hash, tried);
    }
    switch (group->upstream ? group->upstream->algorithm : MG_BALANCE_ROUND_ROBIN) {
    case MG_BALANCE_LEAST_CONNECTIONS:
        return pick_in_turn(group, tried, least_loaded(group, tried));
    case MG_BALANCE_LATENCY:
        return pick_by_latency(group, tried, pick->now_ms);
    default:
        return pick_in_turn(group, tried, NULL);
    }
}

/* Another target first. */
static struct mg_peer *choose_any(struct mg_peer_group *group, const struct mg_pick *pick)
{
    struct mg_peer *peer = choose(group, pick, pick->tried);
    return peer || pick->tried == 0 ? peer : choose(group, pick, 0);
}

/* A target whose time out is over gets this request, unless another worker is quicker. */
static struct mg_peer *claim_probe(struct mg_peer_group *group, const struct mg_pick *pick)
{
    for (uint32_t i = 0; i < group->count; i++) {
        struct mg_peer *peer = &group->peers[i];
        if (peer->probe_due && (pick->tried >> peer->index % 64 & 1U) == 0 &&
            has_room(group, peer) && mg_health_claim(group, peer, pick->now_ms)) {
            return peer;
        }
    }
    return NULL;
}

static bool is_full(const struct mg_peer_group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        const struct mg_peer *peer = &group->peers[i];
        if (peer->target->weight > 0 && peer->share > 0 && !has_room(group, peer)) {
            return true;
        }
    }
    return false;
}

static struct mg_peer *pick_watched(struct mg_peer_group *group, struct mg_pick *pick)
{
    struct mg_peer *peer = NULL;
    mg_health_look(group, pick->now_ms);
    if (group->has_probe) {
        peer = claim_probe(group, pick);
        pick->probe = peer != NULL;
    }
    if (!peer && group->is_closed) {
        return NULL;
    }
    if (!peer && group->is_ramping) {
        skip_by_share(group, pick->hash);
        peer = choose_any(group, pick);
        skip_nobody(group);
    }
    peer = peer ? peer : choose_any(group, pick);
    pick->epoch = peer ? mg_health_epoch(peer) : 0;
    return peer;
}

struct mg_peer *mg_balance_pick(struct mg_peer_group *group, struct mg_pick *pick)
{
    if (group->is_plain) {
        return group->peers;
    }
    pick->probe = pick->is_full = false;
    pick->epoch = 0;
    struct mg_peer *peer = group->is_watched ? pick_watched(group, pick) : choose_any(group, pick);
    if (!peer) {
        pick->is_full = !group->is_closed && is_full(group);
    }
    return peer;
}

void mg_balance_latency(struct mg_peer_group *group, struct mg_peer *peer, uint64_t us,
                        uint64_t now_ms)
{
    if (!group->upstream || group->upstream->algorithm != MG_BALANCE_LATENCY) {
        return;
    }
    const double kept = exp(-(double)(now_ms - peer->latency_ms) / FORGET_MS);
    peer->latency_us =
        peer->latency_us > 0 ? peer->latency_us * kept + (double)us * (1 - kept) : (double)us;
    peer->latency_us = peer->latency_us < 1 ? 1 : peer->latency_us;
    peer->latency_ms = now_ms;
}
