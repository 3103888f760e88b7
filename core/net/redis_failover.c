/* SPDX-License-Identifier: Apache-2.0 */
/* The master that the sentinels name. */
#include "net/redis_failover.h"

#include "net/redis_sentinel.h"

static void use_master(struct mg_redis *redis, const struct mg_redis_address *address)
{
    struct mg_redis_node *master = redis->master;
    if (master && mg_redis_node_is(master, address->host, address->port)) {
        if (!mg_redis_node_pick(master)) {
            mg_redis_sentinels_hurry(redis->sentinels);
        }
        return;
    }
    if (master) {
        mg_redis_instance_retire_node(redis, master);
    }
    redis->master = mg_redis_instance_add_node(redis, address->host, address->port);
    mg_redis_instance_connect(redis, redis->master);
}

static void on_master(void *context, enum mg_redis_result result, bool is_new,
                      const struct mg_redis_address *master, mg_str text)
{
    struct mg_redis *redis = context;
    if (redis->is_open && !redis->probing) {
        mg_redis_sentinels_hurry(redis->sentinels);
        if (result == MG_REDIS_OK && is_new) {
            mg_redis_instance_probe_early(redis);
        }
        return;
    }
    if (result == MG_REDIS_OK) {
        use_master(redis, master);
    } else if (!redis->master || !mg_redis_node_pick(redis->master)) {
        redis->references++;
        mg_redis_instance_failed(redis, result, text);
        mg_redis_instance_reroute(redis);
        mg_redis_instance_release(redis);
    }
}

static void start(struct mg_redis *redis)
{
    if (!redis->sentinels) {
        redis->sentinels = mg_redis_sentinels_new(redis->parts->loop, redis->parts->dns,
                                                  redis->options, redis->tls, on_master, redis);
    }
    const struct mg_redis_address *last = mg_redis_sentinels_last(redis->sentinels);
    if (last && !redis->master) {
        use_master(redis, last); /* it will say itself whether it is one still */
    }
    mg_redis_sentinels_ask(redis->sentinels);
}

/* While the breaker is open they are asked all the same: a new master is worth an early probe. */
static void stop(struct mg_redis *redis)
{
    if (redis->closed) {
        mg_redis_sentinels_free(redis->sentinels);
        redis->sentinels = NULL;
    } else if (redis->sentinels) {
        mg_redis_sentinels_hurry(redis->sentinels);
    }
}

static struct mg_redis_node *node_of(struct mg_redis *redis, const struct mg_redis_command *command)
{
    (void)command;
    return redis->master;
}

static void on_up(struct mg_redis *redis, struct mg_redis_node *node)
{
    if (node == redis->master) {
        mg_redis_instance_ready(redis);
    }
}

static void on_down(struct mg_redis *redis, struct mg_redis_node *node)
{
    (void)node;
    mg_redis_sentinels_hurry(redis->sentinels);
}

static bool is_searching(const struct mg_redis *redis)
{
    return !redis->master && redis->sentinels && mg_redis_sentinels_is_asking(redis->sentinels);
}

static void on_stale(struct mg_redis *redis)
{
    mg_redis_sentinels_hurry(redis->sentinels);
}

const struct mg_redis_ops mg_redis_failover_ops = {.start = start,
                                                   .stop = stop,
                                                   .node_of = node_of,
                                                   .on_up = on_up,
                                                   .on_down = on_down,
                                                   .is_searching = is_searching,
                                                   .on_stale = on_stale};
