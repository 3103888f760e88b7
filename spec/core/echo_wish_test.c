/* SPDX-License-Identifier: Apache-2.0 */
/* What a request may ask of the echo upstream in its query. */
#include "echo_wish.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct mg_echo_wish wish_of(const char *query)
{
    struct mg_echo_wish wish = {.status = 200};
    mg_echo_wish_query(&wish, mg_str_from(query));
    return wish;
}

static void every_wish_is_read(void **state)
{
    (void)state;
    const struct mg_echo_wish wish = wish_of(
        "status=503&size=64KiB&delay=50&chunked=1&sse=5&close&reset=1&cut=9&fail_rate=25%&raw");
    assert_int_equal(wish.status, 503);
    assert_true(wish.sized && wish.chunked && wish.close && wish.reset && wish.cut && wish.raw);
    assert_int_equal(wish.size, 65536);
    assert_int_equal(wish.delay_ms, 50);
    assert_int_equal(wish.events, 5);
    assert_int_equal(wish.cut_after, 9);
    assert_true(wish.fail_rate == 0.25);
}

static void other_arguments_and_bad_values_change_nothing(void **state)
{
    (void)state;
    static const char *const queries[] = {
        "",           "a=1&b",       "status=99",       "status=600",
        "status=abc", "delay=-1",    "delay=600001",    "fail_rate=2",
        "chunked=0",  "close=false", "&&=&statuses=500"};
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        const struct mg_echo_wish wish = wish_of(queries[i]);
        assert_int_equal(wish.status, 200);
        assert_int_equal(wish.delay_ms, 0);
        assert_false(wish.sized || wish.chunked || wish.close || wish.reset || wish.cut);
        assert_true(wish.fail_rate <= 0);
    }
}

static void the_query_wins_over_the_command_line(void **state)
{
    (void)state;
    struct mg_echo_wish wish = {.status = 500, .chunked = true, .sized = true, .size = 7};
    mg_echo_wish_query(&wish, MG_STR("status=204&chunked=0"));
    assert_int_equal(wish.status, 204);
    assert_false(wish.chunked);
    assert_int_equal(wish.size, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wish_is_read),
        cmocka_unit_test(other_arguments_and_bad_values_change_nothing),
        cmocka_unit_test(the_query_wins_over_the_command_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
