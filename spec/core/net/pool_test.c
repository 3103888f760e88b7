/* SPDX-License-Identifier: Apache-2.0 */
/* The pool: which idle connection is taken, when idle ones are closed, origins and their lives. */
#include "net/pool.h"

#include "net/listen.h"

#include "support/sockets.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define CONNECTIONS 4
#define FOR_EVER 0

struct fixture {
    struct mg_loop loop;
    struct mg_dns *dns;
    struct mg_pool *pool;
    struct mg_origin *origin;
    struct mg_io *io[CONNECTIONS];
    int peer[CONNECTIONS];
    struct mg_dial dial;
    bool has_dialled;
    int status;
    struct mg_io *dialled;
};

static void on_dial(struct mg_dial *dial, int status, struct mg_io *io)
{
    struct fixture *f = MG_CONTAINER(dial, struct fixture, dial);
    assert_false(f->has_dialled);
    f->has_dialled = true;
    f->status = status;
    f->dialled = io;
}

static void open_all(struct fixture *f)
{
    const struct mg_dns_options options = {.timeout_ms = 100, .tries = 1, .servers = "127.0.0.1:9"};
    *f = (struct fixture){.dial.fn = on_dial};
    assert_int_equal(mg_loop_open_virtual(&f->loop, 0), 0);
    assert_int_equal(mg_dns_open(&f->dns, &f->loop, &options), 0);
    assert_int_equal(mg_pool_open(&f->pool, &f->loop, f->dns), 0);
    f->origin = mg_pool_origin(f->pool, MG_STR("127.0.0.1"), 9101);
    for (int i = 0; i < CONNECTIONS; i++) {
        int fds[2];
        sockets_tcp_pair(fds);
        f->peer[i] = fds[1];
        assert_int_equal(mg_io_new_fd(&f->io[i], &f->loop, fds[0], false), 0);
        mg_io_read_start(f->io[i]);
    }
}

/* Connections that the pool does not own are closed here; taken ones are still in f->io. */
static void close_all(struct fixture *f)
{
    for (int i = 0; i < CONNECTIONS; i++) {
        close(f->peer[i]);
        if (f->io[i]) {
            mg_io_close(f->io[i]);
        }
    }
    if (f->origin) {
        mg_origin_release(f->origin);
    }
    if (f->pool) {
        mg_pool_close(f->pool);
    }
    mg_dns_close(f->dns);
    mg_loop_close(&f->loop);
}

static void put(struct fixture *f, int i, uint32_t max_idle, uint64_t idle_ms)
{
    mg_pool_put(f->origin, f->io[i], max_idle, idle_ms);
}

/* Gives the connections up to the pool for good. */
static void forget(struct fixture *f)
{
    memset(f->io, 0, sizeof f->io);
}

static void turn_until_quiet(struct fixture *f)
{
    while (mg_loop_turn(&f->loop)) {
    }
}

static bool is_closed(void *context)
{
    char byte;
    return recv(*(const int *)context, &byte, 1, MSG_PEEK) == 0 ||
           (errno != EAGAIN && errno != EINTR);
}

static bool has_none_idle(void *context)
{
    return mg_origin_idle(((struct fixture *)context)->origin) == 0;
}

static bool has_one_idle(void *context)
{
    return mg_origin_idle(((struct fixture *)context)->origin) == 1;
}

static void the_one_used_last_is_taken_first(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f);
    assert_null(mg_pool_take(f.origin, false));
    for (int i = 0; i < 3; i++) {
        put(&f, i, 64, FOR_EVER);
    }
    assert_int_equal(mg_origin_idle(f.origin), 3);
    assert_ptr_equal(mg_pool_take(f.origin, false), f.io[2]);
    put(&f, 3, 64, FOR_EVER);
    assert_ptr_equal(mg_pool_take(f.origin, false), f.io[3]);
    assert_ptr_equal(mg_pool_take(f.origin, false), f.io[1]);
    assert_ptr_equal(mg_pool_take(f.origin, false), f.io[0]);
    assert_null(mg_pool_take(f.origin, false));
    assert_int_equal(mg_origin_idle(f.origin), 0);
    assert_true(mg_io_is_reading(f.io[0]));
    assert_null(mg_io_context(f.io[0]));
    close_all(&f);
}

/* The loop has looked at it since: it is known to be silent. */
static void one_that_was_polled_is_taken_before_one_of_this_turn(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f);
    put(&f, 0, 64, FOR_EVER);
    put(&f, 1, 64, FOR_EVER);
    turn_until_quiet(&f);
    put(&f, 2, 64, FOR_EVER);
    put(&f, 3, 64, FOR_EVER);
    static const int order[] = {1, 0, 3, 2};
    for (int i = 0; i < CONNECTIONS; i++) {
        assert_ptr_equal(mg_pool_take(f.origin, false), f.io[order[i]]);
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        put(&f, i, 3, FOR_EVER);
        turn_until_quiet(&f);
    }
    f.io[0] = NULL;
    sockets_run_until(&f.loop, is_closed, &f.peer[0]); /* the oldest */
    assert_ptr_equal(mg_pool_take(f.origin, false), f.io[3]);
    close_all(&f);
}

/* Whether a connection is taken on which something has come that the loop has not seen. */
static bool is_taken_unseen(bool polled, bool certain, bool bytes)
{
    struct fixture f;
    open_all(&f);
    put(&f, 0, 64, FOR_EVER);
    if (polled) {
        turn_until_quiet(&f);
    }
    if (bytes) {
        assert_int_equal(send(f.peer[0], "HTTP/1.1 200 OK\r\n", 17, 0), 17);
    } else {
        shutdown(f.peer[0], SHUT_RDWR);
    }
    struct mg_io *io = mg_pool_take(f.origin, certain);
    assert_true(io == NULL || io == f.io[0]);
    assert_int_equal(mg_origin_idle(f.origin), 0);
    f.io[0] = io;
    close_all(&f);
    return io != NULL;
}

static void one_that_said_something_is_not_taken_where_that_matters(void **state)
{
    (void)state;
    for (int bytes = 0; bytes < 2; bytes++) {
        assert_false(is_taken_unseen(true, true, bytes));
        assert_false(is_taken_unseen(false, true, bytes));
        assert_false(is_taken_unseen(false, false, bytes));
        assert_true(is_taken_unseen(true, false, bytes)); /* told in this turn of the loop */
    }
}

static void reading_is_armed_again(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f);
    mg_io_read_stop(f.io[0]); /* by back-pressure, say */
    put(&f, 0, 64, FOR_EVER);
    assert_true(mg_io_is_reading(f.io[0]));
    assert_ptr_equal(mg_pool_take(f.origin, false), f.io[0]);
    close_all(&f);
}

struct taker {
    struct mg_watch watch;
    struct fixture *f;
    struct mg_io *taken;
};

static void on_take(struct mg_watch *watch, uint32_t events)
{
    struct taker *taker = MG_CONTAINER(watch, struct taker, watch);
    (void)events;
    mg_loop_wake(&taker->f->loop);
    taker->taken = mg_pool_take(taker->f->origin, false);
}

/* They were told of before it went idle, while it was not reading. */
static void bytes_that_were_told_of_earlier_are_not_overlooked(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f);
    struct taker taker = {.watch.fn = on_take, .f = &f, .taken = f.io[0]};
    mg_io_read_stop(f.io[0]);
    assert_int_equal(send(f.peer[0], "HTTP/1.1 200 OK\r\n", 17, 0), 17);
    turn_until_quiet(&f);
    const int ready = eventfd(1, EFD_NONBLOCK);
    assert_int_equal(mg_loop_watch(&f.loop, &taker.watch, ready, EPOLLIN | EPOLLET), 0);
    put(&f, 0, 64, FOR_EVER);
    mg_loop_step(&f.loop, false);
    assert_null(taker.taken);
    assert_int_equal(mg_origin_idle(f.origin), 0);
    f.io[0] = NULL;
    mg_loop_close_watched(&f.loop, &taker.watch);
    close_all(&f);
}

static void a_close_by_the_peer_is_seen_at_once(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f);
    put(&f, 0, 64, FOR_EVER);
    put(&f, 1, 64, FOR_EVER);
    shutdown(f.peer[1], SHUT_RDWR);
    sockets_run_until(&f.loop, has_one_idle, &f);
    f.io[1] = NULL;
    assert_ptr_equal(mg_pool_take(f.origin, false), f.io[0]);
    close_all(&f);
}

static void bytes_that_nobody_asked_for_close_it(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f);
    put(&f, 0, 64, FOR_EVER);
    assert_int_equal(send(f.peer[0], "HTTP/1.1 200 OK\r\n", 17, 0), 17);
    sockets_run_until(&f.loop, has_none_idle, &f);
    f.io[0] = NULL;
    sockets_run_until(&f.loop, is_closed, &f.peer[0]);
    close_all(&f);
}

static void the_oldest_is_closed_beyond_the_maximum(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f);
    for (int i = 0; i < 3; i++) {
        put(&f, i, 3, FOR_EVER);
    }
    assert_int_equal(mg_origin_idle(f.origin), 3);
    put(&f, 3, 3, FOR_EVER);
    assert_int_equal(mg_origin_idle(f.origin), 3);
    sockets_run_until(&f.loop, is_closed, &f.peer[0]);
    f.io[0] = NULL;
    for (int i = 3; i > 0; i--) {
        assert_ptr_equal(mg_pool_take(f.origin, false), f.io[i]);
    }
    put(&f, 1, 0, FOR_EVER); /* none may be kept */
    f.io[1] = NULL;
    assert_int_equal(mg_origin_idle(f.origin), 0);
    sockets_run_until(&f.loop, is_closed, &f.peer[1]);
    close_all(&f);
}

static void it_is_closed_when_it_was_idle_too_long(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f);
    put(&f, 0, 64, 55000);
    mg_clock_advance(&f.loop.clock, 10 * 1000 * 1000);
    turn_until_quiet(&f);
    put(&f, 1, 64, 55000);
    mg_clock_advance(&f.loop.clock, (45000 - 1) * 1000);
    turn_until_quiet(&f);
    assert_int_equal(mg_origin_idle(f.origin), 2);
    mg_clock_advance(&f.loop.clock, 1000);
    turn_until_quiet(&f);
    assert_int_equal(mg_origin_idle(f.origin), 1);
    sockets_run_until(&f.loop, is_closed, &f.peer[0]);
    f.io[0] = NULL;
    assert_ptr_equal(mg_pool_take(f.origin, false), f.io[1]);
    mg_clock_advance(&f.loop.clock, 3600U * 1000 * 1000);
    turn_until_quiet(&f); /* taken in time: lives on */
    const mg_str part = MG_STR("x");
    assert_int_equal(mg_io_write(f.io[1], &part, 1), 0);
    close_all(&f);
}

static void one_that_cannot_be_used_again_is_closed(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f);
    mg_io_shutdown(f.io[0]);
    put(&f, 0, 64, FOR_EVER);
    assert_int_equal(mg_origin_idle(f.origin), 0);
    f.io[0] = NULL;
    sockets_run_until(&f.loop, is_closed, &f.peer[0]);
    close_all(&f);
}

static void expect_name(struct fixture *f, const char *host, uint16_t port, const char *name)
{
    struct mg_origin *origin = mg_pool_origin(f->pool, mg_str_from(host), port);
    const mg_str got = mg_origin_name(origin);
    assert_int_equal(got.len, strlen(name));
    assert_memory_equal(got.ptr, name, got.len);
    struct mg_origin *again = mg_pool_origin(f->pool, mg_str_from(host), port);
    assert_ptr_equal(again, origin);
    mg_origin_release(again);
    mg_origin_release(origin);
}

static void an_origin_has_one_name_and_one_object(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f);
    expect_name(&f, "127.0.0.1", 9101, "127.0.0.1:9101");
    expect_name(&f, "API.Example.net", 80, "api.example.net:80");
    expect_name(&f, "::1", 65535, "[::1]:65535");
    expect_name(&f, "[::1]", 65535, "[::1]:65535");
    expect_name(&f, "unix:/run/App.sock", 0, "unix:/run/App.sock");
    struct mg_origin *upper = mg_pool_origin(f.pool, MG_STR("A.test"), 1);
    struct mg_origin *lower = mg_pool_origin(f.pool, MG_STR("a.TEST"), 1);
    struct mg_origin *other = mg_pool_origin(f.pool, MG_STR("a.test"), 2);
    assert_ptr_equal(upper, lower);
    assert_ptr_not_equal(upper, other);
    mg_origin_release(upper);
    mg_origin_release(lower);
    mg_origin_release(other);
    close_all(&f);
}

/* ASan would see a use after free, or a leak. */
static void an_origin_lives_while_it_has_connections(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f);
    put(&f, 0, 64, 1000);
    mg_origin_release(f.origin);
    struct mg_origin *again = mg_pool_origin(f.pool, MG_STR("127.0.0.1"), 9101);
    assert_ptr_equal(again, f.origin);
    assert_int_equal(mg_origin_idle(again), 1);
    mg_origin_release(again);
    mg_clock_advance(&f.loop.clock, 1000 * 1000);
    turn_until_quiet(&f); /* the last connection closes: so does the origin */
    f.origin = NULL;
    f.io[0] = NULL;
    close_all(&f);
}

static void dials_and_tells_later(void **state)
{
    (void)state;
    struct fixture f;
    uint16_t port;
    const int fd = sockets_listen(&port);
    open_all(&f);
    struct mg_origin *origin = mg_pool_origin(f.pool, MG_STR("127.0.0.1"), port);
    assert_int_equal(mg_pool_dial(origin, &f.dial, 2000), 0);
    mg_origin_release(origin); /* the dial keeps it */
    assert_false(f.has_dialled);
    sockets_run_until_set(&f.loop, &f.has_dialled);
    assert_int_equal(f.status, 0);
    mg_io_close(f.dialled);
    close(fd);
    close_all(&f);
}

static void a_cancelled_dial_tells_nothing(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f);
    assert_int_equal(mg_pool_dial(f.origin, &f.dial, 2000), 0);
    mg_dial_cancel(&f.dial);
    turn_until_quiet(&f);
    assert_false(f.has_dialled);
    close_all(&f);
}

static void a_bad_unix_path_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    char host[200] = "unix:/";
    open_all(&f);
    memset(host + 6, 'a', sizeof host - 7);
    struct mg_origin *origin = mg_pool_origin(f.pool, mg_str_from(host), 0);
    assert_int_equal(mg_pool_dial(origin, &f.dial, 2000), MG_EINVALID);
    mg_origin_release(origin);
    close_all(&f);
}

static void a_redirect_takes_every_dial(void **state)
{
    (void)state;
    struct fixture f;
    struct mg_listen_address address;
    char text[64], message[200];
    open_all(&f);
    snprintf(text, sizeof text, "unix:@moongate-pool-test-%d", (int)getpid());
    assert_int_equal(mg_listen_parse(mg_str_from(text), &address), 0);
    const int fd = mg_listen_bind(&address, 8, message, sizeof message);
    assert_int_equal(mg_pool_redirect(f.pool, MG_STR("127.0.0.1:80")), MG_EINVALID);
    assert_int_equal(mg_pool_redirect(f.pool, mg_str_from(text)), 0);
    struct mg_origin *origin = mg_pool_origin(f.pool, MG_STR("no.such.host.test"), 80);
    assert_int_equal(mg_pool_dial(origin, &f.dial, 2000), 0);
    assert_false(f.has_dialled);
    sockets_run_until_set(&f.loop, &f.has_dialled);
    assert_int_equal(f.status, 0);
    mg_io_close(f.dialled);
    assert_int_equal(mg_pool_redirect(f.pool, MG_STR("")), 0);
    mg_origin_release(origin);
    close(fd);
    close_all(&f);
}

static void closing_ends_idle_connections_and_dials(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f);
    put(&f, 0, 64, FOR_EVER);
    put(&f, 1, 64, 1000);
    assert_int_equal(mg_pool_dial(f.origin, &f.dial, 2000), 0);
    mg_pool_close(f.pool);
    f.pool = NULL;
    assert_true(f.has_dialled);
    assert_int_equal(f.status, MG_ECANCELLED);
    assert_int_equal(mg_origin_idle(f.origin), 0);
    assert_null(mg_pool_take(f.origin, false)); /* held, so still there */
    assert_int_equal(mg_pool_dial(f.origin, &f.dial, 2000), MG_ECLOSED);
    put(&f, 2, 64, FOR_EVER);
    mg_io_close(f.io[3]);
    forget(&f);
    turn_until_quiet(&f);
    for (int i = 0; i < CONNECTIONS; i++) {
        sockets_run_until(&f.loop, is_closed, &f.peer[i]);
    }
    close_all(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_one_used_last_is_taken_first),
        cmocka_unit_test(one_that_was_polled_is_taken_before_one_of_this_turn),
        cmocka_unit_test(one_that_said_something_is_not_taken_where_that_matters),
        cmocka_unit_test(reading_is_armed_again),
        cmocka_unit_test(bytes_that_were_told_of_earlier_are_not_overlooked),
        cmocka_unit_test(a_close_by_the_peer_is_seen_at_once),
        cmocka_unit_test(bytes_that_nobody_asked_for_close_it),
        cmocka_unit_test(the_oldest_is_closed_beyond_the_maximum),
        cmocka_unit_test(it_is_closed_when_it_was_idle_too_long),
        cmocka_unit_test(one_that_cannot_be_used_again_is_closed),
        cmocka_unit_test(an_origin_has_one_name_and_one_object),
        cmocka_unit_test(an_origin_lives_while_it_has_connections),
        cmocka_unit_test(dials_and_tells_later),
        cmocka_unit_test(a_cancelled_dial_tells_nothing),
        cmocka_unit_test(a_bad_unix_path_is_refused),
        cmocka_unit_test(a_redirect_takes_every_dial),
        cmocka_unit_test(closing_ends_idle_connections_and_dials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
