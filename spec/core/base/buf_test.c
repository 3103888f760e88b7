/* SPDX-License-Identifier: Apache-2.0 */
/* base/buf: growth, the cap, and content that moves only when it must. */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_content(const struct mg_buf *buf, const char *expected)
{
    const mg_str view = mg_buf_view(buf);
    assert_int_equal(view.len, strlen(expected));
    assert_memory_equal(view.len ? view.ptr : "", expected, view.len);
}

static void a_new_buffer_holds_no_memory(void **state)
{
    (void)state;
    struct mg_buf buf;
    mg_buf_init(&buf, 10);
    assert_null(buf.data);
    assert_content(&buf, "");
    assert_int_equal(mg_buf_append(&buf, MG_STR("")), 0);
    assert_null(buf.data);
    mg_buf_consume(&buf, 0);
    mg_buf_deinit(&buf);
}

static void appended_bytes_stand_in_order_and_are_consumed_at_the_front(void **state)
{
    (void)state;
    struct mg_buf buf;
    mg_buf_init(&buf, 100);
    assert_int_equal(mg_buf_append(&buf, MG_STR("hello ")), 0);
    assert_int_equal(mg_buf_append(&buf, MG_STR("world")), 0);
    assert_content(&buf, "hello world");
    mg_buf_consume(&buf, 6);
    assert_content(&buf, "world");
    assert_int_equal(buf.start, 6); /* nothing was moved */
    mg_buf_consume(&buf, 5);
    assert_content(&buf, "");
    assert_int_equal(buf.start, 0);
    mg_buf_deinit(&buf);
}

static void formatted_text_is_added_whole_or_not_at_all(void **state)
{
    (void)state;
    struct mg_buf buf;
    mg_buf_init(&buf, 2000);
    assert_true(mg_buf_put(&buf, "%s %d", "a", 1));
    assert_content(&buf, "a 1");
    assert_true(mg_buf_put(&buf, "%1500d", 7)); /* no line is too long */
    assert_int_equal(buf.len, 1503);
    assert_false(mg_buf_put(&buf, "%497d", 7)); /* no room for the NUL */
    assert_int_equal(buf.len, 1503);
    assert_true(mg_buf_put(&buf, "%496d", 7));
    assert_int_equal(buf.len, 1999);
    assert_true(mg_buf_put(&buf, "%s", ""));
    assert_int_equal(buf.len, 1999);
    mg_buf_deinit(&buf);
}

static void the_cap_may_be_reached_and_not_passed(void **state)
{
    (void)state;
    for (size_t more = 3; more <= 5; more++) {
        struct mg_buf buf;
        mg_buf_init(&buf, 10);
        assert_int_equal(mg_buf_append(&buf, MG_STR("123456")), 0);
        const int err = mg_buf_append(&buf, mg_str_make("abcdef", more));
        assert_int_equal(err, more <= 4 ? 0 : MG_ENO_MEMORY);
        assert_content(&buf, more == 3 ? "123456abc" : more == 4 ? "123456abcd" : "123456");
        mg_buf_deinit(&buf);
    }
}

static void a_size_that_would_overflow_is_refused(void **state)
{
    (void)state;
    struct mg_buf buf;
    mg_buf_init(&buf, SIZE_MAX);
    assert_int_equal(mg_buf_append(&buf, MG_STR("x")), 0);
    assert_null(mg_buf_reserve(&buf, SIZE_MAX));
    assert_content(&buf, "x");
    mg_buf_deinit(&buf);
}

static void consumed_room_is_used_before_growing(void **state)
{
    (void)state;
    struct mg_buf buf;
    char block[200];
    memset(block, 'b', sizeof block);
    mg_buf_init(&buf, 1000);
    assert_int_equal(mg_buf_append(&buf, mg_str_make(block, sizeof block)), 0);
    const size_t size = buf.size;
    mg_buf_consume(&buf, sizeof block - 3);
    for (int i = 0; i < 20; i++) { /* far more than the size, a little at a time */
        assert_int_equal(mg_buf_append(&buf, mg_str_make(block, 100)), 0);
        mg_buf_consume(&buf, 100);
    }
    assert_int_equal(buf.size, size);
    assert_content(&buf, "bbb");
    mg_buf_deinit(&buf);
}

static void reserved_bytes_count_only_when_committed(void **state)
{
    (void)state;
    struct mg_buf buf;
    mg_buf_init(&buf, 1000);
    char *place = mg_buf_reserve(&buf, 500);
    assert_non_null(place);
    memset(place, 'x', 500);
    assert_content(&buf, "");
    mg_buf_commit(&buf, 3);
    assert_content(&buf, "xxx");
    mg_buf_deinit(&buf);
}

static void content_survives_growth(void **state)
{
    (void)state;
    struct mg_buf buf;
    mg_buf_init(&buf, 1 << 20);
    for (int i = 0; i < 50000; i++) {
        const char c = (char)('a' + i % 26);
        assert_int_equal(mg_buf_append(&buf, mg_str_make(&c, 1)), 0);
        if (i % 7 == 0) {
            mg_buf_consume(&buf, 1);
        }
    }
    const mg_str view = mg_buf_view(&buf);
    const size_t gone = 50000 - view.len;
    for (size_t i = 0; i < view.len; i++) {
        assert_int_equal(view.ptr[i], 'a' + (gone + i) % 26);
    }
    mg_buf_deinit(&buf);
}

static void a_buffer_is_usable_after_clear_and_deinit(void **state)
{
    (void)state;
    struct mg_buf buf;
    mg_buf_init(&buf, 100);
    assert_int_equal(mg_buf_append(&buf, MG_STR("abc")), 0);
    const char *data = buf.data;
    mg_buf_clear(&buf);
    assert_content(&buf, "");
    assert_ptr_equal(buf.data, data);
    mg_buf_deinit(&buf);
    assert_null(buf.data);
    assert_int_equal(buf.max_bytes, 100);
    assert_int_equal(mg_buf_append(&buf, MG_STR("d")), 0);
    assert_content(&buf, "d");
    mg_buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_buffer_holds_no_memory),
        cmocka_unit_test(appended_bytes_stand_in_order_and_are_consumed_at_the_front),
        cmocka_unit_test(formatted_text_is_added_whole_or_not_at_all),
        cmocka_unit_test(the_cap_may_be_reached_and_not_passed),
        cmocka_unit_test(a_size_that_would_overflow_is_refused),
        cmocka_unit_test(consumed_room_is_used_before_growing),
        cmocka_unit_test(reserved_bytes_count_only_when_committed),
        cmocka_unit_test(content_survives_growth),
        cmocka_unit_test(a_buffer_is_usable_after_clear_and_deinit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
