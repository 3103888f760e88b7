/* SPDX-License-Identifier: Apache-2.0 */
/* A pooled request between its uses, field changes before the answer, answers of the gateway. */
#include "model/req.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static int setup(void **state)
{
    static struct mg_req req;
    memset(&req, 0, sizeof req);
    mg_arena_init(&req.arena, 4096);
    mg_buf_init(&req.filter_out, 1 << 20);
    req.slot = 7;
    mg_req_reset(&req);
    *state = &req;
    return 0;
}

static int teardown(void **state)
{
    struct mg_req *req = *state;
    mg_arena_deinit(&req->arena);
    mg_buf_deinit(&req->filter_out);
    return 0;
}

static void expect_field(const struct mg_req *req, const char *name, const char *wanted)
{
    const mg_str value = mg_headers_join(&req->out, mg_str_from(name));
    if (!wanted) {
        assert_null(value.ptr);
        return;
    }
    assert_int_equal(value.len, strlen(wanted));
    assert_memory_equal(value.ptr, wanted, value.len);
}

static void expect_answer(const struct mg_req *req, const char *wanted)
{
    assert_int_equal(req->answer.len, strlen(wanted));
    assert_memory_equal(req->answer.ptr, wanted, req->answer.len);
}

static void reset_clears_all_but_place_and_memory(void **state)
{
    struct mg_req *req = *state;
    const uint32_t number = req->number;
    req->status = 200;
    req->outcome = MG_OUTCOME_INTERNAL;
    req->try_count = 3;
    mg_headers_add(&req->out, MG_STR("A"), MG_STR("1"));
    assert_int_equal(mg_buf_append(&req->filter_out, MG_STR("left over")), 0);
    mg_arena_alloc(&req->arena, 100);
    mg_req_reset(req);
    assert_int_equal(req->slot, 7);
    assert_int_equal(req->number, number + 1);
    assert_int_equal(req->status, 0);
    assert_int_equal(req->outcome, MG_OUTCOME_OK);
    assert_int_equal(req->try_count, 0);
    assert_int_equal(req->out.count, 0);
    assert_int_equal(req->filter_out.len, 0);
    assert_int_equal(req->filter_out.max_bytes, 1 << 20);
    mg_headers_add(&req->head.headers, MG_STR("B"), MG_STR("2"));
    mg_headers_add(&req->up_headers, MG_STR("C"), MG_STR("3"));
    assert_int_equal(req->head.headers.count, 1);
    assert_int_equal(req->up_headers.count, 1);
}

static void changes_before_the_answer_are_replayed_in_order(void **state)
{
    struct mg_req *req = *state;
    char name[] = "X-A", value[] = "one";
    mg_req_field(req, MG_FIELD_SET, mg_str_from(name), mg_str_from(value));
    memset(name, '!', sizeof name - 1); /* the request must have copied them */
    memset(value, '!', sizeof value - 1);
    mg_req_field(req, MG_FIELD_ADD, MG_STR("x-a"), MG_STR("two"));
    mg_req_field(req, MG_FIELD_CLEAR, MG_STR("Server"), MG_STR(""));
    mg_req_field(req, MG_FIELD_SET, MG_STR("X-B"), MG_STR("gone"));
    mg_req_field(req, MG_FIELD_CLEAR, MG_STR("x-b"), MG_STR(""));
    assert_int_equal(req->out.count, 0);
    mg_headers_add(&req->out, MG_STR("Server"), MG_STR("origin"));
    mg_headers_add(&req->out, MG_STR("X-A"), MG_STR("zero"));
    req->status = 200;
    mg_req_replay_fields(req);
    expect_field(req, "X-A", "one, two");
    expect_field(req, "Server", NULL);
    expect_field(req, "X-B", NULL);
    mg_req_replay_fields(req); /* nothing is left to replay */
    expect_field(req, "X-A", "one, two");
}

static void changes_after_the_answer_are_done_at_once(void **state)
{
    struct mg_req *req = *state;
    req->status = 200;
    mg_req_field(req, MG_FIELD_ADD, MG_STR("X-A"), MG_STR("1"));
    mg_req_field(req, MG_FIELD_ADD, MG_STR("X-A"), MG_STR("2"));
    expect_field(req, "X-A", "1, 2");
    mg_req_field(req, MG_FIELD_SET, MG_STR("X-A"), MG_STR("3"));
    expect_field(req, "X-A", "3");
    mg_req_field(req, MG_FIELD_CLEAR, MG_STR("X-A"), MG_STR(""));
    expect_field(req, "X-A", NULL);
    assert_null(req->ops_first);
}

static void a_problem_is_complete_and_not_stored(void **state)
{
    struct mg_req *req = *state;
    req->request_id = MG_STR("a1b2");
    mg_headers_add(&req->out, MG_STR("X-Old"), MG_STR("1"));
    mg_req_problem(req, 404, "no Route matched with those values");
    assert_int_equal(req->status, 404);
    assert_int_equal(req->source, MG_SOURCE_ERROR);
    expect_field(req, "Content-Type", "application/problem+json");
    expect_field(req, "Cache-Control", "no-store");
    expect_field(req, "X-Old", NULL);
    expect_answer(req, "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,"
                       "\"request_id\":\"a1b2\","
                       "\"message\":\"no Route matched with those values\"}\n");
}

static void a_problem_without_message_repeats_its_title(void **state)
{
    struct mg_req *req = *state;
    mg_req_problem(req, 503, NULL);
    expect_answer(req, "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
                       "\"request_id\":\"\",\"message\":\"Service Unavailable\"}\n");
    mg_req_problem(req, 599, NULL);
    expect_answer(req, "{\"type\":\"about:blank\",\"title\":\"Error\",\"status\":599,"
                       "\"request_id\":\"\",\"message\":\"Error\"}\n");
}

static void a_problem_escapes_what_it_is_given(void **state)
{
    struct mg_req *req = *state;
    req->request_id = MG_STR("\"}\n");
    mg_req_problem(req, 500, "plugin \"a\\b\"\x01 failed\r\n\xff");
    expect_answer(req,
                  "{\"type\":\"about:blank\",\"title\":\"Internal Server Error\",\"status\":500,"
                  "\"request_id\":\"\\\"}\\n\","
                  "\"message\":\"plugin \\\"a\\\\b\\\"\\u0001 failed\\r\\n\xef\xbf\xbd\"}\n");
}

#define WITH_REQUEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_REQUEST(reset_clears_all_but_place_and_memory),
        WITH_REQUEST(changes_before_the_answer_are_replayed_in_order),
        WITH_REQUEST(changes_after_the_answer_are_done_at_once),
        WITH_REQUEST(a_problem_is_complete_and_not_stored),
        WITH_REQUEST(a_problem_without_message_repeats_its_title),
        WITH_REQUEST(a_problem_escapes_what_it_is_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
