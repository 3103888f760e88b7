/* SPDX-License-Identifier: Apache-2.0 */
/* Common to all sinks: waits, counters, messages. */
#include "net/sink_base.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int mg_sink_tls_new(const struct mg_sink *sink, struct mg_tls_context **out, char *message,
                    size_t message_bytes)
{
    const struct mg_sink_settings *settings = &sink->settings;
    const struct mg_tls_options options = {.no_verify = settings->no_verify,
                                           .ca = settings->ca,
                                           .cert = settings->cert,
                                           .key = settings->key};
    char why[160] = "";
    *out = NULL;
    const int err = settings->tls ? mg_tls_context_new(out, &options, why, sizeof why) : 0;
    if (err) {
        snprintf(message, message_bytes, "the log sink %s: tls: %s", sink->name.ptr, why);
    }
    return err;
}

mg_str mg_sink_server_name(const struct mg_sink *sink)
{
    const struct mg_sink_settings *settings = &sink->settings;
    return settings->server_name.len > 0 ? settings->server_name : settings->host;
}

int64_t mg_sink_wall_ms(const struct mg_sink *sink)
{
    return mg_clock_wall_ms(&mg_sink_loop(sink)->clock);
}

uint64_t mg_sink_now_us(void)
{
    return uv_hrtime() / 1000;
}

static void on_retry(struct mg_deadline *deadline)
{
    (void)deadline; /* the next flush finds it no longer armed */
}

void mg_sink_retry_later(struct mg_sink *sink, uint64_t ms)
{
    struct mg_loop *loop = mg_sink_loop(sink);
    mg_deadline_arm_at(&loop->deadlines, &sink->retry, on_retry, mg_loop_now_ms(loop) + ms);
}

void mg_sink_set_down(struct mg_sink *sink, bool down)
{
    if (sink->down != down) {
        sink->down = down;
        sink->part->down += down ? 1 : (uint64_t)-1;
    }
}

void mg_sink_tell_error(struct mg_sink *sink, int err, const char *then)
{
    if (err == sink->err) {
        return;
    }
    if (err) {
        mg_log_write(sink->sinks->parts.log, MG_LOG_ERROR, "access-log", "cannot write %s: %s; %s",
                     sink->name.ptr, mg_err_text(err), then);
    } else {
        mg_log_write(sink->sinks->parts.log, MG_LOG_NOTICE, "access-log", "%s can be written again",
                     sink->name.ptr);
    }
    sink->err = err;
}

/* --- what is being written ------------------------------------------------------------------ */

void mg_sink_begin(struct mg_sink *sink)
{
    memcpy(sink->lead_losses, sink->queue.losses, sizeof sink->lead_losses);
    sink->lead_len = mg_sink_queue_loss_text(&sink->queue, sink->name, sink->lead);
    sink->queue.busy = true;
    sink->begun_us = mg_sink_now_us();
}

void mg_sink_wrote(struct mg_sink *sink, bool lead, size_t bytes)
{
    struct mg_sink_queue *queue = &sink->queue;
    if (lead && sink->lead_len > 0) {
        mg_sink_queue_loss_told(queue, sink->lead_losses);
    }
    mg_sink_queue_wrote(queue, &queue->batch, bytes);
    queue->busy = false;
}

/* --- failures ------------------------------------------------------------------------------- */

/* The next wait: doubled from time to time, and 20 % more or less, so that many gateways do not
 * come back together. */
static uint64_t next_delay(struct mg_sink *sink)
{
    const struct mg_sink_settings *settings = &sink->settings;
    const uint64_t doubled = sink->delay_ms > 0 ? sink->delay_ms * 2 : settings->first_ms;
    sink->delay_ms = doubled < settings->max_ms ? doubled : settings->max_ms;
    const uint64_t spread = sink->delay_ms * 2 / 5;
    return sink->delay_ms - spread / 2 + mg_sink_now_us() % (spread + 1);
}

void mg_sink_failed(struct mg_sink *sink, int err, uint64_t least_ms)
{
    const uint64_t now_ms = mg_loop_now_ms(mg_sink_loop(sink));
    if (sink->failing_ms == 0) {
        sink->failing_ms = now_ms > 0 ? now_ms : 1;
    } else if (now_ms - sink->failing_ms >= sink->settings.for_ms) {
        mg_sink_queue_drop_first(&sink->queue, sink->settings.batch, MG_SINK_RETRY_EXPIRED,
                                 mg_sink_wall_ms(sink));
        sink->failing_ms = now_ms;
    }
    const uint64_t delay_ms = next_delay(sink);
    mg_sink_retry_later(sink, delay_ms > least_ms ? delay_ms : least_ms);
    mg_sink_set_down(sink, true);
    mg_sink_tell_error(sink, err,
                       "lines wait and it is tried again, then they are lost and counted");
}

void mg_sink_worked(struct mg_sink *sink)
{
    sink->failing_ms = sink->delay_ms = 0;
    mg_sink_part_flushed(sink->part, mg_sink_now_us() - sink->begun_us);
    mg_sink_set_down(sink, false);
    mg_sink_tell_error(sink, 0, "");
}

void mg_sink_drop_rest(struct mg_sink *sink)
{
    const uint64_t before = sink->queue.counts.dropped;
    mg_sink_queue_drop_all(&sink->queue, MG_SINK_SHUTDOWN, mg_sink_wall_ms(sink));
    const uint64_t lost = sink->queue.counts.dropped - before;
    if (lost > 0) {
        mg_log_write(sink->sinks->parts.log, MG_LOG_WARN, "access-log",
                     "%" PRIu64 " lines for %s are lost: they could not be written in time", lost,
                     sink->name.ptr);
    }
}
