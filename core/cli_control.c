/* SPDX-License-Identifier: Apache-2.0 */
/* `moongate reload` and `moongate status`. */
#include "cli_ask.h"
#include "cli_verbs.h"

static const struct mg_option reload_options[] = {
    MG_CLI_ASK_OPTIONS,
    {"wait", "TIME", "how long to wait, such as 10s (default)", 0},
    {NULL, NULL, NULL, 0},
};

static const struct mg_option status_options[] = {
    MG_CLI_ASK_OPTIONS,
    {"json", NULL, "as JSON", 0},
    {NULL, NULL, NULL, 0},
};

static int run_reload(struct mg_cli *cli)
{
    struct mg_cli_ask ask = {.wait_ms = MG_CLI_ASK_WAIT_MS};
    const char *value;
    int option;
    while ((option = mg_cli_next_option(cli, &value)) >= 0) {
        if (option == MG_CLI_ASK_CONFIG) {
            ask.config = value;
        } else if (option == MG_CLI_ASK_CONTROL) {
            ask.control = value;
        } else if (!mg_cli_duration(value, &ask.wait_ms)) {
            return mg_cli_refuse(cli, "'%s' is no time such as 10s or 500ms", value);
        }
    }
    return option == MG_CLI_STOP ? cli->exit : mg_cli_ask(&ask, "reload");
}

static int run_status(struct mg_cli *cli)
{
    struct mg_cli_ask ask = {.wait_ms = MG_CLI_ASK_WAIT_MS};
    const char *value;
    bool json = false;
    int option;
    while ((option = mg_cli_next_option(cli, &value)) >= 0) {
        if (option == MG_CLI_ASK_CONFIG) {
            ask.config = value;
        } else if (option == MG_CLI_ASK_CONTROL) {
            ask.control = value;
        } else {
            json = true;
        }
    }
    return option == MG_CLI_STOP ? cli->exit : mg_cli_ask(&ask, json ? "status json" : "status");
}

const struct mg_verb mg_verb_reload = {
    .name = "reload",
    .arguments = "[-c FILE | --control PATH] [--wait 10s]",
    .summary = "Make the running gateway take over the changed configuration and plugins.",
    .details = "Returns when every worker serves the new generation, and prints what has changed.\n"
               "Exits with 78 when the configuration is refused; the old one stays in use.",
    .options = reload_options,
    .later = (const char *const[]){"json", NULL},
    .run = run_reload,
};

const struct mg_verb mg_verb_status = {
    .name = "status",
    .arguments = "[-c FILE | --control PATH] [--json]",
    .summary = "Show what the running gateway does.",
    .options = status_options,
    .later = (const char *const[]){"watch", NULL},
    .run = run_status,
};
