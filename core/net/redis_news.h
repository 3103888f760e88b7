/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listens to what sentinels publish about a master (redis.io, "Redis Sentinel Pub/Sub messages"): a
 * connection to each of them, since the one that leads a failover knows of it first. What they say
 * is a hint; they are asked then (redis_sentinel.h). Connections that end are made again.
 *
 *     news = mg_redis_news_new(&connect, &options, on_news, self);
 *     mg_redis_news_free(news);
 */
#pragma once

#include "net/redis_connection.h"
#include "net/redis_options.h"

struct mg_redis_news;

/* That one of the nodes says that the master is another now. May free the news. */
typedef void mg_redis_news_fn(void *context, uint32_t node);

/* connect: of all connections; host and port are the nodes'. options (borrowed): nodes, master. */
struct mg_redis_news *mg_redis_news_new(const struct mg_redis_connection_options *connect,
                                        const struct mg_redis_options *options,
                                        mg_redis_news_fn *fn, void *context);
void mg_redis_news_free(struct mg_redis_news *news);
