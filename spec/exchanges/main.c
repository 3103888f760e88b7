/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchanges --gateway PORT --upstream PORT [--exchanges N] [--seed S] [--first N] [--sessions N]
 *           [--filtered] [--progress]
 * exchanges --show N --seed S
 *
 * Clients and the upstream of a gateway that runs elsewhere: random valid exchanges, made from a
 * seed, sent through it and compared byte for byte on both sides. Ends with 1 at the first that
 * differs, is missing, comes twice or in the wrong place; prints how often each kind of thing was
 * seen. --filtered: plugins may change framing and add fields. --show: prints the heads of one
 * exchange.
 */
#include "plan.h"
#include "session.h"
#include "upstream.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TICK_MS = 5000, PATIENCE_TICKS = 12, EXIT_USAGE = 2 };

struct run {
    uv_loop_t loop;
    struct ledger ledger;
    struct upstream upstream;
    struct sessions *sessions;
    uv_timer_t tick;
    uint32_t at_a_time, done_before, quiet_ticks;
    int64_t show;
    bool progress;
};

static void on_done(void *context)
{
    struct run *run = context;
    ledger_check_end(&run->ledger);
    upstream_close(&run->upstream);
    uv_close((uv_handle_t *)&run->tick, NULL);
}

static void on_tick(uv_timer_t *tick)
{
    struct run *run = tick->data;
    struct ledger *ledger = &run->ledger;
    run->quiet_ticks = ledger->done == run->done_before ? run->quiet_ticks + 1 : 0;
    if (run->progress) {
        fprintf(stderr, "%" PRIu32 " of %" PRIu32 " exchanges, %.2f GB, %" PRIu32 " a second\n",
                ledger->done, ledger->count,
                (double)(ledger->tallies[TALLY_BYTES_UP] + ledger->tallies[TALLY_BYTES_DOWN]) / 1e9,
                (ledger->done - run->done_before) * 1000 / TICK_MS);
    }
    run->done_before = ledger->done;
    if (run->quiet_ticks == PATIENCE_TICKS) {
        sessions_describe(run->sessions);
        ledger_fail(ledger, ledger->first, "clock", "nothing has been answered for a minute");
    }
}

static void start_tick(struct run *run)
{
    run->tick.data = run;
    uv_timer_init(&run->loop, &run->tick);
    uv_timer_start(&run->tick, on_tick, TICK_MS, TICK_MS);
}

static int run_all(struct run *run)
{
    struct ledger *ledger = &run->ledger;
    uv_loop_init(&run->loop);
    ledger->loop = &run->loop;
    ledger_init(ledger);
    const int err = upstream_open(&run->upstream, ledger);
    if (err) {
        fprintf(stderr, "exchanges: cannot listen: %s\n", uv_strerror(err));
        return EXIT_FAILURE;
    }
    fprintf(stderr, "seed %" PRIu64 "\n", ledger->seed);
    start_tick(run);
    run->sessions = sessions_start(ledger, run->at_a_time, on_done, run);
    uv_run(&run->loop, UV_RUN_DEFAULT);
    if (ledger->failed) {
        _Exit(EXIT_FAILURE); /* with everything still open */
    }
    ledger_print(ledger);
    sessions_free(run->sessions);
    ledger_deinit(ledger);
    return uv_loop_close(&run->loop) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void show_head(struct plan *plan, const char *title, const struct message *message)
{
    static const char *const framings[] = {"no body", "length", "chunked", "to the close"};
    const mg_str head = message_head(message, &plan->arena);
    printf("--- %s: %s, %" PRIu64 " octets\n", title, framings[message->framing],
           message->body_bytes);
    fwrite(head.ptr, 1, head.len, stdout);
}

static int show(uint64_t seed, uint32_t number)
{
    struct plan plan;
    plan_make(&plan, seed, number);
    show_head(&plan, "request", &plan.request);
    for (uint32_t i = 0; i < plan.interim_count; i++) {
        show_head(&plan, "interim answer", &plan.interims[i]);
    }
    show_head(&plan, "answer", &plan.response);
    printf("--- %s%s%s%s%s\n", plan.is_early ? "answered early, " : "",
           plan.is_slow ? "before the body is sent, "
           : plan.waits ? "waits for 100, "
                        : "",
           plan.client_stays ? "" : "client closes, ",
           plan.upstream_stays ? "" : "upstream closes, ",
           plan.client_cut || plan.upstream_cut ? "cut up" : "whole");
    plan_free(&plan);
    return EXIT_SUCCESS;
}

static const struct option options[] = {
    {"gateway", required_argument, NULL, 'g'},   {"upstream", required_argument, NULL, 'u'},
    {"exchanges", required_argument, NULL, 'n'}, {"seed", required_argument, NULL, 's'},
    {"first", required_argument, NULL, 'f'},     {"sessions", required_argument, NULL, 'c'},
    {"filtered", no_argument, NULL, 'p'},        {"progress", no_argument, NULL, 'v'},
    {"show", required_argument, NULL, 'w'},      {NULL, 0, NULL, 0}};

static bool set_option(struct run *run, int option)
{
    const uint64_t value = optarg ? strtoull(optarg, NULL, 10) : 0;
    switch (option) {
    case 'g':
        run->ledger.gateway_port = (uint16_t)value;
        return true;
    case 'u':
        run->ledger.upstream_port = (uint16_t)value;
        return true;
    case 'n':
        run->ledger.count = (uint32_t)value;
        return value > 0;
    case 's':
        run->ledger.seed = value;
        return true;
    case 'f':
        run->ledger.first = (uint32_t)value;
        return true;
    case 'c':
        run->at_a_time = (uint32_t)value;
        return value > 0;
    case 'p':
        return run->ledger.filtered = true;
    case 'v':
        return run->progress = true;
    case 'w':
        run->show = (int64_t)value;
        return true;
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    static struct run run = {.ledger = {.count = 1000}, .at_a_time = 32, .show = -1};
    int option;
    run.ledger.seed = (uint64_t)time(NULL);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!set_option(&run, option)) {
            return EXIT_USAGE;
        }
    }
    if (run.show >= 0) {
        return show(run.ledger.seed, (uint32_t)run.show);
    }
    if (run.ledger.gateway_port == 0 || run.ledger.upstream_port == 0) {
        fprintf(stderr, "exchanges: --gateway PORT and --upstream PORT are needed\n");
        return EXIT_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    return run_all(&run);
}
