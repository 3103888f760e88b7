/* SPDX-License-Identifier: Apache-2.0 */
/* Every way to close a stream, and what fires after it. */
#include "net/io.h"

#include "support/stream.h"

#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void fires_nothing_after_close_but_on_closed(void **state)
{
    struct stream f;
    uint64_t written = 0;
    stream_open_loop(&f, false);
    stream_open(&f, *state != NULL);
    mg_io_set_read_size(f.io, 2);
    stream_fill_queue(&f, &written);
    stream_send(f.peer, "abcdef");
    f.close_in_data = true;
    sockets_run_until(&f.loop, stream_has_data, &f);
    sockets_run_until_set(&f.loop, &f.is_closed);
    assert_int_equal(f.data, 1);
    assert_int_equal(f.ends + f.drains, 0);
    assert_int_equal(f.closed, 1);
    stream_close_peer(&f);
    mg_loop_close(&f.loop);
}

static void a_reset_shows_at_the_peer(void **state)
{
    (void)state;
    struct stream f;
    stream_open_loop(&f, false);
    stream_open(&f, false);
    assert_int_equal(stream_write(f.io, "partial"), 0);
    stream_expect(f.peer, "partial");
    mg_io_reset(f.io);
    sockets_run_until_set(&f.loop, &f.is_closed);
    char byte;
    sockets_wait_readable(f.peer);
    assert_int_equal(recv(f.peer, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    stream_close_peer(&f);
    mg_loop_close(&f.loop);
}

static void a_reset_by_the_peer_ends_with_its_code(void **state)
{
    (void)state;
    struct stream f;
    stream_open_loop(&f, false);
    stream_open(&f, false);
    const struct linger linger = {.l_onoff = 1};
    assert_return_code(setsockopt(f.peer, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    stream_close_peer(&f);
    sockets_run_until(&f.loop, stream_has_ended, &f);
    assert_int_equal(f.end_status, UV_ECONNRESET);
    stream_close_all(&f);
}

static void lingers_until_the_peer_has_read_the_answer(void **state)
{
    struct stream f;
    stream_open_loop(&f, true);
    stream_open(&f, *state != NULL);
    assert_int_equal(stream_write(f.io, "413"), 0);
    mg_io_close_lingering(f.io, 1000);
    mg_io_close_lingering(f.io, 5000);
    stream_send(f.peer, "body that nobody wants");
    stream_run_quiet(&f);
    stream_expect(f.peer, "413");
    stream_expect_eof(f.peer);
    assert_false(f.is_closed);
    stream_close_peer(&f);
    sockets_run_until_set(&f.loop, &f.is_closed);
    assert_int_equal(f.data + f.ends + f.drains, 0);
    mg_loop_close(&f.loop);
    assert_int_equal(f.closed, 1);
}

static void lingers_no_longer_than_its_time(void **state)
{
    struct stream f;
    uint64_t written = 0;
    stream_open_loop(&f, true);
    stream_open(&f, *state != NULL);
    stream_fill_queue(&f, &written);
    mg_io_close_lingering(f.io, 1000);
    mg_clock_advance(&f.loop.clock, 999 * 1000);
    stream_run_quiet(&f);
    assert_false(f.is_closed);
    mg_clock_advance(&f.loop.clock, 1000);
    stream_run_quiet(&f);
    assert_int_equal(f.closed, 1);
    assert_int_equal(f.data + f.ends + f.drains, 0);
    stream_close_peer(&f);
    mg_loop_close(&f.loop);
}

static void closing_the_loop_ends_a_lingering_stream(void **state)
{
    struct stream f;
    stream_open_loop(&f, false);
    stream_open(&f, *state != NULL);
    mg_io_close_lingering(f.io, 60000);
    stream_run_quiet(&f);
    assert_false(f.is_closed);
    mg_loop_close(&f.loop);
    assert_int_equal(f.closed, 1);
    stream_close_peer(&f);
}

#define ON_BOTH(test)                                                                              \
    cmocka_unit_test_prestate(test, NULL),                                                         \
    {                                                                                              \
#test " (unix)", test, NULL, NULL, (void *)(uintptr_t) "unix"                              \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(fires_nothing_after_close_but_on_closed),
        cmocka_unit_test(a_reset_shows_at_the_peer),
        cmocka_unit_test(a_reset_by_the_peer_ends_with_its_code),
        ON_BOTH(lingers_until_the_peer_has_read_the_answer),
        ON_BOTH(lingers_no_longer_than_its_time),
        ON_BOTH(closing_the_loop_ends_a_lingering_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
