/* SPDX-License-Identifier: Apache-2.0 */
/* `moongate test`: hands over to the Lua test runner, which reads its own arguments. */
#include "cli_verbs.h"

#include "paths.h"
#include "script/program.h"

#define RUNNER "moongate.test.runner"

/* For the help, and so that a mistyped option is refused here; the runner gets them as typed. */
static const struct mg_option options[] = {
    {"filter", "PATTERN", "only tests whose name matches this Lua pattern", 0},
    {"seed", "N", "order of the tests (default: as in the files)", 0},
    {"junit", "FILE", "also write a JUnit report", 0},
    {NULL, NULL, NULL, 0},
};

/* argv: files and options of the runner. Its exit code: 0 all passed, 1 failures, 2 usage. */
static int test_main(int argc, char **argv)
{
    struct mg_paths paths;
    char message[512];
    if (mg_paths_find(&paths, message, sizeof message)) {
        mg_say("%s", message);
        return MG_EXIT_FAILED;
    }
    const struct mg_program_options program = {
        .lua_path = paths.lua, .plugins_path = paths.plugins, .ffi_header = paths.ffi_header};
    return mg_program_run(&program, RUNNER, argc, argv);
}

static int run_test(struct mg_cli *cli)
{
    const char *value;
    int option;
    while ((option = mg_cli_next(cli, &value)) >= 0 || option == MG_CLI_ARGUMENT) {
        /* only looked at */
    }
    return option == MG_CLI_STOP ? cli->exit : test_main(cli->argc, cli->argv);
}

const struct mg_verb mg_verb_test = {
    .name = "test",
    .arguments = "[FILE...] [--filter PATTERN] [--seed N] [--junit FILE]",
    .summary = "Run specs of plugins inside the gateway, without ports and with a virtual clock.",
    .details = "Without FILE: every *_spec.lua under plugins/ and spec/.",
    .options = options,
    .run = run_test,
};
