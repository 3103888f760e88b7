/* SPDX-License-Identifier: Apache-2.0 */
/* What a reload says has changed. */
#include "difference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct entry {
    const char *name, *data;
};

/* A bundle of those entries, the last one without a name. */
static struct mg_bundle bundle_of(const struct entry *entries)
{
    struct mg_bundle_writer writer;
    struct mg_bundle bundle;
    const struct mg_plan plan = {.workers = 1};
    mg_bundle_writer_init(&writer);
    assert_int_equal(mg_bundle_writer_plan(&writer, &plan), 0);
    for (; entries->name; entries++) {
        assert_int_equal(
            mg_bundle_writer_add(&writer, mg_str_from(entries->name), mg_str_from(entries->data)),
            0);
    }
    const int fd = mg_bundle_writer_seal(&writer);
    assert_true(fd >= 0);
    assert_int_equal(mg_bundle_open(&bundle, fd), 0);
    return bundle;
}

static void assert_described(const struct entry *before, const struct entry *after,
                             const char *expected)
{
    struct mg_bundle old = bundle_of(before);
    struct mg_bundle new = bundle_of(after);
    struct mg_buf out;
    mg_buf_init(&out, 4096);
    mg_difference_describe(&old, &new, &out);
    assert_int_equal(mg_buf_append(&out, mg_str_make("", 1)), 0);
    assert_string_equal(mg_buf_view(&out).ptr, expected);
    mg_buf_deinit(&out);
    mg_bundle_close(&old);
    mg_bundle_close(&new);
}

static void entities_are_counted_by_kind(void **state)
{
    (void)state;
    static const struct entry before[] = {
        {"summary", "route a 1\nroute b 1\nservice s 1\nplugin of two words 1\ngateway - 1\n"},
        {NULL, NULL}};
    static const struct entry after[] = {
        {"summary",
         "service s 1\nroute b 2\nroute c 1\nroute d 1\nplugin of two words 2\ngateway - 2\n"},
        {NULL, NULL}};
    assert_described(before, after,
                     "section gateway changed, 1 plugin changed, 2 routes added, 1 route changed, "
                     "1 route removed.\n");
}

static void files_are_named(void **state)
{
    (void)state;
    static const struct entry before[] = {
        {"lua:m.a", "plugins/a.lua\n1"}, {"lua:m.b", "plugins/b.lua\n1"}, {NULL, NULL}};
    static const struct entry after[] = {
        {"lua:m.b", "plugins/b.lua\n2"}, {"lua:m.c", "plugins/c.lua\n1"}, {NULL, NULL}};
    assert_described(before, after,
                     "file plugins/b.lua changed, file plugins/c.lua added, file plugins/a.lua "
                     "removed.\n");
}

static void many_files_are_counted(void **state)
{
    (void)state;
    static const struct entry before[] = {{NULL, NULL}};
    static const struct entry after[] = {{"lua:1", "1\n"}, {"lua:2", "2\n"}, {"lua:3", "3\n"},
                                         {"lua:4", "4\n"}, {"lua:5", "5\n"}, {"lua:6", "6\n"},
                                         {"lua:7", "7\n"}, {NULL, NULL}};
    assert_described(before, after,
                     "file 1 added, file 2 added, file 3 added, file 4 added, file 5 added, 2 more "
                     "files changed.\n");
}

static void the_same_bundle_says_so(void **state)
{
    (void)state;
    static const struct entry same[] = {
        {"config", "{}"}, {"summary", "route a 1\n"}, {"lua:x", "1"}, {NULL, NULL}};
    assert_described(same, same, "Nothing has changed.\n");
}

static void a_change_that_no_entity_shows_is_told_all_the_same(void **state)
{
    (void)state;
    static const struct entry before[] = {{"config", "{1}"}, {NULL, NULL}};
    static const struct entry after[] = {{"config", "{2}"}, {NULL, NULL}};
    assert_described(before, after, "The configuration has changed.\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entities_are_counted_by_kind),
        cmocka_unit_test(files_are_named),
        cmocka_unit_test(many_files_are_counted),
        cmocka_unit_test(the_same_bundle_says_so),
        cmocka_unit_test(a_change_that_no_entity_shows_is_told_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
