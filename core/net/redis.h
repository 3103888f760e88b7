/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Redis, asked without waiting: one set of instances per worker; an instance is one Redis (a
 * server, a master behind sentinels, or a cluster) with a few connections that all commands share.
 *
 *     static void on_reply(struct mg_redis_command *command, enum mg_redis_result result,
 *                          struct mg_resp_reply *reply) { ... }
 *
 *     struct mg_redis *redis = mg_redis_hold(set, &options);
 *     struct mg_redis_script *script = mg_redis_script_hold(mg_redis_scripts(set), source);
 *     self->command.fn = on_reply;
 *     const struct mg_redis_ask ask = {.script = script, .keys = keys, .key_count = 2,
 *                                      .words = words, .count = 3, .timeout_ms = 20};
 *     enum mg_redis_result result = mg_redis_send(redis, &self->command, &ask);
 *     if (result) ...            // OPEN, OVERLOAD, REFUSED: nothing was sent, fn does not fire
 *     mg_redis_cancel(&self->command);        // fn will not fire
 *     mg_redis_release(redis);
 *
 * Promises. A command is answered within its timeout, whatever the server does. All commands of a
 * loop turn leave in one write and, for one server, keep their order. A reply that comes too late
 * is thrown away in its place. A breaker that all workers share stops asking a store that fails,
 * and releases every command that waits; a probe in the background closes it. NOSCRIPT, ASK and
 * TRYAGAIN are followed once each, MOVED twice, within the timeout: who says so has not obeyed. A
 * command that was sent and not answered is never sent again: it may have been.
 */
#pragma once

#include "net/redis_command.h"
#include "net/redis_instance.h"
#include "net/redis_options.h"
#include "net/redis_script.h"

struct mg_redis_set;

struct mg_redis_ask {
    const mg_str *words; /* the command; with a script: its ARGV */
    uint32_t count;
    struct mg_redis_script *script; /* NULL: a plain command. Held by the caller until fn */
    const mg_str *keys;             /* of the script */
    uint32_t key_count;
    uint64_t timeout_ms; /* 0: the instance's */
};

struct mg_redis_set *mg_redis_set_open(const struct mg_redis_parts *parts);
/* All commands under way are told REFUSED. Instances still held stay, refusing. */
void mg_redis_set_close(struct mg_redis_set *set);
/* Scripts that every new connection loads. */
struct mg_redis_scripts *mg_redis_scripts(struct mg_redis_set *set);

/* The instance with these options, with one more reference; it begins to connect. */
struct mg_redis *mg_redis_hold(struct mg_redis_set *set, const struct mg_redis_options *options);
/* One more reference to it. */
struct mg_redis *mg_redis_share(struct mg_redis *redis);
void mg_redis_release(struct mg_redis *redis);
/* A word of its record, common to all workers (base/shm_words.h): how many hosts count limits in
 * it; 0 = not known. */
uint64_t *mg_redis_hosts(struct mg_redis *redis);
/* The same for people: as many as count for their limits; 0 = it is not asked for limits. */
uint64_t *mg_redis_instances(struct mg_redis *redis);

/* OK: fn fires once, after this call has returned. Else it does not. The words are copied. A
 * command is at rest before (cleared memory is), and may be sent again once fn has fired. */
MG_NODISCARD enum mg_redis_result mg_redis_send(struct mg_redis *redis,
                                                struct mg_redis_command *command,
                                                const struct mg_redis_ask *ask);
/* fn will not fire. Harmless at rest. */
void mg_redis_cancel(struct mg_redis_command *command);
