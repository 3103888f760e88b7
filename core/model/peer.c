/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups of targets, their records, and the ring of consistent hashing: each slot of the ring
 * belongs to the target that wins a weighted rendezvous for it (Thaler and Ravishankar; weights as
 * -w / ln h). A target's score depends on itself and the slot alone, so removing one moves only the
 * slots that it had, and adding one takes slots from all others in proportion to their weight.
 */
#include "model/peer.h"

#include "base/hash.h"
#include "model/retry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_SLOTS 10000
#define ARENA_BYTES 4096
#define TOUCH_MS 60000

struct mg_peers {
    struct mg_arena arena;
    struct mg_peer_group *groups;
    uint32_t count;
    uint32_t unshared;
    uint64_t touched_ms;
    struct mg_upstream_record *elsewhere;
    const struct mg_upstream_opening *opening; /* while they are made; NULL: nothing is shared */
};

const char *mg_full_limit_name(enum mg_full_limit limit)
{
    static const char *const names[MG_FULL_LIMITS] = {"connections", "pending", "requests",
                                                      "waited"};
    return names[limit];
}

/* --- records --- */

#define RECORD_ALIGN 64 /* a line of the cache */

/* As in the shared region, cleared. */
static void *new_record(struct mg_arena *arena, size_t bytes)
{
    const uintptr_t memory = (uintptr_t)mg_arena_zalloc(arena, bytes + RECORD_ALIGN);
    return (void *)((memory + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN);
}

/* "host:port", "[v6]:port", "unix:/path" */
static mg_str place_name(struct mg_arena *arena, mg_str host, uint16_t port)
{
    if (mg_str_starts(host, MG_STR("unix:"))) {
        return host;
    }
    const bool is_v6 = mg_str_find(host, ':', 0) >= 0 && host.ptr[0] != '[';
    return mg_arena_format(arena, is_v6 ? "[%.*s]:%u" : "%.*s:%u", MG_STR_ARG(host), port);
}

static struct mg_upstream_record *open_upstream(struct mg_peers *peers, mg_str name,
                                                const struct mg_retry *retry)
{
    struct mg_upstream_record *record = NULL;
    if (peers->opening) {
        const int at = mg_upstream_record_open(peers->opening, name);
        record = at >= 0 ? mg_upstream_record(peers->opening->shm, (uint32_t)at) : NULL;
        peers->unshared += record == NULL;
    }
    if (!record) {
        record = new_record(&peers->arena, sizeof *record);
    }
    mg_retry_set_budget(record, retry);
    return record;
}

static bool is_shared(const struct mg_peers *peers, const struct mg_upstream_record *record)
{
    return peers->opening && mg_upstream_record_index(peers->opening->shm, record) >= 0;
}

static struct mg_target_record *open_target(struct mg_peers *peers,
                                            const struct mg_upstream_record *upstream,
                                            const struct mg_target *target)
{
    struct mg_target_record *record = NULL;
    if (is_shared(peers, upstream)) {
        const int at = mg_target_record_open(
            peers->opening, (uint32_t)mg_upstream_record_index(peers->opening->shm, upstream),
            place_name(&peers->arena, target->host, target->port));
        record = at >= 0 ? mg_target_record(peers->opening->shm, (uint32_t)at) : NULL;
    }
    if (!record) {
        record = new_record(&peers->arena, sizeof *record);
    }
    record->weight = target->weight;
    return record;
}

/* --- ring --- */

/* A number in (0, 1), the same for a seed and slot everywhere. */
static double draw(uint64_t seed, uint32_t slot)
{
    uint64_t x = seed + (uint64_t)slot * 0x9e3779b97f4a7c15U; /* 2^64 / golden ratio, odd */
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93U; /* odd, bits well mixed; the xor-shifts spread its high bits */
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93U;
    x ^= x >> 32;
    return ((double)(x >> 11) + 0.5) * 0x1p-53;
}

static uint64_t seed_of(const struct mg_target *target)
{
    return mg_hash_mix(target->host, target->port);
}

static uint32_t owner_of(const struct mg_peer_group *group, const uint64_t *seeds, uint32_t slot)
{
    uint32_t owner = 0;
    double best = -1;
    for (uint32_t i = 0; i < group->count; i++) {
        const uint32_t weight = group->peers[i].target->weight;
        if (weight == 0) {
            continue;
        }
        const double score = -(double)weight / log(draw(seeds[i], slot));
        if (score > best) {
            best = score;
            owner = i;
        }
    }
    return owner;
}

static void build_ring(struct mg_arena *arena, struct mg_peer_group *group)
{
    group->ring_size = group->upstream->slots ? group->upstream->slots : DEFAULT_SLOTS;
    group->ring = mg_arena_alloc(arena, group->ring_size * sizeof *group->ring);
    uint64_t *seeds = mg_arena_alloc(arena, group->count * sizeof *seeds);
    for (uint32_t i = 0; i < group->count; i++) {
        seeds[i] = seed_of(group->peers[i].target);
    }
    for (uint32_t slot = 0; slot < group->ring_size; slot++) {
        group->ring[slot] = owner_of(group, seeds, slot);
    }
}

/* --- groups --- */

static void fill_group(struct mg_arena *arena, struct mg_peer_group *group,
                       const struct mg_target *targets, uint32_t count)
{
    group->count = count;
    mg_link_init(&group->queue);
    group->peers = mg_arena_zalloc(arena, count * sizeof *group->peers);
    for (uint32_t i = 0; i < count; i++) {
        group->peers[i].target = &targets[i];
        group->peers[i].index = i;
        group->peers[i].share = 100;
        group->total_weight += targets[i].weight;
        group->weighted += targets[i].weight > 0;
    }
}

static void add_service(struct mg_peers *peers, struct mg_service *service)
{
    struct mg_target *target = mg_arena_alloc(&peers->arena, sizeof *target);
    *target = (struct mg_target){.host = service->host, .port = service->port, .weight = 1};
    service->group = peers->count;
    struct mg_peer_group *group = &peers->groups[peers->count++];
    group->record = open_upstream(peers, place_name(&peers->arena, service->host, service->port),
                                  &service->settings.retry);
    group->settings = &service->settings;
    fill_group(&peers->arena, group, target, 1);
    group->is_plain = true;
}

static void add_upstream(struct mg_peers *peers, const struct mg_upstream_config *upstream)
{
    struct mg_peer_group *group = &peers->groups[peers->count++];
    group->upstream = upstream;
    group->settings = &upstream->settings;
    group->record = open_upstream(peers, upstream->name, &upstream->settings.retry);
    fill_group(&peers->arena, group, upstream->targets, upstream->target_count);
    for (uint32_t i = 0; i < group->count; i++) {
        group->peers[i].record = open_target(peers, group->record, group->peers[i].target);
    }
    const struct mg_outlier *outlier = &upstream->settings.outlier;
    const bool may_eject = outlier->consecutive > 0 || outlier->failure_percent > 0;
    group->is_watched = (may_eject && group->weighted > 1) ||
                        mg_health_rule_is_on(&upstream->passive) ||
                        mg_health_rule_is_on(&upstream->active);
    group->is_plain = group->count == 1 && group->weighted == 1 && !group->is_watched &&
                      upstream->settings.limits.target_connections == 0;
    if (upstream->algorithm == MG_BALANCE_CONSISTENT_HASH && group->total_weight > 0) {
        build_ring(&peers->arena, group);
    }
}

struct mg_peers *mg_peers_new(struct mg_config *config, const struct mg_upstream_opening *opening)
{
    struct mg_peers *peers = calloc(1, sizeof *peers);
    mg_require(peers != NULL);
    mg_arena_init(&peers->arena, ARENA_BYTES);
    peers->opening = opening;
    const size_t most = (size_t)config->service_count + config->upstream_count;
    peers->groups = mg_arena_zalloc(&peers->arena, (most + 1) * sizeof *peers->groups);
    for (uint32_t i = 0; i < config->service_count; i++) {
        if (!config->services[i].upstream) {
            add_service(peers, &config->services[i]);
        }
    }
    const uint32_t first = peers->count;
    for (uint32_t i = 0; i < config->upstream_count; i++) {
        add_upstream(peers, &config->upstreams[i]);
    }
    for (uint32_t i = 0; i < config->service_count; i++) {
        struct mg_service *service = &config->services[i];
        if (service->upstream) {
            service->group = first + (uint32_t)(service->upstream - config->upstreams);
        }
    }
    peers->elsewhere = open_upstream(peers, MG_STR("(chosen by a plugin)"),
                                     &config->gateway.upstream_defaults.retry);
    peers->opening = NULL;
    return peers;
}

uint32_t mg_peers_unshared(const struct mg_peers *peers)
{
    return peers->unshared;
}

struct mg_upstream_record *mg_peers_elsewhere(struct mg_peers *peers)
{
    return peers->elsewhere;
}

void mg_peers_touch(struct mg_peers *peers, uint64_t now_ms)
{
    if (now_ms - peers->touched_ms < TOUCH_MS) {
        return;
    }
    peers->touched_ms = now_ms;
    for (uint32_t i = 0; i < peers->count; i++) {
        const struct mg_peer_group *group = &peers->groups[i];
        mg_upstream_touch(&group->record->head, now_ms);
        for (uint32_t k = 0; k < group->count; k++) {
            if (group->peers[k].record) {
                mg_upstream_touch(&group->peers[k].record->head, now_ms);
            }
        }
    }
    mg_upstream_touch(&peers->elsewhere->head, now_ms);
}

void mg_peers_free(struct mg_peers *peers)
{
    if (!peers) {
        return;
    }
    mg_arena_deinit(&peers->arena);
    free(peers);
}

uint32_t mg_peers_group_count(const struct mg_peers *peers)
{
    return peers->count;
}

struct mg_peer_group *mg_peers_group(struct mg_peers *peers, uint32_t group)
{
    mg_require(group < peers->count);
    return &peers->groups[group];
}

struct mg_peer_group *mg_peers_find(struct mg_peers *peers, mg_str upstream)
{
    for (uint32_t i = 0; i < peers->count; i++) {
        const struct mg_upstream_config *config = peers->groups[i].upstream;
        if (config && mg_str_equal(config->name, upstream)) {
            return &peers->groups[i];
        }
    }
    return NULL;
}

void mg_peer_begin(struct mg_peer_group *group, struct mg_peer *peer)
{
    group->inflight++;
    peer->inflight++;
}

void mg_peer_end(struct mg_peer_group *group, struct mg_peer *peer)
{
    mg_require(group->inflight > 0 && peer->inflight > 0);
    group->inflight--;
    peer->inflight--;
}
