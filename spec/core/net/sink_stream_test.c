/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of sinks: nobody waits for a reader, and nobody's place in a file is lost. */
#include "net/sink_stream.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* A stream that waits here waits for ever, and the alarm ends the test. */
static void expect_no_waiting(int reader, int writer)
{
    char bytes[4096] = "";
    struct mg_sink_stream stream;
    ssize_t n;
    int left = 10000;
    alarm(20);
    mg_sink_stream_open(&stream, writer);
    assert_int_equal(fcntl(writer, F_GETFL) & O_NONBLOCK, 0); /* others share it */
    do {
        n = mg_sink_stream_write(&stream, mg_str_make(bytes, sizeof bytes));
    } while (n > 0 && --left > 0);
    assert_int_equal(n, MG_EAGAIN);
    assert_true(read(reader, bytes, sizeof bytes) > 0);
    mg_sink_stream_close(&stream);
    alarm(0);
    close(reader);
    close(writer);
}

static void a_reader_that_stops_is_not_waited_for(void **state)
{
    (void)state;
    int fds[2];
    assert_return_code(pipe(fds), 0);
    expect_no_waiting(fds[0], fds[1]);
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    expect_no_waiting(fds[0], fds[1]);
}

/* `> file 2>&1`: the error log writes between the lines, through the same place in the file. */
static void what_others_write_to_the_same_file_stays(void **state)
{
    (void)state;
    char path[] = "/tmp/mg-sink-stream-XXXXXX", text[64];
    const int fd = mkstemp(path);
    assert_return_code(fd, 0);
    assert_return_code(unlink(path), 0);
    struct mg_sink_stream stream;
    mg_sink_stream_open(&stream, fd);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mg_sink_stream_write(&stream, MG_STR("line\n")), 5);
        assert_int_equal(write(fd, "other\n", 6), 6);
    }
    mg_sink_stream_close(&stream);
    assert_int_equal(pread(fd, text, sizeof text, 0), 22);
    assert_memory_equal(text, "line\nother\nline\nother\n", 22);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_that_stops_is_not_waited_for),
        cmocka_unit_test(what_others_write_to_the_same_file_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
