/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches over HTTP. A batch is sent when it is full or its first line has waited for flush_ms, and
 * stays in the queue until an answer says what became of it:
 *
 *     2xx                                 taken
 *     408, 429, 5xx, no answer, garbage   sent again later; not before Retry-After says
 *     anything else                       dropped as refused
 *
 * The answer's head decides; its body is read up to a small bound, so that the connection can be
 * used again, and thrown away.
 */
#define _GNU_SOURCE /* strptime, timegm */
#include "net/sink_http.h"

#include "net/http_call.h"
#include "wire/gzip.h"

#include <stdlib.h>
#include <time.h>

#define BATCH_BYTES (256 * 1024) /* of lines, or one longer line; packed in 2 ms */
#define ANSWER_BYTES (64 * 1024) /* of an answer's body */
#define LONGEST_WAIT_MS 3600000  /* that Retry-After can ask for */

struct http_sink {
    struct mg_sink sink;
    struct mg_pool *pool; /* its own: a connection is as safe as this sink wants it */
    struct mg_tls_context *tls;
    struct mg_http_call *call; /* under way, or NULL */
    size_t piece;              /* bytes of the queue's batch in it */
    struct mg_buf body, packed;
    struct mg_deadline wait; /* armed: lines wait for others */
    bool due;                /* they have waited long enough */
};

static struct http_sink *http_of(const struct mg_sink *sink)
{
    return MG_CONTAINER(sink, struct http_sink, sink);
}

static int open_http(struct mg_sink *sink, char *message, size_t message_bytes)
{
    struct http_sink *http = http_of(sink);
    const int err = mg_sink_tls_new(sink, &http->tls, message, message_bytes);
    if (err) {
        return err;
    }
    if (sink->sinks->parts.dns) {
        const int opened = mg_pool_open(&http->pool, mg_sink_loop(sink), sink->sinks->parts.dns);
        mg_require(opened == 0);
    }
    mg_buf_init(&http->body, SIZE_MAX);
    mg_buf_init(&http->packed, SIZE_MAX);
    mg_deadline_init(&http->wait);
    return 0;
}

static void drop_call(struct http_sink *http)
{
    mg_http_call_free(http->call);
    http->call = NULL;
    http->piece = 0;
    mg_buf_deinit(&http->body); /* batches are rare, and their memory large */
    mg_buf_deinit(&http->packed);
}

static void close_http(struct mg_sink *sink)
{
    struct http_sink *http = http_of(sink);
    mg_deadline_cancel(&http->wait);
    drop_call(http);
    if (http->pool) {
        mg_pool_close(http->pool);
    }
    mg_tls_context_free(http->tls);
}

/* --- answers -------------------------------------------------------------------------------- */

/* Retry-After: seconds, or a date (RFC 9110, 10.2.3). 0: none, or one that says nothing. */
static uint64_t retry_after_ms(const struct http_sink *http)
{
    const struct mg_header *field =
        mg_headers_known(&http->call->head.headers, MG_HEADER_RETRY_AFTER);
    char text[40] = "";
    if (!field || field->value.len >= sizeof text) {
        return 0;
    }
    memcpy(text, field->value.ptr, field->value.len);
    char *end;
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || text[0] == '-') {
        struct tm tm = {0};
        const char *rest = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        seconds = rest && *rest == '\0'
                      ? (double)timegm(&tm) - (double)mg_sink_wall_ms(&http->sink) / 1000
                      : 0;
    }
    const double ms = seconds * 1000;
    return ms > 0 ? (ms < LONGEST_WAIT_MS ? (uint64_t)ms : LONGEST_WAIT_MS) : 0;
}

static bool may_be_taken_later(unsigned status)
{
    return status == 408 || status == 429 || status >= 500;
}

static void refuse(struct http_sink *http, unsigned status)
{
    struct mg_sink *sink = &http->sink;
    struct mg_sink_queue *queue = &sink->queue;
    const mg_str piece = mg_str_slice(mg_buf_view(&queue->batch), 0, http->piece);
    mg_sink_wrote(sink, false, 0); /* nothing is busy any more */
    mg_sink_queue_drop_bytes(queue, piece.len, MG_SINK_REFUSED, mg_sink_wall_ms(sink));
    sink->failing_ms = sink->delay_ms = 0;
    if (sink->err != MG_EUNSUPPORTED) {
        mg_log_write(sink->sinks->parts.log, MG_LOG_ERROR, "access-log",
                     "%s answers %u; such batches are lost and counted", sink->name.ptr, status);
    }
    sink->err = MG_EUNSUPPORTED; /* said once, until one is taken */
    mg_sink_set_down(sink, true);
}

/* status: of the transport; the head may be there all the same (an endless body). */
static void on_done(void *context, int status)
{
    struct http_sink *http = context;
    struct mg_sink *sink = &http->sink;
    const unsigned answer = http->call->head.status >= 200 ? http->call->head.status : 0;
    if (answer >= 200 && answer < 300) {
        mg_sink_wrote(sink, true, http->piece);
        mg_sink_worked(sink);
    } else if (answer == 0 || may_be_taken_later(answer)) {
        const uint64_t least_ms = answer ? retry_after_ms(http) : 0;
        mg_sink_wrote(sink, false, 0);
        mg_sink_failed(sink, answer || !status ? MG_EBAD_RESPONSE : status, least_ms);
    } else {
        refuse(http, answer);
    }
    drop_call(http);
}

/* --- requests ------------------------------------------------------------------------------- */

static void append(struct mg_buf *to, mg_str bytes)
{
    const int err = mg_buf_append(to, bytes);
    mg_require(err == 0); /* the buffer's only bound is what a batch may have */
}

/* [a,b] out of a\nb\n */
static void append_array(struct mg_buf *to, mg_str lines, bool *is_first)
{
    while (lines.len > 0) {
        const size_t end = (size_t)mg_str_find(lines, '\n', 0);
        append(to, *is_first ? MG_STR("[") : MG_STR(","));
        append(to, mg_str_slice(lines, 0, end));
        lines = mg_str_slice(lines, end + 1, lines.len);
        *is_first = false;
    }
}

static void fill_body(struct http_sink *http, mg_str lines)
{
    struct mg_sink *sink = &http->sink;
    const mg_str lead = mg_str_make(sink->lead, sink->lead_len);
    bool is_first = true;
    mg_buf_clear(&http->body);
    switch (sink->settings.encoding) {
    case MG_SINK_JSON:
        append_array(&http->body, lead, &is_first);
        append_array(&http->body, lines, &is_first);
        append(&http->body, MG_STR("]"));
        break;
    case MG_SINK_SINGLE:
        append(&http->body, mg_str_slice(lines, 0, lines.len - 1));
        break;
    default:
        append(&http->body, lead);
        append(&http->body, lines);
        break;
    }
}

static void add_fields(struct http_sink *http, bool packed)
{
    const struct mg_sink_settings *settings = &http->sink.settings;
    struct mg_headers *fields = &http->call->fields;
    mg_headers_add(fields, MG_STR("Content-Type"), settings->content_type);
    if (packed) {
        mg_headers_add(fields, MG_STR("Content-Encoding"), MG_STR("gzip"));
    }
    mg_str rest = settings->headers;
    while (rest.len > 0) {
        const size_t end = (size_t)mg_str_find(rest, '\n', 0);
        const ptrdiff_t colon = mg_str_find(rest, ':', 0);
        mg_headers_add(fields, mg_str_slice(rest, 0, (size_t)colon),
                       mg_str_slice(rest, (size_t)colon + 2, end));
        rest = mg_str_slice(rest, end + 1, rest.len);
    }
}

static int start_call(struct http_sink *http, mg_str body, bool packed)
{
    struct mg_http_limits limits = mg_http_builtin_limits;
    struct mg_sink *sink = &http->sink;
    const struct mg_sink_settings *settings = &sink->settings;
    const struct mg_http_ask ask = {.host = settings->host,
                                    .port = settings->port,
                                    .method = settings->method,
                                    .path = settings->target,
                                    .host_field = settings->host_field,
                                    .body = body,
                                    .timeout_ms = settings->connect_ms + settings->timeout_ms,
                                    .connect_timeout_ms = settings->connect_ms,
                                    .repeatable = true,
                                    .tls = http->tls,
                                    .server_name = mg_sink_server_name(sink),
                                    .keepalive_ms = settings->keepalive_ms};
    limits.body = ANSWER_BYTES;
    http->call = mg_http_call_new(mg_sink_loop(sink), http->pool, &limits);
    add_fields(http, packed);
    return mg_http_call_start(http->call, &ask, on_done, http);
}

static void send_batch(struct http_sink *http)
{
    struct mg_sink *sink = &http->sink;
    mg_sink_queue_top_up_batch(&sink->queue, BATCH_BYTES);
    const mg_str lines = mg_sink_queue_lines(&sink->queue.batch, BATCH_BYTES, sink->settings.batch);
    mg_sink_begin(sink);
    http->piece = lines.len;
    http->due = false;
    fill_body(http, lines);
    const bool packed =
        sink->settings.gzip && mg_gzip(&http->packed, mg_buf_view(&http->body)) == 0;
    const int err = start_call(http, mg_buf_view(packed ? &http->packed : &http->body), packed);
    if (err) {
        mg_sink_wrote(sink, false, 0);
        mg_sink_failed(sink, err, 0);
        drop_call(http);
    }
}

static void on_wait(struct mg_deadline *deadline)
{
    MG_CONTAINER(deadline, struct http_sink, wait)->due = true; /* the flush of this turn sends */
}

static void flush_http(struct mg_sink *sink)
{
    struct http_sink *http = http_of(sink);
    struct mg_loop *loop = mg_sink_loop(sink);
    if (http->call || mg_sink_queue_is_empty(&sink->queue)) {
        return;
    }
    const bool send = http->due || sink->queue.counts.queued >= sink->settings.batch ||
                      sink->failing_ms > 0 || sink->references == 0 || sink->sinks->closing;
    if (send) {
        mg_deadline_cancel(&http->wait);
        send_batch(http);
    } else if (!mg_deadline_armed(&http->wait)) {
        mg_deadline_arm_at(&loop->deadlines, &http->wait, on_wait,
                           mg_loop_now_ms(loop) + sink->settings.flush_ms);
    }
}

static bool is_busy(const struct mg_sink *sink)
{
    return http_of(sink)->call != NULL;
}

const struct mg_sink_type mg_sink_http = {
    .bytes = sizeof(struct http_sink),
    .open = open_http,
    .flush = flush_http,
    .is_busy = is_busy,
    .close = close_http,
};
