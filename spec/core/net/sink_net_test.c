/* SPDX-License-Identifier: Apache-2.0 */
/* Sinks that send lines one by one: UDP, TCP, syslog. */
#include "net/sink.h"

#include "support/sink_rig.h"
#include "support/sockets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void a_udp_sink_sends_a_line_in_each_datagram(void **state)
{
    struct sink_rig *f = *state;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof in;
    f->peer = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_return_code(bind(f->peer, (struct sockaddr *)&in, sizeof in), 0);
    assert_return_code(getsockname(f->peer, (struct sockaddr *)&in, &length), 0);
    f->port = ntohs(in.sin_port);
    const struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_DATAGRAM);
    sink_rig_open_sink(f, &settings);
    sink_rig_put(f, "one\n");
    sink_rig_put(f, "two\n");
    assert_int_equal(mg_sink_line_bytes(f->sink), 8193); /* longer ones are cut when written */
    sink_rig_wait_written(f, 2);
    assert_int_equal(recv(f->peer, f->said, sizeof f->said, 0), 3);
    assert_memory_equal(f->said, "one", 3);
    assert_int_equal(recv(f->peer, f->said, sizeof f->said, 0), 3);
    assert_memory_equal(f->said, "two", 3);
    assert_int_equal(recv(f->peer, f->said, sizeof f->said, 0), -1);
}

static int bind_unix(struct sink_rig *f)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    memcpy(un.sun_path, f->path, strlen(f->path) + 1);
    assert_return_code(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
    return fd;
}

static void syslog_waits_for_its_socket_and_has_the_head_of_rfc_5424(void **state)
{
    struct sink_rig *f = *state;
    snprintf(f->path, sizeof f->path, "/tmp/mg-syslog-%d", (int)getpid());
    unlink(f->path);
    struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_DATAGRAM);
    settings.path = mg_str_from(f->path);
    settings.syslog = true;
    sink_rig_open_sink(f, &settings);
    mg_sink_put(f->sink, MG_STR("{\"a\":1}\n"), 3);
    sockets_run_until(&f->loop, sink_rig_has_failed, f);
    assert_int_equal(sink_rig_counts_of(f).queued, 1);
    f->peer = bind_unix(f);
    sink_rig_pass(f, 100);
    sink_rig_wait_written(f, 1);
    f->len = (size_t)recv(f->peer, f->said, sizeof f->said - 1, 0);
    f->said[f->len] = '\0';
    char host[256], wanted[512];
    assert_return_code(gethostname(host, sizeof host), 0);
    snprintf(wanted, sizeof wanted, "<131>1 1970-01-01T00:16:40.000Z %s moongate %d - - {\"a\":1}",
             host, (int)getpid());
    assert_string_equal(f->said, wanted);
}

static void a_tcp_sink_reconnects_and_repeats_no_line(void **state)
{
    struct sink_rig *f = *state;
    sink_rig_listen_tcp(f);
    const struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_TCP);
    sink_rig_open_sink(f, &settings);
    sink_rig_put(f, "one\n");
    sink_rig_put(f, "two\n");
    sink_rig_wait_said(f, "one\ntwo\n");
    sink_rig_hang_up(f);
    sockets_run_until(&f->loop, sink_rig_has_failed, f); /* the end is seen while nothing waits */
    sink_rig_put(f, "three\n");
    sink_rig_pass(f, 100);
    sink_rig_wait_said(f, "three\n");
    assert_int_equal(sink_rig_counts_of(f).written, 3);
}

static void syslog_over_tcp_counts_octets(void **state)
{
    struct sink_rig *f = *state;
    sink_rig_listen_tcp(f);
    struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_TCP);
    settings.syslog = true;
    sink_rig_open_sink(f, &settings);
    sink_rig_put(f, "first line\n");
    sink_rig_put(f, "x\n");
    f->wanted = 100;
    sockets_run_until(&f->loop, sink_rig_hears, f);
    char *at = f->said;
    for (int i = 0; i < 2; i++) {
        const unsigned long length = strtoul(at, &at, 10);
        assert_int_equal(*at, ' ');
        assert_memory_equal(at + 1, "<134>1 ", 7);
        at += 1 + length;
        assert_int_equal(at[-1], i == 0 ? 'e' : 'x');
    }
    assert_ptr_equal(at, f->said + f->len);
}

static void a_tcp_reader_that_takes_nothing_costs_the_oldest_lines_and_is_told(void **state)
{
    struct sink_rig *f = *state;
    sink_rig_listen_tcp(f);
    struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_TCP);
    settings.queue_bytes = 256 * 1024;
    sink_rig_open_sink(f, &settings);
    char line[1001];
    memset(line, 'x', sizeof line - 2);
    line[sizeof line - 2] = '\n';
    line[sizeof line - 1] = '\0';
    uint64_t lines = 0;
    while (sink_rig_counts_of(f).dropped < 100) { /* the kernel's buffers fill, then the queue */
        sink_rig_put(f, line);
        sink_rig_turn(f);
        assert_true(++lines < 1000000);
    }
    assert_true(f->sink->queue.batch.len + f->sink->queue.bytes.len <= settings.queue_bytes);
    /* somebody reads: all that was not dropped arrives, and the count of what was */
    const uint64_t dropped = sink_rig_counts_of(f).dropped;
    uint64_t whole = 0, told = 0;
    size_t at = 0;
    while (sink_rig_counts_of(f).queued > 0 || whole + 1 < sink_rig_counts_of(f).written + 1) {
        f->wanted = f->len + 1;
        sockets_run_until(&f->loop, sink_rig_hears, f);
        for (char *end; (end = memchr(f->said + at, '\n', f->len - at)) != NULL;
             at = (size_t)(end + 1 - f->said)) {
            unsigned long n = 0;
            if (sscanf(f->said + at, "{\"event\":\"lost\",\"sink\":\"net\",\"lines\":%lu", &n) ==
                1) {
                told += n;
            } else {
                whole++;
                assert_int_equal(end - (f->said + at), sizeof line - 2);
            }
        }
        memmove(f->said, f->said + at, f->len - at);
        f->len -= at;
        at = 0;
    }
    assert_int_equal(told, dropped);
    assert_int_equal(whole + dropped, lines);
}

static void a_stuck_tcp_connection_is_given_up(void **state)
{
    struct sink_rig *f = *state;
    sink_rig_listen_tcp(f);
    struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_TCP);
    settings.queue_bytes = 16 << 20;
    settings.queue_entries = 1 << 20;
    sink_rig_open_sink(f, &settings);
    char line[1001];
    memset(line, 'x', sizeof line - 2);
    line[sizeof line - 2] = '\n';
    line[sizeof line - 1] = '\0';
    for (int i = 0; i < 12000; i++) {
        sink_rig_put(f, line);
    }
    f->wanted = 1;
    sockets_run_until(&f->loop, sink_rig_hears, f);
    const uint64_t before = sink_rig_counts_of(f).written;
    assert_true(sink_rig_counts_of(f).queued > 0);
    sink_rig_pass(f, 5001);
    assert_true(sink_rig_has_failed(f));
    assert_true(sink_rig_counts_of(f).written >= before);
    assert_true(f->sink->down);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, sink_rig_setup, sink_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_udp_sink_sends_a_line_in_each_datagram),
        TEST(syslog_waits_for_its_socket_and_has_the_head_of_rfc_5424),
        TEST(a_tcp_sink_reconnects_and_repeats_no_line),
        TEST(syslog_over_tcp_counts_octets),
        TEST(a_tcp_reader_that_takes_nothing_costs_the_oldest_lines_and_is_told),
        TEST(a_stuck_tcp_connection_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
