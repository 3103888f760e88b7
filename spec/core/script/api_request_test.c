/* SPDX-License-Identifier: Apache-2.0 */
/* What plugins can read of a request: texts, numbers, measures, captures. */
#include "support/request.h"

#include "script/ffi.h"

static void expect(struct mg_req *req, int which, const char *wanted)
{
    struct mg_ffi_str text;
    const int found = mg_ffi_req_text(req, which, &text);
    assert_int_equal(found, wanted != NULL);
    if (wanted) {
        assert_text(text.ptr, text.len, wanted);
    }
}

static void texts_of_the_client_are_readable_before_routing(void **state)
{
    expect(*state, MG_FFI_METHOD, "GET");
    expect(*state, MG_FFI_TARGET, "/orders/%37?x=1&y");
    expect(*state, MG_FFI_PATH, "/orders/7");
    expect(*state, MG_FFI_RAW_PATH, "/orders/%37");
    expect(*state, MG_FFI_QUERY, "x=1&y");
    expect(*state, MG_FFI_HOST, "shop.test");
    expect(*state, MG_FFI_PEER_IP, "127.0.0.1");
    expect(*state, MG_FFI_CLIENT_IP, "192.0.2.1");
    expect(*state, MG_FFI_REQUEST_ID, "");
}

static void what_is_not_there_is_not_found(void **state)
{
    struct mg_req *req = *state;
    req->uri.has_query = false;
    const int which[] = {MG_FFI_QUERY,        MG_FFI_ROUTE_ID,     MG_FFI_ROUTE_NAME,
                         MG_FFI_SERVICE_ID,   MG_FFI_SERVICE_NAME, MG_FFI_SERVICE_HOST,
                         MG_FFI_PREFIX,       MG_FFI_UP_PATH,      MG_FFI_UP_QUERY,
                         MG_FFI_UP_HOST,      MG_FFI_HELD_BODY,    MG_FFI_BODY,
                         MG_FFI_ANSWER,       MG_FFI_ENDED_BY,     MG_FFI_CONSUMER,
                         MG_FFI_NOTE_BREAKER, MG_FFI_NOTE_LIMIT};
    for (size_t i = 0; i < sizeof which / sizeof *which; i++) {
        expect(req, which[i], NULL);
    }
}

static void route_and_service_are_named(void **state)
{
    struct mg_req *req = *state;
    struct mg_service service = {.id = MG_STR("s1"), .host = MG_STR("up.test"), .port = 81};
    struct mg_route_path path = {.text = MG_STR("/orders")};
    struct mg_route route = {.id = MG_STR("r1"), .name = MG_STR("orders"), .https = true};
    req->route = &route;
    req->service = &service;
    req->match.path = &path;
    req->match.matched = 7;
    expect(req, MG_FFI_ROUTE_ID, "r1");
    expect(req, MG_FFI_ROUTE_NAME, "orders");
    expect(req, MG_FFI_SERVICE_ID, "s1");
    expect(req, MG_FFI_SERVICE_NAME, NULL);
    expect(req, MG_FFI_SERVICE_HOST, "up.test");
    expect(req, MG_FFI_PREFIX, "/orders");
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_SERVICE_PORT), 81);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_HTTPS_ONLY), 1);
}

static void upstream_texts_begin_as_the_clients(void **state)
{
    struct mg_req *req = *state;
    expect(req, MG_FFI_UP_METHOD, "GET");
    expect(req, MG_FFI_UP_QUERY, "x=1&y");
    req->up.method = MG_STR("PUT");
    req->up.query_set = true;
    expect(req, MG_FFI_UP_METHOD, "PUT");
    expect(req, MG_FFI_UP_QUERY, NULL);
    expect(req, MG_FFI_QUERY, "x=1&y");
}

static void numbers_come_back_one_by_one(void **state)
{
    struct mg_req *req = *state;
    req->peer_port = 1, req->server_port = 8000, req->client_port = 3;
    req->peer_trusted = true, req->connection_requests = 4;
    req->status = 404, req->up_status = 503, req->source = MG_SOURCE_EXIT;
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_MINOR), 1);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_PEER_PORT), 1);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_SERVER_PORT), 8000);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_CLIENT_PORT), 3);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_HOST_PORT), -1);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_PEER_TRUSTED), 1);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_HAS_QUERY), 1);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_CONNECTION_REQUESTS), 4);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_BODY_STATE), 0);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_ROUTE_INDEX), -1);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_SERVICE_PORT), -1);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_CAPTURES), 0);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_HTTPS_ONLY), 0);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_STATUS), 404);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_UP_STATUS), 503);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_SOURCE), 2);
    assert_int_equal(mg_ffi_req_int(req, MG_FFI_HEAD_SENT), 0);
}

static double measure(struct mg_req *req, int which)
{
    return mg_ffi_req_measure(req, which);
}

static void durations_split_the_total(void **state)
{
    struct mg_req *req = *state;
    req->started_us = 1000, req->upstream_begin_us = 3000, req->upstream_head_us = 13000;
    req->upstream_end_us = 14000, req->ended_us = 16000;
    assert_true(measure(req, MG_FFI_TOTAL_MS) == 15.0);
    assert_true(measure(req, MG_FFI_UPSTREAM_MS) == 10.0);
    assert_true(measure(req, MG_FFI_RECEIVE_MS) == 1.0);
    assert_true(measure(req, MG_FFI_GATEWAY_MS) == 4.0);
}

static void a_duration_that_did_not_happen_is_negative(void **state)
{
    struct mg_req *req = *state;
    req->started_us = 1000, req->ended_us = 2500;
    assert_true(measure(req, MG_FFI_UPSTREAM_MS) == -1.0);
    assert_true(measure(req, MG_FFI_RECEIVE_MS) == -1.0);
    assert_true(measure(req, MG_FFI_GATEWAY_MS) == 1.5);
    assert_true(measure(req, MG_FFI_RESPONSE_BUFFER) == 8192.0);
}

static void tries_are_listed_up_to_the_last(void **state)
{
    struct mg_req *req = *state;
    req->try_count = 1;
    req->tries[0] = (struct mg_try){.target = MG_STR("127.0.0.1:81"), .status = 502};
    struct mg_ffi_str target;
    int status = 0;
    assert_int_equal(mg_ffi_req_try(req, 0, &target, &status), 1);
    assert_text(target.ptr, target.len, "127.0.0.1:81");
    assert_int_equal(status, 502);
    assert_int_equal(mg_ffi_req_try(req, 1, &target, &status), 0);
    assert_int_equal(mg_ffi_req_try(req, -1, &target, &status), 0);
}

static void captures_carry_their_names(void **state)
{
    struct mg_req *req = *state;
    struct mg_regex *regex;
    char message[80];
    assert_int_equal(
        mg_regex_new(&regex, MG_STR("/orders/(?<id>\\d+)(x)?"), 0, message, sizeof message), 0);
    assert_int_equal(mg_regex_exec(regex, req->uri.path, 0, 1000, &req->match.captures), 1);
    req->match.regex = regex;
    struct mg_ffi_str name, value;
    assert_int_equal(mg_ffi_req_capture(req, 0, &name, &value), 1);
    assert_text(value.ptr, value.len, "/orders/7");
    assert_int_equal(mg_ffi_req_capture(req, 1, &name, &value), 1);
    assert_text(name.ptr, name.len, "id");
    assert_text(value.ptr, value.len, "7");
    assert_int_equal(mg_ffi_req_capture(req, 2, &name, &value), 0);
    mg_regex_free(regex);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, request_setup, request_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(texts_of_the_client_are_readable_before_routing),
        TEST(what_is_not_there_is_not_found),
        TEST(route_and_service_are_named),
        TEST(upstream_texts_begin_as_the_clients),
        TEST(numbers_come_back_one_by_one),
        TEST(durations_split_the_total),
        TEST(a_duration_that_did_not_happen_is_negative),
        TEST(tries_are_listed_up_to_the_last),
        TEST(captures_carry_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
