/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One Redis server and this worker's connections to it. They are opened together; one that ends or
 * cannot be made is made again after a while (longer from failure to failure, with jitter).
 *
 *     node = mg_redis_node_new(&settings, &handler, context);
 *     mg_redis_node_start(node);
 *     connection = mg_redis_node_pick(node);   // the same one for a whole loop turn, or NULL
 *     mg_redis_node_close(node, MG_REDIS_REFUSED);
 */
#pragma once

#include "net/redis_connection.h"

#define MG_REDIS_CONNECTIONS 16 /* of a node, at most */

struct mg_redis_node;

struct mg_redis_node_handler {
    /* A connection is ready. */
    void (*on_up)(void *context, struct mg_redis_node *node);
    /* One ended (was_up) or could not be made. The node may be closed in here. */
    void (*on_down)(void *context, struct mg_redis_node *node, bool was_up,
                    enum mg_redis_result result, mg_str text);
};

struct mg_redis_node_settings {
    struct mg_redis_connection_options options; /* host is copied, other texts borrowed */
    uint32_t connections;                       /* 1 .. MG_REDIS_CONNECTIONS */
    struct mg_stats *stats;                     /* may be NULL */
};

struct mg_redis_node *mg_redis_node_new(const struct mg_redis_node_settings *settings,
                                        const struct mg_redis_node_handler *handler, void *context);
/* Closes all connections; their commands are told that result. The owner has forgotten the node
 * before: those commands may go elsewhere at once. */
void mg_redis_node_close(struct mg_redis_node *node, enum mg_redis_result result);
/* Opens what is missing, at once. */
void mg_redis_node_start(struct mg_redis_node *node);
/* The same with one connection alone, and without another try when it fails. */
void mg_redis_node_try(struct mg_redis_node *node);
/* It will not be asked any more: opens nothing, and tells nobody what becomes of its connections,
 * which may still bring replies. */
void mg_redis_node_retire(struct mg_redis_node *node);
bool mg_redis_node_is_retired(const struct mg_redis_node *node);
/* The least loaded connection; within a loop turn always the same one, so that commands keep their
 * order. NULL: none is ready. */
struct mg_redis_connection *mg_redis_node_pick(struct mg_redis_node *node);
/* None is ready, but one is being made. */
bool mg_redis_node_is_opening(const struct mg_redis_node *node);
bool mg_redis_node_is(const struct mg_redis_node *node, mg_str host, uint16_t port);
/* Why the last connection could not be made, or ended. */
enum mg_redis_result mg_redis_node_failure(const struct mg_redis_node *node);
/* For the owner's list. */
struct mg_link *mg_redis_node_link(struct mg_redis_node *node);
struct mg_redis_node *mg_redis_node_from_link(struct mg_link *link);
