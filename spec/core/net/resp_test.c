/* SPDX-License-Identifier: Apache-2.0 */
/* RESP: trees of replies wherever the bytes are cut, the caps, commands. */
#include "net/resp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char wire[] = "*5\r\n+fine\r\n-ERR no\r\n:-42\r\n$5\r\na\r\nbc\r\n*2\r\n$-1\r\n*0\r\n"
                           "$0\r\n\r\n";

static void expect_text(const struct mg_resp_reply *reply, const struct mg_resp_node *node,
                        enum mg_resp_type type, const char *text)
{
    const mg_str found = mg_resp_text(reply, node);
    assert_int_equal(node->type, type);
    assert_int_equal(found.len, strlen(text));
    assert_memory_equal(found.ptr, text, found.len);
}

static void expect_tree(const struct mg_resp_reply *reply)
{
    assert_int_equal(reply->count, 8);
    assert_int_equal(reply->nodes[0].type, MG_RESP_ARRAY);
    assert_int_equal(reply->nodes[0].value, 5);
    expect_text(reply, mg_resp_element(reply, 0, 0), MG_RESP_STATUS, "fine");
    expect_text(reply, mg_resp_element(reply, 0, 1), MG_RESP_ERROR, "ERR no");
    assert_int_equal(mg_resp_element(reply, 0, 2)->value, -42);
    expect_text(reply, mg_resp_element(reply, 0, 3), MG_RESP_STRING, "a\r\nbc");
    assert_ptr_equal(mg_resp_element(reply, 0, 4), &reply->nodes[5]);
    assert_null(mg_resp_element(reply, 0, 5));
    assert_null(mg_resp_element(reply, 1, 0));
    assert_int_equal(mg_resp_element(reply, 5, 0)->type, MG_RESP_NIL);
    assert_int_equal(mg_resp_element(reply, 5, 1)->type, MG_RESP_ARRAY);
    assert_int_equal(mg_resp_after(reply, 5), 8);
}

static void any_cut_gives_the_same_tree(void **state)
{
    const size_t length = sizeof wire - 1;
    (void)state;
    for (size_t cut = 0; cut <= length; cut++) {
        struct mg_resp_reader *reader = mg_resp_reader_new();
        struct mg_resp_reply *reply;
        assert_int_equal(mg_resp_feed(reader, mg_str_make(wire, cut)), 0);
        if (mg_resp_next(reader, &reply) == MG_EAGAIN) {
            assert_int_equal(mg_resp_feed(reader, mg_str_make(wire + cut, length - cut)), 0);
            assert_int_equal(mg_resp_next(reader, &reply), 0);
        }
        expect_tree(reply);
        if (cut < length - 7) { /* a cut behind the tree leaves the empty text for the next feed */
            assert_int_equal(mg_resp_next(reader, &reply), 0);
            expect_text(reply, &reply->nodes[0], MG_RESP_STRING, "");
            assert_int_equal(mg_resp_next(reader, &reply), MG_EAGAIN);
        }
        mg_resp_reader_free(reader);
    }
}

static int read_one(const char *bytes, size_t length)
{
    struct mg_resp_reader *reader = mg_resp_reader_new();
    struct mg_resp_reply *reply;
    int err = mg_resp_feed(reader, mg_str_make(bytes, length));
    err = err ? err : mg_resp_next(reader, &reply);
    mg_resp_reader_free(reader);
    return err;
}

static int read_text(const char *bytes)
{
    return read_one(bytes, strlen(bytes));
}

static void what_is_no_resp_is_refused(void **state)
{
    (void)state;
    assert_int_equal(read_text("HTTP/1.1 400\r\n"), MG_EBAD_RESPONSE);
    assert_int_equal(read_text(":12x\r\n"), MG_EBAD_RESPONSE);
    assert_int_equal(read_text("$-2\r\n"), MG_EBAD_RESPONSE);
    assert_int_equal(read_text("*-2\r\n"), MG_EBAD_RESPONSE);
    assert_int_equal(read_text("*99999999999\r\n"), MG_EBAD_RESPONSE);
    assert_int_equal(read_text("$12"), MG_EAGAIN);
}

static void depth_is_limited(void **state)
{
    char bytes[128] = "";
    (void)state;
    for (int depth = 1; depth <= 9; depth++) {
        strcat(bytes, "*1\r\n");
        char whole[160];
        snprintf(whole, sizeof whole, "%s:1\r\n", bytes);
        assert_int_equal(read_text(whole), depth <= 8 ? 0 : MG_EBAD_RESPONSE);
    }
}

static void elements_are_limited(void **state)
{
    (void)state;
    assert_int_equal(read_text("*1048576\r\n"), MG_EAGAIN);
    assert_int_equal(read_text("*1048577\r\n"), MG_ERESPONSE_TOO_LARGE);
    assert_int_equal(read_text("*2\r\n*524288\r\n"), MG_EAGAIN);
    assert_int_equal(read_text("*1\r\n*1048576\r\n"), MG_ERESPONSE_TOO_LARGE);
}

/* Feeds a text of that length in pieces, as a connection does. */
static int read_large(size_t length)
{
    static char piece[64 * 1024];
    struct mg_resp_reader *reader = mg_resp_reader_new();
    struct mg_resp_reply *reply;
    char head[32];
    snprintf(head, sizeof head, "$%zu\r\n", length);
    int err = mg_resp_feed(reader, mg_str_from(head));
    err = err ? err : mg_resp_next(reader, &reply);
    memset(piece, 'x', sizeof piece);
    for (size_t sent = 0; sent < length && err == MG_EAGAIN; sent += sizeof piece) {
        const size_t rest = length - sent;
        err = mg_resp_feed(reader, mg_str_make(piece, rest < sizeof piece ? rest : sizeof piece));
        err = err ? err : mg_resp_next(reader, &reply);
    }
    if (err == MG_EAGAIN) {
        err = mg_resp_feed(reader, MG_STR("\r\n"));
        err = err ? err : mg_resp_next(reader, &reply);
    }
    mg_resp_reader_free(reader);
    return err;
}

static void bytes_are_limited(void **state)
{
    (void)state;
    assert_int_equal(read_large(MG_RESP_REPLY_BYTES), 0);
    assert_int_equal(read_large(MG_RESP_REPLY_BYTES + 1), MG_ERESPONSE_TOO_LARGE);
    assert_int_equal(read_large(64 * MG_RESP_REPLY_BYTES), MG_ERESPONSE_TOO_LARGE);
}

static void a_reply_can_be_moved(void **state)
{
    struct mg_resp_reader *reader = mg_resp_reader_new();
    struct mg_resp_reply *reply, mine = {0};
    (void)state;
    assert_int_equal(mg_resp_feed(reader, MG_STR("+one\r\n+two\r\n")), 0);
    assert_int_equal(mg_resp_next(reader, &reply), 0);
    mg_resp_reply_move(&mine, reply);
    assert_int_equal(mg_resp_next(reader, &reply), 0);
    expect_text(&mine, &mine.nodes[0], MG_RESP_STATUS, "one");
    expect_text(reply, &reply->nodes[0], MG_RESP_STATUS, "two");
    mg_resp_reply_deinit(&mine);
    mg_resp_reader_free(reader);
}

static void commands_are_arrays_of_texts(void **state)
{
    const char *argv[] = {"SET", "a\r\nb", ""};
    const size_t lengths[] = {3, 4, 0};
    struct mg_buf out;
    (void)state;
    mg_buf_init(&out, 48);
    assert_int_equal(mg_resp_format(&out, argv, lengths, 3), 0);
    expect_text(&(struct mg_resp_reply){.bytes = out},
                &(struct mg_resp_node){.type = MG_RESP_STRING, .length = (uint32_t)out.len},
                MG_RESP_STRING, "*3\r\n$3\r\nSET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n");
    assert_int_equal(mg_resp_format(&out, argv, lengths, 3), MG_ENO_MEMORY);
    mg_buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_gives_the_same_tree),
        cmocka_unit_test(what_is_no_resp_is_refused),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(elements_are_limited),
        cmocka_unit_test(bytes_are_limited),
        cmocka_unit_test(a_reply_can_be_moved),
        cmocka_unit_test(commands_are_arrays_of_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
