/* SPDX-License-Identifier: Apache-2.0 */
/* `moongate check`: loads everything as `reload` would, in this process, and says what is wrong. */
#define _GNU_SOURCE /* memmem */
#include "cli_verbs.h"

#include "paths.h"
#include "script/checker.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define REPORT_BYTES (16 * 1024 * 1024)

enum option { OPTION_CONFIG, OPTION_STRICT, OPTION_JSON };

static const struct mg_option options[] = {
    {"config", "FILE", "default: moongate.yml, else /etc/moongate/moongate.yml", 'c'},
    {"strict", NULL, "a warning is an error", 0},
    {"json", NULL, "one JSON object for each finding and line", 0},
    {NULL, NULL, NULL, 0},
};

struct ask {
    const char *config;
    bool strict, json;
};

static bool has_text(mg_str report, mg_str text)
{
    return report.len > 0 && memmem(report.ptr, report.len, text.ptr, text.len) != NULL;
}

/* The text form ends with the counts, the JSON form has a severity in each object. */
static bool has_warnings(mg_str report, bool json)
{
    return json ? has_text(report, MG_STR("\"severity\":\"warning\""))
                : report.len > 0 && !has_text(report, MG_STR(" 0 warnings."));
}

static int check(const struct ask *ask)
{
    struct mg_paths paths;
    struct mg_buf report;
    char message[512];
    if (mg_paths_find(&paths, message, sizeof message)) {
        mg_say("%s", message);
        return MG_EXIT_FAILED;
    }
    const struct mg_checker_options checker = {.file = ask->config,
                                               .lua_path = paths.lua,
                                               .plugins_path = paths.plugins,
                                               .ffi_header = paths.ffi_header,
                                               .json = ask->json,
                                               .color = isatty(STDOUT_FILENO) && !ask->json &&
                                                        !getenv("NO_COLOR")};
    mg_buf_init(&report, REPORT_BYTES);
    const int err = mg_checker_run(&checker, NULL, &report);
    const mg_str text = mg_buf_view(&report);
    const bool refused = err || (ask->strict && has_warnings(text, ask->json));
    printf("%.*s", MG_STR_ARG(text));
    if (text.len == 0 && !ask->json) {
        printf("%s: no errors, no warnings.\n", ask->config);
    }
    mg_buf_deinit(&report);
    return refused ? MG_EXIT_CONFIG : MG_EXIT_OK;
}

static int run_check(struct mg_cli *cli)
{
    struct ask ask = {.config = NULL};
    const char *value;
    int option;
    while ((option = mg_cli_next(cli, &value)) >= 0 || option == MG_CLI_ARGUMENT) {
        if (option == OPTION_STRICT) {
            ask.strict = true;
        } else if (option == OPTION_JSON) {
            ask.json = true;
        } else if (ask.config) {
            return mg_cli_refuse(cli, "one configuration at a time: '%s' is a second", value);
        } else {
            ask.config = value; /* with or without -c */
        }
    }
    if (option == MG_CLI_STOP) {
        return cli->exit;
    }
    char message[512];
    ask.config = mg_paths_config(ask.config, message, sizeof message);
    if (!ask.config) {
        mg_say("%s", message);
        return MG_EXIT_CONFIG;
    }
    return check(&ask);
}

const struct mg_verb mg_verb_check = {
    .name = "check",
    .arguments = "[-c] [FILE] [--strict] [--json]",
    .summary = "Check a configuration and its plugins as a reload would; nothing is started.",
    .details = "Exits with 78 when the configuration would be refused.",
    .options = options,
    .later = (const char *const[]){"sarif", NULL},
    .run = run_check,
};
