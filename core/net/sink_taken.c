/* SPDX-License-Identifier: Apache-2.0 */
#include "net/sink_taken.h"

#define BATCH_BYTES (256 * 1024) /* of lines, or one longer line */

struct taken_sink {
    struct mg_sink sink;
    struct mg_buf text; /* what was given */
    size_t piece;       /* bytes of the queue's batch in it */
    uint64_t since_ms;
};

static struct taken_sink *taken_of(const struct mg_sink *sink)
{
    return MG_CONTAINER(sink, struct taken_sink, sink);
}

static int open_taken(struct mg_sink *sink, char *message, size_t message_bytes)
{
    (void)message;
    (void)message_bytes;
    mg_buf_init(&taken_of(sink)->text, SIZE_MAX);
    return 0;
}

static void close_taken(struct mg_sink *sink)
{
    mg_buf_deinit(&taken_of(sink)->text);
}

void mg_sink_taken(struct mg_sink *sink, bool delivered)
{
    struct taken_sink *taken = taken_of(sink);
    if (!sink->sinks || !sink->queue.busy) {
        return;
    }
    mg_sink_wrote(sink, delivered, delivered ? taken->piece : 0);
    if (delivered) {
        mg_sink_worked(sink);
    } else {
        mg_sink_failed(sink, MG_ELUA, 0);
    }
    mg_buf_deinit(&taken->text); /* batches are rare, and their memory large */
}

mg_str mg_sink_take(struct mg_sink *sink)
{
    struct taken_sink *taken = taken_of(sink);
    if (!sink->sinks) {
        return MG_STR("");
    }
    const uint64_t now_ms = mg_loop_now_ms(mg_sink_loop(sink));
    if (sink->queue.busy && now_ms - taken->since_ms >= MG_SINK_TAKEN_MS) {
        mg_sink_taken(sink, false);
    }
    if (sink->queue.busy || mg_deadline_armed(&sink->retry) ||
        mg_sink_queue_is_empty(&sink->queue)) {
        return MG_STR("");
    }
    mg_sink_queue_top_up_batch(&sink->queue, BATCH_BYTES);
    const mg_str lines = mg_sink_queue_lines(&sink->queue.batch, BATCH_BYTES, sink->settings.batch);
    mg_sink_begin(sink);
    taken->piece = lines.len;
    taken->since_ms = now_ms;
    int err = mg_buf_append(&taken->text, mg_str_make(sink->lead, sink->lead_len));
    err = err ? err : mg_buf_append(&taken->text, lines);
    mg_require(err == 0); /* bounded by a batch */
    return mg_buf_view(&taken->text);
}

/* Without references, and at the end of the process, nobody will come for what waits. */
static void flush_taken(struct mg_sink *sink)
{
    if (sink->references == 0) {
        mg_sink_taken(sink, false);
    }
    if (!sink->queue.busy && (sink->references == 0 || sink->sinks->closing)) {
        mg_sink_drop_rest(sink);
    }
}

static bool is_busy(const struct mg_sink *sink)
{
    return sink->queue.busy && sink->references > 0;
}

/* Under way, and never heard of. */
static void give_up(struct mg_sink *sink)
{
    mg_sink_taken(sink, false);
}

const struct mg_sink_type mg_sink_taken_type = {
    .bytes = sizeof(struct taken_sink),
    .open = open_taken,
    .flush = flush_taken,
    .is_busy = is_busy,
    .give_up = give_up,
    .close = close_taken,
};
