/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and answers through a real gateway loop: framing, keep-alive, order, back-pressure. */
#include "support/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GET "GET /a HTTP/1.1\r\nHost: site\r\n\r\n"

static int has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

static void a_request_and_its_answer_pass(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096], body[8] = {0};
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, "GET /a%2d/../b?x=1 HTTP/1.1\r\nHost: Site\r\nX-One: 1\r\n"
                     "Connection: keep-alive, X-Gone\r\nX-Gone: 1\r\n\r\n");
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    assert_int_equal(strncmp(head, "GET /b?x=1 HTTP/1.1\r\n", 21), 0);
    assert_true(has(head, "X-One: 1\r\n"));
    assert_false(has(head, "X-Gone"));
    assert_true(has(head, "X-Forwarded-For: 127.0.0.1\r\n"));
    assert_true(has(head, "Via: 1.1 moongate\r\n"));
    rig_send(upstream, "HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nX-Up: yes\r\n\r\nhello");
    rig_expect_head(client, head);
    assert_int_equal(strncmp(head, "HTTP/1.1 200 OK\r\n", 17), 0);
    assert_true(has(head, "X-Up: yes\r\n"));
    assert_true(has(head, "X-Request-ID: "));
    rig_read(client, body, 5);
    assert_string_equal(body, "hello");
    rig_stop(&rig);
}

static void connections_are_kept_on_both_sides(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096], body[2];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, GET);
    const int upstream = rig_accept(&rig);
    for (int i = 0; i < 5; i++) {
        rig_expect_head(upstream, head);
        rig_send(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
        rig_expect_head(client, head);
        rig_read(client, body, 1);
        rig_send(client, GET);
    }
    assert_false(rig_connects_within(&rig, 50));
    rig_stop(&rig);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096], text[64];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    char all[8192] = "";
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i);
        strncat(all, text, sizeof all - strlen(all) - 1);
    }
    rig_send(client, all);
    const int upstream = rig_accept(&rig);
    for (int i = 0; i < 100; i++) {
        rig_expect_head(upstream, head);
        snprintf(text, sizeof text, "GET /%d ", i);
        assert_int_equal(strncmp(head, text, strlen(text)), 0);
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n%03d", i);
        rig_send(upstream, text);
        rig_expect_head(client, head);
        char body[4] = {0}, expected[16];
        rig_read(client, body, 3);
        snprintf(expected, sizeof expected, "%03d", i);
        assert_string_equal(body, expected);
    }
    rig_stop(&rig);
}

static void a_chunked_body_passes_both_ways_byte_by_byte(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096], body[64];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send_slowly(client, "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                            "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    assert_true(has(head, "Transfer-Encoding: chunked\r\n"));
    rig_read_until(upstream, body, sizeof body, "0\r\n\r\n");
    assert_false(has(body, "x=y"));
    rig_send_slowly(upstream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                              "5\r\nhello\r\n0\r\n\r\n");
    rig_expect_head(client, head);
    assert_true(has(head, "Transfer-Encoding: chunked\r\n"));
    rig_read_until(client, body, sizeof body, "0\r\n\r\n");
    rig_send(client, GET); /* the connection is still in step */
    rig_expect_head(upstream, head);
    rig_stop(&rig);
}

static void a_close_delimited_answer_becomes_chunked(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096], body[64];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, GET);
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    rig_send(upstream, "HTTP/1.1 200 OK\r\n\r\nall of it");
    rig_close(&rig, upstream);
    rig_expect_head(client, head);
    assert_true(has(head, "Transfer-Encoding: chunked\r\n"));
    rig_read_until(client, body, sizeof body, "0\r\n\r\n");
    assert_true(has(body, "9\r\nall of it\r\n"));
    rig_stop(&rig);
}

static void an_http_1_0_client_gets_a_length_or_the_end(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    rig_send(upstream,
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    rig_expect_head(client, head);
    assert_false(has(head, "Transfer-Encoding"));
    char body[16];
    assert_int_equal(rig_read_to_end(client, body, sizeof body), 3);
    assert_string_equal(body, "abc");
    rig_stop(&rig);
}

static void answers_without_a_body_stay_without(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    rig_send(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n");
    rig_expect_head(client, head);
    assert_true(has(head, "Content-Length: 1234\r\n"));
    rig_send(client, GET);
    rig_expect_head(upstream, head);
    rig_send(upstream, "HTTP/1.1 204 No Content\r\n\r\n");
    rig_expect_head(client, head);
    assert_false(has(head, "Content-Length"));
    rig_send(client, GET);
    rig_expect_head(upstream, head);
    rig_send(upstream, "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n");
    rig_expect_head(client, head);
    assert_true(has(head, "304 Not Modified\r\n"));
    rig_send(client, GET);
    rig_expect_head(upstream, head);
    rig_stop(&rig);
}

static void interim_answers_pass_but_100(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, GET);
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    rig_send(upstream, "HTTP/1.1 100 Continue\r\n\r\n"
                       "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
                       "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    rig_expect_head(client, head);
    assert_true(has(head, "HTTP/1.1 103 Early Hints\r\n"));
    assert_true(has(head, "Link: </a>\r\n"));
    rig_expect_head(client, head);
    assert_true(has(head, "HTTP/1.1 200 OK\r\n"));
    rig_stop(&rig);
}

static void an_expectation_is_met_by_the_gateway(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096], body[8] = {0};
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client,
             "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    assert_false(has(head, "Expect"));
    rig_expect_head(client, head);
    assert_string_equal(head, "HTTP/1.1 100 Continue\r\n\r\n");
    rig_send(client, "abc");
    rig_read(upstream, body, 3);
    assert_string_equal(body, "abc");
    rig_send(upstream, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    rig_expect_head(client, head);
    assert_true(has(head, "201 Created"));
    rig_stop(&rig);
}

static void events_pass_as_they_come(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096], body[64];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, GET);
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    rig_send(upstream, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n");
    rig_expect_head(client, head); /* before the first octet */
    for (int i = 0; i < 3; i++) {
        rig_send(upstream, "9\r\ndata: 1\n\n\r\n");
        rig_read_until(client, body, sizeof body, "\n\n\r\n");
    }
    rig_stop(&rig);
}

/* 100 KiB a piece through a client that reads nothing at first: the gateway must stop reading. */
static void a_slow_reader_stops_the_upstream(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    static char piece[1 << 20];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, GET);
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    rig_send(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n");
    size_t sent = 0;
    for (;;) {
        const ssize_t wrote = write(upstream, piece, sizeof piece);
        if (wrote < 0) {
            usleep(100000); /* is it full for good? */
            if (write(upstream, piece, 1) < 0) {
                break;
            }
            sent++;
            continue;
        }
        sent += (size_t)wrote;
        assert_true(sent < 67108864);
    }
    rig_expect_head(client, head);
    size_t got = 0;
    while (got < sent) {
        const size_t want = sent - got < sizeof piece ? sent - got : sizeof piece;
        rig_read(client, piece, want);
        got += want;
    }
    rig_send(upstream, "z"); /* and it reads again */
    rig_read(client, piece, 1);
    assert_int_equal(piece[0], 'z');
    rig_stop(&rig);
}

static void a_large_upload_arrives_whole(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    const size_t size = 5U << 20;
    char *body = malloc(size), *seen = malloc(size);
    for (size_t i = 0; i < size; i++) {
        body[i] = (char)(i * 31 + (i >> 9));
    }
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    snprintf(head, sizeof head, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", size);
    rig_send(client, head);
    size_t sent = 0;
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    for (size_t got = 0; got < size;) { /* both ends in turn, since one test plays both */
        if (sent < size) {
            const size_t step = size - sent < 16384 ? size - sent : 16384;
            rig_send_bytes(client, body + sent, step);
            sent += step;
        }
        const size_t due = sent - got < 16384 ? sent - got : 16384;
        rig_read(upstream, seen + got, due);
        got += due;
    }
    assert_memory_equal(body, seen, size);
    rig_send(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    rig_expect_head(client, head);
    rig_stop(&rig);
    free(body);
    free(seen);
}

static void a_websocket_is_tunnelled(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096], bytes[8] = {0};
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client,
             "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
             "early");
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    assert_true(has(head, "Upgrade: websocket\r\n"));
    assert_true(rig_is_silent(upstream, 50)); /* early bytes wait for the 101 */
    rig_send(upstream, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\n"
                       "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhi");
    rig_expect_head(client, head);
    assert_true(has(head, "101 Switching Protocols\r\n"));
    rig_read(client, bytes, 2);
    assert_string_equal(bytes, "hi");
    rig_read(upstream, bytes, 5);
    assert_string_equal(bytes, "early");
    rig_close(&rig, upstream);
    assert_int_equal(rig_read_to_end(client, head, sizeof head), 0);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_and_its_answer_pass),
        cmocka_unit_test(connections_are_kept_on_both_sides),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(a_chunked_body_passes_both_ways_byte_by_byte),
        cmocka_unit_test(a_close_delimited_answer_becomes_chunked),
        cmocka_unit_test(an_http_1_0_client_gets_a_length_or_the_end),
        cmocka_unit_test(answers_without_a_body_stay_without),
        cmocka_unit_test(interim_answers_pass_but_100),
        cmocka_unit_test(an_expectation_is_met_by_the_gateway),
        cmocka_unit_test(events_pass_as_they_come),
        cmocka_unit_test(a_slow_reader_stops_the_upstream),
        cmocka_unit_test(a_large_upload_arrives_whole),
        cmocka_unit_test(a_websocket_is_tunnelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
