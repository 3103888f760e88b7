/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's client under test: a loop, a set, one instance, and what became of the commands. With
 * a played server (redis_peer.h) the clock is a virtual one, which goes on by a millisecond
 * whenever nothing is left to do.
 *
 *     struct redis_client client;
 *     redis_client_open(&client);
 *     client.options.nodes = ...; redis_client_hold(&client);
 *     struct redis_call *call = redis_client_send(&client, "GET", "key", NULL);
 *     redis_client_wait(&client, call);       // call->result, call->reply as text
 *     redis_client_close(&client);
 */
#pragma once

#include "base/shm.h"
#include "net/redis.h"

#define REDIS_CALLS 4096

struct redis_call {
    struct mg_redis_command command;
    enum mg_redis_result result;
    bool is_over;
    uint64_t took_ms;
    uint64_t sent_ms;
    struct redis_client *client;
    char reply[256]; /* "(nil)", "(integer) 5", the text, "[a, b]" */
};

struct redis_client {
    struct mg_loop *loop, own_loop;
    struct mg_dns *dns;
    struct mg_shm *shm, *own_shm;
    struct mg_stats stats;
    struct mg_redis_set *set;
    struct mg_redis *redis;
    struct mg_redis_options options;
    struct mg_redis_address node;
    struct redis_call *calls; /* REDIS_CALLS */
    uint32_t count, over;
    uint32_t results[MG_REDIS_RESULT_COUNT];
};

/* With the real clock, and patient timeouts. */
void redis_client_open(struct redis_client *client);
void redis_client_open_virtual(struct redis_client *client);
/* A second worker: the same loop and shared memory. */
void redis_client_open_beside(struct redis_client *client, struct redis_client *first);
/* Takes the instance, at that address. */
void redis_client_hold(struct redis_client *client, const char *address);
/* Takes the instance, as the options have been set. */
void redis_client_hold_options(struct redis_client *client);
void redis_client_close(struct redis_client *client);
/* Words end with NULL. A refusal at once is a call that is over. */
struct redis_call *redis_client_send(struct redis_client *client, ...);
struct redis_call *redis_client_ask(struct redis_client *client, const struct mg_redis_ask *ask);
/* Until it is over. */
void redis_client_wait(struct redis_client *client, const struct redis_call *call);
void redis_client_wait_all(struct redis_client *client);
/* Until its connections are up. */
void redis_client_wait_up(struct redis_client *client);
/* redis_client_hold, and then that. */
void redis_client_hold_up(struct redis_client *client, const char *address);
/* Until its breaker is open. */
void redis_client_wait_open(struct redis_client *client);
/* Sends and waits; the call's reply when OK, else the result's word. */
const char *redis_client_say(struct redis_client *client, ...);
/* Says PING every now and then until the store answers; how long that took, ms. */
uint64_t redis_client_wait_ok(struct redis_client *client);
/* Runs the loop for so long. */
void redis_client_run(struct redis_client *client, uint64_t ms);
