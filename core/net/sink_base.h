/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all kinds of log sinks have in common; private to net/sink*. A kind is a table of functions
 * and a struct that begins with struct mg_sink:
 *
 *     const struct mg_sink_type mg_sink_http = {.bytes = sizeof(struct http_sink), .flush = flush,
 *     ...};
 *
 * A flush hands on what the queue has, as far as that goes without waiting. It may leave lines:
 * it is called again in each loop turn, but not before `retry` has fired.
 */
#pragma once

#include "base/log.h"
#include "base/stats.h"
#include "net/loop.h"
#include "net/pool.h"
#include "net/sink_queue.h"
#include "net/sink_settings.h"
#include "net/tls.h"

struct mg_sink;
struct mg_shm;

struct mg_sink_type {
    size_t bytes; /* of the struct */
    /* Optional. 0, or negative errno with a sentence; then nothing is open. */
    int (*open)(struct mg_sink *sink, char *message, size_t message_bytes);
    void (*flush)(struct mg_sink *sink);
    bool (*is_busy)(const struct mg_sink *sink); /* something is under way */
    void (*reopen)(struct mg_sink *sink);        /* optional */
    /* Optional: at the end of the process, hands on what it can until then; may wait. */
    void (*finish)(struct mg_sink *sink, uint64_t until_ms);
    /* Optional: what is under way is over; accounts for what of it was written. */
    void (*give_up)(struct mg_sink *sink);
    void (*close)(struct mg_sink *sink);
};

/* What sinks are made of; all but loop may be NULL. */
struct mg_sinks_parts {
    struct mg_loop *loop;
    struct mg_stats *stats; /* counts lines written and lost */
    struct mg_log *log;     /* told when a sink fails and works again */
    struct mg_dns *dns;     /* NULL: no sinks over the network */
    struct mg_shm *shm;     /* counters of each sink, in the part of ... */
    uint32_t worker;
};

struct mg_sinks {
    struct mg_sinks_parts parts;
    struct mg_link dials; /* of TCP sinks */
    struct mg_link all;   /* struct mg_sink */
    bool closing;
};

struct mg_sink {
    struct mg_link link;
    struct mg_sinks *sinks; /* NULL after the end */
    const struct mg_sink_type *type;
    struct mg_sink_settings settings;
    char *texts; /* of the settings */
    mg_str name; /* in records of loss */
    uint32_t references;
    size_t line_bytes; /* of the longest line it takes, with LF */
    struct mg_sink_queue queue;
    struct mg_sink_counts told; /* what stats know already */
    struct mg_sink_part *part;  /* in the shared memory, or own_part */
    struct mg_sink_part own_part;
    bool down; /* part counts it as failing */
    int err;   /* that the error log was told of */

    /* records of loss that are being written, and what they tell */
    char lead[MG_SINK_LOSS_BYTES];
    size_t lead_len;
    struct mg_sink_loss lead_losses[MG_SINK_REASONS];
    uint64_t begun_us; /* when what is being written was begun */

    struct mg_deadline retry; /* armed: nothing is tried before */
    uint64_t failing_ms;      /* when the first of a row of failures was seen; 0: none */
    uint64_t delay_ms;        /* of the last of them */
};

static inline struct mg_loop *mg_sink_loop(const struct mg_sink *sink)
{
    return sink->sinks->parts.loop;
}

/* The TLS of its connections: NULL where it has none. MG_EINVALID with a sentence. */
MG_NODISCARD int mg_sink_tls_new(const struct mg_sink *sink, struct mg_tls_context **out,
                                 char *message, size_t message_bytes);
/* Whose certificate is expected. */
mg_str mg_sink_server_name(const struct mg_sink *sink);

int64_t mg_sink_wall_ms(const struct mg_sink *sink);
/* Real microseconds, also where the loop's clock is virtual. */
uint64_t mg_sink_now_us(void);
/* No flush before that. */
void mg_sink_retry_later(struct mg_sink *sink, uint64_t ms);
void mg_sink_set_down(struct mg_sink *sink, bool down);
/* To the error log, when it begins or ceases to fail; then: what becomes of lines. */
void mg_sink_tell_error(struct mg_sink *sink, int err, const char *then);

/* Something is about to be written: takes the records of loss into sink->lead. */
void mg_sink_begin(struct mg_sink *sink);
/* It was: bytes of the queue's batch, and the lead as a whole or not at all. */
void mg_sink_wrote(struct mg_sink *sink, bool lead, size_t bytes);

/* An attempt over the network failed: waits longer from time to time, at least least_ms; what could
 * not be delivered for for_ms is dropped, a batch at a time. */
void mg_sink_failed(struct mg_sink *sink, int err, uint64_t least_ms);
void mg_sink_worked(struct mg_sink *sink);
/* At the end: what is queued is lost. Says it in the error log too, since nobody may look at the
 * counters any more. Not while the batch is busy. */
void mg_sink_drop_rest(struct mg_sink *sink);
