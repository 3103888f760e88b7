/* SPDX-License-Identifier: Apache-2.0 */
/* What plugins may change on the way to the upstream, and what is refused. */
#include "support/request.h"

#include "script/ffi.h"

#define CALL(function, req, text) function(req, text, strlen(text))

static void only_served_methods_are_set(void **state)
{
    struct mg_req *req = *state;
    assert_int_equal(CALL(mg_ffi_up_method, req, "PATCH"), 1);
    assert_text(req->up.method.ptr, req->up.method.len, "PATCH");
    const char *refused[] = {"", "patch", "CONNECT", "TRACE", "GET /x", "GET\r\n"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_equal(CALL(mg_ffi_up_method, req, refused[i]), 0);
    }
    assert_text(req->up.method.ptr, req->up.method.len, "PATCH");
}

static void a_path_is_made_canonical_or_refused(void **state)
{
    struct mg_req *req = *state;
    assert_int_equal(CALL(mg_ffi_up_path, req, "/a b/../c"), 1);
    assert_text(req->up.path.ptr, req->up.path.len, "/c");
    const char *refused[] = {"", "c", "/a\r\nb", "/../x", "/%zz"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_equal(CALL(mg_ffi_up_path, req, refused[i]), 0);
    }
    assert_text(req->up.path.ptr, req->up.path.len, "/c");
}

static void a_query_is_replaced_or_taken_away(void **state)
{
    struct mg_req *req = *state;
    assert_int_equal(CALL(mg_ffi_up_query, req, "q=1"), 1);
    assert_true(req->up.has_query && req->up.query_set);
    assert_text(req->up.query.ptr, req->up.query.len, "q=1");
    assert_int_equal(CALL(mg_ffi_up_query, req, "a b"), 0);
    assert_int_equal(CALL(mg_ffi_up_query, req, "a\n"), 0);
    assert_int_equal(CALL(mg_ffi_up_query, req, "a#b"), 0);
    assert_int_equal(CALL(mg_ffi_up_query, req, ""), 1);
    assert_true(!req->up.has_query && req->up.query_set);
}

static void a_target_is_host_and_port(void **state)
{
    struct mg_req *req = *state;
    assert_int_equal(mg_ffi_up_target(req, "Up.Test", 7, 65535), 1);
    assert_text(req->up.target_host.ptr, req->up.target_host.len, "up.test");
    assert_int_equal(req->up.target_port, 65535);
    assert_int_equal(mg_ffi_up_target(req, "unix:/run/x", 11, 0), 1);
    assert_text(req->up.target_host.ptr, req->up.target_host.len, "unix:/run/x");
    const char *refused[] = {"", "a b", "a:80", "a/b", "a@b"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_equal(mg_ffi_up_target(req, refused[i], strlen(refused[i]), 80), 0);
    }
    assert_int_equal(mg_ffi_up_target(req, "up", 2, 65536), 0);
    assert_int_equal(mg_ffi_up_target(req, "up", 2, -1), 0);
}

static void only_a_configured_upstream_is_set(void **state)
{
    struct mg_req *req = *state;
    assert_int_equal(CALL(mg_ffi_up_upstream, req, "nobody"), 0);
    assert_int_equal(req->up.upstream.len, 0);
    assert_int_equal(CALL(mg_ffi_up_upstream, req, "pool"), 1);
    assert_text(req->up.upstream.ptr, req->up.upstream.len, "pool");
}

static void retries_timeouts_and_buffering_are_stored(void **state)
{
    struct mg_req *req = *state;
    assert_int_equal(mg_ffi_up_retries(req, 3), 1);
    assert_int_equal(mg_ffi_up_timeouts(req, 1, 2, 3), 1);
    assert_int_equal(mg_ffi_up_timeouts(req, 0, 2, 3), 0);
    assert_int_equal(mg_ffi_up_buffer(req), 1);
    assert_int_equal(req->up.retries, 3);
    assert_int_equal(req->up.connect_timeout, 1);
    assert_int_equal(req->up.write_timeout, 2);
    assert_int_equal(req->up.read_timeout, 3);
    assert_true(req->up.buffer_response);
}

static int read_status;

static int read_later(struct mg_req *req)
{
    (void)req;
    return read_status;
}

static void reading_the_body_tells_what_to_do(void **state)
{
    struct mg_req *req = *state;
    const struct mg_req_ops later = {.read_body = read_later};
    req->ops = &later;
    const int wanted[][2] = {{MG_EAGAIN, 0},
                             {MG_EUNSUPPORTED, MG_FFI_BODY_UNBUFFERED},
                             {MG_EBODY_TOO_LARGE, MG_FFI_BODY_TOO_LARGE},
                             {MG_ECLOSED, MG_FFI_BODY_FAILED}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        read_status = wanted[i][0];
        assert_int_equal(mg_ffi_req_read_body(req), wanted[i][1]);
    }
    req->ops = &request_ops;
    assert_int_equal(mg_ffi_req_read_body(req), 1);
    req->ops = &later; /* is not asked again */
    assert_int_equal(mg_ffi_req_read_body(req), 1);
}

static void a_set_body_is_whole_unless_one_is_being_read(void **state)
{
    struct mg_req *req = *state;
    req->body_state = MG_BODY_READING;
    assert_int_equal(CALL(mg_ffi_req_set_body, req, "new"), 0);
    req->body_state = MG_BODY_UNREAD;
    assert_int_equal(CALL(mg_ffi_req_set_body, req, "new"), 1);
    assert_text(req->body.ptr, req->body.len, "new");
    assert_int_equal(req->body_state, MG_BODY_WHOLE);
    assert_true(req->body_replaced);
}

static void a_consumer_is_named_and_balanced_by(void **state)
{
    struct mg_req *req = *state;
    assert_int_equal(mg_ffi_req_consumer(req, "bob", 3, "id-1", 4), 1);
    assert_text(req->consumer.ptr, req->consumer.len, "bob");
    assert_text(req->up.hash_value.ptr, req->up.hash_value.len, "id-1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, request_setup, request_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_served_methods_are_set),
        TEST(a_path_is_made_canonical_or_refused),
        TEST(a_query_is_replaced_or_taken_away),
        TEST(a_target_is_host_and_port),
        TEST(only_a_configured_upstream_is_set),
        TEST(retries_timeouts_and_buffering_are_stored),
        TEST(reading_the_body_tells_what_to_do),
        TEST(a_set_body_is_whole_unless_one_is_being_read),
        TEST(a_consumer_is_named_and_balanced_by),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
