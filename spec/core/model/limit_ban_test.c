/* SPDX-License-Identifier: Apache-2.0 */
/* model/limit_ban: the arithmetic of bans. */
#include "model/limit_ban.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW INT64_C(1700000040000) /* the begin of a minute */
#define MINUTE 60000

static const struct mg_ban_rule rule = {.after = 2,
                                        .within_ms = MINUTE,
                                        .for_ms = 1000,
                                        .factor_percent = 200,
                                        .max_ms = 5000,
                                        .forget_ms = 5000};

static void a_ban_begins_after_so_many_denials(void **state)
{
    (void)state;
    struct mg_ban_state ban = {0};
    assert_false(mg_ban_deny(&rule, &ban, NOW));
    assert_false(mg_ban_deny(&rule, &ban, NOW + 1));
    assert_int_equal(mg_ban_left_ms(&ban, NOW + 1), 0);
    assert_true(mg_ban_deny(&rule, &ban, NOW + 2));
    assert_int_equal(mg_ban_left_ms(&ban, NOW + 2), 1000);
    assert_int_equal(mg_ban_left_ms(&ban, NOW + 1001), 1);
    assert_int_equal(mg_ban_left_ms(&ban, NOW + 1002), 0);
}

static void after_0_bans_on_the_first_denial(void **state)
{
    (void)state;
    struct mg_ban_rule at_once = rule;
    at_once.after = 0;
    struct mg_ban_state ban = {0};
    assert_true(mg_ban_deny(&at_once, &ban, NOW));
}

static int64_t next_ban(struct mg_ban_state *ban, int64_t now)
{
    assert_false(mg_ban_deny(&rule, ban, now));
    assert_false(mg_ban_deny(&rule, ban, now));
    assert_true(mg_ban_deny(&rule, ban, now));
    return mg_ban_left_ms(ban, now);
}

static void bans_in_a_row_get_longer_up_to_the_maximum_and_are_forgotten(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1000, 2000, 4000, 5000, 5000};
    struct mg_ban_state ban = {0};
    int64_t now = NOW;
    for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        assert_int_equal(next_ban(&ban, now), lengths[i]);
        now += lengths[i];
    }
    assert_int_equal(next_ban(&ban, now + 4999), 5000); /* 1 ms before it is forgotten */
    now += 4999 + 5000;
    assert_int_equal(next_ban(&ban, now + 5000), 1000);
}

static void denials_of_two_windows_ago_do_not_count(void **state)
{
    (void)state;
    struct mg_ban_state ban = {0};
    for (int i = 0; i < 100; i++) {
        assert_false(mg_ban_deny(&rule, &ban, NOW + (int64_t)i * MINUTE)); /* one a minute */
    }
    struct mg_ban_state dense = {0};
    assert_false(mg_ban_deny(&rule, &dense, NOW + MINUTE - 1));
    assert_false(mg_ban_deny(&rule, &dense, NOW + MINUTE - 1));
    assert_true(mg_ban_deny(&rule, &dense, NOW + MINUTE)); /* the window slides over the edge */
}

static void only_extend_prolongs_a_ban(void **state)
{
    (void)state;
    struct mg_ban_state ban = {0};
    next_ban(&ban, NOW);
    assert_false(mg_ban_extend(&rule, &ban, NOW + 500));
    assert_int_equal(mg_ban_left_ms(&ban, NOW + 500), 500);
    struct mg_ban_rule extending = rule;
    extending.extend = true;
    assert_true(mg_ban_extend(&extending, &ban, NOW + 500));
    assert_int_equal(mg_ban_left_ms(&ban, NOW + 500), 1000);
    assert_false(mg_ban_extend(&extending, &ban, NOW + 1500)); /* it is over */
}

static void a_clock_that_steps_back_neither_bans_nor_frees(void **state)
{
    (void)state;
    struct mg_ban_state ban = {0};
    assert_false(mg_ban_deny(&rule, &ban, NOW));
    assert_false(mg_ban_deny(&rule, &ban, NOW - 5 * MINUTE));
    assert_true(mg_ban_deny(&rule, &ban, NOW - 5 * MINUTE));
}

static void a_state_is_kept_while_it_means_something(void **state)
{
    (void)state;
    struct mg_ban_state ban = {0};
    mg_ban_deny(&rule, &ban, NOW);
    assert_int_equal(mg_ban_free_at(&rule, &ban), NOW + 2 * MINUTE);
    struct mg_ban_rule slow = rule;
    slow.forget_ms = 60 * MINUTE;
    ban = (struct mg_ban_state){0};
    next_ban(&ban, NOW);
    assert_int_equal(mg_ban_free_at(&slow, &ban), ban.words[2] + 60 * MINUTE);
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    assert_int_equal(mg_ban_rule_check(&rule), 0);
    struct mg_ban_rule bad[6] = {rule, rule, rule, rule, rule, rule};
    bad[0].after = 1000001;
    bad[1].within_ms = 0;
    bad[2].for_ms = 6000; /* over max */
    bad[3].factor_percent = 99;
    bad[4].factor_percent = 1001;
    bad[5].forget_ms = -1;
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(mg_ban_rule_check(&bad[i]), MG_EINVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ban_begins_after_so_many_denials),
        cmocka_unit_test(after_0_bans_on_the_first_denial),
        cmocka_unit_test(bans_in_a_row_get_longer_up_to_the_maximum_and_are_forgotten),
        cmocka_unit_test(denials_of_two_windows_ago_do_not_count),
        cmocka_unit_test(only_extend_prolongs_a_ban),
        cmocka_unit_test(a_clock_that_steps_back_neither_bans_nor_frees),
        cmocka_unit_test(a_state_is_kept_while_it_means_something),
        cmocka_unit_test(numbers_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
