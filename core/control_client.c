/* SPDX-License-Identifier: Apache-2.0 */
/* A blocking client with a deadline: poll before every read. */
#define _GNU_SOURCE
#include "control_client.h"

#include "control.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int dial(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        return -ENAMETOOLONG;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, (const struct sockaddr *)&address, sizeof address)) {
        const int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

static int wait_readable(int fd, uint64_t deadline_ms)
{
    for (;;) {
        const uint64_t now = now_ms();
        if (now >= deadline_ms) {
            return MG_ETIMEOUT;
        }
        const uint64_t left = deadline_ms - now;
        struct pollfd poller = {.fd = fd, .events = POLLIN};
        const int ready = poll(&poller, 1, left > INT_MAX ? INT_MAX : (int)left);
        if (ready > 0) {
            return 0;
        }
        if (ready < 0 && errno != EINTR) {
            return -errno;
        }
    }
}

/* All that comes until the end. */
static int read_all(int fd, uint64_t deadline_ms, struct mg_buf *answer)
{
    for (;;) {
        int err = wait_readable(fd, deadline_ms);
        char piece[16384];
        const ssize_t got = err ? 0 : recv(fd, piece, sizeof piece, 0);
        if (err || (got < 0 && errno != EINTR)) {
            return err ? err : -errno;
        }
        if (got == 0) {
            return 0;
        }
        err = got > 0 ? mg_buf_append(answer, mg_str_make(piece, (size_t)got)) : 0;
        if (err) {
            return err;
        }
    }
}

/* Takes the head off: "moongate/1 CODE LENGTH\n". */
static int parse(struct mg_buf *answer, int *code)
{
    const mg_str text = mg_buf_view(answer);
    const mg_str greeting = MG_STR(MG_CONTROL_GREETING);
    const ptrdiff_t end = mg_str_find(text, '\n', 0);
    if (text.len == 0) {
        return MG_ECLOSED;
    }
    if (end < 0 || !mg_str_starts(text, greeting)) {
        return MG_EINVALID;
    }
    const mg_str numbers = mg_str_slice(text, greeting.len, (size_t)end);
    const ptrdiff_t blank = mg_str_find(numbers, ' ', 0);
    uint64_t number;
    uint64_t length;
    if (blank < 0 || !mg_str_to_u64(mg_str_slice(numbers, 0, (size_t)blank), &number) ||
        number > 255 ||
        !mg_str_to_u64(mg_str_slice(numbers, (size_t)blank + 1, numbers.len), &length)) {
        return MG_EINVALID;
    }
    mg_buf_consume(answer, (size_t)end + 1);
    *code = (int)number;
    return answer->len == length ? 0 : MG_ECLOSED;
}

int mg_control_ask(const char *path, const char *request, uint64_t wait_ms, int *code,
                   struct mg_buf *answer)
{
    char line[MG_CONTROL_LINE_BYTES];
    const int length = snprintf(line, sizeof line, MG_CONTROL_GREETING "%s\n", request);
    if (length < 0 || (size_t)length >= sizeof line) {
        return MG_EINVALID;
    }
    const int fd = dial(path);
    if (fd < 0) {
        return fd;
    }
    int err = send(fd, line, (size_t)length, MSG_NOSIGNAL) == length ? 0 : MG_ECLOSED;
    if (!err) {
        err = read_all(fd, now_ms() + wait_ms, answer);
    }
    close(fd);
    return err ? err : parse(answer, code);
}
