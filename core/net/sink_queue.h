/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines waiting for a log sink: bounded in bytes and in lines, and every line that is lost is
 * counted by reason. At every moment offered = written + dropped + queued. No I/O.
 *
 *   batch   what is being written somewhere (a thread of the pool): does not move while `busy`
 *   bytes   what came after it
 *
 *     mg_sink_queue_init(&queue, 8 << 20, 8192, false);
 *     mg_sink_queue_put(&queue, line, wall_ms);                  // "...\n"
 *     mg_str piece = mg_sink_queue_piece(&queue.bytes, 4096);    // whole lines
 *     mg_sink_queue_wrote(&queue, &queue.bytes, piece.len);
 */
#pragma once

#include "base/buf.h"
#include "base/shm_sinks.h"

struct mg_sink_counts { /* lines, since the sink was made; queued: now */
    uint64_t offered, written, dropped, queued;
    uint64_t bytes_written;
};

struct mg_sink_loss { /* not yet told to the reader */
    uint64_t lines;
    int64_t from_ms, to_ms; /* wall time */
};

struct mg_sink_queue {
    struct mg_buf batch, bytes;
    uint64_t batch_lines; /* in batch, while it is as it was filled; 0: to be counted */
    size_t max_bytes;
    uint32_t max_entries;
    bool drop_newest; /* when full: the new line goes, else the oldest */
    bool busy;        /* batch is in use elsewhere */
    bool partial;     /* the first line of bytes is half written: it must not be dropped */
    enum mg_sink_reason full_reason; /* what a full queue means at present */
    struct mg_sink_part *part;       /* counters in the shared memory, or of the sink itself */
    struct mg_sink_counts counts;
    struct mg_sink_loss losses[MG_SINK_REASONS];
};

/* Both bounds are at least 1. What happens is counted in part too. Lines of a dead worker that part
 * counts, and that nobody was told of, become a loss of this queue. */
void mg_sink_queue_init(struct mg_sink_queue *queue, size_t max_bytes, uint32_t max_entries,
                        bool drop_newest, struct mg_sink_part *part, int64_t wall_ms);
void mg_sink_queue_deinit(struct mg_sink_queue *queue);
/* Takes a copy of a line, which ends with its only LF, or drops it or older ones. */
void mg_sink_queue_put(struct mg_sink_queue *queue, mg_str line, int64_t wall_ms);
/* Counts the line as offered and lost. */
void mg_sink_queue_refuse(struct mg_sink_queue *queue, enum mg_sink_reason reason, int64_t wall_ms);
/* The same for a line that begins with a prefix. */
void mg_sink_queue_put_with(struct mg_sink_queue *queue, mg_str prefix, mg_str line,
                            int64_t wall_ms);
/* Loses so many lines from the front of batch, then of bytes. Not while busy. */
void mg_sink_queue_drop_first(struct mg_sink_queue *queue, uint64_t lines,
                              enum mg_sink_reason reason, int64_t wall_ms);
/* The same for whole lines of batch, given as bytes. */
void mg_sink_queue_drop_bytes(struct mg_sink_queue *queue, size_t bytes, enum mg_sink_reason reason,
                              int64_t wall_ms);
/* Loses all that is queued (not batch, when busy). */
void mg_sink_queue_drop_all(struct mg_sink_queue *queue, enum mg_sink_reason reason,
                            int64_t wall_ms);
/* When batch is empty: what waits becomes the batch. Returns whether batch has something. */
bool mg_sink_queue_fill_batch(struct mg_sink_queue *queue);
/* The same, and what waits joins a batch of less than so many bytes. Not while busy. */
void mg_sink_queue_top_up_batch(struct mg_sink_queue *queue, size_t bytes);
/* As many whole lines from the front as fit into most bytes; the first line alone when it does not.
 * Empty when there is nothing. */
mg_str mg_sink_queue_piece(const struct mg_buf *from, size_t most);
/* The same, of at most so many lines. */
mg_str mg_sink_queue_lines(const struct mg_buf *from, size_t most, uint64_t lines);
/* bytes from the front of batch or bytes were written; they need not end at a line end in bytes. */
void mg_sink_queue_wrote(struct mg_sink_queue *queue, struct mg_buf *from, size_t bytes);

static inline bool mg_sink_queue_is_empty(const struct mg_sink_queue *queue)
{
    return queue->bytes.len == 0 && queue->batch.len == 0;
}

/* The records of what was lost, a line each, for the sink called name; 0 when nothing was lost.
 * Needs MG_SINK_LOSS_BYTES of room. */
#define MG_SINK_LOSS_BYTES 4096
size_t mg_sink_queue_loss_text(const struct mg_sink_queue *queue, mg_str name,
                               char out[MG_SINK_LOSS_BYTES]);
/* They were written: forgets what they told, given a copy of losses as it was then. */
void mg_sink_queue_loss_told(struct mg_sink_queue *queue,
                             const struct mg_sink_loss told[MG_SINK_REASONS]);
