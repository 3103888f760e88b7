/* SPDX-License-Identifier: Apache-2.0 */
/* The echo of WebSocket frames (RFC 6455, 5). */
#include "echo_websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Feeds the bytes in pieces of that size; the answer as a view. */
static mg_str feed(struct mg_echo_websocket *ws, struct mg_buf *out, mg_str bytes, size_t piece)
{
    *ws = (struct mg_echo_websocket){.done = false};
    mg_buf_init(out, 1 << 20);
    for (size_t at = 0; at < bytes.len; at += piece) {
        mg_echo_websocket_feed(ws, mg_str_slice(bytes, at, at + piece), out);
    }
    return mg_buf_view(out);
}

/* RFC 6455, 5.7: "Hello" from a client, then from a server. */
static const char hello[] = "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
static const char hello_back[] = "\x81\x05Hello";

static void a_text_comes_back_unmasked_however_it_is_cut(void **state)
{
    (void)state;
    for (size_t piece = 1; piece <= sizeof hello - 1; piece++) {
        struct mg_echo_websocket ws;
        struct mg_buf out;
        const mg_str back = feed(&ws, &out, mg_str_from(hello), piece);
        assert_int_equal(back.len, sizeof hello_back - 1);
        assert_memory_equal(back.ptr, hello_back, back.len);
        assert_false(ws.broken || ws.done);
        mg_buf_deinit(&out);
    }
}

static void a_long_message_keeps_its_16_bit_length(void **state)
{
    (void)state;
    static char frame[8 + 300] = {(char)0x82, (char)(0x80 | 126), 1, 44}; /* 300, mask 0 */
    struct mg_echo_websocket ws;
    struct mg_buf out;
    memset(frame + 8, 'x', 300);
    const mg_str back = feed(&ws, &out, mg_str_make(frame, sizeof frame), 7);
    assert_int_equal(back.len, 4 + 300);
    assert_memory_equal(back.ptr, "\x82\x7e\x01\x2c", 4);
    assert_int_equal(back.ptr[303], 'x');
    mg_buf_deinit(&out);
}

static void a_ping_is_answered_by_a_pong(void **state)
{
    (void)state;
    static const char ping[] = "\x89\x81\x00\x00\x00\x00p";
    struct mg_echo_websocket ws;
    struct mg_buf out;
    const mg_str back = feed(&ws, &out, mg_str_make(ping, sizeof ping - 1), 3);
    assert_true(mg_str_equal(back, MG_STR("\x8a\x01p")));
    mg_buf_deinit(&out);
}

static void a_close_ends_it(void **state)
{
    (void)state;
    static const char frames[] = "\x88\x80\x00\x00\x00\x00\x89\x80\x00\x00\x00\x00";
    struct mg_echo_websocket ws;
    struct mg_buf out;
    const mg_str back = feed(&ws, &out, mg_str_make(frames, sizeof frames - 1), 100);
    assert_true(mg_str_equal(back, mg_str_make("\x88\x00", 2))); /* and nothing after it */
    assert_true(ws.done);
    mg_buf_deinit(&out);
}

static void frames_that_no_client_may_send_break_it(void **state)
{
    (void)state;
    static const char *const frames[] = {
        "\x81\x05Hello",                    /* not masked */
        "\xc1\x85\x37\xfa\x21\x3d",         /* a reserved bit */
        "\x83\x81\x01\x01\x01\x01",         /* a reserved opcode */
        "\x89\xfe\x7f\x7f\x01\x01\x01\x01", /* a long ping */
    };
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
        struct mg_echo_websocket ws;
        struct mg_buf out;
        (void)feed(&ws, &out, mg_str_from(frames[i]), 100);
        assert_true(ws.broken);
        mg_buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_comes_back_unmasked_however_it_is_cut),
        cmocka_unit_test(a_long_message_keeps_its_16_bit_length),
        cmocka_unit_test(a_ping_is_answered_by_a_pong),
        cmocka_unit_test(a_close_ends_it),
        cmocka_unit_test(frames_that_no_client_may_send_break_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
