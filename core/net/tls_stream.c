/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter of net/io between a socket and its owner. What came is copied into the session first,
 * so that the loop's read buffer is free to take what it decodes to.
 *
 * When the owner stops reading, what is decoded already waits in the session, and is delivered
 * before the next poll once it reads again.
 */
#include "net/tls_stream.h"

#include <stdlib.h>

#define PLAIN_BYTES (64UL * 1024) /* encoded at once, so that large writes need no large buffer */

enum state { SHAKING, OPEN, ENDED };

struct tls_stream {
    struct mg_io *io;
    struct mg_tls *tls;
    enum state state;
    mg_tls_stream_fn *fn;
    void *context;
    int socket_end; /* what the socket ended with: told when all that is decoded is delivered */
    struct mg_loop_task pump; /* the first flight; then: deliver what is left */
};

/* Hands the session's output to the socket. */
static int send_output(struct tls_stream *stream)
{
    const mg_str output = mg_tls_output(stream->tls);
    if (output.len == 0) {
        return 0;
    }
    const int err = mg_io_write_raw(stream->io, &output, 1);
    mg_tls_sent(stream->tls, output.len);
    return err;
}

/* --- the handshake ---------------------------------------------------------------------------- */

/* Last statement of its callers, or they look at the state again. */
static void tell(struct tls_stream *stream, int status, const char *text)
{
    stream->state = status ? ENDED : OPEN;
    if (status) {
        mg_io_read_stop(stream->io);
    }
    stream->fn(stream->context, status, text);
}

static void shake_hands(struct tls_stream *stream)
{
    const int err = mg_tls_handshake(stream->tls);
    const int sent = send_output(stream); /* an alert, too */
    if (err && err != MG_EAGAIN) {
        tell(stream, err, mg_tls_error(stream->tls));
    } else if (sent) {
        tell(stream, sent, mg_err_text(sent));
    } else if (!err) {
        tell(stream, 0, "");
    }
}

/* --- plain bytes ------------------------------------------------------------------------------ */

static void end_stream(struct tls_stream *stream, int status)
{
    stream->state = ENDED;
    mg_io_read_stop(stream->io);
    mg_io_deliver_end(stream->io, status);
}

/* An end without TLS's own may have been forged: what was cut off is not known. */
static int end_of(const struct tls_stream *stream)
{
    return stream->socket_end == MG_ECLOSED ? UV_ECONNRESET : stream->socket_end;
}

static void deliver(struct tls_stream *stream)
{
    struct mg_io *io = stream->io;
    char *room = mg_io_loop(io)->read_buffer;
    size_t got;
    int err = 0;
    while (!err && mg_io_is_reading(io)) {
        err = mg_tls_read(stream->tls, room, MG_IO_READ_BYTES, &got);
        if (!err) {
            mg_io_deliver(io, mg_str_make(room, got));
        }
    }
    if (mg_io_is_closed(io)) {
        return;
    }
    const int sent = send_output(stream); /* an answer to new keys, an alert */
    if (err && err != MG_EAGAIN) {
        end_stream(stream, err);
    } else if (sent && sent != UV_EPIPE) { /* our half may be closed */
        end_stream(stream, sent);
    } else if (err && stream->socket_end) {
        end_stream(stream, end_of(stream));
    }
}

static void on_data(void *context, mg_str bytes)
{
    struct tls_stream *stream = context;
    if (stream->state == ENDED) {
        return;
    }
    mg_tls_feed(stream->tls, bytes);
    if (stream->state == SHAKING) {
        shake_hands(stream);
    }
    /* after the handshake there may be data behind it */
    if (stream->state == OPEN && !mg_io_is_closed(stream->io)) {
        deliver(stream);
    }
}

static void on_end(void *context, int status)
{
    struct tls_stream *stream = context;
    stream->socket_end = status;
    if (stream->state == SHAKING) {
        tell(stream, status, "the connection ended in the TLS handshake");
    } else if (stream->state == OPEN) {
        deliver(stream);
    }
}

static void on_pump(struct mg_loop_task *pump)
{
    struct tls_stream *stream = MG_CONTAINER(pump, struct tls_stream, pump);
    if (stream->state == OPEN && !mg_io_is_closed(stream->io)) {
        deliver(stream);
    }
}

static void on_resume(void *context)
{
    struct tls_stream *stream = context;
    mg_loop_flush_later(mg_io_loop(stream->io), &stream->pump);
}

static int write_part(struct tls_stream *stream, mg_str part)
{
    int err = 0;
    for (size_t at = 0; at < part.len && !err; at += PLAIN_BYTES) {
        err = mg_tls_write(stream->tls, mg_str_slice(part, at, at + PLAIN_BYTES));
        if (!err && mg_tls_output(stream->tls).len >= PLAIN_BYTES) {
            err = send_output(stream);
        }
    }
    return err;
}

static int write_plain(void *context, const mg_str *parts, size_t count)
{
    struct tls_stream *stream = context;
    int err = stream->state == SHAKING ? UV_ENOTCONN : 0;
    for (size_t i = 0; i < count && !err; i++) {
        err = write_part(stream, parts[i]);
    }
    const int sent = send_output(stream);
    return err ? err : sent;
}

static void end_writing(void *context)
{
    struct tls_stream *stream = context;
    mg_tls_end(stream->tls);
    (void)send_output(stream);
}

static void free_stream(void *context)
{
    struct tls_stream *stream = context;
    mg_link_remove(&stream->pump.link);
    mg_tls_free(stream->tls);
    free(stream);
}

static const struct mg_io_filter filter = {.on_data = on_data,
                                           .on_end = on_end,
                                           .on_resume = on_resume,
                                           .write = write_plain,
                                           .end = end_writing,
                                           .free = free_stream};

static void on_start(struct mg_loop_task *pump)
{
    struct tls_stream *stream = MG_CONTAINER(pump, struct tls_stream, pump);
    stream->pump.fn = on_pump;
    if (!mg_io_is_closed(stream->io)) {
        shake_hands(stream);
    }
}

void mg_tls_stream_start(struct mg_io *io, struct mg_tls *tls, mg_tls_stream_fn *fn, void *context)
{
    struct tls_stream *stream = calloc(1, sizeof *stream);
    mg_require(stream != NULL);
    *stream = (struct tls_stream){
        .io = io, .tls = tls, .fn = fn, .context = context, .pump.fn = on_start};
    mg_link_init(&stream->pump.link);
    mg_io_set_filter(io, &filter, stream);
    mg_io_read_start(io);
    on_resume(stream); /* the first flight leaves before the next poll */
}

const char *mg_tls_stream_error(const struct mg_io *io)
{
    const struct tls_stream *stream = mg_io_filter_context(io, &filter);
    return stream ? mg_tls_error(stream->tls) : "";
}
