/* SPDX-License-Identifier: Apache-2.0 */
/* A stream gets what it takes once per loop turn. A file is written by libuv's pool: at once after
 * a quiet time, else BATCH_MS after the write before or when there is much, since each write wakes
 * a thread. */
#include "net/sink_local.h"

#include "net/sink_file.h"
#include "net/sink_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define RETRY_STREAM_MS 20 /* until a reader that was too slow is tried again */
#define RETRY_FILE_MS 500  /* until a file that failed is; back within 1 s of the cause's end */
#define BATCH_MS 20        /* lines of a file wait for others so long at most */
#define BATCH_BYTES MG_SINK_FILE_BYTES

struct local_sink {
    struct mg_sink sink;
    bool is_file; /* file below, else stream */
    struct mg_sink_stream stream;
    struct mg_sink_file file;
    bool reopen;                /* asked for; file.reopen belongs to the job */
    uint64_t written_ms;        /* when the last job began */
    struct mg_deadline batched; /* armed: the next one is due then */
};

static struct local_sink *local_of(const struct mg_sink *sink)
{
    return MG_CONTAINER(sink, struct local_sink, sink);
}

/* --- opening --- */

/* Files go through the pool; pipes, terminals and devices are written at once. */
static void sort_out(struct local_sink *local)
{
    struct stat about;
    if (fstat(local->file.fd, &about) == 0 && !S_ISREG(about.st_mode)) {
        mg_sink_stream_take(&local->stream, local->file.fd);
        free(local->file.path);
        local->file.path = NULL;
        return;
    }
    local->is_file = true;
}

static int open_path(struct local_sink *local, char *message, size_t message_bytes)
{
    const struct mg_sink_settings *settings = &local->sink.settings;
    const int err =
        mg_sink_file_open(&local->file, settings->path, settings->mode, settings->reopen_check_ms);
    if (err) {
        snprintf(message, message_bytes, "cannot open the log file %s: %s", settings->path.ptr,
                 err == -ENXIO ? "nobody reads this pipe" : mg_err_text(err));
        return err;
    }
    sort_out(local);
    return 0;
}

/* Standard output or error. A file there is shared with its position, so it is not opened anew. */
static void open_standard(struct local_sink *local, int fd)
{
    struct stat about;
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode)) {
        const int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (own >= 0) {
            mg_sink_file_take(&local->file, own);
            local->is_file = true;
            return;
        }
    }
    mg_sink_stream_open(&local->stream, fd);
}

static int open_local(struct mg_sink *sink, char *message, size_t message_bytes)
{
    struct local_sink *local = local_of(sink);
    mg_deadline_init(&local->batched);
    const enum mg_sink_kind kind = sink->settings.kind;
    if (kind == MG_SINK_FILE) {
        const int err = open_path(local, message, message_bytes);
        if (err) {
            return err;
        }
    } else {
        open_standard(local, kind == MG_SINK_STDOUT ? STDOUT_FILENO : STDERR_FILENO);
    }
    sink->name = kind == MG_SINK_STDOUT   ? MG_STR("stdout")
                 : kind == MG_SINK_STDERR ? MG_STR("stderr")
                                          : sink->settings.path;
    if (!local->is_file) {
        sink->line_bytes = MG_SINK_PIPE_BYTES;
    }
    return 0;
}

static void close_local(struct mg_sink *sink)
{
    struct local_sink *local = local_of(sink);
    mg_deadline_cancel(&local->batched);
    if (local->is_file) {
        mg_sink_file_close(&local->file);
    } else {
        mg_sink_stream_close(&local->stream);
    }
}

/* --- streams --- */

/* The records of loss: 0 when there are none, or they are written. */
static int write_losses(struct local_sink *local)
{
    struct mg_sink *sink = &local->sink;
    char text[MG_SINK_LOSS_BYTES];
    const size_t length = mg_sink_queue_loss_text(&sink->queue, sink->name, text);
    if (length == 0 || sink->queue.partial) {
        return 0;
    }
    const ssize_t n = mg_sink_stream_write(&local->stream, mg_str_make(text, length));
    if (n < 0) {
        return (int)n;
    }
    struct mg_sink_loss told[MG_SINK_REASONS];
    memcpy(told, sink->queue.losses, sizeof told);
    mg_sink_queue_loss_told(&sink->queue, told);
    return 0;
}

static void flush_stream(struct local_sink *local)
{
    struct mg_sink *sink = &local->sink;
    struct mg_sink_queue *queue = &sink->queue;
    const uint64_t begun_us = mg_sink_now_us();
    ssize_t n = write_losses(local);
    while (n >= 0 && queue->bytes.len > 0) {
        n = mg_sink_stream_write(&local->stream,
                                 mg_sink_queue_piece(&queue->bytes, MG_SINK_PIPE_BYTES));
        if (n > 0) {
            mg_sink_queue_wrote(queue, &queue->bytes, (size_t)n);
        }
    }
    if (n == MG_EAGAIN) {
        mg_sink_retry_later(sink, RETRY_STREAM_MS);
    } else if (n < 0) { /* nobody reads any more */
        mg_sink_queue_drop_all(queue, MG_SINK_REFUSED, mg_sink_wall_ms(sink));
    } else {
        mg_sink_part_flushed(sink->part, mg_sink_now_us() - begun_us);
    }
    mg_sink_set_down(sink, n < 0);
}

/* --- files --- */

static void account_file(struct local_sink *local)
{
    struct mg_sink *sink = &local->sink;
    const struct mg_sink_file *file = &local->file;
    mg_sink_wrote(sink, file->lead_done, file->data_done);
    sink->queue.full_reason = file->err ? MG_SINK_DISK : MG_SINK_QUEUE_FULL;
    local->reopen = local->reopen || file->reopen;
    if (!file->err) {
        mg_sink_part_flushed(sink->part, mg_sink_now_us() - sink->begun_us);
    }
    mg_sink_set_down(sink, file->err != 0);
    mg_sink_tell_error(sink, file->err, "lines wait, then the oldest are lost and counted");
}

static void on_file_done(void *context)
{
    struct local_sink *local = context;
    if (!local->sink.sinks) {
        return; /* too late, see mg_sinks_close */
    }
    account_file(local);
    if (local->sink.err && !local->sink.sinks->closing) {
        mg_sink_retry_later(&local->sink, RETRY_FILE_MS);
    }
}

static void prepare_file(struct local_sink *local)
{
    struct mg_sink *sink = &local->sink;
    mg_sink_queue_fill_batch(&sink->queue);
    mg_sink_begin(sink);
    local->file.lead = mg_str_make(sink->lead, sink->lead_len);
    local->file.data = mg_buf_view(&sink->queue.batch);
    local->file.reopen = local->reopen;
    local->reopen = false;
}

/* The turn that follows flushes. */
static void on_batched(struct mg_deadline *deadline)
{
    (void)deadline;
}

static bool is_due(const struct local_sink *local)
{
    const struct mg_sink_queue *queue = &local->sink.queue;
    const struct mg_loop *loop = mg_sink_loop(&local->sink);
    return local->reopen || loop->clock.is_virtual ||
           mg_loop_now_ms(loop) - local->written_ms >= BATCH_MS ||
           queue->bytes.len >= BATCH_BYTES || queue->bytes.len >= queue->max_bytes / 2 ||
           queue->counts.queued >= queue->max_entries / 2;
}

static void flush_file(struct local_sink *local)
{
    struct mg_sink *sink = &local->sink;
    struct mg_loop *loop = mg_sink_loop(sink);
    if (local->file.busy || (mg_sink_queue_is_empty(&sink->queue) && !local->reopen)) {
        return;
    }
    if (!is_due(local)) {
        if (!mg_deadline_armed(&local->batched)) {
            mg_deadline_arm(mg_deadlines_class(&loop->deadlines, BATCH_MS), &local->batched,
                            on_batched, mg_loop_now_ms(loop));
        }
        return;
    }
    mg_deadline_cancel(&local->batched);
    local->written_ms = mg_loop_now_ms(loop);
    prepare_file(local);
    if (mg_sink_file_start(&local->file, mg_sink_loop(sink), on_file_done, local)) {
        sink->queue.busy = false;
        mg_sink_retry_later(sink, RETRY_FILE_MS);
    }
}

static void flush_local(struct mg_sink *sink)
{
    struct local_sink *local = local_of(sink);
    if (local->is_file) {
        flush_file(local);
    } else if (sink->queue.bytes.len > 0) {
        flush_stream(local);
    }
}

static bool is_busy(const struct mg_sink *sink)
{
    const struct local_sink *local = local_of(sink);
    return local->is_file && local->file.busy;
}

static void reopen_local(struct mg_sink *sink)
{
    struct local_sink *local = local_of(sink);
    local->reopen = local->reopen || (local->is_file && local->file.path);
}

/* --- the end --- */

static uint64_t real_ms(void)
{
    return mg_sink_now_us() / 1000;
}

static void finish_stream(struct local_sink *local, uint64_t until_ms)
{
    for (;;) {
        flush_stream(local);
        const uint64_t now_ms = real_ms();
        if (local->sink.queue.bytes.len == 0 || now_ms >= until_ms) {
            return;
        }
        mg_sink_stream_wait(&local->stream, (int)(until_ms - now_ms));
    }
}

/* Waits for the job of the pool, then writes the rest on this thread; tries again while the disk is
 * full and there is time. */
static void finish_file(struct local_sink *local, uint64_t until_ms)
{
    struct mg_sink *sink = &local->sink;
    while (local->file.busy && real_ms() < until_ms) {
        mg_loop_step(mg_sink_loop(sink), false);
        usleep(1000);
    }
    while (!local->file.busy && !mg_sink_queue_is_empty(&sink->queue)) {
        prepare_file(local);
        mg_sink_file_run(&local->file);
        account_file(local);
        if (local->file.err && (real_ms() >= until_ms || local->file.data_done == 0)) {
            return;
        }
    }
}

static void finish_local(struct mg_sink *sink, uint64_t until_ms)
{
    struct local_sink *local = local_of(sink);
    if (local->is_file) {
        finish_file(local, until_ms);
    } else {
        finish_stream(local, until_ms);
    }
}

const struct mg_sink_type mg_sink_local = {
    .bytes = sizeof(struct local_sink),
    .open = open_local,
    .flush = flush_local,
    .is_busy = is_busy,
    .reopen = reopen_local,
    .finish = finish_local,
    .close = close_local,
};
