/* SPDX-License-Identifier: Apache-2.0 */
/* `moongate echo`: runs the small upstream in the foreground until SIGTERM or SIGINT. */
#include "cli_verbs.h"

#include "echo.h"

#include <stdio.h>
#include <unistd.h>
#include <uv.h>

#define BACKLOG 1024
#define PLACES_MAX 8

enum option {
    OPTION_LISTEN,
    OPTION_SIZE,
    OPTION_STATUS,
    OPTION_DELAY,
    OPTION_CHUNKED,
    OPTION_FAIL_RATE,
    OPTION_CLOSE,
    OPTION_QUIET,
};

static const struct mg_option options[] = {
    {"listen", "ADDR", "127.0.0.1:9101, [::1]:9101 or unix:/path; may be given again", 'l'},
    {"size", "BYTES", "answer with so many octets instead of JSON", 0},
    {"status", "N", "status of the answers (default 200)", 0},
    {"delay", "MS", "wait before each answer", 0},
    {"chunked", NULL, "answer without a Content-Length", 0},
    {"fail-rate", "P", "answer this share with 500: 0 to 1, or a percentage", 0},
    {"close", NULL, "close the connection after each answer", 0},
    {"quiet", NULL, "no line for each request", 'q'},
    {NULL, NULL, NULL, 0},
};

struct run {
    struct mg_loop loop;
    struct mg_echo *echo;
    struct mg_echo_options options;
    struct mg_listen_address places[PLACES_MAX];
    uint32_t place_count, bound;
    uv_signal_t signals[2];
    bool started; /* the signals' handles */
};

static int take_place(struct mg_cli *cli, struct run *run, const char *value)
{
    if (run->place_count == PLACES_MAX) {
        return mg_cli_refuse(cli, "--listen was given more than %d times", PLACES_MAX);
    }
    if (mg_listen_parse(mg_str_from(value), &run->places[run->place_count])) {
        return mg_cli_refuse(cli, "'%s' is no address: 127.0.0.1:9101, [::1]:9101 or unix:/path is",
                             value);
    }
    run->place_count++;
    return 0;
}

static int take_option(struct mg_cli *cli, struct run *run, int option, const char *value)
{
    struct mg_echo_wish *wish = &run->options.wish;
    uint64_t number = 0;
    switch (option) {
    case OPTION_LISTEN:
        return take_place(cli, run, value);
    case OPTION_SIZE:
        wish->sized = true;
        return mg_cli_size(value, &wish->size)
                   ? 0
                   : mg_cli_refuse(cli, "'%s' is no size such as 1000, 64KiB or 8MiB", value);
    case OPTION_STATUS:
        if (!mg_cli_number(value, 200, 599, &number)) {
            return mg_cli_refuse(cli, "'%s' is no status from 200 to 599", value);
        }
        wish->status = (uint16_t)number;
        return 0;
    case OPTION_DELAY:
        return mg_cli_duration(value, &wish->delay_ms) && wish->delay_ms <= MG_ECHO_MAX_DELAY_MS
                   ? 0
                   : mg_cli_refuse(cli, "'%s' is no delay of at most 10m", value);
    case OPTION_FAIL_RATE:
        return mg_cli_share(value, &wish->fail_rate)
                   ? 0
                   : mg_cli_refuse(cli, "'%s' is no share such as 0.25 or 25%%", value);
    case OPTION_CHUNKED:
        wish->chunked = true;
        return 0;
    case OPTION_CLOSE:
        wish->close = true;
        return 0;
    default:
        run->options.log = false;
        return 0;
    }
}

static int take_options(struct mg_cli *cli, struct run *run)
{
    const char *value;
    int option;
    while ((option = mg_cli_next_option(cli, &value)) >= 0) {
        const int exit_code = take_option(cli, run, option, value);
        if (exit_code) {
            return exit_code;
        }
    }
    if (option == MG_CLI_STOP) {
        return cli->exit;
    }
    if (run->place_count == 0) {
        return mg_cli_refuse(cli, "--listen ADDR is missing");
    }
    return 0;
}

static void on_signal(uv_signal_t *signal, int number)
{
    (void)number;
    struct run *run = signal->data;
    mg_loop_wake(&run->loop);
    mg_loop_stop(&run->loop);
}

static void watch_signals(struct run *run)
{
    const int numbers[2] = {SIGTERM, SIGINT};
    run->started = true;
    for (int i = 0; i < 2; i++) {
        mg_require(uv_signal_init(&run->loop.uv, &run->signals[i]) == 0);
        run->signals[i].data = run;
        mg_require(uv_signal_start(&run->signals[i], on_signal, numbers[i]) == 0);
    }
}

/* Another process on a TCP port would get a part of the connections (SO_REUSEPORT), so it is asked
 * for. */
static int listen_on(struct run *run, const struct mg_listen_address *place)
{
    char message[256];
    int fd = mg_listen_probe(place, message, sizeof message);
    if (fd == 0) {
        fd = mg_listen_bind(place, BACKLOG, message, sizeof message);
    }
    if (fd < 0) {
        mg_say("echo: %s", message);
        return fd;
    }
    const uint16_t port = mg_listen_port(fd);
    const int err = mg_echo_listen(run->echo, fd, place->is_unix);
    if (err) {
        mg_say("echo: cannot accept on %s: %s", place->text, mg_err_text(err));
        close(fd);
        return err;
    }
    if (port && mg_str_ends(mg_str_from(place->text), MG_STR(":0"))) {
        fprintf(stderr, "echo: listening on %.*s:%u\n", (int)strlen(place->text) - 2, place->text,
                port);
    } else {
        fprintf(stderr, "echo: listening on %s\n", place->text);
    }
    return 0;
}

static int serve(struct run *run)
{
    for (uint32_t i = 0; i < run->place_count; i++) {
        if (listen_on(run, &run->places[i])) {
            return MG_EXIT_FAILED;
        }
        run->bound++;
    }
    watch_signals(run);
    mg_loop_run(&run->loop);
    return MG_EXIT_OK;
}

static void close_all(struct run *run)
{
    mg_echo_close(run->echo);
    for (int i = 0; run->started && i < 2; i++) {
        uv_close((uv_handle_t *)&run->signals[i], NULL);
    }
    mg_loop_close(&run->loop);
    for (uint32_t i = 0; i < run->place_count; i++) {
        const char *path = run->places[i].text + strlen("unix:");
        if (i < run->bound && run->places[i].is_unix && path[0] != '@') {
            unlink(path);
        }
    }
}

static int run_echo(struct mg_cli *cli)
{
    struct run run = {.options = {.wish.status = 200, .log = true}};
    int exit_code = take_options(cli, &run);
    if (exit_code || run.place_count == 0) {
        return exit_code;
    }
    const int err = mg_loop_open(&run.loop);
    if (err) {
        mg_say("echo: cannot make an event loop: %s", mg_err_text(err));
        return MG_EXIT_FAILED;
    }
    run.echo = mg_echo_open(&run.loop, &run.options);
    exit_code = serve(&run);
    close_all(&run);
    return exit_code;
}

const struct mg_verb mg_verb_echo = {
    .name = "echo",
    .arguments = "--listen ADDR [OPTION...]",
    .summary = "Run a small upstream that answers with what it received, as JSON.",
    .details =
        "A request may ask for another answer in its query:\n"
        "  ?status=503  ?size=64KiB  ?delay=50  ?chunked=1  ?sse=5  ?close=1  ?reset=1\n"
        "  ?cut=100 (octets of the body, then close)  ?fail_rate=0.2  ?raw=1 (see below)\n"
        "A WebSocket request gets a tunnel: its messages come back, or with ?raw=1 all bytes.",
    .options = options,
    .run = run_echo,
};
