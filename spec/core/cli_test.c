/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the command line by a table of options. */
#include "cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { OPTION_LISTEN, OPTION_QUIET, OPTION_SIZE };

static const struct mg_option options[] = {{"listen", "ADDR", "where", 'l'},
                                           {"quiet", NULL, "no lines", 'q'},
                                           {"size", "BYTES", "how much", 0},
                                           {NULL, NULL, NULL, 0}};

static const struct mg_verb verb = {
    .name = "serve", .arguments = "", .summary = "Serves.", .options = options};

static struct mg_cli cli_of(char **argv)
{
    struct mg_cli cli = {.verb = &verb, .argv = argv};
    while (argv[cli.argc]) {
        cli.argc++;
    }
    return cli;
}

static void options_are_read_in_all_their_forms(void **state)
{
    (void)state;
    char *argv[] = {"--listen", "a", "--listen=b", "-lc", "-ql", "d", "--quiet", NULL};
    static const char *const values[] = {"a", "b", "c", NULL, "d", NULL};
    static const int expected[] = {OPTION_LISTEN, OPTION_LISTEN, OPTION_LISTEN,
                                   OPTION_QUIET,  OPTION_LISTEN, OPTION_QUIET};
    struct mg_cli cli = cli_of(argv);
    const char *value;
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(mg_cli_next(&cli, &value), expected[i]);
        if (values[i]) {
            assert_string_equal(value, values[i]);
        } else {
            assert_null(value);
        }
    }
    assert_int_equal(mg_cli_next(&cli, &value), MG_CLI_END);
}

static void after_two_dashes_only_arguments_follow(void **state)
{
    (void)state;
    char *argv[] = {"x", "--", "--quiet", "-", NULL};
    struct mg_cli cli = cli_of(argv);
    const char *value;
    assert_int_equal(mg_cli_next(&cli, &value), MG_CLI_ARGUMENT);
    assert_string_equal(value, "x");
    assert_int_equal(mg_cli_next(&cli, &value), MG_CLI_ARGUMENT);
    assert_string_equal(value, "--quiet");
    assert_int_equal(mg_cli_next(&cli, &value), MG_CLI_ARGUMENT);
    assert_string_equal(value, "-");
    assert_int_equal(mg_cli_next(&cli, &value), MG_CLI_END);
}

static void what_is_wrong_stops_with_a_usage_error(void **state)
{
    (void)state;
    static char *cases[][3] = {{"--lisen", "a", NULL},
                               {"--listen", NULL, NULL},
                               {"-l", NULL, NULL},
                               {"--quiet=1", NULL, NULL},
                               {"-z", NULL, NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mg_cli cli = cli_of(cases[i]);
        const char *value;
        assert_int_equal(mg_cli_next(&cli, &value), MG_CLI_STOP);
        assert_int_equal(cli.exit, MG_EXIT_USAGE);
    }
}

static void an_argument_is_refused_where_none_is_allowed(void **state)
{
    (void)state;
    char *argv[] = {"x", NULL};
    struct mg_cli cli = cli_of(argv);
    const char *value;
    assert_int_equal(mg_cli_next_option(&cli, &value), MG_CLI_STOP);
    assert_int_equal(cli.exit, MG_EXIT_USAGE);
}

static void a_mistyped_word_finds_the_one_that_was_meant(void **state)
{
    (void)state;
    static const char *const words[] = {"run", "check", "reload", "status", "explain", NULL};
    assert_string_equal(mg_cli_meant("relaod", words), "reload");
    assert_string_equal(mg_cli_meant("chek", words), "check");
    assert_string_equal(mg_cli_meant("statuses", words), "status");
    assert_string_equal(mg_cli_meant("explian", words), "explain");
    assert_null(mg_cli_meant("expounding", words));
    assert_null(mg_cli_meant("xyz", words)); /* as far from "run" as it is long */
    assert_null(mg_cli_meant("", words));
}

static void sizes_have_units_and_do_not_overflow(void **state)
{
    (void)state;
    uint64_t bytes;
    assert_true(mg_cli_size("1000", &bytes) && bytes == 1000);
    assert_true(mg_cli_size("64KiB", &bytes) && bytes == 65536);
    assert_true(mg_cli_size("1GiB", &bytes) && bytes == 1U << 30);
    assert_false(mg_cli_size("", &bytes));
    assert_false(mg_cli_size("-1", &bytes));
    assert_false(mg_cli_size("1kb", &bytes));
    assert_true(mg_cli_size("17179869183GiB", &bytes)); /* 2^34 - 1 of them: the most that fits */
    assert_false(mg_cli_size("17179869184GiB", &bytes));
}

static void durations_are_milliseconds_unless_they_say_otherwise(void **state)
{
    (void)state;
    uint64_t ms;
    assert_true(mg_cli_duration("50", &ms) && ms == 50);
    assert_true(mg_cli_duration("50ms", &ms) && ms == 50);
    assert_true(mg_cli_duration("10s", &ms) && ms == 10000);
    assert_true(mg_cli_duration("2m", &ms) && ms == 120000);
    assert_false(mg_cli_duration("10 s", &ms));
    assert_false(mg_cli_duration("s", &ms));
}

static void shares_lie_between_nothing_and_all(void **state)
{
    (void)state;
    double share;
    assert_true(mg_cli_share("0.25", &share) && share == 0.25);
    assert_true(mg_cli_share("25%", &share) && share == 0.25);
    assert_true(mg_cli_share("1", &share) && share == 1);
    assert_false(mg_cli_share("1.01", &share));
    assert_false(mg_cli_share("-0.1", &share));
    assert_false(mg_cli_share("half", &share));
    assert_false(mg_cli_share("0.1x", &share));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_read_in_all_their_forms),
        cmocka_unit_test(after_two_dashes_only_arguments_follow),
        cmocka_unit_test(what_is_wrong_stops_with_a_usage_error),
        cmocka_unit_test(an_argument_is_refused_where_none_is_allowed),
        cmocka_unit_test(a_mistyped_word_finds_the_one_that_was_meant),
        cmocka_unit_test(sizes_have_units_and_do_not_overflow),
        cmocka_unit_test(durations_are_milliseconds_unless_they_say_otherwise),
        cmocka_unit_test(shares_lie_between_nothing_and_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
