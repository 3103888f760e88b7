/* SPDX-License-Identifier: Apache-2.0 */
/* A small name server (RFC 1035, 4): one question, answers with compressed names. */
#include "support/name_server.h"

#include "support/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define HEAD_BYTES 12
#define MOST_UDP_BYTES 1232
#define TYPE_A 1
#define TYPE_CNAME 5
#define TYPE_AAAA 28
#define RCODE_SERVFAIL 2
#define RCODE_NXDOMAIN 3

struct message {
    unsigned char bytes[4096];
    size_t len;
};

static void put(struct message *message, const void *bytes, size_t count)
{
    assert_true(count <= sizeof message->bytes - message->len);
    memcpy(message->bytes + message->len, bytes, count);
    message->len += count;
}

static void put_u16(struct message *message, unsigned value)
{
    const unsigned char bytes[] = {(unsigned char)(value >> 8), (unsigned char)value};
    put(message, bytes, sizeof bytes);
}

/* Name, type, class, TTL, length of the data that follows. */
static void put_record(struct message *message, unsigned name_at, unsigned type, uint32_t ttl_s,
                       unsigned data_bytes)
{
    put_u16(message, 0xc000U | name_at);
    put_u16(message, type);
    put_u16(message, 1);
    put_u16(message, ttl_s >> 16);
    put_u16(message, ttl_s & 0xffff);
    put_u16(message, data_bytes);
    message->bytes[7]++; /* ANCOUNT; fewer than 256 */
}

static void put_addresses(struct message *message, unsigned name_at,
                          const struct name_record *record)
{
    for (int i = 1; i <= record->count; i++) {
        const unsigned char last = (unsigned char)i;
        const unsigned char test_net[] = {192, 0, 2, last}, local[] = {127, 0, 0, last};
        const unsigned char *a = record->answer == ANSWER_A ? test_net : local;
        const unsigned char aaaa[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = last};
        if (record->answer != ANSWER_AAAA) {
            put_record(message, name_at, TYPE_A, record->ttl_s, sizeof test_net);
            put(message, a, sizeof test_net);
        } else {
            put_record(message, name_at, TYPE_AAAA, record->ttl_s, sizeof aaaa);
            put(message, aaaa, sizeof aaaa);
        }
    }
}

/* The alias is "x" below the question's own name; returns where that stands. */
static unsigned put_alias(struct message *message, uint32_t ttl_s)
{
    static const unsigned char data[] = {1, 'x', 0xc0, HEAD_BYTES};
    put_record(message, HEAD_BYTES, TYPE_CNAME, ttl_s, sizeof data);
    put(message, data, sizeof data);
    return (unsigned)(message->len - sizeof data);
}

/* The question's name as text; returns the position behind it. */
static size_t read_name(const struct message *query, char *name, size_t bytes)
{
    size_t at = HEAD_BYTES, len = 0;
    while (query->bytes[at] != 0) {
        const size_t label = query->bytes[at++];
        assert_true(len + label + 2 <= bytes && at + label < query->len);
        memcpy(name + len, query->bytes + at, label);
        len += label;
        name[len++] = '.';
        at += label;
    }
    name[len > 0 ? len - 1 : 0] = '\0';
    return at + 1;
}

/* Whether an answer is to be sent. */
static bool make_answer(struct name_server *server, struct message *message, const char *name,
                        unsigned type)
{
    unsigned name_at = HEAD_BYTES;
    bool is_listed = false, is_silent = false;
    for (const struct name_record *at = server->records; at->name; at++) {
        if (strcasecmp(at->name, name) != 0) {
            continue;
        }
        is_listed = true;
        switch (at->answer) {
        case ANSWER_CNAME:
            name_at = put_alias(message, at->ttl_s);
            break;
        case ANSWER_SERVFAIL:
            message->bytes[3] = RCODE_SERVFAIL;
            break;
        case ANSWER_SILENCE:
            is_silent = message->bytes[7] == 0;
            break;
        case ANSWER_A:
        case ANSWER_LOCAL:
        case ANSWER_AAAA:
            if (type == (at->answer == ANSWER_AAAA ? TYPE_AAAA : TYPE_A)) {
                put_addresses(message, name_at, at);
            }
            break;
        }
    }
    server->asked_a += is_listed && type == TYPE_A;
    server->asked_aaaa += is_listed && type == TYPE_AAAA;
    message->bytes[3] = is_listed ? message->bytes[3] : RCODE_NXDOMAIN;
    return !is_silent;
}

/* Turns the query in message into its answer; whether that is to be sent. */
static bool answer_query(struct name_server *server, struct message *message)
{
    char name[256];
    const size_t end = read_name(message, name, sizeof name);
    const unsigned type = (unsigned)message->bytes[end] << 8 | message->bytes[end + 1];
    message->len = end + 4;   /* head and question stay; EDNS goes */
    message->bytes[2] = 0x81; /* answer, recursion desired */
    message->bytes[3] = 0x80; /* recursion available */
    memset(message->bytes + 6, 0, 6);
    return make_answer(server, message, name, type);
}

static void on_udp(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct name_server *server = MG_CONTAINER(poll, struct name_server, udp);
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    struct message message;
    mg_loop_wake(server->loop);
    const ssize_t count = recvfrom(server->udp_fd, message.bytes, sizeof message.bytes,
                                   MSG_DONTWAIT, (struct sockaddr *)&from, &length);
    if (count < HEAD_BYTES) {
        return;
    }
    message.len = (size_t)count;
    if (!answer_query(server, &message)) {
        return;
    }
    if (message.len > MOST_UDP_BYTES) {
        char name[256];
        message.bytes[2] |= 0x02; /* truncated: come by TCP */
        message.bytes[7] = 0;     /* only the question is left */
        message.len = read_name(&message, name, sizeof name) + 4;
    }
    (void)sendto(server->udp_fd, message.bytes, message.len, 0, (struct sockaddr *)&from, length);
}

static void close_tcp(struct name_server *server)
{
    uv_close((uv_handle_t *)&server->tcp, NULL);
    close(server->tcp_fd);
    server->tcp_fd = -1;
}

/* A query stands behind its length (RFC 1035, 4.2.2); on the loopback it comes in one piece. */
static void on_tcp(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct name_server *server = MG_CONTAINER(poll, struct name_server, tcp);
    unsigned char prefix[2];
    struct message message;
    mg_loop_wake(server->loop);
    if (recv(server->tcp_fd, prefix, sizeof prefix, MSG_WAITALL) != sizeof prefix) {
        close_tcp(server);
        return;
    }
    message.len = (size_t)prefix[0] << 8 | prefix[1];
    assert_int_equal(recv(server->tcp_fd, message.bytes, message.len, MSG_WAITALL), message.len);
    server->asked_by_tcp++;
    if (answer_query(server, &message)) {
        prefix[0] = (unsigned char)(message.len >> 8);
        prefix[1] = (unsigned char)message.len;
        assert_int_equal(send(server->tcp_fd, prefix, sizeof prefix, MSG_NOSIGNAL), sizeof prefix);
        assert_int_equal(send(server->tcp_fd, message.bytes, message.len, MSG_NOSIGNAL),
                         message.len);
    }
}

static void watch(struct name_server *server, uv_poll_t *poll, int fd, uv_poll_cb on_event)
{
    assert_int_equal(uv_poll_init(&server->loop->uv, poll, fd), 0);
    assert_int_equal(uv_poll_start(poll, UV_READABLE, on_event), 0);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct name_server *server = MG_CONTAINER(poll, struct name_server, listener);
    mg_loop_wake(server->loop);
    assert_int_equal(server->tcp_fd, -1);
    server->tcp_fd = accept(server->listener_fd, NULL, NULL);
    assert_return_code(server->tcp_fd, errno);
    watch(server, &server->tcp, server->tcp_fd, on_tcp);
}

/* One port for both; the kernel picks one that is free for TCP, but may be taken for UDP. */
static void bind_both(struct name_server *server)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int result = -1;
    uint16_t port;
    server->udp_fd = socket(AF_INET, SOCK_DGRAM, 0);
    for (int i = 0; i < 10 && result != 0; i++) {
        server->listener_fd = sockets_listen(&port);
        in.sin_port = htons(port);
        result = bind(server->udp_fd, (struct sockaddr *)&in, sizeof in);
        if (result != 0) {
            close(server->listener_fd);
        }
    }
    assert_return_code(result, errno);
    snprintf(server->address, sizeof server->address, "127.0.0.1:%u", port);
}

void name_server_open(struct name_server *server, struct mg_loop *loop)
{
    static const struct name_record none[] = {{.name = NULL}};
    *server = (struct name_server){.loop = loop, .records = none, .tcp_fd = -1};
    bind_both(server);
    watch(server, &server->udp, server->udp_fd, on_udp);
    watch(server, &server->listener, server->listener_fd, on_connection);
}

void name_server_close(struct name_server *server)
{
    uv_close((uv_handle_t *)&server->udp, NULL);
    uv_close((uv_handle_t *)&server->listener, NULL);
    close(server->udp_fd);
    close(server->listener_fd);
    if (server->tcp_fd >= 0) {
        close_tcp(server);
    }
}
