/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading options by a table. Errors name the option as typed and, where a known one is near, that
 * one.
 */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define MEANT_DISTANCE 2 /* operator-experience, 2 */
#define MEANT_LETTERS 32 /* longer words are not compared */
#define MEANT_WORDS 64

void mg_say(const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fprintf(stderr, "moongate: %s\n", line);
}

int mg_cli_refuse(struct mg_cli *cli, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fprintf(stderr, "moongate %s: %s\nSee: moongate %s --help\n", cli->verb->name, line,
            cli->verb->name);
    cli->exit = MG_EXIT_USAGE;
    return MG_EXIT_USAGE;
}

/* --- what was meant ---------------------------------------------------------------------- */

static int smallest(int a, int b, int c)
{
    const int d = a < b ? a : b;
    return d < c ? d : c;
}

/* Edit distance with swaps of neighbours (optimal string alignment), row by row. */
static int distance(const char *a, const char *b)
{
    const int m = (int)strlen(a);
    const int n = (int)strlen(b);
    if (m > MEANT_LETTERS || n > MEANT_LETTERS) {
        return MEANT_LETTERS;
    }
    int rows[3][MEANT_LETTERS + 1];
    for (int j = 0; j <= n; j++) {
        rows[0][j] = j;
    }
    for (int i = 1; i <= m; i++) {
        int *row = rows[i % 3];
        const int *above = rows[(i + 2) % 3];
        const int *second = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            row[j] = smallest(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                second[j - 2] + 1 < row[j]) {
                row[j] = second[j - 2] + 1;
            }
        }
    }
    return rows[m % 3][n];
}

const char *mg_cli_meant(const char *typed, const char *const *words)
{
    const char *best = NULL;
    int nearest = MEANT_DISTANCE + 1;
    for (size_t i = 0; words[i]; i++) {
        const int far = distance(typed, words[i]);
        if (far < nearest && far < (int)strlen(words[i])) {
            nearest = far;
            best = words[i];
        }
    }
    return best;
}

static bool is_later(const struct mg_cli *cli, mg_str typed)
{
    for (const char *const *name = cli->verb->later; name && *name; name++) {
        if (mg_str_equal(typed, mg_str_from(*name))) {
            return true;
        }
    }
    return false;
}

static void refuse_unknown(struct mg_cli *cli, mg_str typed)
{
    if (is_later(cli, typed)) {
        mg_cli_refuse(cli, "option '--%.*s' is not supported yet", MG_STR_ARG(typed));
        return;
    }
    const char *words[MEANT_WORDS] = {"help"};
    size_t count = 1;
    for (const struct mg_option *option = cli->verb->options; option->name; option++) {
        if (count < MEANT_WORDS - 1) {
            words[count++] = option->name;
        }
    }
    char name[MEANT_LETTERS + 1] = "";
    if (typed.len < sizeof name) {
        memcpy(name, typed.ptr, typed.len);
        name[typed.len] = '\0';
    }
    const char *meant = name[0] ? mg_cli_meant(name, words) : NULL;
    if (meant) {
        mg_cli_refuse(cli, "unknown option '--%.*s'; did you mean '--%s'?", MG_STR_ARG(typed),
                      meant);
    } else {
        mg_cli_refuse(cli, "unknown option '--%.*s'", MG_STR_ARG(typed));
    }
}

/* --- help -------------------------------------------------------------------------------- */

static void print_option(const struct mg_option *option)
{
    char left[64];
    char letter[8] = "    ";
    if (option->letter) {
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    }
    snprintf(left, sizeof left, "%s--%s%s%s", letter, option->name, option->value ? " " : "",
             option->value ? option->value : "");
    printf("  %-26s %s\n", left, option->text);
}

void mg_cli_help(const struct mg_verb *verb)
{
    static const struct mg_option help = {"help", NULL, "print this and exit", 'h'};
    printf("Usage: moongate %s%s%s\n\n%s\n\nOptions:\n", verb->name, verb->arguments[0] ? " " : "",
           verb->arguments, verb->summary);
    for (const struct mg_option *option = verb->options; option->name; option++) {
        print_option(option);
    }
    print_option(&help);
    if (verb->details) {
        printf("\n%s\n", verb->details);
    }
}

/* --- options ----------------------------------------------------------------------------- */

static int stop_with_help(struct mg_cli *cli)
{
    mg_cli_help(cli->verb);
    cli->exit = MG_EXIT_OK;
    return MG_CLI_STOP;
}

static int read_long(struct mg_cli *cli, const char **value)
{
    const mg_str typed = mg_str_from(cli->argv[cli->at++] + 2);
    const ptrdiff_t equals = mg_str_find(typed, '=', 0);
    const mg_str name = equals < 0 ? typed : mg_str_slice(typed, 0, (size_t)equals);
    if (mg_str_equal(name, MG_STR("help"))) {
        return stop_with_help(cli);
    }
    for (int i = 0; cli->verb->options[i].name; i++) {
        const struct mg_option *option = &cli->verb->options[i];
        if (!mg_str_equal(name, mg_str_from(option->name))) {
            continue;
        }
        *value = equals < 0 ? NULL : typed.ptr + equals + 1;
        if (!option->value && equals >= 0) {
            mg_cli_refuse(cli, "option '--%s' takes no value", option->name);
            return MG_CLI_STOP;
        }
        if (option->value && equals < 0) {
            *value = cli->at < cli->argc ? cli->argv[cli->at++] : NULL;
        }
        if (option->value && !*value) {
            mg_cli_refuse(cli, "option '--%s' needs a value: %s", option->name, option->value);
            return MG_CLI_STOP;
        }
        return i;
    }
    refuse_unknown(cli, name);
    return MG_CLI_STOP;
}

/* "-c FILE", "-cFILE", "-ab" */
static int read_short(struct mg_cli *cli, const char **value)
{
    const char *word = cli->argv[cli->at];
    const char letter = word[++cli->shorts];
    const char *rest = word + cli->shorts + 1;
    if (letter == 'h') {
        return stop_with_help(cli);
    }
    for (int i = 0; cli->verb->options[i].name; i++) {
        const struct mg_option *option = &cli->verb->options[i];
        if (option->letter != letter) {
            continue;
        }
        if (option->value || !*rest) {
            cli->at++;
            cli->shorts = 0;
        }
        *value = option->value && *rest ? rest : NULL;
        if (option->value && !*rest) {
            *value = cli->at < cli->argc ? cli->argv[cli->at++] : NULL;
        }
        if (option->value && !*value) {
            mg_cli_refuse(cli, "option '-%c' needs a value: %s", letter, option->value);
            return MG_CLI_STOP;
        }
        return i;
    }
    mg_cli_refuse(cli, "unknown option '-%c'", letter);
    return MG_CLI_STOP;
}

int mg_cli_next(struct mg_cli *cli, const char **value)
{
    *value = NULL;
    if (cli->shorts) {
        return read_short(cli, value);
    }
    if (cli->at >= cli->argc) {
        return MG_CLI_END;
    }
    const char *word = cli->argv[cli->at];
    if (!cli->plain && strcmp(word, "--") == 0) {
        cli->plain = true;
        cli->at++;
        return mg_cli_next(cli, value);
    }
    if (cli->plain || word[0] != '-' || word[1] == '\0') {
        *value = cli->argv[cli->at++];
        return MG_CLI_ARGUMENT;
    }
    return word[1] == '-' ? read_long(cli, value) : read_short(cli, value);
}

int mg_cli_next_option(struct mg_cli *cli, const char **value)
{
    const int option = mg_cli_next(cli, value);
    if (option == MG_CLI_ARGUMENT) {
        const struct mg_option *first = cli->verb->options;
        if (first->name && first->value) {
            mg_cli_refuse(cli, "unexpected argument '%s'; did you mean '--%s %s'?", *value,
                          first->name, *value);
        } else {
            mg_cli_refuse(cli, "unexpected argument '%s'", *value);
        }
        return MG_CLI_STOP;
    }
    return option;
}

/* --- values ------------------------------------------------------------------------------ */

struct unit {
    const char *name;
    uint64_t factor;
};

static bool read_unit(const char *text, const struct unit *units, uint64_t *value)
{
    const size_t digits = strspn(text, "0123456789");
    if (!mg_str_to_u64(mg_str_make(text, digits), value)) {
        return false;
    }
    for (const struct unit *unit = units; unit->name; unit++) {
        if (strcmp(text + digits, unit->name) == 0) {
            return !__builtin_mul_overflow(*value, unit->factor, value);
        }
    }
    return false;
}

bool mg_cli_size(const char *text, uint64_t *bytes)
{
    static const struct unit units[] = {{"", 1},           {"B", 1},          {"KiB", 1U << 10},
                                        {"MiB", 1U << 20}, {"GiB", 1U << 30}, {NULL, 0}};
    return read_unit(text, units, bytes);
}

bool mg_cli_duration(const char *text, uint64_t *ms)
{
    static const struct unit units[] = {{"", 1},          {"ms", 1},          {"s", 1000},
                                        {"m", 60 * 1000}, {"h", 3600 * 1000}, {NULL, 0}};
    return read_unit(text, units, ms);
}

bool mg_cli_number(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
    return mg_str_to_u64(mg_str_from(text), number) && *number >= min && *number <= max;
}

bool mg_cli_share(const char *text, double *share)
{
    char *end = NULL;
    *share = strtod(text, &end);
    if (end == text) {
        return false;
    }
    if (*end == '%') {
        *share /= 100;
        end++;
    }
    return *end == '\0' && *share >= 0 && *share <= 1;
}
