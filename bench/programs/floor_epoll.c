/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor under every gateway: passes octets between a client and an upstream connection of its
 * own, by plain epoll, without looking at them. Four system calls a round trip: two reads, two
 * writes; epoll_wait is shared by what is ready at the same time.
 *
 *     bench_floor_epoll 8000 9000      (port to listen on, port of the upstream, both of 127.0.0.1)
 */
/* NOLINTNEXTLINE(bugprone-reserved-identifier): the C library has named it */
#define _GNU_SOURCE /* accept4 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define READ_BYTES (64 * 1024)
#define EVENTS 512

struct end {
    int fd;
    bool is_dead;
    struct end *other;
    char *waiting; /* what the kernel did not take */
    size_t waiting_length;
    struct end *next_dead;
};

static int loop, listener;
static struct sockaddr_in upstream;
static struct end *dead;
static char buffer[READ_BYTES];

static void __attribute__((noreturn)) die(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(struct end *end, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = end};
    if (epoll_ctl(loop, operation, end->fd, &event)) {
        die("epoll_ctl");
    }
}

/* Both ends; they are freed when no event of this turn can name them any more. */
static void close_pair(struct end *end)
{
    for (int i = 0; i < 2; i++, end = end->other) {
        if (!end->is_dead) {
            end->is_dead = true;
            close(end->fd);
            end->next_dead = dead;
            dead = end;
        }
    }
}

static void free_dead(void)
{
    while (dead) {
        struct end *next = dead->next_dead;
        free(dead->waiting);
        free(dead);
        dead = next;
    }
}

static struct end *new_end(int fd)
{
    const int one = 1;
    struct end *end = calloc(1, sizeof *end);
    if (!end) {
        die("calloc");
    }
    end->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return end;
}

static void on_accept(void)
{
    const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    /* On this machine a connect is over at once, so it may block. */
    const int to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (to < 0 || connect(to, (struct sockaddr *)&upstream, sizeof upstream) ||
        fcntl(to, F_SETFL, O_NONBLOCK)) {
        die("connect");
    }
    struct end *client = new_end(fd);
    struct end *server = new_end(to);
    client->other = server;
    server->other = client;
    watch(client, EPOLL_CTL_ADD, EPOLLIN);
    watch(server, EPOLL_CTL_ADD, EPOLLIN);
}

/* Keeps the rest, and reads no more from the other side until it is gone. */
static void keep(struct end *end, const char *bytes, size_t length)
{
    end->waiting = malloc(length);
    if (!end->waiting) {
        die("malloc");
    }
    memcpy(end->waiting, bytes, length);
    end->waiting_length = length;
    watch(end, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    watch(end->other, EPOLL_CTL_MOD, 0);
}

static void on_readable(struct end *end)
{
    const ssize_t got = read(end->fd, buffer, sizeof buffer);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) {
            close_pair(end);
        }
        return;
    }
    ssize_t sent = write(end->other->fd, buffer, (size_t)got);
    if (sent < 0 && errno != EAGAIN) {
        close_pair(end);
        return;
    }
    sent = sent < 0 ? 0 : sent;
    if (sent < got) {
        keep(end->other, buffer + sent, (size_t)(got - sent));
    }
}

static void on_writable(struct end *end)
{
    const ssize_t sent = write(end->fd, end->waiting, end->waiting_length);
    if (sent < 0) {
        if (errno != EAGAIN) {
            close_pair(end);
        }
        return;
    }
    end->waiting_length -= (size_t)sent;
    memmove(end->waiting, end->waiting + sent, end->waiting_length);
    if (end->waiting_length == 0) {
        free(end->waiting);
        end->waiting = NULL;
        watch(end, EPOLL_CTL_MOD, EPOLLIN);
        watch(end->other, EPOLL_CTL_MOD, EPOLLIN);
    }
}

static struct sockaddr_in address_of(const char *port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void start(const char *from, const char *to)
{
    const int one = 1;
    const struct sockaddr_in address = address_of(from);
    upstream = address_of(to);
    loop = epoll_create1(EPOLL_CLOEXEC);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (const struct sockaddr *)&address, sizeof address) ||
        listen(listener, 4096)) {
        die("listen");
    }
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event)) {
        die("epoll_ctl");
    }
}

int main(int argc, char **argv)
{
    static struct epoll_event events[EVENTS];
    if (argc != 3) {
        fputs("usage: bench_floor_epoll PORT UPSTREAM_PORT\n", stderr);
        return 2;
    }
    start(argv[1], argv[2]);
    for (;;) {
        const int count = epoll_wait(loop, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct end *end = events[i].data.ptr;
            if (!end) {
                on_accept();
                continue;
            }
            if (!end->is_dead && events[i].events & EPOLLOUT) {
                on_writable(end);
            }
            if (!end->is_dead && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                on_readable(end);
            }
        }
        free_dead();
    }
}
