/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks sentinels who the master is (redis.io, "Sentinel client spec"): one after the other until
 * one knows, on a connection that is kept for the next question. Asks again at once when one of
 * them publishes that it is another now; and twice a second all the same, faster when not all is
 * well, since what is published may be lost.
 *
 *     sentinels = mg_redis_sentinels_new(loop, dns, options, tls, on_master, self);
 *     mg_redis_sentinels_ask(sentinels);    // on_master fires later, and after each question
 *     mg_redis_sentinels_free(sentinels);
 */
#pragma once

#include "net/redis_connection.h"
#include "net/redis_options.h"

struct mg_redis_sentinels;

/* OK with the master's address, which lives until the callback returns (is_new: another one than
 * the last time); else none of them could say, and text tells why. May free the sentinels. */
typedef void mg_redis_master_fn(void *context, enum mg_redis_result result, bool is_new,
                                const struct mg_redis_address *master, mg_str text);

/* options (borrowed): nodes, master, sentinel_username, sentinel_password, server_name,
 * connect_timeout_ms. tls: NULL = none. */
struct mg_redis_sentinels *mg_redis_sentinels_new(struct mg_loop *loop, struct mg_dns *dns,
                                                  const struct mg_redis_options *options,
                                                  struct mg_tls_context *tls,
                                                  mg_redis_master_fn *fn, void *context);
/* Asks at once, or goes on with the question that is under way. */
void mg_redis_sentinels_ask(struct mg_redis_sentinels *sentinels);
/* Something is wrong: asks at once, and every 100 ms for a while. */
void mg_redis_sentinels_hurry(struct mg_redis_sentinels *sentinels);
/* What they said last, or NULL; lives until they say something else. */
const struct mg_redis_address *mg_redis_sentinels_last(const struct mg_redis_sentinels *sentinels);
bool mg_redis_sentinels_is_asking(const struct mg_redis_sentinels *sentinels);
void mg_redis_sentinels_free(struct mg_redis_sentinels *sentinels);
