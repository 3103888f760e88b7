/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all connections of one worker share: loop, pools, counters, the current generation, the
 * lists of connections and of pooled exchanges. Passed down to every client, upstream and exchange;
 * server.h has the functions that the worker calls.
 */
#pragma once

#include "base/buf.h"
#include "base/list.h"
#include "base/log.h"
#include "base/stats.h"
#include "net/listen.h"
#include "net/pool.h"
#include "script/generation.h"
#include "wire/chunk.h"
#include "wire/http1.h"
#include "wire/rules.h"

struct mg_checks;
struct mg_client;
struct mg_exchange;
struct mg_client_user;
struct mg_meter;
struct mg_req;

#define MG_SERVER_LISTENERS 64
#define MG_SERVER_QUIET_MS 5000 /* how long a kept-alive client may stay quiet while draining */
#define MG_LINGER_MS 2000       /* how long we let a client read an answer before the socket goes */
#define MG_HIGH_WATER 65536 /* bytes queued in one direction before the other side is not read */
/* A body is spliced while at least so many octets of it are to come, all but the last ones. */
#define MG_SPLICE_LEAST (64 * 1024)
#define MG_SPLICE_TAIL (16 * 1024)

struct mg_server_parts { /* borrowed; outlive the server */
    struct mg_loop *loop;
    struct mg_log *log;
    struct mg_stats *stats;
    struct mg_pool *pool;      /* NULL: there are no upstreams */
    struct mg_meter *meter;    /* NULL: requests are not counted in metrics */
    struct mg_shm *shm;        /* NULL in tests: nothing is shared */
    uint32_t worker;           /* index there */
    uint32_t connection_limit; /* clients at a time; beyond: 503 and close */
};

struct mg_server_listener {
    struct mg_server *server;
    struct mg_listener *listener;
    uint32_t index;
    uint16_t port;
};

struct mg_server {
    struct mg_server_parts parts;
    struct mg_generation *generation;
    struct mg_checks *checks;          /* NULL: there are no upstreams */
    const struct mg_limits *limits;    /* the generation's; of a server without one, its owner's */
    const struct mg_client_user *user; /* the exchange layer */
    struct mg_server_listener listeners[MG_SERVER_LISTENERS];
    uint32_t listener_count;
    struct mg_link clients;
    uint32_t client_count;
    uint32_t shed_count;   /* connections over the limit, being told so */
    uint32_t linger_count; /* connections with their last answer, until the client has read it */
    uint64_t connections_made;
    uint64_t id_seed, id_count;          /* of request ids */
    struct mg_rules_host_memo host_memo; /* of the last request */
    struct mg_link exchanges;            /* not yet ended, log phase included */
    struct mg_link free_exchanges;
    struct mg_link
        ended_exchanges;       /* recycled by mg_server_turn_end, so that callbacks on the stack
                                       never meet a reused one */
    uint32_t exchange_slots;   /* made so far */
    uint32_t exchanges_active; /* length of exchanges */
    struct mg_buf head;        /* scratch: heads are built here and written at once */
    bool draining, closing;
    void (*on_drained)(void *context);
    void *context;
    /* tests: address that the next accepted connections report, in turn; empty = the real one */
    char test_peer_ip[48];
    /* tests: told of every request that has ended, before its log phase; may be NULL */
    void (*on_finished)(void *context, const struct mg_req *req);
    void *finished_context;
};

/* Counts which limit a refused head was over, if any: err of mg_http1_scan, and its limit. */
void mg_server_count_head_limit(const struct mg_server *server, int err, enum mg_http1_limit limit);
/* Counts which limit a refused chunk was over, if any. */
void mg_server_count_chunk_limit(const struct mg_server *server, const struct mg_chunk *chunk);
/* For clients and exchanges: fires on_drained when nothing is left. */
void mg_server_check_drained(struct mg_server *server);

static inline const struct mg_limits *mg_server_limits(const struct mg_server *server)
{
    return server->limits;
}
