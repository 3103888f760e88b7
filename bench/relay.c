/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor under the gateway: a relay made of net/ alone, which passes bytes from client to
 * upstream and back without parsing them. Whatever the gateway costs above this is its own doing.
 * One answer has to come in one read (small bodies), because the relay cannot tell where it ends.
 *
 *     bench_relay 127.0.0.1:9000 127.0.0.1:9101    # listen, upstream; ends with SIGINT, SIGTERM
 *     strace -c -f bench_relay ...                 # 4 calls a round trip, epoll_wait aside
 *
 * An upstream connection goes back to the pool after each answer and is taken again for the next
 * request, as in the gateway.
 */
#include "base/buf.h"
#include "net/listen.h"
#include "net/pool.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HIGH_WATER_BYTES (64 * 1024)
#define MAX_IDLE 256
#define IDLE_MS 55000
#define CONNECT_MS 2000
#define EARLY_BYTES (256 * 1024) /* what a client may send before its upstream is connected */

struct relay {
    struct mg_loop loop;
    struct mg_dns *dns;
    struct mg_pool *pool;
    struct mg_origin *origin;
    struct mg_listener *listener;
    struct mg_link clients;
    uv_signal_t signals[2];
    uint64_t round_trips, dials, failures;
};

struct client {
    struct relay *relay;
    struct mg_link link; /* in relay->clients */
    struct mg_io *io;
    struct mg_io *upstream; /* between a request and its answer */
    struct mg_dial dial;
    struct mg_buf early;
    bool is_closing;
};

static void close_client(struct client *client)
{
    if (client->is_closing) {
        return;
    }
    client->is_closing = true;
    mg_dial_cancel(&client->dial);
    if (client->upstream) {
        mg_io_set_handler(client->upstream, NULL, NULL);
        mg_io_close(client->upstream);
        client->upstream = NULL;
    }
    mg_io_close(client->io);
}

static void on_client_closed(void *context)
{
    struct client *client = context;
    mg_buf_deinit(&client->early);
    mg_link_remove(&client->link);
    free(client);
}

/* Writes; stops the reader of a side that sends faster than the other takes. */
static bool pass_on(struct client *client, struct mg_io *to, struct mg_io *from, mg_str bytes)
{
    if (mg_io_write(to, &bytes, 1)) {
        client->relay->failures++;
        close_client(client);
        return false;
    }
    if (mg_io_queued(to) > HIGH_WATER_BYTES) {
        mg_io_read_stop(from);
    }
    return true;
}

static void on_answer(void *context, mg_str bytes)
{
    struct client *client = context;
    struct mg_io *upstream = client->upstream;
    if (!pass_on(client, client->io, upstream, bytes)) {
        return;
    }
    client->relay->round_trips++;
    client->upstream = NULL;
    mg_pool_put(client->relay->origin, upstream, MAX_IDLE, IDLE_MS);
}

static void on_upstream_end(void *context, int status)
{
    (void)status;
    close_client(context);
}

static void on_upstream_drain(void *context, int status)
{
    struct client *client = context;
    if (status == 0) {
        mg_io_read_start(client->io);
    }
}

static const struct mg_io_handler upstream_handler = {
    .on_data = on_answer, .on_end = on_upstream_end, .on_drain = on_upstream_drain};

static void use_upstream(struct client *client, struct mg_io *upstream)
{
    client->upstream = upstream;
    mg_io_set_handler(upstream, &upstream_handler, client);
    mg_io_read_start(upstream);
}

static void on_dial(struct mg_dial *dial, int status, struct mg_io *io)
{
    struct client *client = MG_CONTAINER(dial, struct client, dial);
    if (status) {
        client->relay->failures++;
        close_client(client);
        return;
    }
    use_upstream(client, io);
    const mg_str bytes = mg_buf_view(&client->early);
    if (pass_on(client, io, client->io, bytes)) {
        mg_buf_clear(&client->early);
    }
}

static void dial_upstream(struct client *client, mg_str bytes)
{
    int err = mg_buf_append(&client->early, bytes);
    if (!err && !client->dial.state) {
        client->relay->dials++;
        err = mg_pool_dial(client->relay->origin, &client->dial, CONNECT_MS);
    }
    if (err) {
        close_client(client);
    }
}

static void on_request(void *context, mg_str bytes)
{
    struct client *client = context;
    struct mg_io *idle = client->upstream ? NULL : mg_pool_take(client->relay->origin, false);
    if (idle) {
        use_upstream(client, idle);
    }
    if (client->upstream) {
        (void)pass_on(client, client->upstream, client->io, bytes);
    } else {
        dial_upstream(client, bytes);
    }
}

static void on_client_end(void *context, int status)
{
    (void)status;
    close_client(context);
}

static void on_client_drain(void *context, int status)
{
    struct client *client = context;
    if (status == 0 && client->upstream) {
        mg_io_read_start(client->upstream);
    }
}

static const struct mg_io_handler client_handler = {.on_data = on_request,
                                                    .on_end = on_client_end,
                                                    .on_drain = on_client_drain,
                                                    .on_closed = on_client_closed};

static void on_accept(void *context, int fd, const struct mg_address *peer)
{
    (void)peer;
    struct relay *relay = context;
    struct client *client = calloc(1, sizeof *client);
    mg_require(client != NULL);
    client->relay = relay;
    client->dial.fn = on_dial;
    mg_buf_init(&client->early, EARLY_BYTES);
    if (mg_io_new_fd(&client->io, &relay->loop, fd, false)) {
        free(client);
        return;
    }
    mg_io_set_handler(client->io, &client_handler, client);
    mg_list_append(&relay->clients, &client->link);
    mg_io_read_start(client->io);
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    mg_loop_stop(MG_CONTAINER(handle->loop, struct mg_loop, uv));
}

static void watch_signals(struct relay *relay)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        mg_require(uv_signal_init(&relay->loop.uv, &relay->signals[i]) == 0);
        mg_require(uv_signal_start(&relay->signals[i], on_signal, numbers[i]) == 0);
    }
}

static void close_all(struct relay *relay)
{
    mg_listener_close(relay->listener);
    for (struct mg_link *at = relay->clients.next; at != &relay->clients; at = at->next) {
        close_client(MG_CONTAINER(at, struct client, link));
    }
    mg_origin_release(relay->origin);
    mg_pool_close(relay->pool);
    mg_dns_close(relay->dns);
    for (int i = 0; i < 2; i++) {
        uv_close((uv_handle_t *)&relay->signals[i], NULL);
    }
    mg_loop_close(&relay->loop);
}

/* "host:port" of the upstream; the host may be a name. */
static bool split(char *text, mg_str *host, uint16_t *port)
{
    char *colon = strrchr(text, ':');
    uint64_t value;
    if (!colon || !mg_str_to_u64(mg_str_from(colon + 1), &value) || value > UINT16_MAX) {
        return false;
    }
    *host = mg_str_make(text, (size_t)(colon - text));
    *port = (uint16_t)value;
    return true;
}

static int open_all(struct relay *relay, int fd, mg_str host, uint16_t port)
{
    const struct mg_dns_options dns = {.timeout_ms = 2000, .tries = 2, .negative_ms = 1000};
    int err = mg_loop_open(&relay->loop);
    mg_link_init(&relay->clients);
    err = err ? err : mg_dns_open(&relay->dns, &relay->loop, &dns);
    err = err ? err : mg_pool_open(&relay->pool, &relay->loop, relay->dns);
    if (err) {
        return err;
    }
    relay->origin = mg_pool_origin(relay->pool, host, port);
    watch_signals(relay);
    return mg_listener_open(&relay->listener, &relay->loop, fd, false, on_accept, relay);
}

int main(int argc, char **argv)
{
    struct mg_listen_address address;
    mg_str host;
    uint16_t port;
    char message[200];
    if (argc != 3 || mg_listen_parse(mg_str_from(argv[1]), &address) ||
        !split(argv[2], &host, &port)) {
        fprintf(stderr, "usage: bench_relay LISTEN_IP:PORT UPSTREAM_HOST:PORT\n");
        return 2;
    }
    const int fd = mg_listen_bind(&address, 1024, message, sizeof message);
    if (fd < 0) {
        fprintf(stderr, "bench_relay: %s\n", message);
        return 1;
    }
    struct relay relay = {.round_trips = 0};
    const int err = open_all(&relay, fd, host, port);
    if (err) {
        fprintf(stderr, "bench_relay: %s\n", mg_err_text(err));
        return 1;
    }
    mg_loop_run(&relay.loop);
    fprintf(stderr, "round_trips=%llu dials=%llu failures=%llu\n",
            (unsigned long long)relay.round_trips, (unsigned long long)relay.dials,
            (unsigned long long)relay.failures);
    close_all(&relay);
    return 0;
}
