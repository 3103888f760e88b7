/* SPDX-License-Identifier: Apache-2.0 */
/* wire/rules: fields the gateway adds, its own name in Via, and WebSocket keys. */
#include "wire/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
    struct mg_arena arena;
    struct mg_headers headers;
};

static int set_up(void **state)
{
    struct fixture *fixture = malloc(sizeof *fixture);
    mg_arena_init(&fixture->arena, 1024);
    mg_headers_init(&fixture->headers, &fixture->arena);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    mg_arena_deinit(&fixture->arena);
    free(fixture);
    return 0;
}

static struct mg_headers *table(void **state)
{
    return &((struct fixture *)*state)->headers;
}

static void assert_table(const struct mg_headers *headers, const char *expected)
{
    char text[1024];
    size_t len = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < headers->count; i++) {
        const struct mg_header *field = &headers->items[i];
        len += (size_t)snprintf(text + len, sizeof text - len, "%.*s: %.*s\n",
                                MG_STR_ARG(field->name), MG_STR_ARG(field->value));
        assert_true(len < sizeof text);
    }
    assert_string_equal(text, expected);
}

static struct mg_rules_forward forward_example(void)
{
    return (struct mg_rules_forward){.peer_ip = MG_STR("192.0.2.7"),
                                     .proto = MG_STR("http"),
                                     .host = MG_STR("api.example.com:8000"),
                                     .port = 8000,
                                     .path = MG_STR("/v1/users"),
                                     .via = MG_STR("moongate"),
                                     .minor = 1};
}

static void forwarding_fields_are_added(void **state)
{
    const struct mg_rules_forward forward = forward_example();
    mg_rules_add_forwarding(table(state), &forward);
    assert_table(table(state), "X-Forwarded-For: 192.0.2.7\n"
                               "X-Forwarded-Proto: http\n"
                               "X-Forwarded-Host: api.example.com:8000\n"
                               "X-Forwarded-Port: 8000\n"
                               "X-Forwarded-Path: /v1/users\n"
                               "Via: 1.1 moongate\n");
}

static void a_prefix_is_told_only_when_one_was_stripped(void **state)
{
    struct mg_rules_forward forward = forward_example();
    forward.prefix = MG_STR("/v1");
    forward.via = MG_STR("");
    forward.port = 65535;
    mg_rules_add_forwarding(table(state), &forward);
    assert_table(table(state), "X-Forwarded-For: 192.0.2.7\n"
                               "X-Forwarded-Proto: http\n"
                               "X-Forwarded-Host: api.example.com:8000\n"
                               "X-Forwarded-Port: 65535\n"
                               "X-Forwarded-Path: /v1/users\n"
                               "X-Forwarded-Prefix: /v1\n");
}

static void a_trusted_peers_values_are_kept_and_its_list_is_extended(void **state)
{
    struct mg_headers *headers = table(state);
    struct mg_rules_forward forward = forward_example();
    forward.prefix = MG_STR("/v1");
    forward.minor = 0;
    mg_headers_add(headers, MG_STR("x-forwarded-for"), MG_STR("203.0.113.9"));
    mg_headers_add(headers, MG_STR("X-Forwarded-For"), MG_STR("198.51.100.1, 198.51.100.2"));
    mg_headers_add(headers, MG_STR("X-Forwarded-Proto"), MG_STR("https"));
    mg_headers_add(headers, MG_STR("X-Forwarded-Host"), MG_STR("h"));
    mg_headers_add(headers, MG_STR("X-Forwarded-Port"), MG_STR("443"));
    mg_headers_add(headers, MG_STR("X-Forwarded-Path"), MG_STR("/p"));
    mg_headers_add(headers, MG_STR("X-Forwarded-Prefix"), MG_STR("/q"));
    mg_headers_add(headers, MG_STR("Via"), MG_STR("1.1 edge"));
    mg_rules_add_forwarding(headers, &forward);
    assert_table(headers, "X-Forwarded-For: 203.0.113.9, 198.51.100.1, 198.51.100.2, 192.0.2.7\n"
                          "X-Forwarded-Proto: https\n"
                          "X-Forwarded-Host: h\n"
                          "X-Forwarded-Port: 443\n"
                          "X-Forwarded-Path: /p\n"
                          "X-Forwarded-Prefix: /q\n"
                          "Via: 1.1 edge\n"
                          "Via: 1.0 moongate\n");
}

static void our_pseudonym_is_counted_over_all_via_fields(void **state)
{
    struct mg_headers *headers = table(state);
    assert_int_equal(mg_rules_count_via(headers, MG_STR("moongate")), 0);
    mg_headers_add(headers, MG_STR("Via"), MG_STR("1.1 moongate, 1.0 edge (moongate)"));
    mg_headers_add(headers, MG_STR("x"), MG_STR("1.1 moongate"));
    mg_headers_add(headers, MG_STR("via"), MG_STR("HTTP/1.1  MoonGate (a comment),1.1 moongate2"));
    mg_headers_add(headers, MG_STR("via"), MG_STR("moongate"));
    assert_int_equal(mg_rules_count_via(headers, MG_STR("moongate")), 2);
    assert_int_equal(mg_rules_count_via(headers, MG_STR("")), 0);
}

static void a_websocket_key_is_answered_as_rfc_6455_shows(void **state)
{
    struct fixture *fixture = *state;
    const mg_str accept =
        mg_rules_websocket_accept(&fixture->arena, MG_STR("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_true(mg_str_equal(accept, MG_STR("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(forwarding_fields_are_added),
        TEST(a_prefix_is_told_only_when_one_was_stripped),
        TEST(a_trusted_peers_values_are_kept_and_its_list_is_extended),
        TEST(our_pseudonym_is_counted_over_all_via_fields),
        TEST(a_websocket_key_is_answered_as_rfc_6455_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
