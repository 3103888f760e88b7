/* SPDX-License-Identifier: Apache-2.0 */
/* Streams without waiting. */
#include "net/sink_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* A new open file on the same pipe or terminal (proc(5), /proc/PID/fd), or -1: sockets have none,
 * and another user's pipe may not be opened. */
static int open_again(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_APPEND | O_NOCTTY | O_CLOEXEC);
}

void mg_sink_stream_open(struct mg_sink_stream *stream, int fd)
{
    struct stat about = {0};
    *stream = (struct mg_sink_stream){.fd = fd};
    stream->is_socket = fstat(fd, &about) == 0 && S_ISSOCK(about.st_mode);
    if (stream->is_socket || S_ISREG(about.st_mode)) {
        /* A file takes all at once; one opened anew would have its own place, and what others
         * write through this one (an error log, with `> file 2>&1`) would be written over. */
        return;
    }
    const int own = open_again(fd);
    if (own >= 0) {
        stream->fd = own;
        stream->owned = true;
    } else {
        stream->may_block = true;
    }
}

void mg_sink_stream_take(struct mg_sink_stream *stream, int fd)
{
    *stream = (struct mg_sink_stream){.fd = fd, .owned = true};
}

void mg_sink_stream_close(struct mg_sink_stream *stream)
{
    if (stream->owned) {
        close(stream->fd);
    }
    stream->owned = false;
    stream->fd = -1;
}

static bool is_writable(int fd, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    return poll(&poll_fd, 1, timeout_ms) > 0;
}

ssize_t mg_sink_stream_write(const struct mg_sink_stream *stream, mg_str bytes)
{
    if (stream->may_block && !is_writable(stream->fd, 0)) {
        return MG_EAGAIN;
    }
    const ssize_t n = stream->is_socket
                          ? send(stream->fd, bytes.ptr, bytes.len, MSG_DONTWAIT | MSG_NOSIGNAL)
                          : write(stream->fd, bytes.ptr, bytes.len);
    if (n >= 0) {
        return n;
    }
    return errno == EAGAIN || errno == EINTR ? MG_EAGAIN : -errno;
}

void mg_sink_stream_wait(const struct mg_sink_stream *stream, int most_ms)
{
    (void)is_writable(stream->fd, most_ms);
}
