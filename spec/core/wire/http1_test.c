/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/http1: each message is scanned whole, byte by byte and in two pieces at every cut, and must
 * give the same result each time. Names of tests carry the rule of docs/threat-model.md.
 */
#include "wire/http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <llhttp.h>

static const struct mg_http1_limits generous = {.request_line = 8192,
                                                .header_bytes = 32768,
                                                .header_line = 8192,
                                                .header_name = 256,
                                                .header_count = 100};

struct outcome {
    int err;
    size_t head; /* bytes of the head, the skipped ones included */
    uint32_t skipped;
};

/* Feeds the bytes in pieces: the first of `first` bytes, the others of `step`. */
static struct outcome scan_in_pieces(enum mg_http1_kind kind, const struct mg_http1_limits *limits,
                                     mg_str bytes, size_t first, size_t step)
{
    struct mg_http1_scan scan = {0};
    size_t at = 0, piece = first;
    int err = MG_EAGAIN;
    while (at < bytes.len && err == MG_EAGAIN) {
        const mg_str part = mg_str_slice(bytes, at, at + piece);
        /* a copy on the heap, so that the sanitizer sees reads beyond the piece */
        char *copy = malloc(part.len);
        memcpy(copy, part.ptr, part.len);
        size_t used = 0;
        err = mg_http1_scan(&scan, kind, limits, mg_str_make(copy, part.len), &used);
        free(copy);
        assert_true(used <= part.len);
        assert_true(err != MG_EAGAIN || used == part.len);
        at += used;
        piece = step;
    }
    return (struct outcome){.err = err, .head = err ? 0 : at, .skipped = err ? 0 : scan.skipped};
}

static struct outcome scan_all_ways(enum mg_http1_kind kind, const struct mg_http1_limits *limits,
                                    mg_str bytes)
{
    const struct outcome whole = scan_in_pieces(kind, limits, bytes, bytes.len, 1);
    const struct outcome single = scan_in_pieces(kind, limits, bytes, 1, 1);
    assert_int_equal(whole.err, single.err);
    assert_int_equal(whole.head, single.head);
    assert_int_equal(whole.skipped, single.skipped);
    for (size_t cut = 1; cut < bytes.len && bytes.len < 600; cut++) {
        const struct outcome two = scan_in_pieces(kind, limits, bytes, cut, bytes.len);
        assert_int_equal(whole.err, two.err);
        assert_int_equal(whole.head, two.head);
    }
    return whole;
}

struct parsed {
    struct mg_arena arena;
    struct mg_request_head request;
    struct mg_response_head response;
};

/* Scans with the generous limits, then parses what was delimited; the first refusal counts. */
static int take_request(struct parsed *parsed, mg_str bytes)
{
    mg_arena_init(&parsed->arena, 2048);
    const struct outcome outcome = scan_all_ways(MG_HTTP1_REQUEST, &generous, bytes);
    if (outcome.err) {
        return outcome.err;
    }
    const mg_str head =
        mg_arena_copy_str(&parsed->arena, mg_str_slice(bytes, outcome.skipped, outcome.head));
    return mg_http1_parse_request(&parsed->arena, head, &parsed->request);
}

static int take_response(struct parsed *parsed, mg_str bytes)
{
    mg_arena_init(&parsed->arena, 2048);
    const struct outcome outcome = scan_all_ways(MG_HTTP1_RESPONSE, &generous, bytes);
    if (outcome.err) {
        return outcome.err;
    }
    const mg_str head = mg_arena_copy_str(&parsed->arena, mg_str_slice(bytes, 0, outcome.head));
    return mg_http1_parse_response(&parsed->arena, head, &parsed->response);
}

static void check_request(mg_str bytes, int expected, int line)
{
    struct parsed parsed;
    const int err = take_request(&parsed, bytes);
    mg_arena_deinit(&parsed.arena);
    if (err != expected) {
        print_error("line %d: %s instead of %s\n", line, mg_err_text(err), mg_err_text(expected));
    }
    assert_int_equal(err, expected);
}

static void check_response(mg_str bytes, int expected, int line)
{
    struct parsed parsed;
    const int err = take_response(&parsed, bytes);
    mg_arena_deinit(&parsed.arena);
    if (err != expected) {
        print_error("line %d: %s instead of %s\n", line, mg_err_text(err), mg_err_text(expected));
    }
    assert_int_equal(err, expected);
}

#define REQUEST(text, err) check_request(MG_STR(text), err, __LINE__)
#define RESPONSE(text, err) check_response(MG_STR(text), err, __LINE__)

static void assert_str(mg_str actual, const char *expected)
{
    assert_int_equal(actual.len, strlen(expected));
    assert_memory_equal(actual.ptr, expected, actual.len);
}

static void llhttp_is_strict_and_lenient_flags_are_off(void **state)
{
    (void)state;
#if LLHTTP_VERSION_MAJOR < 9
    assert_int_equal(LLHTTP_STRICT_MODE, 1);
#endif
    llhttp_settings_t settings;
    llhttp_t parser;
    llhttp_settings_init(&settings);
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    assert_int_equal(parser.lenient_flags, 0);
    /* what the library does, not only what its header says: a bare CR ends no field */
    const mg_str text = MG_STR("GET / HTTP/1.1\r\na: b\rc: d\r\n\r\n");
    assert_int_not_equal(llhttp_execute(&parser, text.ptr, text.len), HPE_OK);
}

static void a_request_becomes_slices(void **state)
{
    (void)state;
    struct parsed parsed;
    assert_int_equal(take_request(&parsed, MG_STR("POST /a/b?c=d HTTP/1.1\r\nHost: example.com\r\n"
                                                  "Content-Length:5\r\nX-Empty:\r\n"
                                                  "X-Blank: \t \r\n"
                                                  "X-Trail: two words\t \r\n\r\nhello")),
                     0);
    const struct mg_request_head *head = &parsed.request;
    assert_str(head->method, "POST");
    assert_int_equal(head->method_id, MG_METHOD_POST);
    assert_str(head->target, "/a/b?c=d");
    assert_int_equal(head->minor, 1);
    assert_int_equal(head->headers.count, 5);
    assert_str(head->headers.items[0].name, "Host");
    assert_str(head->headers.items[0].value, "example.com");
    assert_int_equal(head->headers.items[0].id, MG_HEADER_HOST);
    assert_str(mg_headers_known(&head->headers, MG_HEADER_CONTENT_LENGTH)->value, "5");
    assert_str(head->headers.items[2].value, "");
    assert_str(head->headers.items[3].value, "");
    assert_str(head->headers.items[4].value, "two words");
    mg_arena_deinit(&parsed.arena);
}

static void a_response_becomes_slices(void **state)
{
    (void)state;
    struct parsed parsed;
    assert_int_equal(take_response(&parsed, MG_STR("HTTP/1.0 404 Not\tFound\r\nServer: x\r\n"
                                                   "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
                     0);
    assert_int_equal(parsed.response.status, 404);
    assert_int_equal(parsed.response.minor, 0);
    assert_int_equal(parsed.response.headers.count, 2);
    assert_str(mg_headers_known(&parsed.response.headers, MG_HEADER_SERVER)->value, "x");
    mg_arena_deinit(&parsed.arena);
}

static void fields_that_llhttp_reads_itself_arrive_whole(void **state)
{
    (void)state;
    struct parsed parsed;
    assert_int_equal(
        take_request(&parsed, MG_STR("GET / HTTP/1.1\r\nConnection: close, Upgrade, x-foo\r\n"
                                     "connectio: 1\r\nconnections: 2\r\nCONTENT-LENGTH: 12 \r\n"
                                     "content-lengt: 3\r\nproxy-connection: keep-alive\r\n"
                                     "upgrade: h2c, websocket\r\nt: 4\r\nTE: trailers\r\n\r\n")),
        0);
    static const char *const expected[][2] = {
        {"Connection", "close, Upgrade, x-foo"},
        {"connectio", "1"},
        {"connections", "2"},
        {"CONTENT-LENGTH", "12"},
        {"content-lengt", "3"},
        {"proxy-connection", "keep-alive"},
        {"upgrade", "h2c, websocket"},
        {"t", "4"},
        {"TE", "trailers"},
    };
    assert_int_equal(parsed.request.headers.count, 9);
    for (uint32_t i = 0; i < 9; i++) {
        assert_str(parsed.request.headers.items[i].name, expected[i][0]);
        assert_str(parsed.request.headers.items[i].value, expected[i][1]);
    }
    mg_arena_deinit(&parsed.arena);
}

static void the_head_ends_before_the_body_and_the_next_request(void **state)
{
    (void)state;
    const mg_str two =
        MG_STR("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(scan_all_ways(MG_HTTP1_REQUEST, &generous, two).head, two.len / 2);
}

static void an_unfinished_head_asks_for_more(void **state)
{
    (void)state;
    const mg_str text = MG_STR("\r\nGET / HTTP/1.1\r\nHost: a\r\nx:\ty\r\n\r\n");
    for (size_t len = 1; len < text.len; len++) {
        assert_int_equal(scan_all_ways(MG_HTTP1_REQUEST, &generous, mg_str_slice(text, 0, len)).err,
                         MG_EAGAIN);
    }
    assert_int_equal(scan_all_ways(MG_HTTP1_REQUEST, &generous, text).err, 0);
}

static void m01_parser_errors_are_refused(void **state)
{
    (void)state;
    REQUEST("GET / HTTP/1.1\r\nHost a\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", MG_EFRAMING);
    REQUEST("GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            MG_EFRAMING);
    RESPONSE("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", MG_EBAD_RESPONSE);
}

static void m02_bare_lf_bare_cr_and_nul_are_refused_anywhere(void **state)
{
    (void)state;
    const mg_str good = MG_STR("GET /a HTTP/1.1\r\nHost: b\r\nx: some value\r\n\r\n");
    check_request(good, 0, __LINE__);
    static const char bad[] = {'\r', '\n', '\0', '\x01', '\x0b', '\x7f'};
    for (size_t place = 0; place + 1 < good.len; place++) {
        for (size_t k = 0; k < sizeof bad; k++) {
            if (good.ptr[place] == bad[k]) {
                continue; /* replacing a CR by itself */
            }
            char text[64];
            memcpy(text, good.ptr, good.len);
            text[place] = bad[k];
            struct parsed parsed;
            const int err = take_request(&parsed, mg_str_make(text, good.len));
            mg_arena_deinit(&parsed.arena);
            assert_int_equal(err, MG_ESYNTAX);
        }
    }
    REQUEST("GET / HTTP/1.1\nHost: a\n\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.1\r\nHost: a\r\n\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.1\r\nHost: a\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.1\r\nHost: a\r\n\rX", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", MG_ESYNTAX);
    RESPONSE("HTTP/1.1 200 OK\nA: b\r\n\r\n", MG_ESYNTAX);
    RESPONSE("HTTP/1.1 200 O\0"
             "K\r\nA: b\r\n\r\n",
             MG_ESYNTAX);
}

static void m03_one_empty_line_before_a_request_is_skipped(void **state)
{
    (void)state;
    const struct outcome outcome =
        scan_all_ways(MG_HTTP1_REQUEST, &generous, MG_STR("\r\nGET / HTTP/1.1\r\n\r\n"));
    assert_int_equal(outcome.err, 0);
    assert_int_equal(outcome.skipped, 2);
    assert_int_equal(outcome.head, 20);
    REQUEST("\r\nGET / HTTP/1.1\r\n\r\n", 0);
    REQUEST("\r\n\r\nGET / HTTP/1.1\r\n\r\n", MG_ESYNTAX);
    REQUEST("\nGET / HTTP/1.1\r\n\r\n", MG_ESYNTAX);
    REQUEST("\rGET / HTTP/1.1\r\n\r\n", MG_ESYNTAX);
    RESPONSE("\r\nHTTP/1.1 200 OK\r\n\r\n", MG_ESYNTAX);
}

static void m04_a_request_line_has_three_parts_and_single_blanks(void **state)
{
    (void)state;
    REQUEST("GET  / HTTP/1.1\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET /  HTTP/1.1\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.1 \r\n\r\n", MG_ESYNTAX);
    REQUEST(" GET / HTTP/1.1\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET\t/ HTTP/1.1\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET /\tHTTP/1.1\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET /a b HTTP/1.1\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET/ HTTP/1.1\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET\r\na: HTTP/1.1\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET /\r\na: HTTP/1.1\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET HTTP/1.1\r\n\r\n", MG_ESYNTAX);
}

static void m05_versions_other_than_1_0_and_1_1_are_not_served(void **state)
{
    (void)state;
    struct parsed parsed;
    assert_int_equal(take_request(&parsed, MG_STR("GET / HTTP/1.0\r\n\r\n")), 0);
    assert_int_equal(parsed.request.minor, 0);
    mg_arena_deinit(&parsed.arena);
    REQUEST("GET / HTTP/1.2\r\n\r\n", MG_EVERSION);
    REQUEST("GET / HTTP/2.0\r\n\r\n", MG_EVERSION);
    REQUEST("GET / HTTP/0.9\r\n\r\n", MG_EVERSION);
    REQUEST("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", MG_EVERSION);
    REQUEST("GET /\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.10\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/11.1\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / http/1.1\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / RTSP/1.0\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / ICE/1.0\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.x\r\n\r\n", MG_ESYNTAX);
}

static void m06_methods_are_those_of_llhttp_but_connect_and_trace(void **state)
{
    (void)state;
    static const char *const known[] = {
#define METHOD(number, id, text) #text,
        HTTP_METHOD_MAP(METHOD)
#undef METHOD
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        char text[64];
        const int len = snprintf(text, sizeof text, "%s / HTTP/1.1\r\n\r\n", known[i]);
        const bool served = strcmp(known[i], "CONNECT") != 0 && strcmp(known[i], "TRACE") != 0;
        check_request(mg_str_make(text, (size_t)len), served ? 0 : MG_EMETHOD, __LINE__);
    }
    REQUEST("CONNECT a:80 HTTP/1.1\r\n\r\n", MG_EMETHOD);
    REQUEST("DESCRIBE / HTTP/1.1\r\n\r\n", MG_EMETHOD);
    REQUEST("BREW / HTTP/1.1\r\n\r\n", MG_EMETHOD);
    REQUEST("get / HTTP/1.1\r\n\r\n", MG_EMETHOD);
    REQUEST("GETT / HTTP/1.1\r\n\r\n", MG_EMETHOD);
    REQUEST("G@T / HTTP/1.1\r\n\r\n", MG_ESYNTAX);
    assert_int_equal(mg_method_of(MG_STR("")), MG_METHOD_UNKNOWN);
    assert_int_equal(mg_method_of(MG_STR("M-SEARCH")), MG_METHOD_OTHER);
    assert_int_equal(mg_method_of(MG_STR("PUT")), MG_METHOD_PUT);
}

static void five_methods_may_be_sent_again(void **state)
{
    (void)state;
    static const char *const again[] = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"};
    for (size_t i = 0; i < 5; i++) {
        assert_true(mg_method_is_idempotent(mg_method_of(mg_str_from(again[i]))));
    }
    assert_false(mg_method_is_idempotent(MG_METHOD_POST));
    assert_false(mg_method_is_idempotent(MG_METHOD_PATCH));
    assert_false(mg_method_is_idempotent(MG_METHOD_OTHER));
    assert_false(mg_method_is_idempotent(MG_METHOD_UNKNOWN));
}

static void m07_folded_lines_and_blanks_before_the_first_field_are_refused(void **state)
{
    (void)state;
    REQUEST("GET / HTTP/1.1\r\nContent-Length:\r\n 5\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.1\r\nTransfer-Encoding:\r\n\tchunked\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.1\r\nx: a\r\n b\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.1\r\n Host: a\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.1\r\n \r\n\r\n", MG_ESYNTAX);
    RESPONSE("HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n", MG_ESYNTAX);
}

static void m08_empty_field_names_are_refused(void **state)
{
    (void)state;
    REQUEST("GET / HTTP/1.1\r\n: a\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.1\r\nHost: a\r\n:\r\n\r\n", MG_ESYNTAX);
    RESPONSE("HTTP/1.1 200 OK\r\n: a\r\n\r\n", MG_ESYNTAX);
}

static void m09_names_are_tokens_right_before_the_colon(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char text[] = "GET / HTTP/1.1\r\nx?y: v\r\n\r\n";
        text[17] = (char)c;
        const bool good = c == ':' || mg_is_token(mg_str_make(&text[17], 1));
        check_request(mg_str_make(text, sizeof text - 1), good ? 0 : MG_ESYNTAX, __LINE__);
    }
    REQUEST("GET / HTTP/1.1\r\nHost : a\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n", MG_ESYNTAX);
    REQUEST("GET / HTTP/1.1\r\nx_y: underscore passes\r\n\r\n", 0);
}

static void m10_values_have_visible_bytes_blanks_and_obs_text_only(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char text[] = "GET / HTTP/1.1\r\nx: a?b\r\n\r\n";
        text[20] = (char)c;
        const bool good = c == '\t' || (c >= 0x20 && c != 0x7f);
        check_request(mg_str_make(text, sizeof text - 1), good ? 0 : MG_ESYNTAX, __LINE__);
        char answer[] = "HTTP/1.1 200 OK\r\nx: a?b\r\n\r\n";
        answer[21] = (char)c;
        check_response(mg_str_make(answer, sizeof answer - 1), good ? 0 : MG_ESYNTAX, __LINE__);
    }
}

static void r01_status_is_100_to_599_and_version_1_0_or_1_1(void **state)
{
    (void)state;
    for (int status = 0; status < 1000; status += status < 90 || status > 610 ? 37 : 1) {
        char text[64];
        const int len = snprintf(text, sizeof text, "HTTP/1.1 %03d x\r\n\r\n", status);
        check_response(mg_str_make(text, (size_t)len),
                       status >= 100 && status <= 599 ? 0 : MG_EBAD_RESPONSE, __LINE__);
    }
    RESPONSE("HTTP/1.1 200 \r\n\r\n", 0);
    RESPONSE("HTTP/1.1 200\r\n\r\n", 0);
    RESPONSE("HTTP/2.0 200 OK\r\n\r\n", MG_EBAD_RESPONSE);
    RESPONSE("HTTP/0.9 200 OK\r\n\r\n", MG_EBAD_RESPONSE);
    RESPONSE("HTTP/1.1 20 OK\r\n\r\n", MG_EBAD_RESPONSE);
    RESPONSE("HTTP/1.1 2000 OK\r\n\r\n", MG_EBAD_RESPONSE);
    RESPONSE("HTTP/1.1  200 OK\r\n\r\n", MG_EBAD_RESPONSE);
    RESPONSE("HTTP/1.1\r\n\r\n", MG_EBAD_RESPONSE);
    RESPONSE("ICY 200 OK\r\n\r\n", MG_EBAD_RESPONSE);
    RESPONSE("GET / HTTP/1.1\r\n\r\n", MG_EBAD_RESPONSE);
}

/* --- limits, each at n-1, n and n+1 --- */

/* A request with a target, name and value of the given lengths and that many fields. */
static mg_str make_request(char *text, size_t target, size_t name, size_t value, size_t fields)
{
    size_t len = 0;
    memcpy(text, "GET /", 5);
    len = 5;
    memset(text + len, 'a', target - 1);
    len += target - 1;
    memcpy(text + len, " HTTP/1.1\r\n", 11);
    len += 11;
    for (size_t i = 0; i < fields; i++) {
        memset(text + len, 'n', name);
        len += name;
        text[len++] = ':';
        memset(text + len, 'v', value);
        len += value;
        memcpy(text + len, "\r\n", 2);
        len += 2;
    }
    memcpy(text + len, "\r\n", 2);
    return mg_str_make(text, len + 2);
}

static void the_request_line_may_have_its_limit_and_not_a_byte_more(void **state)
{
    (void)state;
    char text[512];
    const struct mg_http1_limits limits = {100, 1000, 1000, 100, 10};
    for (size_t line = 99; line <= 101; line++) { /* "GET " and " HTTP/1.1" are 13 */
        const mg_str bytes = make_request(text, line - 13, 1, 1, 1);
        assert_int_equal(scan_all_ways(MG_HTTP1_REQUEST, &limits, bytes).err,
                         line <= 100 ? 0 : MG_ELINE_TOO_LONG);
    }
}

static void a_field_line_may_have_its_limit_and_not_a_byte_more(void **state)
{
    (void)state;
    char text[512];
    const struct mg_http1_limits limits = {100, 1000, 80, 100, 10};
    for (size_t line = 79; line <= 81; line++) {
        const mg_str bytes = make_request(text, 1, 5, line - 6, 2);
        assert_int_equal(scan_all_ways(MG_HTTP1_REQUEST, &limits, bytes).err,
                         line <= 80 ? 0 : MG_EHEAD_TOO_LARGE);
    }
}

static void a_field_name_may_have_its_limit_and_not_a_byte_more(void **state)
{
    (void)state;
    char text[512];
    const struct mg_http1_limits limits = {100, 1000, 400, 30, 10};
    for (size_t name = 29; name <= 31; name++) {
        for (size_t value = 0; value < 70; value += 7) {
            const mg_str bytes = make_request(text, 1, name, value, 1);
            assert_int_equal(scan_all_ways(MG_HTTP1_REQUEST, &limits, bytes).err,
                             name <= 30 ? 0 : MG_EHEAD_TOO_LARGE);
        }
    }
}

static void a_head_may_have_its_number_of_fields_and_not_one_more(void **state)
{
    (void)state;
    char text[512];
    const struct mg_http1_limits limits = {100, 1000, 400, 30, 10};
    for (size_t fields = 9; fields <= 11; fields++) {
        const mg_str bytes = make_request(text, 1, 3, 3, fields);
        assert_int_equal(scan_all_ways(MG_HTTP1_REQUEST, &limits, bytes).err,
                         fields <= 10 ? 0 : MG_EHEAD_TOO_LARGE);
    }
}

static void all_fields_together_may_have_their_limit_and_not_a_byte_more(void **state)
{
    (void)state;
    char text[512];
    const size_t each = 40 + 2; /* line and CRLF */
    for (uint32_t limit = (uint32_t)(each * 5) - 1; limit <= each * 5 + 1; limit++) {
        const struct mg_http1_limits limits = {100, limit, 400, 30, 10};
        const mg_str bytes = make_request(text, 1, 9, 30, 5);
        assert_int_equal(scan_all_ways(MG_HTTP1_REQUEST, &limits, bytes).err,
                         limit >= each * 5 ? 0 : MG_EHEAD_TOO_LARGE);
    }
}

static void pieces_of_any_size_give_the_same_refusal(void **state)
{
    (void)state;
    static const char alphabet[] = "ab: \t\r\n:G/\x01";
    const struct mg_http1_limits tight = {12, 24, 10, 6, 3};
    srand(20240607);
    for (int round = 0; round < 20000; round++) {
        char text[40];
        const size_t len = 1 + (size_t)rand() % sizeof text;
        for (size_t i = 0; i < len; i++) {
            text[i] = alphabet[(size_t)rand() % (sizeof alphabet - 1)];
            if (rand() % 6 == 0 && i + 1 < len) {
                text[i] = '\r';
                text[++i] = '\n';
            }
        }
        scan_all_ways(rand() % 2 ? MG_HTTP1_REQUEST : MG_HTTP1_RESPONSE, &tight,
                      mg_str_make(text, len));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llhttp_is_strict_and_lenient_flags_are_off),
        cmocka_unit_test(a_request_becomes_slices),
        cmocka_unit_test(a_response_becomes_slices),
        cmocka_unit_test(fields_that_llhttp_reads_itself_arrive_whole),
        cmocka_unit_test(the_head_ends_before_the_body_and_the_next_request),
        cmocka_unit_test(an_unfinished_head_asks_for_more),
        cmocka_unit_test(m01_parser_errors_are_refused),
        cmocka_unit_test(m02_bare_lf_bare_cr_and_nul_are_refused_anywhere),
        cmocka_unit_test(m03_one_empty_line_before_a_request_is_skipped),
        cmocka_unit_test(m04_a_request_line_has_three_parts_and_single_blanks),
        cmocka_unit_test(m05_versions_other_than_1_0_and_1_1_are_not_served),
        cmocka_unit_test(m06_methods_are_those_of_llhttp_but_connect_and_trace),
        cmocka_unit_test(five_methods_may_be_sent_again),
        cmocka_unit_test(m07_folded_lines_and_blanks_before_the_first_field_are_refused),
        cmocka_unit_test(m08_empty_field_names_are_refused),
        cmocka_unit_test(m09_names_are_tokens_right_before_the_colon),
        cmocka_unit_test(m10_values_have_visible_bytes_blanks_and_obs_text_only),
        cmocka_unit_test(r01_status_is_100_to_599_and_version_1_0_or_1_1),
        cmocka_unit_test(the_request_line_may_have_its_limit_and_not_a_byte_more),
        cmocka_unit_test(a_field_line_may_have_its_limit_and_not_a_byte_more),
        cmocka_unit_test(a_field_name_may_have_its_limit_and_not_a_byte_more),
        cmocka_unit_test(a_head_may_have_its_number_of_fields_and_not_one_more),
        cmocka_unit_test(all_fields_together_may_have_their_limit_and_not_a_byte_more),
        cmocka_unit_test(pieces_of_any_size_give_the_same_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
