/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of a sink. Memory grows with need up to the bound and is given back when a burst is
 * over. */
#define _GNU_SOURCE /* memrchr */
#include "net/sink_queue.h"

#include "base/escape.h"

#include <stdio.h>
#include <time.h>

#define KEEP_BYTES (256 * 1024) /* of memory kept by an empty queue */
#define SLIDE_BYTES (16 * 1024)
#define NAME_BYTES 256 /* of a sink's name in a record of loss */

void mg_sink_queue_init(struct mg_sink_queue *queue, size_t max_bytes, uint32_t max_entries,
                        bool drop_newest, struct mg_sink_part *part, int64_t wall_ms)
{
    *queue = (struct mg_sink_queue){.max_bytes = max_bytes,
                                    .max_entries = max_entries,
                                    .drop_newest = drop_newest,
                                    .part = part};
    const uint64_t died = part->dropped[MG_SINK_WORKER_DIED] - part->died_told;
    if (died > 0) {
        queue->losses[MG_SINK_WORKER_DIED] =
            (struct mg_sink_loss){.lines = died, .from_ms = part->since_ms, .to_ms = wall_ms};
        part->died_told += died;
    }
    mg_buf_init(&queue->batch, max_bytes * 2); /* with room to slide in, see slide */
    mg_buf_init(&queue->bytes, max_bytes * 2);
}

void mg_sink_queue_deinit(struct mg_sink_queue *queue)
{
    queue->part->queue_bytes -= queue->batch.len + queue->bytes.len;
    mg_buf_deinit(&queue->batch);
    mg_buf_deinit(&queue->bytes);
}

static void count_loss(struct mg_sink_queue *queue, enum mg_sink_reason reason, uint64_t lines,
                       int64_t wall_ms)
{
    struct mg_sink_loss *loss = &queue->losses[reason];
    if (lines == 0) {
        return;
    }
    loss->from_ms = loss->lines == 0 ? wall_ms : loss->from_ms;
    loss->to_ms = wall_ms;
    loss->lines += lines;
    queue->counts.dropped += lines;
    queue->part->dropped[reason] += lines;
}

static void consume(struct mg_sink_queue *queue, struct mg_buf *from, size_t bytes)
{
    queue->part->queue_bytes -= bytes;
    queue->batch_lines = from == &queue->batch ? 0 : queue->batch_lines;
    mg_buf_consume(from, bytes);
    if (from->len == 0 && from->size > KEEP_BYTES) {
        mg_buf_deinit(from);
    }
}

/* Bytes up to and with the first LF at or after an offset. */
static size_t line_length(const struct mg_buf *from, size_t offset)
{
    const ptrdiff_t end = mg_str_find(mg_buf_view(from), '\n', offset);
    return end < 0 ? from->len - offset : (size_t)end + 1 - offset;
}

static uint64_t count_lines(mg_str bytes)
{
    uint64_t lines = 0;
    for (ptrdiff_t at = mg_str_find(bytes, '\n', 0); at >= 0;
         at = mg_str_find(bytes, '\n', (size_t)at + 1)) {
        lines++;
    }
    return lines;
}

/* Removes the second line of bytes: the first one is half written. */
static bool drop_second(struct mg_sink_queue *queue, int64_t wall_ms)
{
    struct mg_buf *bytes = &queue->bytes;
    const size_t first = line_length(bytes, 0);
    if (first == bytes->len) {
        return false;
    }
    const size_t second = line_length(bytes, first);
    char *data = bytes->data + bytes->start;
    memmove(data + second, data, first);
    consume(queue, bytes, second);
    queue->counts.queued--;
    count_loss(queue, queue->full_reason, 1, wall_ms);
    return true;
}

static bool drop_oldest(struct mg_sink_queue *queue, int64_t wall_ms)
{
    struct mg_buf *from = queue->batch.len > 0 && !queue->busy ? &queue->batch : &queue->bytes;
    if (from->len == 0) {
        return false;
    }
    if (from == &queue->bytes && queue->partial) {
        return drop_second(queue, wall_ms);
    }
    consume(queue, from, line_length(from, 0));
    queue->counts.queued--;
    count_loss(queue, queue->full_reason, 1, wall_ms);
    return true;
}

static bool has_room(const struct mg_sink_queue *queue, size_t bytes)
{
    return queue->counts.queued < queue->max_entries &&
           queue->batch.len + queue->bytes.len + bytes <= queue->max_bytes;
}

void mg_sink_queue_refuse(struct mg_sink_queue *queue, enum mg_sink_reason reason, int64_t wall_ms)
{
    queue->counts.offered++;
    queue->part->offered++;
    count_loss(queue, reason, 1, wall_ms);
}

void mg_sink_queue_put(struct mg_sink_queue *queue, mg_str line, int64_t wall_ms)
{
    mg_sink_queue_put_with(queue, MG_STR(""), line, wall_ms);
}

/* A full queue loses a line in front for each one that is added behind: it slides through its
 * memory. It is moved back when it has slid by an eighth of its length, not for each line, and so
 * touches no more memory than that. */
static void slide(struct mg_buf *buf, size_t more)
{
    const size_t most = buf->len / 8 + SLIDE_BYTES;
    if (buf->start > most) {
        memmove(buf->data, buf->data + buf->start, buf->len);
        buf->start = 0;
    } else if (buf->size < buf->start + buf->len + more) {
        (void)mg_buf_reserve(buf, most + more); /* else each line would move all */
    }
}

void mg_sink_queue_put_with(struct mg_sink_queue *queue, mg_str prefix, mg_str line,
                            int64_t wall_ms)
{
    const size_t bytes = prefix.len + line.len;
    if (bytes > queue->max_bytes) {
        mg_sink_queue_refuse(queue, MG_SINK_TOO_BIG, wall_ms);
        return;
    }
    while (!has_room(queue, bytes)) {
        if (queue->drop_newest || !drop_oldest(queue, wall_ms)) {
            mg_sink_queue_refuse(queue, queue->full_reason, wall_ms);
            return;
        }
    }
    if (queue->counts.queued == 0) {
        queue->part->since_ms = wall_ms;
    }
    queue->counts.offered++;
    queue->part->offered++;
    queue->part->queue_bytes += bytes;
    queue->counts.queued++;
    slide(&queue->bytes, bytes);
    int err = mg_buf_append(&queue->bytes, prefix);
    err = err ? err : mg_buf_append(&queue->bytes, line);
    mg_require(err == 0); /* the bound of the buffer is the bound of the queue */
}

void mg_sink_queue_drop_first(struct mg_sink_queue *queue, uint64_t lines,
                              enum mg_sink_reason reason, int64_t wall_ms)
{
    const uint64_t most = lines < queue->counts.queued ? lines : queue->counts.queued;
    for (uint64_t i = 0; i < most; i++) {
        struct mg_buf *from = queue->batch.len > 0 ? &queue->batch : &queue->bytes;
        consume(queue, from, line_length(from, 0));
    }
    queue->counts.queued -= most;
    count_loss(queue, reason, most, wall_ms);
}

void mg_sink_queue_drop_bytes(struct mg_sink_queue *queue, size_t bytes, enum mg_sink_reason reason,
                              int64_t wall_ms)
{
    const uint64_t lines = count_lines(mg_str_slice(mg_buf_view(&queue->batch), 0, bytes));
    consume(queue, &queue->batch, bytes);
    queue->counts.queued -= lines;
    count_loss(queue, reason, lines, wall_ms);
}

static void drop_buffer(struct mg_sink_queue *queue, struct mg_buf *from,
                        enum mg_sink_reason reason, int64_t wall_ms)
{
    const uint64_t lines = count_lines(mg_buf_view(from));
    queue->counts.queued -= lines;
    count_loss(queue, reason, lines, wall_ms);
    consume(queue, from, from->len);
}

void mg_sink_queue_drop_all(struct mg_sink_queue *queue, enum mg_sink_reason reason,
                            int64_t wall_ms)
{
    if (!queue->busy) {
        drop_buffer(queue, &queue->batch, reason, wall_ms);
    }
    drop_buffer(queue, &queue->bytes, reason, wall_ms);
    queue->partial = false;
}

bool mg_sink_queue_fill_batch(struct mg_sink_queue *queue)
{
    if (queue->batch.len == 0) {
        const struct mg_buf empty = queue->batch;
        queue->batch = queue->bytes;
        queue->bytes = empty;
        queue->batch_lines = queue->counts.queued;
    }
    return queue->batch.len > 0;
}

void mg_sink_queue_top_up_batch(struct mg_sink_queue *queue, size_t bytes)
{
    if (mg_sink_queue_fill_batch(queue) && queue->batch.len < bytes && queue->bytes.len > 0) {
        const int err = mg_buf_append(&queue->batch, mg_buf_view(&queue->bytes));
        mg_require(err == 0); /* both together are within the bound of each */
        mg_buf_deinit(&queue->bytes);
        queue->batch_lines = 0;
    }
}

mg_str mg_sink_queue_piece(const struct mg_buf *from, size_t most)
{
    const mg_str all = mg_buf_view(from);
    if (all.len <= most) {
        return all;
    }
    const char *last = memrchr(all.ptr, '\n', most);
    return mg_str_slice(all, 0, last ? (size_t)(last - all.ptr) + 1 : line_length(from, 0));
}

mg_str mg_sink_queue_lines(const struct mg_buf *from, size_t most, uint64_t lines)
{
    const mg_str piece = mg_sink_queue_piece(from, most);
    ptrdiff_t end = -1;
    for (uint64_t i = 0; i < lines; i++) {
        const ptrdiff_t next = mg_str_find(piece, '\n', (size_t)(end + 1));
        if (next < 0) {
            return piece;
        }
        end = next;
    }
    return mg_str_slice(piece, 0, (size_t)(end + 1));
}

void mg_sink_queue_wrote(struct mg_sink_queue *queue, struct mg_buf *from, size_t bytes)
{
    const mg_str done = mg_str_slice(mg_buf_view(from), 0, bytes);
    const bool is_batch = from == &queue->batch && bytes == from->len && queue->batch_lines > 0;
    const bool all =
        bytes == from->len && !queue->busy && queue->batch.len + queue->bytes.len == from->len;
    const uint64_t lines = all        ? queue->counts.queued
                           : is_batch ? queue->batch_lines
                                      : count_lines(done);
    queue->counts.queued -= lines;
    queue->counts.written += lines;
    queue->counts.bytes_written += bytes;
    queue->part->written += lines;
    queue->part->bytes_written += bytes;
    if (bytes > 0) {
        queue->partial = done.ptr[bytes - 1] != '\n';
    }
    consume(queue, from, bytes);
}

/* --- losses ------------------------------------------------------------------------------ */

/* RFC 3339 with milliseconds, UTC. */
static void format_time(int64_t wall_ms, char out[32])
{
    const time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char date[24];
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, 32, "%s.%03uZ", date, (unsigned)(wall_ms % 1000));
}

size_t mg_sink_queue_loss_text(const struct mg_sink_queue *queue, mg_str name,
                               char out[MG_SINK_LOSS_BYTES])
{
    char escaped[NAME_BYTES];
    size_t taken, length = 0;
    const size_t escaped_length = mg_escape_json(escaped, sizeof escaped, name, &taken);
    for (unsigned i = 0; i < MG_SINK_REASONS; i++) {
        const struct mg_sink_loss *loss = &queue->losses[i];
        char from[32], to[32];
        if (loss->lines == 0) {
            continue;
        }
        format_time(loss->from_ms, from);
        format_time(loss->to_ms, to);
        /* a record is under 500 bytes and there are seven reasons: all fit */
        length += (size_t)snprintf(out + length, MG_SINK_LOSS_BYTES - length,
                                   "{\"event\":\"lost\",\"sink\":\"%.*s\",\"lines\":%llu,"
                                   "\"from\":\"%s\",\"to\":\"%s\",\"reason\":\"%s\"}\n",
                                   (int)escaped_length, escaped, (unsigned long long)loss->lines,
                                   from, to, mg_sink_reason_word((enum mg_sink_reason)i));
    }
    return length;
}

void mg_sink_queue_loss_told(struct mg_sink_queue *queue,
                             const struct mg_sink_loss told[MG_SINK_REASONS])
{
    for (unsigned i = 0; i < MG_SINK_REASONS; i++) {
        struct mg_sink_loss *loss = &queue->losses[i];
        loss->lines -= told[i].lines;
        loss->from_ms = told[i].to_ms; /* what is left came later */
    }
}
