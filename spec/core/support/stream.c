/* SPDX-License-Identifier: Apache-2.0 */
/* A stream under test. */
#include "support/stream.h"

#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void close_in_many_ways(struct mg_io *io)
{
    const mg_str part = MG_STR("x");
    mg_io_close(io);
    mg_io_close(io);
    mg_io_reset(io);
    mg_io_close_lingering(io, 10);
    mg_io_shutdown(io);
    mg_io_read_start(io);
    mg_io_read_stop(io);
    assert_int_equal(mg_io_write(io, &part, 1), MG_ECLOSED);
}

static void on_data(void *context, mg_str bytes)
{
    struct stream *f = context;
    assert_false(f->is_closed);
    f->data++;
    f->largest = bytes.len > f->largest ? bytes.len : f->largest;
    f->last_bytes = bytes.len < sizeof f->last ? bytes.len : sizeof f->last;
    memcpy(f->last, bytes.ptr, f->last_bytes);
    if (f->stop_in_data) {
        mg_io_read_stop(f->io);
    }
    if (f->close_in_data) {
        close_in_many_ways(f->io);
    }
}

static void on_end(void *context, int status)
{
    struct stream *f = context;
    f->ends++;
    f->end_status = status;
}

static void on_drain(void *context, int status)
{
    struct stream *f = context;
    f->drains++;
    f->drain_status = status;
}

static void on_closed(void *context)
{
    struct stream *f = context;
    f->closed++;
    f->is_closed = true;
}

const struct mg_io_handler stream_handler = {
    .on_data = on_data, .on_end = on_end, .on_drain = on_drain, .on_closed = on_closed};

void stream_open_loop(struct stream *f, bool is_virtual)
{
    *f = (struct stream){.peer = -1};
    assert_int_equal(is_virtual ? mg_loop_open_virtual(&f->loop, 0) : mg_loop_open(&f->loop), 0);
}

void stream_open(struct stream *f, bool is_unix)
{
    int fds[2];
    if (is_unix) {
        sockets_unix_pair(fds);
    } else {
        sockets_tcp_pair(fds);
    }
    f->peer = fds[1];
    assert_int_equal(mg_io_new_fd(&f->io, &f->loop, fds[0], is_unix), 0);
    mg_io_set_handler(f->io, &stream_handler, f);
    mg_io_read_start(f->io);
}

void stream_close_peer(struct stream *f)
{
    if (f->peer >= 0) {
        close(f->peer);
        f->peer = -1;
    }
}

void stream_close_all(struct stream *f)
{
    mg_io_close(f->io);
    sockets_run_until_set(&f->loop, &f->is_closed);
    stream_close_peer(f);
    mg_loop_close(&f->loop);
    assert_int_equal(f->closed, 1);
}

void stream_run_quiet(struct stream *f)
{
    while (mg_loop_turn(&f->loop)) {
    }
}

bool stream_has_ended(void *context)
{
    return ((struct stream *)context)->ends > 0;
}

bool stream_has_data(void *context)
{
    return ((struct stream *)context)->data > 0;
}

void stream_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

int stream_write(struct mg_io *io, const char *text)
{
    const mg_str part = mg_str_from(text);
    return mg_io_write(io, &part, 1);
}

void stream_expect(int fd, const char *text)
{
    char bytes[64];
    size_t got = 0;
    while (got < strlen(text)) {
        sockets_wait_readable(fd);
        const ssize_t count = recv(fd, bytes + got, sizeof bytes - got, 0);
        assert_true(count > 0);
        got += (size_t)count;
    }
    assert_memory_equal(bytes, text, strlen(text));
    assert_int_equal(got, strlen(text));
}

void stream_expect_eof(int fd)
{
    char byte;
    sockets_wait_readable(fd);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

/* Byte i of the stream that the slow reader checks. */
static char pattern(uint64_t i)
{
    return (char)((i * 31 + i / 4096) & 0xff);
}

void stream_write_pattern(struct stream *f, uint64_t *written)
{
    char *bytes = malloc(STREAM_PIECE_BYTES);
    assert_non_null(bytes);
    for (size_t i = 0; i < STREAM_PIECE_BYTES; i++) {
        bytes[i] = pattern(*written + i);
    }
    const mg_str parts[] = {mg_str_make(bytes, 7), mg_str_make(bytes + 7, STREAM_PIECE_BYTES - 7)};
    assert_int_equal(mg_io_write(f->io, parts, 2), 0);
    *written += STREAM_PIECE_BYTES;
    free(bytes);
}

/* Reads what is there; checks it. */
void stream_read_pattern(int fd, uint64_t *got)
{
    char bytes[16384];
    ssize_t count = recv(fd, bytes, sizeof bytes, 0);
    while (count > 0) {
        for (ssize_t i = 0; i < count; i++) {
            assert_int_equal(bytes[i], pattern(*got + (uint64_t)i));
        }
        *got += (uint64_t)count;
        count = recv(fd, bytes, sizeof bytes, 0);
    }
    assert_int_equal(errno, EAGAIN);
}

void stream_fill_queue(struct stream *f, uint64_t *written)
{
    while (mg_io_queued(f->io) == 0) {
        stream_write_pattern(f, written);
        stream_run_quiet(f);
    }
    stream_write_pattern(f, written);
    f->drains = 0; /* the kernel may have taken more while it enlarged its buffers */
}
