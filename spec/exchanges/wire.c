/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that cut and dawdle. */
#include "wire.h"

#include "base/err.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>

enum { SMALL_PIECES = 40, READ_BYTES = 64 * 1024, HANDLES = 3 };

/* A window that is smaller than a segment is filled by a timer only; those of loopback have 64
 * KB. */
enum { SEGMENT_BYTES = 1400, NARROW_BYTES = 8 * 1024 };

static void pull(struct wire *wire);

static void on_handle_closed(uv_handle_t *handle)
{
    struct wire *wire = handle->data;
    if (--wire->open_handles == 0) {
        free(wire->piece);
        free(wire->input);
        wire->user->on_closed(wire->context);
    }
}

void wire_init(struct wire *wire, uv_loop_t *loop, unsigned family, const struct wire_user *user,
               void *context)
{
    *wire = (struct wire){.user = user, .context = context, .open_handles = HANDLES};
    wire->piece = malloc(WIRE_PIECE);
    wire->input = malloc(READ_BYTES);
    mg_require(wire->piece != NULL && wire->input != NULL);
    mg_require(uv_tcp_init_ex(loop, &wire->tcp, family) == 0);
    mg_require(uv_timer_init(loop, &wire->write_pause) == 0);
    mg_require(uv_timer_init(loop, &wire->read_pause) == 0);
    wire->tcp.data = wire->write_pause.data = wire->read_pause.data = wire;
}

void wire_close(struct wire *wire)
{
    if (!wire->is_closing) {
        wire->is_closing = true;
        uv_close((uv_handle_t *)&wire->tcp, on_handle_closed);
        uv_close((uv_handle_t *)&wire->write_pause, on_handle_closed);
        uv_close((uv_handle_t *)&wire->read_pause, on_handle_closed);
    }
}

/* --- reading --- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    const struct wire *wire = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(wire->input, READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer);

static void on_read_pause(uv_timer_t *timer)
{
    struct wire *wire = timer->data;
    uv_read_start((uv_stream_t *)&wire->tcp, on_alloc, on_read);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct wire *wire = stream->data;
    if (count < 0) {
        uv_read_stop(stream);
        wire->user->on_end(wire->context, count == UV_EOF ? 0 : (int)count);
        return;
    }
    if (count > 0 && dice_chance(&wire->dice, wire->is_narrow ? 50 : 5)) {
        uv_read_stop(stream);
        uv_timer_start(&wire->read_pause, on_read_pause, dice_between(&wire->dice, 1, 5), 0);
    }
    if (count > 0) {
        wire->user->on_bytes(wire->context, mg_str_make(buffer->base, (size_t)count));
    }
}

void wire_use_small_segments(const uv_tcp_t *tcp)
{
    const int bytes = SEGMENT_BYTES;
    int fd = -1;
    uv_fileno((const uv_handle_t *)tcp, &fd);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &bytes, sizeof bytes);
}

void wire_narrow(struct wire *wire)
{
    int bytes = NARROW_BYTES;
    wire->is_narrow = true;
    wire_use_small_segments(&wire->tcp);
    uv_recv_buffer_size((uv_handle_t *)&wire->tcp, &bytes);
}

void wire_start(struct wire *wire, struct dice dice)
{
    wire->dice = dice;
    uv_tcp_nodelay(&wire->tcp, 1);
    uv_read_start((uv_stream_t *)&wire->tcp, on_alloc, on_read);
    wire_kick(wire);
}

/* --- writing --- */

static size_t piece_bytes(struct wire *wire)
{
    if (wire->cut == CUT_NOT || wire->small_pieces == 0) {
        return WIRE_PIECE;
    }
    wire->small_pieces--;
    return wire->cut == CUT_TINY ? dice_between(&wire->dice, 1, 6)
                                 : (size_t)dice_bits(&wire->dice, 14) + 1;
}

static void on_write_pause(uv_timer_t *timer)
{
    struct wire *wire = timer->data;
    wire->is_writing = false;
    pull(wire);
}

static void on_written(uv_write_t *write, int status)
{
    struct wire *wire = write->data;
    if (status != 0 || wire->is_closing) {
        return; /* the reading side says what happened; is_writing stays: no more of it */
    }
    if (wire->small_pieces > 0 && dice_chance(&wire->dice, 30)) {
        uv_timer_start(&wire->write_pause, on_write_pause, dice_between(&wire->dice, 1, 2), 0);
        return;
    }
    wire->is_writing = false;
    pull(wire);
}

static void on_shutdown(uv_shutdown_t *shutdown, int status)
{
    (void)shutdown;
    (void)status;
}

static void end_writing(struct wire *wire)
{
    if (!wire->is_ended && !wire->is_closing) {
        wire->is_ended = true;
        uv_shutdown(&wire->shutdown, (uv_stream_t *)&wire->tcp, on_shutdown);
    }
}

static void pull(struct wire *wire)
{
    if (wire->is_writing || wire->is_closing || wire->is_ended) {
        return;
    }
    const size_t count =
        wire->wants_end ? 0 : wire->user->pull(wire->context, wire->piece, piece_bytes(wire));
    if (count == 0 && wire->wants_end) {
        end_writing(wire);
    }
    if (count == 0 || wire->is_closing) {
        return;
    }
    const uv_buf_t buffer = uv_buf_init(wire->piece, (unsigned)count);
    wire->write.data = wire;
    wire->is_writing =
        uv_write(&wire->write, (uv_stream_t *)&wire->tcp, &buffer, 1, on_written) == 0;
}

void wire_cut(struct wire *wire, enum cut cut)
{
    wire->cut = cut;
    wire->small_pieces = cut == CUT_NOT ? 0 : SMALL_PIECES;
}

void wire_kick(struct wire *wire)
{
    pull(wire);
}

void wire_end(struct wire *wire)
{
    wire->wants_end = true;
    if (!wire->is_writing) {
        end_writing(wire);
    }
}
