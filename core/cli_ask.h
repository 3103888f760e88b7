/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the verbs that talk to a running gateway have in common: which one is meant, one request to
 * its control socket, and a sentence for whatever went wrong.
 *
 *     static const struct mg_option options[] = {MG_CLI_ASK_OPTIONS, {NULL, NULL, NULL, 0}};
 *     struct mg_cli_ask ask = {.wait_ms = MG_CLI_ASK_WAIT_MS, .config = value};
 *     return mg_cli_ask(&ask, "status");
 */
#pragma once

#include "cli.h"

#define MG_CLI_ASK_WAIT_MS 10000

/* The first options of such a verb, and their places. */
#define MG_CLI_ASK_OPTIONS                                                                         \
    {"config", "FILE", "of the gateway that is meant (default as for run)", 'c'},                  \
    {                                                                                              \
        "control", "PATH", "its control socket instead", 0                                         \
    }
enum { MG_CLI_ASK_CONFIG, MG_CLI_ASK_CONTROL, MG_CLI_ASK_OTHER };

struct mg_cli_ask {
    const char *config, *control; /* as given, or NULL */
    uint64_t wait_ms;
};

/* The answer of a success goes to stdout, everything else to stderr. The exit code. */
int mg_cli_ask(const struct mg_cli_ask *ask, const char *request);
