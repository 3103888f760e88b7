/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's connections as a whole: generations, listeners, draining. */
#include "flow/server.h"

#include "flow/checks.h"
#include "flow/client.h"
#include "flow/exchange.h"

#include <string.h>
#include <sys/random.h>
#include <unistd.h>

void mg_server_open(struct mg_server *server, const struct mg_server_parts *parts)
{
    *server = (struct mg_server){.parts = *parts, .user = &mg_exchange_client_user};
    mg_link_init(&server->clients);
    mg_link_init(&server->exchanges);
    mg_link_init(&server->free_exchanges);
    mg_link_init(&server->ended_exchanges);
    if (getrandom(&server->id_seed, sizeof server->id_seed, 0) < 0) {
        server->id_seed = mg_clock_precise_us(&parts->loop->clock);
    }
    mg_buf_init(&server->head, 1024 * 1024);
    if (parts->pool) {
        mg_pool_count(parts->pool, parts->stats);
        server->checks = mg_checks_open(parts);
    }
}

void mg_server_use(struct mg_server *server, struct mg_generation *generation)
{
    mg_generation_hold(generation);
    struct mg_generation *previous = server->generation;
    server->generation = generation;
    server->limits = &generation->config->gateway.limits;
    mg_checks_use(server->checks, generation->peers);
    const uint32_t unshared = mg_peers_unshared(generation->peers);
    if (unshared > 0) {
        mg_log_write(server->parts.log, MG_LOG_WARN, "upstream",
                     "the shared memory has no room for %u upstreams: each worker counts their "
                     "retries and the health of their targets alone; raise gateway.shared_memory",
                     unshared);
    }
    if (previous) {
        mg_generation_release(previous);
    }
}

static void on_accept(void *context, int fd, const struct mg_address *peer)
{
    mg_client_accept(context, fd, peer);
}

int mg_server_listen(struct mg_server *server, int fd, bool is_unix, uint32_t index)
{
    if (server->listener_count == MG_SERVER_LISTENERS) {
        close(fd);
        return MG_EFULL;
    }
    struct mg_server_listener *slot = &server->listeners[server->listener_count];
    *slot = (struct mg_server_listener){
        .server = server, .index = index, .port = is_unix ? 0 : mg_listen_port(fd)};
    const int err =
        mg_listener_open(&slot->listener, server->parts.loop, fd, is_unix, on_accept, slot);
    if (!err) {
        mg_listener_count(slot->listener, server->parts.stats);
        server->listener_count++;
    }
    return err;
}

static void stop_accepting(struct mg_server *server)
{
    for (uint32_t i = 0; i < server->listener_count; i++) {
        mg_listener_close(server->listeners[i].listener);
    }
    server->listener_count = 0;
}

static void on_quiet(struct mg_deadline *deadline)
{
    struct mg_client *client = MG_CONTAINER(deadline, struct mg_client, read_deadline);
    mg_client_close(client);
}

/* Idle connections get some time for the request that may be on its way. */
static void hurry_idle_clients(struct mg_server *server)
{
    struct mg_deadline_class *quiet =
        mg_deadlines_class(&server->parts.loop->deadlines, MG_SERVER_QUIET_MS);
    const uint64_t now = mg_loop_now_ms(server->parts.loop);
    for (struct mg_link *at = server->clients.next; at != &server->clients; at = at->next) {
        struct mg_client *client = MG_CONTAINER(at, struct mg_client, link);
        if (client->state == MG_CLIENT_IDLE && client->in.len == 0) { /* else put off */
            mg_deadline_arm(quiet, &client->read_deadline, on_quiet, now);
        }
    }
}

void mg_server_drain(struct mg_server *server, void (*on_drained)(void *context), void *context)
{
    if (server->draining) {
        return;
    }
    server->draining = true;
    server->on_drained = on_drained;
    server->context = context;
    stop_accepting(server);
    mg_checks_use(server->checks, NULL);
    hurry_idle_clients(server);
    mg_server_check_drained(server);
}

/* Ends the requests of one generation, or all. Those that end are taken off the list, and with them
 * maybe others: so each turn begins anew. */
static void end_exchanges(struct mg_server *server, const struct mg_generation *generation)
{
    struct mg_link *at = server->exchanges.next;
    while (at != &server->exchanges) {
        struct mg_exchange *exchange = MG_CONTAINER(at, struct mg_exchange, link);
        if (generation && exchange->generation != generation) {
            at = at->next;
            continue;
        }
        mg_finish_now(exchange);
        at = server->exchanges.next;
    }
}

void mg_server_cut_generation(struct mg_server *server, const struct mg_generation *generation)
{
    end_exchanges(server, generation);
}

/* The one that is recycled next. */
static void prefetch_ended(const struct mg_server *server)
{
    if (mg_loop_is_wide(server->parts.loop) && !mg_list_empty(&server->ended_exchanges)) {
        mg_exchange_prefetch(MG_CONTAINER(server->ended_exchanges.next, struct mg_exchange, link));
    }
}

void mg_server_turn_end(struct mg_server *server)
{
    while (!mg_list_empty(&server->ended_exchanges)) {
        struct mg_exchange *exchange =
            MG_CONTAINER(server->ended_exchanges.next, struct mg_exchange, link);
        mg_link_remove(&exchange->link);
        prefetch_ended(server);
        mg_exchange_recycle(exchange);
        mg_list_push(&server->free_exchanges, &exchange->link);
    }
}

void mg_server_close(struct mg_server *server)
{
    server->closing = true;
    stop_accepting(server);
    end_exchanges(server, NULL);
    while (!mg_list_empty(&server->clients)) {
        mg_client_cut(MG_CONTAINER(server->clients.next, struct mg_client, link));
    }
    mg_server_turn_end(server);
    while (!mg_list_empty(&server->free_exchanges)) {
        struct mg_exchange *exchange =
            MG_CONTAINER(server->free_exchanges.next, struct mg_exchange, link);
        mg_link_remove(&exchange->link);
        mg_exchange_free(exchange);
    }
    if (server->checks) {
        mg_checks_close(server->checks);
    }
    if (server->generation) {
        mg_generation_release(server->generation);
        server->generation = NULL;
    }
    mg_buf_deinit(&server->head);
}
