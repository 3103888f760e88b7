/* SPDX-License-Identifier: Apache-2.0 */
/* Streams against plain sockets: reading, writing, back-pressure, connecting. */
#include "net/io.h"

#include "support/stream.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void delivers_bytes_and_the_orderly_end_once(void **state)
{
    struct stream f;
    stream_open_loop(&f, false);
    stream_open(&f, *state != NULL);
    stream_send(f.peer, "hello");
    sockets_run_until(&f.loop, stream_has_data, &f);
    assert_int_equal(f.last_bytes, 5);
    assert_memory_equal(f.last, "hello", 5);
    assert_int_equal(mg_io_bytes_in(f.io), 5);
    assert_true(mg_io_is_reusable(f.io));
    shutdown(f.peer, SHUT_WR);
    sockets_run_until(&f.loop, stream_has_ended, &f);
    assert_int_equal(f.end_status, MG_ECLOSED);
    assert_false(mg_io_is_reading(f.io));
    assert_false(mg_io_is_reusable(f.io));
    mg_io_read_start(f.io); /* after the end: nothing */
    stream_run_quiet(&f);
    assert_int_equal(f.ends, 1);
    assert_int_equal(stream_write(f.io, "still"), 0);
    stream_expect(f.peer, "still");
    stream_close_all(&f);
}

static void joins_the_parts_of_a_write_without_queueing(void **state)
{
    struct stream f;
    stream_open_loop(&f, false);
    stream_open(&f, *state != NULL);
    const mg_str parts[] = {MG_STR("ab"), MG_STR(""), MG_STR("cde"), MG_STR("f")};
    assert_int_equal(mg_io_write(f.io, parts, 4), 0);
    assert_int_equal(mg_io_queued(f.io), 0);
    assert_int_equal(mg_io_bytes_out(f.io), 6);
    stream_expect(f.peer, "abcdef");
    stream_run_quiet(&f);
    assert_int_equal(f.drains, 0);
    assert_int_equal(mg_io_write(f.io, parts, 0), 0);
    stream_close_all(&f);
}

static void queues_what_a_slow_reader_leaves_and_drains_once(void **state)
{
    struct stream f;
    uint64_t written = 0, got = 0;
    stream_open_loop(&f, false);
    stream_open(&f, *state != NULL);
    while (mg_io_queued(f.io) == 0) {
        stream_write_pattern(&f, &written);
        stream_run_quiet(&f);
    }
    f.drains = 0; /* the kernel may have taken more while it enlarged its buffers */
    const size_t first = mg_io_queued(f.io);
    assert_true(first <= STREAM_PIECE_BYTES);
    for (int i = 0; i < 3; i++) {
        stream_write_pattern(&f, &written);
    }
    assert_int_equal(mg_io_queued(f.io), first + 3 * STREAM_PIECE_BYTES);
    assert_false(mg_io_is_reusable(f.io));
    assert_int_equal(f.drains, 0);
    while (got < written) {
        stream_run_quiet(&f);
        stream_read_pattern(f.peer, &got);
    }
    stream_run_quiet(&f);
    assert_int_equal(got, written);
    assert_int_equal(mg_io_bytes_out(f.io), written);
    assert_int_equal(f.drains, 1);
    assert_int_equal(f.drain_status, 0);
    assert_int_equal(mg_io_queued(f.io), 0);
    assert_true(mg_io_is_reusable(f.io));
    stream_close_all(&f);
}

static void reports_a_failed_queue_once_and_refuses_writes(void **state)
{
    struct stream f;
    uint64_t written = 0;
    stream_open_loop(&f, false);
    stream_open(&f, *state != NULL);
    stream_fill_queue(&f, &written);
    stream_close_peer(&f);
    sockets_run_until(&f.loop, stream_has_ended, &f);
    stream_run_quiet(&f);
    assert_int_equal(f.drains, 1);
    assert_true(f.drain_status < 0);
    assert_int_equal(mg_io_queued(f.io), 0);
    assert_true(stream_write(f.io, "more") < 0);
    assert_int_equal(f.drains, 1);
    stream_close_all(&f);
}

static void half_closes_after_the_queue(void **state)
{
    struct stream f;
    uint64_t written = 0, got = 0;
    stream_open_loop(&f, false);
    stream_open(&f, *state != NULL);
    stream_fill_queue(&f, &written);
    mg_io_shutdown(f.io);
    mg_io_shutdown(f.io);
    assert_int_equal(stream_write(f.io, "late"), UV_EPIPE);
    while (got < written) {
        stream_run_quiet(&f);
        const uint64_t before = got;
        char byte;
        if (recv(f.peer, &byte, 1, MSG_PEEK) > 0) {
            char bytes[4096];
            const ssize_t count = recv(f.peer, bytes, sizeof bytes, 0);
            got += (uint64_t)count;
        }
        assert_true(got >= before);
    }
    stream_run_quiet(&f);
    stream_expect_eof(f.peer);
    stream_send(f.peer, "answer"); /* the other direction is open */
    sockets_run_until(&f.loop, stream_has_data, &f);
    stream_close_all(&f);
}

/* An upstream that answers early and closes: our writes fail, its answer is still read. */
static void a_failed_write_leaves_the_answer_readable(void **state)
{
    struct stream f;
    stream_open_loop(&f, false);
    stream_open(&f, *state != NULL);
    stream_send(f.peer, "413");
    stream_close_peer(&f);
    int err = 0;
    for (int i = 0; i < 1000 && err == 0; i++) { /* the first one is answered by a reset */
        err = stream_write(f.io, "body");
    }
    assert_true(err == UV_EPIPE || err == UV_ECONNRESET);
    assert_int_equal(f.data, 0);
    sockets_run_until(&f.loop, stream_has_ended, &f);
    assert_int_equal(f.data, 1);
    assert_memory_equal(f.last, "413", 3);
    assert_true(stream_write(f.io, "body") < 0);
    stream_close_all(&f);
}

static void stops_between_two_reads(void **state)
{
    struct stream f;
    stream_open_loop(&f, false);
    stream_open(&f, *state != NULL);
    mg_io_set_read_size(f.io, 4);
    mg_io_read_start(f.io);
    f.stop_in_data = true;
    stream_send(f.peer, "abcdefgh");
    sockets_run_until(&f.loop, stream_has_data, &f);
    stream_run_quiet(&f);
    assert_int_equal(f.data, 1);
    assert_int_equal(mg_io_bytes_in(f.io), 4);
    mg_io_read_stop(f.io);
    f.stop_in_data = false;
    mg_io_read_start(f.io);
    stream_run_quiet(&f);
    assert_memory_equal(f.last, "efgh", 4);
    assert_int_equal(mg_io_bytes_in(f.io), 8);
    stream_close_all(&f);
}

static void reads_no_more_than_its_share_of_a_turn(void **state)
{
    struct stream f;
    static const char bytes[10 * 1024];
    stream_open_loop(&f, false);
    stream_open(&f, *state != NULL);
    mg_io_set_read_size(f.io, 1024);
    assert_int_equal(send(f.peer, bytes, sizeof bytes, 0), sizeof bytes);
    while (f.data == 0) {
        mg_loop_step(&f.loop, false);
    }
    assert_int_equal(f.data, 8);
    stream_run_quiet(&f);
    assert_int_equal(mg_io_bytes_in(f.io), sizeof bytes);
    stream_close_all(&f);
}

/* On a unix socket, where all is there at once. */
static void reads_up_to_the_size_that_is_set(void **state)
{
    (void)state;
    struct stream f;
    static const char bytes[100 * 1000];
    stream_open_loop(&f, false);
    stream_open(&f, true);
    mg_io_read_stop(f.io);
    assert_int_equal(send(f.peer, bytes, sizeof bytes, 0), sizeof bytes);
    mg_io_read_start(f.io);
    stream_run_quiet(&f);
    assert_int_equal(f.largest, MG_IO_READ_BYTES);
    mg_io_read_stop(f.io);
    mg_io_set_read_size(f.io, SIZE_MAX);
    assert_int_equal(send(f.peer, bytes, sizeof bytes, 0), sizeof bytes);
    mg_io_read_start(f.io);
    stream_run_quiet(&f);
    assert_int_equal(f.largest, sizeof bytes);
    stream_close_all(&f);
}

/* A read ends at urgent data, however much there is behind it. */
static void reads_what_is_behind_urgent_data(void **state)
{
    (void)state;
    struct stream f;
    stream_open_loop(&f, false);
    stream_open(&f, false);
    mg_io_read_stop(f.io);
    stream_send(f.peer, "ab");
    assert_int_equal(send(f.peer, "!", 1, MSG_OOB), 1);
    stream_send(f.peer, "cd");
    mg_io_read_start(f.io);
    stream_run_quiet(&f);
    assert_int_equal(mg_io_bytes_in(f.io), 4);
    assert_memory_equal(f.last, "cd", 2);
    stream_close_all(&f);
}

static void names_its_peer(void **state)
{
    (void)state;
    struct stream f;
    struct mg_address address;
    stream_open_loop(&f, false);
    stream_open(&f, false);
    mg_io_peer(f.io, &address);
    assert_string_equal(address.ip, "127.0.0.1");
    assert_true(address.port > 0);
    stream_close_all(&f);
    stream_open_loop(&f, false);
    stream_open(&f, true);
    mg_io_peer(f.io, &address);
    assert_string_equal(address.ip, "unix:");
    assert_int_equal(address.port, 0);
    stream_close_all(&f);
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

static int connect_to(struct stream *f, uint16_t port, struct attempt *attempt)
{
    struct mg_address text = {.port = port};
    struct sockaddr_in in;
    assert_int_equal(uv_ip4_addr("127.0.0.1", text.port, &in), 0);
    return mg_io_new_connect(&f->io, &f->loop, (const struct sockaddr *)&in, on_connect, attempt);
}

static void connects_and_tells_later(void **state)
{
    (void)state;
    struct stream f;
    struct attempt attempt = {.fired = false};
    uint16_t port;
    const int listening = sockets_listen(&port);
    stream_open_loop(&f, false);
    assert_int_equal(connect_to(&f, port, &attempt), 0);
    assert_false(attempt.fired);
    sockets_run_until_set(&f.loop, &attempt.fired);
    assert_int_equal(attempt.status, 0);
    f.peer = accept(listening, NULL, NULL);
    mg_io_set_handler(f.io, &stream_handler, &f);
    assert_int_equal(stream_write(f.io, "hi"), 0);
    stream_expect(f.peer, "hi");
    close(listening);
    stream_close_all(&f);
}

static void tells_that_a_connection_was_refused(void **state)
{
    (void)state;
    struct stream f;
    struct attempt attempt = {.fired = false};
    uint16_t port;
    close(sockets_listen(&port));
    stream_open_loop(&f, false);
    assert_int_equal(connect_to(&f, port, &attempt), 0);
    assert_false(attempt.fired);
    sockets_run_until_set(&f.loop, &attempt.fired);
    assert_int_equal(attempt.status, UV_ECONNREFUSED);
    mg_io_set_handler(f.io, &stream_handler, &f);
    stream_close_all(&f);
}

static void closing_a_connecting_stream_tells_nothing(void **state)
{
    (void)state;
    struct stream f;
    struct attempt attempt = {.fired = false};
    uint16_t port;
    const int listening = sockets_listen(&port);
    stream_open_loop(&f, false);
    assert_int_equal(connect_to(&f, port, &attempt), 0);
    mg_io_set_handler(f.io, &stream_handler, &f);
    stream_close_all(&f);
    assert_false(attempt.fired);
    close(listening);
}

/* With a descriptor, as unix(7) has it. */
static void send_with_fd(int fd, const char *text, int passed)
{
    char control[CMSG_SPACE(sizeof passed)] = {0};
    struct iovec part = {.iov_base = (char *)text, .iov_len = strlen(text)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof passed);
    memcpy(CMSG_DATA(rights), &passed, sizeof passed);
    assert_int_equal(sendmsg(fd, &message, 0), (ssize_t)strlen(text));
}

static void reads_what_is_behind_descriptors(void **state)
{
    (void)state;
    struct stream f;
    int ends[2];
    char byte;
    stream_open_loop(&f, true);
    stream_open(&f, true);
    assert_return_code(pipe(ends), errno);
    send_with_fd(f.peer, "with", ends[1]);
    send_with_fd(f.peer, "with", ends[1]);
    stream_send(f.peer, "behind");
    stream_run_quiet(&f);
    assert_int_equal(mg_io_bytes_in(f.io), 14);
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 0); /* nobody has kept it */
    close(ends[0]);
    stream_close_all(&f);
}

/* From now on the kernel has no memory to send so many bytes. */
static bool lack_memory_for(uint32_t bytes)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, bytes, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOBUFS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* In a child process: a filter stays. The step that went wrong; 0: none. */
static int write_without_memory(struct stream *f, uint64_t *turns)
{
    char got[16];
    if (!lack_memory_for(7)) {
        return 1;
    }
    if (stream_write(f->io, "seven..") != 0 || mg_io_queued(f->io) != 7) {
        return 2;
    }
    const uint64_t before = f->loop.turn;
    for (int i = 0; i < 10; i++) { /* 100 ms */
        mg_loop_turn(&f->loop);
        mg_clock_advance(&f->loop.clock, 10000);
    }
    *turns = f->loop.turn - before;
    if (*turns > 100 || mg_io_queued(f->io) != 7) {
        return 3;
    }
    if (stream_write(f->io, "8") != 0 || mg_io_queued(f->io) != 8) {
        return 4;
    }
    mg_clock_advance(&f->loop.clock, 10000);
    mg_loop_turn(&f->loop);
    return mg_io_queued(f->io) == 0 && f->drains == 1 && recv(f->peer, got, sizeof got, 0) == 8 ? 0
                                                                                                : 5;
}

static void waits_a_while_where_the_kernel_has_no_memory(void **state)
{
    struct stream f;
    uint64_t turns = 0;
    int status;
    stream_open_loop(&f, true);
    stream_open(&f, *state != NULL);
    const pid_t child = fork();
    assert_return_code(child, errno);
    if (child == 0) {
        const int failed = write_without_memory(&f, &turns);
        if (failed) {
            print_error("step %d failed after %d turns\n", failed, (int)turns);
        }
        _exit(failed);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    stream_close_all(&f);
}

static int prefetches;

static void count_prefetch(const void *context)
{
    (void)context;
    prefetches++;
}

static void asks_for_memory_where_many_are_watched(void **state)
{
    (void)state;
    struct stream f;
    struct mg_io_handler handler = stream_handler;
    handler.prefetch = count_prefetch;
    stream_open_loop(&f, true);
    stream_open(&f, false);
    mg_io_set_handler(f.io, &handler, &f);
    prefetches = 0;
    stream_send(f.peer, "few");
    stream_run_quiet(&f);
    assert_int_equal(prefetches, 0);
    f.loop.watches += MG_LOOP_WIDE; /* played: as if they were there */
    stream_send(f.peer, "many");
    stream_run_quiet(&f);
    f.loop.watches -= MG_LOOP_WIDE;
    assert_in_range(prefetches, 1, 2);
    assert_int_equal(mg_io_bytes_in(f.io), 7);
    stream_close_all(&f);
}

static void an_idle_stream_is_small(void **state)
{
    (void)state;
    struct stream f;
    stream_open_loop(&f, false);
    stream_open(&f, false);
    assert_true(malloc_usable_size(f.io) <= 360);
    stream_close_all(&f);
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
        cmocka_unit_test(reads_what_is_behind_urgent_data),
        cmocka_unit_test(reads_what_is_behind_descriptors),
        ON_BOTH(waits_a_while_where_the_kernel_has_no_memory),
        cmocka_unit_test(names_its_peer),
        cmocka_unit_test(connects_and_tells_later),
        cmocka_unit_test(tells_that_a_connection_was_refused),
        cmocka_unit_test(closing_a_connecting_stream_tells_nothing),
        cmocka_unit_test(asks_for_memory_where_many_are_watched),
        cmocka_unit_test(an_idle_stream_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
