/* SPDX-License-Identifier: Apache-2.0 */
/* wire/chunk: every body is decoded whole, byte by byte and cut in two, with the same result. */
#include "wire/chunk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct mg_chunk_limits usual = {
    .line = 64, .extensions = 4096, .trailers = 20, .trailer_bytes = 8192};

struct decoded {
    char octets[4096];
    size_t len, used;
    int err;
    bool done;
};

typedef int decoder(struct mg_chunk *chunk, mg_str bytes, size_t *used, mg_str *data);

static void decode(struct decoded *out, decoder *next, const struct mg_chunk_limits *limits,
                   mg_str bytes, size_t first, size_t step)
{
    struct mg_chunk chunk;
    size_t at = 0, piece = first;
    *out = (struct decoded){.err = 0};
    mg_chunk_init(&chunk, limits);
    while (at < bytes.len && !out->err && !chunk.done) {
        mg_str part = mg_str_slice(bytes, at, at + piece);
        char *copy = malloc(part.len); /* on the heap, so that reads beyond it show */
        memcpy(copy, part.ptr, part.len);
        part.ptr = copy;
        while (part.len > 0 && !out->err && !chunk.done) {
            size_t used = 0;
            mg_str data;
            out->err = next(&chunk, part, &used, &data);
            assert_true(used > 0 && used <= part.len && out->len + data.len <= sizeof out->octets);
            memcpy(out->octets + out->len, data.len ? data.ptr : "", data.len);
            out->len += data.len;
            at += used;
            part = mg_str_slice(part, used, part.len);
        }
        free(copy);
        piece = step;
    }
    out->used = at;
    out->done = chunk.done;
}

static void assert_same(const struct decoded *a, const struct decoded *b)
{
    assert_int_equal(a->err, b->err);
    assert_int_equal(a->done, b->done);
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->octets, b->octets, a->len);
    assert_int_equal(a->used, b->used);
}

static struct decoded decode_all_ways(const struct mg_chunk_limits *limits, mg_str bytes)
{
    struct decoded whole, other;
    decode(&whole, mg_chunk_next, limits, bytes, bytes.len, 1);
    decode(&other, mg_chunk_next, limits, bytes, 1, 1);
    assert_same(&whole, &other);
    decode(&other, mg_chunk_join, limits, bytes, bytes.len, 1);
    assert_same(&whole, &other);
    for (size_t cut = 1; cut < bytes.len && bytes.len < 300; cut++) {
        decode(&other, cut % 2 ? mg_chunk_next : mg_chunk_join, limits, bytes, cut, bytes.len);
        assert_same(&whole, &other);
    }
    return whole;
}

static void good(mg_str bytes, const char *octets, size_t rest, int line)
{
    const struct decoded out = decode_all_ways(&usual, bytes);
    if (out.err || !out.done || out.len != strlen(octets) ||
        memcmp(out.octets, octets, out.len) != 0 || out.used + rest != bytes.len) {
        print_error("line %d: %s, '%.*s'\n", line, mg_err_text(out.err), (int)out.len, out.octets);
        fail();
    }
}

static void bad(mg_str bytes, int err, int line)
{
    const struct decoded out = decode_all_ways(&usual, bytes);
    if (out.err != err || out.done) {
        print_error("line %d: %s\n", line, mg_err_text(out.err));
        fail();
    }
}

#define GOOD(text, octets, rest) good(MG_STR(text), octets, rest, __LINE__)
#define BAD(text, err) bad(MG_STR(text), err, __LINE__)

static void chunks_are_joined_and_the_rest_is_left(void **state)
{
    (void)state;
    GOOD("0\r\n\r\n", "", 0);
    GOOD("5\r\nhello\r\n0\r\n\r\n", "hello", 0);
    GOOD("5\r\nhello\r\n006\r\n world\r\n000\r\n\r\nGET / HTTP", "hello world", 10);
    GOOD("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", 0);
    GOOD("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", 0);
}

static void extensions_are_dropped(void **state)
{
    (void)state;
    GOOD("1;a=b\r\nx\r\n0;c=\"d e\"\r\n\r\n", "x", 0);
    GOOD("1;a;b=c;d=\"\";e=\"; \\\" \xff\"\r\nx\r\n0;!\r\n\r\n", "x", 0);
}

/* RFC 9112, 7.1.1: what is no extension could be anything to the reader behind or before us. */
static void m15_an_extension_is_well_formed_without_blanks(void **state)
{
    (void)state;
    BAD("1;\r\n", MG_ECHUNK);
    BAD("1;;a\r\n", MG_ECHUNK);
    BAD("1; a\r\n", MG_ECHUNK);
    BAD("1;a \r\n", MG_ECHUNK);
    BAD("1;a=\r\n", MG_ECHUNK);
    BAD("1;a= b\r\n", MG_ECHUNK);
    BAD("1;a=b c\r\n", MG_ECHUNK);
    BAD("1;a=\"b\"c\r\n", MG_ECHUNK);
    BAD("1;a=\"b\r\n", MG_ECHUNK);
    BAD("1;a=\"b\\\r\n", MG_ECHUNK);
    BAD("1;\xff\r\n", MG_ECHUNK);
    BAD("1;=b\r\n", MG_ECHUNK);
}

static void the_octets_of_many_chunks_come_as_one_piece(void **state)
{
    (void)state;
    char text[] = "1\r\na\r\n2;x=y\r\nbc\r\n1\r\nd\r\n0\r\n\r\nrest";
    struct mg_chunk chunk;
    size_t used;
    mg_str data;
    mg_chunk_init(&chunk, &usual);
    assert_int_equal(mg_chunk_join(&chunk, mg_str_make(text, 9), &used, &data), 0);
    assert_int_equal(used, 9);
    assert_true(mg_str_equal(data, MG_STR("a")));
    assert_int_equal(mg_chunk_join(&chunk, mg_str_make(text + 9, sizeof text - 10), &used, &data),
                     0);
    assert_true(chunk.done);
    assert_true(mg_str_equal(data, MG_STR("bcd")));
    assert_string_equal(text + 9 + used, "rest");
}

static void an_unfinished_body_is_not_done(void **state)
{
    (void)state;
    const mg_str text = MG_STR("3;x\r\nabc\r\n0\r\nA: b\r\n\r\n");
    for (size_t len = 1; len < text.len; len++) {
        const struct decoded out = decode_all_ways(&usual, mg_str_slice(text, 0, len));
        assert_int_equal(out.err, 0);
        assert_false(out.done);
    }
}

static void nothing_is_taken_after_the_end(void **state)
{
    (void)state;
    struct mg_chunk chunk;
    size_t used = 9;
    mg_str data;
    mg_chunk_init(&chunk, &usual);
    assert_int_equal(mg_chunk_next(&chunk, MG_STR("0\r\n\r\nrest"), &used, &data), 0);
    assert_int_equal(used, 5);
    assert_int_equal(mg_chunk_next(&chunk, MG_STR("rest"), &used, &data), 0);
    assert_int_equal(used, 0);
    assert_int_equal(data.len, 0);
}

static void m02_only_crlf_ends_a_line(void **state)
{
    (void)state;
    BAD("1\nx\r\n", MG_ECHUNK);
    BAD("1\rx", MG_ECHUNK);
    BAD("1\r\r\n", MG_ECHUNK);
    BAD("1;a\n", MG_ECHUNK);
    BAD("1;\0\r\n", MG_ECHUNK);
    BAD("1;\x01\r\n", MG_ECHUNK);
    BAD("1\r\nx\n", MG_ECHUNK);
    BAD("1\r\nxy", MG_ECHUNK);
    BAD("1\r\nx\rY", MG_ECHUNK);
    BAD("0\r\n\n", MG_ETRAILER);
    BAD("0\r\n\rX", MG_ETRAILER);
    BAD("0\r\nA: b\nC: d\r\n", MG_ETRAILER);
    BAD("0\r\nA: b\rC: d\r\n", MG_ETRAILER);
    BAD("0\r\nA: \0\r\n", MG_ETRAILER);
}

static void m15_a_size_is_hex_digits_only(void **state)
{
    (void)state;
    BAD("\r\n", MG_ECHUNK);
    BAD(";a\r\n", MG_ECHUNK);
    BAD("+1\r\n", MG_ECHUNK);
    BAD("-1\r\n", MG_ECHUNK);
    BAD("0x1\r\n", MG_ECHUNK);
    BAD(" 1\r\n", MG_ECHUNK);
    BAD("1 \r\n", MG_ECHUNK);
    BAD("1 ;a\r\n", MG_ECHUNK);
    BAD("1\t\r\n", MG_ECHUNK);
    BAD("1_0\r\n", MG_ECHUNK);
    BAD("g\r\n", MG_ECHUNK);
    BAD("1,2\r\n", MG_ECHUNK);
    for (int c = 0; c < 256; c++) {
        const char text[] = {'1', (char)c, '\r', '\n'};
        const bool hex = c < 128 && c != 0 && strchr("0123456789abcdefABCDEF", c);
        const struct decoded out = decode_all_ways(&usual, mg_str_make(text, 4));
        assert_int_equal(out.err, hex ? 0 : MG_ECHUNK); /* also ";" before nothing */
    }
}

static void m15_a_size_has_no_more_than_63_bits(void **state)
{
    (void)state;
    const struct decoded most = decode_all_ways(&usual, MG_STR("7fffffffffffffff\r\nx"));
    assert_int_equal(most.err, 0);
    BAD("8000000000000000\r\n", MG_ECHUNK);
    BAD("ffffffffffffffff\r\n", MG_ECHUNK);
    BAD("10000000000000000\r\n", MG_ECHUNK);
    BAD("00000000000000001\r\n", MG_ECHUNK);
}

/* --- limits, each at n-1, n and n+1 --- */

static void m15_a_chunk_line_may_have_64_bytes_and_not_one_more(void **state)
{
    (void)state;
    for (size_t line = 63; line <= 65; line++) {
        char text[100];
        memset(text, 'e', sizeof text);
        memcpy(text, "0;", 2);
        memcpy(text + line, "\r\n\r\n", 4);
        assert_int_equal(decode_all_ways(&usual, mg_str_make(text, line + 4)).err,
                         line <= 64 ? 0 : MG_ECHUNK);
    }
}

static void m15_extensions_have_a_limit_for_the_whole_message(void **state)
{
    (void)state;
    const struct mg_chunk_limits limits = {
        .line = 64, .extensions = 30, .trailers = 20, .trailer_bytes = 8192};
    for (size_t last = 9; last <= 11; last++) {
        char text[200];
        const int len =
            snprintf(text, sizeof text, "1;23456789a\r\nx\r\n1;23456789a\r\nx\r\n0;%.*s\r\n\r\n",
                     (int)last - 1, "eeeeeeeeeeee");
        assert_int_equal(decode_all_ways(&limits, mg_str_make(text, (size_t)len)).err,
                         last <= 10 ? 0 : MG_ECHUNK);
    }
}

static void m16_trailers_have_a_limited_number_and_size(void **state)
{
    (void)state;
    const struct mg_chunk_limits limits = {
        .line = 64, .extensions = 30, .trailers = 3, .trailer_bytes = 40};
    for (int fields = 2; fields <= 4; fields++) {
        char text[200];
        const int len = snprintf(text, sizeof text, "0\r\n%.*s\r\n", fields * 6,
                                 "a: b\r\na: b\r\na: b\r\na: b\r\n");
        assert_int_equal(decode_all_ways(&limits, mg_str_make(text, (size_t)len)).err,
                         fields <= 3 ? 0 : MG_ETRAILER);
    }
    for (int bytes = 39; bytes <= 41; bytes++) { /* "a: b" and "c:" and two CRLF are 10 */
        char text[200];
        const int len = snprintf(text, sizeof text, "0\r\na: b\r\nc:%.*s\r\n\r\n", bytes - 10,
                                 "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv");
        assert_int_equal(decode_all_ways(&limits, mg_str_make(text, (size_t)len)).err,
                         bytes <= 40 ? 0 : MG_ETRAILER);
    }
}

static void m16_harmless_trailers_are_dropped(void **state)
{
    (void)state;
    GOOD("0\r\nX-Checksum: abc\r\nserver-timing:\t\xff\r\n"
         "A-Name-That-Is-Longer-Than-What-The-Decoder-Keeps: x\r\n\r\n",
         "", 0);
    GOOD("0\r\nETag: \"a\"\r\n\r\n", "", 0);
    GOOD("0\r\nContent-Digest: x\r\n\r\n", "", 0);
}

static void m16_trailers_have_good_names_and_no_folding(void **state)
{
    (void)state;
    BAD("0\r\n: a\r\n\r\n", MG_ETRAILER);
    BAD("0\r\n a: b\r\n\r\n", MG_ETRAILER);
    BAD("0\r\na: b\r\n c\r\n\r\n", MG_ETRAILER);
    BAD("0\r\na : b\r\n\r\n", MG_ETRAILER);
    BAD("0\r\na\r\n\r\n", MG_ETRAILER);
    BAD("0\r\na(b): c\r\n\r\n", MG_ETRAILER);
    BAD("0\r\na: \x7f\r\n\r\n", MG_ETRAILER);
}

static void m16_framing_routing_auth_and_control_fields_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {
        "Content-Length",
        "transfer-encoding",
        "HOST",
        "Trailer",
        "Connection",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Authorization",
        "Set-Cookie",
        "Cookie",
        "WWW-Authenticate",
        "Cache-Control",
        "If-Match",
        "Max-Forwards",
        "X-Forwarded-For",
        "Expect",
        "TE",
        "Via",
        "Date",
        "Location",
        "Retry-After",
        "Vary",
        "Age",
        "Range",
        "Proxy-Authenticate",
        "Proxy-Authentication-Info",
        "Upgrade",
        "Expires",
        "Forwarded",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[100];
        const int len = snprintf(text, sizeof text, "0\r\n%s: x\r\n\r\n", names[i]);
        bad(mg_str_make(text, (size_t)len), MG_ETRAILER, __LINE__);
    }
}

static void pieces_of_any_size_give_the_same_result(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "\r\n", "\r",    "\n",           "0",   "1", "3", "a", ";", "x:", " ", "\r\n\r\n",
        "abc",  "0\r\n", "3\r\nabc\r\n", "te:y"};
    const struct mg_chunk_limits tight = {
        .line = 5, .extensions = 6, .trailers = 2, .trailer_bytes = 12};
    srand(9112);
    for (int round = 0; round < 20000; round++) {
        char text[80];
        size_t len = 0;
        for (int k = 1 + rand() % 9; k > 0; k--) {
            const char *part = parts[(size_t)rand() % (sizeof parts / sizeof parts[0])];
            memcpy(text + len, part, strlen(part));
            len += strlen(part);
        }
        decode_all_ways(rand() % 2 ? &tight : &usual, mg_str_make(text, len));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_are_joined_and_the_rest_is_left),
        cmocka_unit_test(extensions_are_dropped),
        cmocka_unit_test(m15_an_extension_is_well_formed_without_blanks),
        cmocka_unit_test(the_octets_of_many_chunks_come_as_one_piece),
        cmocka_unit_test(an_unfinished_body_is_not_done),
        cmocka_unit_test(nothing_is_taken_after_the_end),
        cmocka_unit_test(m02_only_crlf_ends_a_line),
        cmocka_unit_test(m15_a_size_is_hex_digits_only),
        cmocka_unit_test(m15_a_size_has_no_more_than_63_bits),
        cmocka_unit_test(m15_a_chunk_line_may_have_64_bytes_and_not_one_more),
        cmocka_unit_test(m15_extensions_have_a_limit_for_the_whole_message),
        cmocka_unit_test(m16_trailers_have_a_limited_number_and_size),
        cmocka_unit_test(m16_harmless_trailers_are_dropped),
        cmocka_unit_test(m16_trailers_have_good_names_and_no_folding),
        cmocka_unit_test(m16_framing_routing_auth_and_control_fields_are_refused),
        cmocka_unit_test(pieces_of_any_size_give_the_same_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
