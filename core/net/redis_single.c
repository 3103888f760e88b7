/* SPDX-License-Identifier: Apache-2.0 */
/* One server. */
#include "net/redis_single.h"

static void start(struct mg_redis *redis)
{
    const struct mg_redis_address *address = &redis->options->nodes[0];
    if (!redis->master) {
        redis->master = mg_redis_instance_add_node(redis, address->host, address->port);
    }
    mg_redis_instance_connect(redis, redis->master);
}

static void stop(struct mg_redis *redis)
{
    (void)redis;
}

static struct mg_redis_node *node_of(struct mg_redis *redis, const struct mg_redis_command *command)
{
    (void)command;
    return redis->master;
}

static void on_up(struct mg_redis *redis, struct mg_redis_node *node)
{
    (void)node;
    mg_redis_instance_ready(redis);
}

static void on_down(struct mg_redis *redis, struct mg_redis_node *node)
{
    (void)redis;
    (void)node; /* it connects again by itself */
}

static bool is_searching(const struct mg_redis *redis)
{
    (void)redis;
    return false;
}

static void on_stale(struct mg_redis *redis)
{
    (void)redis; /* there is nobody to ask */
}

const struct mg_redis_ops mg_redis_single_ops = {.start = start,
                                                 .stop = stop,
                                                 .node_of = node_of,
                                                 .on_up = on_up,
                                                 .on_down = on_down,
                                                 .is_searching = is_searching,
                                                 .on_stale = on_stale};
