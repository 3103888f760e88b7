/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong between client, gateway and upstream, and what the client is told. */
#include "support/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET "GET /a HTTP/1.1\r\nHost: site\r\n\r\n"
#define OK0 "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static int has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* Sends a request that must be refused: status, connection closed, nothing upstream. */
static void refused(const char *request, const char *status)
{
    struct rig rig;
    static char answer[65536];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, request);
    assert_true(rig_read_to_end(client, answer, sizeof answer) > 0);
    if (strncmp(answer + 9, status, 3) != 0) {
        print_error("for %.60s\n", request);
    }
    assert_int_equal(strncmp(answer + 9, status, 3), 0);
    assert_true(has(answer, "Connection: close\r\n"));
    assert_true(has(answer, "application/problem+json"));
    assert_true(has(answer, "\"request_id\""));
    assert_false(rig_connects_within(&rig, 20));
    rig_stop(&rig);
}

static void malformed_requests_are_refused(void **state)
{
    (void)state;
    refused("GET / HTTP/1.1\r\n\r\n", "400");
    refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400");
    refused("GET / HTTP/1.1\nHost: a\n\n", "400");
    refused("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400");
    refused("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "400");
    refused("GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", "400");
    refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505");
    refused("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "501");
    refused("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "501");
    refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400");
    refused("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "501");
    refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", "413");
    refused("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", "417");
}

static void heads_over_the_limits_are_refused(void **state)
{
    (void)state;
    static char request[65536];
    memset(request, 'a', sizeof request);
    memcpy(request, "GET /", 5);
    memcpy(request + 8200, " HTTP/1.1\r\nHost: a\r\n\r\n", 23);
    refused(request, "414");
    size_t length = (size_t)snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 100; i++) {
        length += (size_t)snprintf(request + length, sizeof request - length, "X-%d: 1\r\n", i);
    }
    snprintf(request + length, sizeof request - length, "\r\n");
    refused(request, "431");
}

/* A status line and problem+json from a gateway whose upstream does what `act` says. */
static void answered(void (*act)(struct rig *rig), const char *request, const char *status)
{
    struct rig rig;
    char head[4096];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, request);
    act(&rig);
    rig_expect_head(client, head);
    assert_int_equal(strncmp(head + 9, status, 3), 0);
    rig_stop(&rig);
}

static void act_close(struct rig *rig)
{
    char head[4096];
    const int upstream = rig_accept(rig);
    rig_expect_head(upstream, head);
    rig_close(rig, upstream);
}

static void act_garbage(struct rig *rig)
{
    char head[4096];
    const int upstream = rig_accept(rig);
    rig_expect_head(upstream, head);
    rig_send(upstream, "SSH-2.0-OpenSSH_9.2\r\n\r\n");
}

static void act_bad_status(struct rig *rig)
{
    char head[4096];
    const int upstream = rig_accept(rig);
    rig_expect_head(upstream, head);
    rig_send(upstream, "HTTP/1.1 700 What\r\nContent-Length: 0\r\n\r\n");
}

static void act_unasked_switch(struct rig *rig)
{
    char head[4096];
    const int upstream = rig_accept(rig);
    rig_expect_head(upstream, head);
    rig_send(upstream, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
}

static void act_many_interims(struct rig *rig)
{
    char head[4096];
    const int upstream = rig_accept(rig);
    rig_expect_head(upstream, head);
    for (int i = 0; i < 9; i++) {
        rig_send(upstream, "HTTP/1.1 100 Continue\r\n\r\n");
    }
}

static void broken_upstreams_give_502(void **state)
{
    (void)state;
    answered(act_close, GET, "502");
    answered(act_garbage, GET, "502");
    answered(act_bad_status, GET, "502");
    answered(act_unasked_switch, GET, "502");
    answered(act_many_interims, GET, "502");
}

static void dead_upstream(struct mg_config *config)
{
    config->services[0].port = 1; /* nothing listens there */
}

static void unknown_upstream(struct mg_config *config)
{
    config->services[0].host = MG_STR("no-such-host.invalid");
}

static void short_timeouts(struct mg_config *config)
{
    config->services[0].read_timeout = 100;
    config->gateway.limits.header_timeout = 100;
    config->gateway.limits.body_timeout = 100;
    config->gateway.limits.keepalive_timeout = 150;
}

static void an_upstream_that_is_not_there_gives_502(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, dead_upstream);
    const int client = rig_client(&rig);
    rig_send(client, GET);
    rig_expect_head(client, head);
    assert_int_equal(strncmp(head + 9, "502", 3), 0);
    rig_stop(&rig);
    rig_start(&rig, unknown_upstream);
    const int other = rig_client(&rig);
    rig_send(other, GET);
    rig_expect_head(other, head);
    assert_int_equal(strncmp(head + 9, "502", 3), 0);
    rig_stop(&rig);
}

static void a_silent_upstream_gives_504(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, short_timeouts);
    const int client = rig_client(&rig);
    rig_send(client, GET);
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    rig_expect_head(client, head);
    assert_int_equal(strncmp(head + 9, "504", 3), 0);
    assert_int_equal(rig_read_to_end(upstream, head, sizeof head), 0);
    rig_stop(&rig);
}

static void slow_heads_and_bodies_give_408(void **state)
{
    (void)state;
    struct rig rig;
    static char answer[8192];
    rig_start(&rig, short_timeouts);
    int client = rig_client(&rig);
    rig_send(client, "GET / HT");
    assert_true(rig_read_to_end(client, answer, sizeof answer) > 0);
    assert_int_equal(strncmp(answer + 9, "408", 3), 0);
    client = rig_client(&rig);
    rig_send(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    assert_true(rig_read_to_end(client, answer, sizeof answer) > 0);
    assert_int_equal(strncmp(answer + 9, "408", 3), 0);
    client = rig_client(&rig); /* an idle connection is closed without a byte */
    assert_int_equal(rig_read_to_end(client, answer, sizeof answer), 0);
    rig_stop(&rig);
}

static void a_stale_connection_does_not_fail_a_request(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, GET);
    const int first = rig_accept(&rig);
    rig_expect_head(first, head);
    rig_send(first, OK0);
    rig_expect_head(client, head);
    rig_send(client, GET); /* the upstream dies at the moment of reuse */
    rig_expect_head(first, head);
    rig_close(&rig, first);
    const int second = rig_accept(&rig);
    rig_expect_head(second, head);
    rig_send(second, OK0);
    rig_expect_head(client, head);
    assert_int_equal(strncmp(head + 9, "200", 3), 0);
    rig_stop(&rig);
}

static void a_post_is_never_sent_twice(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, GET);
    const int first = rig_accept(&rig);
    rig_expect_head(first, head);
    rig_send(first, OK0);
    rig_expect_head(client, head);
    rig_send(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    rig_expect_head(first, head);
    rig_close(&rig, first);
    rig_expect_head(client, head);
    assert_int_equal(strncmp(head + 9, "502", 3), 0);
    assert_false(rig_connects_within(&rig, 50));
    rig_stop(&rig);
}

static void a_body_cut_by_the_upstream_is_cut_for_the_client(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, GET);
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    rig_send(upstream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    rig_expect_head(client, head);
    rig_read_until(client, head, sizeof head, "hello\r\n");
    rig_close(&rig, upstream);
    assert_int_equal(rig_read_to_end(client, head, sizeof head), -1); /* reset, not a clean end */
    rig_stop(&rig);
}

static void a_client_that_leaves_cancels_the_upstream(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, GET);
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    rig_close(&rig, client);
    assert_int_equal(rig_read_to_end(upstream, head, sizeof head), 0);
    rig_stop(&rig);
}

static void an_early_answer_ends_an_upload(void **state)
{
    (void)state;
    struct rig rig;
    static char answer[8192];
    char head[4096];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nsome");
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    rig_send(upstream, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    assert_true(rig_read_to_end(client, answer, sizeof answer) > 0);
    assert_int_equal(strncmp(answer + 9, "403", 3), 0);
    assert_true(has(answer, "Connection: close\r\n"));
    rig_send(client, GET); /* what follows a broken-off body is never parsed */
    assert_false(rig_connects_within(&rig, 50));
    rig_stop(&rig);
}

static void bytes_after_an_answer_spoil_the_connection(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, GET);
    const int first = rig_accept(&rig);
    rig_expect_head(first, head);
    rig_send(first, OK0 "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    rig_read_until(client, head, sizeof head, "server\"}");
    assert_int_equal(strncmp(head + 9, "502", 3), 0);
    rig_send(client, GET);
    const int second = rig_accept(&rig); /* not the first one */
    rig_expect_head(second, head);
    rig_send(second, OK0);
    rig_expect_head(client, head);
    assert_true(rig_is_silent(client, 50));
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_requests_are_refused),
        cmocka_unit_test(heads_over_the_limits_are_refused),
        cmocka_unit_test(broken_upstreams_give_502),
        cmocka_unit_test(an_upstream_that_is_not_there_gives_502),
        cmocka_unit_test(a_silent_upstream_gives_504),
        cmocka_unit_test(slow_heads_and_bodies_give_408),
        cmocka_unit_test(a_stale_connection_does_not_fail_a_request),
        cmocka_unit_test(a_post_is_never_sent_twice),
        cmocka_unit_test(a_body_cut_by_the_upstream_is_cut_for_the_client),
        cmocka_unit_test(a_client_that_leaves_cancels_the_upstream),
        cmocka_unit_test(an_early_answer_ends_an_upload),
        cmocka_unit_test(bytes_after_an_answer_spoil_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
