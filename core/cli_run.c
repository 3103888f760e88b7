/* SPDX-License-Identifier: Apache-2.0 */
/* `moongate run`: the gateway in the foreground. */
#include "cli_verbs.h"

#include "master.h"
#include "paths.h"

enum option { OPTION_CONFIG, OPTION_CONTROL };

static const struct mg_option options[] = {
    {"config", "FILE", "default: moongate.yml, else /etc/moongate/moongate.yml", 'c'},
    {"control", "PATH", "socket for reload and status (default: by the file's name)", 0},
    {NULL, NULL, NULL, 0},
};

static int run_run(struct mg_cli *cli)
{
    struct mg_run_options run = {.config = NULL};
    const char *value;
    int option;
    while ((option = mg_cli_next_option(cli, &value)) >= 0) {
        if (option == OPTION_CONFIG) {
            run.config = value;
        } else {
            run.control = value;
        }
    }
    if (option == MG_CLI_STOP) {
        return cli->exit;
    }
    char message[512];
    run.config = mg_paths_config(run.config, message, sizeof message);
    if (!run.config) {
        mg_say("%s", message);
        return MG_EXIT_CONFIG;
    }
    return mg_master_run(&run);
}

const struct mg_verb mg_verb_run = {
    .name = "run",
    .arguments = "[-c FILE] [--control PATH]",
    .summary = "Run the gateway in the foreground: a master and its workers.",
    .details = "Signals to the master: SIGHUP reloads, SIGTERM drains and ends (a second one ends "
               "at once),\nSIGUSR1 opens the logs anew.\n"
               "Exits with 78 when the configuration is refused, 1 when something else fails.",
    .options = options,
    .later = (const char *const[]){"watch", "last-good", NULL},
    .run = run_run,
};
