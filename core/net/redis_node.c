/* SPDX-License-Identifier: Apache-2.0 */
/* The connections to one server. */
#include "net/redis_node.h"

#include "base/hash.h"
#include "base/stats.h"

#include <stdlib.h>
#include <unistd.h>

/* Waits before another try: doubled from try to try, half of it by chance. */
#define FIRST_WAIT_MS 50
#define LONGEST_WAIT_MS 2000

struct mg_redis_node {
    struct mg_link link;
    struct mg_redis_node_settings settings;
    const struct mg_redis_node_handler *handler;
    void *context;
    struct mg_redis_connection *connections[MG_REDIS_CONNECTIONS]; /* NULL: none */
    uint32_t wanted;                                               /* to be kept open */
    uint32_t failures;                                             /* in a row */
    bool is_retired;
    enum mg_redis_result failure;
    struct mg_deadline again;
    struct mg_redis_connection *picked; /* for the loop turn picked_turn */
    uint64_t picked_turn;
    uint32_t random;
    char host[];
};

static struct mg_loop *loop_of(const struct mg_redis_node *node)
{
    return node->settings.options.loop;
}

struct mg_redis_node *mg_redis_node_new(const struct mg_redis_node_settings *settings,
                                        const struct mg_redis_node_handler *handler, void *context)
{
    const mg_str host = settings->options.host;
    struct mg_redis_node *node = calloc(1, sizeof *node + host.len + 1);
    mg_require(node != NULL);
    memcpy(node->host, host.ptr, host.len);
    node->settings = *settings;
    node->settings.options.host = mg_str_make(node->host, host.len);
    node->handler = handler;
    node->context = context;
    node->failure = MG_REDIS_REFUSED;
    node->random =
        (uint32_t)mg_clock_precise_us(&loop_of(node)->clock) * 2654435761U + (uint32_t)getpid();
    mg_link_init(&node->link);
    mg_deadline_init(&node->again);
    return node;
}

/* --- opening ---------------------------------------------------------------------------------- */

static void open_missing(struct mg_redis_node *node);

static void on_again(struct mg_deadline *deadline)
{
    open_missing(MG_CONTAINER(deadline, struct mg_redis_node, again));
}

static void open_later(struct mg_redis_node *node)
{
    uint64_t ms = FIRST_WAIT_MS;
    for (uint32_t i = 1; i < node->failures && ms < LONGEST_WAIT_MS; i++) {
        ms *= 2;
    }
    ms = ms < LONGEST_WAIT_MS ? ms : LONGEST_WAIT_MS;
    ms = ms / 2 + mg_hash_next_random(&node->random) % (ms / 2 + 1);
    if (node->wanted > 0 && !mg_deadline_armed(&node->again)) {
        mg_deadline_arm_at(&loop_of(node)->deadlines, &node->again, on_again,
                           mg_loop_now_ms(loop_of(node)) + ms);
    }
}

static void on_up(void *context, struct mg_redis_connection *connection)
{
    struct mg_redis_node *node = context;
    (void)connection;
    node->failures = 0;
    if (node->settings.stats) {
        mg_stats_add(node->settings.stats, MG_STAT_REDIS_CONNECTIONS, 1);
    }
    if (!node->is_retired) {
        node->handler->on_up(node->context, node);
    }
}

static void forget(struct mg_redis_node *node, const struct mg_redis_connection *connection,
                   bool was_up)
{
    for (uint32_t i = 0; i < MG_REDIS_CONNECTIONS; i++) {
        if (node->connections[i] == connection) {
            node->connections[i] = NULL;
        }
    }
    node->picked = NULL;
    if (was_up && node->settings.stats) {
        mg_stats_drop(node->settings.stats, MG_STAT_REDIS_CONNECTIONS, 1);
    }
}

static void on_down(void *context, struct mg_redis_connection *connection, bool was_up,
                    enum mg_redis_result result, mg_str text)
{
    struct mg_redis_node *node = context;
    forget(node, connection, was_up);
    node->failure = result;
    node->failures++;
    open_later(node);
    if (!node->is_retired) {
        node->handler->on_down(node->context, node, was_up, result, text);
    }
}

static const struct mg_redis_connection_handler connection_handler = {.on_up = on_up,
                                                                      .on_down = on_down};

static void open_missing(struct mg_redis_node *node)
{
    for (uint32_t i = 0; i < node->wanted; i++) {
        if (!node->connections[i]) {
            node->connections[i] =
                mg_redis_connection_open(&node->settings.options, &connection_handler, node);
            if (node->settings.stats) {
                mg_stats_add(node->settings.stats, MG_STAT_REDIS_CONNECTS, 1);
            }
        }
    }
}

void mg_redis_node_start(struct mg_redis_node *node)
{
    node->wanted = node->settings.connections;
    mg_deadline_cancel(&node->again);
    open_missing(node);
}

void mg_redis_node_try(struct mg_redis_node *node)
{
    mg_deadline_cancel(&node->again);
    node->wanted = 1;
    open_missing(node);
    node->wanted = 0;
}

void mg_redis_node_retire(struct mg_redis_node *node)
{
    node->is_retired = true;
    node->wanted = 0;
    mg_deadline_cancel(&node->again);
}

bool mg_redis_node_is_retired(const struct mg_redis_node *node)
{
    return node->is_retired;
}

void mg_redis_node_close(struct mg_redis_node *node, enum mg_redis_result result)
{
    struct mg_redis_connection *connections[MG_REDIS_CONNECTIONS];
    memcpy(connections, node->connections, sizeof connections);
    for (uint32_t i = 0; i < MG_REDIS_CONNECTIONS; i++) {
        if (connections[i] && mg_redis_connection_is_up(connections[i])) {
            forget(node, connections[i], true);
        }
    }
    node->wanted = 0;
    mg_deadline_cancel(&node->again);
    mg_link_remove(&node->link);
    for (uint32_t i = 0; i < MG_REDIS_CONNECTIONS; i++) {
        if (connections[i]) {
            mg_redis_connection_close(connections[i], result);
        }
    }
    free(node);
}

/* --- choosing --------------------------------------------------------------------------------- */

struct mg_redis_connection *mg_redis_node_pick(struct mg_redis_node *node)
{
    struct mg_loop *loop = loop_of(node);
    if (node->picked && node->picked_turn == loop->turn) {
        return node->picked;
    }
    struct mg_redis_connection *best = NULL;
    for (uint32_t i = 0; i < MG_REDIS_CONNECTIONS; i++) {
        struct mg_redis_connection *connection = node->connections[i];
        if (connection && mg_redis_connection_is_up(connection) &&
            (!best || mg_redis_connection_load(connection) < mg_redis_connection_load(best))) {
            best = connection;
        }
    }
    node->picked = best;
    node->picked_turn = loop->turn;
    return best;
}

bool mg_redis_node_is_opening(const struct mg_redis_node *node)
{
    bool is_opening = false;
    for (uint32_t i = 0; i < MG_REDIS_CONNECTIONS; i++) {
        if (node->connections[i]) {
            if (mg_redis_connection_is_up(node->connections[i])) {
                return false;
            }
            is_opening = true;
        }
    }
    return is_opening;
}

/* --- names ------------------------------------------------------------------------------------ */

bool mg_redis_node_is(const struct mg_redis_node *node, mg_str host, uint16_t port)
{
    return node->settings.options.port == port && mg_str_equal(node->settings.options.host, host);
}

enum mg_redis_result mg_redis_node_failure(const struct mg_redis_node *node)
{
    return node->failure;
}

struct mg_link *mg_redis_node_link(struct mg_redis_node *node)
{
    return &node->link;
}

struct mg_redis_node *mg_redis_node_from_link(struct mg_link *link)
{
    return MG_CONTAINER(link, struct mg_redis_node, link);
}
