/* SPDX-License-Identifier: Apache-2.0 */
/* `moongate breaker`: shows circuit breakers and switches them by hand. */
#include "cli_ask.h"
#include "cli_verbs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define REQUEST_BYTES 1000 /* of control.h's line, with room for its greeting */
#define REASON_BYTES 400
#define NAME_BYTES 200
#define FOR_MAX_MS (UINT64_C(30) * 24 * 3600 * 1000)

enum option { OPTION_FOR = MG_CLI_ASK_OTHER, OPTION_REASON, OPTION_JSON };

static const struct mg_option options[] = {
    MG_CLI_ASK_OPTIONS,
    {"for", "TIME", "how long, such as 10m: then it goes on by itself", 0},
    {"reason", "TEXT", "goes into the error log with who asked", 0},
    {"json", NULL, "as JSON", 0},
    {NULL, NULL, NULL, 0},
};

static const char *const actions[] = {"force-open", "force-closed", "auto", "reset", NULL};

struct order {
    struct mg_cli_ask ask;
    const char *name, *action, *reason;
    uint64_t for_ms;
    bool json;
};

static bool is_action(const char *word)
{
    for (size_t i = 0; actions[i]; i++) {
        if (strcmp(actions[i], word) == 0) {
            return true;
        }
    }
    return false;
}

/* Tabs part what is sent, and a line ends it. */
static bool is_one_line(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ') {
            return false;
        }
    }
    return true;
}

static int refuse_action(struct mg_cli *cli, const char *typed)
{
    const char *meant = mg_cli_meant(typed, actions);
    if (meant) {
        return mg_cli_refuse(cli, "unknown action '%s'; did you mean '%s'?", typed, meant);
    }
    return mg_cli_refuse(cli, "unknown action '%s': force-open, force-closed, auto or reset",
                         typed);
}

/* 0, or the exit code of a mistake. */
static int check(struct mg_cli *cli, const struct order *order)
{
    if (!order->name) {
        return order->for_ms > 0 || order->reason
                   ? mg_cli_refuse(cli, "--for and --reason go with a name and an action")
                   : 0;
    }
    if (!order->action) {
        return mg_cli_refuse(cli,
                             "what is to become of '%s': force-open, force-closed, auto or "
                             "reset",
                             order->name);
    }
    if (!is_action(order->action)) {
        return refuse_action(cli, order->action);
    }
    if (order->for_ms > 0 && strncmp(order->action, "force-", 6) != 0) {
        return mg_cli_refuse(cli, "--for goes with force-open and force-closed only");
    }
    if (!is_one_line(order->name) || strlen(order->name) > NAME_BYTES) {
        return mg_cli_refuse(cli, "that cannot be the name of a breaker");
    }
    if (order->reason && (!is_one_line(order->reason) || strlen(order->reason) > REASON_BYTES)) {
        return mg_cli_refuse(cli, "--reason takes one line of at most %d bytes", REASON_BYTES);
    }
    return 0;
}

static int take_option(struct mg_cli *cli, struct order *order, int option, const char *value)
{
    switch (option) {
    case MG_CLI_ASK_CONFIG:
        order->ask.config = value;
        return 0;
    case MG_CLI_ASK_CONTROL:
        order->ask.control = value;
        return 0;
    case OPTION_REASON:
        order->reason = value;
        return 0;
    case OPTION_JSON:
        order->json = true;
        return 0;
    case OPTION_FOR:
        if (!mg_cli_duration(value, &order->for_ms) || order->for_ms < 1 ||
            order->for_ms > FOR_MAX_MS) {
            return mg_cli_refuse(cli, "'%s' is no time from 1ms to 30d such as 10m", value);
        }
        return 0;
    default: /* an argument */
        if (order->action) {
            return mg_cli_refuse(cli, "unexpected argument '%s'", value);
        }
        *(order->name ? &order->action : &order->name) = value;
        return 0;
    }
}

static int run(struct mg_cli *cli)
{
    struct order order = {.ask = {.wait_ms = MG_CLI_ASK_WAIT_MS}};
    char request[REQUEST_BYTES];
    const char *value;
    int option, exit_code = 0;
    while (exit_code == 0 &&
           ((option = mg_cli_next(cli, &value)) >= 0 || option == MG_CLI_ARGUMENT)) {
        exit_code = take_option(cli, &order, option, value);
    }
    if (exit_code == 0 && option == MG_CLI_STOP) {
        return cli->exit;
    }
    exit_code = exit_code ? exit_code : check(cli, &order);
    if (exit_code) {
        return exit_code;
    }
    const char *form = order.json ? "json" : "text";
    if (order.name) {
        snprintf(request, sizeof request, "breaker %s\t%s\t%" PRIu64 "\t%s\t%s", form, order.action,
                 order.for_ms, order.name, order.reason ? order.reason : "");
    } else {
        snprintf(request, sizeof request, "breaker %s\tlist", form);
    }
    return mg_cli_ask(&order.ask, request);
}

const struct mg_verb mg_verb_breaker = {
    .name = "breaker",
    .arguments = "[NAME force-open|force-closed|auto|reset [--for 10m] [--reason TEXT]] [--json]",
    .summary = "List the circuit breakers of the running gateway, or switch one by hand.",
    .details =
        "force-open lets no request pass, force-closed all of them: until --for is over, or auto\n"
        "or reset. auto gives a switched breaker back to itself, closed and with an empty window;\n"
        "reset does so in any state and forgets the openings in a row. All workers obey at once;\n"
        "a reload keeps what was switched, a stop of the gateway does not.",
    .options = options,
    .later = NULL,
    .run = run,
};
