/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin's request to another service, against a peer that does what the test says. */
#include "support/sockets.h"

#include "net/http_call.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include <sys/socket.h>

struct fixture {
    struct mg_loop loop;
    struct mg_dns *dns;
    struct mg_pool *pool;
    struct mg_http_call *call;
    int listener, peer; /* peer: the accepted connection, -1 = none */
    uint16_t port;
    char got[8192]; /* what the peer has read of this request */
    size_t len;
    bool done;
    int status;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const struct mg_dns_options options = {.timeout_ms = 1000, .tries = 1};
    assert_int_equal(mg_loop_open_virtual(&f->loop, 1700000000000), 0);
    assert_int_equal(mg_dns_open(&f->dns, &f->loop, &options), 0);
    assert_int_equal(mg_pool_open(&f->pool, &f->loop, f->dns), 0);
    f->listener = sockets_listen(&f->port);
    f->peer = -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    mg_http_call_free(f->call);
    mg_pool_close(f->pool);
    mg_dns_close(f->dns);
    mg_loop_close(&f->loop);
    close(f->listener);
    if (f->peer >= 0) {
        close(f->peer);
    }
    free(f);
    return 0;
}

static void on_done(void *context, int status)
{
    struct fixture *f = context;
    assert_false(f->done);
    f->done = true;
    f->status = status;
}

static struct mg_http_ask plain_ask(const struct fixture *f)
{
    return (struct mg_http_ask){.host = MG_STR("127.0.0.1"),
                                .port = f->port,
                                .method = MG_STR("GET"),
                                .path = MG_STR("/a?b"),
                                .host_field = MG_STR("up.test"),
                                .timeout_ms = 5000,
                                .keepalive_ms = 60000};
}

static void start(struct fixture *f, const struct mg_http_ask *ask)
{
    mg_http_call_free(f->call);
    f->call = mg_http_call_new(&f->loop, f->pool, NULL);
    f->done = false;
    f->len = 0;
    assert_int_equal(mg_http_call_start(f->call, ask, on_done, f), 0);
    assert_false(f->done);
}

static bool is_readable(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, 0) > 0;
}

/* A whole head has come to the peer. */
static bool peer_has_request(void *context)
{
    struct fixture *f = context;
    if (is_readable(f->listener)) {
        if (f->peer >= 0) {
            close(f->peer);
        }
        f->peer = accept(f->listener, NULL, NULL);
        f->len = 0;
    }
    if (f->peer >= 0 && is_readable(f->peer)) {
        const ssize_t n = read(f->peer, f->got + f->len, sizeof f->got - 1 - f->len);
        f->len += n > 0 ? (size_t)n : 0;
    }
    f->got[f->len] = '\0';
    return strstr(f->got, "\r\n\r\n") != NULL;
}

static void peer_says(const struct fixture *f, const char *text)
{
    assert_int_equal(write(f->peer, text, strlen(text)), strlen(text));
}

/* One request and its answer; returns the status. */
static int exchange(struct fixture *f, const struct mg_http_ask *ask, const char *answer)
{
    start(f, ask);
    sockets_run_until(&f->loop, peer_has_request, f);
    peer_says(f, answer);
    sockets_run_until_set(&f->loop, &f->done);
    return f->status;
}

static void expect_body(const struct fixture *f, const char *wanted)
{
    const mg_str body = mg_buf_view(&f->call->body);
    assert_int_equal(body.len, strlen(wanted));
    assert_memory_equal(body.len ? body.ptr : "", wanted, strlen(wanted));
}

static void a_request_is_sent_and_its_answer_kept(void **state)
{
    struct fixture *f = *state;
    const struct mg_http_ask ask = plain_ask(f);
    assert_int_equal(exchange(f, &ask, "HTTP/1.1 201 x\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok"),
                     0);
    assert_non_null(strstr(f->got, "GET /a?b HTTP/1.1\r\n"));
    assert_non_null(strstr(f->got, "Host: up.test\r\n"));
    assert_null(strstr(f->got, "ontent-"));
    assert_int_equal(f->call->head.status, 201);
    expect_body(f, "ok");
    const struct mg_header *field = mg_headers_find(&f->call->head.headers, MG_STR("x-a"), 0);
    assert_non_null(field);
    assert_memory_equal(field->value.ptr, "1", 1);
}

static void a_body_goes_out_with_its_length(void **state)
{
    struct fixture *f = *state;
    struct mg_http_ask ask = plain_ask(f);
    ask.method = MG_STR("POST");
    ask.body = MG_STR("{}");
    assert_int_equal(exchange(f, &ask, "HTTP/1.1 204 x\r\n\r\n"), 0);
    assert_non_null(strstr(f->got, "ontent-Length: 2\r\n"));
    assert_non_null(strstr(f->got, "\r\n\r\n{}"));
    expect_body(f, "");
}

static void chunks_are_decoded_in_any_split(void **state)
{
    struct fixture *f = *state;
    const struct mg_http_ask ask = plain_ask(f);
    const char *answer = "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n";
    start(f, &ask);
    sockets_run_until(&f->loop, peer_has_request, f);
    for (const char *byte = answer; *byte; byte++) {
        assert_int_equal(write(f->peer, byte, 1), 1);
        while (mg_loop_turn(&f->loop)) {
        }
    }
    sockets_run_until_set(&f->loop, &f->done);
    assert_int_equal(f->status, 0);
    expect_body(f, "abcde");
}

static void a_body_may_end_with_the_connection(void **state)
{
    struct fixture *f = *state;
    const struct mg_http_ask ask = plain_ask(f);
    start(f, &ask);
    sockets_run_until(&f->loop, peer_has_request, f);
    peer_says(f, "HTTP/1.1 200 x\r\n\r\nto the end");
    close(f->peer);
    f->peer = -1;
    sockets_run_until_set(&f->loop, &f->done);
    assert_int_equal(f->status, 0);
    expect_body(f, "to the end");
}

static void interim_answers_are_skipped(void **state)
{
    struct fixture *f = *state;
    const struct mg_http_ask ask = plain_ask(f);
    assert_int_equal(exchange(f, &ask,
                              "HTTP/1.1 100 x\r\n\r\nHTTP/1.1 103 x\r\nLink: a\r\n\r\n"
                              "HTTP/1.1 200 x\r\nContent-Length: 1\r\n\r\nz"),
                     0);
    assert_int_equal(f->call->head.status, 200);
    expect_body(f, "z");
}

static void a_kept_connection_is_used_again(void **state)
{
    struct fixture *f = *state;
    const struct mg_http_ask ask = plain_ask(f);
    const char *answer = "HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n";
    assert_int_equal(exchange(f, &ask, answer), 0);
    const int first = f->peer;
    assert_int_equal(exchange(f, &ask, answer), 0);
    assert_int_equal(f->peer, first);
    assert_false(is_readable(f->listener));
}

static void without_keepalive_the_connection_is_closed(void **state)
{
    struct fixture *f = *state;
    struct mg_http_ask ask = plain_ask(f);
    ask.keepalive_ms = 0;
    assert_int_equal(exchange(f, &ask, "HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n"), 0);
    assert_non_null(strstr(f->got, "onnection: close\r\n"));
    sockets_wait_readable(f->peer);
    char byte;
    assert_int_equal(read(f->peer, &byte, 1), 0);
}

/* The peer closes an idle connection; the close arrives together with the next request. */
static void a_stale_connection_is_replaced_once(void **state)
{
    struct fixture *f = *state;
    const struct mg_http_ask ask = plain_ask(f);
    const char *answer = "HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n";
    assert_int_equal(exchange(f, &ask, answer), 0);
    const struct linger reset = {.l_onoff = 1};
    setsockopt(f->peer, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    start(f, &ask);
    close(f->peer);
    f->peer = -1;
    sockets_run_until(&f->loop, peer_has_request, f);
    peer_says(f, answer);
    sockets_run_until_set(&f->loop, &f->done);
    assert_int_equal(f->status, 0);
}

static void a_post_never_takes_an_idle_connection(void **state)
{
    struct fixture *f = *state;
    struct mg_http_ask ask = plain_ask(f);
    const char *answer = "HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n";
    assert_int_equal(exchange(f, &ask, answer), 0);
    ask.method = MG_STR("POST");
    start(f, &ask);
    sockets_run_until(&f->loop, peer_has_request, f);
    assert_non_null(strstr(f->got, "POST "));
    close(f->peer);
    f->peer = -1;
    sockets_run_until_set(&f->loop, &f->done);
    assert_true(f->status < 0);
}

static void silence_ends_at_the_deadline(void **state)
{
    struct fixture *f = *state;
    const struct mg_http_ask ask = plain_ask(f);
    start(f, &ask);
    sockets_run_until(&f->loop, peer_has_request, f);
    mg_clock_advance(&f->loop.clock, 4999 * 1000);
    while (mg_loop_turn(&f->loop)) {
    }
    assert_false(f->done);
    mg_clock_advance(&f->loop.clock, 1000);
    sockets_run_until_set(&f->loop, &f->done);
    assert_int_equal(f->status, MG_ETIMEOUT);
}

static void nobody_listening_is_refused(void **state)
{
    struct fixture *f = *state;
    const struct mg_http_ask ask = plain_ask(f);
    close(f->listener);
    f->listener = dup(0);
    start(f, &ask);
    sockets_run_until_set(&f->loop, &f->done);
    assert_int_equal(f->status, UV_ECONNREFUSED);
}

static void a_bad_answer_is_refused(void **state)
{
    struct fixture *f = *state;
    const struct mg_http_ask ask = plain_ask(f);
    const char *answers[] = {
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 101 x\r\nUpgrade: y\r\n\r\n",
        "HTTP/1.1 200 x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        assert_int_equal(exchange(f, &ask, answers[i]), MG_EBAD_RESPONSE);
    }
}

static void a_short_body_is_an_error(void **state)
{
    struct fixture *f = *state;
    const struct mg_http_ask ask = plain_ask(f);
    start(f, &ask);
    sockets_run_until(&f->loop, peer_has_request, f);
    peer_says(f, "HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\nabc");
    close(f->peer);
    f->peer = -1;
    sockets_run_until_set(&f->loop, &f->done);
    assert_int_equal(f->status, MG_ECLOSED);
}

static void an_answer_over_the_cap_is_refused(void **state)
{
    struct fixture *f = *state;
    const struct mg_http_ask ask = plain_ask(f);
    struct mg_http_limits limits = {.head = {.request_line = 100,
                                             .header_bytes = 1000,
                                             .header_line = 100,
                                             .header_name = 50,
                                             .header_count = 10},
                                    .body = 4};
    for (int over = 0; over < 2; over++) {
        mg_http_call_free(f->call);
        f->call = mg_http_call_new(&f->loop, f->pool, &limits);
        f->done = false;
        f->len = 0;
        assert_int_equal(mg_http_call_start(f->call, &ask, on_done, f), 0);
        sockets_run_until(&f->loop, peer_has_request, f);
        peer_says(f, over ? "HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\nabcde"
                          : "HTTP/1.1 200 x\r\nContent-Length: 4\r\n\r\nabcd");
        sockets_run_until_set(&f->loop, &f->done);
        assert_int_equal(f->status, over ? MG_ERESPONSE_TOO_LARGE : 0);
    }
}

static void what_cannot_stand_in_a_head_is_not_sent(void **state)
{
    struct fixture *f = *state;
    struct mg_http_ask ask = plain_ask(f);
    const mg_str paths[] = {MG_STR(""), MG_STR("a"), MG_STR("/a b"), MG_STR("/\r\nX: y"),
                            MG_STR("/#f")};
    f->call = mg_http_call_new(&f->loop, f->pool, NULL);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        ask.path = paths[i];
        assert_int_equal(mg_http_call_start(f->call, &ask, on_done, f), MG_EINVALID);
    }
    ask = plain_ask(f);
    ask.method = MG_STR("GET /x");
    assert_int_equal(mg_http_call_start(f->call, &ask, on_done, f), MG_EINVALID);
    ask = plain_ask(f);
    ask.host_field = MG_STR("a\r\nX: y");
    assert_int_equal(mg_http_call_start(f->call, &ask, on_done, f), MG_EINVALID);
    assert_false(f->done);
}

static void a_cancelled_call_stays_silent(void **state)
{
    struct fixture *f = *state;
    const struct mg_http_ask ask = plain_ask(f);
    start(f, &ask); /* dialling */
    mg_http_call_cancel(f->call);
    while (mg_loop_turn(&f->loop)) {
    }
    start(f, &ask); /* waiting for the answer */
    sockets_run_until(&f->loop, peer_has_request, f);
    mg_http_call_cancel(f->call);
    mg_http_call_cancel(f->call);
    while (mg_loop_turn(&f->loop)) {
    }
    assert_false(f->done);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_sent_and_its_answer_kept),
        TEST(a_body_goes_out_with_its_length),
        TEST(chunks_are_decoded_in_any_split),
        TEST(a_body_may_end_with_the_connection),
        TEST(interim_answers_are_skipped),
        TEST(a_kept_connection_is_used_again),
        TEST(without_keepalive_the_connection_is_closed),
        TEST(a_stale_connection_is_replaced_once),
        TEST(a_post_never_takes_an_idle_connection),
        TEST(silence_ends_at_the_deadline),
        TEST(nobody_listening_is_refused),
        TEST(a_bad_answer_is_refused),
        TEST(a_short_body_is_an_error),
        TEST(an_answer_over_the_cap_is_refused),
        TEST(what_cannot_stand_in_a_head_is_not_sent),
        TEST(a_cancelled_call_stays_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
