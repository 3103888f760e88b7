/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ends of connections that the test harness holds: what the gateway sends is kept until it is asked
 * for, so that the tests' Lua looks at it when it likes and no callback enters it.
 *
 *     struct mg_test_stream *stream = mg_test_stream_connect(&streams, "@name");
 *     mg_test_stream_write(stream, bytes);
 *     ... turns of the loop ...
 *     mg_str got = mg_test_stream_view(stream);
 *     mg_test_stream_consume(stream, got.len);
 *     mg_test_stream_close(stream);
 */
#pragma once

#include "net/listen.h"

struct mg_test_stream;

struct mg_test_streams { /* of one gateway under test */
    struct mg_loop *loop;
    struct mg_link open;  /* all but those that are closed already */
    struct mg_link fresh; /* accepted and not yet given away */
    struct mg_listener *listener;
};

void mg_test_streams_init(struct mg_test_streams *streams, struct mg_loop *loop);
/* Takes the connections to that listening fd; takes the fd. */
MG_NODISCARD int mg_test_streams_accept_on(struct mg_test_streams *streams, int fd);
/* Closes all; they are gone with the loop's next turns. */
void mg_test_streams_close(struct mg_test_streams *streams);
/* An accepted connection nobody has yet, or NULL. */
struct mg_test_stream *mg_test_streams_next(struct mg_test_streams *streams);

/* Connects to a listening unix socket, which accepts later; NULL when it does not. */
struct mg_test_stream *mg_test_stream_connect(struct mg_test_streams *streams,
                                              const struct mg_listen_address *address);
/* Sends or queues. Negative when the other side is gone. */
MG_NODISCARD int mg_test_stream_write(struct mg_test_stream *stream, mg_str bytes);
/* What has come; lives until the next turn or consume. */
mg_str mg_test_stream_view(const struct mg_test_stream *stream);
void mg_test_stream_consume(struct mg_test_stream *stream, size_t bytes);
/* 0: open; MG_ECLOSED: the peer has ended it; another code: it broke. */
int mg_test_stream_status(const struct mg_test_stream *stream);
/* The stream is not to be used any more; what is queued is lost. */
void mg_test_stream_close(struct mg_test_stream *stream);
