/* SPDX-License-Identifier: Apache-2.0 */
/* wire/write: heads as bytes, and that they are read back as they were meant. */
#include "wire/write.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
    struct mg_arena arena;
    struct mg_headers headers;
    struct mg_buf out;
};

static int set_up(void **state)
{
    struct fixture *fixture = malloc(sizeof *fixture);
    mg_arena_init(&fixture->arena, 1024);
    mg_headers_init(&fixture->headers, &fixture->arena);
    mg_buf_init(&fixture->out, 64 * 1024);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    mg_buf_deinit(&fixture->out);
    mg_arena_deinit(&fixture->arena);
    free(fixture);
    return 0;
}

static void assert_written(const struct fixture *fixture, const char *expected)
{
    const mg_str view = mg_buf_view(&fixture->out);
    if (!mg_str_equal(view, mg_str_from(expected))) {
        print_error("written:\n%.*s\nexpected:\n%s\n", MG_STR_ARG(view), expected);
        fail();
    }
}

static void add(struct fixture *fixture, const char *name, const char *value)
{
    mg_headers_add(&fixture->headers, mg_str_from(name), mg_str_from(value));
}

static struct mg_write_request get(const struct fixture *fixture)
{
    return (struct mg_write_request){.method = MG_STR("GET"),
                                     .path = MG_STR("/a"),
                                     .host = MG_STR("h:81"),
                                     .headers = &fixture->headers};
}

static void request(struct fixture *fixture, const struct mg_write_request *request,
                    const char *expected)
{
    mg_buf_clear(&fixture->out);
    assert_int_equal(mg_write_request_head(&fixture->out, request), 0);
    assert_written(fixture, expected);
}

static void pieces_of_any_length_are_copied_whole(void **state)
{
    struct fixture *fixture = *state;
    char value[80], expected[200];
    for (size_t len = 0; len < sizeof value; len++) {
        for (size_t i = 0; i < len; i++) {
            value[i] = (char)('a' + i % 26);
        }
        struct mg_write_request write = get(fixture);
        mg_headers_init(&fixture->headers, &fixture->arena);
        mg_headers_add(&fixture->headers, MG_STR("x"), mg_str_make(value, len));
        snprintf(expected, sizeof expected, "GET /a HTTP/1.1\r\nHost: h:81\r\nx: %.*s\r\n\r\n",
                 (int)len, value);
        request(fixture, &write, expected);
    }
}

static void a_request_is_written_anew(void **state)
{
    struct fixture *fixture = *state;
    struct mg_write_request write = get(fixture);
    add(fixture, "Accept", "*/*");
    add(fixture, "X-Empty", "");
    request(fixture, &write, "GET /a HTTP/1.1\r\nHost: h:81\r\nAccept: */*\r\nX-Empty: \r\n\r\n");
    write.has_query = true;
    request(fixture, &write, "GET /a? HTTP/1.1\r\nHost: h:81\r\nAccept: */*\r\nX-Empty: \r\n\r\n");
    write.query = MG_STR("b=c");
    write.close = true;
    write.headers = NULL;
    request(fixture, &write, "GET /a?b=c HTTP/1.1\r\nHost: h:81\r\nConnection: close\r\n\r\n");
}

static void fields_of_framing_and_host_come_from_the_model(void **state)
{
    struct fixture *fixture = *state;
    struct mg_write_request write = get(fixture);
    add(fixture, "host", "evil");
    add(fixture, "Content-Length", "99");
    add(fixture, "transfer-encoding", "gzip");
    add(fixture, "Connection", "close");
    add(fixture, "x", "y");
    request(fixture, &write, "GET /a HTTP/1.1\r\nHost: h:81\r\nx: y\r\n\r\n");
    write.framing = (struct mg_write_framing){.kind = MG_FRAMING_LENGTH, .length = 12};
    request(fixture, &write, "GET /a HTTP/1.1\r\nHost: h:81\r\nx: y\r\nContent-Length: 12\r\n\r\n");
    write.framing.kind = MG_FRAMING_CHUNKED;
    request(fixture, &write,
            "GET /a HTTP/1.1\r\nHost: h:81\r\nx: y\r\nTransfer-Encoding: chunked\r\n\r\n");
    write.framing.omit = true;
    request(fixture, &write, "GET /a HTTP/1.1\r\nHost: h:81\r\nx: y\r\n\r\n");
}

static void methods_with_a_body_tell_its_length_even_when_it_is_empty(void **state)
{
    struct fixture *fixture = *state;
    static const char *const methods[] = {"POST", "PUT", "PATCH", "DELETE", "M-SEARCH"};
    for (size_t i = 0; i < 5; i++) {
        char expected[100];
        struct mg_write_request write = get(fixture);
        write.method = mg_str_from(methods[i]);
        snprintf(expected, sizeof expected, "%s /a HTTP/1.1\r\nHost: h:81\r\n%s\r\n", methods[i],
                 i < 3 ? "Content-Length: 0\r\n" : "");
        request(fixture, &write, expected);
    }
}

static void an_upgrade_has_both_fields_once(void **state)
{
    struct fixture *fixture = *state;
    struct mg_write_request write = get(fixture);
    write.upgrade = MG_STR("websocket");
    add(fixture, "Upgrade", "h2c");
    request(fixture, &write,
            "GET /a HTTP/1.1\r\nHost: h:81\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
}

static void a_field_with_a_forbidden_byte_is_left_out(void **state)
{
    struct fixture *fixture = *state;
    const struct mg_write_request write = get(fixture);
    add(fixture, "good", "tab\tand \xc3\xa9");
    add(fixture, "x", "a\r\nInjected: b");
    add(fixture, "x", "a\nb");
    add(fixture, "x\r\nInjected", "b");
    add(fixture, "x y", "b");
    add(fixture, "x:", "b");
    add(fixture, "", "b");
    add(fixture, "date", "\x7f");
    mg_headers_add(&fixture->headers, MG_STR("x"), mg_str_make("a\0b", 3));
    request(fixture, &write, "GET /a HTTP/1.1\r\nHost: h:81\r\ngood: tab\tand \xc3\xa9\r\n\r\n");
}

static void assert_refused(struct fixture *fixture, struct mg_write_request write)
{
    assert_int_equal(mg_write_request_head(&fixture->out, &write), MG_EINVALID);
    assert_int_equal(fixture->out.len, 0);
}

static void a_bad_request_line_fails(void **state)
{
    struct fixture *fixture = *state;
    static const char *const bad[] = {"a b", "a\r\nb", "a\tb", "a\x7f"};
    for (size_t i = 0; i < 4; i++) {
        struct mg_write_request write = get(fixture);
        write.method = mg_str_from(bad[i]);
        assert_refused(fixture, write);
        write = get(fixture);
        write.path = mg_str_from(bad[i]);
        assert_refused(fixture, write);
        write = get(fixture);
        write.query = mg_str_from(bad[i]);
        assert_refused(fixture, write);
        write = get(fixture);
        write.host = mg_str_from(bad[i]);
        assert_refused(fixture, write);
    }
    struct mg_write_request write = get(fixture);
    write.path = MG_STR("");
    assert_refused(fixture, write);
    write = get(fixture);
    write.upgrade = MG_STR("a\r\nb");
    assert_refused(fixture, write);
}

static void what_is_over_the_cap_fails_and_writes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct mg_buf small;
    mg_buf_init(&small, 64);
    const struct mg_write_request write = get(fixture);
    assert_int_equal(mg_write_request_head(&small, &write), MG_ENO_MEMORY);
    const struct mg_write_response answer = {.status = 200};
    assert_int_equal(mg_write_response_head(&small, &answer), MG_ENO_MEMORY);
    assert_int_equal(small.len, 0);
    mg_buf_deinit(&small);
}

/* --- answers --- */

static void answer(struct fixture *fixture, const struct mg_write_response *response,
                   const char *expected)
{
    mg_buf_clear(&fixture->out);
    assert_int_equal(mg_write_response_head(&fixture->out, response), 0);
    assert_written(fixture, expected);
}

static void an_answer_is_written_anew(void **state)
{
    struct fixture *fixture = *state;
    struct mg_write_response write = {.status = 404,
                                      .headers = &fixture->headers,
                                      .framing = {.kind = MG_FRAMING_LENGTH, .length = 3},
                                      .date = MG_STR("D"),
                                      .server = MG_STR("S"),
                                      .via = MG_STR("1.1 m")};
    add(fixture, "Content-Length", "99");
    add(fixture, "Connection", "x");
    add(fixture, "Via", "1.1 origin");
    answer(fixture, &write,
           "HTTP/1.1 404 Not Found\r\nDate: D\r\nServer: S\r\nVia: 1.1 origin\r\nVia: 1.1 m\r\n"
           "Content-Length: 3\r\n\r\n");
    add(fixture, "Server", "theirs");
    add(fixture, "Date", "then");
    write.close = true;
    write.keep_alive = true;
    answer(fixture, &write,
           "HTTP/1.1 404 Not Found\r\nVia: 1.1 origin\r\nServer: theirs\r\nDate: then\r\n"
           "Via: 1.1 m\r\nContent-Length: 3\r\nConnection: close\r\n\r\n");
}

static void answers_carry_their_framing(void **state)
{
    struct fixture *fixture = *state;
    struct mg_write_response write = {.status = 200};
    answer(fixture, &write, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    write.framing.kind = MG_FRAMING_CHUNKED;
    write.keep_alive = true;
    answer(fixture, &write,
           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n");
    write = (struct mg_write_response){.status = 200, .framing.kind = MG_FRAMING_CLOSE};
    answer(fixture, &write, "HTTP/1.1 200 OK\r\n\r\n");
    write.framing = (struct mg_write_framing){.kind = MG_FRAMING_LENGTH, .length = UINT64_MAX};
    answer(fixture, &write, "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n");
    write.framing.omit = true;
    answer(fixture, &write, "HTTP/1.1 200 OK\r\n\r\n");
}

static void answers_that_have_no_body_get_no_framing(void **state)
{
    struct fixture *fixture = *state;
    struct mg_write_response write = {.status = 103};
    answer(fixture, &write, "HTTP/1.1 103 Early Hints\r\n\r\n");
    write.status = 204;
    write.framing.kind = MG_FRAMING_CHUNKED;
    answer(fixture, &write, "HTTP/1.1 204 No Content\r\n\r\n");
    write.status = 304;
    write.framing.kind = MG_FRAMING_NONE;
    answer(fixture, &write, "HTTP/1.1 304 Not Modified\r\n\r\n");
    write.framing = (struct mg_write_framing){.kind = MG_FRAMING_LENGTH, .length = 7};
    answer(fixture, &write, "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n");
    write = (struct mg_write_response){.status = 101, .upgrade = MG_STR("websocket")};
    answer(fixture, &write,
           "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
}

static void a_bad_answer_fails_and_a_bad_own_field_is_left_out(void **state)
{
    struct fixture *fixture = *state;
    struct mg_write_response write = {.status = 99};
    assert_int_equal(mg_write_response_head(&fixture->out, &write), MG_EINVALID);
    write.status = 1000;
    assert_int_equal(mg_write_response_head(&fixture->out, &write), MG_EINVALID);
    write = (struct mg_write_response){.status = 101, .upgrade = MG_STR("a\nb")};
    assert_int_equal(mg_write_response_head(&fixture->out, &write), MG_EINVALID);
    assert_int_equal(fixture->out.len, 0);
    write = (struct mg_write_response){.status = 599, .via = MG_STR("a\r\nb")};
    answer(fixture, &write, "HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n");
}

static void reasons_are_those_of_the_registry(void **state)
{
    (void)state;
    assert_string_equal(mg_status_reason(200), "OK");
    assert_string_equal(mg_status_reason(413), "Content Too Large");
    assert_string_equal(mg_status_reason(511), "Network Authentication Required");
    assert_string_equal(mg_status_reason(299), "");
    assert_string_equal(mg_status_reason(0), "");
    assert_string_equal(mg_status_reason(65535), "");
}

static void every_status_line_fits_and_is_read_back(void **state)
{
    struct fixture *fixture = *state;
    for (uint16_t status = 100; status <= 599; status++) {
        const struct mg_write_response write = {.status = status};
        struct mg_response_head head;
        mg_buf_clear(&fixture->out);
        assert_int_equal(mg_write_response_head(&fixture->out, &write), 0);
        assert_int_equal(
            mg_http1_parse_response(&fixture->arena, mg_buf_view(&fixture->out), &head), 0);
        assert_int_equal(head.status, status);
    }
}

static void chunk_heads_are_hexadecimal(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{1, "1\r\n"},
                 {15, "f\r\n"},
                 {16, "10\r\n"},
                 {255, "ff\r\n"},
                 {256, "100\r\n"},
                 {65536, "10000\r\n"},
                 {0xabcdef, "abcdef\r\n"},
                 {UINT64_MAX, "ffffffffffffffff\r\n"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char place[20];
        const size_t len = mg_write_chunk_head(place, cases[i].bytes);
        assert_int_equal(len, strlen(cases[i].text));
        assert_memory_equal(place, cases[i].text, len);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_written_anew),
        TEST(pieces_of_any_length_are_copied_whole),
        TEST(fields_of_framing_and_host_come_from_the_model),
        TEST(methods_with_a_body_tell_its_length_even_when_it_is_empty),
        TEST(an_upgrade_has_both_fields_once),
        TEST(a_field_with_a_forbidden_byte_is_left_out),
        TEST(a_bad_request_line_fails),
        TEST(what_is_over_the_cap_fails_and_writes_nothing),
        TEST(an_answer_is_written_anew),
        TEST(answers_carry_their_framing),
        TEST(answers_that_have_no_body_get_no_framing),
        TEST(a_bad_answer_fails_and_a_bad_own_field_is_left_out),
        TEST(reasons_are_those_of_the_registry),
        TEST(every_status_line_fits_and_is_read_back),
        TEST(chunk_heads_are_hexadecimal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
