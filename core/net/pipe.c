/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pipes: made when one is wanted and none rests, kept until the loop ends.
 */
/* NOLINTNEXTLINE(bugprone-reserved-identifier): the C library has named it */
#define _GNU_SOURCE /* pipe2, F_SETPIPE_SZ */
#include "net/pipe.h"

#include "base/err.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* A kernel that has refused a pipe is not asked again so soon: each time costs five calls. */
#define TAKES_WITHOUT 1000

static void close_pipe(struct mg_pipes *pipes, struct mg_pipe *pipe)
{
    close(pipe->read_fd);
    close(pipe->write_fd);
    free(pipe);
    pipes->count--;
}

/* NULL: the kernel gives none, or none that holds enough. */
static struct mg_pipe *new_pipe(struct mg_pipes *pipes)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK)) {
        return NULL;
    }
    struct mg_pipe *pipe = malloc(sizeof *pipe);
    mg_require(pipe != NULL);
    (void)fcntl(fds[1], F_SETPIPE_SZ, MG_PIPE_BYTES);
    const int bytes = fcntl(fds[1], F_GETPIPE_SZ);
    *pipe = (struct mg_pipe){
        .read_fd = fds[0], .write_fd = fds[1], .bytes = bytes > 0 ? (uint32_t)bytes : 0};
    pipes->count++;
    if (pipe->bytes < MG_PIPE_LEAST) {
        close_pipe(pipes, pipe);
        return NULL;
    }
    return pipe;
}

struct mg_pipe *mg_pipes_take(struct mg_pipes *pipes)
{
    struct mg_pipe *pipe = pipes->idle;
    if (pipe) {
        pipes->idle = pipe->next;
        return pipe;
    }
    if (pipes->passed_off > 0) {
        pipes->passed_off--;
        return NULL;
    }
    if (pipes->count == MG_PIPES) {
        return NULL;
    }
    pipe = new_pipe(pipes);
    if (!pipe) {
        pipes->passed_off = TAKES_WITHOUT;
    }
    return pipe;
}

void mg_pipes_put(struct mg_pipes *pipes, struct mg_pipe *pipe, size_t waiting)
{
    if (waiting > 0) {
        close_pipe(pipes, pipe);
        return;
    }
    pipe->next = pipes->idle;
    pipes->idle = pipe;
}

void mg_pipes_deinit(struct mg_pipes *pipes)
{
    while (pipes->idle) {
        struct mg_pipe *pipe = pipes->idle;
        pipes->idle = pipe->next;
        close_pipe(pipes, pipe);
    }
    mg_require(pipes->count == 0);
}
