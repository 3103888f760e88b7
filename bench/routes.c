/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cost of one router match with 10,000 prefix routes, in instructions of user space (goal: at most
 * 600).
 *
 *     cmake --build build --target bench && build/bench_routes
 *
 * Where the machine has a performance counter it is read here, and the table is complete. Elsewhere
 * (most virtual machines) only nanoseconds are printed; callgrind then counts, for one row at a
 * time:
 *
 *     valgrind --tool=callgrind --callgrind-out-file=/dev/null \
 *         --toggle-collect=match_many build/bench_routes paths 20000
 *
 * Its line "Collected :" divided by the matches (here 20000) is instructions per match. Rows: paths
 * (10,000 prefixes, no hosts), hosts (10,000 hosts with one prefix each), mixed (1,000 hosts, 10
 * prefixes and a method each), wildcards (as mixed, under 1,000 wildcard hosts).
 */
#include "model/route.h"

#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUTES 10000U
#define DEFAULT_MATCHES 2000000U

struct row {
    const char *name;
    unsigned hosts; /* 0 = none */
    bool wildcard, method;
};

static const struct row rows[] = {
    {.name = "paths"},
    {.name = "hosts", .hosts = ROUTES},
    {.name = "mixed", .hosts = 1000, .method = true},
    {.name = "wildcards", .hosts = 1000, .wildcard = true, .method = true},
};

static struct mg_config *make_config(const struct row *row)
{
    static mg_str get = {.ptr = "GET", .len = 3};
    struct mg_config *config = mg_config_new();
    struct mg_arena *arena = &config->arena;
    config->routes = mg_arena_zalloc(arena, ROUTES * sizeof *config->routes);
    config->route_count = ROUTES;
    for (unsigned i = 0; i < ROUTES; i++) {
        struct mg_route *route = &config->routes[i];
        route->index = i;
        route->strip_path = true;
        route->limits = &config->gateway.limits;
        route->paths = mg_arena_zalloc(arena, sizeof *route->paths);
        route->path_count = 1;
        route->paths[0].text =
            mg_arena_format(arena, "/api/v%u/team-%u/resource-%u", i % 3, i % 97, i);
        if (row->method) {
            route->methods = &get;
            route->method_count = 1;
        }
        if (row->hosts > 0) {
            route->hosts = mg_arena_zalloc(arena, sizeof *route->hosts);
            route->hosts[0] = mg_arena_format(arena, "%stenant-%u.example.com",
                                              row->wildcard ? "*." : "", i % row->hosts);
            route->host_count = 1;
        }
    }
    char message[256];
    if (mg_router_compile(config, message, sizeof message)) {
        fprintf(stderr, "%s\n", message);
        exit(1);
    }
    return config;
}

static struct mg_question *make_questions(struct mg_config *config, const struct row *row)
{
    struct mg_arena *arena = &config->arena;
    struct mg_question *questions = mg_arena_zalloc(arena, ROUTES * sizeof *questions);
    for (unsigned i = 0; i < ROUTES; i++) {
        const unsigned at = i * 7919U % ROUTES; /* a prime: no order the caches could like */
        questions[i] = (struct mg_question){
            .method = MG_STR("GET"),
            .host = row->hosts == 0 ? MG_STR("gateway.example.com")
                                    : mg_arena_format(arena, "%stenant-%u.example.com",
                                                      row->wildcard ? "eu." : "", at % row->hosts),
            .port = 80,
            .path = mg_arena_format(arena, "/api/v%u/team-%u/resource-%u/items/42", at % 3, at % 97,
                                    at),
        };
    }
    return questions;
}

/* What callgrind collects. Returns how many matched. */
static unsigned __attribute__((noinline))
match_many(const struct mg_config *config, const struct mg_question *questions, unsigned matches)
{
    unsigned found = 0;
    unsigned at = 0;
    for (unsigned i = 0; i < matches; i++) {
        struct mg_match match;
        found += mg_router_match(config, &questions[at], &match);
        at = at + 1 == ROUTES ? 0 : at + 1;
    }
    return found;
}

/* A counter of this thread's instructions in user space, or -1. */
static int open_counter(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_HARDWARE,
                                   .size = sizeof attr,
                                   .config = PERF_COUNT_HW_INSTRUCTIONS,
                                   .exclude_kernel = 1,
                                   .exclude_hv = 1};
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static uint64_t read_counter(int counter)
{
    uint64_t value = 0;
    if (counter < 0 || read(counter, &value, sizeof value) != (ssize_t)sizeof value) {
        return 0;
    }
    return value;
}

static double now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static bool measure(const struct row *row, unsigned matches, int counter)
{
    struct mg_config *config = make_config(row);
    const struct mg_question *questions = make_questions(config, row);
    const uint64_t instructions_before = read_counter(counter);
    const double before = now_ns();
    const unsigned found = match_many(config, questions, matches);
    const double ns = (now_ns() - before) / matches;
    const uint64_t instructions = read_counter(counter) - instructions_before;
    printf("%-10s %8u matches %8.1f ns", row->name, matches, ns);
    if (instructions > 0) {
        printf(" %8.1f instructions", (double)instructions / matches);
    }
    printf("\n");
    mg_config_free(config);
    return found == matches;
}

int main(int argc, char **argv)
{
    const unsigned matches = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : DEFAULT_MATCHES;
    const int counter = open_counter();
    bool fine = matches > 0;
    for (size_t i = 0; fine && i < sizeof rows / sizeof rows[0]; i++) {
        if (argc < 2 || strcmp(argv[1], rows[i].name) == 0) {
            fine = measure(&rows[i], matches, counter);
        }
    }
    if (counter >= 0) {
        close(counter);
    } else {
        printf(
            "no performance counter here: count with callgrind, see the head of bench/routes.c\n");
    }
    if (!fine) {
        fprintf(stderr, "some questions found no route\n");
    }
    return fine ? 0 : 1;
}
