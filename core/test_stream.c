/* SPDX-License-Identifier: Apache-2.0 */
/* Streams of the test harness: net/io with a buffer. */
#define _GNU_SOURCE
#include "test_stream.h"

#include "base/buf.h"
#include "net/io.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEPT_BYTES (256UL * 1024 * 1024) /* of one message in a test */

struct mg_test_stream {
    struct mg_link link;
    struct mg_io *io;
    struct mg_buf in;
    int status;
};

static void on_data(void *context, mg_str bytes)
{
    struct mg_test_stream *stream = context;
    if (mg_buf_append(&stream->in, bytes)) {
        stream->status = MG_ENO_MEMORY;
        mg_io_read_stop(stream->io);
    }
}

static void on_end(void *context, int status)
{
    struct mg_test_stream *stream = context;
    stream->status = status;
}

static void on_drain(void *context, int status)
{
    struct mg_test_stream *stream = context;
    if (status && !stream->status) {
        stream->status = status;
    }
}

static void on_closed(void *context)
{
    struct mg_test_stream *stream = context;
    mg_buf_deinit(&stream->in);
    free(stream);
}

static const struct mg_io_handler handler = {
    .on_data = on_data, .on_end = on_end, .on_drain = on_drain, .on_closed = on_closed};

/* Takes the fd. */
static struct mg_test_stream *new_stream(struct mg_test_streams *streams, int fd,
                                         struct mg_link *list)
{
    struct mg_io *io;
    if (mg_io_new_fd(&io, streams->loop, fd, true)) {
        return NULL;
    }
    struct mg_test_stream *stream = calloc(1, sizeof *stream);
    mg_require(stream != NULL);
    stream->io = io;
    mg_buf_init(&stream->in, KEPT_BYTES);
    mg_link_init(&stream->link);
    mg_list_append(list, &stream->link);
    mg_io_set_handler(io, &handler, stream);
    mg_io_read_start(io);
    return stream;
}

static void on_accept(void *context, int fd, const struct mg_address *peer)
{
    struct mg_test_streams *streams = context;
    (void)peer;
    (void)new_stream(streams, fd, &streams->fresh);
}

void mg_test_streams_init(struct mg_test_streams *streams, struct mg_loop *loop)
{
    *streams = (struct mg_test_streams){.loop = loop};
    mg_link_init(&streams->open);
    mg_link_init(&streams->fresh);
}

int mg_test_streams_accept_on(struct mg_test_streams *streams, int fd)
{
    return mg_listener_open(&streams->listener, streams->loop, fd, true, on_accept, streams);
}

static void close_list(struct mg_link *list)
{
    while (!mg_list_empty(list)) {
        mg_test_stream_close(MG_CONTAINER(list->next, struct mg_test_stream, link));
    }
}

void mg_test_streams_close(struct mg_test_streams *streams)
{
    if (streams->listener) {
        mg_listener_close(streams->listener);
        streams->listener = NULL;
    }
    close_list(&streams->fresh);
    close_list(&streams->open);
}

struct mg_test_stream *mg_test_streams_next(struct mg_test_streams *streams)
{
    if (mg_list_empty(&streams->fresh)) {
        return NULL;
    }
    struct mg_test_stream *stream = MG_CONTAINER(streams->fresh.next, struct mg_test_stream, link);
    mg_link_remove(&stream->link);
    mg_list_append(&streams->open, &stream->link);
    return stream;
}

struct mg_test_stream *mg_test_stream_connect(struct mg_test_streams *streams,
                                              const struct mg_listen_address *address)
{
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return NULL;
    }
    if (connect(fd, (const struct sockaddr *)&address->sockaddr, address->length)) {
        close(fd);
        return NULL;
    }
    return new_stream(streams, fd, &streams->open);
}

int mg_test_stream_write(struct mg_test_stream *stream, mg_str bytes)
{
    return mg_io_write(stream->io, &bytes, 1);
}

mg_str mg_test_stream_view(const struct mg_test_stream *stream)
{
    return mg_buf_view(&stream->in);
}

void mg_test_stream_consume(struct mg_test_stream *stream, size_t bytes)
{
    mg_buf_consume(&stream->in, bytes);
}

int mg_test_stream_status(const struct mg_test_stream *stream)
{
    return stream->status;
}

void mg_test_stream_close(struct mg_test_stream *stream)
{
    mg_link_remove(&stream->link);
    mg_io_close(stream->io);
}
