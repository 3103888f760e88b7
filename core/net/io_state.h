/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a stream, for net/io.c, io_splice.c and io_close.c alone: what it consists of, and
 * what these files do for each other.
 */
#pragma once

#include "net/loop.h"
#include "net/pipe.h"
#include "net/write_queue.h"

#define MG_IO_NO_MEMORY_MS 10 /* until the next try to write, where the kernel has no memory */

enum {
    MG_IO_UNIX = 1 << 0,
    MG_IO_READING = 1 << 1,
    MG_IO_ENDED = 1 << 2,    /* on_end has fired: nothing more will be read */
    MG_IO_SHUTDOWN = 1 << 3, /* half-closed, or will be when the queue is written */
    MG_IO_CLOSING = 1 << 4,
    MG_IO_READABLE = 1 << 5, /* a read may find something */
    /* a short read is not the last one: the peer's end, an error or urgent data stand behind it */
    MG_IO_READS_ALL = 1 << 6,
    /* EPOLLOUT is watched: from the first time on that something is queued */
    MG_IO_TELLS_ROOM = 1 << 7
};

/* A stream that waits for its peer to read our last words (mg_io_close_lingering). */
struct mg_io_lingering {
    struct mg_deadline deadline;
    struct mg_loop_closer closer;
    struct mg_io *io;
};

struct mg_io_connecting {
    void (*fn)(void *context, int status); /* mg_io_connect_fn */
    void *context;
};

/* What goes from one stream to another through a pipe (mg_io_splice). Both know it until it is
 * over: from until the last byte is taken, to until it is given too. */
struct mg_splice {
    struct mg_io *from, *to; /* NULL: does not take part any more */
    struct mg_pipe *pipe;    /* while bytes wait in it */
    size_t waiting;
    uint64_t left;            /* that from has yet to give */
    struct mg_deadline again; /* a try to write that no event will tell of */
};

struct mg_io {
    struct mg_watch watch;
    struct mg_loop *loop;
    struct mg_loop_task task; /* resume: go on where no event will tell; then: on_closed */
    const struct mg_io_handler *handler;
    void *context;
    const struct mg_io_filter *filter; /* NULL: the bytes of the socket are the owner's */
    void *filter_context;
    struct mg_write_queue *queue;
    struct mg_io_lingering *lingering;
    struct mg_io_connecting *connecting;
    struct mg_splice *splice; /* it gives to it, or takes from it */
    uint64_t bytes_in, bytes_out;
    uint32_t read_bytes;
    uint32_t turn;       /* of the loop (low bits), in which reads were made */
    int16_t write_error; /* negative codes fit */
    uint8_t reads;
    uint8_t flags;
};

/* io.c: EPOLLOUT is told from now on. */
void mg_io_watch_room(struct mg_io *io);
/* Writes what is queued or waits in a pipe, as far as there is room; tells when it is out. */
void mg_io_write_waiting(struct mg_io *io);
/* The end of what the socket has for us. */
void mg_io_end_reading(struct mg_io *io, int status);
/* What writing would fail with, or 0. */
int mg_io_writable(const struct mg_io *io);
/* The filter's last words, if anybody can hear them. */
void mg_io_end_filter(struct mg_io *io);

/* io_splice.c: one read of a stream whose bytes are spliced. */
enum mg_io_spliced {
    MG_IO_SPLICED,
    MG_IO_NOTHING, /* there was nothing */
    MG_IO_COPY,    /* this read has to be copied */
};
enum mg_io_spliced mg_io_splice_once(struct mg_io *io);
/* So many bytes were copied instead. */
void mg_io_splice_copied(struct mg_io *io, size_t bytes);
/* Writes what waits in the pipe for io, as far as there is room. 0, or why writing is over. */
int mg_io_splice_on(struct mg_io *io);
/* io takes part no more; what waits for it is lost. */
void mg_io_splice_leave(struct mg_io *io);

static inline bool mg_io_gives_by_splice(const struct mg_io *io)
{
    return io->splice && io->splice->from == io;
}

static inline size_t mg_io_waiting_in_pipe(const struct mg_io *io)
{
    return io->splice && io->splice->to == io ? io->splice->waiting : 0;
}
