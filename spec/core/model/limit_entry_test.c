/* SPDX-License-Identifier: Apache-2.0 */
/* model/limit: what an entry adds to the bare decision: bans, costs, edits, networks,
 * corrections. */
#include "model/limit.h"

#include "base/shm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NOW INT64_C(1700002800000) /* the begin of an hour */
#define MINUTE 60000
#define HOUR 3600000

struct bench {
    struct mg_shm *shm;
    struct mg_limit limit;
    struct mg_limit_ban ban;
    bool has_ban, count_denied;
    int64_t now, cost;
    uint8_t network;
    struct mg_limit_answer answer; /* of the last request */
};

static int setup(void **state)
{
    static struct bench bench;
    bench = (struct bench){.now = NOW, .cost = 1};
    *state = &bench;
    return mg_shm_create(16 << 20, 2, &bench.shm);
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    mg_shm_close(bench->shm);
    return 0;
}

/* Opens the limit as a configuration with that rule would. */
static void open_limit(struct bench *bench, struct mg_limit_rule rule)
{
    bench->limit = (struct mg_limit){.rule = rule, .max_keys = 4096};
    assert_int_equal(mg_limit_open(bench->shm, &bench->limit, MG_STR("route:1 minute"),
                                   MG_STR("minute"), bench->now),
                     0);
}

static struct mg_limit_rule rule_of(enum mg_limit_algorithm algorithm, int64_t quota,
                                    int64_t window_ms)
{
    return (struct mg_limit_rule){
        .algorithm = algorithm, .quota = quota, .window_ms = window_ms, .burst = quota};
}

static struct mg_limit_verdict ask(struct bench *bench, const char *key)
{
    const mg_str bytes = mg_str_from(key);
    const struct mg_limit_ask one = {
        .limit = &bench->limit,
        .key = mg_limit_key(bench->shm, &bench->limit, bytes),
        .former_key = mg_limit_former_key(bench->shm, &bench->limit, bytes, bench->now),
        .cost = bench->cost};
    const struct mg_limit_request request = {.now_ms = bench->now,
                                             .network = bench->network,
                                             .count_denied = bench->count_denied,
                                             .asks = &one,
                                             .count = 1,
                                             .ban = bench->has_ban ? &bench->ban : NULL,
                                             .ban_key =
                                                 mg_limit_ban_key(bench->shm, &bench->ban, bytes)};
    return mg_limits_take(bench->shm, &request, &bench->answer);
}

static int admitted_of(struct bench *bench, int tries, const char *key)
{
    int admitted = 0;
    for (int i = 0; i < tries; i++) {
        admitted += ask(bench, key).admitted;
    }
    return admitted;
}

static void open_ban(struct bench *bench, struct mg_ban_rule rule)
{
    bench->ban = (struct mg_limit_ban){.rule = rule, .max_keys = 1024};
    assert_int_equal(mg_limit_ban_open(bench->shm, &bench->ban, MG_STR("route:1"),
                                       MG_STR("rate-limit"), bench->now),
                     0);
    bench->has_ban = true;
}

/* --- bans ----------------------------------------------------------------------------------- */

static const struct mg_ban_rule short_ban = {.after = 2,
                                             .within_ms = HOUR,
                                             .for_ms = 1000,
                                             .factor_percent = 200,
                                             .max_ms = HOUR,
                                             .forget_ms = HOUR};

static void a_ban_is_decided_in_the_same_step_and_nothing_is_counted_in_it(void **state)
{
    struct bench *bench = *state;
    open_limit(bench, rule_of(MG_LIMIT_FIXED_WINDOW, 3, HOUR));
    open_ban(bench, short_ban);
    assert_int_equal(admitted_of(bench, 3, "k"), 3);
    for (int64_t n = 0, length = 1000; n < 3; n++, length *= 2) {
        assert_false(ask(bench, "k").ban_began);
        assert_false(ask(bench, "k").ban_began);
        const struct mg_limit_verdict third = ask(bench, "k");
        assert_true(third.ban_began && !third.banned && !third.admitted);
        assert_int_equal(third.ban_ms, length);
        for (int i = 0; i < 100; i++) { /* hammering changes nothing */
            bench->now += length / 200;
            assert_true(ask(bench, "k").banned);
        }
        bench->now += length - 100 * (length / 200) - 1;
        assert_int_equal(ask(bench, "k").ban_ms, 1);
        bench->now++;
    }
    assert_false(ask(bench, "k").banned);
    assert_true(ask(bench, "other").admitted);
}

static uint64_t running_bans(const struct bench *bench)
{
    struct mg_limit_record record;
    for (int tick = 0; tick < 16; tick++) { /* the sweep sees all twice */
        mg_cells_sweep(bench->shm, bench->now);
    }
    assert_true(mg_limit_record_read(bench->shm, bench->ban.record, &record));
    return record.running;
}

static void keys_that_are_banned_are_counted_by_the_sweep(void **state)
{
    struct bench *bench = *state;
    open_limit(bench, rule_of(MG_LIMIT_FIXED_WINDOW, 1, HOUR));
    open_ban(bench, short_ban);
    admitted_of(bench, 2, "denied once");
    assert_int_equal(running_bans(bench), 0);
    admitted_of(bench, 4, "a");
    admitted_of(bench, 4, "b");
    assert_int_equal(running_bans(bench), 2);
    bench->now += 999;
    assert_int_equal(running_bans(bench), 2);
    bench->now++;
    assert_int_equal(running_bans(bench), 0);
}

static void a_ban_is_lifted_and_taken_over_by_hand(void **state)
{
    struct bench *bench = *state;
    open_limit(bench, rule_of(MG_LIMIT_FIXED_WINDOW, 3, HOUR));
    open_ban(bench, short_ban);
    const struct mg_cell_key key = mg_limit_ban_key(bench->shm, &bench->ban, MG_STR("k"));
    assert_false(mg_limit_ban_lift(bench->shm, &bench->ban, key, bench->now));
    const struct mg_ban_state elsewhere = {.words = {0, 0, NOW + 5000, 1}};
    assert_true(mg_limit_ban_until(bench->shm, &bench->ban, key, 0, bench->now, &elsewhere));
    assert_true(ask(bench, "k").banned);
    assert_true(mg_limit_ban_lift(bench->shm, &bench->ban, key, bench->now));
    assert_true(ask(bench, "k").admitted);
}

static void keys_that_share_an_overflow_cell_are_never_banned(void **state)
{
    struct bench *bench = *state;
    open_limit(bench, rule_of(MG_LIMIT_FIXED_WINDOW, 1, HOUR));
    open_ban(bench, short_ban);
    char key[24];
    for (int i = 0; i < 4096 / 16; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_true(ask(bench, key).admitted);
    }
    assert_int_equal(admitted_of(bench, 100, "late"), MG_LIMIT_OVERFLOW_FACTOR);
    assert_true(bench->answer.overflow);
    const struct mg_limit_verdict verdict = ask(bench, "late");
    assert_true(verdict.ban_refused && !verdict.banned && !verdict.admitted);
}

/* --- costs ---------------------------------------------------------------------------------- */

static void a_cost_takes_so_many_units_and_0_is_checked_only(void **state)
{
    struct bench *bench = *state;
    for (int i = 0; i < MG_LIMIT_CONCURRENCY; i++) {
        open_limit(bench, rule_of((enum mg_limit_algorithm)i, 10, HOUR));
        bench->cost = 4;
        assert_int_equal(admitted_of(bench, 5, "k"), 2);
        assert_int_equal(bench->answer.remaining, 2);
        bench->cost = 0;
        assert_true(ask(bench, "k").admitted);
        assert_int_equal(bench->answer.remaining, 2);
        bench->cost = 2;
        assert_true(ask(bench, "k").admitted);
        bench->cost = 0;
        assert_true(ask(bench, "k").admitted); /* nothing is left, nothing is asked for */
        bench->cost = 11;
        assert_false(ask(bench, "k").admitted);
        assert_true(bench->answer.too_big);
        bench->now += 3 * HOUR;
    }
}

static void a_denial_is_charged_up_to_the_quota_where_that_is_asked_for(void **state)
{
    struct bench *bench = *state;
    open_limit(bench, rule_of(MG_LIMIT_SLIDING_WINDOW, 10, MINUTE));
    bench->count_denied = true;
    assert_int_equal(admitted_of(bench, 30, "k"), 10);
    int admitted = 0;
    for (int i = 0; i < 100; i++) { /* who goes on at that rate stays out */
        bench->now += 1000;
        admitted += admitted_of(bench, 3, "k");
    }
    assert_true(admitted <= 2);
    bench->count_denied = false;
    bench->now += 2 * MINUTE;
    assert_int_equal(admitted_of(bench, 30, "k"), 10);
}

static void a_quota_of_the_request_wins_and_0_denies(void **state)
{
    struct bench *bench = *state;
    open_limit(bench, rule_of(MG_LIMIT_TOKEN_BUCKET, 10, HOUR));
    for (int64_t quota = 0; quota <= 5; quota += 5) {
        const struct mg_limit_ask one = {.limit = &bench->limit,
                                         .key =
                                             mg_limit_key(bench->shm, &bench->limit, MG_STR("q")),
                                         .cost = 1,
                                         .has_quota = true,
                                         .quota = quota};
        const struct mg_limit_request request = {.now_ms = NOW, .asks = &one, .count = 1};
        int64_t admitted = 0;
        for (int i = 0; i < 20; i++) {
            admitted += mg_limits_take(bench->shm, &request, &bench->answer).admitted;
        }
        assert_int_equal(admitted, quota);
        assert_int_equal(bench->answer.too_big, quota == 0);
    }
}

/* --- leaky bucket ---------------------------------------------------------------------------- */

static void a_leaky_bucket_lets_them_go_on_evenly(void **state)
{
    struct bench *bench = *state;
    struct mg_limit_rule rule = rule_of(MG_LIMIT_LEAKY_BUCKET, 10, 1000);
    rule.burst = 5;
    rule.max_delay_ms = 1000;
    open_limit(bench, rule);
    for (int i = 0; i < 6; i++) { /* one at once, five wait */
        assert_int_equal(bench->answer.remaining, i == 0 ? 0 : 6 - i);
        const struct mg_limit_verdict verdict = ask(bench, "k");
        assert_true(verdict.admitted);
        assert_int_equal(verdict.delay_ms, 100 * i);
    }
    assert_false(ask(bench, "k").admitted);
    assert_int_equal(bench->answer.retry_ms, 100);
    bench->now += 100;
    const struct mg_limit_verdict verdict = ask(bench, "k");
    assert_true(verdict.admitted);
    assert_int_equal(verdict.delay_ms, 500);
    rule.max_delay_ms = 200;
    open_limit(bench, rule);
    assert_false(ask(bench, "k").admitted); /* it would have to wait too long */
    assert_int_equal(bench->answer.retry_ms, 400);
}

/* --- the calendar ----------------------------------------------------------------------------- */

static void a_month_ends_with_the_month(void **state)
{
    struct bench *bench = *state;
    struct mg_limit_rule rule = rule_of(MG_LIMIT_FIXED_WINDOW, 5, 0);
    rule.calendar = MG_CALENDAR_MONTH;
    bench->now = INT64_C(1709164800000); /* 29 February 2024, 0:00 */
    open_limit(bench, rule);
    assert_int_equal(admitted_of(bench, 9, "k"), 5);
    assert_int_equal(bench->answer.retry_ms, 24 * HOUR);
    bench->now += 24 * HOUR - 1;
    assert_false(ask(bench, "k").admitted);
    bench->now++;
    assert_int_equal(admitted_of(bench, 9, "k"), 5);
    assert_int_equal(bench->answer.retry_ms, INT64_C(31) * 24 * HOUR);
}

/* --- edits ------------------------------------------------------------------------------------ */

static void an_edit_of_the_quota_keeps_the_count(void **state)
{
    struct bench *bench = *state;
    for (int i = 0; i < MG_LIMIT_CONCURRENCY; i++) {
        const enum mg_limit_algorithm algorithm = (enum mg_limit_algorithm)i;
        open_limit(bench, rule_of(algorithm, 10, HOUR));
        assert_int_equal(admitted_of(bench, 4, "k"), 4);
        struct mg_limit_rule rule = rule_of(algorithm, 6, HOUR);
        open_limit(bench, rule);
        const bool is_bucket = algorithm >= MG_LIMIT_TOKEN_BUCKET; /* six tokens were left */
        assert_int_equal(admitted_of(bench, 20, "k"), is_bucket ? 6 : 2);
        bench->now += 3 * HOUR;
    }
}

static void an_edit_of_window_or_algorithm_begins_with_what_was_used(void **state)
{
    struct bench *bench = *state;
    const struct mg_limit_rule rules[] = {
        rule_of(MG_LIMIT_FIXED_WINDOW, 10, HOUR), rule_of(MG_LIMIT_FIXED_WINDOW, 8, 30 * MINUTE),
        rule_of(MG_LIMIT_SLIDING_WINDOW, 9, HOUR), rule_of(MG_LIMIT_TOKEN_BUCKET, 12, HOUR),
        rule_of(MG_LIMIT_SLIDING_WINDOW, 6, 2 * HOUR)};
    const int count = sizeof rules / sizeof rules[0];
    for (int from = 0; from < count; from++) {
        for (int to = 0; to < count; to++) {
            if (from == to) {
                continue;
            }
            bench->now += 24 * HOUR;
            open_limit(bench, rules[from]);
            assert_int_equal(admitted_of(bench, 4, "k"), 4);
            open_limit(bench, rules[to]);
            assert_int_equal(admitted_of(bench, 20, "k"), rules[to].quota - 4);
            assert_int_equal(admitted_of(bench, 20, "new"), rules[to].quota);
        }
    }
}

static void a_count_is_taken_over_once(void **state)
{
    struct bench *bench = *state;
    open_limit(bench, rule_of(MG_LIMIT_FIXED_WINDOW, 10, HOUR));
    assert_int_equal(admitted_of(bench, 9, "k"), 9);
    open_limit(bench, rule_of(MG_LIMIT_FIXED_WINDOW, 10, 1000));
    assert_int_equal(admitted_of(bench, 20, "k"), 1);
    bench->now += 1000;
    assert_int_equal(admitted_of(bench, 20, "k"), 10); /* a new window, still in the old hour */
}

static void the_former_limit_is_forgotten_after_its_window(void **state)
{
    struct bench *bench = *state;
    struct mg_limit_rule first = rule_of(MG_LIMIT_FIXED_WINDOW, 10, HOUR);
    first.align_first = true;
    open_limit(bench, first);
    bench->now += 10;
    assert_int_equal(admitted_of(bench, 10, "k"), 10);
    open_limit(bench, rule_of(MG_LIMIT_SLIDING_WINDOW, 10, 1000));
    bench->now += HOUR;
    assert_int_equal(admitted_of(bench, 20, "k"), 10);
}

/* --- networks --------------------------------------------------------------------------------- */

/* The keys of others, each admitted so often: half of them are there before the invented ones. */
static void expect_of_others(struct bench *bench, int from, int to, int admitted)
{
    char key[24];
    for (int i = from; i < to; i++) {
        snprintf(key, sizeof key, "good %d", i);
        bench->network = (uint8_t)(8 + i % 200);
        assert_int_equal(admitted_of(bench, 3, key), admitted);
        assert_false(bench->answer.overflow);
    }
}

static void r7_a_network_that_invents_keys_crowds_out_its_own_class_only(void **state)
{
    enum { MAX_KEYS = 65536, ITS_CELLS = MAX_KEYS / 16, INVENTED = 1000000, OTHERS = 10000 };
    struct bench *bench = *state;
    bench->limit =
        (struct mg_limit){.rule = rule_of(MG_LIMIT_FIXED_WINDOW, 2, HOUR), .max_keys = MAX_KEYS};
    assert_int_equal(mg_limit_open(bench->shm, &bench->limit, MG_STR("route:1"), MG_STR("r"), NOW),
                     0);
    expect_of_others(bench, 0, OTHERS / 2, 2);
    bench->network = 7;
    char key[24];
    int admitted = 0;
    for (int i = 0; i < INVENTED; i++) {
        snprintf(key, sizeof key, "bad %d", i);
        admitted += ask(bench, key).admitted;
    }
    for (int i = 0; i < ITS_CELLS; i++) { /* what is left of those that have a cell */
        snprintf(key, sizeof key, "bad %d", i);
        admitted += ask(bench, key).admitted;
    }
    assert_int_equal(admitted, (ITS_CELLS + MG_LIMIT_OVERFLOW_FACTOR) * 2);
    struct mg_limit_record record;
    assert_true(mg_limit_record_read(bench->shm, bench->limit.record, &record));
    assert_int_equal(record.live_of[7], ITS_CELLS);
    assert_int_equal(record.live, ITS_CELLS + OTHERS / 2);
    expect_of_others(bench, 0, OTHERS / 2, 0); /* still counted */
    expect_of_others(bench, OTHERS / 2, OTHERS, 2);
}

static void one_key_seen_from_two_networks_stays_counted_where_it_began(void **state)
{
    struct bench *bench = *state;
    open_limit(bench, rule_of(MG_LIMIT_FIXED_WINDOW, 100, MINUTE));
    bench->network = 1;
    ask(bench, "k");
    bench->network = 2;
    ask(bench, "k");
    struct mg_limit_record record;
    assert_true(mg_limit_record_read(bench->shm, bench->limit.record, &record));
    assert_int_equal(record.live_of[1], 1);
    assert_int_equal(record.live_of[2], 0);
    for (int tick = 0; tick < 8; tick++) {
        mg_shm_tick(bench->shm, 1000, NOW + HOUR);
    }
    assert_true(mg_limit_record_read(bench->shm, bench->limit.record, &record));
    assert_int_equal(record.live_of[1], 0);
    assert_int_equal(record.live, 0);
}

/* --- corrections ------------------------------------------------------------------------------ */

static void a_charge_is_given_back_where_it_went(void **state)
{
    struct bench *bench = *state;
    for (int i = 0; i < MG_LIMIT_CONCURRENCY; i++) {
        open_limit(bench, rule_of((enum mg_limit_algorithm)i, 10, HOUR));
        bench->cost = 3;
        assert_true(ask(bench, "k").admitted);
        const struct mg_limit_answer charged = bench->answer;
        bench->cost = 1;
        assert_int_equal(admitted_of(bench, 20, "k"), 7);
        assert_true(mg_limit_correct(bench->shm, &bench->limit, &charged, bench->now, -3));
        assert_int_equal(admitted_of(bench, 20, "k"), 3);
        assert_true(mg_limit_correct(bench->shm, &bench->limit, &charged, bench->now, -1));
        assert_true(mg_limit_correct(bench->shm, &bench->limit, &charged, bench->now, 1));
        assert_int_equal(admitted_of(bench, 20, "k"), 0);
        bench->now += 3 * HOUR;
        assert_int_equal(admitted_of(bench, 20, "k"), 10);
        const bool is_window = i <= MG_LIMIT_SLIDING_WINDOW; /* it went into one that has passed */
        assert_int_equal(mg_limit_correct(bench->shm, &bench->limit, &charged, bench->now, -3),
                         !is_window);
        bench->now += 3 * HOUR;
    }
}

static void a_charge_is_corrected_by_the_quota_of_its_request(void **state)
{
    struct bench *bench = *state;
    open_limit(bench, rule_of(MG_LIMIT_TOKEN_BUCKET, 2, HOUR));
    const struct mg_limit_ask ask_100 = {.limit = &bench->limit,
                                         .key =
                                             mg_limit_key(bench->shm, &bench->limit, MG_STR("k")),
                                         .cost = 10,
                                         .has_quota = true,
                                         .quota = 100};
    const struct mg_limit_request request = {.now_ms = bench->now, .asks = &ask_100, .count = 1};
    struct mg_limit_answer charged, next;
    assert_true(mg_limits_take(bench->shm, &request, &charged).admitted);
    assert_int_equal(charged.remaining, 90);
    assert_true(mg_limit_correct(bench->shm, &bench->limit, &charged, bench->now, -5));
    assert_true(mg_limits_take(bench->shm, &request, &next).admitted);
    assert_int_equal(next.remaining, 85);
}

static void a_charge_of_the_bucket_before_is_given_back_there(void **state)
{
    struct bench *bench = *state;
    open_limit(bench, rule_of(MG_LIMIT_SLIDING_WINDOW, 10, HOUR));
    bench->cost = 10;
    assert_true(ask(bench, "k").admitted);
    const struct mg_limit_answer charged = bench->answer;
    bench->cost = 1;
    bench->now += HOUR + HOUR / 2; /* the half of it still counts */
    assert_int_equal(admitted_of(bench, 20, "k"), 5);
    assert_true(mg_limit_correct(bench->shm, &bench->limit, &charged, bench->now, -10));
    assert_int_equal(admitted_of(bench, 20, "k"), 5);
}

static void a_host_learns_its_part_of_what_all_have_counted(void **state)
{
    struct bench *bench = *state;
    for (int i = 0; i < MG_LIMIT_LEAKY_BUCKET; i++) {
        const struct mg_limit_rule rule = rule_of((enum mg_limit_algorithm)i, 40, HOUR);
        struct mg_limit_view view;
        if (i == MG_LIMIT_CONCURRENCY) {
            continue;
        }
        mg_limit_look(&rule, NULL, bench->now, 0, &view);
        mg_limit_charge(&rule, &view, 28);
        const struct mg_limit_elsewhere elsewhere = {
            .rule = &rule,
            .parts = 4,
            .state = view.state,
            .reset_ms = mg_limit_reset_ms(&rule, view.state, bench->now)};
        open_limit(bench, mg_limit_part_rule(&rule, 4)); /* 10, 7 of them used */
        const struct mg_cell_key key = mg_limit_key(bench->shm, &bench->limit, MG_STR("k"));
        assert_true(mg_limit_learn(bench->shm, &bench->limit, key, 0, bench->now, &elsewhere));
        mg_limit_look(&rule, NULL, bench->now, 0, &view);
        mg_limit_charge(&rule, &view, 4); /* older news, and late */
        assert_true(mg_limit_learn(bench->shm, &bench->limit, key, 0, bench->now, &elsewhere));
        assert_int_equal(admitted_of(bench, 20, "k"), 3);
        bench->now += 3 * HOUR;
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_ban_is_decided_in_the_same_step_and_nothing_is_counted_in_it),
        TEST(keys_that_are_banned_are_counted_by_the_sweep),
        TEST(a_ban_is_lifted_and_taken_over_by_hand),
        TEST(keys_that_share_an_overflow_cell_are_never_banned),
        TEST(a_cost_takes_so_many_units_and_0_is_checked_only),
        TEST(a_denial_is_charged_up_to_the_quota_where_that_is_asked_for),
        TEST(a_quota_of_the_request_wins_and_0_denies),
        TEST(a_leaky_bucket_lets_them_go_on_evenly),
        TEST(a_month_ends_with_the_month),
        TEST(an_edit_of_the_quota_keeps_the_count),
        TEST(an_edit_of_window_or_algorithm_begins_with_what_was_used),
        TEST(a_count_is_taken_over_once),
        TEST(the_former_limit_is_forgotten_after_its_window),
        TEST(r7_a_network_that_invents_keys_crowds_out_its_own_class_only),
        TEST(one_key_seen_from_two_networks_stays_counted_where_it_began),
        TEST(a_charge_is_given_back_where_it_went),
        TEST(a_charge_is_corrected_by_the_quota_of_its_request),
        TEST(a_charge_of_the_bucket_before_is_given_back_there),
        TEST(a_host_learns_its_part_of_what_all_have_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
