/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log file that several processes append to. One job at a time runs in a thread of libuv's pool:
 * it opens the file anew when that was asked for or when the path leads to another file, then
 * writes the lines. A line is in the file as a whole or not at all: the job holds the file's lock
 * (flock(2)), and what a full disk left of a line is cut off again.
 *
 *     int err = mg_sink_file_open(&file, path, 0640, 1000);
 *     file.lead = loss_records;  file.data = lines;         // stay where they are until on_done
 *     err = mg_sink_file_start(&file, loop, on_done, context);
 *     ... file.lead_done, file.data_done (bytes), file.err
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "net/loop.h"

#define MG_SINK_FILE_BYTES 65536 /* of one write */

struct mg_sink_file {
    char *path; /* NULL: an fd that was given, never opened anew */
    int fd;
    mode_t mode; /* of a file that is made */
    uint64_t check_ms;
    uint64_t checked_ms; /* when the path was last looked at; monotonic */
    bool reopen;         /* in: asked for; out: still to be done */
    mg_str lead, data;   /* in: what is written, whole lines */
    bool lead_done;      /* out */
    size_t data_done;    /* out: bytes of data that are in the file */
    int err;             /* out: 0, or negative errno why not all is */
    bool busy;
    uv_work_t work;
    struct mg_loop *loop;
    void (*on_done)(void *context);
    void *context;
};

/* Opens for appending, made with mode when missing. Negative errno; EINVAL: a folder. A pipe
 * without a reader: ENXIO. */
MG_NODISCARD int mg_sink_file_open(struct mg_sink_file *file, mg_str path, mode_t mode,
                                   uint64_t check_ms);
/* Takes an open fd of a regular file (standard output). */
void mg_sink_file_take(struct mg_sink_file *file, int fd);
/* Must not be busy. */
void mg_sink_file_close(struct mg_sink_file *file);
/* on_done fires exactly once, later. */
MG_NODISCARD int mg_sink_file_start(struct mg_sink_file *file, struct mg_loop *loop,
                                    void (*on_done)(void *context), void *context);
/* The same at once, on this thread. */
void mg_sink_file_run(struct mg_sink_file *file);
