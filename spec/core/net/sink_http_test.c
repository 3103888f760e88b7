/* SPDX-License-Identifier: Apache-2.0 */
/* Sinks that send batches over HTTP: nothing is lost without a count, nothing waits for ever, and
 * no receiver can do harm. */
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

static const char request_of_two[] = "POST /logs?a=1 HTTP/1.1\r\nHost: logs.test\r\n"
                                     "Content-Type: application/x-ndjson\r\n"
                                     "X-Key: 1\r\nX-More: a b\r\nContent-Length: 8\r\n\r\n"
                                     "one\ntwo\n";

static void say(struct sink_rig *f, const char *text)
{
    assert_int_equal(send(f->peer, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static bool hears_a_request(void *context)
{
    struct sink_rig *f = context;
    f->wanted = SIZE_MAX;
    sink_rig_hears(f);
    const char *body = f->len > 0 ? strstr(f->said, "\r\n\r\n") : NULL;
    const char *length = body ? strstr(f->said, "Content-Length: ") : NULL;
    return length && strlen(body + 4) >= strtoul(length + 16, NULL, 10);
}

/* Opens an HTTP sink, puts two lines and waits until the peer has the request. */
static void begin_http(struct sink_rig *f, struct mg_sink_settings *settings)
{
    if (f->listening < 0) {
        sink_rig_listen_tcp(f);
    }
    settings->port = f->port;
    sink_rig_open_sink(f, settings);
    sink_rig_put(f, "one\n");
    sink_rig_put(f, "two\n");
    sink_rig_pass(f, settings->flush_ms);
    sockets_run_until(&f->loop, hears_a_request, f);
}

static void an_http_sink_sends_a_batch_when_its_first_line_has_waited(void **state)
{
    struct sink_rig *f = *state;
    sink_rig_listen_tcp(f);
    const struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_HTTP);
    sink_rig_open_sink(f, &settings);
    sink_rig_put(f, "one\n");
    sink_rig_pass(f, 999);
    assert_int_equal(sink_rig_counts_of(f).queued, 1);
    assert_false(f->sink->type->is_busy(f->sink));
    sink_rig_put(f, "two\n");
    sink_rig_pass(f, 1);
    sink_rig_wait_said(f, request_of_two);
    assert_int_equal(sink_rig_counts_of(f).queued, 2); /* until it is answered */
    say(f, "HTTP/1.1 204 No Content\r\n\r\n");
    sink_rig_wait_written(f, 2);
    /* a full batch does not wait, and the connection is used again */
    sink_rig_put(f, "3\n");
    sink_rig_put(f, "4\n");
    sink_rig_put(f, "5\n");
    sockets_run_until(&f->loop, hears_a_request, f);
    assert_non_null(strstr(f->said, "\r\n\r\n3\n4\n5\n"));
}

static void arrays_and_single_lines_are_other_encodings(void **state)
{
    struct sink_rig *f = *state;
    static const char *const bodies[] = {"\r\n\r\n[one,two]", "\r\n\r\none"};
    for (int i = 0; i < 2; i++) {
        struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_HTTP);
        settings.encoding = i == 0 ? MG_SINK_JSON : MG_SINK_SINGLE;
        settings.batch = i == 0 ? 3 : 1;
        settings.keepalive_ms = 0;
        begin_http(f, &settings);
        assert_string_equal(strstr(f->said, "\r\n\r\n"), bodies[i]);
        sink_rig_let_go(f, f->sink);
        sink_rig_hang_up(f);
    }
}

static void busy_receivers_get_it_again_and_others_lose_it(void **state)
{
    struct sink_rig *f = *state;
    static const struct {
        const char *answer;
        bool again;
    } cases[] = {
        {"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", true},
        {"HTTP/1.1 429 x\r\nContent-Length: 0\r\n\r\n", true},
        {"HTTP/1.1 408 x\r\nContent-Length: 0\r\n\r\n", true},
        {"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n", true},
        {"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n", false},
        {"HTTP/1.1 301 x\r\nContent-Length: 0\r\n\r\n", false},
        {"total nonsense\r\n\r\n", true},
        {"HTTP/1.1 200 x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", true},
        {"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_HTTP);
        settings.timeout_ms = 5000 + i; /* another sink each */
        begin_http(f, &settings);
        say(f, cases[i].answer);
        if (cases[i].again && i != 8) {
            sockets_run_until(&f->loop, sink_rig_has_failed, f);
            assert_int_equal(sink_rig_counts_of(f).queued, 2);
        } else if (i == 8) { /* its head had said it was taken */
            sink_rig_wait_written(f, 2);
        } else {
            sockets_run_until(&f->loop, sink_rig_is_quiet, f);
            assert_int_equal(sink_rig_counts_of(f).dropped, 2);
            assert_int_equal(f->sink->part->dropped[MG_SINK_REFUSED], 2);
        }
        sink_rig_hang_up(f);
        sink_rig_close_sinks(f);
        sink_rig_let_go(f, NULL);
        f->sinks = mg_sinks_open(&(struct mg_sinks_parts){.loop = &f->loop, .dns = f->dns});
    }
}

static void retry_after_is_waited_for(void **state)
{
    struct sink_rig *f = *state;
    struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_HTTP);
    begin_http(f, &settings);
    say(f, "HTTP/1.1 503 x\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
    sockets_run_until(&f->loop, sink_rig_has_failed, f);
    f->len = 0;
    sink_rig_pass(f, 6900);
    assert_false(f->sink->type->is_busy(f->sink));
    sink_rig_pass(f, 200);
    sockets_run_until(&f->loop, hears_a_request, f);
    /* 1970-01-01T00:16:47 it is now, and 30 s */
    f->len = 0;
    say(f, "HTTP/1.1 503 x\r\nRetry-After: Thu, 01 Jan 1970 00:17:17 GMT\r\n"
           "Content-Length: 0\r\n\r\n");
    sockets_run_until(&f->loop, sink_rig_has_failed, f);
    sink_rig_pass(f, 28000);
    assert_true(sink_rig_has_failed(f));
    sink_rig_pass(f, 2000);
    assert_false(sink_rig_has_failed(f));
}

static void endless_heads_and_bodies_do_no_harm(void **state)
{
    struct sink_rig *f = *state;
    struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_HTTP);
    begin_http(f, &settings);
    say(f, "HTTP/1.1 200 x\r\n");
    for (int i = 0; i < 200000 && !sink_rig_has_failed(f); i++) {
        (void)!send(f->peer, "X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 43, MSG_NOSIGNAL);
        if (i % 100 == 0) {
            sink_rig_turn(f);
        }
    }
    sockets_run_until(&f->loop, sink_rig_has_failed, f);
    assert_int_equal(sink_rig_counts_of(f).queued, 2);
    /* the same lines again, to a receiver that takes them and never stops talking */
    sink_rig_hang_up(f);
    sink_rig_pass(f, 2000);
    sockets_run_until(&f->loop, hears_a_request, f);
    say(f, "HTTP/1.1 200 x\r\nContent-Encoding: gzip\r\n\r\n");
    while (sink_rig_counts_of(f).written < 2) {
        (void)!send(f->peer, "no gzip at all", 14, MSG_NOSIGNAL);
        sink_rig_turn(f);
    }
    assert_int_equal(sink_rig_counts_of(f).dropped, 0);
}

static void a_silent_receiver_is_waited_for_no_longer_than_its_timeout(void **state)
{
    struct sink_rig *f = *state;
    struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_HTTP);
    begin_http(f, &settings);
    sink_rig_pass(f, 5990);
    assert_false(sink_rig_has_failed(f));
    sink_rig_pass(f, 20); /* connect and timeout together */
    assert_true(sink_rig_has_failed(f));
    assert_int_equal(sink_rig_counts_of(f).queued, 2);
}

static void what_cannot_be_delivered_is_dropped_batch_by_batch_after_its_time(void **state)
{
    struct sink_rig *f = *state;
    f->port = 1; /* refused */
    struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_HTTP);
    sink_rig_open_sink(f, &settings);
    for (int i = 0; i < 5; i++) {
        sink_rig_put(f, "line\n");
    }
    uint64_t begun_ms = 0;
    unsigned tries = 0;
    while (sink_rig_counts_of(f).dropped == 0) {
        sockets_run_until(&f->loop, sink_rig_has_failed, f);
        begun_ms = begun_ms ? begun_ms : mg_loop_now_ms(&f->loop);
        sink_rig_pass(f, f->sink->retry.at_ms - mg_loop_now_ms(&f->loop));
        assert_true(++tries < 40); /* 50, 100, .. 1000, 1000 ..: about 15 in ten seconds */
    }
    const uint64_t passed_ms = mg_loop_now_ms(&f->loop) - begun_ms;
    assert_in_range(passed_ms, 10000, 12000 + 1200);
    assert_in_range(tries, 10, 25);
    assert_int_equal(sink_rig_counts_of(f).dropped, 3); /* a batch */
    assert_int_equal(f->sink->part->dropped[MG_SINK_RETRY_EXPIRED], 3);
    assert_int_equal(sink_rig_counts_of(f).queued, 2);
}

static void the_first_batch_after_a_loss_begins_with_its_record(void **state)
{
    struct sink_rig *f = *state;
    struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_HTTP);
    settings.queue_entries = 2;
    sink_rig_listen_tcp(f);
    settings.port = f->port;
    sink_rig_open_sink(f, &settings);
    sink_rig_put(f, "zero\n");
    begin_http(f, &settings);
    const char *body = strstr(f->said, "\r\n\r\n") + 4;
    static const char wanted[] = "{\"event\":\"lost\",\"sink\":\"net\",\"lines\":1,"
                                 "\"from\":\"1970-01-01T00:16:40.000Z\","
                                 "\"to\":\"1970-01-01T00:16:40.000Z\",\"reason\":\"queue_full\"}\n"
                                 "one\ntwo\n";
    assert_string_equal(body, wanted);
    /* refused, so nobody was told: the next one says it again, with what was refused */
    say(f, "HTTP/1.1 400 x\r\nContent-Length: 0\r\n\r\n");
    sockets_run_until(&f->loop, sink_rig_is_quiet, f);
    f->len = 0;
    sink_rig_put(f, "three\n");
    sink_rig_pass(f, 1000);
    sockets_run_until(&f->loop, hears_a_request, f);
    assert_non_null(strstr(f->said, "\"reason\":\"queue_full\"}\n"));
    assert_non_null(strstr(f->said, "\"lines\":2,"));
    assert_non_null(strstr(f->said, "\"reason\":\"refused\"}\nthree\n"));
}

static void what_is_left_at_the_end_is_counted_as_shutdown(void **state)
{
    struct sink_rig *f = *state;
    struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_HTTP);
    begin_http(f, &settings); /* and no answer comes */
    sink_rig_put(f, "three\n");
    struct mg_sink *sink = f->sink;
    sink_rig_close_sinks(f);
    assert_int_equal(sink->queue.counts.dropped, 3);
    assert_int_equal(sink->own_part.dropped[MG_SINK_SHUTDOWN], 3);
    sink_rig_let_go(f, sink);
}

static void equal_settings_are_one_sink_and_a_removed_one_drains(void **state)
{
    struct sink_rig *f = *state;
    sink_rig_listen_tcp(f);
    struct mg_sink_settings settings = sink_rig_settings_of(f, MG_SINK_HTTP);
    sink_rig_open_sink(f, &settings);
    struct mg_sink *first = f->sink;
    sink_rig_open_sink(f, &settings);
    assert_ptr_equal(f->sink, first);
    settings.headers = MG_STR("X-Key: 2\n");
    sink_rig_open_sink(f, &settings);
    assert_ptr_not_equal(f->sink, first);
    sink_rig_let_go(f, f->sink);
    f->sink = first;
    sink_rig_put(f, "one\n");
    sink_rig_put(f, "two\n");
    sink_rig_let_go(f, first);
    sink_rig_let_go(f, first); /* nobody has it any more: its lines go out at once */
    sink_rig_wait_said(f, request_of_two);
    say(f, "HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n");
    while (!mg_list_empty(&f->sinks->all)) {
        sink_rig_turn(f);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, sink_rig_setup, sink_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_http_sink_sends_a_batch_when_its_first_line_has_waited),
        TEST(arrays_and_single_lines_are_other_encodings),
        TEST(busy_receivers_get_it_again_and_others_lose_it),
        TEST(retry_after_is_waited_for),
        TEST(endless_heads_and_bodies_do_no_harm),
        TEST(a_silent_receiver_is_waited_for_no_longer_than_its_timeout),
        TEST(what_cannot_be_delivered_is_dropped_batch_by_batch_after_its_time),
        TEST(the_first_batch_after_a_loss_begins_with_its_record),
        TEST(what_is_left_at_the_end_is_counted_as_shutdown),
        TEST(equal_settings_are_one_sink_and_a_removed_one_drains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
