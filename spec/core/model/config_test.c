/* SPDX-License-Identifier: Apache-2.0 */
/* Address ranges, phases and outcomes by name, the snapshot's life. */
#include "model/config.h"
#include "model/outcome.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static bool inside(const char *range, const char *ip)
{
    struct mg_cidr cidr;
    assert_int_equal(mg_cidr_parse(mg_str_from(range), &cidr), 0);
    return mg_cidr_match(&cidr, 1, mg_str_from(ip));
}

static void ranges_take_exactly_their_addresses(void **state)
{
    (void)state;
    assert_true(inside("10.0.0.0/8", "10.255.0.1"));
    assert_false(inside("10.0.0.0/8", "11.0.0.0"));
    assert_false(inside("10.0.0.0/8", "9.255.255.255"));
    assert_true(inside("10.1.2.3/8", "10.9.9.9")); /* bits beyond the length do not count */
    assert_true(inside("192.168.4.0/22", "192.168.7.255"));
    assert_false(inside("192.168.4.0/22", "192.168.8.0"));
    assert_true(inside("127.0.0.1", "127.0.0.1"));
    assert_false(inside("127.0.0.1", "127.0.0.2"));
    assert_true(inside("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(inside("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(inside("::1", "::1"));
    assert_true(inside("fe80::/10", "fe80::1%eth0"));
}

static void the_two_families_do_not_mix(void **state)
{
    (void)state;
    assert_true(inside("0.0.0.0/0", "203.0.113.9"));
    assert_false(inside("0.0.0.0/0", "2001:db8::1"));
    assert_true(inside("::/0", "2001:db8::1"));
    assert_false(inside("::/0", "203.0.113.9"));
    assert_true(inside("10.0.0.0/8", "::ffff:10.1.1.1"));
}

static void what_is_no_range_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "10.0.0.0/33",
                                      "10.0.0/8",
                                      "::1/129",
                                      "host",
                                      "10.0.0.0/",
                                      "10.0.0.0/-1",
                                      "10.0.0.0/8/8",
                                      "/8",
                                      "1.2.3.4.5",
                                      "fe80::1%eth0/10",
                                      "10.0.0.0/8 ",
                                      "::ffff:1.2.3.4.5.6.7.8:9:10:11:12:13:14:15:16"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct mg_cidr cidr;
        assert_int_equal(mg_cidr_parse(mg_str_from(bad[i]), &cidr), MG_EINVALID);
    }
}

static void no_range_takes_what_is_no_address(void **state)
{
    (void)state;
    assert_false(inside("0.0.0.0/0", "unix:"));
    assert_false(inside("0.0.0.0/0", ""));
    assert_false(inside("::/0", "localhost"));
    assert_false(mg_cidr_match(NULL, 0, MG_STR("127.0.0.1")));
}

/* NULL: it is no address. */
static void check_canonical(const char *text, const char *expected)
{
    struct mg_arena arena;
    mg_arena_init(&arena, 256);
    mg_str out = MG_STR("before");
    const int err = mg_address_canonical(&arena, mg_str_from(text), &out);
    assert_int_equal(err, expected ? 0 : MG_EINVALID);
    assert_true(mg_str_equal(out, mg_str_from(expected ? expected : "before")));
    mg_arena_deinit(&arena);
}

static void an_address_has_one_text(void **state)
{
    (void)state;
    check_canonical("10.0.0.1", "10.0.0.1");
    check_canonical("::1", "::1");
    check_canonical("2001:DB8:0:0::0001", "2001:db8::1");
    check_canonical("::FFFF:10.0.0.1", "10.0.0.1");
    check_canonical("::ffff:a00:1", "10.0.0.1");
    static const char *const bad[] = {
        "",           "10.0.0.1/32",  "10.0.0",    "010.0.0.1", "10.0.0.1:1",
        "[::1]",      "fe80::1%lo",   "unix:",     " ::1",      "::1/128",
        "0x0a.0.0.1", "::ffff:1.2.3", "1.2.3.4.5", "localhost", "12345678901234"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        check_canonical(bad[i], NULL);
    }
}

/* Reads two numbers back as bit strings: an independent way to say "inside". */
static void random_ranges_equal_a_comparison_bit_by_bit(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        seed = seed * 1664525U + 1013904223U;
        const uint32_t base = seed;
        const unsigned bits = seed >> 7 & 31U;
        seed = seed * 1664525U + 1013904223U;
        const uint32_t other = round % 2 ? seed : base ^ (1U << (seed >> 27));
        char range[32], ip[32];
        snprintf(range, sizeof range, "%u.%u.%u.%u/%u", base >> 24, base >> 16 & 255U,
                 base >> 8 & 255U, base & 255U, bits);
        snprintf(ip, sizeof ip, "%u.%u.%u.%u", other >> 24, other >> 16 & 255U, other >> 8 & 255U,
                 other & 255U);
        bool same = true;
        for (unsigned bit = 0; bit < bits; bit++) {
            same = same && (base >> (31 - bit) & 1U) == (other >> (31 - bit) & 1U);
        }
        assert_int_equal(inside(range, ip), same);
    }
}

static void outcomes_have_their_words(void **state)
{
    (void)state;
    assert_string_equal(mg_outcome_word(MG_OUTCOME_UPSTREAM_REFUSED), "upstream_refused");
    assert_string_equal(mg_outcome_word(MG_OUTCOME_OK), "ok");
    assert_string_equal(mg_outcome_word((enum mg_outcome)999), "internal");
    for (unsigned i = 0; i < MG_OUTCOME_COUNT; i++) {
        const char *word = mg_outcome_word((enum mg_outcome)i);
        assert_int_equal(mg_outcome_of(word, (unsigned)strlen(word)), i);
    }
    assert_int_equal(mg_outcome_of("upstream", 8), MG_OUTCOME_COUNT);
}

static void phases_have_their_names(void **state)
{
    (void)state;
    assert_string_equal(mg_phase_name(MG_PHASE_ACCESS), "access");
    assert_string_equal(mg_phase_name(MG_PHASE_INIT_WORKER), "init_worker");
    assert_string_equal(mg_phase_name(MG_PHASE_COUNT), "unknown");
    for (unsigned i = 0; i < MG_PHASE_COUNT; i++) {
        assert_non_null(mg_phase_name((enum mg_phase)i));
    }
}

static void count_free(void *context)
{
    ++*(int *)context;
}

static void freeing_a_snapshot_runs_its_cleanups(void **state)
{
    (void)state;
    int freed = 0;
    struct mg_config *config = mg_config_new();
    mg_arena_defer(&config->arena, count_free, &freed);
    mg_config_free(config);
    mg_config_free(NULL);
    assert_int_equal(freed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_take_exactly_their_addresses),
        cmocka_unit_test(the_two_families_do_not_mix),
        cmocka_unit_test(what_is_no_range_is_refused),
        cmocka_unit_test(no_range_takes_what_is_no_address),
        cmocka_unit_test(an_address_has_one_text),
        cmocka_unit_test(random_ranges_equal_a_comparison_bit_by_bit),
        cmocka_unit_test(outcomes_have_their_words),
        cmocka_unit_test(phases_have_their_names),
        cmocka_unit_test(freeing_a_snapshot_runs_its_cleanups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
