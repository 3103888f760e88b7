/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of the command line, one file each (cli_*.c); main.c lists them. */
#pragma once

#include "cli.h"

extern const struct mg_verb mg_verb_run, mg_verb_check, mg_verb_reload, mg_verb_status,
    mg_verb_explain, mg_verb_echo, mg_verb_test, mg_verb_plugin, mg_verb_version, mg_verb_breaker,
    mg_verb_logs;
