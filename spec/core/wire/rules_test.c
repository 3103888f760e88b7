/* SPDX-License-Identifier: Apache-2.0 */
/* wire/rules: what heads are refused, and what the others mean. Names carry docs/threat-model.md's
 * rules. */
#include "wire/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct judged {
    struct mg_arena arena;
    struct mg_request_head request;
    struct mg_response_head response;
    struct mg_host host;
    int err;
};

static struct judged judge_with(mg_str head, struct mg_rules_host_memo *memo)
{
    struct judged judged = {.err = 0};
    const struct mg_uri_rules strict = {0};
    struct mg_uri uri;
    mg_arena_init(&judged.arena, 4096);
    const mg_str copy = mg_arena_copy_str(&judged.arena, head);
    judged.err = mg_http1_parse_request(&judged.arena, copy, &judged.request);
    if (!judged.err) {
        judged.err = mg_uri_parse_target(&judged.arena, judged.request.target,
                                         judged.request.method_id, &strict, &uri);
    }
    if (!judged.err) {
        judged.err = memo ? mg_rules_check_request_with(&judged.request, &uri, memo, &judged.host)
                          : mg_rules_check_request(&judged.request, &uri, &judged.host);
    }
    return judged;
}

static struct judged judge(mg_str head)
{
    return judge_with(head, NULL);
}

static void check(mg_str head, int expected, int line)
{
    struct judged judged = judge(head);
    mg_arena_deinit(&judged.arena);
    if (judged.err != expected) {
        print_error("line %d: %s instead of %s\n", line, mg_err_text(judged.err),
                    mg_err_text(expected));
        fail();
    }
}

/* A head of the given start line and fields, on 1.1 with a Host. */
#define FIELDS(fields, err)                                                                        \
    check(MG_STR("POST /a HTTP/1.1\r\nHost: h\r\n" fields "\r\n"), err, __LINE__)
#define HEAD(text, err) check(MG_STR(text "\r\n"), err, __LINE__)

static struct judged judge_answer(mg_str head, enum mg_method asked)
{
    struct judged judged = {.err = 0};
    mg_arena_init(&judged.arena, 4096);
    const mg_str copy = mg_arena_copy_str(&judged.arena, head);
    judged.err = mg_http1_parse_response(&judged.arena, copy, &judged.response);
    if (!judged.err) {
        judged.err = mg_rules_check_response(&judged.response, asked);
    }
    return judged;
}

static void check_answer(mg_str head, enum mg_method asked, int expected, int line)
{
    struct judged judged = judge_answer(head, asked);
    mg_arena_deinit(&judged.arena);
    if (judged.err != expected) {
        print_error("line %d: %s instead of %s\n", line, mg_err_text(judged.err),
                    mg_err_text(expected));
        fail();
    }
}

#define ANSWER(text, err) check_answer(MG_STR(text "\r\n"), MG_METHOD_GET, err, __LINE__)

static void assert_str(mg_str actual, const char *expected)
{
    if (!mg_str_equal(actual, mg_str_from(expected))) {
        print_error("'%.*s' instead of '%s'\n", MG_STR_ARG(actual), expected);
        fail();
    }
}

/* --- requests --- */

static void m11_one_good_host_is_needed(void **state)
{
    (void)state;
    HEAD("GET / HTTP/1.1\r\n", MG_EHOST);
    HEAD("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n", MG_EHOST);
    HEAD("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n", MG_EHOST);
    HEAD("GET / HTTP/1.1\r\nHost:\r\n", MG_EHOST);
    HEAD("GET / HTTP/1.1\r\nHost: a,b\r\n", MG_EHOST);
    HEAD("GET / HTTP/1.1\r\nHost: u@a\r\n", MG_EHOST);
    HEAD("GET / HTTP/1.1\r\nHost: a b\r\n", MG_EHOST);
    HEAD("GET / HTTP/1.1\r\nHost: a/b\r\n", MG_EHOST);
    HEAD("GET / HTTP/1.1\r\nHost: a:65536\r\n", MG_EHOST);
    HEAD("GET / HTTP/1.0\r\nHost: a:65536\r\n", MG_EHOST);
    HEAD("GET / HTTP/1.1\r\nHost: a:65535\r\n", 0);
    HEAD("GET / HTTP/1.0\r\n", 0);
    struct judged judged = judge(MG_STR("GET / HTTP/1.1\r\nHost: EXAMPLE.com.:81\r\n\r\n"));
    assert_int_equal(judged.err, 0);
    assert_str(judged.host.name, "example.com");
    assert_int_equal(judged.host.port, 81);
    mg_arena_deinit(&judged.arena);
}

static void an_absolute_target_agrees_with_host(void **state)
{
    (void)state;
    HEAD("GET http://a/ HTTP/1.1\r\nHost: a\r\n", 0);
    HEAD("GET http://A:80/ HTTP/1.1\r\nHost: a\r\n", 0);
    HEAD("GET http://a/ HTTP/1.1\r\nHost: a.:80\r\n", 0);
    HEAD("GET https://a/ HTTP/1.1\r\nHost: a:443\r\n", 0);
    HEAD("GET https://a/ HTTP/1.1\r\nHost: a:80\r\n", MG_EHOST);
    HEAD("GET http://a/ HTTP/1.1\r\nHost: b\r\n", MG_EHOST);
    HEAD("GET http://a:81/ HTTP/1.1\r\nHost: a\r\n", MG_EHOST);
    HEAD("GET http://a,b/ HTTP/1.1\r\nHost: a\r\n", MG_EHOST);
    HEAD("GET http://a/ HTTP/1.1\r\n", MG_EHOST);
    struct judged judged = judge(MG_STR("GET http://Ab:8/ HTTP/1.0\r\n\r\n"));
    assert_int_equal(judged.err, 0);
    assert_str(judged.host.name, "ab");
    assert_int_equal(judged.host.port, 8);
    mg_arena_deinit(&judged.arena);
}

/* The Host field of a judged request, and what was understood. */
static void check_host(mg_str head, const char *field, int port)
{
    struct judged judged = judge(head);
    assert_int_equal(judged.err, 0);
    const struct mg_header *host = mg_headers_known(&judged.request.headers, MG_HEADER_HOST);
    assert_non_null(host);
    assert_str(host->value, field);
    assert_int_equal(judged.host.port, port);
    mg_arena_deinit(&judged.arena);
}

static void the_host_field_gets_its_one_form(void **state)
{
    (void)state;
    check_host(MG_STR("GET / HTTP/1.1\r\nHost: a.b\r\n\r\n"), "a.b", -1);
    check_host(MG_STR("GET / HTTP/1.1\r\nHost: a.b:81\r\n\r\n"), "a.b:81", 81);
    check_host(MG_STR("GET / HTTP/1.1\r\nHost: A.b.\r\n\r\n"), "a.b", -1);
    check_host(MG_STR("GET / HTTP/1.1\r\nHost: a.b:\r\n\r\n"), "a.b", -1);
    check_host(MG_STR("GET / HTTP/1.1\r\nHost: a.b:80\r\n\r\n"), "a.b", -1);
    check_host(MG_STR("GET / HTTP/1.1\r\nHost: a.b.:0080\r\n\r\n"), "a.b", -1);
    check_host(MG_STR("GET / HTTP/1.1\r\nHost: a.b:0081\r\n\r\n"), "a.b:81", 81);
    check_host(MG_STR("GET / HTTP/1.1\r\nHost: a.b.:81\r\n\r\n"), "a.b:81", 81);
    check_host(MG_STR("GET / HTTP/1.1\r\nHost: [0:0::1]:80\r\n\r\n"), "[::1]", -1);
    check_host(MG_STR("GET / HTTP/1.1\r\nHost: [::1]:8\r\n\r\n"), "[::1]:8", 8);
    check_host(MG_STR("GET / HTTP/1.1\r\nHost: a:443\r\n\r\n"), "a:443", 443);
    check_host(MG_STR("GET http://Ab:8/ HTTP/1.0\r\n\r\n"), "ab:8", 8);
    check_host(MG_STR("GET http://a:80/ HTTP/1.1\r\nHost: A.\r\n\r\n"), "a", -1);
}

/* The head of a request with the fields, made without llhttp, which refuses some of it first. */
static int frame_by_hand(const char *const fields[][2], struct mg_request_head *head)
{
    struct mg_arena arena;
    struct mg_host host;
    const struct mg_uri uri = {.path = MG_STR("/")};
    mg_arena_init(&arena, 1024);
    *head = (struct mg_request_head){.minor = 1, .method_id = MG_METHOD_POST};
    mg_headers_init(&head->headers, &arena);
    mg_headers_add(&head->headers, MG_STR("Host"), MG_STR("h"));
    for (size_t i = 0; fields[i][0]; i++) {
        mg_headers_add(&head->headers, mg_str_from(fields[i][0]), mg_str_from(fields[i][1]));
    }
    const int err = mg_rules_check_request(head, &uri, &host);
    mg_arena_deinit(&arena);
    return err;
}

/* One Transfer-Encoding: the judgement of the rules, and that the whole refuses as well. */
static void check_coding(const char *value, int expected, int line)
{
    struct mg_request_head head;
    const char *const fields[][2] = {{"Transfer-Encoding", value}, {NULL, NULL}};
    const int err = frame_by_hand(fields, &head);
    char text[128];
    const int len = snprintf(text, sizeof text,
                             "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: %s\r\n\r\n", value);
    struct judged judged = judge(mg_str_make(text, (size_t)len));
    mg_arena_deinit(&judged.arena);
    /* llhttp refuses some of them itself, with the same status */
    if (err != expected || (judged.err != expected && judged.err != MG_ESYNTAX)) {
        print_error("line %d: %s and %s instead of %s\n", line, mg_err_text(err),
                    mg_err_text(judged.err), mg_err_text(expected));
        fail();
    }
}

#define CODING(value, err) check_coding(value, err, __LINE__)

static void assert_same_host(struct judged *a, struct judged *b)
{
    assert_int_equal(a->err, b->err);
    if (a->err == 0) {
        const struct mg_header *of_a = mg_headers_known(&a->request.headers, MG_HEADER_HOST);
        const struct mg_header *of_b = mg_headers_known(&b->request.headers, MG_HEADER_HOST);
        assert_int_equal(of_a == NULL, of_b == NULL);
        assert_true(!of_a || mg_str_equal(of_a->value, of_b->value));
        assert_true(mg_str_equal(a->host.name, b->host.name));
        assert_int_equal(a->host.port, b->host.port);
    }
    mg_arena_deinit(&a->arena);
    mg_arena_deinit(&b->arena);
}

static void a_host_that_was_seen_before_means_the_same(void **state)
{
    (void)state;
    static const char *const heads[] = {
        "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: A.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example.\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example:8000\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example:08000\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example,b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET http://a.example:8000/ HTTP/1.1\r\nHost: a.example:8000\r\n\r\n",
    };
    const size_t count = sizeof heads / sizeof heads[0];
    for (size_t i = 0; i < count * count; i++) {
        struct mg_rules_host_memo memo = {.bytes = 0};
        struct judged first = judge_with(mg_str_from(heads[i / count]), &memo);
        struct judged again = judge_with(mg_str_from(heads[i / count]), &memo);
        assert_same_host(&first, &again);
        struct judged other = judge_with(mg_str_from(heads[i % count]), &memo);
        struct judged alone = judge(mg_str_from(heads[i % count]));
        assert_same_host(&other, &alone);
    }
}

static void m12_transfer_encoding_is_one_line_of_chunked(void **state)
{
    (void)state;
    struct judged judged =
        judge(MG_STR("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked \r\n\r\n"));
    assert_int_equal(judged.err, 0);
    assert_int_equal(judged.request.framing, MG_FRAMING_CHUNKED);
    mg_arena_deinit(&judged.arena);
    CODING("", MG_EFRAMING);
    FIELDS("Transfer-Encoding:\r\nContent-Length: 5\r\n", MG_EFRAMING);
    CODING(",chunked", MG_EFRAMING);
    CODING("chunked,", MG_EFRAMING);
    CODING("chunked, chunked", MG_EFRAMING);
    CODING("identity", MG_EFRAMING);
    CODING("xchunked", MG_EFRAMING);
    CODING("\"chunked\"", MG_EFRAMING);
    CODING("chunked;q=1", MG_EFRAMING);
    CODING("gzip,,chunked", MG_EFRAMING);
    CODING("gzip, identity", MG_EFRAMING);
    check(MG_STR("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), MG_EFRAMING, __LINE__);
}

static void m12_other_real_codings_are_not_implemented(void **state)
{
    (void)state;
    FIELDS("Transfer-Encoding: gzip\r\n", MG_ECODING);
    FIELDS("Transfer-Encoding: gzip, chunked\r\n", MG_ECODING);
    CODING("gzip", MG_ECODING);
    CODING("gzip, chunked", MG_ECODING);
    CODING("Deflate , x-gzip, chunked", MG_ECODING);
    CODING("chunked, gzip", MG_EFRAMING);
}

static void assert_length(const char *value, bool good, uint64_t length)
{
    struct mg_request_head head;
    const char *const fields[][2] = {{"Content-Length", value}, {NULL, NULL}};
    const int err = frame_by_hand(fields, &head);
    assert_int_equal(err, good ? 0 : MG_EFRAMING);
    if (good) {
        assert_int_equal(head.framing, MG_FRAMING_LENGTH);
        assert_true(head.content_length == length);
    }
}

static void m13_content_length_is_one_line_of_up_to_19_digits(void **state)
{
    (void)state;
    assert_length("0", true, 0);
    assert_length("5", true, 5);
    assert_length("0000000000000000005", true, 5);
    assert_length("9999999999999999999", true, 9999999999999999999U);
    assert_length("00000000000000000005", false, 0);
    assert_length("", false, 0);
    assert_length("+5", false, 0);
    assert_length("-5", false, 0);
    assert_length("0x5", false, 0);
    assert_length("5 ", false, 0);
    assert_length("5,5", false, 0);
    assert_length("5a", false, 0);
    struct mg_request_head head;
    const char *const twice[][2] = {{"Content-Length", "5"}, {"content-length", "5"}, {NULL, NULL}};
    assert_int_equal(frame_by_hand(twice, &head), MG_EFRAMING);
    const char *const both[][2] = {
        {"Content-Length", "5"}, {"Transfer-Encoding", "chunked"}, {NULL, NULL}};
    assert_int_equal(frame_by_hand(both, &head), MG_EFRAMING);
    const char *const lines[][2] = {
        {"Transfer-Encoding", "chunked"}, {"Transfer-Encoding", "chunked"}, {NULL, NULL}};
    assert_int_equal(frame_by_hand(lines, &head), MG_EFRAMING);
    const char *const none[][2] = {{NULL, NULL}};
    assert_int_equal(frame_by_hand(none, &head), 0);
    assert_int_equal(head.framing, MG_FRAMING_NONE);
}

static void m14_single_valued_fields_stand_once(void **state)
{
    (void)state;
    static const char *const names[] = {"Authorization", "Content-Type", "Content-Range", "Range",
                                        "Max-Forwards"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct mg_request_head head;
        const char *const fields[][2] = {
            {names[i], "a"}, {"x", "y"}, {names[i], "a"}, {NULL, NULL}};
        assert_int_equal(frame_by_hand(fields, &head), MG_ESYNTAX);
        const char *const once[][2] = {{names[i], "a"}, {"x", "y"}, {"x", "y"}, {NULL, NULL}};
        assert_int_equal(frame_by_hand(once, &head), 0);
    }
    FIELDS("Cookie: a\r\nCookie: b\r\nAccept: c\r\nAccept: d\r\n", 0);
}

static void m18_only_100_continue_may_be_expected(void **state)
{
    (void)state;
    FIELDS("Expect: 100-continue\r\n", 0);
    FIELDS("Expect: 200-ok\r\n", MG_EEXPECT);
    FIELDS("Expect: 100-continue, x\r\n", MG_EEXPECT);
    FIELDS("Expect:\r\n", MG_EEXPECT);
    FIELDS("Expect: 100-continue\r\nExpect: 100-continue\r\n", MG_EEXPECT);
}

static bool expects(const char *text)
{
    struct judged judged = judge(mg_str_from(text));
    mg_arena_deinit(&judged.arena);
    assert_int_equal(judged.err, 0);
    return judged.request.expect_continue;
}

static void a_client_waits_for_100_only_with_a_body_and_on_1_1(void **state)
{
    (void)state;
    assert_true(expects("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
                        "Expect: 100-Continue\r\n\r\n"));
    assert_true(expects("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
                        "Expect: 100-continue\r\n\r\n"));
    assert_false(expects("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n"
                         "Expect: 100-continue\r\n\r\n"));
    assert_false(expects("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n"));
    assert_false(expects("POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"));
    assert_false(expects("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n"));
}

static bool keeps(const char *version, const char *fields)
{
    char text[256];
    const int len = snprintf(text, sizeof text, "GET / %s\r\nHost: h\r\n%s\r\n", version, fields);
    struct judged judged = judge(mg_str_make(text, (size_t)len));
    mg_arena_deinit(&judged.arena);
    assert_int_equal(judged.err, 0);
    return judged.request.keep_alive;
}

static void persistence_follows_version_and_connection(void **state)
{
    (void)state;
    assert_true(keeps("HTTP/1.1", ""));
    assert_true(keeps("HTTP/1.1", "Connection: keep-alive\r\n"));
    assert_false(keeps("HTTP/1.1", "Connection: Close\r\n"));
    assert_false(keeps("HTTP/1.1", "Connection: x, close , y\r\n"));
    assert_false(keeps("HTTP/1.1", "Connection: x\r\nConnection: close\r\n"));
    assert_false(keeps("HTTP/1.1", "Connection: keep-alive, close\r\n"));
    assert_false(keeps("HTTP/1.0", ""));
    assert_true(keeps("HTTP/1.0", "Connection: Keep-Alive\r\n"));
    assert_false(keeps("HTTP/1.0", "Connection: keep-alive\r\nConnection: close\r\n"));
}

static void connection_may_list_32_names_and_not_one_more(void **state)
{
    (void)state;
    for (int names = 31; names <= 33; names++) {
        char text[512];
        int len = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close");
        for (int i = 0; i < names; i++) {
            len += snprintf(text + len, sizeof text - (size_t)len, ",x%d", i);
        }
        len += snprintf(text + len, sizeof text - (size_t)len, "\r\n\r\n");
        check(mg_str_make(text, (size_t)len), names <= 32 ? 0 : MG_ESYNTAX, __LINE__);
    }
}

static bool upgrades(const char *line, const char *fields)
{
    char text[512];
    const int len = snprintf(text, sizeof text, "%s\r\nHost: h\r\n%s\r\n", line, fields);
    struct judged judged = judge(mg_str_make(text, (size_t)len));
    mg_arena_deinit(&judged.arena);
    assert_int_equal(judged.err, 0);
    return judged.request.wants_upgrade;
}

static void m20_only_a_websocket_handshake_wants_an_upgrade(void **state)
{
    (void)state;
    const char *get = "GET / HTTP/1.1", *key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    char fields[512];
    snprintf(fields, sizeof fields, "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n%s",
             key);
    assert_true(upgrades(get, fields));
    assert_false(upgrades("POST / HTTP/1.1", fields));
    assert_false(upgrades("GET / HTTP/1.0", fields));
    snprintf(fields, sizeof fields, "Upgrade: websocket\r\n%s", key);
    assert_false(upgrades(get, fields));
    snprintf(fields, sizeof fields, "Connection: upgrade\r\n%s", key);
    assert_false(upgrades(get, fields));
    assert_false(upgrades(get, "Connection: upgrade\r\nUpgrade: websocket\r\n"));
    snprintf(fields, sizeof fields, "Connection: upgrade\r\nUpgrade: websocket\r\n%s%s", key, key);
    assert_false(upgrades(get, fields));
    snprintf(fields, sizeof fields,
             "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n%s", key);
    assert_false(upgrades(get, fields));
    snprintf(fields, sizeof fields, "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n%s",
             key);
    assert_false(upgrades(get, fields));
}

/* --- answers --- */

static void r02_answers_have_one_framing(void **state)
{
    (void)state;
    ANSWER("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", 0);
    ANSWER("HTTP/1.1 200 OK\r\nTransfer-Encoding: ,chunked\r\n", MG_EBAD_RESPONSE);
    ANSWER("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n", MG_EBAD_RESPONSE);
    ANSWER("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n", MG_EBAD_RESPONSE);
    ANSWER("HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n", MG_EBAD_RESPONSE);
    ANSWER("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", MG_EBAD_RESPONSE);
    ANSWER("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n",
           MG_EBAD_RESPONSE);
    ANSWER("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n", MG_EBAD_RESPONSE);
    ANSWER("HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n", MG_EBAD_RESPONSE);
}

static void assert_answer(const char *text, enum mg_method asked, enum mg_framing framing,
                          uint64_t length, bool keep_alive)
{
    struct judged judged = judge_answer(mg_str_from(text), asked);
    mg_arena_deinit(&judged.arena);
    assert_int_equal(judged.err, 0);
    assert_int_equal(judged.response.framing, framing);
    assert_true(judged.response.content_length == length);
    assert_int_equal(judged.response.keep_alive, keep_alive);
}

static void an_answer_is_chunked_counted_or_ends_with_the_connection(void **state)
{
    (void)state;
    const enum mg_method get = MG_METHOD_GET;
    assert_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", get, MG_FRAMING_CHUNKED,
                  0, true);
    assert_answer("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", get, MG_FRAMING_LENGTH, 7, true);
    assert_answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", get,
                  MG_FRAMING_LENGTH, 0, false);
    assert_answer("HTTP/1.1 200 OK\r\n\r\n", get, MG_FRAMING_CLOSE, 0, false);
    assert_answer("HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n", get, MG_FRAMING_LENGTH, 7, false);
    assert_answer("HTTP/1.0 200 OK\r\nContent-Length: 7\r\nConnection: keep-alive\r\n\r\n", get,
                  MG_FRAMING_LENGTH, 7, true);
}

static void r03_head_1xx_204_and_304_have_no_body(void **state)
{
    (void)state;
    assert_answer("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", MG_METHOD_HEAD, MG_FRAMING_NONE,
                  7, true);
    assert_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", MG_METHOD_HEAD,
                  MG_FRAMING_NONE, 0, true);
    assert_answer("HTTP/1.1 200 OK\r\n\r\n", MG_METHOD_HEAD, MG_FRAMING_NONE, 0, true);
    assert_answer("HTTP/1.1 304 x\r\nContent-Length: 7\r\n\r\n", MG_METHOD_GET, MG_FRAMING_NONE, 7,
                  true);
    assert_answer("HTTP/1.1 204 x\r\n\r\n", MG_METHOD_GET, MG_FRAMING_NONE, 0, true);
    assert_answer("HTTP/1.1 100 x\r\n\r\n", MG_METHOD_GET, MG_FRAMING_NONE, 0, true);
    assert_answer("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
                  MG_METHOD_GET, MG_FRAMING_NONE, 0, true);
    ANSWER("HTTP/1.1 204 x\r\nContent-Length: 5\r\n", MG_EBAD_RESPONSE);
    ANSWER("HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n", MG_EBAD_RESPONSE);
    ANSWER("HTTP/1.1 103 x\r\nContent-Length: 5\r\n", MG_EBAD_RESPONSE);
    ANSWER("HTTP/1.1 101 x\r\nTransfer-Encoding: chunked\r\n", MG_EBAD_RESPONSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(m11_one_good_host_is_needed),
        cmocka_unit_test(an_absolute_target_agrees_with_host),
        cmocka_unit_test(the_host_field_gets_its_one_form),
        cmocka_unit_test(a_host_that_was_seen_before_means_the_same),
        cmocka_unit_test(m12_transfer_encoding_is_one_line_of_chunked),
        cmocka_unit_test(m12_other_real_codings_are_not_implemented),
        cmocka_unit_test(m13_content_length_is_one_line_of_up_to_19_digits),
        cmocka_unit_test(m14_single_valued_fields_stand_once),
        cmocka_unit_test(m18_only_100_continue_may_be_expected),
        cmocka_unit_test(a_client_waits_for_100_only_with_a_body_and_on_1_1),
        cmocka_unit_test(persistence_follows_version_and_connection),
        cmocka_unit_test(connection_may_list_32_names_and_not_one_more),
        cmocka_unit_test(m20_only_a_websocket_handshake_wants_an_upgrade),
        cmocka_unit_test(r02_answers_have_one_framing),
        cmocka_unit_test(an_answer_is_chunked_counted_or_ends_with_the_connection),
        cmocka_unit_test(r03_head_1xx_204_and_304_have_no_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
