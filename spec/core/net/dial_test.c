/* SPDX-License-Identifier: Apache-2.0 */
/* Dialling: names, several addresses, unix sockets, timeouts, cancelling. */
#include "net/dial.h"

#include "net/listen.h"

#include "support/name_server.h"
#include "support/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct mg_loop loop;
    struct name_server server;
    struct mg_dns *dns;
    struct mg_link dials;
    struct mg_dial dial;
    bool has_fired, is_over;
    int status;
    struct mg_io *io;
    struct mg_address peer;
};

static void on_dial(struct mg_dial *dial, int status, struct mg_io *io)
{
    struct fixture *f = MG_CONTAINER(dial, struct fixture, dial);
    assert_false(f->has_fired);
    assert_true(f->is_over);
    assert_null(dial->state);
    assert_true((status == 0) == (io != NULL));
    f->has_fired = true;
    f->status = status;
    f->io = io;
    if (io) {
        mg_io_peer(io, &f->peer);
        assert_false(mg_io_is_reading(io));
    }
}

static void on_over(void *owner)
{
    ((struct fixture *)owner)->is_over = true;
}

static void open_all(struct fixture *f, const struct name_record *records)
{
    *f = (struct fixture){.dial.fn = on_dial};
    mg_link_init(&f->dials);
    assert_int_equal(mg_loop_open_virtual(&f->loop, 0), 0);
    name_server_open(&f->server, &f->loop);
    if (records) {
        f->server.records = records;
    }
    const struct mg_dns_options options = {
        .timeout_ms = 2000, .tries = 1, .negative_ms = 1000, .servers = f->server.address};
    assert_int_equal(mg_dns_open(&f->dns, &f->loop, &options), 0);
}

static void close_all(struct fixture *f)
{
    if (f->io) {
        mg_io_close(f->io);
    }
    mg_dns_close(f->dns);
    name_server_close(&f->server);
    mg_loop_close(&f->loop);
}

static void start_at(struct fixture *f, const char *host, uint16_t port, uint64_t timeout_ms,
                     uint32_t random)
{
    struct mg_dial_place place = {.loop = &f->loop,
                                  .dns = f->dns,
                                  .host = mg_str_from(host),
                                  .port = port,
                                  .random = random,
                                  .on_over = on_over,
                                  .owner = f};
    if (strncmp(host, "unix:", 5) == 0) {
        struct mg_listen_address address;
        assert_int_equal(mg_listen_parse(mg_str_from(host), &address), 0);
        memcpy(&place.unix_address, &address.sockaddr, sizeof place.unix_address);
        place.unix_length = address.length;
    }
    assert_int_equal(mg_dial_start(&f->dial, &place, timeout_ms, &f->dials), 0);
    assert_false(f->has_fired); /* never before the call has returned */
}

static void start(struct fixture *f, const char *host, uint16_t port)
{
    start_at(f, host, port, 2000, 0);
}

static int finish(struct fixture *f)
{
    sockets_run_until_set(&f->loop, &f->has_fired);
    assert_true(mg_list_empty(&f->dials));
    return f->status;
}

/* A listening socket on 127.0.0.host, with the port of the first one. */
static int listen_on(int host, uint16_t *port, int backlog)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t length = sizeof in;
    in.sin_addr.s_addr = htonl(0x7f000000U + (uint32_t)host);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_return_code(bind(fd, (struct sockaddr *)&in, sizeof in), errno);
    assert_return_code(listen(fd, backlog), errno);
    assert_return_code(getsockname(fd, (struct sockaddr *)&in, &length), errno);
    *port = ntohs(in.sin_port);
    return fd;
}

static void connects_to_a_literal_and_to_a_name(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        uint16_t port;
        const int fd = sockets_listen(&port);
        open_all(&f, NULL);
        start(&f, hosts[i], port);
        assert_int_equal(finish(&f), 0);
        assert_string_equal(f.peer.ip, "127.0.0.1");
        assert_int_equal(f.peer.port, port);
        close(fd);
        close_all(&f);
    }
}

static void says_that_nobody_listens(void **state)
{
    (void)state;
    struct fixture f;
    uint16_t port;
    close(sockets_listen(&port));
    open_all(&f, NULL);
    start(&f, "127.0.0.1", port);
    assert_int_equal(finish(&f), UV_ECONNREFUSED);
    close_all(&f);
}

static void says_that_a_name_is_unknown(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f, NULL);
    start(&f, "nowhere.test", 80);
    assert_int_equal(finish(&f), MG_EDNS);
    f.has_fired = f.is_over = false;
    start(&f, "nowhere.test", 80); /* remembered */
    assert_int_equal(finish(&f), MG_EDNS);
    f.has_fired = f.is_over = false;
    start(&f, "", 80);
    assert_int_equal(finish(&f), MG_EINVALID);
    close_all(&f);
}

static const struct name_record three[] = {{"three.test", ANSWER_LOCAL, 60, 3}, {.name = NULL}};

static void tries_the_addresses_in_turn(void **state)
{
    (void)state;
    for (uint32_t random = 0; random < 3; random++) {
        struct fixture f;
        uint16_t port = 0;
        const int fd = listen_on(2, &port, 8);
        open_all(&f, three);
        start_at(&f, "three.test", port, 2000, random);
        assert_int_equal(finish(&f), 0);
        assert_string_equal(f.peer.ip, "127.0.0.2");
        close(fd);
        close_all(&f);
    }
}

static void starts_at_a_random_address(void **state)
{
    (void)state;
    static const char *const expected[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3"};
    for (uint32_t random = 0; random < 6; random++) {
        struct fixture f;
        uint16_t port = 0;
        int fds[3];
        for (int i = 0; i < 3; i++) {
            fds[i] = listen_on(i + 1, &port, 8);
        }
        open_all(&f, three);
        start_at(&f, "three.test", port, 2000, random);
        assert_int_equal(finish(&f), 0);
        assert_string_equal(f.peer.ip, expected[random % 3]);
        for (int i = 0; i < 3; i++) {
            close(fds[i]);
        }
        close_all(&f);
    }
}

static void gives_the_last_error_when_all_addresses_fail(void **state)
{
    (void)state;
    struct fixture f;
    uint16_t port;
    close(sockets_listen(&port));
    open_all(&f, three);
    start(&f, "three.test", port);
    assert_int_equal(finish(&f), UV_ECONNREFUSED);
    close_all(&f);
}

/* Connections that fill the queue of a listener, so that the next one gets no answer. */
struct crowd {
    int fds[16];
    int count;
};

static bool is_answered(int fd)
{
    int error;
    socklen_t length = sizeof error;
    struct sockaddr_storage peer;
    socklen_t peer_length = sizeof peer;
    struct pollfd wanted = {.fd = fd, .events = POLLOUT};
    (void)poll(&wanted, 1, 100);
    assert_return_code(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), errno);
    return getpeername(fd, (struct sockaddr *)&peer, &peer_length) == 0;
}

static void crowd_in(struct crowd *crowd, const struct sockaddr *address, socklen_t length)
{
    crowd->count = 0;
    bool answered = true;
    while (answered) {
        assert_true(crowd->count < 16);
        const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
        const int result = connect(fd, address, length);
        answered = result == 0 || (errno == EINPROGRESS && is_answered(fd));
        crowd->fds[crowd->count++] = fd;
    }
}

static void crowd_out(struct crowd *crowd)
{
    for (int i = 0; i < crowd->count; i++) {
        close(crowd->fds[i]);
    }
}

static void crowd_in_tcp(struct crowd *crowd, uint16_t port)
{
    const struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    crowd_in(crowd, (const struct sockaddr *)&in, sizeof in);
}

static void turn_until_quiet(struct fixture *f)
{
    while (mg_loop_turn(&f->loop)) {
    }
}

static void gives_up_when_the_time_is_over(void **state)
{
    (void)state;
    struct fixture f;
    struct crowd crowd;
    uint16_t port = 0;
    const int fd = listen_on(1, &port, 0);
    crowd_in_tcp(&crowd, port);
    open_all(&f, NULL);
    start(&f, "127.0.0.1", port);
    turn_until_quiet(&f);
    mg_clock_advance(&f.loop.clock, 1999 * 1000);
    turn_until_quiet(&f);
    assert_false(f.has_fired);
    mg_clock_advance(&f.loop.clock, 1000);
    turn_until_quiet(&f);
    assert_true(f.has_fired);
    assert_int_equal(f.status, MG_ETIMEOUT);
    crowd_out(&crowd);
    close(fd);
    close_all(&f);
}

static void a_dead_address_uses_only_its_share_of_the_time(void **state)
{
    (void)state;
    struct fixture f;
    struct crowd crowd;
    uint16_t port = 0;
    const int dead = listen_on(1, &port, 0);
    const int alive = listen_on(2, &port, 8);
    crowd_in_tcp(&crowd, port);
    open_all(&f, three);
    start(&f, "three.test", port);
    while (mg_list_empty(&f.dials) || f.server.asked_a == 0 ||
           mg_deadlines_next(&f.loop.deadlines) < mg_loop_now_ms(&f.loop) + 600) {
        mg_loop_turn(&f.loop); /* until the first address is being tried */
    }
    mg_clock_advance(&f.loop.clock, 2000 / 3 * 1000);
    assert_int_equal(finish(&f), 0);
    assert_string_equal(f.peer.ip, "127.0.0.2");
    crowd_out(&crowd);
    close(dead);
    close(alive);
    close_all(&f);
}

static void the_time_covers_resolving(void **state)
{
    (void)state;
    struct fixture f;
    const struct name_record silent[] = {{"s.test", ANSWER_SILENCE, 0, 0}, {.name = NULL}};
    open_all(&f, silent);
    start_at(&f, "s.test", 80, 500, 0);
    turn_until_quiet(&f);
    mg_clock_advance(&f.loop.clock, 500 * 1000);
    turn_until_quiet(&f);
    assert_int_equal(f.status, MG_ETIMEOUT);
    close_all(&f);
}

static void nothing_fires_after_cancel(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1", "three.test", "unix:/nonexistent/s"};
    for (int i = 0; i < 3; i++) {
        struct fixture f;
        uint16_t port;
        const int fd = sockets_listen(&port);
        open_all(&f, three);
        start(&f, hosts[i], port);
        mg_dial_cancel(&f.dial);
        mg_dial_cancel(&f.dial);
        assert_true(f.is_over);
        turn_until_quiet(&f);
        assert_false(f.has_fired);
        close(fd);
        close_all(&f);
    }
}

static void cancelling_all_tells_each(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f, three);
    start(&f, "three.test", 80);
    mg_dial_cancel_all(&f.dials);
    assert_true(f.has_fired);
    assert_int_equal(f.status, MG_ECANCELLED);
    mg_dial_cancel(&f.dial); /* has fired: harmless */
    close_all(&f);
}

static int listen_unix(char *text, size_t bytes, struct mg_listen_address *address, int backlog)
{
    char message[200];
    snprintf(text, bytes, "unix:@moongate-dial-test-%d", (int)getpid());
    assert_int_equal(mg_listen_parse(mg_str_from(text), address), 0);
    const int fd = mg_listen_bind(address, backlog, message, sizeof message);
    assert_true(fd >= 0);
    return fd;
}

static void connects_to_a_unix_socket(void **state)
{
    (void)state;
    struct fixture f;
    struct mg_listen_address address;
    char text[64];
    const int fd = listen_unix(text, sizeof text, &address, 8);
    open_all(&f, NULL);
    start(&f, text, 0);
    assert_int_equal(finish(&f), 0);
    assert_string_equal(f.peer.ip, "unix:");
    close(fd);
    close_all(&f);
    open_all(&f, NULL);
    start(&f, "unix:/nonexistent/s", 0);
    assert_int_equal(finish(&f), UV_ENOENT);
    close_all(&f);
}

static void waits_for_a_unix_socket_that_is_busy(void **state)
{
    (void)state;
    struct fixture f;
    struct crowd crowd;
    struct mg_listen_address address;
    char text[64];
    const int fd = listen_unix(text, sizeof text, &address, 1);
    crowd_in(&crowd, (const struct sockaddr *)&address.sockaddr, address.length);
    open_all(&f, NULL);
    start(&f, text, 0);
    turn_until_quiet(&f);
    mg_clock_advance(&f.loop.clock, 10 * 1000);
    turn_until_quiet(&f);
    assert_false(f.has_fired);
    close(accept(fd, NULL, NULL));
    mg_clock_advance(&f.loop.clock, 10 * 1000);
    turn_until_quiet(&f);
    assert_true(f.has_fired);
    assert_int_equal(f.status, 0);
    crowd_out(&crowd);
    close(fd);
    close_all(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connects_to_a_literal_and_to_a_name),
        cmocka_unit_test(says_that_nobody_listens),
        cmocka_unit_test(says_that_a_name_is_unknown),
        cmocka_unit_test(tries_the_addresses_in_turn),
        cmocka_unit_test(starts_at_a_random_address),
        cmocka_unit_test(gives_the_last_error_when_all_addresses_fail),
        cmocka_unit_test(gives_up_when_the_time_is_over),
        cmocka_unit_test(a_dead_address_uses_only_its_share_of_the_time),
        cmocka_unit_test(the_time_covers_resolving),
        cmocka_unit_test(nothing_fires_after_cancel),
        cmocka_unit_test(cancelling_all_tells_each),
        cmocka_unit_test(connects_to_a_unix_socket),
        cmocka_unit_test(waits_for_a_unix_socket_that_is_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
