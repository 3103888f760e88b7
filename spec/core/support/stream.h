/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream under test: a loop, an mg_io on one end of a socket pair, the peer's fd, and what the
 * callbacks were told.
 *
 *     struct stream s;
 *     stream_open_loop(&s, false);
 *     stream_open(&s, is_unix);
 *     ...
 *     stream_close_all(&s);
 */
#pragma once

#include "net/io.h"

#include "support/sockets.h"

#define STREAM_PIECE_BYTES ((size_t)50000) /* of stream_write_pattern */

struct stream {
    struct mg_loop loop;
    struct mg_io *io;
    int peer;
    char last[64];
    size_t last_bytes, largest;
    int data, ends, drains, closed;
    int end_status, drain_status;
    bool is_closed;
    bool stop_in_data, close_in_data;
};

extern const struct mg_io_handler stream_handler; /* context: struct stream */

void stream_open_loop(struct stream *s, bool is_virtual);
/* Reading already. */
void stream_open(struct stream *s, bool is_unix);
void stream_close_peer(struct stream *s);
/* Stream, peer and loop; on_closed must fire once. */
void stream_close_all(struct stream *s);
/* Turns the loop until nothing happens. */
void stream_run_quiet(struct stream *s);
/* For sockets_run_until. */
bool stream_has_ended(void *context);
bool stream_has_data(void *context);
int stream_write(struct mg_io *io, const char *text);
/* The peer's side. */
void stream_send(int fd, const char *text);
void stream_expect(int fd, const char *text);
void stream_expect_eof(int fd);
/* Writes STREAM_PIECE_BYTES of a pattern; the reader checks what has come, without waiting. */
void stream_write_pattern(struct stream *s, uint64_t *written);
void stream_read_pattern(int fd, uint64_t *got);
/* Writes until something is queued, and one piece more. */
void stream_fill_queue(struct stream *s, uint64_t *written);
