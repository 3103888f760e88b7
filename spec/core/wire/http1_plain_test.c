/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/http1_plain: which heads it takes, and that it never takes one that llhttp would cut
 * differently or refuse: each byte of some heads is replaced by each other, left out and doubled.
 */
#include "wire/http1.h"
#include "wire/http1_plain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static bool is_taken(const char *fields, uint32_t *count)
{
    struct mg_arena arena;
    struct mg_headers headers;
    mg_arena_init(&arena, 2048);
    mg_headers_init(&headers, &arena);
    const bool taken = mg_http1_cut_plain(mg_str_from(fields), &headers);
    *count = headers.count;
    mg_arena_deinit(&arena);
    return taken;
}

static void plain_fields_are_taken(void **state)
{
    static const struct {
        const char *fields;
        uint32_t count;
    } cases[] = {
        {"\r\n", 0},
        {"Host: a\r\n\r\n", 1},
        {"Host:a\r\nx-b:  c d\r\n\r\n", 2},
        {"Empty:\r\nBlank: \r\n\r\n", 2},
        {"Content-Length: 0\r\n\r\n", 1},
        {"content-length: 123456789012345678\r\n\r\n", 1},
        {"Connection: Keep-Alive\r\nconnection: close\r\n\r\n", 2},
        {"Name!#$%&'*+-.^_`|~09AZaz: \x80\xff\r\n\r\n", 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t count;
        assert_true(is_taken(cases[i].fields, &count));
        assert_int_equal(count, cases[i].count);
    }
}

static void everything_else_is_left_to_llhttp(void **state)
{
    static const char *const cases[] = {
        "",
        "\n",
        "Host: a\r\n",
        "Host: a\n\r\n",
        "Host: a\r\n\r\nx",
        "Host: a\r\n\r\n\r\n",
        "Host : a\r\n\r\n",
        " Host: a\r\n\r\n",
        ": a\r\n\r\n",
        "Host\r\n\r\n",
        "H(st: a\r\n\r\n",
        "H\x80st: a\r\n\r\n",
        "Host: a\tb\r\n\r\n",
        "Host: a\rb\r\n\r\n",
        "Host: a \r\n\r\n",
        "Host: a\r\n b\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Upgrade: websocket\r\n\r\n",
        "Proxy-Connection: close\r\n\r\n",
        "Connection: close, x\r\n\r\n",
        "Content-Length:\r\n\r\n",
        "Content-Length: +1\r\n\r\n",
        "Content-Length: 1 1\r\n\r\n",
        "Content-Length: 1234567890123456789\r\n\r\n",
        "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t count;
        if (is_taken(cases[i], &count)) {
            fail_msg("taken: %s", cases[i]);
        }
    }
}

static void plain_targets_have_no_byte_to_encode(void **state)
{
    (void)state;
    assert_true(mg_http1_is_plain_target(MG_STR("/")));
    assert_true(mg_http1_is_plain_target(MG_STR("/a/B_9~-.!$&'()*+,;=:@%20?b=/?")));
    assert_false(mg_http1_is_plain_target(MG_STR("")));
    assert_false(mg_http1_is_plain_target(MG_STR("*")));
    assert_false(mg_http1_is_plain_target(MG_STR("http://a/")));
    assert_false(mg_http1_is_plain_target(MG_STR("/a#b")));
    assert_false(mg_http1_is_plain_target(MG_STR("/a\"")));
    assert_false(mg_http1_is_plain_target(MG_STR("/\x80")));
}

/* --- against llhttp --- */

static int parse(struct mg_arena *arena, enum mg_http1_kind kind, mg_str head,
                 struct mg_headers *headers)
{
    if (kind == MG_HTTP1_REQUEST) {
        struct mg_request_head request;
        const int err = mg_http1_parse_request(arena, head, &request);
        *headers = request.headers;
        return err;
    }
    struct mg_response_head response;
    const int err = mg_http1_parse_response(arena, head, &response);
    *headers = response.headers;
    return err;
}

/* A head that is taken is one that llhttp takes, with the same slices. */
static void expect_agreement(enum mg_http1_kind kind, mg_str text)
{
    struct mg_arena arena;
    struct mg_headers ours, theirs;
    mg_arena_init(&arena, 4096);
    const mg_str head = mg_arena_copy_str(&arena, text);
    mg_headers_init(&theirs, &arena);
    if (parse(&arena, kind, head, &ours) == 0) {
        assert_int_equal(mg_http1_cut_with_llhttp(kind, head, &theirs), 0);
        assert_int_equal(theirs.count, ours.count);
        assert_true(theirs.known == ours.known);
        for (uint32_t i = 0; i < ours.count; i++) {
            assert_true(mg_str_equal(ours.items[i].name, theirs.items[i].name));
            assert_true(mg_str_equal(ours.items[i].value, theirs.items[i].value));
            assert_int_equal(ours.items[i].id, theirs.items[i].id);
        }
    }
    mg_arena_deinit(&arena);
}

static void change_each_byte(enum mg_http1_kind kind, mg_str head)
{
    char *text = malloc(head.len + 1);
    assert_non_null(text);
    for (size_t at = 0; at < head.len; at++) {
        memcpy(text, head.ptr, head.len);
        for (unsigned byte = 0; byte < 256; byte++) {
            text[at] = (char)byte;
            expect_agreement(kind, mg_str_make(text, head.len));
        }
        memcpy(text + at, head.ptr + at + 1, head.len - at - 1);
        expect_agreement(kind, mg_str_make(text, head.len - 1));
        memcpy(text + at + 1, head.ptr + at, head.len - at);
        text[at] = head.ptr[at];
        expect_agreement(kind, mg_str_make(text, head.len + 1));
    }
    free(text);
}

static void llhttp_agrees_about_each_request_that_is_taken(void **state)
{
    (void)state;
    change_each_byte(MG_HTTP1_REQUEST,
                     MG_STR("GET /a%20b?c=d HTTP/1.1\r\nHost: h:80\r\nAccept: */*\r\n"
                            "Connection: close\r\nX:\r\n\r\n"));
    change_each_byte(MG_HTTP1_REQUEST, MG_STR("PUT / HTTP/1.0\r\nContent-Length: 10\r\n"
                                              "Connection: keep-alive\r\nTE: \r\nx_y: z\r\n\r\n"));
}

static void llhttp_agrees_about_each_answer_that_is_taken(void **state)
{
    (void)state;
    change_each_byte(MG_HTTP1_RESPONSE,
                     MG_STR("HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                            "Content-Length: 1024\r\nServer: a/1 (b)\r\n\r\n"));
    change_each_byte(MG_HTTP1_RESPONSE,
                     MG_STR("HTTP/1.0 304 \r\nUpgradf: a\r\nContent-Length:7\r\n\r\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_fields_are_taken),
        cmocka_unit_test(everything_else_is_left_to_llhttp),
        cmocka_unit_test(plain_targets_have_no_byte_to_encode),
        cmocka_unit_test(llhttp_agrees_about_each_request_that_is_taken),
        cmocka_unit_test(llhttp_agrees_about_each_answer_that_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
