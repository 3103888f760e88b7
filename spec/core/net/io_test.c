/* SPDX-License-Identifier: Apache-2.0 */
/* Streams against plain sockets: reading, writing, back-pressure, every way to close. */
#include "net/io.h"

#include "support/sockets.h"

#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* One stream with its peer's fd, and what its callbacks were told. */
struct fixture {
    struct mg_loop loop;
    struct mg_io *io;
    int peer;
    char last[64];
    size_t last_bytes, largest;
    int data, ends, drains, closed;
    int end_status, drain_status;
    bool is_closed;
    bool stop_in_data, close_in_data;
};

static void close_in_many_ways(struct mg_io *io)
{
    const mg_str part = MG_STR("x");
    mg_io_close(io);
    mg_io_close(io);
    mg_io_reset(io);
    mg_io_close_lingering(io, 10);
    mg_io_shutdown(io);
    mg_io_read_start(io);
    mg_io_read_stop(io);
    assert_int_equal(mg_io_write(io, &part, 1), MG_ECLOSED);
}

static void on_data(void *context, mg_str bytes)
{
    struct fixture *f = context;
    assert_false(f->is_closed);
    f->data++;
    f->largest = bytes.len > f->largest ? bytes.len : f->largest;
    f->last_bytes = bytes.len < sizeof f->last ? bytes.len : sizeof f->last;
    memcpy(f->last, bytes.ptr, f->last_bytes);
    if (f->stop_in_data) {
        mg_io_read_stop(f->io);
    }
    if (f->close_in_data) {
        close_in_many_ways(f->io);
    }
}

static void on_end(void *context, int status)
{
    struct fixture *f = context;
    f->ends++;
    f->end_status = status;
}

static void on_drain(void *context, int status)
{
    struct fixture *f = context;
    f->drains++;
    f->drain_status = status;
}

static void on_closed(void *context)
{
    struct fixture *f = context;
    f->closed++;
    f->is_closed = true;
}

static const struct mg_io_handler handler = {on_data, on_end, on_drain, on_closed};

static void open_loop(struct fixture *f, bool is_virtual)
{
    *f = (struct fixture){.peer = -1};
    assert_int_equal(is_virtual ? mg_loop_open_virtual(&f->loop, 0) : mg_loop_open(&f->loop), 0);
}

static void open_stream(struct fixture *f, bool is_unix)
{
    int fds[2];
    if (is_unix) {
        sockets_unix_pair(fds);
    } else {
        sockets_tcp_pair(fds);
    }
    f->peer = fds[1];
    assert_int_equal(mg_io_new_fd(&f->io, &f->loop, fds[0], is_unix), 0);
    mg_io_set_handler(f->io, &handler, f);
    mg_io_read_start(f->io);
}

static void close_peer(struct fixture *f)
{
    if (f->peer >= 0) {
        close(f->peer);
        f->peer = -1;
    }
}

static void close_all(struct fixture *f)
{
    mg_io_close(f->io);
    sockets_run_until_set(&f->loop, &f->is_closed);
    close_peer(f);
    mg_loop_close(&f->loop);
    assert_int_equal(f->closed, 1);
}

static void turn_until_quiet(struct fixture *f)
{
    while (mg_loop_turn(&f->loop)) {
    }
}

static bool has_ended(void *context)
{
    return ((struct fixture *)context)->ends > 0;
}

static bool has_data(void *context)
{
    return ((struct fixture *)context)->data > 0;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static int write_text(struct mg_io *io, const char *text)
{
    const mg_str part = mg_str_from(text);
    return mg_io_write(io, &part, 1);
}

static void expect_text(int fd, const char *text)
{
    char bytes[64];
    size_t got = 0;
    while (got < strlen(text)) {
        sockets_wait_readable(fd);
        const ssize_t count = recv(fd, bytes + got, sizeof bytes - got, 0);
        assert_true(count > 0);
        got += (size_t)count;
    }
    assert_memory_equal(bytes, text, strlen(text));
    assert_int_equal(got, strlen(text));
}

static void expect_eof(int fd)
{
    char byte;
    sockets_wait_readable(fd);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

static void delivers_bytes_and_the_orderly_end_once(void **state)
{
    struct fixture f;
    open_loop(&f, false);
    open_stream(&f, *state != NULL);
    send_text(f.peer, "hello");
    sockets_run_until(&f.loop, has_data, &f);
    assert_int_equal(f.last_bytes, 5);
    assert_memory_equal(f.last, "hello", 5);
    assert_int_equal(mg_io_bytes_in(f.io), 5);
    assert_true(mg_io_is_reusable(f.io));
    shutdown(f.peer, SHUT_WR);
    sockets_run_until(&f.loop, has_ended, &f);
    assert_int_equal(f.end_status, MG_ECLOSED);
    assert_false(mg_io_is_reading(f.io));
    assert_false(mg_io_is_reusable(f.io));
    mg_io_read_start(f.io); /* after the end: nothing */
    turn_until_quiet(&f);
    assert_int_equal(f.ends, 1);
    assert_int_equal(write_text(f.io, "still"), 0);
    expect_text(f.peer, "still");
    close_all(&f);
}

static void joins_the_parts_of_a_write_without_queueing(void **state)
{
    struct fixture f;
    open_loop(&f, false);
    open_stream(&f, *state != NULL);
    const mg_str parts[] = {MG_STR("ab"), MG_STR(""), MG_STR("cde"), MG_STR("f")};
    assert_int_equal(mg_io_write(f.io, parts, 4), 0);
    assert_int_equal(mg_io_queued(f.io), 0);
    assert_int_equal(mg_io_bytes_out(f.io), 6);
    expect_text(f.peer, "abcdef");
    turn_until_quiet(&f);
    assert_int_equal(f.drains, 0);
    assert_int_equal(mg_io_write(f.io, parts, 0), 0);
    close_all(&f);
}

/* Byte i of the stream that the slow reader checks. */
static char pattern(uint64_t i)
{
    return (char)((i * 31 + i / 4096) & 0xff);
}

#define PIECE ((size_t)50000)

static void write_pattern(struct fixture *f, uint64_t *written)
{
    char *bytes = malloc(PIECE);
    assert_non_null(bytes);
    for (size_t i = 0; i < PIECE; i++) {
        bytes[i] = pattern(*written + i);
    }
    const mg_str parts[] = {mg_str_make(bytes, 7), mg_str_make(bytes + 7, PIECE - 7)};
    assert_int_equal(mg_io_write(f->io, parts, 2), 0);
    *written += PIECE;
    free(bytes);
}

/* Reads what is there; checks it. */
static void read_pattern(int fd, uint64_t *got)
{
    char bytes[16384];
    ssize_t count = recv(fd, bytes, sizeof bytes, 0);
    while (count > 0) {
        for (ssize_t i = 0; i < count; i++) {
            assert_int_equal(bytes[i], pattern(*got + (uint64_t)i));
        }
        *got += (uint64_t)count;
        count = recv(fd, bytes, sizeof bytes, 0);
    }
    assert_int_equal(errno, EAGAIN);
}

static void queues_what_a_slow_reader_leaves_and_drains_once(void **state)
{
    struct fixture f;
    uint64_t written = 0, got = 0;
    open_loop(&f, false);
    open_stream(&f, *state != NULL);
    while (mg_io_queued(f.io) == 0) {
        write_pattern(&f, &written);
        turn_until_quiet(&f);
    }
    const size_t first = mg_io_queued(f.io);
    assert_true(first <= PIECE);
    for (int i = 0; i < 3; i++) {
        write_pattern(&f, &written);
    }
    assert_int_equal(mg_io_queued(f.io), first + 3 * PIECE);
    assert_false(mg_io_is_reusable(f.io));
    assert_int_equal(f.drains, 0);
    while (got < written) {
        turn_until_quiet(&f);
        read_pattern(f.peer, &got);
    }
    turn_until_quiet(&f);
    assert_int_equal(got, written);
    assert_int_equal(mg_io_bytes_out(f.io), written);
    assert_int_equal(f.drains, 1);
    assert_int_equal(f.drain_status, 0);
    assert_int_equal(mg_io_queued(f.io), 0);
    assert_true(mg_io_is_reusable(f.io));
    close_all(&f);
}

static void fill_queue(struct fixture *f, uint64_t *written)
{
    while (mg_io_queued(f->io) == 0) {
        write_pattern(f, written);
        turn_until_quiet(f);
    }
    write_pattern(f, written);
}

static void reports_a_failed_queue_once_and_refuses_writes(void **state)
{
    struct fixture f;
    uint64_t written = 0;
    open_loop(&f, false);
    open_stream(&f, *state != NULL);
    fill_queue(&f, &written);
    close_peer(&f);
    sockets_run_until(&f.loop, has_ended, &f);
    turn_until_quiet(&f);
    assert_int_equal(f.drains, 1);
    assert_true(f.drain_status < 0);
    assert_int_equal(mg_io_queued(f.io), 0);
    assert_true(write_text(f.io, "more") < 0);
    assert_int_equal(f.drains, 1);
    close_all(&f);
}

static void half_closes_after_the_queue(void **state)
{
    struct fixture f;
    uint64_t written = 0, got = 0;
    open_loop(&f, false);
    open_stream(&f, *state != NULL);
    fill_queue(&f, &written);
    mg_io_shutdown(f.io);
    mg_io_shutdown(f.io);
    assert_int_equal(write_text(f.io, "late"), UV_EPIPE);
    while (got < written) {
        turn_until_quiet(&f);
        const uint64_t before = got;
        char byte;
        if (recv(f.peer, &byte, 1, MSG_PEEK) > 0) {
            char bytes[4096];
            const ssize_t count = recv(f.peer, bytes, sizeof bytes, 0);
            got += (uint64_t)count;
        }
        assert_true(got >= before);
    }
    turn_until_quiet(&f);
    expect_eof(f.peer);
    send_text(f.peer, "answer"); /* the other direction is open */
    sockets_run_until(&f.loop, has_data, &f);
    close_all(&f);
}

/* An upstream that answers early and closes: our writes fail, its answer is still read. */
static void a_failed_write_leaves_the_answer_readable(void **state)
{
    struct fixture f;
    open_loop(&f, false);
    open_stream(&f, *state != NULL);
    send_text(f.peer, "413");
    close_peer(&f);
    int err = 0;
    for (int i = 0; i < 1000 && err == 0; i++) { /* the first one is answered by a reset */
        err = write_text(f.io, "body");
    }
    assert_true(err == UV_EPIPE || err == UV_ECONNRESET);
    assert_int_equal(f.data, 0);
    sockets_run_until(&f.loop, has_ended, &f);
    assert_int_equal(f.data, 1);
    assert_memory_equal(f.last, "413", 3);
    assert_true(write_text(f.io, "body") < 0);
    close_all(&f);
}

static void stops_between_two_reads(void **state)
{
    struct fixture f;
    open_loop(&f, false);
    open_stream(&f, *state != NULL);
    mg_io_set_read_size(f.io, 4);
    mg_io_read_start(f.io);
    f.stop_in_data = true;
    send_text(f.peer, "abcdefgh");
    sockets_run_until(&f.loop, has_data, &f);
    turn_until_quiet(&f);
    assert_int_equal(f.data, 1);
    assert_int_equal(mg_io_bytes_in(f.io), 4);
    mg_io_read_stop(f.io);
    f.stop_in_data = false;
    mg_io_read_start(f.io);
    turn_until_quiet(&f);
    assert_memory_equal(f.last, "efgh", 4);
    assert_int_equal(mg_io_bytes_in(f.io), 8);
    close_all(&f);
}

static void reads_no_more_than_its_share_of_a_turn(void **state)
{
    struct fixture f;
    static const char bytes[10 * 1024];
    open_loop(&f, false);
    open_stream(&f, *state != NULL);
    mg_io_set_read_size(f.io, 1024);
    assert_int_equal(send(f.peer, bytes, sizeof bytes, 0), sizeof bytes);
    while (f.data == 0) {
        uv_run(&f.loop.uv, UV_RUN_NOWAIT);
    }
    assert_int_equal(f.data, 8);
    turn_until_quiet(&f);
    assert_int_equal(mg_io_bytes_in(f.io), sizeof bytes);
    close_all(&f);
}

/* On a unix socket, where all is there at once. */
static void reads_up_to_the_size_that_is_set(void **state)
{
    (void)state;
    struct fixture f;
    static const char bytes[100 * 1000];
    open_loop(&f, false);
    open_stream(&f, true);
    mg_io_read_stop(f.io);
    assert_int_equal(send(f.peer, bytes, sizeof bytes, 0), sizeof bytes);
    mg_io_read_start(f.io);
    turn_until_quiet(&f);
    assert_int_equal(f.largest, MG_IO_READ_BYTES);
    mg_io_read_stop(f.io);
    mg_io_set_read_size(f.io, SIZE_MAX);
    assert_int_equal(send(f.peer, bytes, sizeof bytes, 0), sizeof bytes);
    mg_io_read_start(f.io);
    turn_until_quiet(&f);
    assert_int_equal(f.largest, sizeof bytes);
    close_all(&f);
}

static void fires_nothing_after_close_but_on_closed(void **state)
{
    struct fixture f;
    uint64_t written = 0;
    open_loop(&f, false);
    open_stream(&f, *state != NULL);
    mg_io_set_read_size(f.io, 2);
    fill_queue(&f, &written);
    send_text(f.peer, "abcdef");
    f.close_in_data = true;
    sockets_run_until(&f.loop, has_data, &f);
    sockets_run_until_set(&f.loop, &f.is_closed);
    assert_int_equal(f.data, 1);
    assert_int_equal(f.ends + f.drains, 0);
    assert_int_equal(f.closed, 1);
    close_peer(&f);
    mg_loop_close(&f.loop);
}

static void a_reset_shows_at_the_peer(void **state)
{
    (void)state;
    struct fixture f;
    open_loop(&f, false);
    open_stream(&f, false);
    assert_int_equal(write_text(f.io, "partial"), 0);
    expect_text(f.peer, "partial");
    mg_io_reset(f.io);
    sockets_run_until_set(&f.loop, &f.is_closed);
    char byte;
    sockets_wait_readable(f.peer);
    assert_int_equal(recv(f.peer, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close_peer(&f);
    mg_loop_close(&f.loop);
}

static void a_reset_by_the_peer_ends_with_its_code(void **state)
{
    (void)state;
    struct fixture f;
    open_loop(&f, false);
    open_stream(&f, false);
    const struct linger linger = {.l_onoff = 1};
    assert_return_code(setsockopt(f.peer, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close_peer(&f);
    sockets_run_until(&f.loop, has_ended, &f);
    assert_int_equal(f.end_status, UV_ECONNRESET);
    close_all(&f);
}

static void lingers_until_the_peer_has_read_the_answer(void **state)
{
    struct fixture f;
    open_loop(&f, true);
    open_stream(&f, *state != NULL);
    assert_int_equal(write_text(f.io, "413"), 0);
    mg_io_close_lingering(f.io, 1000);
    mg_io_close_lingering(f.io, 5000);
    send_text(f.peer, "body that nobody wants");
    turn_until_quiet(&f);
    expect_text(f.peer, "413");
    expect_eof(f.peer);
    assert_false(f.is_closed);
    close_peer(&f);
    sockets_run_until_set(&f.loop, &f.is_closed);
    assert_int_equal(f.data + f.ends + f.drains, 0);
    mg_loop_close(&f.loop);
    assert_int_equal(f.closed, 1);
}

static void lingers_no_longer_than_its_time(void **state)
{
    struct fixture f;
    uint64_t written = 0;
    open_loop(&f, true);
    open_stream(&f, *state != NULL);
    fill_queue(&f, &written);
    mg_io_close_lingering(f.io, 1000);
    mg_clock_advance(&f.loop.clock, 999 * 1000);
    turn_until_quiet(&f);
    assert_false(f.is_closed);
    mg_clock_advance(&f.loop.clock, 1000);
    turn_until_quiet(&f);
    assert_int_equal(f.closed, 1);
    assert_int_equal(f.data + f.ends + f.drains, 0);
    close_peer(&f);
    mg_loop_close(&f.loop);
}

static void closing_the_loop_ends_a_lingering_stream(void **state)
{
    struct fixture f;
    open_loop(&f, false);
    open_stream(&f, *state != NULL);
    mg_io_close_lingering(f.io, 60000);
    turn_until_quiet(&f);
    assert_false(f.is_closed);
    mg_loop_close(&f.loop);
    assert_int_equal(f.closed, 1);
    close_peer(&f);
}

static void unlinks_itself_before_it_tells(void **state)
{
    (void)state;
    struct fixture f;
    struct mg_link list;
    open_loop(&f, false);
    open_stream(&f, false);
    mg_link_init(&list);
    mg_list_append(&list, mg_io_link(f.io));
    assert_ptr_equal(mg_io_context(f.io), &f);
    mg_io_close(f.io);
    assert_false(mg_list_empty(&list));
    sockets_run_until_set(&f.loop, &f.is_closed);
    assert_true(mg_list_empty(&list));
    close_peer(&f);
    mg_loop_close(&f.loop);
}

static void names_its_peer(void **state)
{
    (void)state;
    struct fixture f;
    struct mg_address address;
    open_loop(&f, false);
    open_stream(&f, false);
    mg_io_peer(f.io, &address);
    assert_string_equal(address.ip, "127.0.0.1");
    assert_true(address.port > 0);
    close_all(&f);
    open_loop(&f, false);
    open_stream(&f, true);
    mg_io_peer(f.io, &address);
    assert_string_equal(address.ip, "unix:");
    assert_int_equal(address.port, 0);
    close_all(&f);
}

struct attempt {
    bool fired;
    int status;
};

static void on_connect(void *context, int status)
{
    struct attempt *attempt = context;
    assert_false(attempt->fired);
    attempt->fired = true;
    attempt->status = status;
}

static int connect_to(struct fixture *f, uint16_t port, struct attempt *attempt)
{
    struct mg_address text = {.port = port};
    struct sockaddr_in in;
    assert_int_equal(uv_ip4_addr("127.0.0.1", text.port, &in), 0);
    return mg_io_new_connect(&f->io, &f->loop, (const struct sockaddr *)&in, on_connect, attempt);
}

static void connects_and_tells_later(void **state)
{
    (void)state;
    struct fixture f;
    struct attempt attempt = {.fired = false};
    uint16_t port;
    const int listening = sockets_listen(&port);
    open_loop(&f, false);
    assert_int_equal(connect_to(&f, port, &attempt), 0);
    assert_false(attempt.fired);
    sockets_run_until_set(&f.loop, &attempt.fired);
    assert_int_equal(attempt.status, 0);
    f.peer = accept(listening, NULL, NULL);
    mg_io_set_handler(f.io, &handler, &f);
    assert_int_equal(write_text(f.io, "hi"), 0);
    expect_text(f.peer, "hi");
    close(listening);
    close_all(&f);
}

static void tells_that_a_connection_was_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct attempt attempt = {.fired = false};
    uint16_t port;
    close(sockets_listen(&port));
    open_loop(&f, false);
    assert_int_equal(connect_to(&f, port, &attempt), 0);
    assert_false(attempt.fired);
    sockets_run_until_set(&f.loop, &attempt.fired);
    assert_int_equal(attempt.status, UV_ECONNREFUSED);
    mg_io_set_handler(f.io, &handler, &f);
    close_all(&f);
}

static void closing_a_connecting_stream_tells_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct attempt attempt = {.fired = false};
    uint16_t port;
    const int listening = sockets_listen(&port);
    open_loop(&f, false);
    assert_int_equal(connect_to(&f, port, &attempt), 0);
    mg_io_set_handler(f.io, &handler, &f);
    close_all(&f);
    assert_false(attempt.fired);
    close(listening);
}

static void an_idle_stream_is_small(void **state)
{
    (void)state;
    struct fixture f;
    open_loop(&f, false);
    open_stream(&f, false);
    assert_true(malloc_usable_size(f.io) <= 360);
    close_all(&f);
}

#define ON_BOTH(test)                                                                              \
    cmocka_unit_test_prestate(test, NULL),                                                         \
    {                                                                                              \
#test " (unix)", test, NULL, NULL, (void *)(uintptr_t) "unix"                              \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(delivers_bytes_and_the_orderly_end_once),
        ON_BOTH(joins_the_parts_of_a_write_without_queueing),
        ON_BOTH(queues_what_a_slow_reader_leaves_and_drains_once),
        ON_BOTH(reports_a_failed_queue_once_and_refuses_writes),
        ON_BOTH(half_closes_after_the_queue),
        ON_BOTH(a_failed_write_leaves_the_answer_readable),
        ON_BOTH(stops_between_two_reads),
        ON_BOTH(reads_no_more_than_its_share_of_a_turn),
        cmocka_unit_test(reads_up_to_the_size_that_is_set),
        ON_BOTH(fires_nothing_after_close_but_on_closed),
        cmocka_unit_test(a_reset_shows_at_the_peer),
        cmocka_unit_test(a_reset_by_the_peer_ends_with_its_code),
        ON_BOTH(lingers_until_the_peer_has_read_the_answer),
        ON_BOTH(lingers_no_longer_than_its_time),
        ON_BOTH(closing_the_loop_ends_a_lingering_stream),
        cmocka_unit_test(unlinks_itself_before_it_tells),
        cmocka_unit_test(names_its_peer),
        cmocka_unit_test(connects_and_tells_later),
        cmocka_unit_test(tells_that_a_connection_was_refused),
        cmocka_unit_test(closing_a_connecting_stream_tells_nothing),
        cmocka_unit_test(an_idle_stream_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
