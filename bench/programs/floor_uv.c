/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor under the gateway's own loop: passes octets between a client and an upstream connection
 * of its own by libuv, without looking at them, writing by uv_try_write as the gateway does.
 * Four system calls a round trip; epoll_wait is shared by what is ready at the same time.
 *
 *     bench_floor_uv 8000 9000      (port to listen on, port of the upstream, both of 127.0.0.1)
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define READ_BYTES (64 * 1024)

struct pair;

struct end {
    uv_tcp_t tcp;
    struct pair *pair;
    struct end *other;
};

struct pair {
    struct end client, server;
    uv_connect_t connect;
    int open_handles;
    bool is_closing;
};

struct rest {
    uv_write_t request;
    struct end *reader; /* stopped until this is written */
    char bytes[];
};

static struct sockaddr_in upstream;
static char buffer[READ_BYTES];

static void check(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "bench_floor_uv: %s: %s\n", what, uv_strerror(status));
        exit(1);
    }
}

static void *allocate(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (!memory) {
        abort();
    }
    return memory;
}

static void on_closed(uv_handle_t *handle)
{
    struct end *end = handle->data;
    if (--end->pair->open_handles == 0) {
        free(end->pair);
    }
}

static void close_pair(struct pair *pair)
{
    if (!pair->is_closing) {
        pair->is_closing = true;
        uv_close((uv_handle_t *)&pair->client.tcp, on_closed);
        uv_close((uv_handle_t *)&pair->server.tcp, on_closed);
    }
}

static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(buffer, sizeof buffer);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf);

static void on_written(uv_write_t *request, int status)
{
    struct rest *rest = (struct rest *)request;
    struct pair *pair = rest->reader->pair;
    if (status < 0) {
        close_pair(pair);
    } else if (!pair->is_closing) {
        uv_read_start((uv_stream_t *)&rest->reader->tcp, on_allocate, on_read);
    }
    free(rest);
}

static void write_rest(struct end *from, const char *bytes, size_t length)
{
    struct rest *rest = allocate(sizeof *rest + length);
    memcpy(rest->bytes, bytes, length);
    rest->reader = from;
    const uv_buf_t buf = uv_buf_init(rest->bytes, (unsigned)length);
    uv_read_stop((uv_stream_t *)&from->tcp);
    if (uv_write(&rest->request, (uv_stream_t *)&from->other->tcp, &buf, 1, on_written)) {
        free(rest);
        close_pair(from->pair);
    }
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    struct end *end = stream->data;
    if (got == 0) {
        return;
    }
    if (got < 0) {
        close_pair(end->pair);
        return;
    }
    const uv_buf_t out = uv_buf_init(buf->base, (unsigned)got);
    int sent = uv_try_write((uv_stream_t *)&end->other->tcp, &out, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        close_pair(end->pair);
        return;
    }
    sent = sent < 0 ? 0 : sent;
    if (sent < got) {
        write_rest(end, buf->base + sent, (size_t)(got - sent));
    }
}

static void on_connected(uv_connect_t *request, int status)
{
    struct pair *pair = request->data;
    if (status < 0 || pair->is_closing) {
        close_pair(pair);
        return;
    }
    uv_read_start((uv_stream_t *)&pair->client.tcp, on_allocate, on_read);
    uv_read_start((uv_stream_t *)&pair->server.tcp, on_allocate, on_read);
}

static void open_end(struct pair *pair, struct end *end, struct end *other)
{
    check(uv_tcp_init(uv_default_loop(), &end->tcp), "init");
    pair->open_handles++;
    end->tcp.data = end;
    end->pair = pair;
    end->other = other;
}

static void on_connection(uv_stream_t *server, int status)
{
    if (status < 0) {
        return;
    }
    struct pair *pair = allocate(sizeof *pair);
    open_end(pair, &pair->client, &pair->server);
    open_end(pair, &pair->server, &pair->client);
    pair->connect.data = pair;
    check(uv_accept(server, (uv_stream_t *)&pair->client.tcp), "accept");
    uv_tcp_nodelay(&pair->client.tcp, 1);
    check(uv_tcp_connect(&pair->connect, &pair->server.tcp, (struct sockaddr *)&upstream,
                         on_connected),
          "connect");
    uv_tcp_nodelay(&pair->server.tcp, 1);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address;
    uv_tcp_t listener;
    if (argc != 3) {
        fputs("usage: bench_floor_uv PORT UPSTREAM_PORT\n", stderr);
        return 2;
    }
    uv_ip4_addr("127.0.0.1", (int)strtol(argv[1], NULL, 10), &address);
    uv_ip4_addr("127.0.0.1", (int)strtol(argv[2], NULL, 10), &upstream);
    check(uv_tcp_init(uv_default_loop(), &listener), "init");
    check(uv_tcp_bind(&listener, (struct sockaddr *)&address, 0), "bind");
    check(uv_listen((uv_stream_t *)&listener, 4096, on_connection), "listen");
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
