/* SPDX-License-Identifier: Apache-2.0 */
/* Query strings: split, searched, decoded, encoded. */
#include "support/request.h"

#include "script/ffi.h"

static void arguments_come_in_order(void **state)
{
    (void)state;
    const char *text = "a=1&&b&=x&c=&d=1=2";
    const size_t len = strlen(text);
    const struct {
        const char *name, *value;
        int has_value;
    } wanted[] = {{"a", "1", 1}, {"b", "", 0}, {"c", "", 1}, {"d", "1=2", 1}};
    struct mg_ffi_arg arg;
    int at = 0;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        at = mg_ffi_args_next(text, len, at, &arg);
        assert_true(at > 0);
        assert_text(arg.name.ptr, arg.name.len, wanted[i].name);
        assert_text(arg.value.ptr, arg.value.len, wanted[i].value);
        assert_int_equal(arg.has_value, wanted[i].has_value);
    }
    assert_int_equal(mg_ffi_args_next(text, len, at, &arg), 0);
    assert_int_equal(mg_ffi_args_next("", 0, 0, &arg), 0);
    assert_int_equal(mg_ffi_args_next("&&", 2, 0, &arg), 0);
}

static void a_search_compares_decoded_names(void **state)
{
    (void)state;
    const char *text = "ab=1&a%62c=2&a+b=3&abc=4";
    struct mg_ffi_arg arg;
    assert_int_equal(mg_ffi_args_find(text, strlen(text), "abc", 3, &arg), 1);
    assert_text(arg.value.ptr, arg.value.len, "2");
    assert_int_equal(arg.escaped, 1);
    assert_int_equal(mg_ffi_args_find(text, strlen(text), "a b", 3, &arg), 1);
    assert_text(arg.value.ptr, arg.value.len, "3");
    assert_int_equal(mg_ffi_args_find(text, strlen(text), "ab", 2, &arg), 1);
    assert_text(arg.value.ptr, arg.value.len, "1");
    assert_int_equal(arg.escaped, 0);
    assert_int_equal(mg_ffi_args_find(text, strlen(text), "a", 1, &arg), 0);
    assert_int_equal(mg_ffi_args_find(text, strlen(text), "abcd", 4, &arg), 0);
}

static void decoding_leaves_bad_escapes(void **state)
{
    (void)state;
    const char *text = "a%20b+c%zz%4";
    char out[32];
    const int len = mg_ffi_uri_unescape(text, strlen(text), out);
    assert_text(out, (size_t)len, "a b c%zz%4");
}

static void encoding_round_trips_every_byte(void **state)
{
    (void)state;
    char bytes[256], escaped[768], back[768];
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
    }
    const int len = mg_ffi_uri_escape(bytes, sizeof bytes, escaped);
    assert_int_equal(len, 66 + 190 * 3);
    assert_int_equal(mg_ffi_uri_unescape(escaped, (size_t)len, back), 256);
    assert_memory_equal(back, bytes, 256);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_come_in_order),
        cmocka_unit_test(a_search_compares_decoded_names),
        cmocka_unit_test(decoding_leaves_bad_escapes),
        cmocka_unit_test(encoding_round_trips_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
