/* SPDX-License-Identifier: Apache-2.0 */
/* wire/regex: matches, groups, names, and the limits that stop a hostile subject. */
#include "wire/regex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LIMIT = 100000 };

static struct mg_regex *compile(const char *pattern, unsigned flags)
{
    struct mg_regex *regex;
    char message[200] = "";
    if (mg_regex_new(&regex, mg_str_from(pattern), flags, message, sizeof message)) {
        print_error("%s: %s\n", pattern, message);
        fail();
    }
    return regex;
}

static bool matches(const char *pattern, unsigned flags, const char *subject)
{
    struct mg_regex *regex = compile(pattern, flags);
    struct mg_regex_match match;
    const int found = mg_regex_exec(regex, mg_str_from(subject), 0, LIMIT, &match);
    mg_regex_free(regex);
    assert_in_range(found, 0, 1);
    return found == 1;
}

static void assert_str(mg_str actual, const char *expected)
{
    assert_int_equal(actual.len, strlen(expected));
    assert_memory_equal(actual.ptr, expected, actual.len);
}

static void groups_are_slices_of_the_subject(void **state)
{
    (void)state;
    struct mg_regex *regex = compile("^/users/(?<id>\\d+)(/x)?(/y)?", 0);
    struct mg_regex_match match;
    const mg_str subject = MG_STR("/users/42/y");
    assert_int_equal(mg_regex_exec(regex, subject, 0, LIMIT, &match), 1);
    assert_int_equal(match.count, 4);
    assert_str(match.at[0], "/users/42/y");
    assert_str(match.at[1], "42");
    assert_ptr_equal(match.at[1].ptr, subject.ptr + 7);
    assert_null(match.at[2].ptr);
    assert_str(match.at[3], "/y");
    assert_str(mg_regex_group_name(regex, 1), "id");
    assert_int_equal(mg_regex_group_name(regex, 0).len, 0);
    assert_int_equal(mg_regex_group_name(regex, 2).len, 0);
    assert_int_equal(mg_regex_group_name(regex, 99).len, 0);
    assert_int_equal(mg_regex_group_name(regex, -1).len, 0);
    mg_regex_free(regex);
}

static void flags_change_case_and_anchoring(void **state)
{
    (void)state;
    assert_false(matches("abc", 0, "xABC"));
    assert_true(matches("abc", MG_REGEX_CASELESS, "xABC"));
    assert_false(matches("abc", MG_REGEX_ANCHORED, "xabc"));
    assert_true(matches("abc", MG_REGEX_ANCHORED, "abcx"));
    assert_false(matches("/a|/b", MG_REGEX_ANCHORED, "x/b")); /* every alternative */
    assert_true(matches("/a|/b", MG_REGEX_ANCHORED, "/b"));
}

static void matching_starts_at_an_offset(void **state)
{
    (void)state;
    struct mg_regex *regex = compile("a", 0);
    struct mg_regex_match match;
    const mg_str subject = MG_STR("abca");
    assert_int_equal(mg_regex_exec(regex, subject, 1, LIMIT, &match), 1);
    assert_ptr_equal(match.at[0].ptr, subject.ptr + 3);
    assert_int_equal(mg_regex_exec(regex, subject, 4, LIMIT, &match), 0);
    assert_int_equal(mg_regex_exec(regex, subject, 5, LIMIT, &match), 0);
    assert_int_equal(match.count, 0);
    mg_regex_free(regex);
}

static void empty_patterns_and_subjects_match(void **state)
{
    (void)state;
    struct mg_regex *regex;
    struct mg_regex_match match;
    char message[100];
    assert_int_equal(mg_regex_new(&regex, mg_str_make(NULL, 0), 0, message, sizeof message), 0);
    assert_int_equal(mg_regex_exec(regex, mg_str_make(NULL, 0), 0, LIMIT, &match), 1);
    assert_int_equal(match.count, 1);
    assert_int_equal(match.at[0].len, 0);
    mg_regex_free(regex);
}

static void a_bad_pattern_is_explained_with_its_place(void **state)
{
    (void)state;
    struct mg_regex *regex;
    char message[200];
    assert_int_equal(mg_regex_new(&regex, MG_STR("a(b"), 0, message, sizeof message), MG_EINVALID);
    assert_null(regex);
    assert_non_null(strstr(message, "at offset 3"));
    char small[8];
    assert_int_equal(mg_regex_new(&regex, MG_STR("a(b"), 0, small, sizeof small), MG_EINVALID);
    assert_int_equal(strlen(small), 7);
    assert_int_equal(mg_regex_new(&regex, MG_STR("\\C"), 0, message, sizeof message), MG_EINVALID);
}

static void sixteen_groups_are_reported_of_more(void **state)
{
    (void)state;
    struct mg_regex *regex =
        compile("(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)(k)(l)(m)(n)(o)(p)(?<last>q)", 0);
    struct mg_regex_match match;
    assert_int_equal(mg_regex_exec(regex, MG_STR("abcdefghijklmnopq"), 0, LIMIT, &match), 1);
    assert_int_equal(match.count, MG_REGEX_GROUPS);
    assert_str(match.at[15], "o");
    assert_str(mg_regex_group_name(regex, 17), "last");
    mg_regex_free(regex);
}

static void bytes_are_not_characters(void **state)
{
    (void)state;
    struct mg_regex *regex = compile("^.{3}$", 0);
    struct mg_regex_match match;
    assert_int_equal(mg_regex_exec(regex, mg_str_make("\xff\0\xfe", 3), 0, LIMIT, &match), 1);
    mg_regex_free(regex);
}

static void catastrophic_backtracking_ends_at_the_match_limit(void **state)
{
    (void)state;
    struct mg_regex *regex = compile("^(a+)+$", 0);
    struct mg_regex_match match;
    char subject[64];
    memset(subject, 'a', sizeof subject);
    subject[sizeof subject - 1] = '!';
    assert_int_equal(mg_regex_exec(regex, mg_str_make(subject, sizeof subject), 0, LIMIT, &match),
                     MG_EFULL);
    assert_int_equal(match.count, 0);
    assert_int_equal(mg_regex_exec(regex, MG_STR("aaa"), 0, LIMIT, &match), 1); /* still usable */
    mg_regex_free(regex);
}

static void a_match_that_needs_much_stack_still_ends(void **state)
{
    (void)state;
    struct mg_regex *regex = compile("^(?:(a|b)|(c))*?z", 0);
    struct mg_regex_match match;
    enum { BYTES = 60000 };
    char *subject = malloc(BYTES);
    memset(subject, 'a', BYTES);
    subject[BYTES - 1] = 'z';
    /* some machine stacks and JITs need no retry; what counts is one of the two honest results */
    for (int length = 1000; length <= BYTES; length += BYTES - 1000) {
        const mg_str text = mg_str_make(subject + BYTES - length, (size_t)length);
        const int found = mg_regex_exec(regex, text, 0, 100 * BYTES, &match);
        assert_int_equal(found, 1);
        assert_int_equal(match.at[0].len, length);
    }
    free(subject);
    mg_regex_free(regex);
}

static void freeing_nothing_is_harmless(void **state)
{
    (void)state;
    mg_regex_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_are_slices_of_the_subject),
        cmocka_unit_test(flags_change_case_and_anchoring),
        cmocka_unit_test(matching_starts_at_an_offset),
        cmocka_unit_test(empty_patterns_and_subjects_match),
        cmocka_unit_test(a_bad_pattern_is_explained_with_its_place),
        cmocka_unit_test(sixteen_groups_are_reported_of_more),
        cmocka_unit_test(bytes_are_not_characters),
        cmocka_unit_test(catastrophic_backtracking_ends_at_the_match_limit),
        cmocka_unit_test(a_match_that_needs_much_stack_still_ends),
        cmocka_unit_test(freeing_nothing_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
