/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Redis that limits are counted in, as a worker has it: where the counters are, how many hosts
 * share them, what this worker's requests hold there, and what it owes to it for decisions that it
 * made alone. The decisions themselves: limit_script.h.
 *
 *     struct mg_limit_store *store = mg_limit_store_new(&parts, &options);
 *     mg_str key = mg_limit_store_key(store, &arena, hash, MG_STR("route:7:minute:gcra+1000"));
 *     enum mg_redis_result result = mg_limit_store_send(store, &command, &words);
 *     ... on its reply: mg_limit_store_answered(store);
 *     mg_limit_store_release(store);
 *
 * Every 2 s it says that the host is alive; a host is dead after 6 s without. It stays until
 * nothing is held or owed any more, whoever made it.
 */
#pragma once

#include "model/limit_script.h"
#include "net/redis.h"

struct mg_limit_store;

/* What the stores of a worker stand on; outlives them. */
struct mg_limit_store_parts {
    struct mg_redis_set *set;
    struct mg_loop *loop;
    struct mg_shm *shm;
    struct mg_stats *stats; /* may be NULL */
};

struct mg_limit_store_options {
    struct mg_redis *redis; /* one more reference is taken */
    mg_str script;          /* limit.redis.lua and take.redis.lua */
    mg_str prefix;
    bool tag_is_prefix; /* all keys in one slot; else each request's keys */
    uint64_t timeout_ms;
    int64_t hold_ttl_ms; /* what is held and has no news for so long is given back */
    uint32_t instances;  /* hosts; 0: those that are alive */
};

/* With one reference; what options point to is copied. */
struct mg_limit_store *mg_limit_store_new(const struct mg_limit_store_parts *parts,
                                          const struct mg_limit_store_options *options);
struct mg_limit_store *mg_limit_store_hold(struct mg_limit_store *store);
void mg_limit_store_release(struct mg_limit_store *store);

const struct mg_limit_store_parts *mg_limit_store_parts(const struct mg_limit_store *store);
/* Hosts that share the counters, this one included; 1 before it is known. */
uint32_t mg_limit_store_instances(const struct mg_limit_store *store);
int64_t mg_limit_store_hold_ttl_ms(const struct mg_limit_store *store);
/* hash: MG_LIMIT_KEY_CHARS. Memory of the arena. */
mg_str mg_limit_store_key(const struct mg_limit_store *store, struct mg_arena *arena, mg_str hash,
                          mg_str counter);
/* A name for what a request holds; never given twice. Memory of the arena. */
mg_str mg_limit_store_name(struct mg_limit_store *store, struct mg_arena *arena);

/* As mg_redis_send. */
MG_NODISCARD enum mg_redis_result mg_limit_store_send(struct mg_limit_store *store,
                                                      struct mg_redis_command *command,
                                                      const struct mg_limit_words *words);
/* The same, with a second for the reply: no request waits for it. So many at once do not hold up
 * the commands of requests for long. */
#define MG_LIMIT_STORE_AT_ONCE 200
MG_NODISCARD enum mg_redis_result mg_limit_store_send_aside(struct mg_limit_store *store,
                                                            struct mg_redis_command *command,
                                                            const struct mg_limit_words *words);
/* The same, and nobody looks at the reply; if it fails, that is counted. */
void mg_limit_store_tell(struct mg_limit_store *store, const struct mg_limit_words *words);
/* Redis has answered: what is owed is paid. */
void mg_limit_store_answered(struct mg_limit_store *store);

/* What a request holds of a concurrency limit. Memory of the request. */
struct mg_limit_slot {
    struct mg_link link;
    struct mg_limit_store *store;
    mg_str key, name; /* name: with ":UNITS" */
    uint64_t renewed; /* number of the round */
    bool was_asked;   /* Redis was asked for it, and has it or may have it */
};

/* Holds it from now on; in Redis it is already, or will be with the next round of renewals. */
void mg_limit_slot_hold(struct mg_limit_store *store, struct mg_limit_slot *slot, mg_str key,
                        mg_str name, bool was_asked);
/* Gives it back, without waiting. */
void mg_limit_slot_release(struct mg_limit_slot *slot);

/* Gives back what is held there: the request did not wait for the answer. */
void mg_limit_store_drop(struct mg_limit_store *store, mg_str key, mg_str name);
/* The same where no answer came: it is not taken later either. Told again until Redis knows, for as
 * long as holds last. */
void mg_limit_store_cancel(struct mg_limit_store *store, mg_str key, mg_str name);

/* Redis has not been asked, and that was admitted: it is added there once it answers again. full:
 * the limit's rule, share: this host's part, by which what is owed ages. */
void mg_limit_store_owe(struct mg_limit_store *store, mg_str key, const struct mg_limit_rule *full,
                        const struct mg_limit_rule *share, int64_t now_ms, int64_t units);
/* A ban that began meanwhile. */
void mg_limit_store_owe_ban(struct mg_limit_store *store, mg_str key,
                            const struct mg_limit_ban *ban, struct mg_cell_key cell);
