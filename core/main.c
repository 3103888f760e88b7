/* SPDX-License-Identifier: Apache-2.0 */
/* The binary's entry: finds the verb. Each verb is a table in its own file (cli_verbs.h). */
#include "cli_verbs.h"

#include <stdio.h>

static const struct mg_verb *const verbs[] = {
    &mg_verb_run,  &mg_verb_check, &mg_verb_reload, &mg_verb_status,  &mg_verb_explain,
    &mg_verb_echo, &mg_verb_test,  &mg_verb_plugin, &mg_verb_version,
};
#define VERBS (sizeof verbs / sizeof *verbs)

static const struct mg_verb *find(const char *name)
{
    for (size_t i = 0; i < VERBS; i++) {
        if (strcmp(verbs[i]->name, name) == 0) {
            return verbs[i];
        }
    }
    return NULL;
}

static void print_usage(FILE *out)
{
    fprintf(out, "Usage: moongate VERB [OPTION...]\n\nAn API gateway with policies in Lua.\n\n");
    for (size_t i = 0; i < VERBS; i++) {
        fprintf(out, "  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
    }
    fprintf(out, "  %-9s %s\n\nmoongate VERB --help tells more.\n", "help",
            "Print this, or the help of a verb.");
}

static int refuse_verb(const char *typed)
{
    const char *names[VERBS + 2] = {"help"};
    for (size_t i = 0; i < VERBS; i++) {
        names[i + 1] = verbs[i]->name;
    }
    const char *meant = mg_cli_meant(typed, names);
    if (meant) {
        fprintf(stderr, "moongate: unknown verb '%s'; did you mean '%s'?\n", typed, meant);
    } else {
        fprintf(stderr, "moongate: unknown verb '%s'\n", typed);
    }
    fprintf(stderr, "See: moongate help\n");
    return MG_EXIT_USAGE;
}

static int print_help(const char *name)
{
    const struct mg_verb *verb = name ? find(name) : NULL;
    if (name && !verb) {
        return refuse_verb(name);
    }
    if (verb) {
        mg_cli_help(verb);
    } else {
        print_usage(stdout);
    }
    return MG_EXIT_OK;
}

/* What was printed must have arrived: a full disk under a redirected stdout is a failure. */
static int end(int exit_code)
{
    if (fflush(stdout) || ferror(stdout)) {
        mg_say("cannot write to the standard output");
        return exit_code == MG_EXIT_OK ? MG_EXIT_FAILED : exit_code;
    }
    return exit_code;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return MG_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        return end(print_help(argc > 2 ? argv[2] : NULL));
    }
    if (strcmp(name, "--version") == 0) {
        name = "version";
    }
    const struct mg_verb *verb = find(name);
    if (!verb) {
        return refuse_verb(name);
    }
    struct mg_cli cli = {.verb = verb, .argc = argc - 2, .argv = argv + 2};
    return end(verb->run(&cli));
}
