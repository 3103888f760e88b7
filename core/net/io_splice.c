/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that go from one stream to another without being seen: socket -> pipe -> socket, with
 * splice(2). The kernel moves references to its pages; nothing is copied.
 *
 * A pipe is filled only while it is empty and nothing is queued before it, so bytes keep their
 * order, and EAGAIN of the socket's side always means the socket. It is filled with what its reader
 * has room for, so that a slow one leaves no more waiting than with copied bytes.
 */
/* NOLINTNEXTLINE(bugprone-reserved-identifier): the C library has named it */
#define _GNU_SOURCE /* splice */
#include "net/io.h"
#include "net/io_state.h"

#include <fcntl.h>
#include <linux/sock_diag.h>
#include <stdlib.h>
#include <sys/socket.h>

#define READS_OF_ONE 3 /* that one more counts for: it takes as many bytes as four */

static bool is_plain(const struct mg_io *io)
{
    return !io->filter && !io->splice && !io->connecting && !io->lingering &&
           !(io->flags & (MG_IO_UNIX | MG_IO_CLOSING));
}

bool mg_io_splice(struct mg_io *from, struct mg_io *to, uint64_t bytes)
{
    if (bytes == 0 || from->loop->pipes.is_off || !is_plain(from) || !is_plain(to) ||
        mg_io_writable(to)) {
        return false;
    }
    struct mg_splice *pair = malloc(sizeof *pair);
    mg_require(pair != NULL);
    *pair = (struct mg_splice){.from = from, .to = to, .left = bytes};
    mg_deadline_init(&pair->again);
    from->splice = to->splice = pair;
    return true;
}

bool mg_io_is_splicing(const struct mg_io *io)
{
    return io->splice != NULL;
}

static struct mg_pipes *pipes_of(const struct mg_io *io)
{
    return &io->loop->pipes;
}

/* The one that gives takes part no more; the other does as long as bytes wait for it. */
static void end_giving(struct mg_splice *pair)
{
    if (pair->from) {
        pair->from->splice = NULL;
        pair->from = NULL;
    }
    if (pair->waiting == 0) {
        pair->to->splice = NULL;
        mg_deadline_cancel(&pair->again);
        free(pair);
    }
}

static void on_again(struct mg_deadline *deadline)
{
    mg_io_write_waiting(MG_CONTAINER(deadline, struct mg_splice, again)->to);
}

static void give_later(struct mg_splice *pair)
{
    struct mg_loop *loop = pair->to->loop;
    mg_deadline_cancel(&pair->again);
    mg_deadline_arm(mg_deadlines_class(&loop->deadlines, MG_IO_NO_MEMORY_MS), &pair->again,
                    on_again, mg_loop_now_ms(loop));
}

/* From the pipe to the socket, as far as it has room. 0, or why writing is over. */
static int give(struct mg_splice *pair)
{
    struct mg_io *to = pair->to;
    struct mg_pipe *pipe = pair->pipe;
    while (pair->waiting > 0) {
        const ssize_t given = splice(pipe->read_fd, NULL, to->watch.fd, NULL, pair->waiting,
                                     SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (given > 0) {
            pair->waiting -= (size_t)given;
        } else if (given < 0 && errno == EAGAIN) {
            mg_io_watch_room(to);
            return 0;
        } else if (given < 0 && (errno == ENOBUFS || errno == ENOMEM)) {
            give_later(pair);
            return 0;
        } else if (given == 0 || errno != EINTR) {
            return given == 0 ? MG_ECLOSED : -errno;
        }
    }
    mg_deadline_cancel(&pair->again);
    mg_pipes_put(pipes_of(to), pipe, 0);
    pair->pipe = NULL;
    return 0;
}

/* What waits is lost. */
static void drop_waiting(struct mg_splice *pair)
{
    mg_deadline_cancel(&pair->again);
    if (pair->pipe) {
        mg_pipes_put(pipes_of(pair->to), pair->pipe, pair->waiting);
        pair->pipe = NULL;
        pair->waiting = 0;
    }
}

int mg_io_splice_on(struct mg_io *io)
{
    struct mg_splice *pair = io->splice;
    if (mg_io_waiting_in_pipe(io) == 0) {
        return 0;
    }
    const int err = give(pair);
    if (err) {
        drop_waiting(pair);
    }
    if (!pair->from && pair->waiting == 0) {
        end_giving(pair);
    }
    return err;
}

/* What the kernel takes from a writer at once, by its own account; the rest is its bookkeeping. */
static size_t room_of(const struct mg_io *to)
{
    uint32_t facts[SK_MEMINFO_VARS] = {0};
    socklen_t length = sizeof facts;
    if (getsockopt(to->watch.fd, SOL_SOCKET, SO_MEMINFO, facts, &length)) {
        return MG_IO_READ_BYTES;
    }
    const uint32_t most = facts[SK_MEMINFO_SNDBUF], used = facts[SK_MEMINFO_WMEM_QUEUED];
    const size_t room = most > used ? (size_t)(most - used) / 8 * 7 : 0;
    return room > MG_IO_READ_BYTES ? room : MG_IO_READ_BYTES;
}

/* From the socket into an empty pipe. How many bytes, 0: the end, or -1 with errno. */
static ssize_t take(struct mg_splice *pair, const struct mg_pipe *pipe)
{
    const size_t room = room_of(pair->to);
    const size_t fits = room < pipe->bytes ? room : pipe->bytes;
    const size_t most = pair->left < fits ? (size_t)pair->left : fits;
    ssize_t taken;
    do {
        taken = splice(pair->from->watch.fd, NULL, pipe->write_fd, NULL, most,
                       SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    } while (taken < 0 && errno == EINTR);
    return taken;
}

/* Nothing was taken. What may be an end, urgent data or a socket that cannot do this is left to a
 * plain read. */
static enum mg_io_spliced after_nothing(struct mg_io *io, ssize_t taken)
{
    if (taken < 0 && errno == EAGAIN && !(io->flags & MG_IO_READS_ALL)) {
        io->flags &= (uint8_t)~MG_IO_READABLE;
        return MG_IO_NOTHING;
    }
    if (taken < 0 && (errno == EINVAL || errno == ENOSYS || errno == EPERM)) {
        pipes_of(io)->is_off = true; /* a sandbox, another kernel */
        end_giving(io->splice);
    } else if (taken < 0 && errno != EAGAIN && errno != ENOMEM && errno != ENOBUFS) {
        mg_io_end_reading(io, -errno); /* the kernel tells of an error once */
        return MG_IO_NOTHING;
    }
    return MG_IO_COPY;
}

enum mg_io_spliced mg_io_splice_once(struct mg_io *io)
{
    struct mg_splice *pair = io->splice;
    struct mg_io *to = pair->to;
    struct mg_pipe *pipe =
        mg_io_queued(to) > 0 || mg_io_writable(to) ? NULL : mg_pipes_take(pipes_of(io));
    if (!pipe) {
        return MG_IO_COPY;
    }
    const ssize_t taken = take(pair, pipe);
    if (taken <= 0) {
        const int err = errno;
        mg_pipes_put(pipes_of(io), pipe, 0);
        errno = err;
        return after_nothing(io, taken);
    }
    mg_loop_wake(io->loop);
    io->reads += READS_OF_ONE;
    io->bytes_in += (uint64_t)taken;
    to->bytes_out += (uint64_t)taken;
    pair->pipe = pipe;
    pair->waiting = (size_t)taken;
    pair->left -= (uint64_t)taken;
    if (give(pair)) { /* told in its own turn */
        mg_loop_resume_later(to->loop, &to->task);
    }
    if (pair->left == 0) {
        end_giving(pair);
    }
    if (io->handler && io->handler->on_spliced) {
        io->handler->on_spliced(io->context, (size_t)taken);
    }
    return MG_IO_SPLICED;
}

void mg_io_splice_copied(struct mg_io *io, size_t bytes)
{
    if (mg_io_gives_by_splice(io)) {
        struct mg_splice *pair = io->splice;
        pair->left -= bytes < pair->left ? bytes : pair->left;
        if (pair->left == 0) {
            end_giving(pair);
        }
    }
}

void mg_io_splice_stop(struct mg_io *from)
{
    if (mg_io_gives_by_splice(from)) {
        end_giving(from->splice);
    }
}

void mg_io_splice_leave(struct mg_io *io)
{
    struct mg_splice *pair = io->splice;
    if (pair && pair->to == io) {
        drop_waiting(pair);
        end_giving(pair);
    } else {
        mg_io_splice_stop(io);
    }
}
