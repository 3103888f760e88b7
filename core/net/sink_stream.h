/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing to a pipe, terminal or socket that other processes share, without ever waiting and
 * without changing how they see it: the non-blocking flag belongs to the open file, so a second
 * one is made where that is possible.
 *
 *     mg_sink_stream_open(&stream, STDOUT_FILENO);
 *     ssize_t n = mg_sink_stream_write(&stream, lines);    // at most MG_SINK_PIPE_BYTES of them
 *     mg_sink_stream_close(&stream);
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <sys/types.h>

/* What a pipe takes in one piece (PIPE_BUF, pipe(7)): longer writes of several processes mix. */
#define MG_SINK_PIPE_BYTES 4096

struct mg_sink_stream {
    int fd;
    bool owned;     /* closed at the end */
    bool is_socket; /* send(2) */
    bool may_block; /* no open file of our own: asks poll(2) first */
};

/* fd stays the caller's. */
void mg_sink_stream_open(struct mg_sink_stream *stream, int fd);
/* Takes an fd that is non-blocking. */
void mg_sink_stream_take(struct mg_sink_stream *stream, int fd);
void mg_sink_stream_close(struct mg_sink_stream *stream);
/* Bytes written, MG_EAGAIN when nothing can be written now, or negative errno. */
ssize_t mg_sink_stream_write(const struct mg_sink_stream *stream, mg_str bytes);
/* Waits until something can be written; for the end of the process. */
void mg_sink_stream_wait(const struct mg_sink_stream *stream, int most_ms);
