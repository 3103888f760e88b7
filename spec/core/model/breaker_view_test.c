/* SPDX-License-Identifier: Apache-2.0 */
/* model/breaker_view: what is shown of breakers. */
#include "support/breaker.h"

static void the_window_is_read_without_the_rule(void **state)
{
    struct board *board = *state;
    requests(board, 3, MG_RESULT_FAILURE);
    requests(board, 2, MG_RESULT_SUCCESS);
    request(board, MG_RESULT_NETWORK);
    struct mg_breaker_view seen = view(board);
    assert_int_equal(seen.window.total, 6);
    assert_int_equal(seen.window.failures, 4);
    assert_int_equal(seen.window.network, 1);
    assert_int_equal(seen.results[MG_COUNTED_SUCCESS], 2);
    assert_int_equal(seen.results[MG_COUNTED_FAILURE], 4);
    assert_int_equal(seen.results[MG_COUNTED_NETWORK], 1);
    board->now += 11000;
    assert_int_equal(view(board).window.total, 0);
    assert_int_equal(view(board).results[MG_COUNTED_FAILURE], 4);
}

static void open_time_and_rejections_are_counted_by_state(void **state)
{
    struct board *board = *state;
    struct mg_breaker_pass pass;
    open_it(board);
    board->now += 2000;
    assert_false(ask(board, &pass));
    assert_int_equal(view(board).open_ms, 2000);
    assert_int_equal(view(board).left_ms, 3000);
    board->now += 4000; /* a second too late: the first request comes now */
    struct mg_breaker_pass probes[3];
    for (int i = 0; i < 3; i++) {
        assert_true(ask(board, &probes[i]));
    }
    assert_false(ask(board, &pass));
    board->now += 1000;
    const struct mg_breaker_view seen = view(board);
    assert_int_equal(seen.open_ms, 6000);
    assert_int_equal(seen.probes, 3);
    assert_int_equal(seen.rejected[MG_BREAKER_OPEN], 1);
    assert_int_equal(seen.rejected[MG_BREAKER_HALF_OPEN], 1);
    assert_int_equal(seen.shadow_rejected, 0);
}

static void a_breaker_that_only_watches_counts_apart(void **state)
{
    struct board *board = *state;
    struct mg_breaker_pass pass;
    board->breaker.rule.shadow = true;
    assert_int_equal(mg_breaker_open(board->shm, &board->breaker, MG_STR("watching"), board->now),
                     0);
    open_it(board);
    assert_false(ask(board, &pass));
    const struct mg_breaker_view seen = view(board);
    assert_true(seen.shadow);
    assert_int_equal(seen.shadow_rejected, 1);
    assert_int_equal(seen.rejected[MG_BREAKER_OPEN], 0);
}

static void the_last_ten_transitions_are_remembered(void **state)
{
    struct board *board = *state;
    assert_int_equal(view(board).recent_count, 0);
    assert_int_equal(view(board).since_ms, 0);
    for (int i = 0; i < 20; i++) {
        open_it(board);
        board->now += 60000;
        requests(board, 5, MG_RESULT_SUCCESS);
        board->now += 60000;
    }
    const struct mg_breaker_view seen = view(board);
    assert_int_equal(seen.recent_count, 10);
    assert_int_equal(seen.since_ms, board->now - 60000);
    assert_int_equal(seen.recent[0].reason, MG_BREAKER_PROBES_OK);
    assert_int_equal(seen.recent[1].reason, MG_BREAKER_TIME);
    assert_int_equal(seen.recent[2].to, MG_BREAKER_OPEN);
    assert_int_equal(seen.recent[2].time_ms, board->now - 120000);
    uint64_t sum = 0;
    for (unsigned i = 0; i < MG_BREAKER_EDGES; i++) {
        sum += seen.transitions[i];
    }
    assert_int_equal(sum, 60);
}

static bool count_names(void *context, const struct mg_breaker_view *view)
{
    int *seen = context;
    *seen += strcmp(view->name, "upstream:orders") == 0 ? 1 : 10;
    return *seen < 20;
}

static void a_visit_shows_each_and_can_be_ended(void **state)
{
    struct board *board = *state;
    struct mg_breaker other = board->breaker;
    for (int i = 0; i < 3; i++) {
        const char *const names[] = {"a", "b", "c"};
        assert_int_equal(mg_breaker_open(board->shm, &other, mg_str_from(names[i]), board->now), 0);
    }
    int seen = 0;
    mg_breaker_visit(board->shm, board->now, count_names, &seen);
    assert_int_equal(seen, 21);
}

static void a_dropped_record_is_free_when_its_probes_are_back(void **state)
{
    struct board *board = *state;
    struct mg_breaker_pass probe;
    open_it(board);
    board->now += 5000;
    assert_true(ask(board, &probe));
    const uint32_t index = board->breaker.record;
    mg_breaker_record_drop(board->shm, index);
    struct mg_breaker_view seen;
    assert_false(mg_breaker_view(board->shm, index, board->now, &seen));
    assert_int_equal(mg_breaker_record_find(board->shm, MG_STR("upstream:orders")), -1);
    struct mg_breaker other = board->breaker;
    assert_int_equal(mg_breaker_open(board->shm, &other, MG_STR("other"), board->now), 0);
    assert_int_not_equal(other.record, index);
    tell(board, &probe, MG_RESULT_FAILURE); /* ends unrecorded, its slot is free */
    assert_false(board->change.happened);
    assert_int_equal(mg_breaker_open(board->shm, &other, MG_STR("third"), board->now), 0);
    assert_int_equal(other.record, index);
    assert_int_equal(view(board).state, MG_BREAKER_CLOSED);
    assert_int_equal(view(board).results[MG_COUNTED_FAILURE], 0);
}

int main(void)
{
#define WITH_BOARD(test) cmocka_unit_test_setup_teardown(test, board_setup, board_teardown)
    const struct CMUnitTest tests[] = {
        WITH_BOARD(the_window_is_read_without_the_rule),
        WITH_BOARD(open_time_and_rejections_are_counted_by_state),
        WITH_BOARD(a_breaker_that_only_watches_counts_apart),
        WITH_BOARD(the_last_ten_transitions_are_remembered),
        WITH_BOARD(a_visit_shows_each_and_can_be_ended),
        WITH_BOARD(a_dropped_record_is_free_when_its_probes_are_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
