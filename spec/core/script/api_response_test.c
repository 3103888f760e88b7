/* SPDX-License-Identifier: Apache-2.0 */
/* An answer made by a plugin, and chunks it changes. */
#include "support/request.h"

#include "script/ffi.h"

static void exit_makes_an_answer_and_keeps_recorded_fields(void **state)
{
    struct mg_req *req = *state;
    mg_ffi_response_field(req, MG_FFI_SET, "X-Kept", 6, "yes", 3);
    assert_int_equal(mg_ffi_response_exit(req, 403, "no", 2), 1);
    assert_int_equal(req->status, 403);
    assert_int_equal(req->source, MG_SOURCE_EXIT);
    assert_text(req->answer.ptr, req->answer.len, "no");
    assert_int_equal(req->out.count, 1);
    assert_text(req->out.items[0].value.ptr, req->out.items[0].value.len, "yes");
    assert_null(req->ops_first);
}

static void exit_replaces_the_answer_of_the_upstream(void **state)
{
    struct mg_req *req = *state;
    req->status = 200;
    req->source = MG_SOURCE_SERVICE;
    mg_headers_add(&req->out, MG_STR("ETag"), MG_STR("x"));
    assert_int_equal(mg_ffi_response_exit(req, 503, "", 0), 1);
    assert_int_equal(req->out.count, 0);
    assert_int_equal(req->answer.len, 0);
}

static void exit_is_refused_for_a_bad_status_or_a_sent_head(void **state)
{
    struct mg_req *req = *state;
    assert_int_equal(mg_ffi_response_exit(req, 99, "", 0), 0);
    assert_int_equal(mg_ffi_response_exit(req, 600, "", 0), 0);
    req->head_sent = true;
    assert_int_equal(mg_ffi_response_exit(req, 200, "", 0), MG_FFI_TOO_LATE);
    assert_int_equal(req->status, 0);
    assert_int_equal(mg_ffi_response_exit(req, 100, "", 0), MG_FFI_TOO_LATE);
}

static void an_answer_grows_piece_by_piece(void **state)
{
    struct mg_req *req = *state;
    assert_int_equal(mg_ffi_response_append(req, "a", 1), 0);
    assert_int_equal(mg_ffi_response_exit(req, 200, "", 0), 1);
    const size_t used = req->arena.used_bytes;
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(mg_ffi_response_append(req, "abc", 3), 1);
    }
    assert_int_equal(req->answer.len, 9000);
    for (size_t i = 0; i < 9000; i++) {
        assert_int_equal(req->answer.ptr[i], "abc"[i % 3]);
    }
    assert_true(req->arena.used_bytes - used < 64 * 1024);
    req->head_sent = true;
    assert_int_equal(mg_ffi_response_append(req, "a", 1), 0);
}

static void a_status_changes_only_between_answer_and_head(void **state)
{
    struct mg_req *req = *state;
    assert_int_equal(mg_ffi_response_status(req, 201), 0);
    req->status = 200;
    assert_int_equal(mg_ffi_response_status(req, 99), 0);
    assert_int_equal(mg_ffi_response_status(req, 599), 1);
    assert_int_equal(req->status, 599);
    req->head_sent = true;
    assert_int_equal(mg_ffi_response_status(req, 200), MG_FFI_TOO_LATE);
}

static void reasons_are_known_for_registered_codes(void **state)
{
    (void)state;
    assert_string_equal(mg_ffi_status_reason(404), "Not Found");
    assert_string_equal(mg_ffi_status_reason(7), "");
}

static void a_chunk_is_replaced_up_to_the_cap(void **state)
{
    struct mg_req *req = *state;
    req->chunk = MG_STR("abc");
    assert_int_equal(mg_ffi_chunk_set(req, "longer than it was", 18), 1);
    assert_text(req->chunk.ptr, req->chunk.len, "longer than it was");
    assert_int_equal(mg_ffi_chunk_set(req, "", 0), 1);
    assert_int_equal(req->chunk.len, 0);
    const char big[65] = {0};
    assert_int_equal(mg_ffi_chunk_set(req, big, 64), 1);
    assert_int_equal(mg_ffi_chunk_set(req, big, 65), 0);
}

static void the_end_flag_and_the_wish_to_hold_are_stored(void **state)
{
    struct mg_req *req = *state;
    assert_int_equal(mg_ffi_chunk_last(req, 1), 1);
    assert_true(req->chunk_last);
    assert_int_equal(mg_ffi_chunk_hold(req), 1);
    assert_true(req->want_whole_body);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, request_setup, request_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(exit_makes_an_answer_and_keeps_recorded_fields),
        TEST(exit_replaces_the_answer_of_the_upstream),
        TEST(exit_is_refused_for_a_bad_status_or_a_sent_head),
        TEST(an_answer_grows_piece_by_piece),
        TEST(a_status_changes_only_between_answer_and_head),
        TEST(reasons_are_known_for_registered_codes),
        TEST(a_chunk_is_replaced_up_to_the_cap),
        TEST(the_end_flag_and_the_wish_to_hold_are_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
