/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The attempts at upstreams: pick a target, send the head and the body as it comes. Body octets are
 * kept (x->kept) while the request could still be sent again and they are few; then they pass
 * straight through.
 */
#include "flow/exchange.h"

#include "base/prefetch.h"
#include "script/seen.h"
#include "wire/rules.h"

static struct mg_exchange *exchange_of(struct mg_upstream *upstream)
{
    return MG_CONTAINER(upstream, struct mg_exchange, upstream);
}

static uint64_t now_us(const struct mg_exchange *x)
{
    return x->server->parts.loop->clock.now_us;
}

static struct mg_try *present_try(struct mg_exchange *x)
{
    const uint32_t count = x->req.try_count;
    return &x->req.tries[count > MG_TRIES ? MG_TRIES - 1 : count - 1];
}

static void begin_try(struct mg_exchange *x, struct mg_origin *origin)
{
    const mg_str name = mg_origin_name(origin);
    if (x->req.try_count++ == 0) {
        mg_retry_first(mg_retry_record(x));
    }
    /* the origin of a plugin's target may be gone before the log phase reads its name */
    *present_try(x) =
        (struct mg_try){.target = x->fixed ? mg_arena_copy_str(&x->req.arena, name) : name};
    x->try_started_us = now_us(x);
    mg_stats_add(x->server->parts.stats, MG_STAT_UPSTREAM_TRIES, 1);
}

/* The client is told little; whoever reads the error log, which target failed and how. */
void mg_attempt_log_failure(const struct mg_exchange *x, mg_str target, int error, bool again)
{
    const struct mg_req *req = &x->req;
    char route[256];
    char service[256];
    const bool stale = again && x->upstream.reused; /* it was closed while it was idle: usual */
    mg_log_write(
        x->server->parts.log,
        stale   ? MG_LOG_INFO
        : again ? MG_LOG_WARN
                : MG_LOG_ERROR,
        "upstream", "%.*s: %s%s outcome=%s route=%s service=%s request_id=%.*s", MG_STR_ARG(target),
        mg_err_text(error), again ? ", trying again" : "",
        mg_outcome_word(mg_fail_outcome(x, error)),
        mg_log_quote(route, sizeof route, req->route ? req->route->name : MG_STR("")),
        mg_log_quote(service, sizeof service, req->service ? req->service->name : MG_STR("")),
        MG_STR_ARG(req->request_id));
}

/* One attempt; failures to find a target end the request. */
void mg_attempt_start(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    struct mg_origin *origin = NULL;
    const int err = mg_target_pick(x, &origin);
    if (err == MG_EAGAIN) {
        return;
    }
    if (err) {
        mg_attempt_log_failure(x, req->service ? req->service->host : req->up.upstream, err, false);
        mg_fail(x, err);
        return;
    }
    begin_try(x, origin);
    mg_retry_time(x);
    x->head_out = x->tail_out = false;
    x->kept_sent = 0;
    const enum mg_method method = mg_method_of(req->up.method);
    const struct mg_upstream_ask ask = {
        .origin = origin,
        .arena = &req->arena,
        .limits = req->route ? req->route->limits : &req->config->gateway.limits,
        .method = method,
        .connect_timeout = req->up.connect_timeout,
        .read_timeout = req->up.read_timeout,
        .write_timeout = req->up.write_timeout,
        .fresh = x->fresh,
        .once = x->body_due || !mg_method_is_idempotent(method),
        .want_tunnel = x->upgrade.len > 0,
    };
    mg_upstream_start(&x->upstream, &ask);
}

static void on_head_timeout(struct mg_deadline *deadline)
{
    struct mg_exchange *x = MG_CONTAINER(deadline, struct mg_exchange, probe_deadline);
    mg_stats_add(x->server->parts.stats, MG_STAT_UPSTREAM_HEAD_TIMEOUT, 1);
    mg_fail_with(x, 503, x->req.up.head_outcome);
}

/* The gateway's own fields, once for all attempts. */
static void add_forwarding(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    const struct mg_header *host = mg_headers_known(&req->head.headers, MG_HEADER_HOST);
    const bool strips = req->route && req->route->strip_path && req->match.matched > 1;
    const struct mg_rules_forward forward = {
        .peer_ip = req->peer_ip,
        .proto = MG_STR("http"),
        .host = host ? host->value : req->host.name,
        .port = req->server_port,
        .path = req->uri.path,
        .prefix =
            strips ? mg_str_slice(req->uri.path, 0, req->match.matched) : mg_str_make(NULL, 0),
        .via = req->config->gateway.headers.via,
        .via_1_1 = req->config->gateway.headers.via_1_1,
        .minor = req->head.minor,
    };
    mg_rules_add_forwarding(&req->head.headers, &forward);
}

void mg_attempt_begin(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    req->upstream_begin_us = now_us(x);
    x->retries_left = req->up.retries;
    add_forwarding(x);
    if (req->up.head_timeout > 0) {
        struct mg_deadlines *all = &x->server->parts.loop->deadlines;
        mg_deadline_arm_at(all, &x->probe_deadline, on_head_timeout,
                           mg_loop_now_ms(x->server->parts.loop) + req->up.head_timeout);
    }
    mg_attempt_start(x);
}

void mg_attempt_give_up(struct mg_exchange *x, int error)
{
    mg_attempt_log_failure(x, present_try(x)->target, error, false);
    mg_fail(x, error);
}

void mg_attempt_continue(struct mg_exchange *x)
{
    if (x->continue_sent || !x->client) {
        return;
    }
    x->continue_sent = true;
    const mg_str line = MG_STR("HTTP/1.1 100 Continue\r\n\r\n");
    mg_client_write(x->client, &line, 1);
    mg_client_ask_body(x->client);
}

/* --- sending --- */

static mg_str upstream_host(const struct mg_exchange *x)
{
    const struct mg_req *req = &x->req;
    if (req->up.host.len) {
        return req->up.host;
    }
    const struct mg_header *host = mg_headers_known(&req->head.headers, MG_HEADER_HOST);
    if (req->route && req->route->preserve_host && host) {
        return host->value;
    }
    if (x->group && x->group->upstream && x->group->upstream->host_header.len) {
        return x->group->upstream->host_header;
    }
    const mg_str target = req->tries[0].target;
    if (mg_str_starts(target, MG_STR("unix:"))) {
        return MG_STR("localhost");
    }
    const mg_str name = mg_origin_name(x->upstream.origin);
    return mg_str_ends(name, MG_STR(":80")) ? mg_str_slice(name, 0, name.len - 3) : name;
}

static struct mg_write_framing request_framing(const struct mg_exchange *x)
{
    const struct mg_req *req = &x->req;
    if (req->body_state == MG_BODY_WHOLE &&
        (req->body_replaced || req->head.framing != MG_FRAMING_NONE)) {
        return (struct mg_write_framing){.kind = MG_FRAMING_LENGTH, .length = req->body.len};
    }
    return (struct mg_write_framing){.kind = req->head.framing, .length = req->head.content_length};
}

static int build_head(struct mg_exchange *x, struct mg_write_framing framing)
{
    struct mg_req *req = &x->req;
    const struct mg_write_request head = {
        .method = req->up.method,
        .path = req->up.path,
        .query = req->up.query,
        .has_query = req->up.has_query,
        .host = upstream_host(x),
        .headers = &req->head.headers,
        .framing = framing,
        .upgrade = x->upgrade,
    };
    mg_buf_clear(&x->server->head);
    return mg_write_request_head(&x->server->head, &head);
}

/* Writes octets in the body's framing, after an optional head. */
static void send_octets(struct mg_exchange *x, mg_str head, mg_str octets, bool last)
{
    mg_str parts[5];
    char line[20];
    size_t count = 0;
    if (head.len) {
        parts[count++] = head;
    }
    const bool chunked =
        x->req.body_state != MG_BODY_WHOLE && x->req.head.framing == MG_FRAMING_CHUNKED;
    if (octets.len && chunked) {
        parts[count++] = mg_str_make(line, mg_write_chunk_head(line, octets.len));
    }
    if (octets.len) {
        parts[count++] = octets;
    }
    if (octets.len && chunked) {
        parts[count++] = MG_CHUNK_END;
    }
    if (last && chunked) {
        parts[count++] = MG_CHUNK_LAST;
    }
    if (count > 0 && mg_upstream_write(&x->upstream, parts, count) != 0) {
        return; /* the upstream is gone; its last words, or its end, come by its events */
    }
}

/* A pipe is filled when it is empty. */
static size_t high_water(const struct mg_upstream *upstream)
{
    return upstream->io && mg_io_is_splicing(upstream->io) ? 1 : MG_HIGH_WATER;
}

static void after_send(struct mg_exchange *x)
{
    if (x->tail_out) {
        mg_upstream_await(&x->upstream);
        if (x->client) { /* read on: its end must be seen */
            mg_client_resume(x->client);
        }
    } else if (x->client && mg_upstream_queued(&x->upstream) >= high_water(&x->upstream)) {
        mg_client_pause(x->client);
    } else if (x->client) {
        mg_client_resume(x->client);
    }
}

static void on_ready(struct mg_upstream *upstream)
{
    struct mg_exchange *x = exchange_of(upstream);
    struct mg_req *req = &x->req;
    if (!upstream->reused) {
        present_try(x)->connect_us = (uint32_t)(now_us(x) - x->try_started_us);
        req->connect_us += now_us(x) - x->try_started_us;
    }
    if (build_head(x, request_framing(x)) != 0) {
        mg_fail(x, MG_ENO_MEMORY);
        return;
    }
    const bool whole = req->body_state == MG_BODY_WHOLE;
    const mg_str body = whole ? req->body : mg_buf_view(&x->kept);
    x->head_out = true;
    x->kept_sent = x->kept.len;
    x->tail_out = whole || !x->body_due;
    send_octets(x, mg_buf_view(&x->server->head), body, x->tail_out);
    if (!x->tail_out) {
        mg_attempt_continue(x);
    }
    after_send(x);
}

/* Beyond this the body is not kept for another attempt. */
static bool keep_more(const struct mg_exchange *x, size_t more)
{
    const struct mg_limits *limits =
        x->req.route ? x->req.route->limits : &x->req.config->gateway.limits;
    const bool may_keep = !x->req.route || x->req.route->request_buffering;
    return may_keep && !x->body_streaming && x->kept.len + more <= limits->request_buffer;
}

void mg_attempt_body(struct mg_exchange *x, mg_str octets, bool last)
{
    if (x->state != MG_EXCHANGE_UPSTREAM && !x->head_out) {
        return; /* answered without an upstream */
    }
    if (x->req.body_state == MG_BODY_WHOLE) {
        return; /* a plugin has put another body in its place: never a byte of this one */
    }
    const bool ready = x->head_out && x->upstream.io;
    if (!ready) {
        if (x->state == MG_EXCHANGE_UPSTREAM && mg_buf_append(&x->kept, octets) != 0) {
            mg_fail(x, MG_EBODY_TOO_LARGE);
            return;
        }
        if (x->client && x->kept.len >= MG_HIGH_WATER) {
            mg_client_pause(x->client);
        }
        return;
    }
    if (keep_more(x, octets.len) && x->state == MG_EXCHANGE_UPSTREAM) {
        if (mg_buf_append(&x->kept, octets) == 0) {
            x->kept_sent = x->kept.len;
        }
    } else if (!x->body_streaming) {
        x->body_streaming = true; /* no second attempt from here on */
        mg_buf_clear(&x->kept);
    }
    x->tail_out = last;
    send_octets(x, mg_str_make(NULL, 0), octets, last);
    if (x->body_streaming && x->client && x->upstream.io &&
        !mg_seen_wants(&x->req, MG_SEEN_REQUEST)) {
        mg_client_splice(x->client, x->upstream.io);
    }
    after_send(x);
}

void mg_attempt_spliced(struct mg_exchange *x)
{
    mg_upstream_given(&x->upstream);
    after_send(x);
}

/* --- what comes of it --- */

static void on_interim(struct mg_upstream *upstream, struct mg_response_head *head)
{
    struct mg_exchange *x = exchange_of(upstream);
    if (head->status == 100 || !x->client || x->req.head.minor == 0) {
        return; /* 100 was answered by the gateway */
    }
    mg_rules_clean_response(&head->headers);
    const struct mg_write_response interim = {
        .status = head->status, .headers = &head->headers, .framing = {.omit = true}};
    mg_buf_clear(&x->server->head);
    if (mg_write_response_head(&x->server->head, &interim) == 0) {
        const mg_str part = mg_buf_view(&x->server->head);
        mg_client_write(x->client, &part, 1);
    }
}

/* The answer begins while the client still owes octets of its body. Where none has been sent, none
 * will be (docs/threat-model.md); in any case the upstream must go on answering in time. */
static void expect_answer_alone(struct mg_exchange *x)
{
    if (x->kept_sent == 0 && !x->body_streaming) {
        x->body_discarded = true;
        mg_upstream_await(&x->upstream);
    }
}

/* For the balancer: how long it took, or would have taken. */
static void note_latency(struct mg_exchange *x)
{
    if (x->peer) {
        mg_balance_latency(x->group, x->peer, now_us(x) - x->try_started_us, now_us(x) / 1000);
    }
}

static void note_answer(struct mg_exchange *x, uint16_t status)
{
    if (x->result_due) {
        mg_target_result(x, MG_TRIED_ANSWERED, status);
        note_latency(x);
    }
}

static void on_head(struct mg_upstream *upstream, struct mg_response_head *head)
{
    struct mg_exchange *x = exchange_of(upstream);
    present_try(x)->status = head->status;
    present_try(x)->ttfb_us = (uint32_t)(now_us(x) - x->try_started_us);
    mg_deadline_cancel(&x->try_deadline);
    note_answer(x, head->status);
    if (mg_retry_answered(x, head)) {
        return;
    }
    mg_deadline_cancel(&x->probe_deadline);
    x->req.upstream_head_us = now_us(x);
    if (!x->tail_out) {
        x->answered_early = true;
        expect_answer_alone(x);
    }
    if (head->status == 101) {
        mg_tunnel_begin(x, head);
        return;
    }
    mg_respond_upstream_head(x, head);
}

static void on_body(struct mg_upstream *upstream, mg_str octets, bool last)
{
    mg_respond_upstream_body(exchange_of(upstream), octets, last);
}

static void on_spliced(struct mg_upstream *upstream, size_t octets)
{
    mg_respond_spliced(exchange_of(upstream), octets);
}

static void on_raw(struct mg_upstream *upstream, mg_str bytes)
{
    mg_tunnel_from_upstream(exchange_of(upstream), bytes);
}

static void on_raw_end(struct mg_upstream *upstream)
{
    mg_tunnel_upstream_ended(exchange_of(upstream));
}

static void on_drain(struct mg_upstream *upstream)
{
    struct mg_exchange *x = exchange_of(upstream);
    if (x->state == MG_EXCHANGE_TUNNEL) {
        mg_tunnel_upstream_drained(x);
    } else if (x->tail_out || x->body_discarded) {
        mg_upstream_await(upstream);
    } else if (x->client && x->body_due) {
        mg_client_resume(x->client);
    }
}

static void on_batch_end(struct mg_upstream *upstream)
{
    mg_respond_flush(exchange_of(upstream));
}

/* For the health of the target; a stale connection says nothing about it. */
static void note_failure(struct mg_exchange *x, int status)
{
    if (x->req.up_status != 0) {
        mg_target_result(x, MG_TRIED_BODY, 0);
    } else if (status != MG_ENO_MEMORY && !mg_retry_is_stale(x, status)) {
        note_latency(x);
        mg_target_result(x,
                         status == MG_ETIMEOUT   ? MG_TRIED_TIMEOUT
                         : x->upstream.connected ? MG_TRIED_RESET
                                                 : MG_TRIED_CONNECT,
                         0);
    }
}

static void on_fail(struct mg_upstream *upstream, int status)
{
    struct mg_exchange *x = exchange_of(upstream);
    mg_stats_add(x->server->parts.stats,
                 x->head_out ? MG_STAT_UPSTREAM_FAILURES : MG_STAT_UPSTREAM_CONNECT_FAILURES, 1);
    if (x->state == MG_EXCHANGE_TUNNEL) {
        mg_tunnel_end(x, MG_OUTCOME_UPGRADED);
        return;
    }
    present_try(x)->outcome = mg_fail_outcome(x, status);
    mg_deadline_cancel(&x->try_deadline);
    note_failure(x, status);
    if (!mg_retry_failed(x, status)) {
        mg_attempt_give_up(x, status);
    }
}

void mg_attempt_end(struct mg_exchange *x)
{
    mg_deadline_cancel(&x->probe_deadline);
    mg_deadline_cancel(&x->try_deadline);
    if (x->upstream.state != MG_UPSTREAM_OFF || x->upstream.io) {
        x->req.upstream_end_us = now_us(x);
        if (present_try(x)->status == 0 && present_try(x)->outcome == MG_OUTCOME_OK) {
            present_try(x)->outcome = x->req.outcome; /* the client went, or a deadline ended it */
            const bool late =
                x->req.outcome == MG_OUTCOME_DEADLINE || x->req.outcome == MG_OUTCOME_PROBE_TIMEOUT;
            mg_target_result(x, late ? MG_TRIED_TIMEOUT : MG_TRIED_NOTHING, 0);
        }
        /* who answers before the request is complete may take its rest for another one */
        const bool complete = x->tail_out && !x->answered_early;
        mg_upstream_end(&x->upstream, complete, x->settings->keepalive,
                        x->settings->keepalive_idle);
    }
    mg_target_release(x);
}

static void prefetch(const struct mg_upstream *upstream)
{
    const struct mg_exchange *x = MG_CONTAINER(upstream, struct mg_exchange, upstream);
    mg_exchange_prefetch(x);
    if (x->client) {
        mg_prefetch(x->client, sizeof *x->client);
        mg_io_prefetch(x->client->io);
    }
}

const struct mg_upstream_user mg_exchange_upstream_user = {
    .on_ready = on_ready,
    .on_interim = on_interim,
    .on_head = on_head,
    .on_body = on_body,
    .on_spliced = on_spliced,
    .on_raw = on_raw,
    .prefetch = prefetch,
    .on_raw_end = on_raw_end,
    .on_drain = on_drain,
    .on_fail = on_fail,
    .on_batch_end = on_batch_end,
};
