/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Balancing over the targets of an upstream: round robin (smooth weighted), least connections,
 * consistent hash (ketama-like ring over slots). One mg_peers per worker and generation; a service
 * without an upstream is a group of one target. In-flight counts are this worker's.
 *
 *     struct mg_peer_group *group = mg_peers_group(peers, service->group);
 *     struct mg_peer *peer = mg_peers_pick(group, hash, tried);   // NULL: none left
 *     mg_peer_begin(group, peer);
 *     ...
 *     mg_peer_end(group, peer);
 */
#pragma once

#include "base/shm_upstreams.h"
#include "model/config.h"

enum mg_full_limit { /* why a request was refused at once */
                     MG_FULL_CONNECTIONS,
                     MG_FULL_PENDING,
                     MG_FULL_REQUESTS,
                     MG_FULL_WAITED, /* it waited in the queue for too long */
};
/* "connections"; static */
const char *mg_full_limit_name(enum mg_full_limit limit);

struct mg_peer {
    const struct mg_target *target;
    struct mg_target_record *record; /* its health, shared by all workers; NULL: nobody looks */
    void *origin;                    /* of the owner: its net/pool origin */
    uint32_t inflight;               /* requests begun and not ended */
    int64_t current;                 /* smooth weighted round robin */
    uint32_t index;                  /* in its group */
};

struct mg_peer_group {
    const struct mg_upstream_config *upstream; /* NULL: a service's own host */
    struct mg_upstream_record *record;         /* shared by all workers */
    struct mg_peer *peers;
    uint32_t count;
    uint32_t inflight, pending; /* for the upstream's limits */
    uint32_t *ring;             /* consistent hash: slot -> peer index */
    uint32_t ring_size;
    uint64_t total_weight;
};

struct mg_peers;

/* Groups in the order of services and upstreams; sets service->group of every service. The owner
 * visits the peers to attach origins. opening: where the records stand; NULL, or for those that
 * find no room there: in memory of their own. */
struct mg_peers *mg_peers_new(struct mg_config *config, const struct mg_upstream_opening *opening);
/* Groups whose records found no room in the shared memory. */
uint32_t mg_peers_unshared(const struct mg_peers *peers);
/* For requests that a plugin sends to a place of its own. */
struct mg_upstream_record *mg_peers_elsewhere(struct mg_peers *peers);
/* Notes that the records are in use; each minute will do. */
void mg_peers_touch(struct mg_peers *peers, uint64_t now_ms);
void mg_peers_free(struct mg_peers *peers);
uint32_t mg_peers_group_count(const struct mg_peers *peers);
struct mg_peer_group *mg_peers_group(struct mg_peers *peers, uint32_t group);
/* Group of an upstream by name, or NULL. */
struct mg_peer_group *mg_peers_find(struct mg_peers *peers, mg_str upstream);

/* hash: for consistent hashing. tried: bitmap of peer indexes of this request's earlier tries
 * (targets over 64 share bit index % 64); another target is preferred, a tried one is used when
 * none is left. NULL only when the group has no target with weight. */
struct mg_peer *mg_peers_pick(struct mg_peer_group *group, uint64_t hash, uint64_t tried);
void mg_peer_begin(struct mg_peer_group *group, struct mg_peer *peer);
void mg_peer_end(struct mg_peer_group *group, struct mg_peer *peer);
