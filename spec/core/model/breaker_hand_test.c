/* SPDX-License-Identifier: Apache-2.0 */
/* model/breaker_hand: breakers that are opened and closed by hand. */
#include "model/breaker_hand.h"
#include "support/breaker.h"

static void by_hand(struct board *board, enum mg_breaker_hand hand, int64_t for_ms)
{
    assert_int_equal(mg_breaker_by_hand(board->shm, MG_STR("upstream:orders"), hand, for_ms,
                                        board->now, &board->change),
                     0);
}

static void words_name_the_actions(void **state)
{
    (void)state;
    enum mg_breaker_hand hand;
    assert_true(mg_breaker_hand_of(MG_STR("force-open"), &hand));
    assert_int_equal(hand, MG_BREAKER_HAND_OPEN);
    assert_true(mg_breaker_hand_of(MG_STR("reset"), &hand));
    assert_int_equal(hand, MG_BREAKER_HAND_RESET);
    assert_false(mg_breaker_hand_of(MG_STR("open"), &hand));
    assert_false(mg_breaker_hand_of(MG_STR(""), &hand));
}

static void forced_open_lets_nothing_pass_until_auto(void **state)
{
    struct board *board = *state;
    struct mg_breaker_pass pass;
    by_hand(board, MG_BREAKER_HAND_OPEN, 0);
    assert_change(board, MG_BREAKER_CLOSED, MG_BREAKER_FORCED_OPEN, MG_BREAKER_FORCED);
    assert_int_equal(board->change.open_ms, -1);
    board->now += INT64_C(365) * 24 * 3600 * 1000;
    assert_false(ask(board, &pass));
    assert_int_equal(pass.retry_ms, 5000); /* nothing better is known than open.base */
    assert_int_equal(view(board).left_ms, -1);
    by_hand(board, MG_BREAKER_HAND_AUTO, 0);
    assert_change(board, MG_BREAKER_FORCED_OPEN, MG_BREAKER_CLOSED, MG_BREAKER_AUTO);
    assert_true(ask(board, &pass));
}

static void b8_a_time_limit_ends_what_was_forced(void **state)
{
    struct board *board = *state;
    struct mg_breaker_pass pass;
    by_hand(board, MG_BREAKER_HAND_OPEN, 600000);
    board->now += 599999;
    assert_false(ask(board, &pass));
    assert_int_equal(pass.retry_ms, 1);
    assert_int_equal(view(board).left_ms, 1);
    board->now += 1;
    assert_true(ask(board, &pass));
    assert_change(board, MG_BREAKER_FORCED_OPEN, MG_BREAKER_CLOSED, MG_BREAKER_TIME);
}

static void b8_forced_closed_lets_everything_pass_and_ends_with_an_empty_window(void **state)
{
    struct board *board = *state;
    open_it(board);
    by_hand(board, MG_BREAKER_HAND_CLOSED, 0);
    assert_change(board, MG_BREAKER_OPEN, MG_BREAKER_FORCED_CLOSED, MG_BREAKER_FORCED);
    requests(board, 100, MG_RESULT_FAILURE);
    assert_int_equal(view(board).state, MG_BREAKER_FORCED_CLOSED);
    assert_int_equal(view(board).results[MG_COUNTED_FAILURE], 105); /* counted all the same */
    by_hand(board, MG_BREAKER_HAND_AUTO, 0);
    requests(board, 4, MG_RESULT_FAILURE);
    assert_int_equal(view(board).state, MG_BREAKER_CLOSED);
    request(board, MG_RESULT_FAILURE);
    assert_int_equal(board->change.n, 2); /* the openings before count on */
}

static void reset_forgets_the_openings(void **state)
{
    struct board *board = *state;
    open_it(board);
    by_hand(board, MG_BREAKER_HAND_RESET, 0);
    assert_change(board, MG_BREAKER_OPEN, MG_BREAKER_CLOSED, MG_BREAKER_RESET);
    requests(board, 5, MG_RESULT_FAILURE);
    assert_int_equal(board->change.n, 1);
}

static void auto_changes_nothing_that_was_not_forced(void **state)
{
    struct board *board = *state;
    open_it(board);
    const uint32_t epoch = view(board).epoch;
    by_hand(board, MG_BREAKER_HAND_AUTO, 0);
    assert_false(board->change.happened);
    assert_int_equal(view(board).epoch, epoch);
}

static void a_name_that_there_is_not_is_told(void **state)
{
    struct board *board = *state;
    assert_int_equal(mg_breaker_by_hand(board->shm, MG_STR("upstream:other"), MG_BREAKER_HAND_OPEN,
                                        0, board->now, &board->change),
                     MG_ENOT_FOUND);
}

static void requests_under_way_say_nothing_to_the_new_state(void **state)
{
    struct board *board = *state;
    struct mg_breaker_pass pass;
    assert_true(ask(board, &pass));
    by_hand(board, MG_BREAKER_HAND_OPEN, 0);
    assert_false(mg_breaker_may_retry(&board->breaker, &pass));
    tell(board, &pass, MG_RESULT_FAILURE);
    assert_int_equal(view(board).stale, 1);
}

static void one_worker_hears_of_each_change(void **state)
{
    struct board *board = *state;
    struct mg_breaker_record *record = mg_breaker_record(board->shm, board->breaker.record);
    struct mg_breaker_event event;
    assert_false(mg_breaker_heard(record, &event));
    by_hand(board, MG_BREAKER_HAND_OPEN, 0);
    by_hand(board, MG_BREAKER_HAND_RESET, 0);
    assert_true(mg_breaker_heard(record, &event));
    assert_int_equal(event.to, MG_BREAKER_FORCED_OPEN);
    assert_true(mg_breaker_heard(record, &event));
    assert_int_equal(event.from, MG_BREAKER_FORCED_OPEN);
    assert_int_equal(event.reason, MG_BREAKER_RESET);
    assert_false(mg_breaker_heard(record, &event));
    requests(board, 5, MG_RESULT_FAILURE); /* who made it knows */
    assert_false(mg_breaker_heard(record, &event));
}

int main(void)
{
#define WITH_BOARD(test) cmocka_unit_test_setup_teardown(test, board_setup, board_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_name_the_actions),
        WITH_BOARD(forced_open_lets_nothing_pass_until_auto),
        WITH_BOARD(b8_a_time_limit_ends_what_was_forced),
        WITH_BOARD(b8_forced_closed_lets_everything_pass_and_ends_with_an_empty_window),
        WITH_BOARD(reset_forgets_the_openings),
        WITH_BOARD(auto_changes_nothing_that_was_not_forced),
        WITH_BOARD(a_name_that_there_is_not_is_told),
        WITH_BOARD(requests_under_way_say_nothing_to_the_new_state),
        WITH_BOARD(one_worker_hears_of_each_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
