/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the verbs of the command line have in common: a table of options each, one way to read them,
 * help made from the table, a suggestion for what was mistyped. Data goes to stdout, all else to
 * stderr.
 *
 *     const char *value;
 *     int option;
 *     while ((option = mg_cli_next(cli, &value)) >= 0) {
 *         switch (option) {           // position in verb->options
 *         case 0: listen = value; break;
 *         }
 *     }
 *     if (option == MG_CLI_STOP) {    // help was asked for, or an error was printed
 *         return cli->exit;
 *     }
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum mg_exit {
    MG_EXIT_OK = 0,
    MG_EXIT_FAILED = 1,  /* at run time */
    MG_EXIT_USAGE = 2,   /* unknown verb, option or argument */
    MG_EXIT_CONFIG = 78, /* the configuration is refused (EX_CONFIG of sysexits.h) */
};

struct mg_option {
    const char *name;  /* without dashes; NULL ends the table */
    const char *value; /* name of its value in the help, NULL: a switch */
    const char *text;
    char letter; /* "-c", 0 = none */
};

struct mg_cli;

struct mg_verb {
    const char *name;
    const char *arguments; /* in the usage line, after the name */
    const char *summary;   /* one line */
    const char *details;   /* paragraphs below the options, or NULL */
    const struct mg_option *options;
    const char *const *later;       /* NULL, or options that are specified and not supported yet */
    int (*run)(struct mg_cli *cli); /* the exit code */
};

struct mg_cli {
    const struct mg_verb *verb;
    int argc;
    char **argv; /* from the first argument of the verb on */
    int at;
    bool plain; /* "--" was seen: only arguments follow */
    int exit;   /* with MG_CLI_STOP */
    int shorts; /* bytes of argv[at] already read, of "-ab" */
};

enum {
    MG_CLI_END = -1,
    MG_CLI_ARGUMENT = -2, /* value: not an option */
    MG_CLI_STOP = -3,
};

/* The next option, with its value ("--name VALUE", "--name=VALUE", "-cVALUE"). --help prints the
 * help. */
int mg_cli_next(struct mg_cli *cli, const char **value);
/* The same where arguments are not allowed: MG_CLI_STOP for one, which may be meant as the value of
 * the first option. */
int mg_cli_next_option(struct mg_cli *cli, const char **value);
/* "moongate VERB: " and the sentence on stderr, with a pointer to the help; MG_EXIT_USAGE. */
int mg_cli_refuse(struct mg_cli *cli, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void mg_cli_help(const struct mg_verb *verb);

/* The word of the list (NULL at its end) that is meant by a mistyped one, or NULL: at most two
 * letters added, left out, changed or swapped. */
const char *mg_cli_meant(const char *typed, const char *const *words);

/* "moongate: " and the sentence on stderr, with a line end. */
void mg_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Values; false when the text is none. */
bool mg_cli_size(const char *text, uint64_t *bytes); /* "1000", "64KiB", "8MiB", "1GiB" */
bool mg_cli_duration(const char *text,
                     uint64_t *ms); /* "10s", "500ms", "2m"; a bare number is ms */
bool mg_cli_number(const char *text, uint64_t min, uint64_t max, uint64_t *number);
bool mg_cli_share(const char *text, double *share); /* "0.25", "25%": 0 .. 1 */
