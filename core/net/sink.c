/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of sinks. */
#include "net/sink.h"

#include "net/sink_datagram.h"
#include "net/sink_http.h"
#include "net/sink_local.h"
#include "net/sink_syslog.h"
#include "net/sink_taken.h"
#include "net/sink_tcp.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

static void free_sink(struct mg_sink *sink)
{
    free(sink->texts);
    free(sink);
}

/* Closes it for good; the struct stays while there are references. */
static void end_sink(struct mg_sink *sink)
{
    tell_stats(sink);
    mg_deadline_cancel(&sink->retry);
    mg_link_remove(&sink->link);
    sink->type->close(sink);
    mg_sink_set_down(sink, false);
    sink->part->open--;
    mg_sink_queue_deinit(&sink->queue);
    sink->sinks = NULL;
    if (sink->references == 0) {
        free_sink(sink);
    }
}

/* --- opening --- */

static const struct mg_sink_type *type_of(enum mg_sink_kind kind)
{
    switch (kind) {
    case MG_SINK_DATAGRAM:
        return &mg_sink_datagram;
    case MG_SINK_TCP:
        return &mg_sink_tcp;
    case MG_SINK_HTTP:
        return &mg_sink_http;
    case MG_SINK_TAKEN:
        return &mg_sink_taken_type;
    default:
        return &mg_sink_local;
    }
}

static struct mg_sink *new_sink(struct mg_sinks *sinks, const struct mg_sink_settings *settings)
{
    const struct mg_sink_type *type = type_of(settings->kind);
    struct mg_sink *sink = calloc(1, type->bytes);
    mg_require(sink != NULL);
    sink->sinks = sinks;
    sink->type = type;
    mg_sink_settings_copy(&sink->settings, settings, &sink->texts);
    sink->name = sink->settings.name;
    sink->line_bytes = settings->queue_bytes;
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
        const uint32_t index = mg_sink_record_open(parts->shm, sink->name, mg_sink_wall_ms(sink));
        sink->part = mg_sink_part(parts->shm, index, parts->worker);
    }
    sink->part->open++;
    mg_sink_queue_init(&sink->queue, sink->settings.queue_bytes, sink->settings.queue_entries,
                       sink->settings.drop_newest, sink->part, mg_sink_wall_ms(sink));
    mg_list_append(&sink->sinks->all, &sink->link);
}

static struct mg_sink *find(struct mg_sinks *sinks, const struct mg_sink_settings *settings)
{
    for (struct mg_link *at = sinks->all.next; at != &sinks->all; at = at->next) {
        struct mg_sink *sink = MG_CONTAINER(at, struct mg_sink, link);
        if (mg_sink_settings_equal(&sink->settings, settings)) {
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
        const int err = sink->type->open ? sink->type->open(sink, message, message_bytes) : 0;
        if (err) {
            free_sink(sink);
            return err;
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
        free_sink(sink);
    }
}

/* --- lines --- */

size_t mg_sink_line_bytes(const struct mg_sink *sink)
{
    return sink->line_bytes;
}

void mg_sink_put(struct mg_sink *sink, mg_str line, unsigned severity)
{
    char prefix[MG_SYSLOG_HEAD_BYTES];
    if (!sink->sinks) {
        return; /* after the end */
    }
    const int64_t wall_ms = mg_sink_wall_ms(sink);
    if (line.len > sink->line_bytes) {
        mg_sink_queue_refuse(&sink->queue, MG_SINK_TOO_BIG, wall_ms);
    } else if (sink->settings.syslog) {
        const size_t length = mg_syslog_head(prefix, &sink->settings, severity, wall_ms);
        mg_sink_queue_put_with(&sink->queue, mg_str_make(prefix, length), line, wall_ms);
    } else {
        mg_sink_queue_put(&sink->queue, line, wall_ms);
    }
    tell_queued(sink);
}

void mg_sink_counts(const struct mg_sink *sink, struct mg_sink_counts *counts)
{
    *counts = sink->queue.counts;
}

/* --- the registry --- */

static bool is_idle(const struct mg_sink *sink)
{
    return mg_sink_queue_is_empty(&sink->queue) && !sink->type->is_busy(sink);
}

void mg_sinks_flush(struct mg_sinks *sinks)
{
    for (struct mg_link *at = sinks->all.next, *next; at != &sinks->all; at = next) {
        struct mg_sink *sink = MG_CONTAINER(at, struct mg_sink, link);
        next = at->next;
        if (!mg_deadline_armed(&sink->retry)) {
            sink->type->flush(sink);
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
        if (sink->type->reopen) {
            sink->type->reopen(sink);
        }
    }
}

struct mg_sinks *mg_sinks_open(const struct mg_sinks_parts *parts)
{
    struct mg_sinks *sinks = calloc(1, sizeof *sinks);
    mg_require(sinks != NULL);
    sinks->parts = *parts;
    mg_link_init(&sinks->all);
    mg_link_init(&sinks->dials);
    signal(SIGXFSZ, SIG_IGN);
    return sinks;
}

/* --- the end --- */

static uint64_t real_ms(void)
{
    return mg_sink_now_us() / 1000;
}

/* Sinks over the network, one step: is there something left that time may bring on? With a virtual
 * clock time does not go on, so nothing that waits for it does. */
static bool go_on(struct mg_sinks *sinks)
{
    bool goes_on = false;
    for (struct mg_link *at = sinks->all.next; at != &sinks->all; at = at->next) {
        struct mg_sink *sink = MG_CONTAINER(at, struct mg_sink, link);
        if (sink->type->finish) {
            continue;
        }
        if (!mg_deadline_armed(&sink->retry)) {
            sink->type->flush(sink);
        }
        const bool waits = mg_deadline_armed(&sink->retry) && sinks->parts.loop->clock.is_virtual;
        goes_on = goes_on || (!is_idle(sink) && !waits);
    }
    return goes_on;
}

static void finish_all(struct mg_sinks *sinks, uint64_t until_ms)
{
    for (struct mg_link *at = sinks->all.next; at != &sinks->all; at = at->next) {
        struct mg_sink *sink = MG_CONTAINER(at, struct mg_sink, link);
        if (sink->type->finish) {
            sink->type->finish(sink, until_ms);
        }
    }
    while (go_on(sinks) && real_ms() < until_ms) {
        mg_loop_step(sinks->parts.loop, false);
        usleep(1000);
    }
}

void mg_sinks_close(struct mg_sinks *sinks, uint64_t most_ms)
{
    sinks->closing = true;
    finish_all(sinks, real_ms() + most_ms);
    while (!mg_list_empty(&sinks->all)) {
        struct mg_sink *sink = MG_CONTAINER(sinks->all.next, struct mg_sink, link);
        if (sink->type->finish && sink->type->is_busy(sink)) {
            mg_sink_drop_rest(sink);
            mg_link_remove(&sink->link); /* a disk hangs: the thread keeps it for ever */
            sink->references++;
            sink->sinks = NULL;
            continue;
        }
        if (sink->type->give_up) {
            sink->type->give_up(sink);
        }
        sink->queue.busy = false;
        mg_sink_drop_rest(sink);
        end_sink(sink);
    }
    free(sinks);
}
