/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams on the loop's watches, which are edge-triggered: a beginning is told once, and
 * MG_IO_READABLE remembers it until the kernel has nothing left. An idle stream is one struct and
 * nothing else (144 bytes): the write queue, the connection attempt, the lingering state and what
 * is spliced are allocated while they are needed.
 *
 * A write goes straight to the kernel. Only what is left over is copied, into one buffer that is
 * written on when the kernel has room.
 */
#include "net/io.h"

#include "base/prefetch.h"
#include "net/io_state.h"
#include "net/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

/* One connection may not keep the loop to itself: so many reads, then the next one's turn. */
#define READS_PER_TURN 8
#define EVENTS (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET)

static void on_ready(struct mg_watch *watch, uint32_t events);
static void on_resume(struct mg_loop_task *task);

/* Takes the fd, or closes it. */
static int open_io(struct mg_io **out, struct mg_loop *loop, int fd, uint8_t flags)
{
    struct mg_io *io = malloc(sizeof *io);
    mg_require(io != NULL);
    *io = (struct mg_io){.watch.fn = on_ready,
                         .loop = loop,
                         .task.fn = on_resume,
                         .read_bytes = MG_IO_READ_BYTES,
                         .flags = flags};
    mg_link_init(&io->task.link);
    const uint32_t events = flags & MG_IO_TELLS_ROOM ? EVENTS | EPOLLOUT : EVENTS;
    const int err = mg_loop_watch(loop, &io->watch, fd, events);
    if (err) {
        close(fd);
        free(io);
        io = NULL;
    }
    *out = io;
    return err;
}

int mg_io_new_fd(struct mg_io **out, struct mg_loop *loop, int fd, bool is_unix)
{
    return open_io(out, loop, fd, is_unix ? MG_IO_UNIX : 0);
}

static void end_connecting(struct mg_io *io)
{
    struct mg_io_connecting connecting = *io->connecting;
    free(io->connecting);
    io->connecting = NULL;
    connecting.fn(connecting.context, mg_socket_error(io->watch.fd));
}

int mg_io_new_connect(struct mg_io **out, struct mg_loop *loop, const struct sockaddr *sockaddr,
                      mg_io_connect_fn *fn, void *context)
{
    const int on = 1;
    *out = NULL;
    const int fd = socket(sockaddr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const socklen_t length =
        sockaddr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (connect(fd, sockaddr, length) != 0 && errno != EINPROGRESS && errno != EINTR) {
        const int err = -errno;
        close(fd);
        return err;
    }
    const int err = open_io(out, loop, fd, MG_IO_TELLS_ROOM);
    if (err == 0) {
        struct mg_io_connecting *connecting = malloc(sizeof *connecting);
        mg_require(connecting != NULL);
        *connecting = (struct mg_io_connecting){.fn = fn, .context = context};
        (*out)->connecting = connecting;
    }
    return err;
}

void mg_io_set_handler(struct mg_io *io, const struct mg_io_handler *handler, void *context)
{
    io->handler = handler;
    io->context = context;
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
    return io->flags & MG_IO_CLOSING;
}

struct mg_loop *mg_io_loop(const struct mg_io *io)
{
    return io->loop;
}

void *mg_io_context(const struct mg_io *io)
{
    return io->context;
}

/* --- reading ---------------------------------------------------------------------------------- */

void mg_io_deliver(struct mg_io *io, mg_str bytes)
{
    if (!(io->flags & MG_IO_CLOSING) && !io->lingering && io->handler && io->handler->on_data) {
        io->handler->on_data(io->context, bytes);
    }
}

void mg_io_deliver_end(struct mg_io *io, int status)
{
    io->flags |= MG_IO_ENDED;
    io->flags &= (uint8_t)~MG_IO_READING;
    if (io->lingering) {
        mg_io_close(io);
    } else if (!(io->flags & MG_IO_CLOSING) && io->handler && io->handler->on_end) {
        io->handler->on_end(io->context, status);
    }
}

void mg_io_end_reading(struct mg_io *io, int status)
{
    io->flags &= (uint8_t)~MG_IO_READABLE; /* a filter may have more to deliver to who is reading */
    io->filter ? io->filter->on_end(io->filter_context, status) : mg_io_deliver_end(io, status);
}

void mg_io_prefetch(const struct mg_io *io)
{
    mg_prefetch(io, sizeof *io);
}

/* One read; false: there was nothing. */
static bool read_once(struct mg_io *io)
{
    if (mg_io_gives_by_splice(io)) {
        const enum mg_io_spliced spliced = mg_io_splice_once(io);
        if (spliced != MG_IO_COPY) {
            return spliced == MG_IO_SPLICED;
        }
    }
    if (mg_loop_is_wide(io->loop) && io->handler && io->handler->prefetch) {
        io->handler->prefetch(io->context);
    }
    const size_t room = io->read_bytes;
    char *bytes = io->loop->read_buffer;
    bool is_cut;
    const ssize_t count =
        mg_socket_receive(io->watch.fd, bytes, room, io->flags & MG_IO_UNIX, &is_cut);
    if (count == -EAGAIN) {
        io->flags &= (uint8_t)~MG_IO_READABLE;
        return false;
    }
    if (count <= 0) {
        mg_io_end_reading(io, count == 0 ? MG_ECLOSED : (int)count);
        return false;
    }
    mg_loop_wake(io->loop);
    /* less than asked for: the kernel had no more, and will tell of what comes */
    if ((size_t)count < room && !is_cut && !(io->flags & MG_IO_READS_ALL)) {
        io->flags &= (uint8_t)~MG_IO_READABLE;
    }
    io->bytes_in += (uint64_t)count;
    mg_io_splice_copied(io, (size_t)count);
    const mg_str got = mg_str_make(bytes, (size_t)count);
    io->filter ? io->filter->on_data(io->filter_context, got) : mg_io_deliver(io, got);
    return true;
}

static void read_some(struct mg_io *io)
{
    if (io->turn != (uint32_t)io->loop->turn) {
        io->turn = (uint32_t)io->loop->turn;
        io->reads = 0;
    }
    while ((io->flags & (MG_IO_READING | MG_IO_READABLE | MG_IO_CLOSING)) ==
           (MG_IO_READING | MG_IO_READABLE)) {
        if (io->reads >= READS_PER_TURN) {
            mg_loop_resume_later(io->loop, &io->task);
            return;
        }
        io->reads++;
        if (!read_once(io)) {
            return;
        }
    }
}

void mg_io_read_start(struct mg_io *io)
{
    if (io->flags & (MG_IO_READING | MG_IO_ENDED | MG_IO_CLOSING)) {
        return;
    }
    io->flags |= MG_IO_READING;
    if (io->flags & MG_IO_READABLE) {
        mg_loop_resume_later(io->loop, &io->task);
    }
    if (io->filter) {
        io->filter->on_resume(io->filter_context);
    }
}

void mg_io_read_stop(struct mg_io *io)
{
    io->flags &= (uint8_t)~MG_IO_READING;
}

bool mg_io_is_reading(const struct mg_io *io)
{
    return io->flags & MG_IO_READING;
}

bool mg_io_is_reusable(const struct mg_io *io)
{
    return !(io->flags & (MG_IO_ENDED | MG_IO_SHUTDOWN | MG_IO_CLOSING)) && !io->queue &&
           !io->splice && !io->write_error;
}

int mg_io_look(const struct mg_io *io)
{
    char byte;
    if (io->flags & (MG_IO_ENDED | MG_IO_CLOSING)) {
        return MG_ECLOSED;
    }
    const ssize_t count = recv(io->watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (count < 0) {
        return errno == EAGAIN ? 0 : -errno;
    }
    return count > 0 ? 1 : MG_ECLOSED;
}

bool mg_io_is_told(const struct mg_io *io)
{
    return io->watch.place > 0 || io->flags & MG_IO_READABLE;
}

void mg_io_set_read_size(struct mg_io *io, size_t bytes)
{
    io->read_bytes = bytes < MG_READ_BYTES ? (uint32_t)bytes : MG_READ_BYTES;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void send_fin(const struct mg_io *io)
{
    (void)shutdown(io->watch.fd, SHUT_WR);
}

/* All is written, or writing failed. */
static void end_queue(struct mg_io *io, int status)
{
    mg_write_queue_free(io->queue);
    io->queue = NULL;
    io->write_error = (int16_t)status;
    if (io->flags & MG_IO_UNIX) { /* would be told after each read of the peer */
        io->flags &= (uint8_t)~MG_IO_TELLS_ROOM;
        mg_loop_rewatch(io->loop, &io->watch, EVENTS);
    }
    if (io->lingering && status) {
        mg_io_close(io);
        return;
    }
    if (io->flags & MG_IO_SHUTDOWN && status == 0) {
        send_fin(io);
    }
    if (!io->lingering && io->handler && io->handler->on_drain) {
        io->handler->on_drain(io->context, status);
    }
}

static void on_again(struct mg_deadline *deadline);

static void write_again(struct mg_io *io)
{
    io->queue->owner = io;
    mg_deadline_arm(mg_deadlines_class(&io->loop->deadlines, MG_IO_NO_MEMORY_MS), &io->queue->again,
                    on_again, mg_loop_now_ms(io->loop));
}

/* 0, or why writing is over. */
static int write_queued(struct mg_io *io)
{
    struct mg_write_queue *queue = io->queue;
    struct iovec part = {.iov_base = queue->bytes + queue->begin,
                         .iov_len = mg_write_queue_bytes(queue)};
    const ssize_t taken = mg_socket_send(io->watch.fd, &part, 1);
    if (taken == -ENOBUFS) {
        write_again(io);
        return 0;
    }
    queue->begin += taken > 0 ? (size_t)taken : 0;
    return taken < 0 ? (int)taken : 0;
}

/* What was spliced came before what is queued. */
void mg_io_write_waiting(struct mg_io *io)
{
    int err = mg_io_splice_on(io);
    if (!err && io->queue && mg_io_waiting_in_pipe(io) == 0) {
        err = write_queued(io);
    }
    if (err || mg_io_queued(io) == 0) {
        end_queue(io, err);
    }
}

void mg_io_watch_room(struct mg_io *io)
{
    if (!(io->flags & MG_IO_TELLS_ROOM)) {
        io->flags |= MG_IO_TELLS_ROOM;
        mg_loop_rewatch(io->loop, &io->watch, EVENTS | EPOLLOUT);
    }
}

static void on_again(struct mg_deadline *deadline)
{
    mg_io_write_waiting(MG_CONTAINER(deadline, struct mg_write_queue, again)->owner);
}

/* What is behind the first skip bytes follows what waits. */
static void queue_rest(struct mg_io *io, const mg_str *parts, size_t count, size_t skip)
{
    if (!io->queue) {
        io->queue = mg_write_queue_new();
        mg_io_watch_room(io);
    }
    mg_write_queue_put(io->queue, parts, count, skip);
}

int mg_io_writable(const struct mg_io *io)
{
    if (io->flags & MG_IO_CLOSING) {
        return MG_ECLOSED;
    }
    return io->flags & MG_IO_SHUTDOWN ? UV_EPIPE : io->write_error;
}

int mg_io_write(struct mg_io *io, const mg_str *parts, size_t count)
{
    const int err = io->filter ? mg_io_writable(io) : 0;
    return err          ? err
           : io->filter ? io->filter->write(io->filter_context, parts, count)
                        : mg_io_write_raw(io, parts, count);
}

int mg_io_write_raw(struct mg_io *io, const mg_str *parts, size_t count)
{
    mg_require(count <= MG_IO_PARTS);
    struct iovec buffers[MG_IO_PARTS];
    size_t used = 0, total = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len > 0) {
            /* the kernel's type has no const; it does not write there */
            buffers[used++] =
                (struct iovec){.iov_base = (char *)parts[i].ptr, .iov_len = parts[i].len};
            total += parts[i].len;
        }
    }
    const int err = mg_io_writable(io);
    if (err || used == 0) {
        return err;
    }
    const ssize_t taken = mg_io_queued(io) > 0 ? 0 : mg_socket_send(io->watch.fd, buffers, used);
    if (taken < 0 && taken != -ENOBUFS) {
        io->write_error = (int16_t)taken;
        return (int)taken;
    }
    if (taken < 0 || (size_t)taken < total) {
        queue_rest(io, parts, count, taken < 0 ? 0 : (size_t)taken);
    }
    if (taken < 0) {
        write_again(io);
    }
    io->bytes_out += total;
    return 0;
}

size_t mg_io_queued(const struct mg_io *io)
{
    return (io->queue ? mg_write_queue_bytes(io->queue) : 0) + mg_io_waiting_in_pipe(io);
}

void mg_io_end_filter(struct mg_io *io)
{
    if (io->filter && !mg_io_writable(io)) {
        io->filter->end(io->filter_context);
    }
}

void mg_io_shutdown(struct mg_io *io)
{
    if (io->flags & (MG_IO_SHUTDOWN | MG_IO_CLOSING)) {
        return;
    }
    mg_io_end_filter(io);
    io->flags |= MG_IO_SHUTDOWN;
    if (mg_io_queued(io) == 0 && !io->write_error) {
        send_fin(io);
    }
}

/* --- events ----------------------------------------------------------------------------------- */

static void on_resume(struct mg_loop_task *task)
{
    struct mg_io *io = MG_CONTAINER(task, struct mg_io, task);
    mg_loop_wake(io->loop);
    read_some(io);
    if (mg_io_waiting_in_pipe(io) > 0) { /* it could not tell of an error in another's turn */
        mg_io_write_waiting(io);
    }
}

static void on_ready(struct mg_watch *watch, uint32_t events)
{
    struct mg_io *io = MG_CONTAINER(watch, struct mg_io, watch);
    const bool is_broken = events & (EPOLLERR | EPOLLHUP);
    mg_loop_wake(io->loop);
    if (is_broken || events & (EPOLLIN | EPOLLRDHUP)) {
        io->flags |= MG_IO_READABLE;
    }
    if (is_broken || events & (EPOLLRDHUP | EPOLLPRI)) {
        io->flags |= MG_IO_READS_ALL;
    }
    if (io->connecting) {
        if (is_broken || events & EPOLLOUT) {
            end_connecting(io);
        }
        return;
    }
    read_some(io);
    if ((is_broken || events & EPOLLOUT) && mg_io_queued(io) > 0) {
        mg_io_write_waiting(io);
    }
}

/* --- facts ------------------------------------------------------------------------------------ */

void mg_io_local(const struct mg_io *io, struct mg_address *address)
{
    mg_address_of(io->watch.fd, false, address);
}

void mg_io_peer(const struct mg_io *io, struct mg_address *address)
{
    mg_address_of(io->watch.fd, true, address);
}

uint64_t mg_io_bytes_in(const struct mg_io *io)
{
    return io->bytes_in;
}

uint64_t mg_io_bytes_out(const struct mg_io *io)
{
    return io->bytes_out;
}
