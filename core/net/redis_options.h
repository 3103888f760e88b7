/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a Redis is reached: one entry of `gateway.redis`, or the record `redis` of a plugin
 * (docs/configuration.md). Two with equal options are the same instance, whoever asks.
 */
#pragma once

#include "base/buf.h"
#include "net/redis_breaker.h"
#include "net/tls.h"

enum mg_redis_topology { MG_REDIS_SINGLE, MG_REDIS_SENTINEL, MG_REDIS_CLUSTER };

struct mg_redis_address {
    mg_str host; /* name, IP literal, or "unix:/path" */
    uint16_t port;
};

struct mg_redis_options {
    mg_str name; /* for logs and status */
    enum mg_redis_topology topology;
    struct mg_redis_address *nodes; /* SINGLE: the server; else where to begin */
    uint32_t node_count;            /* 1 or more */
    mg_str master;                  /* SENTINEL: what the sentinels call it */
    mg_str sentinel_username, sentinel_password;
    mg_str username, password; /* empty: none */
    uint32_t database;         /* 0 on a cluster */
    bool use_tls;              /* to the servers, and to the sentinels */
    struct mg_tls_options tls;
    mg_str server_name;  /* that certificates must have; empty: the host */
    uint64_t timeout_ms; /* from hand-over to reply, where a command does not say */
    uint64_t connect_timeout_ms;
    uint32_t connections; /* of a worker to a node, 1 .. 16 */
    uint32_t max_pending; /* commands of a worker that wait */
    struct mg_redis_breaker_rule breaker;
};

/* A deep copy in one block. */
struct mg_redis_options *mg_redis_options_copy(const struct mg_redis_options *options);
/* Wipes the secrets. */
void mg_redis_options_free(struct mg_redis_options *options);
bool mg_redis_options_equal(const struct mg_redis_options *a, const struct mg_redis_options *b);
/* What makes the store itself: name, topology, nodes, master, database. MG_ENO_MEMORY: over the
 * buffer's cap. */
MG_NODISCARD int mg_redis_options_identity(const struct mg_redis_options *options,
                                           struct mg_buf *out);
