/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that go from one stream to another through a pipe, with real sockets on either side. Only
 * what no test can bring a kernel to is played: splice here fails when told to.
 */
/* NOLINTNEXTLINE(bugprone-reserved-identifier): the C library has named it */
#define _GNU_SOURCE /* splice */
#include "net/io.h"

#include "support/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define PIECE 60000

/* sender -> from, to -> reader; what comes by on_data is written on, as its owner must. */
struct relay {
    struct mg_loop loop;
    struct mg_io *from, *to;
    int sender, reader;
    uint64_t sent, got, spliced, copied;
    int ends, drains, closed, end_status, drain_status, write_error;
};

/* Calls that fail from now on, how many have, and with what. */
static struct {
    bool takes, gives; /* into a pipe, out of it */
    int err, count;
} refused;

static bool is_socket(int fd)
{
    int type;
    socklen_t length = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0;
}

ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t most,
               unsigned int flags)
{
    if (is_socket(in) ? refused.takes : refused.gives) {
        refused.count++;
        errno = refused.err;
        return -1;
    }
    return syscall(SYS_splice, in, in_offset, out, out_offset, most, flags);
}

static char pattern(uint64_t i)
{
    return (char)((i * 31 + i / 4096) & 0xff);
}

static void on_data(void *context, mg_str bytes)
{
    struct relay *r = context;
    r->copied += bytes.len;
    r->write_error = mg_io_write(r->to, &bytes, 1);
}

static void on_spliced(void *context, size_t bytes)
{
    struct relay *r = context;
    r->spliced += bytes;
    if (mg_io_queued(r->to) > 0) {
        mg_io_read_stop(r->from);
    }
}

static void on_end(void *context, int status)
{
    struct relay *r = context;
    r->ends++;
    r->end_status = status;
}

static void on_drain(void *context, int status)
{
    struct relay *r = context;
    r->drains++;
    r->drain_status = status;
    if (r->from) {
        mg_io_read_start(r->from);
    }
}

static void on_closed(void *context)
{
    ((struct relay *)context)->closed++;
}

static const struct mg_io_handler from_handler = {
    .on_data = on_data, .on_end = on_end, .on_spliced = on_spliced, .on_closed = on_closed};
static const struct mg_io_handler to_handler = {.on_drain = on_drain, .on_closed = on_closed};

static void new_stream(struct mg_io **io, struct relay *r, const struct mg_io_handler *handler,
                       int *peer)
{
    int fds[2];
    sockets_tcp_pair(fds);
    *peer = fds[1];
    assert_int_equal(mg_io_new_fd(io, &r->loop, fds[0], false), 0);
    mg_io_set_handler(*io, handler, r);
}

/* On a clock that stands still until it is moved. */
static void open_relay(struct relay *r)
{
    *r = (struct relay){0};
    memset(&refused, 0, sizeof refused);
    assert_int_equal(mg_loop_open_virtual(&r->loop, 0), 0);
    new_stream(&r->from, r, &from_handler, &r->sender);
    new_stream(&r->to, r, &to_handler, &r->reader);
    mg_io_read_start(r->from);
}

static void run_quiet(struct relay *r)
{
    while (mg_loop_turn(&r->loop)) {
    }
}

static void close_stream(struct relay *r, struct mg_io **io)
{
    if (*io) {
        mg_io_close(*io);
        *io = NULL;
        run_quiet(r);
    }
}

static void close_relay(struct relay *r)
{
    close_stream(r, &r->from);
    close_stream(r, &r->to);
    close(r->sender);
    close(r->reader);
    assert_int_equal(r->closed, 2);
    mg_loop_close(&r->loop); /* requires that each pipe is back */
}

/* How many bytes of the pattern the kernel took, at most so many. */
static size_t send_pattern(struct relay *r, size_t most)
{
    char bytes[PIECE];
    const size_t count = most < sizeof bytes ? most : sizeof bytes;
    for (size_t i = 0; i < count; i++) {
        bytes[i] = pattern(r->sent + i);
    }
    const ssize_t taken = send(r->sender, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken > 0) {
        r->sent += (size_t)taken;
    }
    return taken > 0 ? (size_t)taken : 0;
}

/* Reads what is there, and compares. */
static void read_pattern(struct relay *r)
{
    char bytes[PIECE];
    ssize_t count;
    while ((count = recv(r->reader, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        for (ssize_t i = 0; i < count; i++) {
            assert_int_equal(bytes[i], pattern(r->got + (uint64_t)i));
        }
        r->got += (uint64_t)count;
    }
}

static void pass(struct relay *r, uint64_t bytes)
{
    const uint64_t until = r->sent + bytes;
    while (r->got < until) {
        if (r->sent < until) {
            send_pattern(r, (size_t)(until - r->sent));
        }
        run_quiet(r);
        read_pattern(r);
    }
}

/* Nobody reads: until nothing moves any more. */
static void fill(struct relay *r)
{
    for (int idle = 0; idle < 20;) {
        idle = send_pattern(r, PIECE) > 0 ? 0 : idle + 1;
        run_quiet(r);
    }
    assert_true(mg_io_queued(r->to) > 0);
}

static void passes_exactly_so_many_bytes_unseen(void **state)
{
    (void)state;
    const uint64_t bytes = 3000001;
    struct relay r;
    open_relay(&r);
    assert_true(mg_io_splice(r.from, r.to, bytes));
    pass(&r, bytes + 12345);
    assert_int_equal(r.spliced, bytes);
    assert_int_equal(r.copied, 12345);
    assert_int_equal(mg_io_bytes_in(r.from), r.sent);
    assert_int_equal(mg_io_bytes_out(r.to), r.sent);
    assert_false(mg_io_is_splicing(r.from));
    assert_false(mg_io_is_splicing(r.to));
    assert_true(mg_io_is_reusable(r.from));
    assert_true(mg_io_is_reusable(r.to));
    assert_true(mg_io_splice(r.from, r.to, 1000)); /* and once more */
    pass(&r, 1000);
    assert_int_equal(r.spliced, bytes + 1000);
    close_relay(&r);
}

static void takes_no_more_than_64_kib_that_a_slow_reader_leaves(void **state)
{
    (void)state;
    struct relay r;
    open_relay(&r);
    assert_true(mg_io_splice(r.from, r.to, UINT64_MAX));
    for (int round = 0; round < 5; round++) {
        fill(&r);
        assert_true(mg_io_queued(r.to) <= MG_IO_READ_BYTES);
        assert_false(mg_io_is_reading(r.from));
        assert_false(mg_io_is_reusable(r.to));
        const int drains = r.drains;
        read_pattern(&r);
        run_quiet(&r);
        assert_true(r.drains > drains);
        assert_int_equal(r.drain_status, 0);
    }
    pass(&r, 500000);
    assert_int_equal(mg_io_queued(r.to), 0);
    assert_int_equal(r.copied, 0);
    assert_int_equal(r.loop.pipes.count, 1);
    close_relay(&r);
}

static void bytes_in_the_pipe_outlive_the_stream_they_came_from(void **state)
{
    (void)state;
    struct relay r;
    open_relay(&r);
    assert_true(mg_io_splice(r.from, r.to, UINT64_MAX));
    fill(&r);
    const uint64_t taken = mg_io_bytes_in(r.from);
    close_stream(&r, &r.from);
    assert_true(mg_io_queued(r.to) > 0);
    mg_io_shutdown(r.to);
    while (r.got < taken) {
        read_pattern(&r);
        run_quiet(&r);
    }
    char byte;
    sockets_wait_readable(r.reader);
    assert_int_equal(recv(r.reader, &byte, 1, 0), 0);
    assert_int_equal(r.got, taken);
    close_relay(&r);
}

static void a_pipe_with_bytes_of_a_lost_reader_is_closed(void **state)
{
    (void)state;
    struct relay r;
    open_relay(&r);
    assert_true(mg_io_splice(r.from, r.to, UINT64_MAX));
    fill(&r);
    assert_int_equal(r.loop.pipes.count, 1);
    mg_io_reset(r.to);
    r.to = NULL;
    assert_int_equal(r.loop.pipes.count, 0);
    assert_null(r.loop.pipes.idle);
    assert_false(mg_io_is_splicing(r.from));
    run_quiet(&r);
    close_relay(&r);
}

static void a_reader_that_dies_is_told_of_once(void **state)
{
    (void)state;
    struct relay r;
    open_relay(&r);
    assert_true(mg_io_splice(r.from, r.to, UINT64_MAX));
    fill(&r);
    r.drains = 0;
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(r.reader, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(r.reader);
    r.reader = dup(r.sender);
    while (r.drains == 0) {
        run_quiet(&r);
    }
    assert_true(r.drain_status < 0);
    assert_int_equal(mg_io_queued(r.to), 0);
    assert_int_equal(r.loop.pipes.count, 0);
    run_quiet(&r);
    assert_int_equal(r.drains, 1);
    close_relay(&r);
}

static void an_end_and_a_reset_in_the_middle_are_told(void **state)
{
    (void)state;
    for (int is_reset = 0; is_reset < 2; is_reset++) {
        struct relay r;
        open_relay(&r);
        assert_true(mg_io_splice(r.from, r.to, UINT64_MAX));
        pass(&r, 300000);
        const struct linger linger = {.l_onoff = is_reset, .l_linger = 0};
        setsockopt(r.sender, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        close(r.sender);
        r.sender = dup(r.reader);
        while (r.ends == 0) {
            run_quiet(&r);
        }
        assert_int_equal(r.end_status, is_reset ? -ECONNRESET : MG_ECLOSED);
        assert_int_equal(r.got, 300000);
        run_quiet(&r);
        assert_int_equal(r.ends, 1);
        close_relay(&r);
    }
}

static void without_pipes_bytes_are_copied_in_order(void **state)
{
    (void)state;
    struct rlimit before;
    struct relay r;
    open_relay(&r);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit few = {.rlim_cur = 3, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_true(mg_io_splice(r.from, r.to, 1000000));
    pass(&r, 400000);
    assert_int_equal(r.spliced, 0);
    assert_int_equal(r.loop.pipes.count, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    r.loop.pipes.passed_off = 0;
    pass(&r, 700000);
    assert_true(r.spliced > 0);
    assert_int_equal(r.spliced + r.copied, 1100000);
    assert_true(r.spliced <= 600000);
    assert_false(mg_io_is_splicing(r.from));
    close_relay(&r);
}

static void bytes_are_copied_where_the_kernel_has_no_memory_to_take_them(void **state)
{
    (void)state;
    static const int errs[] = {ENOMEM, ENOBUFS};
    for (size_t i = 0; i < 2; i++) {
        struct relay r;
        open_relay(&r);
        refused.takes = true;
        refused.err = errs[i];
        assert_true(mg_io_splice(r.from, r.to, 1000000));
        pass(&r, 300000);
        assert_true(refused.count > 0);
        assert_int_equal(r.copied, 300000);
        assert_int_equal(r.ends, 0);
        refused.takes = false; /* it is tried each time */
        pass(&r, 200000);
        assert_true(r.spliced > 0);
        close_relay(&r);
    }
}

static void a_kernel_that_refuses_is_not_asked_again(void **state)
{
    (void)state;
    static const int errs[] = {EINVAL, ENOSYS, EPERM};
    for (size_t i = 0; i < 3; i++) {
        struct relay r;
        open_relay(&r);
        refused.takes = true;
        refused.err = errs[i];
        assert_true(mg_io_splice(r.from, r.to, 1000000));
        pass(&r, 300000);
        assert_int_equal(refused.count, 1);
        assert_int_equal(r.copied, 300000);
        assert_false(mg_io_is_splicing(r.from));
        assert_false(mg_io_is_splicing(r.to));
        assert_false(mg_io_splice(r.from, r.to, 1000000));
        close_relay(&r);
    }
}

/* Turns of 10 ms of the loop's clock. */
static void pass_time(struct relay *r, int turns)
{
    for (int i = 0; i < turns; i++) {
        run_quiet(r);
        mg_clock_advance(&r->loop.clock, 10000);
        mg_loop_turn(&r->loop);
    }
}

static void waits_a_while_where_the_kernel_has_no_memory_to_send(void **state)
{
    (void)state;
    static const int errs[] = {ENOMEM, ENOBUFS};
    for (size_t i = 0; i < 2; i++) {
        struct relay r;
        open_relay(&r);
        refused.gives = true;
        refused.err = errs[i];
        assert_true(mg_io_splice(r.from, r.to, 1000000));
        while (mg_io_queued(r.to) == 0) {
            send_pattern(&r, 1000);
            run_quiet(&r);
        }
        const size_t waiting = mg_io_queued(r.to);
        pass_time(&r, 10);
        assert_in_range(refused.count, 5, 30); /* neither given up nor asked all the time */
        assert_int_equal(mg_io_queued(r.to), waiting);
        assert_int_equal(r.drains, 0);
        assert_int_equal(waiting, r.sent);
        const char next = pattern(r.sent++);
        const mg_str behind = mg_str_make(&next, 1);
        assert_int_equal(mg_io_write(r.to, &behind, 1), 0);
        assert_int_equal(mg_io_queued(r.to), waiting + 1);
        refused.gives = false;
        pass_time(&r, 2);
        assert_int_equal(mg_io_queued(r.to), 0);
        assert_int_equal(r.drains, 1);
        assert_int_equal(r.drain_status, 0);
        read_pattern(&r);
        pass(&r, 200000);
        assert_int_equal(r.got, r.sent);
        close_relay(&r);
    }
}

static void a_stream_may_close_while_it_waits_for_memory(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        struct relay r;
        open_relay(&r);
        refused.gives = true;
        refused.err = ENOMEM;
        assert_true(mg_io_splice(r.from, r.to, 1000000));
        while (mg_io_queued(r.to) == 0) {
            send_pattern(&r, 1000);
            run_quiet(&r);
        }
        close_stream(&r, first ? &r.from : &r.to);
        pass_time(&r, 3);
        close_stream(&r, first ? &r.to : &r.from);
        pass_time(&r, 3);
        assert_int_equal(r.loop.pipes.count, 0);
        close_relay(&r);
    }
}

static void what_was_queued_before_goes_first(void **state)
{
    (void)state;
    struct relay r;
    open_relay(&r);
    for (int idle = 0; idle < 20;) { /* copied, until something is queued for good */
        idle = send_pattern(&r, PIECE) > 0 && mg_io_queued(r.to) < PIECE ? 0 : idle + 1;
        run_quiet(&r);
    }
    assert_true(mg_io_queued(r.to) > 0);
    assert_true(mg_io_splice(r.from, r.to, UINT64_MAX));
    pass(&r, 2000000);
    assert_true(r.spliced > 0);
    close_relay(&r);
}

static void is_refused_where_bytes_have_to_be_seen(void **state)
{
    (void)state;
    struct relay r;
    struct mg_io *local;
    int fds[2];
    open_relay(&r);
    sockets_unix_pair(fds);
    assert_int_equal(mg_io_new_fd(&local, &r.loop, fds[0], true), 0);
    assert_false(mg_io_splice(r.from, local, 1000));
    assert_false(mg_io_splice(local, r.to, 1000));
    assert_false(mg_io_splice(r.from, r.to, 0));
    assert_true(mg_io_splice(r.from, r.to, 1000));
    assert_false(mg_io_splice(r.from, r.to, 1000));
    mg_io_splice_stop(r.from);
    pass(&r, 500);
    assert_int_equal(r.copied, 500);
    r.loop.pipes.is_off = true;
    assert_false(mg_io_splice(r.from, r.to, 1000));
    mg_io_close(local);
    close(fds[1]);
    run_quiet(&r);
    close_relay(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_exactly_so_many_bytes_unseen),
        cmocka_unit_test(takes_no_more_than_64_kib_that_a_slow_reader_leaves),
        cmocka_unit_test(bytes_in_the_pipe_outlive_the_stream_they_came_from),
        cmocka_unit_test(a_pipe_with_bytes_of_a_lost_reader_is_closed),
        cmocka_unit_test(a_reader_that_dies_is_told_of_once),
        cmocka_unit_test(an_end_and_a_reset_in_the_middle_are_told),
        cmocka_unit_test(without_pipes_bytes_are_copied_in_order),
        cmocka_unit_test(bytes_are_copied_where_the_kernel_has_no_memory_to_take_them),
        cmocka_unit_test(a_kernel_that_refuses_is_not_asked_again),
        cmocka_unit_test(waits_a_while_where_the_kernel_has_no_memory_to_send),
        cmocka_unit_test(a_stream_may_close_while_it_waits_for_memory),
        cmocka_unit_test(what_was_queued_before_goes_first),
        cmocka_unit_test(is_refused_where_bytes_have_to_be_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
