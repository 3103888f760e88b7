/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of sinks, and what a sink does in a loop turn. */
#include "net/sink.h"

#include "base/list.h"
#include "net/sink_file.h"
#include "net/sink_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define RETRY_STREAM_MS 20 /* until a reader that was too slow is tried again */
#define RETRY_FILE_MS 500  /* until a file that failed is; back within 1 s of the cause's end */

struct mg_sinks {
    struct mg_sinks_parts parts;
    struct mg_link all; /* struct mg_sink */
    bool closing;
};

struct mg_sink {
    struct mg_link link;
    struct mg_sinks *sinks;
    struct mg_sink_settings settings; /* path is a copy */
    mg_str name;                      /* in records of loss */
    uint32_t references;
    struct mg_sink_queue queue;
    struct mg_sink_counts told; /* what stats know already */
    struct mg_sink_part *part;  /* in the shared memory, or own_part */
    struct mg_sink_part own_part;
    bool down;         /* part counts it as failing */
    uint64_t begun_us; /* of what is being written to the file */
    bool is_file;      /* file below, else stream */
    struct mg_sink_stream stream;
    struct mg_sink_file file;
    bool reopen;                   /* asked for; file.reopen belongs to the job */
    int err;                       /* of the last job */
    struct mg_deadline retry;      /* armed: nothing is tried before */
    char lead[MG_SINK_LOSS_BYTES]; /* records of loss being written to the file */
    struct mg_sink_loss lead_losses[MG_SINK_REASONS];
};

static int64_t wall_ms(const struct mg_sink *sink)
{
    return mg_clock_wall_ms(&sink->sinks->parts.loop->clock);
}

static void on_retry(struct mg_deadline *deadline)
{
    (void)deadline; /* the next flush finds it no longer armed */
}

static void retry_later(struct mg_sink *sink, uint64_t ms)
{
    struct mg_loop *loop = sink->sinks->parts.loop;
    mg_deadline_arm(mg_deadlines_class(&loop->deadlines, ms), &sink->retry, on_retry,
                    mg_loop_now_ms(loop));
}

/* At once, so that the lines of a worker that dies in this turn are counted (mg_stats_begin). */
static void tell_queued(struct mg_sink *sink)
{
    struct mg_stats *stats = sink->sinks->parts.stats;
    if (stats) {
        mg_stats_add(stats, MG_STAT_LOG_QUEUED, sink->queue.counts.queued - sink->told.queued);
    }
    sink->told.queued = sink->queue.counts.queued;
}

static void tell_stats(struct mg_sink *sink)
{
    struct mg_stats *stats = sink->sinks->parts.stats;
    const struct mg_sink_counts *now = &sink->queue.counts;
    tell_queued(sink);
    if (stats) {
        mg_stats_add(stats, MG_STAT_LOG_WRITTEN, now->written - sink->told.written);
        mg_stats_add(stats, MG_STAT_LOG_DROPPED, now->dropped - sink->told.dropped);
        mg_stats_add(stats, MG_STAT_LOG_BYTES, now->bytes_written - sink->told.bytes_written);
    }
    sink->told = *now;
}

static void set_down(struct mg_sink *sink, bool down)
{
    if (sink->down != down) {
        sink->down = down;
        sink->part->down += down ? 1 : (uint64_t)-1;
    }
}

static uint64_t now_us(void)
{
    return uv_hrtime() / 1000;
}

/* Closes it for good; the struct stays while there are references. */
static void end_sink(struct mg_sink *sink)
{
    tell_stats(sink);
    mg_deadline_cancel(&sink->retry);
    mg_link_remove(&sink->link);
    if (sink->is_file) {
        mg_sink_file_close(&sink->file);
    } else {
        mg_sink_stream_close(&sink->stream);
    }
    set_down(sink, false);
    sink->part->open--;
    mg_sink_queue_deinit(&sink->queue);
    free((char *)sink->settings.path.ptr);
    sink->sinks = NULL;
    if (sink->references == 0) {
        free(sink);
    }
}

/* --- opening --- */

static bool is_equal(const struct mg_sink_settings *a, const struct mg_sink_settings *b)
{
    return a->kind == b->kind && mg_str_equal(a->path, b->path) && a->mode == b->mode &&
           a->reopen_check_ms == b->reopen_check_ms && a->queue_bytes == b->queue_bytes &&
           a->queue_entries == b->queue_entries && a->drop_newest == b->drop_newest;
}

/* Files go through the pool; pipes, terminals and devices are written at once. */
static void sort_out(struct mg_sink *sink)
{
    struct stat about;
    if (fstat(sink->file.fd, &about) == 0 && !S_ISREG(about.st_mode)) {
        mg_sink_stream_take(&sink->stream, sink->file.fd);
        free(sink->file.path);
        sink->file.path = NULL;
        return;
    }
    sink->is_file = true;
}

static int open_path(struct mg_sink *sink, char *message, size_t message_bytes)
{
    const int err = mg_sink_file_open(&sink->file, sink->settings.path, sink->settings.mode,
                                      sink->settings.reopen_check_ms);
    if (err) {
        snprintf(message, message_bytes, "cannot open the log file %s: %s", sink->settings.path.ptr,
                 err == -ENXIO ? "nobody reads this pipe" : mg_err_text(err));
        return err;
    }
    sort_out(sink);
    return 0;
}

/* Standard output or error. A file there is shared with its position, so it is not opened anew. */
static void open_standard(struct mg_sink *sink, int fd)
{
    struct stat about;
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode)) {
        const int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (own >= 0) {
            mg_sink_file_take(&sink->file, own);
            sink->is_file = true;
            return;
        }
    }
    mg_sink_stream_open(&sink->stream, fd);
}

static struct mg_sink *new_sink(struct mg_sinks *sinks, const struct mg_sink_settings *settings)
{
    struct mg_sink *sink = calloc(1, sizeof *sink);
    char *path = calloc(1, settings->path.len + 1);
    mg_require(sink != NULL && path != NULL);
    if (settings->path.len > 0) {
        memcpy(path, settings->path.ptr, settings->path.len);
    }
    sink->sinks = sinks;
    sink->settings = *settings;
    sink->settings.path = mg_str_make(path, settings->path.len);
    sink->name = settings->kind == MG_SINK_STDOUT   ? MG_STR("stdout")
                 : settings->kind == MG_SINK_STDERR ? MG_STR("stderr")
                                                    : sink->settings.path;
    mg_link_init(&sink->link);
    mg_deadline_init(&sink->retry);
    return sink;
}

/* From here on it counts. */
static void begin_sink(struct mg_sink *sink)
{
    const struct mg_sinks_parts *parts = &sink->sinks->parts;
    sink->part = &sink->own_part;
    if (parts->shm) {
        const uint32_t index = mg_sink_record_open(parts->shm, sink->name, wall_ms(sink));
        sink->part = mg_sink_part(parts->shm, index, parts->worker);
    }
    sink->part->open++;
    mg_sink_queue_init(&sink->queue, sink->settings.queue_bytes, sink->settings.queue_entries,
                       sink->settings.drop_newest, sink->part, wall_ms(sink));
    mg_list_append(&sink->sinks->all, &sink->link);
}

static struct mg_sink *find(struct mg_sinks *sinks, const struct mg_sink_settings *settings)
{
    for (struct mg_link *at = sinks->all.next; at != &sinks->all; at = at->next) {
        struct mg_sink *sink = MG_CONTAINER(at, struct mg_sink, link);
        if (is_equal(&sink->settings, settings)) {
            return sink;
        }
    }
    return NULL;
}

int mg_sink_open(struct mg_sinks *sinks, const struct mg_sink_settings *settings,
                 struct mg_sink **out, char *message, size_t message_bytes)
{
    struct mg_sink *sink = find(sinks, settings);
    if (!sink) {
        sink = new_sink(sinks, settings);
        if (settings->kind == MG_SINK_FILE) {
            const int err = open_path(sink, message, message_bytes);
            if (err) {
                free((char *)sink->settings.path.ptr);
                free(sink);
                return err;
            }
        } else {
            open_standard(sink, settings->kind == MG_SINK_STDOUT ? STDOUT_FILENO : STDERR_FILENO);
        }
        begin_sink(sink);
    }
    sink->references++;
    *out = sink;
    return 0;
}

void mg_sink_close(struct mg_sink *sink)
{
    mg_require(sink->references > 0);
    sink->references--; /* the next flush frees it, when nothing is queued */
    if (sink->references == 0 && !sink->sinks) {
        free(sink);
    }
}

/* --- lines --- */

size_t mg_sink_line_bytes(const struct mg_sink *sink)
{
    return sink->is_file ? sink->queue.max_bytes : MG_SINK_PIPE_BYTES;
}

void mg_sink_put(struct mg_sink *sink, mg_str line)
{
    if (!sink->sinks) {
        return; /* after the end */
    }
    if (line.len > mg_sink_line_bytes(sink)) {
        mg_sink_queue_refuse(&sink->queue, MG_SINK_TOO_BIG, wall_ms(sink));
        return;
    }
    mg_sink_queue_put(&sink->queue, line, wall_ms(sink));
    tell_queued(sink);
}

void mg_sink_counts(const struct mg_sink *sink, struct mg_sink_counts *counts)
{
    *counts = sink->queue.counts;
}

/* --- streams --- */

/* The records of loss: 0 when there are none, or they are written. */
static int write_losses(struct mg_sink *sink)
{
    char text[MG_SINK_LOSS_BYTES];
    const size_t length = mg_sink_queue_loss_text(&sink->queue, sink->name, text);
    if (length == 0 || sink->queue.partial) {
        return 0;
    }
    const ssize_t n = mg_sink_stream_write(&sink->stream, mg_str_make(text, length));
    if (n < 0) {
        return (int)n;
    }
    struct mg_sink_loss told[MG_SINK_REASONS];
    memcpy(told, sink->queue.losses, sizeof told);
    mg_sink_queue_loss_told(&sink->queue, told);
    return 0;
}

static void flush_stream(struct mg_sink *sink)
{
    struct mg_sink_queue *queue = &sink->queue;
    const uint64_t begun_us = now_us();
    ssize_t n = write_losses(sink);
    while (n >= 0 && queue->bytes.len > 0) {
        n = mg_sink_stream_write(&sink->stream,
                                 mg_sink_queue_piece(&queue->bytes, MG_SINK_PIPE_BYTES));
        if (n > 0) {
            mg_sink_queue_wrote(queue, &queue->bytes, (size_t)n);
        }
    }
    if (n == MG_EAGAIN) {
        retry_later(sink, RETRY_STREAM_MS);
    } else if (n < 0) { /* nobody reads any more */
        mg_sink_queue_drop_all(queue, MG_SINK_REFUSED, wall_ms(sink));
    } else {
        mg_sink_part_flushed(sink->part, now_us() - begun_us);
    }
    set_down(sink, n < 0);
}

/* --- files --- */

/* To the error log, when the file begins or ceases to fail. */
static void tell_error(struct mg_sink *sink, int err)
{
    if (err == sink->err) {
        return;
    }
    if (err) {
        mg_log_write(sink->sinks->parts.log, MG_LOG_ERROR, "access-log",
                     "cannot write %s: %s; lines wait, then the oldest are lost and counted",
                     sink->name.ptr, mg_err_text(err));
    } else {
        mg_log_write(sink->sinks->parts.log, MG_LOG_NOTICE, "access-log", "%s can be written again",
                     sink->name.ptr);
    }
}

static void account_file(struct mg_sink *sink)
{
    struct mg_sink_queue *queue = &sink->queue;
    const struct mg_sink_file *file = &sink->file;
    if (file->lead_done && file->lead.len > 0) {
        mg_sink_queue_loss_told(queue, sink->lead_losses);
    }
    mg_sink_queue_wrote(queue, &queue->batch, file->data_done);
    queue->busy = false;
    queue->full_reason = file->err ? MG_SINK_DISK : MG_SINK_QUEUE_FULL;
    sink->reopen = sink->reopen || file->reopen;
    if (!file->err) {
        mg_sink_part_flushed(sink->part, now_us() - sink->begun_us);
    }
    set_down(sink, file->err != 0);
    tell_error(sink, file->err);
    sink->err = file->err;
}

static void on_file_done(void *context)
{
    struct mg_sink *sink = context;
    if (!sink->sinks) {
        return; /* too late, see mg_sinks_close */
    }
    account_file(sink);
    if (sink->err && !sink->sinks->closing) {
        retry_later(sink, RETRY_FILE_MS);
    }
}

static void prepare_file(struct mg_sink *sink)
{
    struct mg_sink_queue *queue = &sink->queue;
    mg_sink_queue_fill_batch(queue);
    memcpy(sink->lead_losses, queue->losses, sizeof sink->lead_losses);
    const size_t lead = mg_sink_queue_loss_text(queue, sink->name, sink->lead);
    sink->file.lead = mg_str_make(sink->lead, lead);
    sink->file.data = mg_buf_view(&queue->batch);
    sink->file.reopen = sink->reopen;
    sink->reopen = false;
    sink->begun_us = now_us();
    queue->busy = true;
}

static void flush_file(struct mg_sink *sink)
{
    if (sink->file.busy || (mg_sink_queue_is_empty(&sink->queue) && !sink->reopen)) {
        return;
    }
    prepare_file(sink);
    if (mg_sink_file_start(&sink->file, sink->sinks->parts.loop, on_file_done, sink)) {
        sink->queue.busy = false;
        retry_later(sink, RETRY_FILE_MS);
    }
}

/* --- the registry --- */

static bool is_idle(const struct mg_sink *sink)
{
    return mg_sink_queue_is_empty(&sink->queue) && !(sink->is_file && sink->file.busy);
}

void mg_sinks_flush(struct mg_sinks *sinks)
{
    for (struct mg_link *at = sinks->all.next, *next; at != &sinks->all; at = next) {
        struct mg_sink *sink = MG_CONTAINER(at, struct mg_sink, link);
        next = at->next;
        if (!mg_deadline_armed(&sink->retry)) {
            if (sink->is_file) {
                flush_file(sink);
            } else if (sink->queue.bytes.len > 0) {
                flush_stream(sink);
            }
        }
        tell_stats(sink);
        if (sink->references == 0 && is_idle(sink)) {
            end_sink(sink);
        }
    }
}

void mg_sinks_reopen(struct mg_sinks *sinks)
{
    for (struct mg_link *at = sinks->all.next; at != &sinks->all; at = at->next) {
        struct mg_sink *sink = MG_CONTAINER(at, struct mg_sink, link);
        if (sink->is_file && sink->file.path) {
            sink->reopen = true;
        }
    }
}

struct mg_sinks *mg_sinks_open(const struct mg_sinks_parts *parts)
{
    struct mg_sinks *sinks = calloc(1, sizeof *sinks);
    mg_require(sinks != NULL);
    sinks->parts = *parts;
    mg_link_init(&sinks->all);
    signal(SIGXFSZ, SIG_IGN);
    return sinks;
}

/* --- the end --- */

static uint64_t real_ms(void)
{
    return uv_hrtime() / 1000000;
}

static void finish_stream(struct mg_sink *sink, uint64_t until_ms)
{
    for (;;) {
        flush_stream(sink);
        const uint64_t now_ms = real_ms();
        if (sink->queue.bytes.len == 0 || now_ms >= until_ms) {
            return;
        }
        mg_sink_stream_wait(&sink->stream, (int)(until_ms - now_ms));
    }
}

/* Waits for the job of the pool, then writes the rest on this thread; tries again while the disk is
 * full and there is time. */
static void finish_file(struct mg_sink *sink, uint64_t until_ms)
{
    while (sink->file.busy && real_ms() < until_ms) {
        uv_run(&sink->sinks->parts.loop->uv, UV_RUN_NOWAIT);
        usleep(1000);
    }
    while (!sink->file.busy && !mg_sink_queue_is_empty(&sink->queue)) {
        prepare_file(sink);
        mg_sink_file_run(&sink->file);
        account_file(sink);
        if (sink->file.err && (real_ms() >= until_ms || sink->file.data_done == 0)) {
            return;
        }
    }
}

/* Nobody may look at the counters any more: says it in the error log too. */
static void drop_rest(struct mg_sink *sink)
{
    const uint64_t before = sink->queue.counts.dropped;
    mg_sink_queue_drop_all(&sink->queue, MG_SINK_SHUTDOWN, wall_ms(sink));
    const uint64_t lost = sink->queue.counts.dropped - before;
    if (lost > 0) {
        mg_log_write(sink->sinks->parts.log, MG_LOG_WARN, "access-log",
                     "%" PRIu64 " lines for %s are lost: they could not be written in time", lost,
                     sink->name.ptr);
    }
}

void mg_sinks_close(struct mg_sinks *sinks, uint64_t most_ms)
{
    const uint64_t until_ms = real_ms() + most_ms;
    sinks->closing = true;
    while (!mg_list_empty(&sinks->all)) {
        struct mg_sink *sink = MG_CONTAINER(sinks->all.next, struct mg_sink, link);
        if (sink->is_file) {
            finish_file(sink, until_ms);
        } else {
            finish_stream(sink, until_ms);
        }
        drop_rest(sink);
        if (sink->is_file && sink->file.busy) {
            mg_link_remove(&sink->link); /* a disk hangs: the thread keeps it for ever */
            sink->references++;
            sink->sinks = NULL;
            continue;
        }
        end_sink(sink);
    }
    free(sinks);
}
