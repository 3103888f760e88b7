/* SPDX-License-Identifier: Apache-2.0 */
/* script/api_breaker: what the plugin circuit-breaker calls, without Lua. */
#include "base/shm.h"
#include "base/shm_cells.h"
#include "net/loop.h"
#include "script/vm.h"
#include "support/request.h"

#include "script/ffi.h"

#define NAME "upstream:orders"

static const struct mg_ffi_breaker_rule defaults = {.buckets = 10,
                                                    .window_calls = 100,
                                                    .min_requests = 20,
                                                    .consecutive = 3,
                                                    .probes = 1,
                                                    .probe_results = 2,
                                                    .window_ms = 10000,
                                                    .failure_percent = 50,
                                                    .open_base_ms = 5000,
                                                    .open_factor = 2,
                                                    .open_max_ms = 60000,
                                                    .open_jitter_percent = 10,
                                                    .probe_success_percent = 60};

struct bench {
    struct mg_req *req;
    struct mg_loop loop;
    struct mg_vm vm;
    struct mg_ffi_breaker *breaker;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_int_equal(request_setup((void **)&bench->req), 0);
    assert_int_equal(mg_loop_open_virtual(&bench->loop, 1700000000000), 0);
    assert_int_equal(mg_shm_create(16 << 20, 1, &bench->vm.options.shm), 0);
    mg_shm_tick(bench->vm.options.shm, mg_loop_now_ms(&bench->loop), 1700000000000);
    bench->vm.options.stats = mg_shm_stats(bench->vm.options.shm, 0);
    bench->vm.loop = &bench->loop;
    int error = 0;
    bench->breaker = mg_ffi_breaker_new(&bench->vm, &defaults, NAME, strlen(NAME), &error);
    assert_non_null(bench->breaker);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    void *req = bench->req;
    mg_ffi_breaker_free(bench->breaker); /* before the request ends, as a generation may be */
    request_teardown(&req);
    mg_shm_close(bench->vm.options.shm);
    mg_loop_close(&bench->loop);
    free(bench);
    return 0;
}

static void next_request(struct bench *bench)
{
    mg_arena_reset(&bench->req->arena);
    bench->req->breaker_pass = NULL;
}

static void open_it(struct bench *bench)
{
    for (int i = 0; i < 3; i++) {
        assert_int_equal(mg_ffi_breaker_ask(bench->breaker, bench->req, NULL), 1);
        assert_int_equal(mg_ffi_breaker_result(bench->breaker, bench->req, 2, 0), 1);
        next_request(bench);
    }
    const struct mg_ffi_breaker_answer *answer = mg_ffi_breaker_answer(bench->breaker);
    assert_int_equal(answer->changed, 1);
    assert_string_equal(mg_ffi_breaker_state_name(answer->from), "closed");
    assert_string_equal(mg_ffi_breaker_state_name(answer->to), "open");
    assert_string_equal(mg_ffi_breaker_reason_name(answer->reason), "consecutive");
    assert_true(answer->open_ms >= 4500 && answer->open_ms <= 5500);
}

static void an_open_breaker_rejects_and_tells_when_to_come_back(void **state)
{
    struct bench *bench = *state;
    open_it(bench);
    assert_int_equal(mg_ffi_breaker_ask(bench->breaker, bench->req, NULL), 0);
    const struct mg_ffi_breaker_answer *answer = mg_ffi_breaker_answer(bench->breaker);
    assert_string_equal(mg_ffi_breaker_state_name(answer->state), "open");
    assert_true(answer->retry_ms >= 4500 && answer->retry_ms <= 5500);
    assert_int_equal(mg_ffi_breaker_result(bench->breaker, bench->req, 1, 0), 0);
    assert_int_equal(bench->vm.options.stats->value[MG_STAT_BREAKER_REJECTED], 1);
    assert_int_equal(bench->vm.options.stats->value[MG_STAT_BREAKER_TRANSITIONS], 1);
}

static void a_probe_without_a_result_gives_its_slot_back_at_the_end(void **state)
{
    struct bench *bench = *state;
    open_it(bench);
    mg_clock_advance(&bench->loop.clock, 6000000);
    assert_int_equal(mg_ffi_breaker_ask(bench->breaker, bench->req, NULL), 1);
    assert_int_equal(mg_ffi_breaker_answer(bench->breaker)->probe, 1);
    assert_int_equal(mg_holds_count(bench->vm.options.shm, 0), 1);
    void *pass = bench->req->breaker_pass;
    assert_int_equal(mg_ffi_breaker_ask(bench->breaker, bench->req, NULL), 0); /* the only slot */
    bench->req->breaker_pass = pass;
    next_request(bench);
    assert_int_equal(mg_holds_count(bench->vm.options.shm, 0), 0);
    assert_int_equal(mg_ffi_breaker_ask(bench->breaker, bench->req, NULL), 1);
    assert_int_equal(mg_ffi_breaker_result(bench->breaker, bench->req, 0, 0), 1);
    assert_int_equal(mg_holds_count(bench->vm.options.shm, 0), 0);
}

static void a_request_has_one_result_and_then_a_failing_body(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(mg_ffi_breaker_result(bench->breaker, bench->req, 1, 0), 0); /* not asked */
    assert_int_equal(mg_ffi_breaker_ask(bench->breaker, bench->req, NULL), 1);
    assert_int_equal(mg_ffi_breaker_result(bench->breaker, bench->req, 1, 1), 0); /* not yet */
    assert_int_equal(mg_ffi_breaker_result(bench->breaker, bench->req, 9, 0), 0);
    assert_int_equal(mg_ffi_breaker_result(bench->breaker, bench->req, 1, 0), 1);
    assert_int_equal(mg_ffi_breaker_result(bench->breaker, bench->req, 1, 0), 0);
    assert_int_equal(mg_ffi_breaker_result(bench->breaker, bench->req, 1, 1), 1);
    next_request(bench);
    assert_int_equal(mg_ffi_breaker_ask(bench->breaker, bench->req, NULL), 1);
    assert_int_equal(mg_ffi_breaker_result(bench->breaker, bench->req, 1, 0), 1);
    assert_int_equal(mg_ffi_breaker_answer(bench->breaker)->changed, 1); /* three in a row */
}

static void outcomes_go_by_their_words(void **state)
{
    struct bench *bench = *state;
    const int limited = mg_ffi_outcome_of("limited", 7);
    assert_int_equal(limited, MG_OUTCOME_LIMITED);
    assert_int_equal(mg_ffi_outcome_of("limit", 5), -1);
    assert_int_equal(mg_ffi_req_set_outcome(bench->req, limited), 1);
    assert_int_equal(mg_ffi_req_outcome(bench->req), limited);
    assert_int_equal(mg_ffi_req_set_outcome(bench->req, -1), 0);
    assert_int_equal(mg_ffi_req_set_outcome(bench->req, MG_OUTCOME_COUNT), 0);
    assert_int_equal(mg_ffi_req_outcome(bench->req), limited);
    assert_int_equal(mg_ffi_up_head_timeout(bench->req, 2500, MG_OUTCOME_PROBE_TIMEOUT), 1);
    assert_int_equal(bench->req->up.head_timeout, 2500);
    assert_int_equal(bench->req->up.head_outcome, MG_OUTCOME_PROBE_TIMEOUT);
    assert_int_equal(mg_ffi_up_head_timeout(bench->req, -1, limited), 0);
    mg_ffi_req_note_breaker(bench->req, "{}", 2);
    assert_int_equal(bench->req->note_breaker.len, 2);
}

static void a_rule_out_of_range_is_refused(void **state)
{
    struct bench *bench = *state;
    struct mg_ffi_breaker_rule rule = defaults;
    rule.buckets = 61;
    int error = 0;
    assert_null(mg_ffi_breaker_new(&bench->vm, &rule, NAME, strlen(NAME), &error));
    assert_int_equal(error, MG_EINVALID);
    struct mg_vm without = {.loop = &bench->loop};
    assert_null(mg_ffi_breaker_new(&without, &defaults, NAME, strlen(NAME), &error));
    assert_int_equal(error, MG_EUNSUPPORTED);
}

int main(void)
{
#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_BENCH(an_open_breaker_rejects_and_tells_when_to_come_back),
        WITH_BENCH(a_probe_without_a_result_gives_its_slot_back_at_the_end),
        WITH_BENCH(a_request_has_one_result_and_then_a_failing_body),
        WITH_BENCH(outcomes_go_by_their_words),
        WITH_BENCH(a_rule_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
