/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ends of a stream: at once, by a reset, or after the peer has read our last words. Its memory
 * goes at the end of the turn, when nobody on the stack uses it any more.
 */
#include "net/io.h"
#include "net/io_state.h"

#include <netinet/in.h>
#include <stdlib.h>

static void on_closed(struct mg_loop_task *task)
{
    struct mg_io *io = MG_CONTAINER(task, struct mg_io, task);
    mg_loop_wake(io->loop);
    if (io->handler && io->handler->on_closed) {
        io->handler->on_closed(io->context);
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
    io->flags |= MG_IO_CLOSING;
    io->flags &= (uint8_t)~MG_IO_READING;
    free_lingering(io);
    mg_io_splice_leave(io);
    mg_write_queue_free(io->queue);
    io->queue = NULL;
    free(io->connecting);
    io->connecting = NULL;
    mg_loop_close_watched(io->loop, &io->watch);
    mg_link_remove(&io->task.link);
    io->task.fn = on_closed;
    mg_loop_end_later(io->loop, &io->task);
}

void mg_io_close(struct mg_io *io)
{
    if (!(io->flags & MG_IO_CLOSING)) {
        mg_io_end_filter(io);
        close_now(io);
    }
}

void mg_io_reset(struct mg_io *io)
{
    if (io->flags & MG_IO_CLOSING) {
        return;
    }
    if (!(io->flags & MG_IO_UNIX)) {
        const struct linger linger = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(io->watch.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    close_now(io);
}

static void on_linger_timeout(struct mg_deadline *deadline)
{
    mg_io_close(MG_CONTAINER(deadline, struct mg_io_lingering, deadline)->io);
}

static void on_loop_close(struct mg_loop_closer *closer)
{
    mg_io_close(MG_CONTAINER(closer, struct mg_io_lingering, closer)->io);
}

void mg_io_close_lingering(struct mg_io *io, uint64_t linger_ms)
{
    if (io->flags & MG_IO_CLOSING || io->lingering) {
        return;
    }
    if (io->flags & MG_IO_ENDED || io->write_error || linger_ms == 0) {
        mg_io_close(io);
        return;
    }
    struct mg_loop *loop = io->loop;
    struct mg_io_lingering *lingering = malloc(sizeof *lingering);
    mg_require(lingering != NULL);
    *lingering = (struct mg_io_lingering){.io = io, .closer.fn = on_loop_close};
    mg_deadline_init(&lingering->deadline);
    mg_link_init(&lingering->closer.link);
    mg_list_append(&loop->closers, &lingering->closer.link);
    mg_deadline_arm(mg_deadlines_class(&loop->deadlines, linger_ms), &lingering->deadline,
                    on_linger_timeout, mg_loop_now_ms(loop));
    io->lingering = lingering;
    mg_io_splice_stop(io);
    mg_io_shutdown(io);
    mg_io_read_start(io);
}
