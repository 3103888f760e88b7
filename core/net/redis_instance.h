/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of an instance share: its life, its breaker, its nodes and the commands that wait
 * for a connection. Private to net/redis*; redis.h is the way in.
 *
 * How the servers are found is the affair of a topology (struct mg_redis_ops): it makes nodes, says
 * which one a command goes to, and tells when there is something to send to.
 *
 *     CONNECTING ──a node is up──► READY ──breaker opens──► OPEN ──probe succeeds──► READY
 *         └───────────────────── breaker opens ──────────────┘
 */
#pragma once

#include "base/log.h"
#include "base/stats.h"
#include "net/redis_node.h"
#include "net/redis_options.h"
#include "net/redis_timing.h"

struct mg_shm;
struct mg_redis_cluster;
struct mg_redis_sentinels;

/* What the instances of a worker stand on; outlives them. */
struct mg_redis_parts {
    struct mg_loop *loop;
    struct mg_dns *dns;
    struct mg_shm *shm;     /* breakers common to all workers; NULL: of this process alone */
    struct mg_stats *stats; /* may be NULL */
    struct mg_log *log;     /* may be NULL */
    uint32_t worker;        /* whose words of metrics are used */
};

struct mg_redis_ops {
    /* Begins to connect, from nothing. redis->probing: one connection is enough. */
    void (*start)(struct mg_redis *redis);
    /* Gives up what is under way; the nodes are closed after it. */
    void (*stop)(struct mg_redis *redis);
    /* Where the command goes; NULL: not known. */
    struct mg_redis_node *(*node_of)(struct mg_redis *redis,
                                     const struct mg_redis_command *command);
    /* The node has a new connection; if with that the instance can serve, calls
     * mg_redis_instance_ready. */
    void (*on_up)(struct mg_redis *redis, struct mg_redis_node *node);
    /* A connection of the node ended or could not be made, and the breaker has been told. */
    void (*on_down)(struct mg_redis *redis, struct mg_redis_node *node);
    /* node_of may know more, soon. */
    bool (*is_searching)(const struct mg_redis *redis);
    /* A server said READONLY, or MOVED: what we know of the servers is old. */
    void (*on_stale)(struct mg_redis *redis);
    /* MOVED or ASK: notes where the command goes now. false: it cannot be followed. */
    bool (*redirect)(struct mg_redis *redis, struct mg_redis_command *command,
                     const struct mg_redis_connection *from, enum mg_redis_result result,
                     mg_str text);
};

struct mg_redis {
    struct mg_link link; /* in the set */
    uint32_t references;
    const struct mg_redis_parts *parts;
    const struct mg_redis_scripts *scripts;
    const struct mg_redis_ops *ops;
    struct mg_redis_options *options;
    struct mg_tls_context *tls; /* NULL: none */
    struct mg_redis_breaker breaker;
    struct mg_redis_timing timing;
    struct mg_store_record own_record; /* without shared memory */
    struct mg_deadline_class *timeout_class;
    struct mg_link nodes;         /* struct mg_redis_node */
    struct mg_redis_node *master; /* SINGLE, SENTINEL; NULL: not known */
    struct mg_redis_cluster *cluster;
    struct mg_redis_sentinels *sentinels;
    struct mg_link waiting;       /* struct mg_redis_command without a connection */
    struct mg_link pausing;       /* ... that are sent again in a moment */
    uint32_t pending;             /* commands not answered yet */
    bool is_open;                 /* we know that the breaker is open, and hold no connections */
    bool probing;                 /* this worker looks whether the store is back */
    bool closed;                  /* for good */
    enum mg_redis_result failure; /* of starting, the last one */
    uint64_t opened_ms;
    struct mg_deadline watch; /* of the breaker, while commands are pending */
    struct mg_deadline probe; /* when to look next */
    struct mg_deadline sweep; /* closes retired nodes */
    struct mg_loop_task news; /* the breaker was found open or closed */
    uint32_t complained_of;   /* reasons, as bits, why connections could not be made */
    uint32_t random;
};

struct mg_redis *mg_redis_instance_new(const struct mg_redis_parts *parts,
                                       const struct mg_redis_scripts *scripts,
                                       const struct mg_redis_options *options,
                                       const struct mg_redis_ops *ops);
/* Frees it with the last reference; commands under way are told REFUSED. */
void mg_redis_instance_release(struct mg_redis *redis);
/* Closes everything; it stays, refusing, until the last reference is given back. */
void mg_redis_instance_close(struct mg_redis *redis);

/* --- for the topologies --- */

struct mg_redis_node *mg_redis_instance_add_node(struct mg_redis *redis, mg_str host,
                                                 uint16_t port);
/* The one with that address that is not retired, or NULL. */
struct mg_redis_node *mg_redis_instance_find_node(struct mg_redis *redis, mg_str host,
                                                  uint16_t port);
/* Some node that has a connection, or NULL. */
struct mg_redis_node *mg_redis_instance_up_node(struct mg_redis *redis);
/* Its commands are told that result. */
void mg_redis_instance_drop_node(struct mg_redis *redis, struct mg_redis_node *node,
                                 enum mg_redis_result result);
/* No more commands go there; those on it have a second for their replies. */
void mg_redis_instance_retire_node(struct mg_redis *redis, struct mg_redis_node *node);
/* Connects as the moment asks for: all connections, or one in a probe. */
void mg_redis_instance_connect(struct mg_redis *redis, struct mg_redis_node *node);
/* Commands can be sent: ends a probe, sends what waits. */
void mg_redis_instance_ready(struct mg_redis *redis);
/* Starting (or the probe) has failed: counts for the breaker. */
void mg_redis_instance_failed(struct mg_redis *redis, enum mg_redis_result result, mg_str text);
/* Commands that wait are sent, or fail where nothing is to be waited for any more. */
void mg_redis_instance_reroute(struct mg_redis *redis);
/* There is news that makes a probe worth while before its time. */
void mg_redis_instance_probe_early(struct mg_redis *redis);

/* --- for commands --- */

/* May commands be sent now? OK, OPEN, OVERLOAD or REFUSED. */
enum mg_redis_result mg_redis_instance_admit(struct mg_redis *redis);
/* Sends the command or lets it wait; else what it fails with. */
MG_NODISCARD enum mg_redis_result mg_redis_instance_route(struct mg_redis *redis,
                                                          struct mg_redis_command *command);
/* The store answered, or failed with an illness. */
void mg_redis_instance_note(struct mg_redis *redis, enum mg_redis_result result);
/* The command is over: forgets it and tells its owner. May free the instance. */
void mg_redis_instance_finish(struct mg_redis_command *command, enum mg_redis_result result,
                              struct mg_resp_reply *reply);
