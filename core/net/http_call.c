/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request to another service:
 *
 *     IDLE --start--> [DIALLING] --> HEAD --> BODY --> DONE
 *
 * An idle connection that the peer closed before it said a byte is not a failure for methods that
 * may be sent again: a fresh one is dialled once. Other methods always take a fresh connection.
 */
#include "net/http_call.h"

#include "net/tls_stream.h"
#include "wire/rules.h"
#include "wire/write.h"

#include <stdlib.h>

#define ARENA_BYTES 4096
#define HEAD_BYTES (256 * 1024)      /* of one head, in and out: above every configurable limit */
#define BODY_BYTES (8 * 1024 * 1024) /* of an answer, when no limit is configured */
#define IDLE_CONNECTIONS 64          /* kept per host */

const struct mg_http_limits mg_http_builtin_limits = {
    .head = {.request_line = 8192,
             .header_bytes = 65536,
             .header_line = 16384,
             .header_name = 256,
             .header_count = 200},
    .chunk = {.line = 64, .extensions = 4096, .trailers = 20, .trailer_bytes = 8192},
    .interims = 8,
    .body = BODY_BYTES,
};

struct mg_http_call *mg_http_call_new(struct mg_loop *loop, struct mg_pool *pool,
                                      const struct mg_http_limits *limits)
{
    struct mg_http_call *call = calloc(1, sizeof *call);
    mg_require(call != NULL);
    call->loop = loop;
    call->pool = pool;
    call->limits = limits ? *limits : mg_http_builtin_limits;
    mg_arena_init(&call->arena, ARENA_BYTES);
    mg_headers_init(&call->fields, &call->arena);
    mg_headers_init(&call->head.headers, &call->arena);
    mg_buf_init(&call->body, call->limits.body ? call->limits.body : BODY_BYTES);
    mg_buf_init(&call->out, HEAD_BYTES);
    mg_buf_init(&call->in, HEAD_BYTES);
    mg_deadline_init(&call->deadline);
    return call;
}

void mg_http_call_bound(struct mg_http_call *call, size_t bytes)
{
    mg_buf_init(&call->body, bytes);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void let_go(struct mg_http_call *call)
{
    mg_deadline_cancel(&call->deadline);
    if (call->state == MG_HTTP_DIALLING) {
        mg_dial_cancel(&call->dial);
    }
    if (call->io) {
        mg_io_close(call->io);
        call->io = NULL;
    }
    if (call->origin) {
        mg_origin_release(call->origin);
        call->origin = NULL;
    }
    call->state = MG_HTTP_DONE;
}

static void finish(struct mg_http_call *call, int status)
{
    let_go(call);
    call->fn(call->context, status); /* may free the call */
}

void mg_http_call_cancel(struct mg_http_call *call)
{
    if (call->state != MG_HTTP_IDLE && call->state != MG_HTTP_DONE) {
        let_go(call);
    }
}

void mg_http_call_free(struct mg_http_call *call)
{
    if (!call) {
        return;
    }
    mg_http_call_cancel(call);
    mg_buf_deinit(&call->body);
    mg_buf_deinit(&call->out);
    mg_buf_deinit(&call->in);
    mg_arena_deinit(&call->arena);
    free(call);
}

/* --- the answer ------------------------------------------------------------------------------- */

/* rest: bytes behind the answer, which nobody asked for. */
static void complete(struct mg_http_call *call, mg_str rest)
{
    if (call->head.keep_alive && call->ask.keepalive_ms > 0 && rest.len == 0) {
        mg_pool_put(call->origin, call->io, IDLE_CONNECTIONS, call->ask.keepalive_ms);
        call->io = NULL;
    }
    finish(call, 0);
}

static void keep_body(struct mg_http_call *call, mg_str octets, bool last, mg_str rest)
{
    if (mg_buf_append(&call->body, octets)) {
        finish(call, MG_ERESPONSE_TOO_LARGE);
    } else if (last) {
        complete(call, rest);
    }
}

static void feed_length(struct mg_http_call *call, mg_str bytes)
{
    const size_t taken = bytes.len < call->remaining ? bytes.len : (size_t)call->remaining;
    call->remaining -= taken;
    keep_body(call, mg_str_slice(bytes, 0, taken), call->remaining == 0,
              mg_str_slice(bytes, taken, bytes.len));
}

static void feed_chunks(struct mg_http_call *call, mg_str bytes)
{
    while (bytes.len > 0) {
        size_t used;
        mg_str data;
        if (mg_chunk_next(&call->chunk, bytes, &used, &data)) {
            finish(call, MG_EBAD_RESPONSE);
            return;
        }
        bytes = mg_str_slice(bytes, used, bytes.len);
        if (call->chunk.done) {
            keep_body(call, data, true, bytes);
            return; /* the call may be gone */
        }
        if (mg_buf_append(&call->body, data)) {
            finish(call, MG_ERESPONSE_TOO_LARGE);
            return;
        }
    }
}

static void feed_body(struct mg_http_call *call, mg_str bytes)
{
    switch (call->head.framing) {
    case MG_FRAMING_LENGTH:
        feed_length(call, bytes);
        break;
    case MG_FRAMING_CHUNKED:
        feed_chunks(call, bytes);
        break;
    default:
        keep_body(call, bytes, false, bytes);
        break;
    }
}

/* A whole head lies in call->in. MG_EAGAIN after an interim answer: another head comes. */
static int take_head(struct mg_http_call *call)
{
    const mg_str text = mg_arena_copy_str(&call->arena, mg_buf_view(&call->in));
    const mg_str bytes = mg_str_slice(text, call->scan.skipped, text.len);
    mg_buf_clear(&call->in);
    call->scan = (struct mg_http1_scan){0};
    const int err = mg_http1_parse_response(&call->arena, bytes, &call->head);
    if (err) {
        return err;
    }
    if (call->head.status < 200) {
        const bool fine = call->head.status != 101 && ++call->interims <= call->limits.interims;
        return fine ? MG_EAGAIN : MG_EBAD_RESPONSE;
    }
    return mg_rules_check_response(&call->head, call->method);
}

static void begin_body(struct mg_http_call *call, mg_str bytes)
{
    call->state = MG_HTTP_BODY;
    call->remaining = call->head.content_length;
    mg_chunk_init(&call->chunk, &call->limits.chunk);
    const bool empty = call->head.framing == MG_FRAMING_NONE ||
                       (call->head.framing == MG_FRAMING_LENGTH && call->remaining == 0);
    if (empty) {
        complete(call, bytes);
    } else if (bytes.len > 0) {
        feed_body(call, bytes);
    }
}

static void feed_head(struct mg_http_call *call, mg_str bytes)
{
    while (bytes.len > 0) {
        size_t used;
        const int err =
            mg_http1_scan(&call->scan, MG_HTTP1_RESPONSE, &call->limits.head, bytes, &used);
        if ((err && err != MG_EAGAIN) || mg_buf_append(&call->in, mg_str_slice(bytes, 0, used))) {
            finish(call, MG_EBAD_RESPONSE);
            return;
        }
        bytes = mg_str_slice(bytes, used, bytes.len);
        if (err == MG_EAGAIN) {
            return;
        }
        const int taken = take_head(call);
        if (taken == 0) {
            begin_body(call, bytes);
            return;
        }
        if (taken != MG_EAGAIN) {
            call->head.status = 0; /* nothing of it is to be believed */
            finish(call, MG_EBAD_RESPONSE);
            return;
        }
    }
}

static void on_data(void *context, mg_str bytes)
{
    struct mg_http_call *call = context;
    call->heard = true;
    if (call->state == MG_HTTP_HEAD) {
        feed_head(call, bytes);
    } else {
        feed_body(call, bytes);
    }
}

/* --- the connection --------------------------------------------------------------------------- */

static int dial(struct mg_http_call *call);

static void broken(struct mg_http_call *call, int status)
{
    if (call->reused && !call->heard) {
        mg_io_close(call->io);
        call->io = NULL;
        call->reused = false;
        status = dial(call);
        if (status == 0) {
            return;
        }
    }
    finish(call, status);
}

static void on_end(void *context, int status)
{
    struct mg_http_call *call = context;
    if (status == MG_ECLOSED && call->state == MG_HTTP_BODY &&
        call->head.framing == MG_FRAMING_CLOSE) {
        finish(call, 0);
        return;
    }
    broken(call, status);
}

static void on_drain(void *context, int status)
{
    if (status) {
        broken(context, status);
    }
}

static const struct mg_io_handler io_handler = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
};

static int send_request(struct mg_http_call *call, struct mg_io *io)
{
    const mg_str parts[] = {mg_buf_view(&call->out), call->ask.body};
    call->io = io;
    call->state = MG_HTTP_HEAD;
    mg_io_set_handler(io, &io_handler, call);
    const int err = mg_io_write(io, parts, call->ask.body.len > 0 ? 2 : 1);
    if (!err) {
        mg_io_read_start(io);
    }
    return err;
}

static void on_secure(void *context, int status, const char *text)
{
    struct mg_http_call *call = context;
    call->reason = mg_arena_copy_str(&call->arena, mg_str_from(text));
    status = status ? status : send_request(call, call->io);
    if (status) {
        finish(call, status);
    }
}

static void on_dial(struct mg_dial *done, int status, struct mg_io *io)
{
    struct mg_http_call *call = MG_CONTAINER(done, struct mg_http_call, dial);
    call->state = MG_HTTP_HEAD;
    if (status == 0 && call->ask.tls) {
        call->io = io;
        mg_tls_stream_start(io, mg_tls_client(call->ask.tls, call->ask.server_name), on_secure,
                            call);
        return;
    }
    if (status == 0) {
        status = send_request(call, io);
    }
    if (status) {
        finish(call, status);
    }
}

static int dial(struct mg_http_call *call)
{
    call->dial.fn = on_dial;
    const struct mg_http_ask *ask = &call->ask;
    const int err =
        mg_pool_dial(call->origin, &call->dial,
                     ask->connect_timeout_ms ? ask->connect_timeout_ms : ask->timeout_ms);
    if (!err) {
        call->state = MG_HTTP_DIALLING;
    }
    return err;
}

static void on_timeout(struct mg_deadline *deadline)
{
    finish(MG_CONTAINER(deadline, struct mg_http_call, deadline), MG_ETIMEOUT);
}

/* --- the request ------------------------------------------------------------------------------ */

/* Path and query as they may stand in a request line. */
static bool is_target(mg_str path)
{
    for (size_t i = 0; i < path.len; i++) {
        if (path.ptr[i] <= ' ' || path.ptr[i] >= 0x7f || path.ptr[i] == '#') {
            return false;
        }
    }
    return path.len > 0 && path.ptr[0] == '/';
}

static void copy_ask(struct mg_http_call *call, const struct mg_http_ask *ask)
{
    call->ask = *ask;
    call->ask.host = mg_arena_copy_str(&call->arena, ask->host);
    call->ask.method = mg_arena_copy_str(&call->arena, ask->method);
    call->ask.path = mg_arena_copy_str(&call->arena, ask->path);
    call->ask.host_field = mg_arena_copy_str(&call->arena, ask->host_field);
    call->ask.body = mg_arena_copy_str(&call->arena, ask->body);
    call->ask.server_name = mg_arena_copy_str(&call->arena, ask->server_name);
}

static int write_head(struct mg_http_call *call)
{
    const struct mg_http_ask *ask = &call->ask;
    const bool has_length = ask->body.len > 0 || mg_str_equal(ask->method, MG_STR("POST")) ||
                            mg_str_equal(ask->method, MG_STR("PUT")) ||
                            mg_str_equal(ask->method, MG_STR("PATCH"));
    const struct mg_write_request request = {
        .method = ask->method,
        .path = ask->path,
        .host = ask->host_field,
        .headers = &call->fields,
        .framing = {.kind = has_length ? MG_FRAMING_LENGTH : MG_FRAMING_NONE,
                    .length = ask->body.len,
                    .omit = !has_length},
        .close = ask->keepalive_ms == 0,
    };
    return mg_write_request_head(&call->out, &request);
}

static int begin(struct mg_http_call *call)
{
    call->origin = mg_pool_origin_of(call->pool, call->ask.host, call->ask.port, call->ask.kind);
    struct mg_io *io = mg_method_is_idempotent(call->method) || call->ask.repeatable
                           ? mg_pool_take(call->origin, true)
                           : NULL;
    if (io) {
        call->reused = true;
        if (send_request(call, io) == 0) {
            return 0;
        }
        mg_io_close(io);
        call->io = NULL;
        call->reused = false;
    }
    return dial(call);
}

int mg_http_call_start(struct mg_http_call *call, const struct mg_http_ask *ask,
                       mg_http_done_fn *fn, void *context)
{
    call->method = mg_method_of(ask->method);
    if (call->method == MG_METHOD_UNKNOWN || !is_target(ask->path) || ask->host.len == 0 ||
        !mg_is_field_value(ask->host_field) || !call->pool) {
        return MG_EINVALID;
    }
    copy_ask(call, ask);
    call->fn = fn;
    call->context = context;
    int err = write_head(call);
    if (!err) {
        err = begin(call);
    }
    if (err) {
        let_go(call);
        return err;
    }
    if (ask->timeout_ms > 0) {
        mg_deadline_arm_at(&call->loop->deadlines, &call->deadline, on_timeout,
                           mg_loop_now_ms(call->loop) + ask->timeout_ms);
    }
    return 0;
}
