/* SPDX-License-Identifier: Apache-2.0 */
/* The literal beginning of a regex: never longer than what it can match. */
#include "model/route_literal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(const char *pattern, const char *wanted)
{
    struct mg_arena arena;
    mg_arena_init(&arena, 512);
    const mg_str text = mg_route_literal_prefix(&arena, mg_str_from(pattern));
    if (text.len != strlen(wanted) || memcmp(text.ptr, wanted, text.len) != 0) {
        fail_msg("%s begins with '%.*s', not '%s'", pattern, MG_STR_ARG(text), wanted);
    }
    mg_arena_deinit(&arena);
}

static void text_before_the_first_operator_is_literal(void **state)
{
    (void)state;
    expect("/users/(?<id>\\d+)", "/users/");
    expect("/users/\\d+", "/users/");
    expect("/a/[bc]", "/a/");
    expect("/a/.*", "/a/");
    expect("/a/b$", "/a/b");
    expect("/whole/path", "/whole/path");
    expect("/a(/b|/c)", "/a");
    expect("", "");
}

static void escaped_punctuation_is_literal(void **state)
{
    (void)state;
    expect("/v1\\.0/x", "/v1.0/x");
    expect("/a\\/b\\+\\?", "/a/b+?");
    expect("/a\\", "/a");
    expect("/a\\Qb\\E", "/a");
}

static void a_quantified_character_is_not_promised(void **state)
{
    (void)state;
    expect("/ab?", "/a");
    expect("/ab*c", "/a");
    expect("/ab{0,3}", "/a");
    expect("/ab{,3}", "/a");
    expect("/ab+", "/a");
    expect("/v\\.?", "/v");
}

static void branches_outside_groups_share_no_beginning(void **state)
{
    (void)state;
    expect("/a|/b", "");
    expect("/a(b)|/b", "");
    expect("/a(b|c)/d", "/a");
    expect("/a\\|b", "/a|b");
    expect("/a([)]|b)", "");    /* a class may hide a parenthesis */
    expect("/a(?#()|/b", "");   /* a comment, too */
    expect("/a(?C'(')|/b", ""); /* and the text of a callout */
    expect("/a\\c(|/b", "");    /* and a control character */
    expect("/a\\Q(\\E|/b", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_before_the_first_operator_is_literal),
        cmocka_unit_test(escaped_punctuation_is_literal),
        cmocka_unit_test(a_quantified_character_is_not_promised),
        cmocka_unit_test(branches_outside_groups_share_no_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
