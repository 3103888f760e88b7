/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/limit_rule: the arithmetic alone. The reference keeps every charge ever made and computes
 * from that history, without the two counters, caps and short cuts of the real thing.
 */
#include "model/limit_rule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef __int128 wide;

static uint64_t seed;

static int64_t roll(int64_t n) /* 0 .. n - 1 */
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (int64_t)(seed % (uint64_t)n);
}

/* --- the reference -------------------------------------------------------------------------- */

struct event {
    int64_t window; /* fixed: its start; sliding: bucket number; bucket: time of the charge */
    int64_t cost, quota, burst;
};

struct history {
    struct event *events;
    size_t count, size;
};

static void remember(struct history *history, struct event event)
{
    if (history->count == history->size) {
        history->size = history->size ? 2 * history->size : 64;
        history->events = realloc(history->events, history->size * sizeof event);
    }
    history->events[history->count++] = event;
}

static int64_t units_in(const struct history *history, int64_t window)
{
    int64_t sum = 0;
    for (size_t i = 0; i < history->count; i++) {
        sum += history->events[i].window == window ? history->events[i].cost : 0;
    }
    return sum;
}

static int64_t last_window(const struct history *history)
{
    return history->count > 0 ? history->events[history->count - 1].window : INT64_MIN;
}

/* The window that a charge at now would belong to. */
static int64_t window_at(const struct mg_limit_rule *rule, const struct history *history,
                         int64_t now)
{
    const int64_t last = last_window(history), w = rule->window_ms;
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW:
        if (rule->align_first) {
            return history->count == 0 || now >= last + w ? now : last;
        }
        return now - now % w > last ? now - now % w : last;
    case MG_LIMIT_SLIDING_WINDOW:
        return now / w > last ? now / w : last;
    default:
        return now > last ? now : last;
    }
}

/* Tokens x w at now: all refills and charges done over again. */
static wide tokens_at(const struct mg_limit_rule *rule, const struct history *history, int64_t now)
{
    wide tokens = (wide)rule->burst * rule->window_ms;
    for (size_t i = 0; i <= history->count; i++) {
        const bool last = i == history->count;
        const int64_t quota = last ? rule->quota : history->events[i].quota;
        const int64_t burst = last ? rule->burst : history->events[i].burst;
        if (i > 0) {
            const int64_t from = history->events[i - 1].window;
            const int64_t to = last ? now : history->events[i].window;
            tokens += to > from ? (wide)(to - from) * quota : 0;
        } else {
            tokens = (wide)burst * rule->window_ms;
        }
        const wide full = (wide)burst * rule->window_ms;
        tokens = tokens > full ? full : tokens;
        if (!last) {
            tokens -= (wide)history->events[i].cost * rule->window_ms;
        }
    }
    return tokens;
}

/* Would a charge of cost pass? */
static bool reference_ok(const struct mg_limit_rule *rule, const struct history *history,
                         int64_t now, int64_t cost)
{
    const int64_t window = window_at(rule, history, now), w = rule->window_ms;
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW:
        return units_in(history, window) + cost <= rule->quota;
    case MG_LIMIT_SLIDING_WINDOW: {
        const int64_t elapsed = now > window * w ? now - window * w : 0;
        const wide weighted = (wide)units_in(history, window - 1) * (w - elapsed);
        return weighted + (wide)(units_in(history, window) + cost) * w <= (wide)rule->quota * w;
    }
    default:
        return tokens_at(rule, history, now) >= (wide)cost * w;
    }
}

static int64_t reference_remaining(const struct mg_limit_rule *rule, const struct history *history,
                                   int64_t now)
{
    int64_t n = 0; /* by trying: the largest cost that passes */
    while (n < rule->quota + rule->burst && reference_ok(rule, history, now, n + 1)) {
        n++;
    }
    return n;
}

/* --- random rules --------------------------------------------------------------------------- */

static struct mg_limit_rule random_rule(int algorithm)
{
    struct mg_limit_rule rule = {.algorithm = (enum mg_limit_algorithm)algorithm,
                                 .align_first = roll(2) == 1,
                                 .quota = 1 + roll(12),
                                 .window_ms = 1 + roll(300)};
    rule.burst = algorithm == MG_LIMIT_GCRA ? 1 : 1 + roll(12);
    rule.max_delay_ms = algorithm == MG_LIMIT_LEAKY_BUCKET ? roll(300) : 0;
    return rule;
}

/* One history against one state, charges, edits of the numbers and a clock that steps back. */
static void compare(int algorithm, int steps, bool back)
{
    struct mg_limit_rule rule = random_rule(algorithm);
    struct history history = {0};
    int64_t state[4] = {0}, now = 1000000 + roll(1000);
    bool known = false;
    for (int i = 0; i < steps; i++) {
        now += roll(4) == 0 ? roll(2 * rule.window_ms + 2) : roll(rule.window_ms / 4 + 2);
        if (back && roll(10) == 0) {
            now -= roll(2 * rule.window_ms + 2);
        }
        if (roll(40) == 0) {
            rule.quota = 1 + roll(12);
            rule.burst = 1 + roll(12);
        }
        const int64_t cost = 1 + roll(3);
        struct mg_limit_view view;
        mg_limit_look(&rule, known ? state : NULL, now, cost, &view);
        assert_int_equal(view.ok, reference_ok(&rule, &history, now, cost));
        if (view.ok && roll(5) != 0) { /* else another limit denied: nothing is kept */
            mg_limit_charge(&rule, &view, cost);
            memcpy(state, view.state, sizeof state);
            known = true;
            remember(&history, (struct event){.window = window_at(&rule, &history, now),
                                              .cost = cost,
                                              .quota = rule.quota,
                                              .burst = rule.burst});
        }
        assert_int_equal(mg_limit_remaining(&rule, view.state, now),
                         reference_remaining(&rule, &history, now));
    }
    free(history.events);
}

static void r2_verdict_and_remaining_agree_with_the_reference(void **state)
{
    (void)state;
    seed = 88172645463325252U;
    for (int round = 0; round < 400; round++) {
        for (int algorithm = 0; algorithm < MG_LIMIT_CONCURRENCY; algorithm++) {
            compare(algorithm, 50, round % 2 == 1); /* 80,000 decisions */
        }
    }
}

/* --- retry ---------------------------------------------------------------------------------- */

/* Drives one key into denials; at each, looks 1 ms before the promised time and at it. */
static unsigned check_retries(int algorithm)
{
    const struct mg_limit_rule rule = random_rule(algorithm);
    int64_t state[4] = {0}, now = 5000000 + roll(1000);
    bool known = false;
    unsigned denials = 0;
    for (int i = 0; i < 60; i++) {
        now += roll(rule.window_ms / 3 + 2);
        struct mg_limit_view view;
        const int64_t cost = algorithm == MG_LIMIT_GCRA ? 1 : 1 + roll(4);
        mg_limit_look(&rule, known ? state : NULL, now, cost, &view);
        if (view.ok) {
            assert_int_equal(view.retry_ms, 0);
            mg_limit_charge(&rule, &view, cost);
            memcpy(state, view.state, sizeof state);
            known = true;
            continue;
        }
        if (view.too_big) {
            assert_int_equal(view.retry_ms, 0);
            continue;
        }
        denials++;
        struct mg_limit_view later;
        assert_true(view.retry_ms >= 1);
        mg_limit_look(&rule, state, now + view.retry_ms - 1, cost, &later);
        assert_false(later.ok);
        mg_limit_look(&rule, state, now + view.retry_ms, cost, &later);
        assert_true(later.ok);
    }
    return denials;
}

static void r3_a_denied_cost_passes_exactly_at_its_retry_time(void **state)
{
    (void)state;
    seed = 424242;
    for (int algorithm = 0; algorithm < MG_LIMIT_ALGORITHMS; algorithm++) {
        unsigned denials = 0;
        if (algorithm == MG_LIMIT_CONCURRENCY) {
            continue; /* when a slot comes back is not known */
        }
        for (int round = 0; round < 1000; round++) {
            denials += check_retries(algorithm);
        }
        assert_true(denials > 5000);
    }
}

static void a_cost_over_the_quota_is_denied_for_ever(void **state)
{
    (void)state;
    for (int algorithm = 0; algorithm < MG_LIMIT_ALGORITHMS; algorithm++) {
        const struct mg_limit_rule rule = {.algorithm = (enum mg_limit_algorithm)algorithm,
                                           .quota = 5,
                                           .window_ms = 1000,
                                           .burst = 5};
        struct mg_limit_view view;
        mg_limit_look(&rule, NULL, 1000000, 6, &view);
        assert_false(view.ok);
        assert_true(view.too_big);
        assert_int_equal(view.retry_ms, 0);
        mg_limit_look(&rule, NULL, 1000000, 5, &view);
        assert_true(view.ok);
        assert_false(view.too_big);
    }
}

/* --- bounds of 2.3 -------------------------------------------------------------------------- */

#define SPAN 4000

/* Units that go on in each millisecond, of a client that tries up to 60 times in each from `begin`:
 * a leaky bucket lets them wait for their turn. */
static void attack(const struct mg_limit_rule *rule, int64_t begin, int admitted[SPAN])
{
    int64_t state[4] = {0};
    bool known = false;
    memset(admitted, 0, SPAN * sizeof admitted[0]);
    for (int ms = 0; ms < SPAN; ms++) {
        for (int n = 0; ms >= begin && n < 60; n++) {
            struct mg_limit_view view;
            mg_limit_look(rule, known ? state : NULL, 8000000 + ms, 1, &view);
            if (!view.ok) {
                break;
            }
            mg_limit_charge(rule, &view, 1);
            memcpy(state, view.state, sizeof state);
            known = true;
            if (ms + view.delay_ms < SPAN) {
                admitted[ms + view.delay_ms]++;
            }
        }
    }
}

/* The most in any `length` successive milliseconds. */
static int most_in(const int admitted[SPAN], int length)
{
    int sum = 0, most = 0;
    for (int i = 0; i < SPAN; i++) {
        sum += admitted[i] - (i >= length ? admitted[i - length] : 0);
        most = sum > most ? sum : most;
    }
    return most;
}

/* An interval that begins and ends with an admission L ms later has length L and L + 1 instants. */
static void check_bound(const struct mg_limit_rule *rule, int64_t (*bound)(int64_t length))
{
    static int admitted[SPAN];
    int64_t closest = INT64_MAX;
    for (int64_t begin = 0; begin <= 1000; begin += 37) {
        attack(rule, begin, admitted);
        for (int length = 0; length <= 1000; length += 50) {
            const int most = most_in(admitted, length + 1);
            assert_true(most <= bound(length));
            closest = bound(length) - most < closest ? bound(length) - most : closest;
        }
    }
    attack(rule, 999, admitted); /* just before the edge of a window: the bound is reached */
    for (int length = 0; length <= 1000; length += 50) {
        const int64_t left = bound(length) - most_in(admitted, length + 1);
        closest = left < closest ? left : closest;
    }
    assert_int_equal(closest, 0);
}

static int64_t fixed_bound(int64_t length)
{
    (void)length;
    return 2 * 40;
}

static int64_t sliding_bound(int64_t length)
{
    return 40 + 40 * length / 1000;
}

static int64_t bucket_bound(int64_t length)
{
    return 10 + 40 * length / 1000;
}

static int64_t gcra_bound(int64_t length)
{
    return 1 + 40 * length / 1000;
}

static void r3_no_interval_admits_more_than_its_bound_which_is_reached(void **state)
{
    (void)state;
    struct mg_limit_rule rule = {.quota = 40, .window_ms = 1000, .burst = 10};
    rule.algorithm = MG_LIMIT_FIXED_WINDOW;
    check_bound(&rule, fixed_bound);
    rule.algorithm = MG_LIMIT_SLIDING_WINDOW;
    check_bound(&rule, sliding_bound);
    rule.algorithm = MG_LIMIT_TOKEN_BUCKET;
    check_bound(&rule, bucket_bound);
    rule.algorithm = MG_LIMIT_GCRA;
    rule.burst = 1;
    check_bound(&rule, gcra_bound);
    rule.algorithm = MG_LIMIT_LEAKY_BUCKET; /* released like that, the first at once */
    rule.burst = 10;
    rule.max_delay_ms = 1000;
    check_bound(&rule, gcra_bound);
}

/* --- life of a cell ------------------------------------------------------------------------- */

/* From free_at on a state gives the same verdicts as none; before, it does not always. */
static void a_state_is_as_good_as_new_from_free_at_on(void **state)
{
    (void)state;
    seed = 77;
    for (int round = 0; round < 4000; round++) {
        const struct mg_limit_rule rule = random_rule(round % MG_LIMIT_CONCURRENCY);
        const int64_t now = 900000 + roll(5000);
        struct mg_limit_view view, old, fresh;
        mg_limit_look(&rule, NULL, now, 1, &view);
        mg_limit_charge(&rule, &view, 1);
        const int64_t free_at = mg_limit_free_at(&rule, view.state);
        assert_true(free_at > now);
        for (int64_t cost = 1; cost <= rule.quota + 1; cost++) {
            mg_limit_look(&rule, view.state, free_at, cost, &old);
            mg_limit_look(&rule, NULL, free_at, cost, &fresh);
            assert_int_equal(old.ok, fresh.ok);
            assert_int_equal(mg_limit_remaining(&rule, old.state, free_at),
                             mg_limit_remaining(&rule, fresh.state, free_at));
        }
        const bool bucket = round % MG_LIMIT_CONCURRENCY >= MG_LIMIT_TOKEN_BUCKET;
        mg_limit_look(&rule, view.state, now, bucket ? rule.burst : rule.quota, &old);
        assert_false(old.ok);
    }
}

static void reset_is_when_the_window_ends_or_the_bucket_is_full(void **state)
{
    (void)state;
    struct mg_limit_rule rule = {.quota = 10, .window_ms = 1000, .burst = 5};
    const int64_t now = 10000250;
    struct mg_limit_view view;
    rule.algorithm = MG_LIMIT_FIXED_WINDOW;
    mg_limit_look(&rule, NULL, now, 1, &view);
    assert_int_equal(mg_limit_reset_ms(&rule, view.state, now), 750);
    rule.align_first = true;
    mg_limit_look(&rule, NULL, now, 1, &view);
    assert_int_equal(mg_limit_reset_ms(&rule, view.state, now), 1000);
    rule.algorithm = MG_LIMIT_SLIDING_WINDOW;
    mg_limit_look(&rule, NULL, now, 1, &view);
    assert_int_equal(mg_limit_reset_ms(&rule, view.state, now), 750);
    rule.algorithm = MG_LIMIT_TOKEN_BUCKET;
    mg_limit_look(&rule, NULL, now, 2, &view);
    mg_limit_charge(&rule, &view, 2);
    assert_int_equal(mg_limit_reset_ms(&rule, view.state, now), 200);
    rule.algorithm = MG_LIMIT_CONCURRENCY;
    assert_int_equal(mg_limit_reset_ms(&rule, view.state, now), 1000);
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    struct mg_limit_rule rule = {
        .algorithm = MG_LIMIT_SLIDING_WINDOW, .quota = 26000000, .window_ms = 86400000};
    assert_int_equal(mg_limit_rule_check(&rule), 0);
    rule.quota = 26100000; /* x a day > 2^51 */
    assert_int_equal(mg_limit_rule_check(&rule), MG_EINVALID);
    rule.algorithm = MG_LIMIT_FIXED_WINDOW;
    assert_int_equal(mg_limit_rule_check(&rule), 0);
    rule.quota = MG_LIMIT_QUOTA_MAX + 1;
    assert_int_equal(mg_limit_rule_check(&rule), MG_EINVALID);
    rule.quota = 0;
    assert_int_equal(mg_limit_rule_check(&rule), MG_EINVALID);
    rule = (struct mg_limit_rule){
        .algorithm = MG_LIMIT_TOKEN_BUCKET, .quota = 1, .window_ms = 86400000, .burst = 26100000};
    assert_int_equal(mg_limit_rule_check(&rule), MG_EINVALID);
    rule.burst = 26000000;
    assert_int_equal(mg_limit_rule_check(&rule), 0);
    rule.burst = 0;
    assert_int_equal(mg_limit_rule_check(&rule), MG_EINVALID);
    rule = (struct mg_limit_rule){.algorithm = MG_LIMIT_CONCURRENCY, .quota = 1};
    assert_int_equal(mg_limit_rule_check(&rule), 0);
}

static void the_largest_numbers_do_not_overflow(void **state)
{
    (void)state;
    for (int algorithm = 0; algorithm < MG_LIMIT_CONCURRENCY; algorithm++) {
        struct mg_limit_rule rule = {.algorithm = (enum mg_limit_algorithm)algorithm,
                                     .quota = MG_LIMIT_QUOTA_MAX,
                                     .window_ms = 2251799, /* product just under 2^51 */
                                     .burst = MG_LIMIT_QUOTA_MAX};
        assert_int_equal(mg_limit_rule_check(&rule), 0);
        rule.quota *= MG_LIMIT_OVERFLOW_FACTOR;
        rule.burst *= MG_LIMIT_OVERFLOW_FACTOR;
        int64_t now = INT64_C(4102444800000); /* 2100 */
        struct mg_limit_view view;
        mg_limit_look(&rule, NULL, now, rule.quota, &view);
        assert_true(view.ok);
        mg_limit_charge(&rule, &view, rule.quota);
        int64_t kept[4];
        memcpy(kept, view.state, sizeof kept);
        mg_limit_look(&rule, kept, now, 1, &view);
        assert_false(view.ok);
        assert_true(view.retry_ms >= 1 && view.retry_ms <= 2 * rule.window_ms);
        mg_limit_look(&rule, kept, now + INT64_C(400) * 86400000, rule.quota, &view);
        assert_true(view.ok);
    }
}

static void algorithms_have_names(void **state)
{
    (void)state;
    for (int i = 0; i < MG_LIMIT_ALGORITHMS; i++) {
        const char *name = mg_limit_algorithm_name((enum mg_limit_algorithm)i);
        assert_int_equal(mg_limit_algorithm_of(mg_str_from(name)), i);
    }
    assert_int_equal(mg_limit_algorithm_of(MG_STR("sliding-log")), MG_LIMIT_ALGORITHMS);
}

/* A wild write into shared memory: the key begins anew, nothing overflows. */
static void a_state_that_cannot_be_is_as_none(void **state)
{
    (void)state;
    static const int64_t bad[] = {INT64_MIN, INT64_MAX, INT64_C(1) << 60};
    for (int i = 0; i < MG_LIMIT_ALGORITHMS; i++) {
        const struct mg_limit_rule rule = {
            .algorithm = (enum mg_limit_algorithm)i, .quota = 5, .burst = 5, .window_ms = 1000};
        for (size_t j = 0; j < sizeof bad / sizeof bad[0]; j++) {
            const int64_t cell[4] = {bad[j], bad[j], bad[j], bad[j]};
            struct mg_limit_view view, fresh;
            mg_limit_look(&rule, cell, 1000000, 1, &view);
            mg_limit_look(&rule, NULL, 1000000, 1, &fresh);
            assert_memory_equal(&view, &fresh, sizeof view);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r2_verdict_and_remaining_agree_with_the_reference),
        cmocka_unit_test(r3_a_denied_cost_passes_exactly_at_its_retry_time),
        cmocka_unit_test(a_cost_over_the_quota_is_denied_for_ever),
        cmocka_unit_test(r3_no_interval_admits_more_than_its_bound_which_is_reached),
        cmocka_unit_test(a_state_is_as_good_as_new_from_free_at_on),
        cmocka_unit_test(reset_is_when_the_window_ends_or_the_bucket_is_full),
        cmocka_unit_test(numbers_out_of_range_are_refused),
        cmocka_unit_test(the_largest_numbers_do_not_overflow),
        cmocka_unit_test(algorithms_have_names),
        cmocka_unit_test(a_state_that_cannot_be_is_as_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
