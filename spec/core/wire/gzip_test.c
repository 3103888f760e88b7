/* SPDX-License-Identifier: Apache-2.0 */
/* wire/gzip against zlib's own reader. */
#include "wire/gzip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zlib.h>

#define MOST (1 << 20)

static void expect_round_trip(mg_str bytes)
{
    struct mg_buf out;
    mg_buf_init(&out, 2 * MOST);
    assert_int_equal(mg_buf_append(&out, MG_STR("before")), 0);
    assert_int_equal(mg_gzip(&out, bytes), 0);
    mg_buf_consume(&out, 6);
    Bytef *back = malloc(MOST + 1);
    assert_non_null(back);
    z_stream stream = {.next_in = (Bytef *)out.data + out.start,
                       .avail_in = (uInt)out.len,
                       .next_out = back,
                       .avail_out = MOST + 1};
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.total_out, bytes.len);
    assert_int_equal(stream.avail_in, 0);
    if (bytes.len > 0) {
        assert_memory_equal(back, bytes.ptr, bytes.len);
    }
    inflateEnd(&stream);
    free(back);
    mg_buf_deinit(&out);
}

static void what_is_packed_can_be_unpacked(void **state)
{
    (void)state;
    char *bytes = malloc(MOST);
    assert_non_null(bytes);
    srand(1);
    for (size_t i = 0; i < MOST; i++) {
        bytes[i] = (char)rand();
    }
    expect_round_trip(mg_str_make(bytes, MOST)); /* cannot be made smaller */
    memset(bytes, 'a', MOST);
    expect_round_trip(mg_str_make(bytes, MOST));
    expect_round_trip(mg_str_make(bytes, 1));
    expect_round_trip(MG_STR(""));
    free(bytes);
}

static void what_does_not_fit_leaves_the_buffer_alone(void **state)
{
    (void)state;
    struct mg_buf out;
    mg_buf_init(&out, 16);
    assert_int_equal(mg_buf_append(&out, MG_STR("before")), 0);
    assert_int_equal(mg_gzip(&out, MG_STR("0123456789")), MG_ENO_MEMORY);
    assert_int_equal(out.len, 6);
    mg_buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_can_be_unpacked),
        cmocka_unit_test(what_does_not_fit_leaves_the_buffer_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
