/* SPDX-License-Identifier: Apache-2.0 */
/* `moongate version`. */
#include "cli_verbs.h"

#include "json_out.h"

#include <stdio.h>
#include <uv.h>

static const struct mg_option options[] = {
    {"json", NULL, "as JSON", 0},
    {NULL, NULL, NULL, 0},
};

static void print_json(void)
{
    struct mg_buf text;
    struct mg_json_out json = {.buf = &text};
    mg_buf_init(&text, 4096);
    mg_json_out_open(&json, '{');
    mg_json_out_number_field(&json, "format", 1);
    mg_json_out_text_field(&json, "version", mg_str_from(MOONGATE_VERSION));
    mg_json_out_text_field(&json, "libuv", mg_str_from(uv_version_string()));
    mg_json_out_text_field(&json, "compiler", mg_str_from(__VERSION__));
    mg_json_out_close(&json, '}');
    printf("%.*s\n", MG_STR_ARG(mg_buf_view(&text)));
    mg_buf_deinit(&text);
}

static int run_version(struct mg_cli *cli)
{
    const char *value;
    bool json = false;
    int option;
    while ((option = mg_cli_next_option(cli, &value)) >= 0) {
        json = true;
    }
    if (option == MG_CLI_STOP) {
        return cli->exit;
    }
    if (json) {
        print_json();
    } else {
        printf("moongate %s\n", MOONGATE_VERSION);
    }
    return MG_EXIT_OK;
}

const struct mg_verb mg_verb_version = {
    .name = "version",
    .arguments = "[--json]",
    .summary = "Print the version.",
    .options = options,
    .run = run_version,
};
