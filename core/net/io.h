/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connected stream (TCP or unix) behind a small interface, so that TLS or another backend can
 * take its place. Writes try the kernel first and queue only what is left; reads go into the loop's
 * shared buffer, so an idle stream holds no buffer.
 *
 * Ownership: mg_io_new_* returns an object that the caller closes with mg_io_close; the object is
 * freed after on_closed. After mg_io_close no other callback fires. Callbacks may close the stream:
 * make that the last thing done with it. A failed write does not end reading: a peer that answers
 * early and closes has its answer read to the end.
 *
 *     static const struct mg_io_handler handler = {.on_data = on_data, .on_end = on_end};
 *     if (mg_io_new_fd(&io, loop, fd, false) == 0) {
 *         mg_io_set_handler(io, &handler, connection);
 *         mg_io_read_start(io);
 *     }
 *
 * Back-pressure: after a write, when mg_io_queued(io) is above the mark, stop reading the other
 * side; start again in on_drain.
 */
#pragma once

#include "base/err.h"
#include "base/list.h"
#include "base/str.h"
#include "net/address.h"
#include "net/loop.h"

#define MG_IO_READ_BYTES (64 * 1024) /* of one read, unless mg_io_set_read_size says otherwise */
#define MG_IO_PARTS 8                /* of one mg_io_write */

struct mg_io;

struct mg_io_handler {
    /* Bytes arrived; borrowed until the callback returns, and until then they may be changed. */
    void (*on_data)(void *context, mg_str bytes);
    /* Once: MG_ECLOSED at the peer's orderly end (it may still read), or a negative code. */
    void (*on_end)(void *context, int status);
    /* All queued bytes are with the kernel (0), or writing failed (negative; the stream is
     * dead). */
    void (*on_drain)(void *context, int status);
    /* So many bytes have gone the way of mg_io_splice, without on_data. NULL where none do. */
    void (*on_spliced)(void *context, size_t bytes);
    /* On a wide loop (mg_loop_is_wide), before each read: asks for the memory that on_data will
     * use (base/prefetch.h), and does nothing else. May be NULL. */
    void (*prefetch)(const void *context);
    /* Last callback; the object is freed when it returns. May be NULL. */
    void (*on_closed)(void *context);
};

/* Takes an fd that is connected (accepted). is_unix: a unix stream socket. On failure the fd is
 * closed too. Not reading yet. */
MG_NODISCARD int mg_io_new_fd(struct mg_io **out, struct mg_loop *loop, int fd, bool is_unix);
/* Connects by TCP: fn fires once, later, with 0 (connected, not reading yet) or a negative code
 * (then the caller closes io). Until then only mg_io_close may be called, after which fn does not
 * fire. An error that is known at once is returned instead. */
typedef void mg_io_connect_fn(void *context, int status);
MG_NODISCARD int mg_io_new_connect(struct mg_io **out, struct mg_loop *loop,
                                   const struct sockaddr *sockaddr, mg_io_connect_fn *fn,
                                   void *context);
/* handler lives as long as the stream (a constant table). NULL, as at the start: nobody is told. */
void mg_io_set_handler(struct mg_io *io, const struct mg_io_handler *handler, void *context);
/* Starting twice or stopping twice does nothing. */
void mg_io_read_start(struct mg_io *io);
void mg_io_read_stop(struct mg_io *io);
bool mg_io_is_reading(const struct mg_io *io);
/* Whether the stream can serve another exchange: open, no end seen, nothing queued. */
bool mg_io_is_reusable(const struct mg_io *io);
/* What waits to be read, without reading it (one system call): 0 nothing, 1 bytes, MG_ECLOSED the
 * peer's end, or a negative code. */
MG_NODISCARD int mg_io_look(const struct mg_io *io);
/* Whether a poll has told of something on it that has not been looked at yet. */
bool mg_io_is_told(const struct mg_io *io);
/* Most bytes taken by one read, at most MG_READ_BYTES; MG_IO_READ_BYTES at first. */
void mg_io_set_read_size(struct mg_io *io, size_t bytes);
/* Writes the parts in order (at most MG_IO_PARTS). What the kernel does not take is copied and
 * queued; then on_drain fires later, once for all that is queued by then. 0, or a negative code
 * when writing is over (UV_EPIPE, UV_ECONNRESET, MG_ECLOSED after mg_io_close; then nothing is
 * queued). */
MG_NODISCARD int mg_io_write(struct mg_io *io, const mg_str *parts, size_t count);
/* The next so many bytes that come from one stream go to the other through a pipe (splice(2)),
 * without being seen or copied: at a time as many as the other has room for, and none while
 * something is queued there; on_spliced of from tells. What cannot go this way comes by on_data as
 * ever and counts too, so its owner must still pass on what comes. false: it is not possible, or
 * one of them has a part in such a thing already. It is over when all has come, or when one of the
 * two is closed. */
bool mg_io_splice(struct mg_io *from, struct mg_io *to, uint64_t bytes);
/* From now on what comes from it is told by on_data again. What is in the pipe goes on. */
void mg_io_splice_stop(struct mg_io *from);
/* Whether io gives or takes so at present. */
bool mg_io_is_splicing(const struct mg_io *io);
/* Bytes that wait to be written, in user space or in a pipe: the measure for back-pressure. */
size_t mg_io_queued(const struct mg_io *io);
/* Asks for its memory, as base/prefetch.h has it. */
void mg_io_prefetch(const struct mg_io *io);
/* Half-closes after the queue is written; later writes fail with UV_EPIPE. */
void mg_io_shutdown(struct mg_io *io);
/* Closes; what is queued is lost. Closing again does nothing. */
void mg_io_close(struct mg_io *io);
/* Closes with a reset (TCP: SO_LINGER 0), so that the peer sees a broken message, not an end. */
void mg_io_reset(struct mg_io *io);
/* Lingering close for error answers: sends FIN after the queue, discards input for at most
 * linger_ms, then closes, so that the peer can read the answer (RFC 9112, 9.6). */
void mg_io_close_lingering(struct mg_io *io, uint64_t linger_ms);
/* Ask the kernel. Empty text and port 0 when the stream is dead. */
void mg_io_local(const struct mg_io *io, struct mg_address *address);
void mg_io_peer(const struct mg_io *io, struct mg_address *address);
/* For owners of many kinds of stream: what mg_io_set_handler was given. */
void *mg_io_context(const struct mg_io *io);
uint64_t mg_io_bytes_in(const struct mg_io *io);
uint64_t mg_io_bytes_out(const struct mg_io *io);

/* ---- for net/tls_stream.c -------------------------------------------------------------------- */

/* What stands between the socket and the owner of a stream: it turns the bytes of one side into
 * those of the other. From then on mg_io_write goes through it, and all that comes. */
struct mg_io_filter {
    void (*on_data)(void *context, mg_str bytes); /* from the socket; hands on with mg_io_deliver */
    /* of the socket; hands on with mg_io_deliver_end */
    void (*on_end)(void *context, int status);
    void (*on_resume)(void *context);                               /* reading was started */
    int (*write)(void *context, const mg_str *parts, size_t count); /* with mg_io_write_raw */
    void (*end)(void *context);  /* nothing is written any more: last words, with mg_io_write_raw */
    void (*free)(void *context); /* the stream is closed */
};

/* filter is a constant table. */
void mg_io_set_filter(struct mg_io *io, const struct mg_io_filter *filter, void *context);
/* What it was given with that filter, or NULL. */
void *mg_io_filter_context(const struct mg_io *io, const struct mg_io_filter *filter);
/* To the handler, as on_data and on_end; nothing once the stream is closed. */
void mg_io_deliver(struct mg_io *io, mg_str bytes);
void mg_io_deliver_end(struct mg_io *io, int status);
bool mg_io_is_closed(const struct mg_io *io);
/* As mg_io_write, past the filter. */
MG_NODISCARD int mg_io_write_raw(struct mg_io *io, const mg_str *parts, size_t count);
struct mg_loop *mg_io_loop(const struct mg_io *io);
