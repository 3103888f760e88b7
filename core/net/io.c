/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams on libuv. An idle one is this struct and nothing else (about 320 bytes): the write queue,
 * the connect request and the lingering state are allocated while they are needed.
 *
 * A write goes straight to the kernel. Only what is left over is copied: the first rest becomes the
 * uv_write in flight, everything later gathers in one buffer that follows it.
 *
 * The loop is found through the handle (struct mg_loop begins with its uv_loop_t), the owner's
 * context lies in the handle's data pointer.
 */
#include "net/io.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

/* One connection may not keep the loop to itself: so many reads, then the next one's turn. */
#define READS_PER_TURN 8

enum {
    IS_UNIX = 1 << 0,
    READING = 1 << 1,
    ENDED = 1 << 2,    /* on_end has fired: nothing more will be read */
    SHUTDOWN = 1 << 3, /* half-closed, or will be when the queue is written */
    CLOSING = 1 << 4,
};

struct write_queue {
    uv_write_t request;
    char *in_flight; /* what request writes */
    char *next;      /* follows it */
    size_t next_bytes, next_size;
};

/* A stream that waits for its peer to read our last words (mg_io_close_lingering). */
struct lingering {
    struct mg_deadline deadline;
    struct mg_loop_closer closer;
    struct mg_io *io;
};

struct connecting {
    uv_connect_t request;
    mg_io_connect_fn *fn;
    void *context;
};

struct mg_io {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    const struct mg_io_handler *handler;
    const struct mg_io_filter *filter; /* NULL: the bytes of the socket are the owner's */
    void *filter_context;
    struct write_queue *queue;
    struct lingering *lingering;
    uint64_t bytes_in, bytes_out;
    uint32_t read_bytes;
    uint32_t turn;       /* of the loop (low bits), in which reads were made */
    int16_t write_error; /* libuv's codes fit */
    uint8_t reads;
    uint8_t flags;
};

static struct mg_loop *loop_of(const struct mg_io *io)
{
    return MG_CONTAINER(io->uv.handle.loop, struct mg_loop, uv);
}

static struct mg_io *io_of(void *uv_handle)
{
    return MG_CONTAINER(uv_handle, struct mg_io, uv);
}

/* -1: it has none. */
static int fd_of(const struct mg_io *io)
{
    int fd = -1;
    return uv_fileno(&io->uv.handle, &fd) == 0 ? fd : -1;
}

static struct mg_io *new_io(struct mg_loop *loop, bool is_unix)
{
    struct mg_io *io = malloc(sizeof *io);
    mg_require(io != NULL);
    *io = (struct mg_io){.read_bytes = MG_IO_READ_BYTES, .flags = is_unix ? IS_UNIX : 0};
    if (is_unix) {
        mg_require(uv_pipe_init(&loop->uv, &io->uv.pipe, 0) == 0);
    } else {
        mg_require(uv_tcp_init(&loop->uv, &io->uv.tcp) == 0);
    }
    return io;
}

static int attach_fd(struct mg_io *io, int fd)
{
    const int err =
        io->flags & IS_UNIX ? uv_pipe_open(&io->uv.pipe, fd) : uv_tcp_open(&io->uv.tcp, fd);
    if (err) {
        close(fd);
        mg_io_close(io);
    }
    return err;
}

int mg_io_new_fd(struct mg_io **out, struct mg_loop *loop, int fd, bool is_unix)
{
    struct mg_io *io = new_io(loop, is_unix);
    const int err = attach_fd(io, fd);
    *out = err ? NULL : io;
    return err;
}

static void on_connected(uv_connect_t *request, int status)
{
    struct connecting *connecting = MG_CONTAINER(request, struct connecting, request);
    struct mg_io *io = io_of(request->handle);
    mg_io_connect_fn *fn = connecting->fn;
    void *context = connecting->context;
    mg_loop_wake(loop_of(io));
    free(connecting);
    if (!(io->flags & CLOSING)) {
        fn(context, status);
    }
}

/* Kernels without IPv6 and the like fail here; libuv reports "refused" later, even when it is
 * known. */
static int start_connect(struct mg_io *io, const struct sockaddr *sockaddr,
                         struct connecting *connecting)
{
    const int fd = socket(sockaddr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        mg_io_close(io);
        return -errno;
    }
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int err = attach_fd(io, fd);
    if (err) {
        return err;
    }
    err = uv_tcp_connect(&connecting->request, &io->uv.tcp, sockaddr, on_connected);
    if (err) {
        mg_io_close(io);
    }
    return err;
}

int mg_io_new_connect(struct mg_io **out, struct mg_loop *loop, const struct sockaddr *sockaddr,
                      mg_io_connect_fn *fn, void *context)
{
    struct connecting *connecting = malloc(sizeof *connecting);
    mg_require(connecting != NULL);
    connecting->fn = fn;
    connecting->context = context;
    struct mg_io *io = new_io(loop, false);
    const int err = start_connect(io, sockaddr, connecting);
    if (err) {
        free(connecting);
    }
    *out = err ? NULL : io;
    return err;
}

void mg_io_set_handler(struct mg_io *io, const struct mg_io_handler *handler, void *context)
{
    io->handler = handler;
    io->uv.handle.data = context;
}

void mg_io_set_filter(struct mg_io *io, const struct mg_io_filter *filter, void *context)
{
    io->filter = filter;
    io->filter_context = context;
}

void *mg_io_filter_context(const struct mg_io *io, const struct mg_io_filter *filter)
{
    return io->filter == filter ? io->filter_context : NULL;
}

bool mg_io_is_closed(const struct mg_io *io)
{
    return io->flags & CLOSING;
}

struct mg_loop *mg_io_loop(const struct mg_io *io)
{
    return loop_of(io);
}

void *mg_io_context(const struct mg_io *io)
{
    return io->uv.handle.data;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* libuv reads again while reads come back full. An empty buffer tells it to stop for this time;
 * what is left is reported by the next poll. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    struct mg_io *io = io_of(handle);
    struct mg_loop *loop = loop_of(io);
    mg_loop_wake(loop);
    if (io->turn != (uint32_t)loop->turn) {
        io->turn = (uint32_t)loop->turn;
        io->reads = 0;
    }
    buffer->base = loop->read_buffer;
    buffer->len = io->reads < READS_PER_TURN ? io->read_bytes : 0;
    io->reads++;
}

void mg_io_deliver(struct mg_io *io, mg_str bytes)
{
    if (!(io->flags & CLOSING) && !io->lingering && io->handler && io->handler->on_data) {
        io->handler->on_data(mg_io_context(io), bytes);
    }
}

void mg_io_deliver_end(struct mg_io *io, int status)
{
    io->flags |= ENDED;
    io->flags &= (uint8_t)~READING;
    if (io->lingering) {
        mg_io_close(io);
    } else if (!(io->flags & CLOSING) && io->handler && io->handler->on_end) {
        io->handler->on_end(mg_io_context(io), status);
    }
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct mg_io *io = io_of(stream);
    const struct mg_io_filter *filter = io->filter;
    mg_loop_wake(loop_of(io)); /* libuv reports some ends without asking for a buffer */
    if (count == 0 || count == UV_ENOBUFS) {
        return;
    }
    if (count < 0) {
        const int status = count == UV_EOF ? MG_ECLOSED : (int)count;
        filter ? filter->on_end(io->filter_context, status) : mg_io_deliver_end(io, status);
        return;
    }
    io->bytes_in += (uint64_t)count;
    const mg_str bytes = mg_str_make(buffer->base, (size_t)count);
    filter ? filter->on_data(io->filter_context, bytes) : mg_io_deliver(io, bytes);
}

void mg_io_read_start(struct mg_io *io)
{
    if (io->flags & (READING | ENDED | CLOSING)) {
        return;
    }
    io->flags |= READING;
    mg_require(uv_read_start(&io->uv.stream, on_alloc, on_read) == 0);
    if (io->filter) {
        io->filter->on_resume(io->filter_context);
    }
}

void mg_io_read_stop(struct mg_io *io)
{
    if (io->flags & READING) {
        io->flags &= (uint8_t)~READING;
        uv_read_stop(&io->uv.stream);
    }
}

bool mg_io_is_reading(const struct mg_io *io)
{
    return io->flags & READING;
}

bool mg_io_is_reusable(const struct mg_io *io)
{
    return !(io->flags & (ENDED | SHUTDOWN | CLOSING)) && !io->queue && !io->write_error;
}

int mg_io_look(const struct mg_io *io)
{
    char byte;
    const int fd = fd_of(io);
    if (io->flags & (ENDED | CLOSING) || fd < 0) {
        return MG_ECLOSED;
    }
    const ssize_t count = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (count < 0) {
        return errno == EAGAIN ? 0 : -errno;
    }
    return count > 0 ? 1 : MG_ECLOSED;
}

void mg_io_set_read_size(struct mg_io *io, size_t bytes)
{
    io->read_bytes = bytes < MG_READ_BYTES ? (uint32_t)bytes : MG_READ_BYTES;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void free_queue(struct mg_io *io)
{
    free(io->queue->in_flight);
    free(io->queue->next);
    free(io->queue);
    io->queue = NULL;
}

static void send_fin(const struct mg_io *io)
{
    const int fd = fd_of(io);
    if (fd >= 0) {
        shutdown(fd, SHUT_WR);
    }
}

/* All is written, or writing failed. */
static void end_queue(struct mg_io *io, int status)
{
    free_queue(io);
    io->write_error = (int16_t)status;
    if (io->flags & CLOSING) {
        return;
    }
    if (io->lingering && status) {
        mg_io_close(io);
        return;
    }
    if (io->flags & SHUTDOWN && status == 0) {
        send_fin(io);
    }
    if (!io->lingering && io->handler && io->handler->on_drain) {
        io->handler->on_drain(mg_io_context(io), status);
    }
}

static void on_written(uv_write_t *request, int status);

/* Takes bytes, which are freed when they are written. */
static int write_in_flight(struct mg_io *io, char *bytes, size_t count)
{
    free(io->queue->in_flight);
    io->queue->in_flight = bytes;
    const uv_buf_t buffer = {.base = bytes, .len = count};
    return uv_write(&io->queue->request, &io->uv.stream, &buffer, 1, on_written);
}

static void on_written(uv_write_t *request, int status)
{
    struct mg_io *io = io_of(request->handle);
    struct write_queue *queue = io->queue;
    mg_loop_wake(loop_of(io));
    if (status == 0 && queue->next_bytes > 0 && !(io->flags & CLOSING)) {
        char *bytes = queue->next;
        const size_t count = queue->next_bytes;
        queue->next = NULL;
        queue->next_bytes = queue->next_size = 0;
        status = write_in_flight(io, bytes, count);
        if (status == 0) {
            return;
        }
    }
    end_queue(io, status);
}

/* Copies the parts without their first skip bytes. */
static void copy_parts(char *to, const mg_str *parts, size_t count, size_t skip)
{
    for (size_t i = 0; i < count; i++) {
        const size_t skipped = skip < parts[i].len ? skip : parts[i].len;
        skip -= skipped;
        if (parts[i].len > skipped) {
            memcpy(to, parts[i].ptr + skipped, parts[i].len - skipped);
            to += parts[i].len - skipped;
        }
    }
}

static void append_next(struct write_queue *queue, const mg_str *parts, size_t count, size_t total)
{
    if (queue->next_size - queue->next_bytes < total) {
        const size_t doubled = queue->next_size * 2;
        const size_t needed = queue->next_bytes + total;
        queue->next_size = doubled > needed ? doubled : needed;
        queue->next = realloc(queue->next, queue->next_size);
        mg_require(queue->next != NULL);
    }
    copy_parts(queue->next + queue->next_bytes, parts, count, 0);
    queue->next_bytes += total;
}

static int queue_rest(struct mg_io *io, const mg_str *parts, size_t count, size_t total,
                      size_t written)
{
    char *bytes = malloc(total - written);
    io->queue = malloc(sizeof *io->queue);
    mg_require(bytes != NULL && io->queue != NULL);
    *io->queue = (struct write_queue){.in_flight = NULL};
    copy_parts(bytes, parts, count, written);
    const int err = write_in_flight(io, bytes, total - written);
    if (err) {
        free_queue(io);
    }
    return err;
}

/* What writing would fail with, or 0. */
static int writable(const struct mg_io *io)
{
    if (io->flags & CLOSING) {
        return MG_ECLOSED;
    }
    return io->flags & SHUTDOWN ? UV_EPIPE : io->write_error;
}

int mg_io_write(struct mg_io *io, const mg_str *parts, size_t count)
{
    const int err = io->filter ? writable(io) : 0;
    return err          ? err
           : io->filter ? io->filter->write(io->filter_context, parts, count)
                        : mg_io_write_raw(io, parts, count);
}

int mg_io_write_raw(struct mg_io *io, const mg_str *parts, size_t count)
{
    mg_require(count <= MG_IO_PARTS);
    uv_buf_t buffers[MG_IO_PARTS];
    unsigned used = 0;
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len > 0) {
            /* libuv's type has no const; it does not write there */
            buffers[used++] = (uv_buf_t){.base = (char *)parts[i].ptr, .len = parts[i].len};
            total += parts[i].len;
        }
    }
    int err = writable(io);
    if (err || used == 0) {
        return err;
    }
    if (io->queue) {
        append_next(io->queue, parts, count, total);
        io->bytes_out += total;
        return 0;
    }
    const int written = uv_try_write(&io->uv.stream, buffers, used);
    if (written < 0 && written != UV_EAGAIN) {
        io->write_error = (int16_t)written;
        return written;
    }
    const size_t done = written > 0 ? (size_t)written : 0;
    err = done < total ? queue_rest(io, parts, count, total, done) : 0;
    io->bytes_out += err ? done : total;
    return err;
}

size_t mg_io_queued(const struct mg_io *io)
{
    return io->queue ? io->uv.stream.write_queue_size + io->queue->next_bytes : 0;
}

/* The filter's last words, if anybody can hear them. */
static void end_filter(struct mg_io *io)
{
    if (io->filter && !writable(io)) {
        io->filter->end(io->filter_context);
    }
}

void mg_io_shutdown(struct mg_io *io)
{
    if (io->flags & (SHUTDOWN | CLOSING)) {
        return;
    }
    end_filter(io);
    io->flags |= SHUTDOWN;
    if (!io->queue && !io->write_error) {
        send_fin(io);
    }
}

/* --- closing ---------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct mg_io *io = io_of(handle);
    mg_loop_wake(loop_of(io));
    if (io->handler && io->handler->on_closed) {
        io->handler->on_closed(mg_io_context(io));
    }
    if (io->filter) {
        io->filter->free(io->filter_context);
    }
    free(io);
}

static void free_lingering(struct mg_io *io)
{
    if (io->lingering) {
        mg_deadline_cancel(&io->lingering->deadline);
        mg_link_remove(&io->lingering->closer.link);
        free(io->lingering);
        io->lingering = NULL;
    }
}

static void close_now(struct mg_io *io)
{
    io->flags |= CLOSING;
    io->flags &= (uint8_t)~READING;
    free_lingering(io);
    uv_close(&io->uv.handle, on_closed);
}

void mg_io_close(struct mg_io *io)
{
    if (!(io->flags & CLOSING)) {
        end_filter(io);
        close_now(io);
    }
}

void mg_io_reset(struct mg_io *io)
{
    if (io->flags & CLOSING) {
        return;
    }
    if (!(io->flags & IS_UNIX)) {
        const struct linger linger = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(fd_of(io), SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    close_now(io);
}

static void on_linger_timeout(struct mg_deadline *deadline)
{
    mg_io_close(MG_CONTAINER(deadline, struct lingering, deadline)->io);
}

static void on_loop_close(struct mg_loop_closer *closer)
{
    mg_io_close(MG_CONTAINER(closer, struct lingering, closer)->io);
}

void mg_io_close_lingering(struct mg_io *io, uint64_t linger_ms)
{
    if (io->flags & CLOSING || io->lingering) {
        return;
    }
    if (io->flags & ENDED || io->write_error || linger_ms == 0) {
        mg_io_close(io);
        return;
    }
    struct mg_loop *loop = loop_of(io);
    struct lingering *lingering = malloc(sizeof *lingering);
    mg_require(lingering != NULL);
    *lingering = (struct lingering){.io = io, .closer.fn = on_loop_close};
    mg_deadline_init(&lingering->deadline);
    mg_link_init(&lingering->closer.link);
    mg_list_append(&loop->closers, &lingering->closer.link);
    mg_deadline_arm(mg_deadlines_class(&loop->deadlines, linger_ms), &lingering->deadline,
                    on_linger_timeout, mg_loop_now_ms(loop));
    io->lingering = lingering;
    mg_io_shutdown(io);
    mg_io_read_start(io);
}

/* --- facts ------------------------------------------------------------------------------------ */

void mg_io_local(const struct mg_io *io, struct mg_address *address)
{
    mg_address_of(fd_of(io), false, address);
}

void mg_io_peer(const struct mg_io *io, struct mg_address *address)
{
    mg_address_of(fd_of(io), true, address);
}

uint64_t mg_io_bytes_in(const struct mg_io *io)
{
    return io->bytes_in;
}

uint64_t mg_io_bytes_out(const struct mg_io *io)
{
    return io->bytes_out;
}
