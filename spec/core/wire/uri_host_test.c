/* SPDX-License-Identifier: Apache-2.0 */
/* wire/uri: the one form of a host, and rule M11 of docs/threat-model.md. */
#include "wire/uri.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void assert_str(mg_str actual, const char *expected)
{
    if (!mg_str_equal(actual, mg_str_from(expected))) {
        print_error("'%.*s' instead of '%s'\n", MG_STR_ARG(actual), expected);
        fail();
    }
}

static void check_host(const char *text, const char *name, int port)
{
    struct mg_arena arena;
    struct mg_host host;
    mg_arena_init(&arena, 256);
    const int err = mg_uri_parse_host(&arena, mg_str_from(text), &host);
    if (err != (name ? 0 : MG_EHOST)) {
        print_error("host '%s': %s\n", text, mg_err_text(err));
        fail();
    }
    if (name) {
        assert_str(host.name, name);
        assert_int_equal(host.port, port);
    }
    mg_arena_deinit(&arena);
}

static void hosts_have_one_form(void **state)
{
    (void)state;
    check_host("example.com", "example.com", -1);
    check_host("Example.COM:8080", "example.com", 8080);
    check_host("example.com.", "example.com", -1);
    check_host("example.com.:80", "example.com", 80);
    check_host("a_b-c~d.9", "a_b-c~d.9", -1);
    check_host("127.0.0.1:1", "127.0.0.1", 1);
    check_host("h:", "h", -1);
    check_host("h:00080", "h", 80);
    check_host("h:65535", "h", 65535);
    check_host("[::1]", "[::1]", -1);
    check_host("[0:0::0:1]:443", "[::1]", 443);
    check_host("[2001:DB8::ABCD]", "[2001:db8::abcd]", -1);
    check_host("[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", -1);
}

static void m11_bad_hosts_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",         ".",       "..",        ":80",          "a..b",    ".a",        "a..",
        "a,b",      "a@b",     "u:p@a",     "a b",          "a/b",     "a?b",       "a#b",
        "a\\b",     "a%41",    "a\xc3\xa9", "a;b",          "a:65536", "a:0",       "a:99999",
        "a:100000", "a:-1",    "a:+1",      "a:80a",        "a:80:80", "::1",       "[::1",
        "[::1]a",   "[::1]:x", "[]",        "[::1%25eth0]", "[v1.a]",  "[1.2.3.4]", "a]",
        "[::1]]",   " a",      "a\t",       "[:::1]",       "a:8 0",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        check_host(bad[i], NULL, 0);
    }
    struct mg_arena arena;
    struct mg_host host;
    mg_arena_init(&arena, 256);
    assert_int_equal(mg_uri_parse_host(&arena, mg_str_make("a\0b", 3), &host), MG_EHOST);
    assert_int_equal(mg_uri_parse_host(&arena, mg_str_make("[::1\0]", 6), &host), MG_EHOST);
    mg_arena_deinit(&arena);
}

static void a_host_may_have_255_bytes_and_not_one_more(void **state)
{
    (void)state;
    char text[300];
    for (size_t len = 254; len <= 256; len++) {
        memset(text, 'a', len);
        text[len] = '\0';
        check_host(text, len <= 255 ? text : NULL, -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_have_one_form),
        cmocka_unit_test(m11_bad_hosts_are_refused),
        cmocka_unit_test(a_host_may_have_255_bytes_and_not_one_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
