/* SPDX-License-Identifier: Apache-2.0 */
/* base/str: views, comparisons and small scans. */
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const mg_str null_view = {NULL, 0};

static void assert_str(mg_str actual, const char *expected)
{
    assert_int_equal(actual.len, strlen(expected));
    assert_memory_equal(actual.len ? actual.ptr : "", expected, actual.len);
}

static void views_know_their_length(void **state)
{
    (void)state;
    assert_int_equal(MG_STR("a\0b").len, 3);
    assert_int_equal(mg_str_from("abc").len, 3);
    assert_int_equal(mg_str_from(NULL).len, 0);
    assert_null(mg_str_from(NULL).ptr);
}

static void slices_are_clipped_to_the_view(void **state)
{
    (void)state;
    const mg_str s = MG_STR("hello");
    assert_str(mg_str_slice(s, 1, 3), "el");
    assert_str(mg_str_slice(s, 0, 5), "hello");
    assert_str(mg_str_slice(s, 3, 99), "lo");
    assert_str(mg_str_slice(s, 9, 99), "");
    assert_str(mg_str_slice(s, 4, 2), "");
    assert_null(mg_str_slice(null_view, 0, 1).ptr);
}

static void equality_looks_at_every_byte(void **state)
{
    (void)state;
    assert_true(mg_str_equal(MG_STR("ab"), MG_STR("ab")));
    assert_false(mg_str_equal(MG_STR("ab"), MG_STR("abc")));
    assert_false(mg_str_equal(MG_STR("a\0b"), MG_STR("a\0c")));
    assert_true(mg_str_equal(null_view, MG_STR("")));
}

static void case_is_ignored_for_ascii_letters_only(void **state)
{
    (void)state;
    assert_true(mg_str_iequal(MG_STR("Content-TYPE"), MG_STR("content-type")));
    assert_false(mg_str_iequal(MG_STR("content_type"), MG_STR("content-type")));
    assert_false(mg_str_iequal(MG_STR("a"), MG_STR("ab")));
    for (int a = 0; a < 256; a++) {
        for (int b = 0; b < 256; b++) {
            const char x = (char)a, y = (char)b;
            const bool letters =
                a != b && (a | 0x20) == (b | 0x20) && (a | 0x20) >= 'a' && (a | 0x20) <= 'z';
            assert_int_equal(mg_str_iequal(mg_str_make(&x, 1), mg_str_make(&y, 1)),
                             a == b || letters);
        }
    }
}

/* Long texts are compared in words: every pair of bytes at every place. */
static void long_texts_differ_in_case_as_short_ones_do(void **state)
{
    (void)state;
    static const size_t lengths[] = {8, 9, 16, 17};
    for (size_t i = 0; i < 4; i++) {
        char left[17], right[17];
        memset(left, 'x', sizeof left);
        memset(right, 'X', sizeof right);
        const mg_str a = mg_str_make(left, lengths[i]), b = mg_str_make(right, lengths[i]);
        for (size_t at = 0; at < lengths[i]; at++) {
            for (unsigned pair = 0; pair < 0x10000; pair++) {
                left[at] = (char)(pair >> 8);
                right[at] = (char)pair;
                if (mg_str_iequal(a, b) !=
                    mg_str_iequal(mg_str_make(left + at, 1), mg_str_make(right + at, 1))) {
                    fail_msg("pair %04x at %zu of %zu", pair, at, lengths[i]);
                }
            }
            left[at] = 'x';
            right[at] = 'X';
        }
    }
}

static void field_names_fold_underscore_and_hyphen(void **state)
{
    (void)state;
    assert_true(mg_str_field_equal(MG_STR("X_Real-ip"), MG_STR("x-real_IP")));
    assert_false(mg_str_field_equal(MG_STR("x.real"), MG_STR("x-real")));
    assert_false(mg_str_field_equal(MG_STR("x-rea"), MG_STR("x-real")));
}

static void prefixes_and_suffixes_are_found(void **state)
{
    (void)state;
    const mg_str s = MG_STR("/api/v1");
    assert_true(mg_str_starts(s, MG_STR("/api")));
    assert_true(mg_str_starts(s, null_view));
    assert_false(mg_str_starts(s, MG_STR("/apj")));
    assert_false(mg_str_starts(s, MG_STR("/api/v1/")));
    assert_true(mg_str_ends(s, MG_STR("v1")));
    assert_true(mg_str_ends(s, s));
    assert_true(mg_str_ends(null_view, null_view));
    assert_false(mg_str_ends(s, MG_STR("v2")));
    assert_false(mg_str_ends(s, MG_STR("x/api/v1")));
}

static int sign(int number)
{
    return (number > 0) - (number < 0);
}

static void order_is_bytewise_and_shorter_first(void **state)
{
    (void)state;
    static const char *const sorted[] = {"", "A", "a", "aa", "ab", "b", "\xff"};
    for (int i = 0; i < 7; i++) {
        for (int j = 0; j < 7; j++) {
            assert_int_equal(sign(mg_str_compare(mg_str_from(sorted[i]), mg_str_from(sorted[j]))),
                             sign(i - j));
        }
    }
    assert_int_equal(mg_str_compare(null_view, null_view), 0);
}

static void find_gives_the_position_at_or_after_a_place(void **state)
{
    (void)state;
    const mg_str s = MG_STR("a,b,c");
    assert_int_equal(mg_str_find(s, ',', 0), 1);
    assert_int_equal(mg_str_find(s, ',', 1), 1);
    assert_int_equal(mg_str_find(s, ',', 2), 3);
    assert_int_equal(mg_str_find(s, ',', 4), -1);
    assert_int_equal(mg_str_find(s, ',', 99), -1);
    assert_int_equal(mg_str_find(null_view, ',', 0), -1);
}

static void marks_are_found_at_every_place_of_every_length(void **state)
{
    (void)state;
    static const char marks[] = "%\\=:";
    char text[41];
    for (size_t length = 0; length <= 40; length++) {
        memset(text, 'a', sizeof text);
        text[length] = '='; /* behind its end */
        assert_false(mg_str_has_one_of(mg_str_make(text, length), marks));
        for (size_t at = 0; at < length; at++) {
            for (size_t mark = 0; mark < 4; mark++) {
                text[at] = marks[mark];
                assert_true(mg_str_has_one_of(mg_str_make(text, length), marks));
            }
            for (int c = 1; c < 256; c++) {
                if (!strchr(marks, c)) {
                    text[at] = (char)c;
                    assert_false(mg_str_has_one_of(mg_str_make(text, length), marks));
                }
            }
            text[at] = 'a';
        }
    }
}

static void trim_takes_blanks_and_tabs_only(void **state)
{
    (void)state;
    assert_str(mg_str_trim(MG_STR(" \ta b\t ")), "a b");
    assert_str(mg_str_trim(MG_STR(" \t ")), "");
    assert_str(mg_str_trim(MG_STR("\r\na\n")), "\r\na\n");
    assert_str(mg_str_trim(null_view), "");
}

static void lists_give_their_elements_without_the_empty_ones(void **state)
{
    (void)state;
    static const char *const expected[] = {"a", "b c", "d"};
    mg_str rest = MG_STR(", a ,,\tb c\t, d,"), element;
    for (int i = 0; i < 3; i++) {
        assert_true(mg_str_next_element(&rest, &element));
        assert_str(element, expected[i]);
    }
    assert_false(mg_str_next_element(&rest, &element));
    rest = MG_STR(" , ,");
    assert_false(mg_str_next_element(&rest, &element));
    rest = null_view;
    assert_false(mg_str_next_element(&rest, &element));
}

static void numbers_are_1_to_19_digits(void **state)
{
    (void)state;
    uint64_t value = 1;
    assert_true(mg_str_to_u64(MG_STR("0"), &value));
    assert_true(value == 0);
    assert_true(mg_str_to_u64(MG_STR("9999999999999999999"), &value));
    assert_true(value == 9999999999999999999U);
    assert_true(mg_str_to_u64(MG_STR("007"), &value));
    assert_true(value == 7);
    static const char *const bad[] = {
        "", "12345678901234567890", "+1", "-1", " 1", "1 ", "1a", "0x1", "1.0", "/", ":"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(mg_str_to_u64(mg_str_from(bad[i]), &value));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_know_their_length),
        cmocka_unit_test(slices_are_clipped_to_the_view),
        cmocka_unit_test(equality_looks_at_every_byte),
        cmocka_unit_test(case_is_ignored_for_ascii_letters_only),
        cmocka_unit_test(long_texts_differ_in_case_as_short_ones_do),
        cmocka_unit_test(field_names_fold_underscore_and_hyphen),
        cmocka_unit_test(prefixes_and_suffixes_are_found),
        cmocka_unit_test(order_is_bytewise_and_shorter_first),
        cmocka_unit_test(find_gives_the_position_at_or_after_a_place),
        cmocka_unit_test(marks_are_found_at_every_place_of_every_length),
        cmocka_unit_test(trim_takes_blanks_and_tabs_only),
        cmocka_unit_test(lists_give_their_elements_without_the_empty_ones),
        cmocka_unit_test(numbers_are_1_to_19_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
