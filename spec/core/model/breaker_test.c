/* SPDX-License-Identifier: Apache-2.0 */
/* model/breaker: each edge of the state machine, one test an edge or rule. */
#include "support/breaker.h"

/* --- CLOSED ----------------------------------------------------------------------------------- */

static void closed_admits_all_and_opens_on_failures_in_a_row(void **state)
{
    struct board *board = *state;
    requests(board, 4, MG_RESULT_FAILURE);
    request(board, MG_RESULT_SUCCESS); /* begins anew */
    requests(board, 4, MG_RESULT_NETWORK);
    assert_false(board->change.happened);
    request(board, MG_RESULT_FAILURE);
    assert_change(board, MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_CONSECUTIVE);
    assert_int_equal(board->change.open_ms, 5000);
    assert_int_equal(board->change.n, 1);
    struct mg_breaker_pass pass;
    assert_false(ask(board, &pass));
    assert_int_equal(pass.retry_ms, 5000);
}

static void a_retry_needs_the_state_that_admitted_or_one_that_admits_all(void **state)
{
    struct board *board = *state;
    struct mg_breaker_pass before, probe;
    assert_true(ask(board, &before));
    assert_true(mg_breaker_may_retry(&board->breaker, &before));
    requests(board, 5, MG_RESULT_FAILURE);
    assert_change(board, MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_CONSECUTIVE);
    assert_false(mg_breaker_may_retry(&board->breaker, &before));
    board->now += 5000;
    assert_true(ask(board, &probe));
    assert_true(probe.probe);
    assert_true(mg_breaker_may_retry(&board->breaker, &probe)); /* it holds its slot */
    assert_false(mg_breaker_may_retry(&board->breaker, &before));
}

/* `failures` of 100, the failures spread so that none follow each other too closely. */
static void feed(struct board *board, int total, int failures, enum mg_breaker_result kind)
{
    int sent = 0;
    for (int i = 0; i < total; i++) {
        const bool fail = (i + 1) * failures / total > sent;
        sent += fail;
        request(board, fail ? kind : MG_RESULT_SUCCESS);
        if (board->change.happened) {
            return;
        }
    }
}

static void closed_opens_when_the_share_of_failures_is_reached(void **state)
{
    struct board *board = *state;
    board->breaker.rule.consecutive = 0;
    board->breaker.rule.min_requests = 100;
    feed(board, 100, 49, MG_RESULT_FAILURE);
    assert_false(board->change.happened);
    board->now += 11000; /* all out of the window */
    feed(board, 100, 50, MG_RESULT_FAILURE);
    assert_change(board, MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_FAILURE_PERCENT);
    assert_int_equal(board->change.total, 100);
    assert_int_equal(board->change.failures, 50);
}

static void no_share_trips_before_min_requests(void **state)
{
    struct board *board = *state;
    board->breaker.rule.consecutive = 0;
    requests(board, 19, MG_RESULT_FAILURE);
    assert_false(board->change.happened);
    request(board, MG_RESULT_FAILURE);
    assert_change(board, MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_FAILURE_PERCENT);
}

static void a_success_may_be_the_result_that_completes_min_requests(void **state)
{
    struct board *board = *state;
    board->breaker.rule.consecutive = 0;
    requests(board, 19, MG_RESULT_FAILURE);
    request(board, MG_RESULT_SUCCESS);
    assert_change(board, MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_FAILURE_PERCENT);
    assert_int_equal(board->change.failures, 19);
}

static void closed_opens_on_the_share_of_network_failures(void **state)
{
    struct board *board = *state;
    board->breaker.rule.consecutive = 0;
    board->breaker.rule.failure_share = 0;
    board->breaker.rule.network_share = MG_BREAKER_SHARE(30);
    feed(board, 100, 90, MG_RESULT_FAILURE); /* failures, not of the network */
    assert_false(board->change.happened);
    board->now += 11000;
    board->breaker.rule.min_requests = 100;
    feed(board, 100, 29, MG_RESULT_NETWORK);
    assert_false(board->change.happened);
    board->now += 11000;
    feed(board, 100, 30, MG_RESULT_NETWORK);
    assert_change(board, MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_NETWORK);
    assert_int_equal(board->change.network, 30);
}

static void a_bucket_leaves_the_window_whole(void **state)
{
    struct board *board = *state;
    board->breaker.rule.consecutive = 0;
    requests(board, 19, MG_RESULT_FAILURE);
    board->now += 9000; /* the tenth bucket: the first still counts */
    struct mg_breaker_pass pass;
    assert_true(ask(board, &pass));
    board->now += 1000; /* now it does not */
    tell(board, &pass, MG_RESULT_FAILURE);
    assert_false(board->change.happened);
    requests(board, 18, MG_RESULT_FAILURE);
    assert_false(board->change.happened);
    board->now += 9000;
    request(board, MG_RESULT_FAILURE);
    assert_true(board->change.happened);
}

static void a_window_by_count_holds_the_last_results(void **state)
{
    struct board *board = *state;
    board->breaker.rule.by_count = true;
    board->breaker.rule.window_calls = 100;
    board->breaker.rule.min_requests = 100;
    board->breaker.rule.consecutive = 0;
    assert_int_equal(mg_breaker_open(board->shm, &board->breaker, MG_STR("upstream:orders"), START),
                     0);
    requests(board, 49, MG_RESULT_FAILURE);
    requests(board, 51, MG_RESULT_SUCCESS);
    assert_false(board->change.happened);
    requests(board, 49, MG_RESULT_FAILURE); /* each pushes a failure out */
    assert_false(board->change.happened);
    request(board, MG_RESULT_FAILURE); /* pushes the first success out */
    assert_change(board, MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_FAILURE_PERCENT);
    assert_int_equal(board->change.failures, 50);
    assert_int_equal(board->change.total, 100);
}

static void ignored_results_change_nothing(void **state)
{
    struct board *board = *state;
    requests(board, 4, MG_RESULT_FAILURE);
    requests(board, 100, MG_RESULT_NONE);
    request(board, MG_RESULT_FAILURE); /* still the fifth in a row */
    assert_change(board, MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_CONSECUTIVE);
}

/* --- OPEN, HALF_OPEN -------------------------------------------------------------------------- */

static void open_turns_half_open_with_the_first_request_after_its_time(void **state)
{
    struct board *board = *state;
    open_it(board);
    struct mg_breaker_pass pass;
    board->now += 4999;
    assert_false(ask(board, &pass));
    assert_int_equal(pass.retry_ms, 1);
    assert_false(board->change.happened);
    board->now += 1;
    assert_int_equal(view(board).state, MG_BREAKER_OPEN); /* nobody has asked yet */
    assert_true(ask(board, &pass));
    assert_change(board, MG_BREAKER_OPEN, MG_BREAKER_HALF_OPEN, MG_BREAKER_TIME);
    assert_true(pass.probe);
    assert_int_equal(view(board).probes, 1);
}

static void half_open_admits_no_more_than_its_probes(void **state)
{
    struct board *board = *state;
    open_it(board);
    board->now += 5000;
    struct mg_breaker_pass passes[3], other;
    for (int i = 0; i < 3; i++) {
        assert_true(ask(board, &passes[i]));
    }
    assert_false(ask(board, &other));
    assert_int_equal(other.retry_ms, 1000);
    assert_int_equal(other.state, MG_BREAKER_HALF_OPEN);
    tell(board, &passes[0], MG_RESULT_NONE); /* a client left: the slot is free, nothing is known */
    assert_true(ask(board, &other));
    assert_int_equal(view(board).probes, 3);
    assert_int_equal(view(board).state, MG_BREAKER_HALF_OPEN);
}

static void half_open_closes_after_the_required_results(void **state)
{
    struct board *board = *state;
    open_it(board);
    board->now += 5000;
    requests(board, 2, MG_RESULT_FAILURE); /* of 5, 3 have to be good */
    requests(board, 2, MG_RESULT_SUCCESS);
    assert_false(board->change.happened);
    request(board, MG_RESULT_SUCCESS);
    assert_change(board, MG_BREAKER_HALF_OPEN, MG_BREAKER_CLOSED, MG_BREAKER_PROBES_OK);
    assert_int_equal(board->change.total, 5);
    assert_int_equal(board->change.failures, 2);
    assert_int_equal(view(board).probes, 0);
    requests(board, 4, MG_RESULT_FAILURE); /* the window and the row are empty */
    assert_false(board->change.happened);
}

static void half_open_opens_again_as_soon_as_too_many_failed(void **state)
{
    struct board *board = *state;
    open_it(board);
    board->now += 5000;
    requests(board, 2, MG_RESULT_FAILURE);
    request(board, MG_RESULT_NETWORK);
    assert_change(board, MG_BREAKER_HALF_OPEN, MG_BREAKER_OPEN, MG_BREAKER_PROBES_FAILED);
    assert_int_equal(board->change.n, 2);
    assert_int_equal(board->change.open_ms, 10000);
}

static void open_times_grow_to_the_longest(void **state)
{
    struct board *board = *state;
    open_it(board);
    static const int64_t times[] = {5000, 10000, 20000, 40000, 60000, 60000};
    for (int i = 1; i < 6; i++) {
        board->now += times[i - 1];
        requests(board, 3, MG_RESULT_FAILURE);
        assert_int_equal(board->change.open_ms, times[i]);
    }
}

static void recover(struct board *board)
{
    board->now += 70000;
    requests(board, 5, MG_RESULT_SUCCESS);
    assert_change(board, MG_BREAKER_HALF_OPEN, MG_BREAKER_CLOSED, MG_BREAKER_PROBES_OK);
}

static void n_is_forgotten_after_a_long_time_closed(void **state)
{
    struct board *board = *state;
    open_it(board);
    recover(board);
    board->now += 59999;
    requests(board, 5, MG_RESULT_FAILURE);
    assert_int_equal(board->change.n, 2);
    recover(board);
    board->now += 60000;
    requests(board, 5, MG_RESULT_FAILURE);
    assert_int_equal(board->change.n, 1);
}

static void jitter_stays_within_its_share(void **state)
{
    struct board *board = *state;
    board->breaker.rule.open_jitter = MG_BREAKER_SHARE(10);
    int64_t least = INT64_MAX, most = 0;
    for (uint32_t i = 0; i < 300; i++) {
        struct mg_breaker_pass pass;
        for (int n = 0; n < 5; n++) {
            assert_true(ask(board, &pass));
            const struct mg_breaker_told told = {.result = MG_RESULT_FAILURE,
                                                 .random = i * 14316557U};
            mg_breaker_result(&board->breaker, 0, board->now, &pass, &told, &board->change);
        }
        least = board->change.open_ms < least ? board->change.open_ms : least;
        most = board->change.open_ms > most ? board->change.open_ms : most;
        recover(board);
        board->now += 60000;
    }
    assert_in_range(least, 4500, 4550);
    assert_in_range(most, 5450, 5500);
}

static void a_result_of_an_earlier_epoch_decides_nothing(void **state)
{
    struct board *board = *state;
    struct mg_breaker_pass late[8];
    for (int i = 0; i < 8; i++) {
        assert_true(ask(board, &late[i]));
    }
    open_it(board);
    tell(board, &late[0], MG_RESULT_FAILURE);
    board->now += 5000;
    struct mg_breaker_pass probe;
    assert_true(ask(board, &probe));
    for (int i = 1; i < 8; i++) {
        tell(board, &late[i], MG_RESULT_FAILURE);
        assert_false(board->change.happened);
    }
    assert_int_equal(view(board).state, MG_BREAKER_HALF_OPEN);
    assert_int_equal(view(board).stale, 8);
    tell(board, &probe, MG_RESULT_SUCCESS);
    tell(board, &probe, MG_RESULT_SUCCESS); /* told twice: counts once */
    requests(board, 3, MG_RESULT_SUCCESS);
    assert_false(board->change.happened);
}

static void probes_of_an_earlier_half_open_still_take_a_slot(void **state)
{
    struct board *board = *state;
    open_it(board);
    board->now += 5000;
    struct mg_breaker_pass hanging, pass, other;
    assert_true(ask(board, &hanging));
    requests(board, 3, MG_RESULT_FAILURE); /* the others fail: open again */
    board->now += 10000;
    assert_true(ask(board, &pass));
    assert_true(ask(board, &other));
    assert_int_equal(view(board).probes, 3);
    struct mg_breaker_pass fourth;
    assert_false(ask(board, &fourth)); /* the upstream never sees a fourth */
    tell(board, &hanging, MG_RESULT_FAILURE);
    assert_int_equal(view(board).stale, 1);
    assert_true(ask(board, &fourth));
}

static void an_edit_of_the_window_empties_the_window_only(void **state)
{
    struct board *board = *state;
    board->breaker.rule.consecutive = 0;
    requests(board, 19, MG_RESULT_FAILURE);
    struct mg_breaker edited = board->breaker;
    edited.rule.buckets = 20;
    assert_int_equal(mg_breaker_open(board->shm, &edited, MG_STR("upstream:orders"), START), 0);
    assert_int_equal(edited.record, board->breaker.record);
    request(board, MG_RESULT_FAILURE); /* of the old generation: not in the new window */
    board->breaker = edited;
    requests(board, 19, MG_RESULT_FAILURE);
    assert_false(board->change.happened);
    request(board, MG_RESULT_FAILURE);
    assert_true(board->change.happened);
    struct mg_breaker again = edited; /* open stays open over a further edit */
    again.rule.window_ms = 20000;
    assert_int_equal(mg_breaker_open(board->shm, &again, MG_STR("upstream:orders"), START), 0);
    assert_int_equal(view(board).state, MG_BREAKER_OPEN);
    assert_int_equal(view(board).n, 1);
}

static void a_clock_set_back_does_not_prolong_an_open_time(void **state)
{
    struct board *board = *state;
    open_it(board);
    board->now -= 86400000;
    struct mg_breaker_pass pass;
    assert_true(ask(board, &pass));
    assert_change(board, MG_BREAKER_OPEN, MG_BREAKER_HALF_OPEN, MG_BREAKER_TIME);
}

static void breakers_of_other_names_are_others(void **state)
{
    struct board *board = *state;
    struct mg_breaker other = {.rule = defaults};
    assert_int_equal(mg_breaker_open(board->shm, &other, MG_STR("route:7"), START), 0);
    open_it(board);
    struct mg_breaker_pass pass;
    assert_true(mg_breaker_ask(&other, 0, board->now, &pass, &board->change));
    struct mg_breaker_view found;
    assert_true(mg_breaker_view(board->shm, other.record, START, &found));
    assert_string_equal(found.name, "route:7");
    assert_false(mg_breaker_view(board->shm, 2, START, &found));
    assert_false(mg_breaker_view(board->shm, 4000000, START, &found));
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    assert_int_equal(mg_breaker_rule_check(&defaults), 0);
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        struct mg_breaker_rule rule = defaults;                                                    \
        rule.field = (value);                                                                      \
        assert_int_equal(mg_breaker_rule_check(&rule), MG_EINVALID);                               \
    } while (0)
    REFUSED(window_ms, 999);
    REFUSED(window_ms, 600001);
    REFUSED(buckets, 0);
    REFUSED(buckets, 61);
    REFUSED(min_requests, 0);
    REFUSED(failure_share, 100001);
    REFUSED(consecutive, 1001);
    REFUSED(open_base_ms, 99);
    REFUSED(open_max_ms, 4999);
    REFUSED(open_factor, 999);
    REFUSED(probes, 0);
    REFUSED(probes, 1001);
    REFUSED(probe_results, 0);
    REFUSED(probe_good, 0);
    struct mg_breaker_rule rule = defaults;
    rule.by_count = true;
    rule.window_calls = 1025;
    assert_int_equal(mg_breaker_rule_check(&rule), MG_EINVALID);
    rule.window_calls = 1024;
    assert_int_equal(mg_breaker_rule_check(&rule), 0);
}

/* --- slow results ----------------------------------------------------------------------------- */

static void tell_slow(struct board *board, struct mg_breaker_pass *pass,
                      enum mg_breaker_result result)
{
    const struct mg_breaker_told told = {.result = result, .slow = true, .random = 0x80000000U};
    mg_breaker_result(&board->breaker, 0, board->now, pass, &told, &board->change);
}

static void slow_requests(struct board *board, int count, enum mg_breaker_result result)
{
    for (int i = 0; i < count; i++) {
        struct mg_breaker_pass pass;
        assert_true(ask(board, &pass));
        tell_slow(board, &pass, result);
    }
}

static void closed_opens_on_the_share_of_slow_results(void **state)
{
    struct board *board = *state;
    board->breaker.rule.slow_share = MG_BREAKER_SHARE(50);
    board->breaker.rule.min_requests = 10;
    slow_requests(board, 4, MG_RESULT_SUCCESS);
    requests(board, 5, MG_RESULT_SUCCESS);
    slow_requests(board, 1, MG_RESULT_FAILURE); /* slow, whatever it is */
    assert_change(board, MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_SLOW);
    assert_int_equal(board->change.total, 10);
    assert_int_equal(board->change.slow, 5);
    assert_int_equal(board->change.failures, 1);
}

static void a_client_that_left_says_something_when_it_had_waited_long(void **state)
{
    struct board *board = *state;
    board->breaker.rule.slow_share = MG_BREAKER_SHARE(50);
    board->breaker.rule.min_requests = 4;
    requests(board, 4, MG_RESULT_LEFT); /* not slow: ignored */
    assert_int_equal(view(board).results[MG_COUNTED_IGNORED], 4);
    requests(board, 3, MG_RESULT_FAILURE);
    board->breaker.rule.failure_share = 0;
    slow_requests(board, 2, MG_RESULT_LEFT);
    assert_false(board->change.happened); /* and the row of failures goes on: 3, 4, 5 */
    requests(board, 1, MG_RESULT_FAILURE);
    assert_false(board->change.happened);
    requests(board, 1, MG_RESULT_FAILURE);
    assert_change(board, MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_CONSECUTIVE);
}

static void clients_that_left_late_open_it(void **state)
{
    struct board *board = *state;
    board->breaker.rule.slow_share = MG_BREAKER_SHARE(100);
    slow_requests(board, 20, MG_RESULT_LEFT);
    assert_change(board, MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_SLOW);
    assert_int_equal(board->change.failures, 0);
}

static void a_probe_whose_client_left_gives_no_result(void **state)
{
    struct board *board = *state;
    open_it(board);
    board->now += 5000;
    slow_requests(board, 9, MG_RESULT_LEFT);
    assert_int_equal(view(board).state, MG_BREAKER_HALF_OPEN);
    assert_int_equal(view(board).probes, 0);
}

static void slowness_that_shows_later_counts_once_and_in_its_epoch(void **state)
{
    struct board *board = *state;
    board->breaker.rule.slow_share = MG_BREAKER_SHARE(100);
    board->breaker.rule.min_requests = 2;
    struct mg_breaker_pass pass[3];
    for (int i = 0; i < 2; i++) {
        assert_true(ask(board, &pass[i]));
        tell(board, &pass[i], MG_RESULT_SUCCESS);
    }
    mg_breaker_slow(&board->breaker, board->now, 0, &pass[0], &board->change);
    mg_breaker_slow(&board->breaker, board->now, 0, &pass[0], &board->change);
    assert_false(board->change.happened);
    mg_breaker_slow(&board->breaker, board->now, 0, &pass[1], &board->change);
    assert_change(board, MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_SLOW);
    board->now += 5000;
    assert_true(ask(board, &pass[2]));
    tell(board, &pass[2], MG_RESULT_SUCCESS);
    mg_breaker_slow(&board->breaker, board->now, 0, &pass[2], &board->change);
    assert_false(board->change.happened); /* a probe is good or bad, not slow */
}

/* --- RAMP ------------------------------------------------------------------------------------- */

static void begin_ramp(struct board *board)
{
    board->breaker.rule.ramp_ms = 10000;
    open_it(board);
    board->now += 5000;
    requests(board, 5, MG_RESULT_SUCCESS);
    assert_change(board, MG_BREAKER_HALF_OPEN, MG_BREAKER_RAMP, MG_BREAKER_PROBES_OK);
}

static void b5_the_ramp_rises_in_a_straight_line_evenly_spread(void **state)
{
    struct board *board = *state;
    begin_ramp(board);
    for (int second = 0; second < 10; second++) {
        int admitted = 0, gap = 0, longest = 0;
        for (int i = 0; i < 1000; i++) {
            struct mg_breaker_pass pass;
            const bool passes = ask(board, &pass);
            admitted += passes;
            gap = passes ? 0 : gap + 1;
            longest = gap > longest ? gap : longest;
            if (passes) {
                tell(board, &pass, MG_RESULT_SUCCESS);
            } else {
                assert_int_equal(pass.retry_ms, 1000);
            }
            board->now += 1;
        }
        const int middle = 100 + 90 * second + 45; /* of 1000: 10 % + 90 % of the time gone */
        assert_in_range(admitted, middle - 2, middle + 2);
        assert_true(longest <= 1000 / (100 + 90 * second)); /* never far from the next */
    }
    struct mg_breaker_pass pass;
    assert_true(ask(board, &pass));
    assert_change(board, MG_BREAKER_RAMP, MG_BREAKER_CLOSED, MG_BREAKER_RAMP_DONE);
    assert_int_equal(view(board).state, MG_BREAKER_CLOSED);
}

/* Asks until somebody passes. */
static void ramp_request(struct board *board, enum mg_breaker_result result)
{
    struct mg_breaker_pass pass;
    while (!ask(board, &pass)) {
    }
    tell(board, &pass, result);
}

static void b5_a_ramp_that_fails_opens_again_for_longer(void **state)
{
    struct board *board = *state;
    begin_ramp(board);
    board->now += 3000;
    for (int i = 0; i < 5; i++) {
        ramp_request(board, MG_RESULT_FAILURE);
    }
    assert_change(board, MG_BREAKER_RAMP, MG_BREAKER_OPEN, MG_BREAKER_RAMP_FAILED);
    assert_int_equal(board->change.n, 2);
    assert_int_equal(board->change.open_ms, 10000);
}

static void a_clock_set_back_does_not_make_the_ramp_longer(void **state)
{
    struct board *board = *state;
    begin_ramp(board);
    board->now -= 3600000;
    request(board, MG_RESULT_SUCCESS);
    assert_int_equal(view(board).state, MG_BREAKER_CLOSED);
}

int main(void)
{
#define WITH_BOARD(test) cmocka_unit_test_setup_teardown(test, board_setup, board_teardown)
    const struct CMUnitTest tests[] = {
        WITH_BOARD(closed_admits_all_and_opens_on_failures_in_a_row),
        WITH_BOARD(a_retry_needs_the_state_that_admitted_or_one_that_admits_all),
        WITH_BOARD(closed_opens_when_the_share_of_failures_is_reached),
        WITH_BOARD(no_share_trips_before_min_requests),
        WITH_BOARD(a_success_may_be_the_result_that_completes_min_requests),
        WITH_BOARD(closed_opens_on_the_share_of_network_failures),
        WITH_BOARD(a_bucket_leaves_the_window_whole),
        WITH_BOARD(a_window_by_count_holds_the_last_results),
        WITH_BOARD(ignored_results_change_nothing),
        WITH_BOARD(open_turns_half_open_with_the_first_request_after_its_time),
        WITH_BOARD(half_open_admits_no_more_than_its_probes),
        WITH_BOARD(half_open_closes_after_the_required_results),
        WITH_BOARD(half_open_opens_again_as_soon_as_too_many_failed),
        WITH_BOARD(open_times_grow_to_the_longest),
        WITH_BOARD(n_is_forgotten_after_a_long_time_closed),
        WITH_BOARD(jitter_stays_within_its_share),
        WITH_BOARD(a_result_of_an_earlier_epoch_decides_nothing),
        WITH_BOARD(probes_of_an_earlier_half_open_still_take_a_slot),
        WITH_BOARD(an_edit_of_the_window_empties_the_window_only),
        WITH_BOARD(a_clock_set_back_does_not_prolong_an_open_time),
        WITH_BOARD(breakers_of_other_names_are_others),
        WITH_BOARD(numbers_out_of_range_are_refused),
        WITH_BOARD(closed_opens_on_the_share_of_slow_results),
        WITH_BOARD(a_client_that_left_says_something_when_it_had_waited_long),
        WITH_BOARD(clients_that_left_late_open_it),
        WITH_BOARD(a_probe_whose_client_left_gives_no_result),
        WITH_BOARD(slowness_that_shows_later_counts_once_and_in_its_epoch),
        WITH_BOARD(b5_the_ramp_rises_in_a_straight_line_evenly_spread),
        WITH_BOARD(b5_a_ramp_that_fails_opens_again_for_longer),
        WITH_BOARD(a_clock_set_back_does_not_make_the_ramp_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
