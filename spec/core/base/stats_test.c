/* SPDX-License-Identifier: Apache-2.0 */
/* base/stats: names, sums, gauges. */
#include "base/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void every_statistic_has_a_word_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < MG_STAT_COUNT; i++) {
        const char *word = mg_stat_word((enum mg_stat)i);
        assert_true(strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(word));
        assert_true(strlen(mg_stat_text((enum mg_stat)i)) > 5);
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(word, mg_stat_word((enum mg_stat)j));
        }
    }
}

static void a_sum_adds_every_counter_of_every_part(void **state)
{
    (void)state;
    struct mg_stats a = {0}, b = {0}, total = {0};
    mg_stats_add(&a, MG_STAT_ACCEPTED, 3);
    mg_stats_add(&b, MG_STAT_ACCEPTED, 4);
    mg_stats_add(&b, MG_STAT_RESTARTS_STUCK, 1);
    mg_stats_outcome(&a, 5, 200);
    mg_stats_outcome(&b, 5, 404);
    mg_stats_reject(&a, MG_EHEAD_TOO_LARGE);
    mg_stats_sum(&total, &a);
    mg_stats_sum(&total, &b);
    assert_int_equal(total.value[MG_STAT_ACCEPTED], 7);
    assert_int_equal(total.value[MG_STAT_RESTARTS_STUCK], 1);
    assert_int_equal(total.outcome[5], 2);
    assert_int_equal(total.status_class[2], 1);
    assert_int_equal(total.status_class[4], 1);
    assert_int_equal(total.reject[22], 1);
}

static void a_new_owner_keeps_counters_and_drops_gauges(void **state)
{
    (void)state;
    struct mg_stats stats = {0};
    mg_stats_add(&stats, MG_STAT_ACCEPTED, 2);
    mg_stats_add(&stats, MG_STAT_CONNECTIONS, 2);
    mg_stats_drop(&stats, MG_STAT_CONNECTIONS, 1);
    assert_int_equal(stats.value[MG_STAT_CONNECTIONS], 1);
    mg_stats_begin(&stats);
    assert_int_equal(stats.value[MG_STAT_ACCEPTED], 2);
    assert_int_equal(stats.value[MG_STAT_CONNECTIONS], 0);
    assert_true(mg_stat_is_gauge(MG_STAT_CONNECTIONS));
    assert_false(mg_stat_is_gauge(MG_STAT_ACCEPTED));
}

static void odd_numbers_stay_inside_the_tables(void **state)
{
    (void)state;
    struct mg_stats stats = {0};
    mg_stats_outcome(&stats, 9999, 999);
    mg_stats_reject(&stats, 0);
    mg_stats_reject(&stats, -22);              /* a system code */
    mg_stats_reject(&stats, MG_ERR_BASE - 96); /* beyond the table */
    assert_int_equal(stats.outcome[MG_STATS_OUTCOMES - 1], 1);
    assert_int_equal(stats.status_class[0], 1);
    for (int i = 0; i < MG_STATS_REJECTS; i++) {
        assert_int_equal(stats.reject[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_statistic_has_a_word_of_its_own),
        cmocka_unit_test(a_sum_adds_every_counter_of_every_part),
        cmocka_unit_test(a_new_owner_keeps_counters_and_drops_gauges),
        cmocka_unit_test(odd_numbers_stay_inside_the_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
