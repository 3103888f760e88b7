/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life, breaker and waiting commands of an instance. Functions that tell a command's owner may lose
 * the instance: they are called last, or while a reference is held.
 */
#include "net/redis_instance.h"

#include "base/hash.h"
#include "base/shm_words.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define LATE_MS 1000       /* a connection ends when its oldest reply is so late */
#define WATCH_MS 5         /* how soon a worker whose commands wait sees another's opening */
#define PROBE_SPREAD_MS 20 /* workers do not all look at the same time */
#define IDENTITY_BYTES (64UL * 1024)

static uint64_t now_ms(const struct mg_redis *redis)
{
    return mg_loop_now_ms(redis->parts->loop);
}

/* --- commands --------------------------------------------------------------------------------- */

void mg_redis_instance_finish(struct mg_redis_command *command, enum mg_redis_result result,
                              struct mg_resp_reply *reply)
{
    struct mg_redis *redis = command->redis;
    command->redis = NULL;
    mg_deadline_cancel(&command->deadline);
    mg_deadline_cancel(&command->again);
    mg_link_remove(&command->link);
    redis->pending--;
    mg_redis_breaker_count(&redis->breaker, result);
    mg_redis_timing_observe(&redis->timing,
                            mg_clock_precise_us(&redis->parts->loop->clock) - command->begun_us);
    if (redis->parts->stats) {
        mg_stats_add(redis->parts->stats, MG_STAT_REDIS_COMMANDS, 1);
        mg_stats_add(redis->parts->stats, MG_STAT_REDIS_FAILURES, result != MG_REDIS_OK);
    }
    mg_redis_command_clear(command);
    command->fn(command, result, reply);
}

enum mg_redis_result mg_redis_instance_route(struct mg_redis *redis,
                                             struct mg_redis_command *command)
{
    if (redis->closed || redis->is_open) {
        return redis->closed ? MG_REDIS_REFUSED : MG_REDIS_OPEN;
    }
    struct mg_redis_node *node = redis->ops->node_of(redis, command);
    struct mg_redis_connection *connection = node ? mg_redis_node_pick(node) : NULL;
    if (connection) {
        return mg_redis_connection_send(connection, command);
    }
    if (redis->ops->is_searching(redis) || (node && mg_redis_node_is_opening(node))) {
        mg_list_append(&redis->waiting, &command->link);
        return MG_REDIS_OK;
    }
    return node ? mg_redis_node_failure(node) : redis->failure;
}

/* In their order. */
void mg_redis_instance_reroute(struct mg_redis *redis)
{
    struct mg_link now;
    if (mg_list_empty(&redis->waiting)) {
        return;
    }
    now = redis->waiting; /* the ring moves to a head of our own */
    now.next->prev = now.prev->next = &now;
    mg_link_init(&redis->waiting);
    redis->references++;
    while (!mg_list_empty(&now)) {
        struct mg_redis_command *command = MG_CONTAINER(now.next, struct mg_redis_command, link);
        mg_link_remove(&command->link);
        const enum mg_redis_result result = mg_redis_instance_route(redis, command);
        if (result) {
            mg_redis_instance_finish(command, result, NULL);
        }
    }
    mg_redis_instance_release(redis);
}

static void fail_all(struct mg_link *list, enum mg_redis_result result)
{
    while (!mg_list_empty(list)) {
        mg_redis_instance_finish(MG_CONTAINER(list->next, struct mg_redis_command, link), result,
                                 NULL);
    }
}

static void fail_waiting(struct mg_redis *redis, enum mg_redis_result result)
{
    redis->references++;
    fail_all(&redis->waiting, result);
    fail_all(&redis->pausing, result);
    mg_redis_instance_release(redis);
}

/* --- nodes ------------------------------------------------------------------------------------ */

static void on_node_up(void *context, struct mg_redis_node *node)
{
    struct mg_redis *redis = context;
    redis->ops->on_up(redis, node);
}

static void complain(struct mg_redis *redis, enum mg_redis_result result, mg_str text)
{
    if (!(redis->complained_of & 1U << result)) {
        redis->complained_of |= 1U << result;
        char quoted[256];
        mg_log_write(redis->parts->log, MG_LOG_WARN, "redis",
                     "no connection to \"%.*s\" reason=%s error=%s",
                     MG_STR_ARG(redis->options->name), mg_redis_result_word(result),
                     mg_log_quote(quoted, sizeof quoted, text));
    }
}

static bool is_any_opening(struct mg_redis *redis)
{
    for (struct mg_link *at = redis->nodes.next; at != &redis->nodes; at = at->next) {
        if (mg_redis_node_is_opening(mg_redis_node_from_link(at))) {
            return true;
        }
    }
    return false;
}

/* A connection that is not there is a failure of the store when nothing else is: one server of a
 * cluster, or one connection of two, is not. */
static void on_node_down(void *context, struct mg_redis_node *node, bool was_up,
                         enum mg_redis_result result, mg_str text)
{
    struct mg_redis *redis = context;
    (void)was_up;
    redis->references++;
    if (mg_redis_instance_up_node(redis)) {
        complain(redis, result, text);
    } else if (!redis->probing || !is_any_opening(redis)) {
        mg_redis_instance_failed(redis, result, text);
    }
    if (!redis->is_open && !redis->closed) {
        redis->ops->on_down(redis, node);
        mg_redis_instance_reroute(redis);
    }
    mg_redis_instance_release(redis);
}

static const struct mg_redis_node_handler node_handler = {.on_up = on_node_up,
                                                          .on_down = on_node_down};

struct mg_redis_node *mg_redis_instance_add_node(struct mg_redis *redis, mg_str host, uint16_t port)
{
    const struct mg_redis_options *options = redis->options;
    const struct mg_redis_node_settings settings = {
        .options = {.loop = redis->parts->loop,
                    .dns = redis->parts->dns,
                    .host = host,
                    .port = port,
                    .tls = redis->tls,
                    .server_name = options->server_name,
                    .username = options->username,
                    .password = options->password,
                    .database = options->database,
                    .must_be_master = options->topology == MG_REDIS_SENTINEL,
                    .connect_timeout_ms = options->connect_timeout_ms,
                    .late_ms = LATE_MS,
                    .scripts = redis->scripts},
        .connections = options->connections,
        .stats = redis->parts->stats};
    struct mg_redis_node *node = mg_redis_node_new(&settings, &node_handler, redis);
    mg_list_append(&redis->nodes, mg_redis_node_link(node));
    return node;
}

struct mg_redis_node *mg_redis_instance_find_node(struct mg_redis *redis, mg_str host,
                                                  uint16_t port)
{
    for (struct mg_link *at = redis->nodes.next; at != &redis->nodes; at = at->next) {
        struct mg_redis_node *node = mg_redis_node_from_link(at);
        if (!mg_redis_node_is_retired(node) && mg_redis_node_is(node, host, port)) {
            return node;
        }
    }
    return NULL;
}

struct mg_redis_node *mg_redis_instance_up_node(struct mg_redis *redis)
{
    for (struct mg_link *at = redis->nodes.next; at != &redis->nodes; at = at->next) {
        struct mg_redis_node *node = mg_redis_node_from_link(at);
        if (!mg_redis_node_is_retired(node) && mg_redis_node_pick(node)) {
            return node;
        }
    }
    return NULL;
}

void mg_redis_instance_drop_node(struct mg_redis *redis, struct mg_redis_node *node,
                                 enum mg_redis_result result)
{
    if (redis->master == node) {
        redis->master = NULL;
    }
    mg_link_remove(mg_redis_node_link(node));
    mg_redis_node_close(node, result);
}

static void on_sweep(struct mg_deadline *deadline)
{
    struct mg_redis *redis = MG_CONTAINER(deadline, struct mg_redis, sweep);
    redis->references++;
    struct mg_link *at = redis->nodes.next;
    while (at != &redis->nodes) {
        struct mg_redis_node *node = mg_redis_node_from_link(at);
        if (mg_redis_node_is_retired(node)) {
            mg_redis_instance_drop_node(redis, node, MG_REDIS_REFUSED);
            at = redis->nodes.next; /* commands may have changed the list */
        } else {
            at = at->next;
        }
    }
    mg_redis_instance_release(redis);
}

void mg_redis_instance_retire_node(struct mg_redis *redis, struct mg_redis_node *node)
{
    if (redis->master == node) {
        redis->master = NULL;
    }
    mg_redis_node_retire(node);
    mg_deadline_arm(mg_deadlines_class(&redis->parts->loop->deadlines, LATE_MS), &redis->sweep,
                    on_sweep, now_ms(redis));
}

void mg_redis_instance_connect(struct mg_redis *redis, struct mg_redis_node *node)
{
    if (redis->probing) {
        mg_redis_node_try(node);
    } else {
        mg_redis_node_start(node);
    }
}

static void drop_all_nodes(struct mg_redis *redis, enum mg_redis_result result)
{
    redis->ops->stop(redis);
    while (!mg_list_empty(&redis->nodes)) {
        mg_redis_instance_drop_node(redis, mg_redis_node_from_link(redis->nodes.next), result);
    }
}

/* --- the breaker ------------------------------------------------------------------------------ */

static void look_later(struct mg_redis *redis);

/* The breaker is open: nobody waits any longer, and the store is left alone. */
static void go_open(struct mg_redis *redis)
{
    if (redis->is_open || redis->closed) {
        return;
    }
    redis->is_open = true;
    redis->references++;
    drop_all_nodes(redis, MG_REDIS_OPEN);
    fail_waiting(redis, MG_REDIS_OPEN);
    look_later(redis);
    mg_redis_instance_release(redis);
}

/* It is closed again, by us or another worker. */
static void go_on(struct mg_redis *redis)
{
    redis->is_open = redis->probing = false;
    redis->complained_of = 0;
    mg_deadline_cancel(&redis->probe);
}

/* For finding the servers and for connecting. */
static uint64_t lease_ms(const struct mg_redis *redis)
{
    return 3 * redis->options->connect_timeout_ms;
}

static void on_look(struct mg_deadline *deadline)
{
    struct mg_redis *redis = MG_CONTAINER(deadline, struct mg_redis, probe);
    if (redis->probing) { /* it takes too long: another worker may try */
        redis->probing = false;
        drop_all_nodes(redis, MG_REDIS_OPEN);
    }
    if (!mg_redis_breaker_is_open(&redis->breaker)) {
        go_on(redis);
        redis->ops->start(redis);
        return;
    }
    redis->probing = mg_redis_breaker_probe(&redis->breaker, now_ms(redis), lease_ms(redis), false);
    look_later(redis);
    if (redis->probing) {
        redis->ops->start(redis);
    }
}

static void look_later(struct mg_redis *redis)
{
    const uint64_t at_ms = mg_redis_breaker_probe_at(&redis->breaker);
    const uint64_t soon_ms = now_ms(redis) + 1;
    mg_deadline_arm_at(&redis->parts->loop->deadlines, &redis->probe, on_look,
                       (at_ms > soon_ms ? at_ms : soon_ms) +
                           mg_hash_next_random(&redis->random) % PROBE_SPREAD_MS);
}

void mg_redis_instance_probe_early(struct mg_redis *redis)
{
    if (!redis->is_open || redis->probing || redis->closed) {
        return;
    }
    if (!mg_redis_breaker_is_open(&redis->breaker)) { /* another worker was faster */
        go_on(redis);
        redis->ops->start(redis);
    } else if (mg_redis_breaker_probe(&redis->breaker, now_ms(redis), lease_ms(redis), true)) {
        redis->probing = true;
        look_later(redis);
        redis->ops->start(redis);
    }
}

static void on_watch(struct mg_deadline *deadline);

/* While commands wait, another worker's opening is looked for. */
static void watch(struct mg_redis *redis)
{
    if (!mg_deadline_armed(&redis->watch)) {
        mg_deadline_arm(mg_deadlines_class(&redis->parts->loop->deadlines, WATCH_MS), &redis->watch,
                        on_watch, now_ms(redis));
    }
}

static void on_watch(struct mg_deadline *deadline)
{
    struct mg_redis *redis = MG_CONTAINER(deadline, struct mg_redis, watch);
    if (mg_redis_breaker_is_open(&redis->breaker)) {
        go_open(redis);
    } else if (redis->pending > 0) {
        watch(redis);
    }
}

static void on_news(struct mg_loop_task *news)
{
    struct mg_redis *redis = MG_CONTAINER(news, struct mg_redis, news);
    if (mg_redis_breaker_is_open(&redis->breaker)) {
        go_open(redis);
    }
}

/* Commands come from Lua, where nobody may be told anything: what is found here is acted on when
 * the turn ends. */
enum mg_redis_result mg_redis_instance_admit(struct mg_redis *redis)
{
    if (redis->closed) {
        return MG_REDIS_REFUSED;
    }
    if (mg_redis_breaker_is_open(&redis->breaker)) {
        if (!redis->is_open) {
            mg_loop_flush_later(redis->parts->loop, &redis->news);
        }
        return MG_REDIS_OPEN;
    }
    if (redis->is_open) {
        go_on(redis);
        redis->ops->start(redis);
    }
    if (redis->pending >= redis->options->max_pending) {
        return MG_REDIS_OVERLOAD;
    }
    mg_store_record_used(redis->breaker.record, (int64_t)now_ms(redis));
    watch(redis);
    return MG_REDIS_OK;
}

static void tell_opened(struct mg_redis *redis, enum mg_redis_result result)
{
    redis->opened_ms = now_ms(redis);
    mg_log_write(redis->parts->log, MG_LOG_WARN, "redis",
                 "\"%.*s\" is not asked for now, it fails reason=%s",
                 MG_STR_ARG(redis->options->name), mg_redis_result_word(result));
    if (redis->parts->stats) {
        mg_stats_add(redis->parts->stats, MG_STAT_REDIS_OPENED, 1);
    }
}

void mg_redis_instance_note(struct mg_redis *redis, enum mg_redis_result result)
{
    if (result == MG_REDIS_OK) {
        mg_redis_breaker_success(&redis->breaker);
        return;
    }
    if (mg_redis_breaker_failure(&redis->breaker, now_ms(redis),
                                 mg_hash_next_random(&redis->random), result)) {
        tell_opened(redis, result);
    }
    if (mg_redis_breaker_is_open(&redis->breaker)) {
        go_open(redis);
    }
}

void mg_redis_instance_ready(struct mg_redis *redis)
{
    if (redis->probing) {
        mg_redis_breaker_probed(&redis->breaker, now_ms(redis), mg_hash_next_random(&redis->random),
                                true, MG_REDIS_OK);
        mg_log_write(redis->parts->log, MG_LOG_NOTICE, "redis", "\"%.*s\" answers again",
                     MG_STR_ARG(redis->options->name));
        go_on(redis);
        for (struct mg_link *at = redis->nodes.next; at != &redis->nodes; at = at->next) {
            struct mg_redis_node *node = mg_redis_node_from_link(at);
            if (!mg_redis_node_is_retired(node)) {
                mg_redis_node_start(node);
            }
        }
    }
    redis->complained_of = 0;
    mg_redis_instance_reroute(redis);
}

void mg_redis_instance_failed(struct mg_redis *redis, enum mg_redis_result result, mg_str text)
{
    complain(redis, result, text);
    redis->failure = result;
    if (redis->probing) {
        redis->probing = false;
        mg_redis_breaker_probed(&redis->breaker, now_ms(redis), mg_hash_next_random(&redis->random),
                                false, result);
        drop_all_nodes(redis, MG_REDIS_OPEN);
        look_later(redis);
        return;
    }
    mg_redis_instance_note(redis, result);
}

/* --- life ------------------------------------------------------------------------------------- */

/* Texts that are no certificates were refused when the configuration was loaded; should one get
 * here, nobody is trusted. */
static void open_tls(struct mg_redis *redis)
{
    static const struct mg_tls_options nobody = {.no_verify = false};
    char message[128];
    if (redis->options->use_tls &&
        mg_tls_context_new(&redis->tls, &redis->options->tls, message, sizeof message)) {
        mg_log_write(redis->parts->log, MG_LOG_ERROR, "redis", "\"%.*s\": tls: %s",
                     MG_STR_ARG(redis->options->name), message);
        mg_require(mg_tls_context_new(&redis->tls, &nobody, message, sizeof message) == 0);
    }
}

static void find_record(struct mg_redis *redis)
{
    const struct mg_redis_parts *parts = redis->parts;
    struct mg_buf identity;
    mg_buf_init(&identity, IDENTITY_BYTES);
    int index = -1;
    if (parts->shm && mg_redis_options_identity(redis->options, &identity) == 0) {
        index = mg_store_record_open(parts->shm, mg_buf_view(&identity), redis->options->name,
                                     (int64_t)now_ms(redis));
    }
    redis->breaker.record =
        index >= 0 ? mg_store_record(parts->shm, (uint32_t)index) : &redis->own_record;
    redis->breaker.rule = redis->options->breaker;
    mg_redis_timing_open(&redis->timing, parts->shm, parts->worker, redis->options->name);
    mg_buf_deinit(&identity);
}

struct mg_redis *mg_redis_instance_new(const struct mg_redis_parts *parts,
                                       const struct mg_redis_scripts *scripts,
                                       const struct mg_redis_options *options,
                                       const struct mg_redis_ops *ops)
{
    struct mg_redis *redis = NULL;
    /* its record is aligned to a cache line */
    mg_require(posix_memalign((void **)&redis, 64, sizeof *redis) == 0);
    memset(redis, 0, sizeof *redis);
    redis->references = 1;
    redis->parts = parts;
    redis->scripts = scripts;
    redis->ops = ops;
    redis->failure = MG_REDIS_REFUSED;
    redis->options = mg_redis_options_copy(options);
    redis->timeout_class = mg_deadlines_class(&parts->loop->deadlines, options->timeout_ms);
    redis->random =
        (uint32_t)mg_clock_precise_us(&parts->loop->clock) * 2654435761U + (uint32_t)getpid();
    redis->news.fn = on_news;
    mg_link_init(&redis->link);
    mg_link_init(&redis->nodes);
    mg_link_init(&redis->waiting);
    mg_link_init(&redis->pausing);
    mg_link_init(&redis->news.link);
    mg_deadline_init(&redis->watch);
    mg_deadline_init(&redis->probe);
    mg_deadline_init(&redis->sweep);
    find_record(redis);
    open_tls(redis);
    if (mg_redis_breaker_is_open(&redis->breaker)) {
        redis->is_open = true;
        look_later(redis);
    } else {
        ops->start(redis);
    }
    return redis;
}

void mg_redis_instance_close(struct mg_redis *redis)
{
    if (redis->closed) {
        return;
    }
    redis->closed = true;
    redis->references++;
    mg_link_remove(&redis->link);
    mg_link_remove(&redis->news.link);
    mg_deadline_cancel(&redis->watch);
    mg_deadline_cancel(&redis->probe);
    mg_deadline_cancel(&redis->sweep);
    drop_all_nodes(redis, MG_REDIS_REFUSED);
    fail_waiting(redis, MG_REDIS_REFUSED);
    mg_redis_instance_release(redis);
}

void mg_redis_instance_release(struct mg_redis *redis)
{
    mg_require(redis->references > 0);
    if (redis->references == 1) {
        mg_redis_instance_close(redis);
    }
    if (--redis->references == 0) {
        mg_tls_context_free(redis->tls);
        mg_redis_options_free(redis->options);
        free(redis);
    }
}
