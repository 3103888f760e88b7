/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load on a gateway, in bursts on connections that stay open between them: closed-loop (each
 * connection asks again as soon as it is answered) or open-loop (so many requests a second,
 * whatever became of the ones before; the latency of each runs from the time it was due, so a
 * request that had to wait for a connection shows it).
 *
 *     mkfifo commands
 *     bench_load --port 8000 --connections 64 --commands commands
 *
 * Opens the connections, asks once on each and prints `ready`. Then, for each line `run SECONDS
 * RATE` in the commands (RATE 0: closed-loop), prints one line of JSON when the last answer of that
 * burst has come. `quit`, SIGTERM or SIGINT end it.
 *
 *   --close     a new connection for each request
 *   --routes N  the paths of N routes in turn, /rROUTE/ITEM; else /
 *   --body N    answers must have N octets
 *
 * Answers need a Content-Length or chunks. What is not answered with 200 is `failed`.
 */
/* NOLINTNEXTLINE(bugprone-reserved-identifier): the C library has named it */
#define _GNU_SOURCE /* epoll_pwait2, strcasestr */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000U
#define HEAD_BYTES 2048
#define READ_BYTES (256 * 1024)
#define REQUEST_BYTES 160
#define EVENTS 512
#define WARMING 32            /* connections that are opened at a time */
#define GRACE_NS (30ULL * NS) /* for the last answers of a burst */
#define STEP_BITS 6           /* a latency is kept to 1/64 of itself */
#define BUCKETS (64U << STEP_BITS)

struct connection {
    int fd;
    bool is_waiting, is_in_body, is_chunked, is_last;
    uint64_t due_ns;
    uint64_t body_left, body_bytes;
    size_t head_length;
    char tail[5]; /* the last octets of a chunked answer */
    char head[HEAD_BYTES + 1];
};

static struct {
    struct sockaddr_in address;
    uint32_t count, routes;
    uint64_t body_bytes;
    bool is_closing; /* a connection for each request */
    int epoll, commands;
    struct connection *connections;
    struct connection **idle; /* a ring: the one that has rested longest is next */
    uint32_t idle_from, idle_count;
    char (*requests)[REQUEST_BYTES];
    uint32_t next_request;
    char command[128];
    size_t command_length;
    bool is_over;
} load;

static struct {
    uint64_t start_ns, end_ns, step_ns; /* step 0: closed-loop */
    uint64_t planned, sent, answered, answered_in_time, failed, max_ns;
    uint32_t waiting;
    uint64_t histogram[BUCKETS];
} burst;

static char read_buffer[READ_BYTES];

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("bench_load: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * NS + (uint64_t)time.tv_nsec;
}

/* ---- latencies ------------------------------------------------------------------------------ */

/* Linear below 64 ns, then 64 steps for each power of two. */
static uint32_t bucket_of(uint64_t ns)
{
    const uint32_t top = ns >> STEP_BITS ? 63U - (uint32_t)__builtin_clzll(ns) : STEP_BITS;
    const uint32_t shift = top - STEP_BITS;
    return ((shift + (ns >> STEP_BITS ? 1 : 0)) << STEP_BITS) +
           (uint32_t)((ns >> shift) & ((1U << STEP_BITS) - 1));
}

static uint64_t bucket_ns(uint32_t bucket)
{
    const uint32_t group = bucket >> STEP_BITS;
    const uint64_t step = bucket & ((1U << STEP_BITS) - 1);
    return group == 0 ? step : ((1ULL << STEP_BITS) + step) << (group - 1);
}

/* Microseconds that this share of the answers did not exceed. */
static double percentile_us(double share)
{
    const uint64_t rank = (uint64_t)((double)burst.answered * share);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < BUCKETS; i++) {
        seen += burst.histogram[i];
        if (seen > rank || (seen > 0 && seen == burst.answered)) {
            return (double)bucket_ns(i) / 1000;
        }
    }
    return 0;
}

/* ---- connections ---------------------------------------------------------------------------- */

static void open_connection(struct connection *c)
{
    const int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* On this machine a connect is over at once, so it may block. */
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&load.address, sizeof load.address)) {
        die("cannot connect: %s", strerror(errno));
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) || epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &event)) {
        die("cannot watch a connection: %s", strerror(errno));
    }
}

static void reopen_connection(struct connection *c)
{
    close(c->fd);
    open_connection(c);
}

static void rest(struct connection *c)
{
    load.idle[(load.idle_from + load.idle_count) % load.count] = c;
    load.idle_count++;
}

static struct connection *take_idle(void)
{
    struct connection *c = load.idle[load.idle_from];
    load.idle_from = (load.idle_from + 1) % load.count;
    load.idle_count--;
    return c;
}

static void fail(struct connection *c)
{
    burst.failed++;
    burst.waiting--;
    c->is_waiting = false;
    reopen_connection(c);
    rest(c);
}

static void ask(struct connection *c, uint64_t due_ns)
{
    const char *request = load.requests[load.next_request];
    const size_t length = strlen(request);
    load.next_request = load.next_request + 1 == load.routes ? 0 : load.next_request + 1;
    c->due_ns = due_ns;
    c->is_waiting = true;
    c->is_in_body = c->is_chunked = c->is_last = false;
    c->head_length = 0;
    c->body_bytes = 0;
    burst.sent++;
    burst.waiting++;
    if (write(c->fd, request, length) != (ssize_t)length) {
        fail(c);
    }
}

/* ---- answers -------------------------------------------------------------------------------- */

static void on_answer(struct connection *c)
{
    const uint64_t now = now_ns();
    const uint64_t ns = now - c->due_ns;
    if (memcmp(c->head + 8, " 200", 4) != 0 ||
        (load.body_bytes && c->body_bytes != load.body_bytes)) {
        fail(c);
        return;
    }
    c->is_waiting = false;
    burst.waiting--;
    burst.answered++;
    burst.answered_in_time += now <= burst.end_ns;
    burst.max_ns = ns > burst.max_ns ? ns : burst.max_ns;
    burst.histogram[bucket_of(ns)]++;
    if (c->is_last) {
        reopen_connection(c);
    }
    if (burst.step_ns == 0 && now < burst.end_ns) {
        ask(c, now_ns());
    } else {
        rest(c);
    }
}

/* Octets behind the head. */
static void take_body(struct connection *c, const char *bytes, size_t length)
{
    c->body_bytes += length;
    if (!c->is_chunked) {
        c->body_left -= length < c->body_left ? length : c->body_left;
        if (c->body_left == 0) {
            on_answer(c);
        }
        return;
    }
    const size_t kept = length < sizeof c->tail ? length : sizeof c->tail;
    memmove(c->tail, c->tail + kept, sizeof c->tail - kept);
    memcpy(c->tail + sizeof c->tail - kept, bytes + length - kept, kept);
    if (memcmp(c->tail, "0\r\n\r\n", sizeof c->tail) == 0) {
        c->body_bytes = load.body_bytes;
        on_answer(c);
    }
}

static void take_head(struct connection *c, const char *bytes, size_t length)
{
    const size_t before = c->head_length;
    const size_t copied = length < HEAD_BYTES - before ? length : HEAD_BYTES - before;
    memcpy(c->head + before, bytes, copied);
    c->head_length += copied;
    c->head[c->head_length] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) {
        if (c->head_length == HEAD_BYTES) {
            fail(c);
        }
        return;
    }
    end[2] = 0;
    const char *field = strcasestr(c->head, "\r\ncontent-length:");
    c->body_left = field ? strtoull(field + sizeof "\r\ncontent-length:" - 1, NULL, 10) : 0;
    c->is_chunked = !field && strcasestr(c->head, "\r\ntransfer-encoding:") != NULL;
    c->is_last = load.is_closing || strcasestr(c->head, "\r\nconnection: close") != NULL;
    c->is_in_body = true;
    const size_t used = (size_t)(end + 4 - c->head) - before;
    take_body(c, bytes + used, length - used);
}

static void on_readable(struct connection *c)
{
    const ssize_t got = read(c->fd, read_buffer, sizeof read_buffer);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0 && !c->is_waiting) { /* closed while it rested */
        reopen_connection(c);
    } else if (got <= 0 || !c->is_waiting) {
        fail(c);
    } else if (c->is_in_body) {
        take_body(c, read_buffer, (size_t)got);
    } else {
        take_head(c, read_buffer, (size_t)got);
    }
}

/* ---- bursts --------------------------------------------------------------------------------- */

static void report(void)
{
    const double seconds = (double)(burst.end_ns - burst.start_ns) / NS;
    printf("{\"requests\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"rate\":%.1f,\"p50_us\":%.1f,"
           "\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f}\n",
           burst.answered, burst.failed, (double)burst.answered_in_time / seconds,
           percentile_us(0.5), percentile_us(0.99), percentile_us(0.999),
           (double)burst.max_ns / 1000);
    fflush(stdout);
}

/* Sends what is due; open-loop only. */
static void send_due(uint64_t now)
{
    while (load.idle_count > 0 && burst.sent < burst.planned) {
        const uint64_t due = burst.start_ns + burst.sent * burst.step_ns;
        if (due > now) {
            break;
        }
        ask(take_idle(), due);
    }
}

/* Until when nothing is to be done but reading. */
static uint64_t next_ns(void)
{
    if (burst.step_ns == 0) {
        return burst.waiting > 0 ? burst.end_ns + GRACE_NS : burst.end_ns;
    }
    const bool may_send = load.idle_count > 0 && burst.sent < burst.planned;
    return may_send ? burst.start_ns + burst.sent * burst.step_ns : burst.end_ns + GRACE_NS;
}

static void take_command(const char *line);

static void on_command(void)
{
    char *room = load.command + load.command_length;
    const ssize_t got = read(load.commands, room, sizeof load.command - load.command_length - 1);
    if (got <= 0) {
        return;
    }
    load.command_length += (size_t)got;
    load.command[load.command_length] = 0;
    char *end = strchr(load.command, '\n');
    if (end) {
        *end = 0;
        load.command_length = 0; /* one command at a time: the next one is sent after the report */
        take_command(load.command);
    }
}

/* Waits until then at most; commands are taken only between bursts. */
static void turn(uint64_t until_ns, bool takes_commands)
{
    static struct epoll_event events[EVENTS];
    const uint64_t now = now_ns();
    const uint64_t left = until_ns > now ? until_ns - now : 0;
    const struct timespec time = {.tv_sec = (time_t)(left / NS), .tv_nsec = (long)(left % NS)};
    const int count = epoll_pwait2(load.epoll, events, EVENTS, &time, NULL);
    bool has_command = false;
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr) {
            on_readable(events[i].data.ptr);
        } else {
            has_command = true;
        }
    }
    if (has_command && takes_commands) {
        on_command();
    }
}

static void give_up_waiting(void)
{
    for (uint32_t i = 0; i < load.count; i++) {
        if (load.connections[i].is_waiting) {
            fail(&load.connections[i]);
        }
    }
    burst.failed += burst.step_ns ? burst.planned - burst.sent : 0;
}

static void run(double seconds, double rate)
{
    memset(&burst, 0, sizeof burst);
    burst.start_ns = now_ns();
    burst.end_ns = burst.start_ns + (uint64_t)(seconds * NS);
    if (rate > 0) {
        burst.step_ns = (uint64_t)(NS / rate);
        burst.planned = (uint64_t)(seconds * rate);
    } else {
        for (uint32_t left = load.idle_count; left > 0; left--) {
            ask(take_idle(), now_ns());
        }
    }
    for (;;) {
        const uint64_t now = now_ns();
        send_due(now);
        const bool has_sent = rate > 0 ? burst.sent == burst.planned : now >= burst.end_ns;
        if ((has_sent && burst.waiting == 0) || now >= burst.end_ns + GRACE_NS) {
            break;
        }
        turn(next_ns(), false);
    }
    give_up_waiting();
    report();
}

static void take_command(const char *line)
{
    char *rest_of_line;
    if (strcmp(line, "quit") == 0) {
        load.is_over = true;
    } else if (strncmp(line, "run ", 4) == 0) {
        const double seconds = strtod(line + 4, &rest_of_line);
        run(seconds, strtod(rest_of_line, NULL));
    } else {
        die("unknown command '%s'", line);
    }
}

/* One answer on each connection, a few at a time, so that the gateway's pool stays small. */
static void warm_up(void)
{
    uint32_t opened = 0;
    burst.end_ns = 0;
    const uint64_t deadline = now_ns() + 60ULL * NS;
    while (load.idle_count < load.count) {
        while (opened < load.count && opened < load.idle_count + WARMING) {
            open_connection(&load.connections[opened]);
            ask(&load.connections[opened++], now_ns());
        }
        if (now_ns() > deadline || burst.failed > load.count) {
            die("%" PRIu64 " of %u were answered, %" PRIu64 " failed; the last head: %s",
                burst.answered, load.count, burst.failed, load.connections[0].head);
        }
        turn(deadline, false);
    }
    if (burst.failed > 0) {
        die("%" PRIu64 " of %u failed; the first head: %s", burst.failed, load.count,
            load.connections[0].head);
    }
}

static void prepare_requests(uint16_t port)
{
    load.requests = calloc(load.routes, sizeof *load.requests);
    if (!load.requests) {
        die("no memory");
    }
    for (uint32_t i = 0; i < load.routes; i++) {
        char path[40] = "/";
        if (load.routes > 1) { /* a prime: no order that the caches could like */
            snprintf(path, sizeof path, "/r%u/%u", (unsigned)(i * 7919ULL % load.routes), i);
        }
        snprintf(load.requests[i], REQUEST_BYTES,
                 "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: bench\r\nAccept: */*\r\n"
                 "%s\r\n",
                 path, port, load.is_closing ? "Connection: close\r\n" : "");
    }
}

static void parse_arguments(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", 1, NULL, 'p'},   {"connections", 1, NULL, 'c'}, {"commands", 1, NULL, 'f'},
        {"routes", 1, NULL, 'r'}, {"body", 1, NULL, 'b'},        {"close", 0, NULL, 'x'},
        {NULL, 0, NULL, 0}};
    uint16_t port = 0;
    const char *commands = NULL;
    load.count = load.routes = 1;
    for (int found; (found = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (found) {
        case 'p':
            port = (uint16_t)strtoul(optarg, NULL, 10);
            break;
        case 'c':
            load.count = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'f':
            commands = optarg;
            break;
        case 'r':
            load.routes = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'b':
            load.body_bytes = strtoull(optarg, NULL, 10);
            break;
        case 'x':
            load.is_closing = true;
            break;
        default:
            exit(2);
        }
    }
    if (port == 0 || !commands || load.count == 0 || load.routes == 0) {
        fputs("usage: bench_load --port PORT --commands FIFO [--connections N] [--close] "
              "[--routes N] [--body N]\n",
              stderr);
        exit(2);
    }
    load.address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    load.commands = open(commands, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (load.commands < 0) {
        die("%s: %s", commands, strerror(errno));
    }
    prepare_requests(port);
}

int main(int argc, char **argv)
{
    parse_arguments(argc, argv);
    const rlim_t files = load.count + 64;
    struct rlimit limit = {.rlim_cur = files, .rlim_max = files};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    if (limit.rlim_max < files || setrlimit(RLIMIT_NOFILE, &limit)) {
        die("%u connections need as many open files", load.count);
    }
    prctl(PR_SET_TIMERSLACK, 1UL);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.connections = calloc(load.count, sizeof *load.connections);
    load.idle = calloc(load.count, sizeof(struct connection *));
    struct epoll_event event = {.events = EPOLLIN};
    if (!load.connections || !load.idle ||
        epoll_ctl(load.epoll, EPOLL_CTL_ADD, load.commands, &event)) {
        die("cannot start: %s", strerror(errno));
    }
    warm_up();
    puts("ready");
    fflush(stdout);
    while (!load.is_over) {
        turn(now_ns() + NS, true);
    }
    return 0;
}
