/* SPDX-License-Identifier: Apache-2.0 */
/* wire/uri: the steps of docs/threat-model.md one by one, targets and decoded views. */
#include "wire/uri.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct mg_uri_rules strict = {0};

/* Asserts what a path becomes (NULL: refused), and that this does not change again. */
static void check(const struct mg_uri_rules *rules, mg_str path, const char *expected, int line)
{
    struct mg_arena arena;
    mg_arena_init(&arena, 256);
    mg_str out, again;
    const int err = mg_uri_canonical_path(&arena, path, rules, &out);
    const bool same = !err && expected && mg_str_equal(out, mg_str_from(expected));
    if (err ? expected != NULL : !same) {
        print_error("line %d: '%.*s' became '%.*s'\n", line, MG_STR_ARG(path),
                    err ? 0 : (int)out.len, err ? "" : out.ptr);
        fail();
    }
    assert_true(err == 0 || err == MG_ETARGET);
    if (!err) {
        assert_int_equal(mg_uri_canonical_path(&arena, out, rules, &again), 0);
        assert_ptr_equal(again.ptr, out.ptr);
        assert_int_equal(again.len, out.len);
        assert_true(!mg_str_equal(path, out) || path.ptr == out.ptr);
    }
    mg_arena_deinit(&arena);
}

#define PATH(text, expected) check(&strict, MG_STR(text), expected, __LINE__)

static void a_canonical_path_is_returned_as_it_is(void **state)
{
    (void)state;
    PATH("/", "/");
    PATH("/a/b.c/d-e_f~g", "/a/b.c/d-e_f~g");
    PATH("/a/!$&'()*+,;=:@", "/a/!$&'()*+,;=:@");
    PATH("/a/.hidden/...", "/a/.hidden/...");
    PATH("/a%20b/", "/a%20b/");
}

static void a_path_begins_with_a_slash(void **state)
{
    (void)state;
    PATH("", NULL);
    PATH("a", NULL);
    PATH("a/b", NULL);
    PATH("%2Fa", NULL);
}

static void what_is_never_in_a_path_is_refused(void **state)
{
    (void)state;
    PATH("/a#b", NULL);
    PATH("/a\\b", NULL);
    PATH("/%", NULL);
    PATH("/%2", NULL);
    PATH("/%zz", NULL);
    PATH("/%2g", NULL);
    PATH("/%%32", NULL);
    PATH("/a\x01", NULL);
    PATH("/a\x7f", NULL);
    check(&strict, mg_str_make("/a\0b", 4), NULL, __LINE__);
    for (int c = 0x80; c < 0x100; c++) {
        const char text[] = {'/', (char)c};
        check(&strict, mg_str_make(text, 2), NULL, __LINE__);
    }
}

static void unreserved_escapes_are_decoded_once(void **state)
{
    (void)state;
    PATH("/%61%7a%41%5A%30%39%2d%2e%5f%7E", "/azAZ09-._~");
    PATH("/%252e", "/%252e");
    PATH("/%2525", "/%2525");
    PATH("/%25%32%65", "/%252e");
    PATH("/a/%2e%2E/b", "/b");
    PATH("/a/%2e/b", "/a/b");
}

static void other_escapes_get_upper_case_digits(void **state)
{
    (void)state;
    PATH("/%3b%3a%3d", "/%3B%3A%3D");
    PATH("/a%3fb%23", "/a%3Fb%23");
    PATH("/%c3%a9", "/%C3%A9");
}

static void ambiguous_escapes_are_refused(void **state)
{
    (void)state;
    PATH("/a%2fb", NULL);
    PATH("/a%2Fb", NULL);
    PATH("/a%5cb", NULL);
    PATH("/a%5Cb", NULL);
    for (int c = 0; c < 0x20; c++) {
        char text[8];
        const int len = snprintf(text, sizeof text, "/a%%%02x", c);
        check(&strict, mg_str_make(text, (size_t)len), NULL, __LINE__);
    }
    PATH("/%7f", NULL);
    PATH("/%7F", NULL);
}

static void escapes_beyond_ascii_are_valid_utf8(void **state)
{
    (void)state;
    PATH("/%C2%80/%DF%BF/%E0%A0%80/%ED%9F%BF/%EE%80%80/%F0%90%80%80/%F4%8F%BF%BF",
         "/%C2%80/%DF%BF/%E0%A0%80/%ED%9F%BF/%EE%80%80/%F0%90%80%80/%F4%8F%BF%BF");
    PATH("/%80", NULL);
    PATH("/%C0%AF", NULL);    /* overlong '/' */
    PATH("/%C1%81", NULL);    /* overlong 'A' */
    PATH("/%E0%80%AF", NULL); /* overlong */
    PATH("/%E0%9F%BF", NULL); /* overlong */
    PATH("/%F0%8F%BF%BF", NULL);
    PATH("/%ED%A0%80", NULL); /* surrogate */
    PATH("/%F4%90%80%80", NULL);
    PATH("/%F5%80%80%80", NULL);
    PATH("/%FF", NULL);
    PATH("/%C3", NULL);
    PATH("/%C3x", NULL);
    PATH("/%C3/%A9", NULL);
    PATH("/%E2%82", NULL);
    PATH("/%C3%A9%A9", NULL);
    const struct mg_uri_rules any = {.any_utf8 = true};
    check(&any, MG_STR("/%c0%af%ff"), "/%C0%AF%FF", __LINE__);
}

static void bytes_that_are_not_allowed_are_encoded(void **state)
{
    (void)state;
    PATH("/a b\"<>[]^`{|}?", "/a%20b%22%3C%3E%5B%5D%5E%60%7B%7C%7D%3F");
}

static void slashes_are_merged_unless_kept(void **state)
{
    (void)state;
    PATH("//", "/");
    PATH("//x", "/x");
    PATH("/a//b///c//", "/a/b/c/");
    const struct mg_uri_rules keep = {.keep_slashes = true};
    check(&keep, MG_STR("/a//b///c//"), "/a//b///c//", __LINE__);
    check(&keep, MG_STR("//evil.example/x"), "/evil.example/x", __LINE__);
    check(&keep, MG_STR("/a//../b"), "/a/b", __LINE__);
    check(&keep, MG_STR("/a/..//b"), "/b", __LINE__);
    check(&keep, MG_STR("/a//.//b/."), "/a///b/", __LINE__);
    check(&keep, MG_STR("//.."), NULL, __LINE__);
}

static void dot_segments_are_removed(void **state)
{
    (void)state;
    PATH("/.", "/");
    PATH("/./", "/");
    PATH("/a/.", "/a/");
    PATH("/a/./b", "/a/b");
    PATH("/a/..", "/");
    PATH("/a/../", "/");
    PATH("/a/b/..", "/a/");
    PATH("/a/b/c/./../../g", "/a/g"); /* RFC 3986, 5.2.4 */
    PATH("/a//../b", "/b");
    PATH("/a/..b/.c/d..", "/a/..b/.c/d..");
}

static void climbing_above_the_root_is_refused(void **state)
{
    (void)state;
    PATH("/..", NULL);
    PATH("/../", NULL);
    PATH("/../a", NULL);
    PATH("/a/../../b", NULL);
    PATH("/%2e%2e/a", NULL);
    PATH("/./..", NULL);
    PATH("//..", NULL);
}

static void dot_segments_in_disguise_are_refused(void **state)
{
    (void)state;
    PATH("/a/..;x/b", NULL);
    PATH("/a/..;/b", NULL);
    PATH("/a/.;x", NULL);
    PATH("/a/%2e%2e;x", NULL);
    PATH("/a/..%3bx", NULL);
    PATH("/a/...;x", "/a/...;x");
    PATH("/a/b..;x", "/a/b..;x");
    PATH("/a/;x", "/a/;x");
    const struct mg_uri_rules keep = {.keep_encoded_slash = true};
    check(&keep, MG_STR("/a%2fb%5cc"), "/a%2Fb%5Cc", __LINE__);
    check(&keep, MG_STR("/a/..%2fb"), NULL, __LINE__);
    check(&keep, MG_STR("/a/b%2f..%2fc"), NULL, __LINE__);
    check(&keep, MG_STR("/a/b%2f.."), NULL, __LINE__);
    check(&keep, MG_STR("/a/b%5c..;x"), NULL, __LINE__);
    check(&keep, MG_STR("/a/.%5cb"), NULL, __LINE__);
    check(&keep, MG_STR("/a/b%2f...%2f..c"), "/a/b%2F...%2F..c", __LINE__);
}

/* --- targets --- */

struct target {
    struct mg_arena arena;
    struct mg_uri uri;
    int err;
};

static struct target parse(mg_str text, enum mg_method method)
{
    struct target target;
    mg_arena_init(&target.arena, 256);
    target.err = mg_uri_parse_target(&target.arena, text, method, &strict, &target.uri);
    return target;
}

static void assert_str(mg_str actual, const char *expected)
{
    if (!mg_str_equal(actual, mg_str_from(expected))) {
        print_error("'%.*s' instead of '%s'\n", MG_STR_ARG(actual), expected);
        fail();
    }
}

static void refuse_target(const char *text, enum mg_method method)
{
    struct target target = parse(mg_str_from(text), method);
    if (target.err != MG_ETARGET) {
        print_error("'%s' was accepted\n", text);
        fail();
    }
    mg_arena_deinit(&target.arena);
}

static void a_target_is_split_into_path_and_query(void **state)
{
    (void)state;
    struct target target = parse(MG_STR("/a%62//c?x=%61&y=/?"), MG_METHOD_GET);
    assert_int_equal(target.err, 0);
    assert_str(target.uri.path, "/ab/c");
    assert_str(target.uri.raw_path, "/a%62//c");
    assert_true(target.uri.has_query);
    assert_str(target.uri.query, "x=%61&y=/?");
    assert_int_equal(target.uri.authority.len, 0);
    mg_arena_deinit(&target.arena);
}

static void a_bare_question_mark_is_an_empty_query(void **state)
{
    (void)state;
    struct target target = parse(MG_STR("/a?"), MG_METHOD_GET);
    assert_int_equal(target.err, 0);
    assert_true(target.uri.has_query);
    assert_int_equal(target.uri.query.len, 0);
    mg_arena_deinit(&target.arena);
    target = parse(MG_STR("/a"), MG_METHOD_GET);
    assert_false(target.uri.has_query);
    mg_arena_deinit(&target.arena);
}

static void illegal_bytes_of_a_query_are_encoded(void **state)
{
    (void)state;
    struct target target = parse(MG_STR("/?a[]=%zz&b=100%&c=\"\xc3\xa9\\|^%4"), MG_METHOD_GET);
    assert_int_equal(target.err, 0);
    assert_str(target.uri.query, "a%5B%5D=%25zz&b=100%25&c=%22%C3%A9%5C%7C%5E%254");
    mg_str again;
    assert_int_equal(mg_uri_canonical_query(&target.arena, target.uri.query, &again), 0);
    assert_ptr_equal(again.ptr, target.uri.query.ptr);
    mg_arena_deinit(&target.arena);
    refuse_target("/?a#b", MG_METHOD_GET);
    refuse_target("/?a\x01", MG_METHOD_GET);
}

static void absolute_form_gives_authority_and_path(void **state)
{
    (void)state;
    struct target target = parse(MG_STR("HTTP://Example.com:8080/a/../b?q"), MG_METHOD_GET);
    assert_int_equal(target.err, 0);
    assert_str(target.uri.authority, "Example.com:8080");
    assert_int_equal(target.uri.default_port, 80);
    assert_str(target.uri.path, "/b");
    assert_str(target.uri.query, "q");
    mg_arena_deinit(&target.arena);
    target = parse(MG_STR("https://e?q"), MG_METHOD_GET);
    assert_int_equal(target.err, 0);
    assert_str(target.uri.path, "/");
    assert_str(target.uri.authority, "e");
    assert_int_equal(target.uri.default_port, 443);
    mg_arena_deinit(&target.arena);
}

static void m19_other_forms_of_target_are_refused(void **state)
{
    (void)state;
    refuse_target("", MG_METHOD_GET);
    refuse_target("example.com:80", MG_METHOD_GET);
    refuse_target("ftp://example.com/", MG_METHOD_GET);
    refuse_target("http:/example.com/", MG_METHOD_GET);
    refuse_target("http:///path", MG_METHOD_GET);
    refuse_target("http://", MG_METHOD_GET);
    refuse_target("http://user@example.com/", MG_METHOD_GET);
    refuse_target("http://user:pw@example.com/", MG_METHOD_GET);
    refuse_target("http://example.com\\@evil/", MG_METHOD_GET);
    refuse_target("http://example.com#/", MG_METHOD_GET);
    refuse_target("*", MG_METHOD_GET);
    refuse_target("*a", MG_METHOD_OPTIONS);
    refuse_target("/a#b", MG_METHOD_GET);
    refuse_target("/\\", MG_METHOD_GET);
    refuse_target("/%zz", MG_METHOD_GET);
}

static void the_asterisk_is_for_options_only(void **state)
{
    (void)state;
    static const char *const forms[] = {"*", "http://example.com"};
    for (size_t i = 0; i < 2; i++) {
        struct target target = parse(mg_str_from(forms[i]), MG_METHOD_OPTIONS);
        assert_int_equal(target.err, 0);
        assert_str(target.uri.path, "*");
        mg_arena_deinit(&target.arena);
    }
    struct target target = parse(MG_STR("http://example.com"), MG_METHOD_GET);
    assert_str(target.uri.path, "/");
    mg_arena_deinit(&target.arena);
}

/* --- views --- */

static void decoding_leaves_bad_escapes_as_text(void **state)
{
    (void)state;
    struct mg_arena arena;
    mg_arena_init(&arena, 256);
    assert_str(mg_uri_decode(&arena, MG_STR("a%20b%2Bc+d%zz%4"), true), "a b+c d%zz%4");
    assert_str(mg_uri_decode(&arena, MG_STR("a%20b%2bc+d%25%"), false), "a b+c+d%%");
    const mg_str plain = MG_STR("plain+text");
    assert_ptr_equal(mg_uri_decode(&arena, plain, false).ptr, plain.ptr);
    mg_arena_deinit(&arena);
}

static void arguments_are_the_pieces_that_are_not_empty(void **state)
{
    (void)state;
    assert_int_equal(mg_uri_count_args(MG_STR("")), 0);
    assert_int_equal(mg_uri_count_args(MG_STR("&&")), 0);
    assert_int_equal(mg_uri_count_args(MG_STR("a")), 1);
    assert_int_equal(mg_uri_count_args(MG_STR("a=1&b&&c=&")), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_canonical_path_is_returned_as_it_is),
        cmocka_unit_test(a_path_begins_with_a_slash),
        cmocka_unit_test(what_is_never_in_a_path_is_refused),
        cmocka_unit_test(unreserved_escapes_are_decoded_once),
        cmocka_unit_test(other_escapes_get_upper_case_digits),
        cmocka_unit_test(ambiguous_escapes_are_refused),
        cmocka_unit_test(escapes_beyond_ascii_are_valid_utf8),
        cmocka_unit_test(bytes_that_are_not_allowed_are_encoded),
        cmocka_unit_test(slashes_are_merged_unless_kept),
        cmocka_unit_test(dot_segments_are_removed),
        cmocka_unit_test(climbing_above_the_root_is_refused),
        cmocka_unit_test(dot_segments_in_disguise_are_refused),
        cmocka_unit_test(a_target_is_split_into_path_and_query),
        cmocka_unit_test(a_bare_question_mark_is_an_empty_query),
        cmocka_unit_test(illegal_bytes_of_a_query_are_encoded),
        cmocka_unit_test(absolute_form_gives_authority_and_path),
        cmocka_unit_test(m19_other_forms_of_target_are_refused),
        cmocka_unit_test(the_asterisk_is_for_options_only),
        cmocka_unit_test(decoding_leaves_bad_escapes_as_text),
        cmocka_unit_test(arguments_are_the_pieces_that_are_not_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
