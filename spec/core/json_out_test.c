/* SPDX-License-Identifier: Apache-2.0 */
/* JSON written value by value. */
#include "json_out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void commas_stand_between_values_and_nowhere_else(void **state)
{
    (void)state;
    struct mg_buf buf;
    struct mg_json_out json = {.buf = &buf};
    mg_buf_init(&buf, 1024);
    mg_json_out_open(&json, '{');
    mg_json_out_key(&json, MG_STR("a"));
    mg_json_out_open(&json, '[');
    mg_json_out_number(&json, 18446744073709551615U);
    mg_json_out_open(&json, '{');
    mg_json_out_close(&json, '}');
    mg_json_out_bool(&json, false);
    mg_json_out_close(&json, ']');
    mg_json_out_text_field(&json, "b", MG_STR("x\"\n\xff"));
    mg_json_out_key(&json, MG_STR("c"));
    mg_json_out_null(&json);
    mg_json_out_close(&json, '}');
    assert_false(json.failed);
    assert_true(
        mg_str_equal(mg_buf_view(&buf), MG_STR("{\"a\":[18446744073709551615,{},false],"
                                               "\"b\":\"x\\\"\\n\xef\xbf\xbd\",\"c\":null}")));
    mg_buf_deinit(&buf);
}

static void long_texts_are_written_whole(void **state)
{
    (void)state;
    static char text[5000];
    struct mg_buf buf;
    struct mg_json_out json = {.buf = &buf};
    memset(text, 1, sizeof text); /* six bytes each */
    mg_buf_init(&buf, 1 << 20);
    mg_json_out_text(&json, mg_str_make(text, sizeof text));
    assert_int_equal(buf.len, 6 * sizeof text + 2);
    mg_buf_deinit(&buf);
}

static void over_the_cap_it_fails_and_stays_failed(void **state)
{
    (void)state;
    struct mg_buf buf;
    struct mg_json_out json = {.buf = &buf};
    mg_buf_init(&buf, 8);
    mg_json_out_text(&json, MG_STR("12345678"));
    assert_true(json.failed);
    mg_json_out_number(&json, 1);
    assert_true(json.failed);
    assert_true(buf.len <= 8);
    mg_buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commas_stand_between_values_and_nowhere_else),
        cmocka_unit_test(long_texts_are_written_whole),
        cmocka_unit_test(over_the_cap_it_fails_and_stays_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
