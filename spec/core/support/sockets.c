/* SPDX-License-Identifier: Apache-2.0 */
/* Real sockets for tests. Nothing here sleeps: waits are polls for an event, bounded by 10 s. */
#include "support/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_US (10 * 1000000U)

static uint64_t real_us(void)
{
    struct mg_clock clock;
    mg_clock_init(&clock);
    return clock.now_us;
}

static void make_nonblocking(int fd)
{
    assert_return_code(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

int sockets_listen(uint16_t *port)
{
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof in;
    assert_return_code(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_return_code(listen(fd, 64), 0);
    assert_return_code(getsockname(fd, (struct sockaddr *)&in, &length), 0);
    *port = ntohs(in.sin_port);
    return fd;
}

int sockets_connect(uint16_t port)
{
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    assert_return_code(connect(fd, (const struct sockaddr *)&in, sizeof in), 0);
    make_nonblocking(fd);
    return fd;
}

void sockets_tcp_pair(int fds[2])
{
    uint16_t port;
    const int listening = sockets_listen(&port);
    fds[0] = sockets_connect(port);
    fds[1] = accept(listening, NULL, NULL);
    assert_return_code(fds[1], 0);
    make_nonblocking(fds[1]);
    close(listening);
}

void sockets_unix_pair(int fds[2])
{
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
}

void sockets_wait_readable(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&wanted, 1, PATIENCE_US / 1000), 1);
}

void sockets_run_until(struct mg_loop *loop, bool (*holds)(void *context), void *context)
{
    const uint64_t give_up_us = real_us() + PATIENCE_US;
    while (!holds(context)) {
        if (!mg_loop_turn(loop) && !holds(context)) {
            /* short, because deadlines of a real clock may be due before the next event */
            struct pollfd wanted = {.fd = mg_loop_fd(loop), .events = POLLIN};
            assert_return_code(poll(&wanted, 1, 5), 0);
        }
        assert_true(real_us() < give_up_us);
    }
}

static bool is_set(void *flag)
{
    return *(const bool *)flag;
}

void sockets_run_until_set(struct mg_loop *loop, const bool *flag)
{
    sockets_run_until(loop, is_set, (void *)(uintptr_t)flag);
}
