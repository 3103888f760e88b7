/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that stop, stall, leave or die at the worst moment: nothing may hang, leak or be counted
 * twice, and no answer may look complete that is not. */
#include "support/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET "GET /a HTTP/1.1\r\nHost: site\r\n\r\n"
#define GET_LAST "GET /a HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n"
#define OK0 "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define UPGRADE                                                                                    \
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"               \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
#define SWITCH                                                                                     \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"            \
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

static char scratch[1 << 20];

/* Everything has ended, each request once. */
static void expect_rest(const struct rig *rig, uint64_t requests)
{
    rig_expect_stat(rig, MG_STAT_REQUESTS_ACTIVE, 0);
    rig_expect_stat(rig, MG_STAT_CONNECTIONS, 0);
    rig_expect_stat(rig, MG_STAT_CONNECTIONS_IDLE, 0);
    rig_expect_stat(rig, MG_STAT_UPSTREAM_CONNECTIONS, 0);
    rig_expect_stat(rig, MG_STAT_REQUESTS, requests);
    uint64_t ended = 0;
    for (int i = 0; i < MG_STATS_OUTCOMES; i++) {
        ended += rig->stats->outcome[i];
    }
    assert_int_equal(ended, requests);
}

static void connections_are_counted_where_they_are(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_expect_stat(&rig, MG_STAT_CONNECTIONS_IDLE, 1);
    rig_send(client, GET);
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    rig_expect_stat(&rig, MG_STAT_UPSTREAM_CONNECTIONS, 1);
    assert_int_equal(rig.stats->value[MG_STAT_UPSTREAM_IDLE], 0);
    assert_int_equal(rig.stats->value[MG_STAT_CONNECTIONS_IDLE], 0);
    rig_send(upstream, OK0);
    rig_expect_head(client, head);
    rig_expect_stat(&rig, MG_STAT_UPSTREAM_IDLE, 1);
    rig_expect_stat(&rig, MG_STAT_CONNECTIONS_IDLE, 1);
    assert_int_equal(rig.stats->value[MG_STAT_UPSTREAM_CONNECTIONS], 1);
    rig_close(&rig, upstream);
    rig_expect_stat(&rig, MG_STAT_UPSTREAM_IDLE, 0);
    rig_close(&rig, client);
    expect_rest(&rig, 1);
    rig_stop(&rig);
}

/* --- cuts --- */

/* The upstream sends the first `cut` bytes of its answer and dies. What the client gets is a 502,
 * a broken connection, or all of it. */
static void cut_answer(struct rig *rig, const char *answer, size_t cut)
{
    char head[4096];
    const size_t length = strlen(answer);
    const size_t head_length = (size_t)(strstr(answer, "\r\n\r\n") - answer) + 4;
    const int client = rig_client(rig);
    rig_send(client, GET_LAST);
    const int upstream = rig_accept(rig);
    rig_expect_head(upstream, head);
    rig_send_bytes(upstream, answer, cut);
    rig_close(rig, upstream);
    const ssize_t got = rig_read_to_end(client, scratch, sizeof scratch);
    if (cut < head_length) {
        assert_true(got > 0);
        assert_memory_equal(scratch, "HTTP/1.1 502", 12);
        assert_non_null(strstr(scratch, "\"request_id\""));
    } else if (cut < length) {
        assert_int_equal(got, -1);
    } else {
        assert_true(got > 0);
        assert_memory_equal(scratch, "HTTP/1.1 200", 12);
    }
    rig_close(rig, client);
}

static void an_upstream_may_die_at_any_byte(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\nabcd\r\n2\r\nef\r\n"
        "0\r\nX-T: 1\r\n\r\n",
    };
    for (size_t i = 0; i < 2; i++) {
        struct rig rig;
        rig_start(&rig, NULL);
        const size_t length = strlen(answers[i]);
        for (size_t cut = 0; cut <= length; cut++) {
            cut_answer(&rig, answers[i], cut);
        }
        expect_rest(&rig, length + 1);
        rig_stop(&rig);
    }
}

/* The client sends the first `cut` bytes of its request and leaves, gently or not. */
static void cut_request(struct rig *rig, const char *request, size_t cut, int reset)
{
    const int client = rig_client(rig);
    rig_send_bytes(client, request, cut);
    if (reset) {
        rig_reset(rig, client);
    } else {
        rig_close(rig, client);
    }
}

static void a_client_may_die_at_any_byte(void **state)
{
    (void)state;
    static const char request[] =
        "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n";
    for (int reset = 0; reset < 2; reset++) {
        struct rig rig;
        rig_start(&rig, NULL);
        for (size_t cut = 0; cut < sizeof request; cut++) {
            cut_request(&rig, request, cut, reset);
            rig_expect_stat(&rig, MG_STAT_ACCEPTED, cut + 1);
            rig_expect_stat(&rig, MG_STAT_CONNECTIONS, 0);
            while (rig_connects_within(&rig, 0)) {
                const int upstream = rig_accept(&rig);
                rig_read_to_end(upstream, scratch, sizeof scratch); /* it is not kept */
                rig_close(&rig, upstream);
            }
        }
        expect_rest(&rig, rig.stats->value[MG_STAT_REQUESTS]);
        rig_stop(&rig);
    }
}

/* --- time --- */

static void short_read_timeout(struct mg_config *config)
{
    config->services[0].read_timeout = 150;
}

static void a_slow_answer_is_not_asked_for_twice(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, short_read_timeout);
    const int client = rig_client(&rig);
    rig_send(client, GET);
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    rig_send(upstream, OK0);
    rig_expect_head(client, head);
    rig_send(client, GET); /* on the kept connection, and no answer */
    rig_expect_head(upstream, head);
    rig_expect_head(client, head);
    assert_memory_equal(head, "HTTP/1.1 504", 12);
    assert_false(rig_connects_within(&rig, 0));
    rig_stop(&rig);
}

/* The answer begins before the request is complete, then stops. */
static void an_early_answer_may_not_stall(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, short_read_timeout);
    const int client = rig_client(&rig);
    rig_send(client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    rig_send(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
    rig_expect_head(client, head);
    rig_send(client, "cd");
    assert_int_equal(rig_read_to_end(client, scratch, sizeof scratch), -1);
    rig_close(&rig, client);
    expect_rest(&rig, 1);
    rig_stop(&rig);
}

static void send_until_full(int fd)
{
    while (send(fd, scratch, sizeof scratch, MSG_DONTWAIT) > 0) {
    }
}

/* A tunnel has a timeout of its own; that of reading an answer is not meant. */
static void a_quiet_tunnel_stays_open_after_a_backlog(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, short_read_timeout);
    const int client = rig_client(&rig);
    rig_send(client, UPGRADE);
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    rig_send(upstream, SWITCH);
    rig_expect_head(client, head);
    memset(scratch, 'x', sizeof scratch);
    for (int i = 0; i < 20; i++) {
        send_until_full(client);
        usleep(5000); /* lets the gateway take some; the backlog need not be exact */
    }
    while (!rig_is_silent(upstream, 100)) {
        assert_true(read(upstream, scratch, sizeof scratch) > 0);
    }
    assert_true(rig_is_silent(client, 400));
    rig_send(upstream, "!");
    rig_read(client, head, 1);
    assert_int_equal(head[0], '!');
    rig_stop(&rig);
}

/* --- leaving --- */

/* So many bytes are ahead of their turn that the client is not read any more. */
static void a_client_that_is_not_read_is_missed_when_it_goes(void **state)
{
    (void)state;
    struct rig rig;
    char head[4096];
    rig_start(&rig, NULL);
    const int client = rig_client(&rig);
    rig_send(client, GET);
    const int upstream = rig_accept(&rig);
    rig_expect_head(upstream, head);
    memset(scratch, 'x', sizeof scratch);
    rig_send_bytes(client, scratch, 200000);
    rig_send(upstream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    rig_expect_head(client, head);
    rig_reset(&rig, client);
    for (int i = 0; i < RIG_TIMEOUT_S * 100 && rig.stats->value[MG_STAT_REQUESTS_ACTIVE]; i++) {
        (void)send(upstream, "1\r\na\r\n", 6, MSG_DONTWAIT | MSG_NOSIGNAL); /* without end */
        usleep(10000);
    }
    expect_rest(&rig, 1);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_counted_where_they_are),
        cmocka_unit_test(an_upstream_may_die_at_any_byte),
        cmocka_unit_test(a_client_may_die_at_any_byte),
        cmocka_unit_test(a_slow_answer_is_not_asked_for_twice),
        cmocka_unit_test(an_early_answer_may_not_stall),
        cmocka_unit_test(a_quiet_tunnel_stays_open_after_a_backlog),
        cmocka_unit_test(a_client_that_is_not_read_is_missed_when_it_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
