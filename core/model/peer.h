/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upstreams with their targets, as one worker sees them in one generation; a service without an
 * upstream is a group of one target. In-flight counts are this worker's; health and the counters of
 * the records are common to all workers. Who is asked next: model/balance.h.
 *
 *     struct mg_peer_group *group = mg_peers_group(peers, service->group);
 *     mg_peer_begin(group, peer);
 *     ...
 *     mg_peer_end(group, peer);
 */
#pragma once

#include "base/list.h"
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
    uint32_t share;       /* of its requests that it may get, percent; 0: none. model/health.c */
    uint32_t share_saved; /* counts up to the next one that it may get */
    bool is_skipped;      /* this time, for its share */
    bool probe_due;       /* its time out is over: one request is to find out */
    double latency_us;    /* moving average to the head of the answer, 0 = unknown */
    uint64_t latency_ms;  /* when that was measured */
};

struct mg_peer_group {
    const struct mg_upstream_config *upstream; /* NULL: a service's own host */
    const struct mg_upstream_settings *settings;
    struct mg_upstream_record *record; /* shared by all workers */
    struct mg_peer *peers;
    uint32_t count;
    uint32_t inflight, pending; /* for the upstream's limits; pending: in the queue, and ... */
    uint32_t woken;             /* ... taken out of it, with a place, and not sent yet */
    struct mg_link queue;       /* of the owner: requests that wait, the first one first */
    uint32_t *ring;             /* consistent hash: slot -> peer index */
    uint32_t ring_size;
    uint64_t total_weight;
    /* model/health.c: what is known of all targets together */
    bool is_plain;      /* one target, about which nothing is known or limited */
    bool is_watched;    /* results are recorded */
    bool is_closed;     /* too little of it is healthy: nothing is sent */
    bool is_ramping;    /* a target has a share between 0 and 100 */
    bool has_probe;     /* a target's probe is due */
    uint64_t looked_ms; /* when that was found out */
    uint32_t weighted;  /* targets with weight */
    uint64_t random;    /* of the balancer */
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
/* Notes that the records are in use, each minute; may be called more often. */
void mg_peers_touch(struct mg_peers *peers, uint64_t now_ms);
void mg_peers_free(struct mg_peers *peers);
uint32_t mg_peers_group_count(const struct mg_peers *peers);
struct mg_peer_group *mg_peers_group(struct mg_peers *peers, uint32_t group);
/* Group of an upstream by name, or NULL. */
struct mg_peer_group *mg_peers_find(struct mg_peers *peers, mg_str upstream);

void mg_peer_begin(struct mg_peer_group *group, struct mg_peer *peer);
void mg_peer_end(struct mg_peer_group *group, struct mg_peer *peer);
