/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between master and workers: borders, descriptors, the end. */
#include "channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

static void messages_keep_their_order_and_borders(void **state)
{
    (void)state;
    int ends[2];
    struct mg_channel_message got;
    int fd;
    assert_int_equal(mg_channel_pair(ends), 0);
    for (uint64_t i = 1; i <= 3; i++) {
        const struct mg_channel_message sent = {
            .kind = MG_CHANNEL_BUILT, .number = i, .status = -7, .text = "abc"};
        assert_int_equal(mg_channel_send(ends[0], &sent, -1), 0);
    }
    for (uint64_t i = 1; i <= 3; i++) {
        assert_int_equal(mg_channel_receive(ends[1], &got, &fd), 0);
        assert_int_equal(got.kind, MG_CHANNEL_BUILT);
        assert_int_equal(got.number, i);
        assert_int_equal(got.status, -7);
        assert_string_equal(got.text, "abc");
        assert_int_equal(fd, -1);
    }
    assert_int_equal(mg_channel_receive(ends[1], &got, &fd), MG_EAGAIN);
    close(ends[0]);
    close(ends[1]);
}

static void a_descriptor_passed_is_another_one_of_the_same_file(void **state)
{
    (void)state;
    int ends[2];
    int pipe_ends[2];
    int fd;
    char byte = 0;
    struct mg_channel_message message = {.kind = MG_CHANNEL_PREPARE};
    assert_int_equal(mg_channel_pair(ends), 0);
    assert_int_equal(pipe(pipe_ends), 0);
    assert_int_equal(mg_channel_send(ends[0], &message, pipe_ends[1]), 0);
    close(pipe_ends[1]);
    assert_int_equal(mg_channel_receive(ends[1], &message, &fd), 0);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(read(pipe_ends[0], &byte, 1), 1);
    assert_int_equal(byte, 'x');
    close(fd);
    close(pipe_ends[0]);
    close(ends[0]);
    close(ends[1]);
}

static void the_end_of_the_other_side_is_told(void **state)
{
    (void)state;
    int ends[2];
    int fd;
    struct mg_channel_message message = {.kind = MG_CHANNEL_DRAIN};
    assert_int_equal(mg_channel_pair(ends), 0);
    assert_int_equal(mg_channel_send(ends[0], &message, -1), 0);
    close(ends[0]);
    assert_int_equal(mg_channel_receive(ends[1], &message, &fd), 0);
    assert_int_equal(mg_channel_receive(ends[1], &message, &fd), MG_ECLOSED);
    assert_true(mg_channel_send(ends[1], &message, -1) < 0);
    close(ends[1]);
}

static void a_side_that_does_not_read_never_blocks_the_other(void **state)
{
    (void)state;
    int ends[2];
    const struct mg_channel_message message = {.kind = MG_CHANNEL_REOPEN};
    int err = 0;
    assert_int_equal(mg_channel_pair(ends), 0);
    for (int i = 0; i < 100000 && !err; i++) {
        err = mg_channel_send(ends[0], &message, -1);
    }
    assert_int_equal(err, -11); /* EAGAIN */
    close(ends[0]);
    close(ends[1]);
}

static void texts_of_any_length_travel_whole_up_to_the_cap(void **state)
{
    (void)state;
    static char text[100000];
    struct mg_buf out;
    memset(text, 'a', sizeof text);
    const int fd = mg_channel_put_text(mg_str_make(text, sizeof text));
    assert_true(fd >= 0);
    mg_buf_init(&out, 1 << 20);
    assert_int_equal(mg_channel_get_text(fd, &out), 0);
    assert_int_equal(out.len, sizeof text);
    assert_int_equal(mg_channel_get_text(fd, &out), 0); /* from its start again */
    assert_int_equal(out.len, 2 * sizeof text);
    mg_buf_deinit(&out);
    mg_buf_init(&out, 5000);
    assert_int_equal(mg_channel_get_text(fd, &out), 0);
    assert_true(out.len <= 5000);
    mg_buf_deinit(&out);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_keep_their_order_and_borders),
        cmocka_unit_test(a_descriptor_passed_is_another_one_of_the_same_file),
        cmocka_unit_test(the_end_of_the_other_side_is_told),
        cmocka_unit_test(a_side_that_does_not_read_never_blocks_the_other),
        cmocka_unit_test(texts_of_any_length_travel_whole_up_to_the_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
