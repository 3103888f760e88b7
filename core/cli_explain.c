/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `moongate explain METHOD URL`: from the file alone, which route a request would take and why not
 * the others, the chain of plugins, the upstream, the timeouts. Nothing is sent anywhere.
 */
#include "cli_verbs.h"

#include "explain.h"
#include "paths.h"
#include "script/checker.h"

#include <stdio.h>
#include <unistd.h>

#define REPORT_BYTES (16 * 1024 * 1024)
#define OUTPUT_BYTES (16 * 1024 * 1024)

enum option { OPTION_CONFIG, OPTION_HEADER, OPTION_JSON };

static const struct mg_option options[] = {
    {"config", "FILE", "default: moongate.yml, else /etc/moongate/moongate.yml", 'c'},
    {"header", "LINE", "a header of the request, 'Name: value'; may be given again", 'H'},
    {"json", NULL, "as JSON", 0},
    {NULL, NULL, NULL, 0},
};

struct ask {
    const char *config;
    bool json;
    struct mg_explain_ask request;
};

static int take_options(struct mg_cli *cli, struct ask *ask)
{
    const char *value;
    int option;
    int words = 0;
    while ((option = mg_cli_next(cli, &value)) >= 0 || option == MG_CLI_ARGUMENT) {
        struct mg_explain_ask *request = &ask->request;
        if (option == OPTION_CONFIG) {
            ask->config = value;
        } else if (option == OPTION_JSON) {
            ask->json = true;
        } else if (option == OPTION_HEADER && request->header_count == MG_EXPLAIN_HEADERS) {
            return mg_cli_refuse(cli, "more than %d headers", MG_EXPLAIN_HEADERS);
        } else if (option == OPTION_HEADER) {
            request->headers[request->header_count++] = value;
        } else if (words == 2) {
            return mg_cli_refuse(cli, "unexpected argument '%s'", value);
        } else if (words++ == 0) {
            request->method = value;
        } else {
            request->url = value;
        }
    }
    if (option == MG_CLI_STOP) {
        return cli->exit;
    }
    return words == 2 ? MG_EXIT_OK : mg_cli_refuse(cli, "METHOD and URL are needed");
}

static int explain(struct mg_cli *cli, const struct ask *ask, struct mg_checker *checker)
{
    struct mg_buf out;
    char message[512];
    bool found = false;
    mg_buf_init(&out, OUTPUT_BYTES);
    const int err =
        mg_explain(checker, &ask->request, ask->json, &out, &found, message, sizeof message);
    int exit_code = found ? MG_EXIT_OK : MG_EXIT_FAILED;
    if (err == MG_EINVALID) {
        exit_code = mg_cli_refuse(cli, "%s", message);
    } else if (err) {
        mg_say("%s", message);
        exit_code = MG_EXIT_FAILED;
    } else {
        printf("%.*s", MG_STR_ARG(mg_buf_view(&out)));
    }
    mg_buf_deinit(&out);
    return exit_code;
}

static int run_explain(struct mg_cli *cli)
{
    struct ask ask = {.config = NULL};
    struct mg_paths paths;
    struct mg_buf report;
    char message[512];
    int exit_code = take_options(cli, &ask);
    if (exit_code || !ask.request.url) {
        return exit_code;
    }
    if (mg_paths_find(&paths, message, sizeof message)) {
        mg_say("%s", message);
        return MG_EXIT_FAILED;
    }
    ask.config = mg_paths_config(ask.config, message, sizeof message);
    if (!ask.config) {
        mg_say("%s", message);
        return MG_EXIT_CONFIG;
    }
    const struct mg_checker_options checker_options = {.file = ask.config,
                                                       .lua_path = paths.lua,
                                                       .plugins_path = paths.plugins,
                                                       .ffi_header = paths.ffi_header};
    struct mg_checker *checker;
    mg_buf_init(&report, REPORT_BYTES);
    exit_code = MG_EXIT_CONFIG;
    if (mg_checker_open(&checker, &checker_options, &report)) {
        fprintf(stderr, "%.*s", MG_STR_ARG(mg_buf_view(&report)));
    } else {
        exit_code = explain(cli, &ask, checker);
        mg_checker_close(checker);
    }
    mg_buf_deinit(&report);
    return exit_code;
}

const struct mg_verb mg_verb_explain = {
    .name = "explain",
    .arguments = "METHOD URL [-H 'Name: value']... [-c FILE] [--json]",
    .summary = "Show which route and plugins a request would meet, and why.",
    .details = "URL may be a path alone, such as /orders/7?x=1. Exits with 1 when no route takes "
               "the request.",
    .options = options,
    .later = (const char *const[]){"live", NULL},
    .run = run_explain,
};
