/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands from send to reply:
 *
 *     send -> [waiting] -> on a connection -> deliver -> finish
 *                ^                              |
 *                '--- NOSCRIPT, MOVED, ... -----'
 */
#include "net/redis.h"

#include "net/redis_cluster.h"
#include "net/redis_failover.h"
#include "net/redis_single.h"
#include "net/redis_slots.h"

#include <stdio.h>
#include <stdlib.h>

/* With a map that is a hand-over old, the server it names may be a replica, and the master that
 * this one names may hand over while it has the command. */
#define MOVES 2
#define TRY_AGAIN_MS 2 /* until a command with keys of a moving slot is sent once more */

struct mg_redis_set {
    struct mg_redis_parts parts;
    struct mg_redis_scripts scripts;
    struct mg_link instances; /* struct mg_redis */
};

/* --- the set ---------------------------------------------------------------------------------- */

struct mg_redis_set *mg_redis_set_open(const struct mg_redis_parts *parts)
{
    struct mg_redis_set *set = calloc(1, sizeof *set);
    mg_require(set != NULL);
    set->parts = *parts;
    if (parts->shm) {
        (void)mg_redis_timing_define(parts->shm);
    }
    mg_redis_scripts_init(&set->scripts);
    mg_link_init(&set->instances);
    return set;
}

void mg_redis_set_close(struct mg_redis_set *set)
{
    while (!mg_list_empty(&set->instances)) {
        mg_redis_instance_close(MG_CONTAINER(set->instances.next, struct mg_redis, link));
    }
    mg_redis_scripts_deinit(&set->scripts);
    free(set);
}

struct mg_redis_scripts *mg_redis_scripts(struct mg_redis_set *set)
{
    return &set->scripts;
}

static const struct mg_redis_ops *ops_of(enum mg_redis_topology topology)
{
    static const struct mg_redis_ops *const all[] = {[MG_REDIS_SINGLE] = &mg_redis_single_ops,
                                                     [MG_REDIS_SENTINEL] = &mg_redis_failover_ops,
                                                     [MG_REDIS_CLUSTER] = &mg_redis_cluster_ops};
    return all[topology];
}

struct mg_redis *mg_redis_hold(struct mg_redis_set *set, const struct mg_redis_options *options)
{
    for (struct mg_link *at = set->instances.next; at != &set->instances; at = at->next) {
        struct mg_redis *redis = MG_CONTAINER(at, struct mg_redis, link);
        if (mg_redis_options_equal(redis->options, options)) {
            redis->references++;
            return redis;
        }
    }
    struct mg_redis *redis =
        mg_redis_instance_new(&set->parts, &set->scripts, options, ops_of(options->topology));
    mg_list_append(&set->instances, &redis->link);
    return redis;
}

struct mg_redis *mg_redis_share(struct mg_redis *redis)
{
    redis->references++;
    return redis;
}

uint64_t *mg_redis_hosts(struct mg_redis *redis)
{
    return &redis->breaker.record->hosts;
}

uint64_t *mg_redis_instances(struct mg_redis *redis)
{
    return &redis->breaker.record->instances;
}

void mg_redis_release(struct mg_redis *redis)
{
    mg_redis_instance_release(redis);
}

/* --- replies ---------------------------------------------------------------------------------- */

static void on_again(struct mg_deadline *deadline)
{
    struct mg_redis_command *command = MG_CONTAINER(deadline, struct mg_redis_command, again);
    mg_link_remove(&command->link);
    const enum mg_redis_result result = mg_redis_instance_route(command->redis, command);
    if (result) {
        mg_redis_instance_finish(command, result, NULL);
    }
}

static bool wait_and_try(struct mg_redis_command *command)
{
    struct mg_loop *loop = command->redis->parts->loop;
    command->has_waited = true;
    mg_list_append(&command->redis->pausing, &command->link);
    mg_deadline_arm(mg_deadlines_class(&loop->deadlines, TRY_AGAIN_MS), &command->again, on_again,
                    mg_loop_now_ms(loop));
    return true;
}

/* To the server it was sent away to. MOVED is news for all commands, whatever becomes of this
 * one. */
static bool redirect(struct mg_redis_command *command, struct mg_redis_connection *connection,
                     enum mg_redis_result result, mg_str text)
{
    struct mg_redis *redis = command->redis;
    const bool is_moved = result == MG_REDIS_MOVED;
    if ((is_moved ? command->moves == MOVES : command->has_asked) || !redis->ops->redirect ||
        !redis->ops->redirect(redis, command, connection, result, text)) {
        return false;
    }
    if (is_moved) {
        command->moves++;
        redis->ops->on_stale(redis);
    } else {
        command->has_asked = true;
        if (command->script) {
            mg_redis_command_use_source(command); /* the target may lack it */
        }
    }
    return mg_redis_instance_route(redis, command) == MG_REDIS_OK;
}

/* The command goes on: it was sent once more, or will be. */
static bool follow(struct mg_redis_command *command, struct mg_redis_connection *connection,
                   enum mg_redis_result result, mg_str text)
{
    switch (result) {
    case MG_REDIS_NOSCRIPT:
        if (!command->script || command->has_been_eval) {
            return false;
        }
        mg_redis_command_use_source(command);
        return mg_redis_connection_send(connection, command) == MG_REDIS_OK;
    case MG_REDIS_MOVED:
    case MG_REDIS_ASK:
        return redirect(command, connection, result, text);
    case MG_REDIS_TRYAGAIN:
        return !command->has_waited && wait_and_try(command);
    default:
        return false;
    }
}

static void deliver(struct mg_redis_command *command, struct mg_redis_connection *connection,
                    enum mg_redis_result result, struct mg_resp_reply *reply)
{
    struct mg_redis *redis = command->redis;
    const bool is_error = reply && result != MG_REDIS_OK;
    const mg_str text = is_error ? mg_resp_text(reply, &reply->nodes[0]) : MG_STR("");
    if (is_error && follow(command, connection, result, text)) {
        mg_redis_breaker_count(&redis->breaker, result);
        return;
    }
    /* A lost connection has been noted as one failure, however many commands were on it. */
    const bool is_news = reply && (!is_error || mg_redis_result_is_illness(result, text));
    const bool is_stale = result == MG_REDIS_READONLY || result == MG_REDIS_MOVED;
    redis->references++;
    mg_redis_instance_finish(command, result, reply);
    if (is_news) {
        mg_redis_instance_note(redis, result);
    }
    if (is_stale && !redis->is_open && !redis->closed) {
        redis->ops->on_stale(redis);
    }
    mg_redis_instance_release(redis);
}

/* What has waited for a connection says nothing of the store: the connection does, which has a time
 * of its own. Else, where connecting takes longer than a command may, a worker that begins to
 * connect would open the breaker, and end its connections, for ever. */
static void on_timeout(struct mg_deadline *deadline)
{
    struct mg_redis_command *command = MG_CONTAINER(deadline, struct mg_redis_command, deadline);
    struct mg_redis *redis = command->redis;
    const bool was_sent = command->connection != NULL;
    if (was_sent) {
        mg_redis_connection_abandon(command->connection, command);
    }
    redis->references++;
    mg_redis_instance_finish(command, MG_REDIS_TIMEOUT, NULL);
    if (was_sent) {
        mg_redis_instance_note(redis, MG_REDIS_TIMEOUT);
    }
    mg_redis_instance_release(redis);
}

/* --- sending ---------------------------------------------------------------------------------- */

static int set_words(struct mg_redis_command *command, const struct mg_redis_ask *ask)
{
    const struct mg_redis_words words = {.items = ask->words, .count = ask->count};
    if (!ask->script) {
        return mg_redis_command_set(command, &words, 1);
    }
    char number[16];
    const int length = snprintf(number, sizeof number, "%u", ask->key_count);
    const mg_str prefix[] = {MG_STR("EVALSHA"), mg_str_make(ask->script->sha1, MG_REDIS_SHA1_CHARS),
                             mg_str_make(number, (size_t)length)};
    const struct mg_redis_words groups[] = {
        {.items = prefix, .count = 3}, {.items = ask->keys, .count = ask->key_count}, words};
    return mg_redis_command_set(command, groups, 3);
}

static int32_t slot_of(const struct mg_redis_ask *ask)
{
    if (!ask->script) {
        return mg_redis_cluster_slot(ask->words, ask->count);
    }
    return ask->key_count > 0 ? mg_redis_slot_of(ask->keys[0]) : -1;
}

static void arm(struct mg_redis *redis, struct mg_redis_command *command, uint64_t timeout_ms)
{
    struct mg_loop *loop = redis->parts->loop;
    struct mg_deadline_class *class =
        timeout_ms == 0 ? redis->timeout_class : mg_deadlines_class(&loop->deadlines, timeout_ms);
    mg_deadline_init(&command->deadline);
    mg_deadline_arm(class, &command->deadline, on_timeout, mg_loop_now_ms(loop));
}

enum mg_redis_result mg_redis_send(struct mg_redis *redis, struct mg_redis_command *command,
                                   const struct mg_redis_ask *ask)
{
    mg_require(command->redis == NULL);
    enum mg_redis_result result = mg_redis_instance_admit(redis);
    if (result == MG_REDIS_OK) {
        command->script = ask->script;
        result = set_words(command, ask) ? MG_REDIS_INVALID : MG_REDIS_OK;
    }
    if (result) {
        mg_redis_breaker_count(&redis->breaker, result);
        return result;
    }
    command->deliver = deliver;
    command->redis = redis;
    command->connection = NULL;
    command->slot = redis->options->topology == MG_REDIS_CLUSTER ? slot_of(ask) : -1;
    command->moves = 0;
    command->has_asked = false;
    command->has_been_eval = command->has_waited = command->asking = false;
    mg_deadline_init(&command->again);
    mg_link_init(&command->link);
    result = mg_redis_instance_route(redis, command);
    if (result) {
        command->redis = NULL;
        mg_redis_command_clear(command);
        mg_redis_breaker_count(&redis->breaker, result);
        return result;
    }
    redis->pending++;
    command->begun_us = mg_clock_precise_us(&redis->parts->loop->clock);
    arm(redis, command, ask->timeout_ms);
    return MG_REDIS_OK;
}

void mg_redis_cancel(struct mg_redis_command *command)
{
    struct mg_redis *redis = command->redis;
    if (!redis) {
        return;
    }
    if (command->connection) {
        mg_redis_connection_abandon(command->connection, command);
    }
    mg_deadline_cancel(&command->deadline);
    mg_deadline_cancel(&command->again);
    mg_link_remove(&command->link);
    mg_redis_command_clear(command);
    command->redis = NULL;
    redis->pending--;
}
