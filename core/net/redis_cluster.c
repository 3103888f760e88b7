/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map of slots:
 *
 *     no map --a server is up--> asking --reply--> map --MOVED, a lost master--> asking ...
 *        ^                          '--- failed: another server, or the old map stays
 */
#include "net/redis_cluster.h"

#include "net/redis_scout.h"
#include "net/redis_slots.h"

#include <stdlib.h>

#define REFRESH_MS 1000 /* the map is not asked for more often */
#define RETRY_MS 100    /* without a map */
#define SCOUT_MS 2000   /* a change does not lead to early probes more often */

struct mg_redis_cluster {
    struct mg_redis *redis;
    struct mg_redis_slots *slots;
    bool has_map, asking;
    uint64_t asked_ms;
    struct mg_redis_command command; /* CLUSTER SLOTS */
    struct mg_deadline next;         /* asks again */
    struct mg_redis_scout *scout;    /* while the breaker is open */
    uint64_t changed_ms;             /* when it saw a change */
};

static uint64_t now_ms(const struct mg_redis_cluster *cluster)
{
    return mg_loop_now_ms(cluster->redis->parts->loop);
}

/* --- the map ---------------------------------------------------------------------------------- */

static void ask(struct mg_redis_cluster *cluster);

static void on_next(struct mg_deadline *deadline)
{
    ask(MG_CONTAINER(deadline, struct mg_redis_cluster, next));
}

/* Soon, but not sooner than a second after the last time. */
static void ask_later(struct mg_redis_cluster *cluster, uint64_t least_ms)
{
    const uint64_t now = now_ms(cluster);
    const uint64_t due = cluster->asked_ms + REFRESH_MS;
    const uint64_t at = cluster->has_map && due > now + least_ms ? due : now + least_ms;
    if (!cluster->asking && !mg_deadline_armed(&cluster->next)) {
        mg_deadline_arm_at(&cluster->redis->parts->loop->deadlines, &cluster->next, on_next, at);
    }
}

static void use_server(struct mg_redis *redis, const struct mg_redis_address *address)
{
    if (!mg_redis_instance_find_node(redis, address->host, address->port)) {
        mg_redis_instance_connect(redis,
                                  mg_redis_instance_add_node(redis, address->host, address->port));
    }
}

/* Servers may send us to any number of others; a map has no more. */
static bool has_room(const struct mg_redis *redis)
{
    uint32_t count = 0;
    for (const struct mg_link *at = redis->nodes.next; at != &redis->nodes; at = at->next) {
        count++;
    }
    return count < MG_REDIS_MASTERS;
}

static bool is_master(const struct mg_redis_cluster *cluster, const struct mg_redis_node *node)
{
    const struct mg_redis_address *address;
    for (uint32_t i = 0; (address = mg_redis_slots_master(cluster->slots, i)); i++) {
        if (mg_redis_node_is(node, address->host, address->port)) {
            return true;
        }
    }
    return false;
}

/* A node for each master; the others, replicas among the first ones say, are not asked. */
static void follow_map(struct mg_redis_cluster *cluster)
{
    struct mg_redis *redis = cluster->redis;
    const struct mg_redis_address *address;
    for (uint32_t i = 0; (address = mg_redis_slots_master(cluster->slots, i)); i++) {
        use_server(redis, address);
    }
    for (struct mg_link *at = redis->nodes.next; at != &redis->nodes; at = at->next) {
        struct mg_redis_node *node = mg_redis_node_from_link(at);
        if (!mg_redis_node_is_retired(node) && !is_master(cluster, node)) {
            mg_redis_instance_retire_node(redis, node);
        }
    }
}

static bool lacks_a_master(const struct mg_redis *redis)
{
    for (struct mg_link *at = redis->nodes.next; at != &redis->nodes; at = at->next) {
        struct mg_redis_node *node = mg_redis_node_from_link(at);
        if (!mg_redis_node_is_retired(node) && !mg_redis_node_pick(node)) {
            return true;
        }
    }
    return false;
}

static void no_map(struct mg_redis_cluster *cluster, enum mg_redis_result result, mg_str text)
{
    struct mg_redis *redis = cluster->redis;
    ask_later(cluster, RETRY_MS);
    if (!cluster->has_map) {
        redis->references++;
        mg_redis_instance_failed(redis, result, text);
        mg_redis_instance_reroute(redis);
        mg_redis_instance_release(redis);
    }
}

static void on_map(struct mg_redis_command *command, struct mg_redis_connection *connection,
                   enum mg_redis_result result, struct mg_resp_reply *reply)
{
    struct mg_redis_cluster *cluster = MG_CONTAINER(command, struct mg_redis_cluster, command);
    struct mg_redis *redis = cluster->redis;
    mg_deadline_cancel(&command->deadline);
    cluster->asking = false;
    if (result != MG_REDIS_OK) {
        no_map(cluster, result,
               reply ? mg_resp_text(reply, &reply->nodes[0]) : MG_STR("no map of slots"));
        return;
    }
    if (mg_redis_slots_read(cluster->slots, reply, mg_redis_connection_host(connection))) {
        no_map(cluster, MG_REDIS_CLUSTERDOWN, MG_STR("no slot is served"));
        return;
    }
    cluster->has_map = true;
    follow_map(cluster);
    if (lacks_a_master(redis)) {
        ask_later(cluster, REFRESH_MS);
    }
    if (mg_redis_instance_up_node(redis)) {
        mg_redis_instance_ready(redis);
    }
}

static void on_silence(struct mg_deadline *deadline)
{
    struct mg_redis_command *command = MG_CONTAINER(deadline, struct mg_redis_command, deadline);
    struct mg_redis_cluster *cluster = MG_CONTAINER(command, struct mg_redis_cluster, command);
    mg_redis_connection_abandon(command->connection, command);
    cluster->asking = false;
    no_map(cluster, MG_REDIS_TIMEOUT, MG_STR("no map of slots"));
}

/* Nothing happens without a connection: the next one that comes up leads here again. */
static void ask(struct mg_redis_cluster *cluster)
{
    struct mg_redis *redis = cluster->redis;
    struct mg_redis_node *node = cluster->asking ? NULL : mg_redis_instance_up_node(redis);
    struct mg_redis_connection *connection = node ? mg_redis_node_pick(node) : NULL;
    mg_deadline_cancel(&cluster->next);
    if (node) { /* the next time another one is asked */
        mg_link_remove(mg_redis_node_link(node));
        mg_list_append(&redis->nodes, mg_redis_node_link(node));
    }
    if (!connection || mg_redis_connection_send(connection, &cluster->command)) {
        return;
    }
    cluster->asking = true;
    cluster->asked_ms = now_ms(cluster);
    mg_deadline_arm(
        mg_deadlines_class(&redis->parts->loop->deadlines, redis->options->connect_timeout_ms),
        &cluster->command.deadline, on_silence, cluster->asked_ms);
}

/* --- the topology ----------------------------------------------------------------------------- */

static void on_change(void *context)
{
    struct mg_redis *redis = context;
    redis->cluster->changed_ms = now_ms(redis->cluster);
    mg_redis_instance_probe_early(redis);
}

static struct mg_redis_scout *new_scout(struct mg_redis *redis, const struct mg_redis_slots *slots)
{
    const struct mg_redis_options *options = redis->options;
    const struct mg_redis_connection_options connect = {.loop = redis->parts->loop,
                                                        .dns = redis->parts->dns,
                                                        .tls = redis->tls,
                                                        .server_name = options->server_name,
                                                        .username = options->username,
                                                        .password = options->password,
                                                        .connect_timeout_ms =
                                                            options->connect_timeout_ms,
                                                        .late_ms = options->connect_timeout_ms};
    return mg_redis_scout_new(&connect, slots, on_change, redis);
}

static void open_cluster(struct mg_redis *redis)
{
    struct mg_redis_cluster *cluster = calloc(1, sizeof *cluster);
    const mg_str words[] = {MG_STR("CLUSTER"), MG_STR("SLOTS")};
    const struct mg_redis_words group = {.items = words, .count = 2};
    mg_require(cluster != NULL);
    mg_require(mg_redis_command_set(&cluster->command, &group, 1) == 0);
    cluster->redis = redis;
    cluster->slots = mg_redis_slots_new();
    cluster->scout = new_scout(redis, cluster->slots);
    cluster->command.deliver = on_map;
    mg_deadline_init(&cluster->command.deadline);
    mg_deadline_init(&cluster->next);
    redis->cluster = cluster;
}

/* From nothing: the servers of the configuration, and those that the last map named. */
static void start(struct mg_redis *redis)
{
    const struct mg_redis_address *address;
    if (!redis->cluster) {
        open_cluster(redis);
    }
    mg_redis_scout_stop(redis->cluster->scout);
    redis->cluster->has_map = false;
    for (uint32_t i = 0; i < redis->options->node_count; i++) {
        use_server(redis, &redis->options->nodes[i]);
    }
    for (uint32_t i = 0; (address = mg_redis_slots_master(redis->cluster->slots, i)); i++) {
        use_server(redis, address);
    }
}

static void stop(struct mg_redis *redis)
{
    struct mg_redis_cluster *cluster = redis->cluster;
    if (!cluster) {
        return;
    }
    mg_deadline_cancel(&cluster->next);
    mg_deadline_cancel(&cluster->command.deadline);
    if (cluster->command.connection) {
        mg_redis_connection_abandon(cluster->command.connection, &cluster->command);
    }
    cluster->asking = false;
    if (redis->closed) {
        mg_redis_scout_free(cluster->scout);
        mg_redis_command_clear(&cluster->command);
        mg_redis_slots_free(cluster->slots);
        free(cluster);
        redis->cluster = NULL;
    } else if (cluster->has_map && now_ms(cluster) >= cluster->changed_ms + SCOUT_MS) {
        mg_redis_scout_start(cluster->scout); /* without a map a probe has failed */
    }
}

static struct mg_redis_node *node_of(struct mg_redis *redis, const struct mg_redis_command *command)
{
    const struct mg_redis_cluster *cluster = redis->cluster;
    if (!cluster->has_map) {
        return NULL;
    }
    if (command->host) {
        return mg_redis_instance_find_node(redis, mg_str_from(command->host), command->port);
    }
    if (command->slot < 0) {
        return mg_redis_instance_up_node(redis);
    }
    const struct mg_redis_address *address =
        mg_redis_slots_server(cluster->slots, (uint16_t)command->slot);
    return address ? mg_redis_instance_find_node(redis, address->host, address->port) : NULL;
}

static void on_up(struct mg_redis *redis, struct mg_redis_node *node)
{
    (void)node;
    if (redis->cluster->has_map) {
        mg_redis_instance_ready(redis);
    } else {
        ask(redis->cluster);
    }
}

static void on_down(struct mg_redis *redis, struct mg_redis_node *node)
{
    (void)node;
    ask_later(redis->cluster, RETRY_MS);
}

/* Until there is a map: while it is asked for, or a server is being connected to. */
static bool is_searching(const struct mg_redis *redis)
{
    const struct mg_redis_cluster *cluster = redis->cluster;
    bool is_opening = cluster->asking;
    for (struct mg_link *at = redis->nodes.next; at != &redis->nodes && !is_opening;
         at = at->next) {
        is_opening = mg_redis_node_is_opening(mg_redis_node_from_link(at));
    }
    return !cluster->has_map && is_opening;
}

static void on_stale(struct mg_redis *redis)
{
    ask_later(redis->cluster, 0);
}

static bool redirect(struct mg_redis *redis, struct mg_redis_command *command,
                     const struct mg_redis_connection *from, enum mg_redis_result result,
                     mg_str text)
{
    struct mg_redis_address server;
    uint16_t slot;
    if (!redis->cluster->has_map || mg_redis_redirection(text, &slot, &server)) {
        return false;
    }
    if (server.host.len == 0) { /* it does not know its own address */
        server.host = mg_redis_connection_host(from);
    }
    if (!mg_redis_instance_find_node(redis, server.host, server.port) && !has_room(redis)) {
        return false;
    }
    use_server(redis, &server);
    command->slot = slot;
    free(command->host);
    command->host = NULL;
    if (result == MG_REDIS_MOVED) {
        mg_redis_slots_move(redis->cluster->slots, slot, &server);
        command->asking = false;
    } else {
        command->host = strndup(server.host.ptr, server.host.len);
        mg_require(command->host != NULL);
        command->port = server.port;
        command->asking = true;
    }
    return true;
}

const struct mg_redis_ops mg_redis_cluster_ops = {.start = start,
                                                  .stop = stop,
                                                  .node_of = node_of,
                                                  .on_up = on_up,
                                                  .on_down = on_down,
                                                  .is_searching = is_searching,
                                                  .on_stale = on_stale,
                                                  .redirect = redirect};

/* --- keys ------------------------------------------------------------------------------------- */

/* Commands whose first key is not their second word; 0: they have none. */
static const struct {
    const char *name;
    uint32_t key;
} places[] = {
    {"PING", 0},     {"ECHO", 0},       {"INFO", 0},       {"TIME", 0},       {"DBSIZE", 0},
    {"CLUSTER", 0},  {"COMMAND", 0},    {"CONFIG", 0},     {"SCRIPT", 0},     {"FUNCTION", 0},
    {"ACL", 0},      {"ROLE", 0},       {"RANDOMKEY", 0},  {"SCAN", 0},       {"KEYS", 0},
    {"FLUSHALL", 0}, {"FLUSHDB", 0},    {"PUBLISH", 0},    {"PUBSUB", 0},     {"SLOWLOG", 0},
    {"LATENCY", 0},  {"LASTSAVE", 0},   {"MODULE", 0},     {"EVAL", 3},       {"EVALSHA", 3},
    {"EVAL_RO", 3},  {"EVALSHA_RO", 3}, {"FCALL", 3},      {"FCALL_RO", 3},   {"OBJECT", 2},
    {"MEMORY", 2},   {"BITOP", 2},      {"XGROUP", 2},     {"XINFO", 2},      {"ZUNION", 2},
    {"ZINTER", 2},   {"ZDIFF", 2},      {"ZINTERCARD", 2}, {"SINTERCARD", 2}, {"LMPOP", 2},
    {"ZMPOP", 2},
};

/* Of XREAD and XREADGROUP: behind the word STREAMS. */
static uint32_t key_behind_streams(const mg_str *words, uint32_t count)
{
    for (uint32_t i = 1; i + 1 < count; i++) {
        if (mg_str_iequal(words[i], MG_STR("STREAMS"))) {
            return i + 1;
        }
    }
    return 0;
}

static uint32_t key_of(const mg_str *words, uint32_t count)
{
    if (mg_str_iequal(words[0], MG_STR("XREAD")) || mg_str_iequal(words[0], MG_STR("XREADGROUP"))) {
        return key_behind_streams(words, count);
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (mg_str_iequal(words[0], mg_str_from(places[i].name))) {
            return places[i].key;
        }
    }
    return 1;
}

int32_t mg_redis_cluster_slot(const mg_str *words, uint32_t count)
{
    const uint32_t key = count > 0 ? key_of(words, count) : 0;
    const bool counts_keys = key == 3 && mg_str_equal(words[2 < count ? 2 : 0], MG_STR("0"));
    return key > 0 && key < count && !counts_keys ? mg_redis_slot_of(words[key]) : -1;
}
