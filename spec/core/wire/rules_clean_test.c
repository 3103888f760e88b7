/* SPDX-License-Identifier: Apache-2.0 */
/* wire/rules: fields that are removed on the way (docs/threat-model.md). */
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

static void add(struct mg_headers *headers, const char *name, const char *value)
{
    mg_headers_add(headers, mg_str_from(name), mg_str_from(value));
}

/* The names of the table in order, each with a blank after it. */
static void assert_names(const struct mg_headers *headers, const char *expected)
{
    char text[1024];
    size_t len = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < headers->count; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%.*s ",
                                MG_STR_ARG(headers->items[i].name));
        assert_true(len < sizeof text);
    }
    assert_string_equal(text, expected);
}

static const mg_str identities[] = {{"x-consumer-id", 13}, {"x-credential-identifier", 23}};
static const struct mg_rules_trust stranger = {.identity_names = identities,
                                               .identity_count = 2,
                                               .request_id_name = {"X-Request-ID", 12},
                                               .request_id = MG_HEADER_X_REQUEST_ID};
static const struct mg_rules_trust trusted = {.peer_is_trusted = true,
                                              .identity_names = identities,
                                              .identity_count = 2,
                                              .request_id_name = {"X-Request-ID", 12},
                                              .request_id = MG_HEADER_X_REQUEST_ID};

static void add_hop_by_hop(struct mg_headers *headers)
{
    add(headers, "Host", "h");
    add(headers, "Connection", "keep-alive, X-Mine, x-other");
    add(headers, "Keep-Alive", "timeout=5");
    add(headers, "Proxy-Connection", "keep-alive");
    add(headers, "TE", "trailers");
    add(headers, "Trailer", "x-sum");
    add(headers, "Transfer-Encoding", "chunked");
    add(headers, "Upgrade", "h2c");
    add(headers, "x-mine", "1");
    add(headers, "Proxy-Authenticate", "Basic");
    add(headers, "Proxy-Authorization", "Basic x");
    add(headers, "Content-Length", "5");
    add(headers, "X-Other", "2");
    add(headers, "Accept", "*/*");
}

static void hop_by_hop_fields_of_a_request_are_removed(void **state)
{
    struct mg_headers *headers = table(state);
    add_hop_by_hop(headers);
    add(headers, "Expect", "100-continue");
    assert_int_equal(mg_rules_clean_request(headers, &trusted), 0);
    assert_names(headers, "Host Content-Length Accept ");
}

static void hop_by_hop_fields_of_an_answer_are_removed(void **state)
{
    struct mg_headers *headers = table(state);
    add_hop_by_hop(headers);
    mg_rules_clean_response(headers);
    assert_names(headers, "Host Content-Length Accept ");
}

static void connection_cannot_remove_host_and_length(void **state)
{
    struct mg_headers *headers = table(state);
    add(headers, "Host", "h");
    add(headers, "Content-Length", "5");
    add(headers, "Cookie", "a=b");
    add(headers, "Connection", "host, content-length");
    add(headers, "Connection", "cookie");
    mg_rules_clean_request(headers, &stranger);
    assert_names(headers, "Host Content-Length ");
}

static void add_forwarding(struct mg_headers *headers)
{
    static const char *const names[] = {
        "Forwarded",        "X-Forwarded-For",         "X-Forwarded-Proto",  "X-Forwarded-Host",
        "X-Forwarded-Port", "X-Forwarded-Path",        "x-forwarded-prefix", "X-Forwarded-Server",
        "X-Real-IP",        "X-Original-URL",          "x-original-host",    "X-Rewrite-URL",
        "X-Consumer-ID",    "X-Credential-Identifier",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        add(headers, names[i], "v");
    }
}

static void strangers_cannot_speak_for_proxies_and_plugins(void **state)
{
    struct mg_headers *headers = table(state);
    add(headers, "Accept", "a");
    add_forwarding(headers);
    add(headers, "X-Originally", "kept");
    add(headers, "Forwarded-By", "kept");
    assert_int_equal(mg_rules_clean_request(headers, &stranger), 14);
    assert_names(headers, "Accept X-Originally Forwarded-By ");
}

static void a_trusted_peer_keeps_its_fields(void **state)
{
    struct mg_headers *headers = table(state);
    add_forwarding(headers);
    assert_int_equal(mg_rules_clean_request(headers, &trusted), 0);
    assert_int_equal(headers->count, 14);
}

static void m09_underscore_aliases_of_our_fields_are_dropped_from_everybody(void **state)
{
    struct mg_headers *headers = table(state);
    static const char *const aliases[] = {
        "X_Forwarded_For",   "X-Forwarded_Proto",    "x_real_ip",        "Content_Length",
        "transfer_encoding", "X_Request_ID",         "X_Consumer_ID",    "X-Consumer_ID",
        "X_Original_URL",    "x_forwarded_anything", "proxy_connection",
    };
    for (int trust = 0; trust < 2; trust++) {
        for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++) {
            add(headers, aliases[i], "v");
        }
        add(headers, "my_field", "kept");
        add(headers, "x_forwardedfor", "kept");
        assert_int_equal(mg_rules_clean_request(headers, trust ? &trusted : &stranger), 11);
        assert_names(headers, "my_field x_forwardedfor ");
        mg_headers_remove(headers, MG_STR("my_field"));
        mg_headers_remove(headers, MG_STR("x_forwardedfor"));
    }
}

static void a_long_alias_of_an_identity_field_is_dropped(void **state)
{
    struct mg_headers *headers = table(state);
    char name[101], alias[101];
    memset(name, 'x', 100);
    name[50] = '-';
    memcpy(alias, name, sizeof name);
    alias[50] = '_';
    alias[100] = name[100] = '\0';
    const mg_str long_name = mg_str_from(name);
    const struct mg_rules_trust trust = {
        .peer_is_trusted = true, .identity_names = &long_name, .identity_count = 1};
    add(headers, alias, "v");
    assert_int_equal(mg_rules_clean_request(headers, &trust), 1);
}

static void a_long_alias_of_a_forwarding_field_is_dropped(void **state)
{
    struct mg_headers *headers = table(state);
    char alias[101];
    memset(alias, 'x', 100);
    memcpy(alias, "X_Forwarded_", 12);
    alias[100] = '\0';
    add(headers, alias, "v");
    assert_int_equal(mg_rules_clean_request(headers, &trusted), 1);
}

static void only_a_well_formed_request_id_is_kept(void **state)
{
    struct mg_headers *headers = table(state);
    add(headers, "x-request-id", "4f2c-AZ09._~+/=:@");
    assert_int_equal(mg_rules_clean_request(headers, &stranger), 0);
    assert_names(headers, "x-request-id ");
    add(headers, "X-Request-Id", "a-second-one");
    assert_int_equal(mg_rules_clean_request(headers, &stranger), 1);
    assert_names(headers, "x-request-id ");
    mg_headers_set(headers, MG_STR("x-request-id"), MG_STR("has blank"));
    assert_int_equal(mg_rules_clean_request(headers, &stranger), 1);
    assert_names(headers, "");
}

static void request_ids_have_1_to_64_harmless_characters(void **state)
{
    (void)state;
    char text[70];
    memset(text, 'a', sizeof text);
    assert_false(mg_rules_is_request_id(MG_STR("")));
    assert_true(mg_rules_is_request_id(mg_str_make(text, 1)));
    assert_true(mg_rules_is_request_id(mg_str_make(text, 63)));
    assert_true(mg_rules_is_request_id(mg_str_make(text, 64)));
    assert_false(mg_rules_is_request_id(mg_str_make(text, 65)));
    const char *allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~+/=:@-";
    for (int c = 0; c < 256; c++) {
        const char one = (char)c;
        assert_int_equal(mg_rules_is_request_id(mg_str_make(&one, 1)),
                         c != 0 && strchr(allowed, c) != NULL);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hop_by_hop_fields_of_a_request_are_removed),
        TEST(hop_by_hop_fields_of_an_answer_are_removed),
        TEST(connection_cannot_remove_host_and_length),
        TEST(strangers_cannot_speak_for_proxies_and_plugins),
        TEST(a_trusted_peer_keeps_its_fields),
        TEST(m09_underscore_aliases_of_our_fields_are_dropped_from_everybody),
        TEST(a_long_alias_of_an_identity_field_is_dropped),
        TEST(a_long_alias_of_a_forwarding_field_is_dropped),
        TEST(only_a_well_formed_request_id_is_kept),
        TEST(request_ids_have_1_to_64_harmless_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
