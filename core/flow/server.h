/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all connections of one worker share: loop, pools, counters, the current generation, the lists of
 * connections and of pooled exchanges. The worker opens one, gives it a generation and listening fds.
 *
 *     mg_server_open(&server, &parts);
 *     mg_server_use(&server, generation);               // takes a reference; again after each reload
 *     mg_server_listen(&server, fd, is_unix, index);    // index of gateway.listeners
 *     mg_server_drain(&server, on_drained, context);    // stop accepting, finish what has begun
 *     mg_server_close(&server);                         // cut what is left
 */
#pragma once

#include "base/list.h"
#include "base/log.h"
#include "base/stats.h"
#include "net/listen.h"
#include "net/pool.h"
#include "script/generation.h"

struct mg_client;
struct mg_exchange;
struct mg_client_user;

#define MG_SERVER_LISTENERS 64
#define MG_HIGH_WATER 65536 /* bytes queued in one direction before the other side is not read */

struct mg_server_parts { /* borrowed; outlive the server */
    struct mg_loop *loop;
    struct mg_log *log;
    struct mg_stats *stats;
    struct mg_pool *pool;
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
    const struct mg_client_user *user; /* the exchange layer */
    struct mg_server_listener listeners[MG_SERVER_LISTENERS];
    uint32_t listener_count;
    struct mg_link clients;
    uint32_t client_count;
    uint64_t connections_made;
    uint64_t id_seed, id_count; /* of request ids */
    struct mg_link free_exchanges;
    struct mg_link ended_exchanges; /* recycled by mg_server_turn_end, so that callbacks on the stack
                                       never meet a reused one */
    uint32_t exchange_slots;  /* made so far */
    uint32_t exchanges_active; /* not yet ended, log phase included */
    struct mg_buf head;       /* scratch: heads are built here and written at once */
    bool draining, closing;
    void (*on_drained)(void *context);
    void *context;
    /* tests: address that the next accepted connections report, in turn; empty = the real one */
    char test_peer_ip[48];
};

void mg_server_open(struct mg_server *server, const struct mg_server_parts *parts);
/* Requests whose head completes from now on use this generation; the server holds a reference. */
void mg_server_use(struct mg_server *server, struct mg_generation *generation);
/* Takes the fd. */
MG_NODISCARD int mg_server_listen(struct mg_server *server, int fd, bool is_unix, uint32_t index);
/* Stops accepting; kept-alive connections get "Connection: close" on their next answer or are closed
 * after 5 s of quiet. on_drained fires once, when the last connection and request have ended. */
void mg_server_drain(struct mg_server *server, void (*on_drained)(void *context), void *context);
/* Cuts everything at once; also frees the pooled exchanges when they have ended. */
void mg_server_close(struct mg_server *server);
/* At the end of each loop turn (the worker's before_poll): recycles what has ended. */
void mg_server_turn_end(struct mg_server *server);
/* For clients and exchanges: fires on_drained when nothing is left. */
void mg_server_check_drained(struct mg_server *server);

static inline const struct mg_limits *mg_server_limits(const struct mg_server *server)
{
    return &server->generation->config->gateway.limits;
}
