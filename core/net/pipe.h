/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pipes of a loop, through which bytes pass from one socket to another without being copied
 * (splice(2)). One is taken for each read and comes back as soon as it is empty, so a few serve
 * many connections; only who reads slowly keeps one for longer. There are at most MG_PIPES.
 *
 *     struct mg_pipe *pipe = mg_pipes_take(&pipes);
 *     if (pipe) {
 *         ...                                 // splice in, splice out
 *         mg_pipes_put(&pipes, pipe, waiting);
 *     }
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MG_PIPES 48 /* of a loop, two descriptors each */
#define MG_PIPE_BYTES                                                                              \
    (256 * 1024)                  /* wished for; the kernel may give less to users without rights
                                      * (fs.pipe-user-pages-soft) */
#define MG_PIPE_LEAST (64 * 1024) /* with less a pipe is of no use */

struct mg_pipe {
    struct mg_pipe *next;
    int read_fd, write_fd; /* do not block */
    uint32_t bytes;        /* that it holds at most */
};

struct mg_pipes { /* all zero at first */
    struct mg_pipe *idle;
    uint32_t count;      /* with those that are taken */
    uint32_t passed_off; /* takes that are still refused, after the kernel has refused one */
    bool is_off;         /* set by who learns that this kernel cannot do it, or may not */
};

/* An empty one; NULL: there is none to be had at present. */
struct mg_pipe *mg_pipes_take(struct mg_pipes *pipes);
/* waiting: bytes that are still in it. Such a one is closed: nobody else may ever read them. */
void mg_pipes_put(struct mg_pipes *pipes, struct mg_pipe *pipe, size_t waiting);
/* All must have been put back. */
void mg_pipes_deinit(struct mg_pipes *pipes);
