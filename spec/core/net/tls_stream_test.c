/* SPDX-License-Identifier: Apache-2.0 */
/* TLS on a stream: what its owner sees of handshake, bytes and ends. */
#include "net/tls_stream.h"

#include "support/sockets.h"
#include "support/tls_server.h"

#include <openssl/err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define HOUR_S 3600

static struct authority authority, stranger;

static int open_authorities(void **state)
{
    (void)state;
    authority_open(&authority);
    authority_open(&stranger);
    return 0;
}

static int close_authorities(void **state)
{
    (void)state;
    authority_close(&authority);
    authority_close(&stranger);
    return 0;
}

static struct mg_tls_context *context_of(const struct mg_tls_options *options)
{
    struct mg_tls_context *context;
    char message[128];
    assert_int_equal(mg_tls_context_new(&context, options, message, sizeof message), 0);
    return context;
}

struct wire {
    struct mg_loop loop;
    struct mg_io *io;
    int peer;
    struct tls_server server;
    struct mg_tls_context *context;
    struct certificate certificate;
    bool is_told, is_closed, stop_in_data;
    int status, end_status, ends, data;
    char heard[256];
};

static void on_data(void *context, mg_str bytes)
{
    struct wire *w = context;
    const size_t length = strlen(w->heard);
    snprintf(w->heard + length, sizeof w->heard - length, "%.*s", MG_STR_ARG(bytes));
    w->data++;
    if (w->stop_in_data) {
        mg_io_read_stop(w->io);
    }
}

static void on_end(void *context, int status)
{
    struct wire *w = context;
    w->end_status = status;
    w->ends++;
}

static void on_closed(void *context)
{
    struct wire *w = context;
    w->is_closed = true;
}

static const struct mg_io_handler handler = {
    .on_data = on_data, .on_end = on_end, .on_closed = on_closed};

static void on_secure(void *context, int status, const char *text)
{
    struct wire *w = context;
    (void)text;
    w->is_told = true;
    w->status = status;
}

static void open_wire(struct wire *w, const char *name)
{
    const struct mg_tls_options trust = {.ca = mg_str_from(authority.self.pem)};
    int fds[2];
    *w = (struct wire){.peer = -1};
    certificate_make(&w->certificate, &authority, "DNS:redis.test", HOUR_S);
    tls_server_open(&w->server, &w->certificate, NULL);
    w->context = context_of(&trust);
    assert_int_equal(mg_loop_open_virtual(&w->loop, 0), 0);
    sockets_unix_pair(fds);
    w->peer = fds[1];
    assert_int_equal(mg_io_new_fd(&w->io, &w->loop, fds[0], true), 0);
    mg_io_set_handler(w->io, &handler, w);
    mg_tls_stream_start(w->io, mg_tls_client(w->context, mg_str_from(name)), on_secure, w);
}

static void close_wire(struct wire *w)
{
    if (!w->is_closed) {
        mg_io_close(w->io);
    }
    sockets_run_until_set(&w->loop, &w->is_closed);
    mg_loop_close(&w->loop);
    close(w->peer);
    tls_server_close(&w->server);
    mg_tls_context_free(w->context);
    certificate_free(&w->certificate);
}

/* Both sides, until nothing moves. */
static void pump(struct wire *w)
{
    char room[16 * 1024];
    bool moved = true;
    while (moved) {
        moved = mg_loop_turn(&w->loop);
        const ssize_t got = read(w->peer, room, sizeof room);
        if (got > 0) {
            (void)tls_server_take(&w->server, mg_str_make(room, (size_t)got));
            moved = true;
        }
        const size_t output = tls_server_output(&w->server, room, sizeof room);
        if (output > 0) {
            assert_int_equal(write(w->peer, room, output), (ssize_t)output);
            moved = true;
        }
    }
}

static void write_text(struct wire *w, const char *text)
{
    const mg_str parts[] = {mg_str_from(text), MG_STR("!")};
    assert_int_equal(mg_io_write(w->io, parts, 2), 0);
}

static void a_stream_is_plain_to_its_owner(void **state)
{
    struct wire w;
    (void)state;
    open_wire(&w, "redis.test");
    assert_false(w.is_told);
    pump(&w);
    assert_true(w.is_told);
    assert_int_equal(w.status, 0);
    write_text(&w, "hello");
    pump(&w);
    assert_string_equal(tls_server_heard(&w.server), "hello");
    assert_string_equal(tls_server_heard(&w.server), "!");
    tls_server_say(&w.server, "one");
    tls_server_say(&w.server, "two");
    pump(&w);
    assert_string_equal(w.heard, "onetwo");
    assert_int_equal(SSL_shutdown(w.server.ssl), 0);
    pump(&w);
    assert_int_equal(w.end_status, MG_ECLOSED);
    close_wire(&w);
}

static void what_is_decoded_waits_for_a_reader(void **state)
{
    struct wire w;
    (void)state;
    open_wire(&w, "redis.test");
    pump(&w);
    w.stop_in_data = true;
    tls_server_say(&w.server, "one");
    tls_server_say(&w.server, "two");
    pump(&w);
    assert_string_equal(w.heard, "one");
    mg_io_read_start(w.io);
    assert_int_equal(w.data, 1); /* not from inside */
    pump(&w);
    assert_string_equal(w.heard, "onetwo");
    close_wire(&w);
}

struct starter {
    struct mg_watch watch;
    struct wire *w;
};

static void on_start(struct mg_watch *watch, uint32_t events)
{
    struct wire *w = MG_CONTAINER(watch, struct starter, watch)->w;
    (void)events;
    mg_loop_wake(&w->loop);
    mg_io_read_start(w->io);
}

/* The socket's end is read in the turn in which the owner reads again, so before the rest is
 * delivered. */
static void the_end_of_the_socket_waits_for_what_is_decoded(void **state)
{
    struct wire w;
    (void)state;
    open_wire(&w, "redis.test");
    pump(&w);
    w.stop_in_data = true;
    tls_server_say(&w.server, "one");
    tls_server_say(&w.server, "two");
    tls_server_say(&w.server, "three");
    assert_int_equal(SSL_shutdown(w.server.ssl), 0);
    pump(&w);
    assert_string_equal(w.heard, "one");
    shutdown(w.peer, SHUT_WR);
    pump(&w);
    struct starter starter = {.watch.fn = on_start, .w = &w};
    const int ready = eventfd(1, EFD_NONBLOCK);
    assert_int_equal(mg_loop_watch(&w.loop, &starter.watch, ready, EPOLLIN | EPOLLET), 0);
    pump(&w);
    mg_loop_close_watched(&w.loop, &starter.watch);
    assert_string_equal(w.heard, "onetwo");
    assert_int_equal(w.ends, 0);
    w.stop_in_data = false;
    mg_io_read_start(w.io);
    pump(&w);
    assert_string_equal(w.heard, "onetwothree");
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.end_status, MG_ECLOSED);
    close_wire(&w);
}

static void a_stranger_is_told_of(void **state)
{
    struct wire w;
    (void)state;
    open_wire(&w, "other.test");
    pump(&w);
    assert_true(w.is_told);
    assert_int_equal(w.status, MG_ETLS);
    close_wire(&w);
}

static void an_end_that_is_no_end_of_tls_is_a_reset(void **state)
{
    struct wire w;
    (void)state;
    open_wire(&w, "redis.test");
    pump(&w);
    shutdown(w.peer, SHUT_WR);
    pump(&w);
    assert_int_equal(w.end_status, UV_ECONNRESET);
    close_wire(&w);
    open_wire(&w, "redis.test"); /* and within the handshake */
    shutdown(w.peer, SHUT_WR);
    mg_loop_turn(&w.loop);
    assert_true(w.is_told);
    assert_int_equal(w.status, MG_ECLOSED);
    assert_int_equal(w.end_status, 0);
    close_wire(&w);
}

static void garbage_is_no_tls(void **state)
{
    struct wire w;
    (void)state;
    open_wire(&w, "redis.test");
    assert_int_equal(write(w.peer, "-ERR unknown command\r\n", 22), 22);
    mg_loop_turn(&w.loop);
    assert_int_equal(w.status, MG_ETLS);
    assert_string_equal(mg_tls_stream_error(w.io), "the peer does not speak TLS");
    assert_int_equal(w.ends, 0);
    close_wire(&w);
}

static void an_early_write_is_refused(void **state)
{
    struct wire w;
    const mg_str part = MG_STR("secret");
    (void)state;
    open_wire(&w, "redis.test");
    assert_int_equal(mg_io_write(w.io, &part, 1), UV_ENOTCONN);
    pump(&w);
    assert_int_equal(w.status, 0);
    write_text(&w, "x");
    pump(&w);
    assert_string_equal(tls_server_heard(&w.server), "x");
    close_wire(&w);
}

/* Far more than a socket's buffer holds: the kernel takes some, the rest waits in the queue. */
static void large_writes_arrive_whole(void **state)
{
    const size_t bytes = 8UL * 1024 * 1024;
    struct wire w;
    (void)state;
    open_wire(&w, "redis.test");
    pump(&w);
    char *sent = malloc(bytes);
    assert_non_null(sent);
    for (size_t i = 0; i < bytes; i++) {
        sent[i] = (char)('a' + i % 23);
    }
    const mg_str parts[] = {mg_str_make(sent, 3), mg_str_make(sent + 3, bytes - 3)};
    assert_int_equal(mg_io_write(w.io, parts, 2), 0);
    assert_true(mg_io_queued(w.io) > bytes / 2);
    tls_server_say(&w.server, "meanwhile");
    size_t arrived = 0;
    char room[16 * 1024];
    while (arrived < bytes) {
        mg_loop_turn(&w.loop);
        const ssize_t got = read(w.peer, room, sizeof room);
        assert_true(got > 0);
        (void)tls_server_take(&w.server, mg_str_make(room, (size_t)got));
        int plain;
        while ((plain = SSL_read(w.server.ssl, room, sizeof room)) > 0) {
            assert_memory_equal(room, sent + arrived, (size_t)plain);
            arrived += (size_t)plain;
        }
    }
    free(sent);
    assert_int_equal(mg_io_queued(w.io), 0);
    pump(&w);
    assert_string_equal(w.heard, "meanwhile");
    close_wire(&w);
}

static void our_end_is_an_orderly_one(void **state)
{
    struct wire w;
    (void)state;
    open_wire(&w, "redis.test");
    pump(&w);
    mg_io_shutdown(w.io);
    pump(&w);
    assert_string_equal(tls_server_heard(&w.server), "");
    assert_true(SSL_get_shutdown(w.server.ssl) & SSL_RECEIVED_SHUTDOWN);
    assert_int_equal(mg_io_write(w.io, &(mg_str){"x", 1}, 1), UV_EPIPE);
    tls_server_say(&w.server, "last words"); /* the other half is open */
    pump(&w);
    assert_string_equal(w.heard, "last words");
    assert_int_equal(w.end_status, 0);
    assert_int_equal(SSL_shutdown(w.server.ssl), 1);
    pump(&w);
    assert_int_equal(w.end_status, MG_ECLOSED);
    close_wire(&w);
    open_wire(&w, "redis.test"); /* closing says so too */
    pump(&w);
    mg_io_close(w.io);
    pump(&w);
    assert_string_equal(tls_server_heard(&w.server), "");
    assert_true(SSL_get_shutdown(w.server.ssl) & SSL_RECEIVED_SHUTDOWN);
    close_wire(&w);
}

static void the_end_is_told_once(void **state)
{
    struct wire w;
    (void)state;
    open_wire(&w, "redis.test");
    pump(&w);
    assert_int_equal(SSL_shutdown(w.server.ssl), 0);
    pump(&w);
    assert_int_equal(w.ends, 1);
    shutdown(w.peer, SHUT_WR); /* the connection's own end follows */
    pump(&w);
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.end_status, MG_ECLOSED);
    close_wire(&w);
}

static void garbage_behind_the_handshake_ends_the_stream_with_a_reason(void **state)
{
    struct wire w;
    (void)state;
    open_wire(&w, "redis.test");
    pump(&w);
    assert_int_equal(write(w.peer, "\x17\x03\x03\x00\x20garbage of 32 bytes, no more.....", 37),
                     37);
    pump(&w);
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.end_status, MG_ETLS);
    assert_string_equal(mg_tls_stream_error(w.io), "decryption failed or bad record mac");
    assert_int_equal(mg_io_write(w.io, &(mg_str){"x", 1}, 1), MG_ETLS);
    close_wire(&w);
}

/* TLS 1.2 alone has it. The server is told no; what it makes of that is its business. */
static void a_new_handshake_is_refused(void **state)
{
    struct wire w;
    char room[16];
    (void)state;
    open_wire(&w, "redis.test");
    assert_int_equal(SSL_set_max_proto_version(w.server.ssl, TLS1_2_VERSION), 1);
    pump(&w);
    assert_int_equal(w.status, 0);
    assert_int_equal(SSL_renegotiate(w.server.ssl), 1);
    tls_server_say(&w.server, "after"); /* behind its HelloRequest */
    pump(&w);
    assert_string_equal(w.heard, "after");
    assert_int_equal(w.ends, 0);
    ERR_clear_error();
    assert_int_equal(SSL_read(w.server.ssl, room, sizeof room), -1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
    ERR_clear_error();
    close_wire(&w);
}

/* New keys, which TLS 1.3 has in place of that, are given. */
static void new_keys_are_given(void **state)
{
    struct wire w;
    (void)state;
    open_wire(&w, "redis.test");
    pump(&w);
    assert_int_equal(SSL_key_update(w.server.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    tls_server_say(&w.server, "one");
    pump(&w);
    assert_string_equal(w.heard, "one");
    write_text(&w, "two");
    pump(&w);
    assert_string_equal(tls_server_heard(&w.server), "two");
    assert_string_equal(tls_server_heard(&w.server), "!");
    close_wire(&w);
}

static void closing_in_the_handshake_tells_nobody(void **state)
{
    struct wire w;
    (void)state;
    open_wire(&w, "redis.test");
    close_wire(&w);
    assert_false(w.is_told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_plain_to_its_owner),
        cmocka_unit_test(what_is_decoded_waits_for_a_reader),
        cmocka_unit_test(the_end_of_the_socket_waits_for_what_is_decoded),
        cmocka_unit_test(a_stranger_is_told_of),
        cmocka_unit_test(an_end_that_is_no_end_of_tls_is_a_reset),
        cmocka_unit_test(garbage_is_no_tls),
        cmocka_unit_test(an_early_write_is_refused),
        cmocka_unit_test(large_writes_arrive_whole),
        cmocka_unit_test(our_end_is_an_orderly_one),
        cmocka_unit_test(the_end_is_told_once),
        cmocka_unit_test(garbage_behind_the_handshake_ends_the_stream_with_a_reason),
        cmocka_unit_test(a_new_handshake_is_refused),
        cmocka_unit_test(new_keys_are_given),
        cmocka_unit_test(closing_in_the_handshake_tells_nobody),
    };
    return cmocka_run_group_tests(tests, open_authorities, close_authorities);
}
