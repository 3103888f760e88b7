/* SPDX-License-Identifier: Apache-2.0 */
/* traceparent. */
#include "wire/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"

static bool is_valid(const char *first, const char *second)
{
    struct mg_arena arena;
    struct mg_headers headers;
    struct mg_trace trace = {.trace_id = {0}};
    mg_arena_init(&arena, 1024);
    mg_headers_init(&headers, &arena);
    mg_headers_add(&headers, MG_STR("TraceParent"), mg_str_from(first));
    if (second) {
        mg_headers_add(&headers, MG_STR("traceparent"), mg_str_from(second));
    }
    const bool valid = mg_trace_of(&headers, &trace);
    if (valid) {
        assert_true(mg_str_equal(trace.trace_id, mg_str_slice(mg_str_from(first), 3, 35)));
        assert_true(mg_str_equal(trace.span_id, mg_str_slice(mg_str_from(first), 36, 52)));
    }
    mg_arena_deinit(&arena);
    return valid;
}

/* After the cases of W3C Trace Context, 3.2. */
static void what_the_standard_allows_is_taken(void **state)
{
    (void)state;
    static const char *const valid[] = {
        "00-" TRACE "-" SPAN "-01", "00-" TRACE "-" SPAN "-00",         "00-" TRACE "-" SPAN "-ff",
        "01-" TRACE "-" SPAN "-01", "cc-" TRACE "-" SPAN "-01-more.",   "cc-" TRACE "-" SPAN "-01-",
        "fe-" TRACE "-" SPAN "-01", "00-" TRACE "-0000000000000001-01",
    };
    for (size_t i = 0; i < sizeof valid / sizeof valid[0]; i++) {
        assert_true(is_valid(valid[i], NULL));
    }
}

static void anything_else_is_no_trace(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "00",
        "00-" TRACE "-" SPAN,
        "00-" TRACE "-" SPAN "-",
        "00-" TRACE "-" SPAN "-0",
        "00-" TRACE "-" SPAN "-01-", /* of version 00 nothing follows */
        "00-" TRACE "-" SPAN "-01-more",
        "00-" TRACE "-" SPAN "-011",
        "cc-" TRACE "-" SPAN "-01.more",
        "ff-" TRACE "-" SPAN "-01",
        "0g-" TRACE "-" SPAN "-01",
        "0A-" TRACE "-" SPAN "-01",
        "00-" TRACE "-" SPAN "-0x",
        "00-" TRACE "-" SPAN "-0A",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01",
        "00-" TRACE "-B7AD6B7169203331-01",
        "00_" TRACE "-" SPAN "-01",
        "00-" TRACE "_" SPAN "-01",
        "00-" TRACE "-" SPAN "_01",
        "00-" TRACE "." SPAN "-01",
        "00-0af7651916cd43dd8448eb211c8031-" SPAN "-01xx",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(is_valid(bad[i], NULL));
    }
}

static void two_fields_are_none(void **state)
{
    (void)state;
    static const char one[] = "00-" TRACE "-" SPAN "-01";
    assert_false(is_valid(one, one));
    struct mg_arena arena;
    struct mg_headers headers;
    struct mg_trace trace;
    mg_arena_init(&arena, 1024);
    mg_headers_init(&headers, &arena);
    assert_false(mg_trace_of(&headers, &trace));
    mg_arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_standard_allows_is_taken),
        cmocka_unit_test(anything_else_is_no_trace),
        cmocka_unit_test(two_fields_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
