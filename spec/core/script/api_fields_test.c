/* SPDX-License-Identifier: Apache-2.0 */
/* Field tables as plugins see them: loose reading, checked writing, recording before the answer. */
#include "support/request.h"

#include "script/ffi.h"

static void expect(struct mg_req *req, int table, const char *name, const char *wanted)
{
    struct mg_ffi_str value;
    const int found = mg_ffi_fields_find(req, table, name, strlen(name), 0, &value);
    assert_int_equal(found > 0, wanted != NULL);
    if (wanted) {
        assert_text(value.ptr, value.len, wanted);
    }
}

static int change(struct mg_req *req, int kind, const char *name, const char *value)
{
    return mg_ffi_response_field(req, kind, name, strlen(name), value, strlen(value));
}

static int change_request(struct mg_req *req, int kind, const char *name, const char *value)
{
    return mg_ffi_request_field(req, kind, name, strlen(name), value, strlen(value));
}

static void reading_is_blind_to_case_and_underscore(void **state)
{
    expect(*state, MG_FFI_REQUEST, "x_TENANT", "acme");
    expect(*state, MG_FFI_REQUEST, "x-tenants", NULL);
    expect(*state, MG_FFI_UPSTREAM, "x-tenant", NULL);
}

static void a_search_goes_on_behind_what_it_found(void **state)
{
    struct mg_ffi_str value;
    const int first = mg_ffi_fields_find(*state, MG_FFI_REQUEST, "x-tenant", 8, 0, &value);
    assert_int_equal(first, 1);
    const int second = mg_ffi_fields_find(*state, MG_FFI_REQUEST, "x-tenant", 8, first, &value);
    assert_int_equal(second, 3);
    assert_text(value.ptr, value.len, "globex");
    assert_int_equal(mg_ffi_fields_find(*state, MG_FFI_REQUEST, "x-tenant", 8, second, &value), 0);
}

static void fields_are_counted_and_listed(void **state)
{
    struct mg_ffi_str name, value;
    assert_int_equal(mg_ffi_fields_count(*state, MG_FFI_REQUEST), 3);
    assert_int_equal(mg_ffi_fields_count(*state, MG_FFI_RESPONSE), 0);
    assert_int_equal(mg_ffi_fields_at(*state, MG_FFI_REQUEST, 1, &name, &value), 1);
    assert_text(name.ptr, name.len, "Accept");
    assert_text(value.ptr, value.len, "text/html");
    assert_int_equal(mg_ffi_fields_at(*state, MG_FFI_REQUEST, 3, &name, &value), 0);
    assert_int_equal(mg_ffi_fields_at(*state, MG_FFI_REQUEST, -1, &name, &value), 0);
}

static void the_request_changes_at_once(void **state)
{
    assert_int_equal(change_request(*state, MG_FFI_SET, "x-tenant", "one"), 1);
    expect(*state, MG_FFI_REQUEST, "X-Tenant", "one");
    assert_int_equal(mg_ffi_fields_count(*state, MG_FFI_REQUEST), 2);
    assert_int_equal(change_request(*state, MG_FFI_ADD, "x-tenant", "two"), 1);
    assert_int_equal(mg_ffi_fields_count(*state, MG_FFI_REQUEST), 3);
    assert_int_equal(change_request(*state, MG_FFI_CLEAR, "x-tenant", ""), 1);
    expect(*state, MG_FFI_REQUEST, "X-Tenant", NULL);
}

static void host_goes_to_the_upstream(void **state)
{
    struct mg_req *req = *state;
    assert_int_equal(change_request(req, MG_FFI_SET, "host", "up.test:81"), 1);
    assert_text(req->up.host.ptr, req->up.host.len, "up.test:81");
    expect(req, MG_FFI_REQUEST, "host", NULL);
    assert_int_equal(change_request(req, MG_FFI_CLEAR, "Host", ""), 1);
    assert_int_equal(req->up.host.len, 0);
}

static void what_is_no_host_is_refused(void **state)
{
    const char *bad[] = {"a b", "a\tb", "a/b", "a,b", "u@a", "a:65536", "a..b", "[::1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(change_request(*state, MG_FFI_SET, "Host", bad[i]), MG_FFI_BAD_VALUE);
    }
    assert_int_equal(((struct mg_req *)*state)->up.host.len, 0);
    assert_int_equal(change_request(*state, MG_FFI_SET, "Host", "[::1]:8080"), 1);
}

static void changes_of_the_answer_are_recorded_until_there_is_one(void **state)
{
    struct mg_req *req = *state;
    assert_int_equal(change(req, MG_FFI_SET, "X-A", "1"), 1);
    assert_int_equal(change(req, MG_FFI_ADD, "X-A", "2"), 1);
    expect(req, MG_FFI_RESPONSE, "x_a", "1");
    assert_int_equal(mg_ffi_fields_count(req, MG_FFI_RESPONSE), 0);
    assert_int_equal(change(req, MG_FFI_CLEAR, "X-A", ""), 1);
    expect(req, MG_FFI_RESPONSE, "x-a", NULL);
    assert_int_equal(change(req, MG_FFI_SET, "X-A", "3"), 1);
    expect(req, MG_FFI_RESPONSE, "x-a", "3");
    req->status = 200;
    mg_req_replay_fields(req);
    assert_int_equal(mg_ffi_fields_count(req, MG_FFI_RESPONSE), 1);
    expect(req, MG_FFI_RESPONSE, "x-a", "3");
}

static void control_bytes_are_refused(void **state)
{
    const char *names[] = {"", "a b", "a:", "a\r\nb", "a\x7f"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(change(*state, MG_FFI_SET, names[i], "v"), MG_FFI_BAD_NAME);
        assert_int_equal(change_request(*state, MG_FFI_SET, names[i], "v"), MG_FFI_BAD_NAME);
    }
    const char *values[] = {"a\r\nX: y", "a\nb", "\x01", "\x7f"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        assert_int_equal(change(*state, MG_FFI_ADD, "X", values[i]), MG_FFI_BAD_VALUE);
        assert_int_equal(change_request(*state, MG_FFI_SET, "Host", values[i]), MG_FFI_BAD_VALUE);
    }
    assert_int_equal(mg_ffi_response_field(*state, MG_FFI_SET, "X", 1, "a\0b", 3),
                     MG_FFI_BAD_VALUE);
    assert_int_equal(mg_ffi_field_check("X", 1, "tab\tis fine", 11), 1);
}

static void a_sent_head_does_not_change(void **state)
{
    struct mg_req *req = *state;
    req->status = 200;
    req->head_sent = true;
    assert_int_equal(change(req, MG_FFI_SET, "X-A", "1"), MG_FFI_TOO_LATE);
    expect(req, MG_FFI_RESPONSE, "x-a", NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, request_setup, request_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reading_is_blind_to_case_and_underscore),
        TEST(a_search_goes_on_behind_what_it_found),
        TEST(fields_are_counted_and_listed),
        TEST(the_request_changes_at_once),
        TEST(host_goes_to_the_upstream),
        TEST(what_is_no_host_is_refused),
        TEST(changes_of_the_answer_are_recorded_until_there_is_one),
        TEST(control_bytes_are_refused),
        TEST(a_sent_head_does_not_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
