/* SPDX-License-Identifier: Apache-2.0 */
/* The binary's entry: finds the verb. Each verb is a table in its own file (cli_verbs.h). */
#include "cli_verbs.h"

#include <stdio.h>

static const struct mg_verb *const verbs[] = {
    &mg_verb_run,     &mg_verb_check,   &mg_verb_reload,  &mg_verb_status,
    &mg_verb_explain, &mg_verb_breaker, &mg_verb_logs,    &mg_verb_echo,
    &mg_verb_test,    &mg_verb_plugin,  &mg_verb_version,
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

/* Specified and not built. */
static const char *const later[] = {
    "audit",    "completion", "config", "dev",     "drain",     "health", "init",
    "limits",   "profile",    "quick",  "repl",    "rollback",  "routes", "secret",
    "simulate", "top",        "trace",  "upgrade", "upstreams",
};

/* What other gateways call it. */
static const struct {
    const char *typed;
    const char *here;
} foreign[] = {
    {"start",
     "'moongate run' stays in the foreground; a service manager keeps it in the background"},
    {"stop", "send SIGTERM to the master; 'moongate status' has its pid"},
    {"quit", "send SIGTERM to the master; 'moongate status' has its pid"},
    {"restart", "'moongate reload' takes a changed configuration into use without a restart"},
    {"reopen", "that is 'moongate logs reopen'"},
    {"validate", "that is 'moongate check'"},
    {"parse", "that is 'moongate check'"},
};

static void print_usage(FILE *out)
{
    fprintf(out, "Usage: moongate VERB [OPTION...]\n\nAn API gateway with policies in Lua.\n\n");
    for (size_t i = 0; i < VERBS; i++) {
        fprintf(out, "  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
    }
    fprintf(out, "  %-9s %s\n\nmoongate VERB --help tells more.\n", "help",
            "Print this, or the help of a verb.");
}

/* What to say of a word that is no verb but known all the same, or NULL. */
static const char *known(const char *typed)
{
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        if (strcmp(later[i], typed) == 0) {
            return "it is not supported yet";
        }
    }
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        if (strcmp(foreign[i].typed, typed) == 0) {
            return foreign[i].here;
        }
    }
    return NULL;
}

static int refuse_verb(const char *typed)
{
    if (known(typed)) {
        fprintf(stderr, "moongate: there is no verb '%s': %s\nSee: moongate help\n", typed,
                known(typed));
        return MG_EXIT_USAGE;
    }
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

static bool is_help(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* words: what stands behind `moongate help`, such as nothing, "run" or "plugin new". */
static int print_help(int count, char **words)
{
    if (count == 0 || is_help(words[0])) {
        print_usage(stdout);
        return MG_EXIT_OK;
    }
    const struct mg_verb *verb = find(words[0]);
    if (!verb) {
        return refuse_verb(words[0]);
    }
    mg_cli_help(verb);
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
    if (is_help(name)) {
        return end(print_help(argc - 2, argv + 2));
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0 || strcmp(name, "-v") == 0) {
        name = "version";
    }
    const struct mg_verb *verb = find(name);
    if (!verb) {
        return refuse_verb(name);
    }
    struct mg_cli cli = {.verb = verb, .argc = argc - 2, .argv = argv + 2};
    return end(verb->run(&cli));
}
