/* SPDX-License-Identifier: Apache-2.0 */
/* `moongate logs reopen`. */
#include "cli_ask.h"
#include "cli_verbs.h"

#include <string.h>

static const struct mg_option options[] = {
    MG_CLI_ASK_OPTIONS,
    {NULL, NULL, NULL, 0},
};

static int run(struct mg_cli *cli)
{
    struct mg_cli_ask ask = {.wait_ms = MG_CLI_ASK_WAIT_MS};
    const char *value, *action = NULL;
    int option;
    while ((option = mg_cli_next(cli, &value)) >= 0 || option == MG_CLI_ARGUMENT) {
        if (option == MG_CLI_ASK_CONFIG) {
            ask.config = value;
        } else if (option == MG_CLI_ASK_CONTROL) {
            ask.control = value;
        } else if (action) {
            return mg_cli_refuse(cli, "unexpected argument '%s'", value);
        } else {
            action = value;
        }
    }
    if (option == MG_CLI_STOP) {
        return cli->exit;
    }
    if (!action || strcmp(action, "reopen") != 0) {
        return mg_cli_refuse(cli, "what is to become of the logs: reopen");
    }
    return mg_cli_ask(&ask, "reopen");
}

const struct mg_verb mg_verb_logs = {
    .name = "logs",
    .arguments = "reopen [-c FILE | --control PATH]",
    .summary = "Have the running gateway open its log files anew.",
    .details =
        "For log rotation: rename the files, then reopen. The same as SIGUSR1 to the master.",
    .options = options,
    .run = run,
};
