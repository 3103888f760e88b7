/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The story of a request up to its upstream: head, checks, rewrite, route, access, service. Each
 * step calls the next; a step whose handlers wait returns, and mg_exchange_hook_done goes on from
 * there.
 */
#include "flow/exchange.h"

#include "base/prefetch.h"
#include "script/seen.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES 4096    /* holds a usual request whole */
#define ARENA_USUAL 3072    /* of it, by most */
#define KEPT_CAP (1U << 30) /* the body's own limits are checked before */

static int read_body(struct mg_req *req);

static const struct mg_req_ops req_ops = {
    .read_body = read_body,
    .hook_done = mg_exchange_hook_done,
};

/* --- the pool --- */

struct mg_exchange *mg_exchange_take(struct mg_server *server)
{
    struct mg_exchange *exchange;
    if (!mg_list_empty(&server->free_exchanges)) {
        exchange = MG_CONTAINER(server->free_exchanges.next, struct mg_exchange, link);
        mg_link_remove(&exchange->link);
    } else {
        exchange = calloc(1, sizeof *exchange);
        mg_require(exchange != NULL);
        exchange->req.slot = server->exchange_slots++;
        exchange->req.ops = &req_ops;
        exchange->server = server;
        mg_arena_init(&exchange->req.arena, ARENA_BYTES);
        mg_buf_init(&exchange->req.filter_out, KEPT_CAP);
        mg_buf_init(&exchange->kept, KEPT_CAP);
        mg_buf_init(&exchange->hold, KEPT_CAP);
        mg_buf_init(&exchange->waited, KEPT_CAP);
        mg_link_init(&exchange->link);
        mg_link_init(&exchange->queue_link);
        mg_deadline_init(&exchange->deadline);
        mg_deadline_init(&exchange->probe_deadline);
        mg_deadline_init(&exchange->try_deadline);
        mg_upstream_init(&exchange->upstream, server, &mg_exchange_upstream_user);
    }
    mg_list_append(&server->exchanges, &exchange->link);
    server->exchanges_active++;
    return exchange;
}

void mg_exchange_prefetch(const struct mg_exchange *x)
{
    mg_prefetch(x, sizeof *x);
    mg_prefetch(x->req.arena.blocks, ARENA_USUAL);
}

static void clear_story(struct mg_exchange *x)
{
    const size_t from = offsetof(struct mg_exchange, waiting);
    memset((char *)x + from, 0, offsetof(struct mg_exchange, gather) - from);
}

void mg_exchange_recycle(struct mg_exchange *x)
{
    if (x->kept.size > 2 * MG_HIGH_WATER) {
        mg_buf_deinit(&x->kept);
    }
    if (x->hold.size > 2 * MG_HIGH_WATER) {
        mg_buf_deinit(&x->hold);
    }
    if (x->req.filter_out.size > 2 * MG_HIGH_WATER) {
        mg_buf_deinit(&x->req.filter_out);
    }
    mg_buf_deinit(&x->waited);
    mg_buf_clear(&x->kept);
    mg_buf_clear(&x->hold);
    if (x->generation) {
        mg_generation_release(x->generation);
        x->generation = NULL;
    }
    mg_req_reset(&x->req);
    x->req.ops = &req_ops;
    x->state = MG_EXCHANGE_REWRITE;
    clear_story(x);
}

void mg_exchange_free(struct mg_exchange *x)
{
    mg_arena_deinit(&x->req.arena);
    mg_buf_deinit(&x->req.filter_out);
    mg_buf_deinit(&x->kept);
    mg_buf_deinit(&x->hold);
    mg_buf_deinit(&x->waited);
    free(x);
}

/* --- routing and access --- */

static void begin_upstream(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    if (!req->service && req->up.target_host.len == 0 && req->up.upstream.len == 0) {
        mg_req_problem(req, 503, "no Service found with those values");
        req->outcome = MG_OUTCOME_NO_SERVICE;
        mg_respond_local(x);
        return;
    }
    x->state = MG_EXCHANGE_UPSTREAM;
    mg_attempt_begin(x);
}

static void after_access(struct mg_exchange *x, int verdict)
{
    if (!x->client) {
        mg_finish(x);
    } else if (verdict == MG_VERDICT_EXIT || verdict == MG_VERDICT_FAILED) {
        mg_respond_local(x);
    } else if (x->body_error) { /* the handlers did not mind, but half a body is never sent on */
        mg_fail(x, x->body_error);
    } else {
        begin_upstream(x);
    }
}

static void run_access(struct mg_exchange *x)
{
    x->state = MG_EXCHANGE_ACCESS;
    if (!(x->phases & MG_PHASE_BIT(MG_PHASE_ACCESS))) {
        begin_upstream(x);
        return;
    }
    x->waiting = true;
    const enum mg_verdict verdict = mg_hook_run(&x->req, MG_PHASE_ACCESS);
    if (verdict != MG_VERDICT_WAITING) {
        x->waiting = false;
        after_access(x, (int)verdict);
    }
}

static uint64_t first_set(uint64_t by_plugin, uint64_t otherwise)
{
    return by_plugin > 0 ? by_plugin : otherwise;
}

/* What a plugin set in rewrite stays. */
static void fill_upstream_request(struct mg_req *req)
{
    const struct mg_service *service = req->service;
    const struct mg_limits *limits = req->route->limits;
    req->up.method = req->up.method.len ? req->up.method : req->head.method;
    if (!req->up.query_set) {
        req->up.query = req->uri.query;
        req->up.has_query = req->uri.has_query;
    }
    req->up.connect_timeout = first_set(req->up.connect_timeout, service ? service->connect_timeout
                                                                         : limits->connect_timeout);
    req->up.read_timeout =
        first_set(req->up.read_timeout, service ? service->read_timeout : limits->read_timeout);
    req->up.write_timeout =
        first_set(req->up.write_timeout, service ? service->write_timeout : limits->write_timeout);
    if (req->up.retries < 0) {
        const bool own = service && service->retries >= 0;
        const struct mg_upstream_settings *settings =
            service ? &service->settings : &req->config->gateway.upstream_defaults;
        req->up.retries = own ? service->retries : (int32_t)settings->retry.attempts;
    }
}

static int route_path(struct mg_req *req)
{
    const mg_str base = req->service && req->service->path.len ? req->service->path : MG_STR("/");
    return mg_route_upstream_path(&req->arena, &req->match, base, req->uri.path, &req->uri_rules,
                                  &req->up.path);
}

static void refuse_http(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    mg_req_problem(req, 426, "Please use HTTPS protocol");
    mg_headers_set(&req->out, MG_STR("Upgrade"), MG_STR("TLS/1.2, HTTP/1.1"));
    req->outcome = MG_OUTCOME_HTTPS_REQUIRED;
    mg_respond_local(x);
}

static bool find_route(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    const struct mg_question question = {
        .method = req->head.method,
        .host = req->host.name,
        .port = req->host.port >= 0 ? (uint16_t)req->host.port : req->server_port,
        .path = req->uri.path,
        .headers = &req->head.headers,
    };
    if (!mg_router_match(req->config, &question, &req->match)) {
        return false;
    }
    req->route = req->match.route;
    req->service = req->route->service;
    x->phases = req->route->phases;
    if (x->client) {
        mg_client_set_limits(x->client, req->route->limits);
    }
    return true;
}

static void on_total_timeout(struct mg_deadline *deadline)
{
    struct mg_exchange *x = MG_CONTAINER(deadline, struct mg_exchange, deadline);
    mg_stats_add(x->server->parts.stats, MG_STAT_REQUEST_TIMEOUT, 1);
    if (x->waiting) { /* the time is over for handlers, too */
        mg_hook_abandon(&x->req);
        x->waiting = x->filtering = false;
    }
    mg_fail_with(x, 504, MG_OUTCOME_DEADLINE);
}

/* Nobody knows whether the route takes it: the next one may have fewer checks. */
static void refuse_undecided(struct mg_exchange *x)
{
    const struct mg_route *route = x->req.match.undecided;
    mg_stats_add(x->server->parts.stats, MG_STAT_REGEX_LIMIT, 1);
    mg_log_write(x->server->parts.log, MG_LOG_WARN, "core",
                 "a regex of route '%.*s' reached limits.regex_match_limit: request refused",
                 MG_STR_ARG(route->name.len ? route->name : route->id));
    mg_fail(x, MG_ETARGET);
}

static void route_request(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    if (!find_route(x)) {
        if (req->match.undecided) {
            refuse_undecided(x);
            return;
        }
        mg_req_problem(req, 404, "no Route matched with those values");
        req->outcome = MG_OUTCOME_NO_ROUTE;
        mg_respond_local(x);
        return;
    }
    const struct mg_limits *limits = req->route->limits;
    const uint64_t body =
        req->head.framing == MG_FRAMING_LENGTH ? req->head.content_length : req->body_bytes_in;
    if (limits->request_body > 0 && body > limits->request_body) {
        mg_stats_add(x->server->parts.stats, MG_STAT_REQUEST_BODY, 1);
        mg_fail(x, MG_EBODY_TOO_LARGE);
        return;
    }
    const int err = mg_head_check_counts(x, limits);
    if (err) {
        mg_fail(x, err);
        return;
    }
    if (!req->route->http) {
        refuse_http(x);
        return;
    }
    if (!req->route->websocket) {
        x->upgrade = mg_str_make(NULL, 0);
    }
    fill_upstream_request(req);
    if (route_path(req) != 0) {
        mg_fail(x, MG_ETARGET);
        return;
    }
    if (limits->request_timeout > 0) {
        mg_deadline_arm(
            mg_deadlines_class(&x->server->parts.loop->deadlines, limits->request_timeout),
            &x->deadline, on_total_timeout, mg_loop_now_ms(x->server->parts.loop));
    }
    run_access(x);
}

static void after_rewrite(struct mg_exchange *x, int verdict)
{
    if (!x->client) {
        mg_finish(x);
    } else if (verdict == MG_VERDICT_EXIT || verdict == MG_VERDICT_FAILED) {
        mg_respond_local(x);
    } else if (x->body_error) {
        mg_fail(x, x->body_error);
    } else {
        route_request(x);
    }
}

static void run_rewrite(struct mg_exchange *x)
{
    x->state = MG_EXCHANGE_REWRITE;
    if (!(x->phases & MG_PHASE_BIT(MG_PHASE_REWRITE))) {
        route_request(x);
        return;
    }
    x->waiting = true;
    const enum mg_verdict verdict = mg_hook_run(&x->req, MG_PHASE_REWRITE);
    if (verdict != MG_VERDICT_WAITING) {
        x->waiting = false;
        after_rewrite(x, (int)verdict);
    }
}

void mg_exchange_hook_done(struct mg_req *req, enum mg_phase phase, int verdict)
{
    struct mg_exchange *x = mg_exchange_of(req);
    x->waiting = false;
    if (x->doomed_status && x->client && phase != MG_PHASE_LOG) {
        mg_fail_with(x, x->doomed_status, x->doomed_outcome);
        return;
    }
    switch (phase) {
    case MG_PHASE_REWRITE:
        after_rewrite(x, verdict);
        return;
    case MG_PHASE_ACCESS:
        after_access(x, verdict);
        return;
    case MG_PHASE_LOG:
        mg_finish_logged(x);
        return;
    default:
        mg_respond_hook_done(x, phase, verdict);
        return;
    }
}

/* --- events of the client's connection --- */

static void on_head(struct mg_client *client, int status, mg_str head)
{
    struct mg_server *server = client->server;
    struct mg_exchange *x = mg_exchange_take(server);
    struct mg_req *req = &x->req;
    x->client = client;
    client->exchange = x;
    x->bytes_before = client->bytes_out;
    x->generation = server->generation;
    mg_generation_hold(x->generation);
    req->config = x->generation->config;
    req->vm = x->generation->vm;
    req->up.retries = -1; /* the service's */
    req->started_us = client->first_byte_us;
    req->head_us = server->parts.loop->clock.now_us;
    req->started_wall_ms = mg_clock_wall_ms(&server->parts.loop->clock);
    x->phases = req->config->global_phases;
    mg_headers_init(&req->out, &req->arena);
    mg_headers_init(&req->head.headers, &req->arena);
    mg_stats_add(server->parts.stats, MG_STAT_REQUESTS, 1);
    mg_stats_add(server->parts.stats, MG_STAT_REQUESTS_ACTIVE, 1);
    mg_head_peer(x);
    const int err = status ? status : mg_head_understand(x, head);
    req->bytes_in = status ? client->refused_bytes : head.len;
    if (err) {
        req->request_id = req->request_id.len ? req->request_id : mg_head_request_id(x);
        x->close = true;
        x->phases &= MG_PHASE_BIT(MG_PHASE_LOG); /* no plugin has a say, but its log is whole */
        mg_fail(x, err);
        return;
    }
    const bool last = client->requests >= req->config->gateway.limits.connection_requests;
    mg_stats_add(server->parts.stats, MG_STAT_CONNECTION_REQUESTS, last);
    x->close = !req->head.keep_alive || last;
    x->body_due = req->head.framing == MG_FRAMING_CHUNKED ||
                  (req->head.framing == MG_FRAMING_LENGTH && req->head.content_length > 0);
    x->continue_sent = !req->head.expect_continue || !x->body_due;
    mg_client_expect_body(client, req->head.framing, req->head.content_length,
                          &req->config->gateway.limits, &req->arena);
    if (!x->continue_sent) {
        mg_client_await_continue(client);
    }
    run_rewrite(x);
}

static void body_is_whole(struct mg_exchange *x)
{
    struct mg_req *req = &x->req;
    req->body_state = MG_BODY_WHOLE;
    req->body = mg_buf_view(&x->kept);
    mg_hook_resume(req, 0);
}

static void on_body(struct mg_client *client, mg_str octets, bool last)
{
    struct mg_exchange *x = client->exchange;
    if (!x) {
        return;
    }
    x->req.bytes_in += octets.len;
    x->req.body_bytes_in += octets.len;
    mg_seen(&x->req, MG_SEEN_REQUEST, octets);
    x->continue_sent = true; /* it did not wait for us */
    if (last) {
        x->body_due = false;
    }
    if (x->body_discarded) {
        return;
    }
    if (x->state == MG_EXCHANGE_UPSTREAM || x->state > MG_EXCHANGE_ACCESS) {
        mg_attempt_body(x, octets, last);
        return;
    }
    if (mg_buf_append(&x->kept, octets) != 0) {
        mg_fail(x, MG_EBODY_TOO_LARGE);
        return;
    }
    const bool wanted = x->req.body_state == MG_BODY_READING;
    if (wanted && last) {
        body_is_whole(x);
    } else if (!wanted && x->kept.len >= MG_HIGH_WATER) {
        mg_client_pause(client);
    }
}

static void on_body_spliced(struct mg_client *client, size_t octets)
{
    struct mg_exchange *x = client->exchange;
    if (x) {
        x->req.bytes_in += octets;
        x->req.body_bytes_in += octets;
        mg_attempt_spliced(x);
    }
}

/* A plugin asks for the whole body. */
static int read_body(struct mg_req *req)
{
    struct mg_exchange *x = mg_exchange_of(req);
    if (req->body_state == MG_BODY_WHOLE) {
        return 0;
    }
    if (req->route && !req->route->request_buffering) {
        return MG_EUNSUPPORTED;
    }
    if (!x->body_due) {
        req->body_state = MG_BODY_WHOLE;
        req->body = mg_buf_view(&x->kept);
        return 0;
    }
    if (!x->client || x->state > MG_EXCHANGE_ACCESS || x->doomed_status || x->body_error) {
        return MG_ECLOSED;
    }
    req->body_state = MG_BODY_READING;
    mg_attempt_continue(x);
    mg_client_resume(x->client);
    return MG_EAGAIN;
}

void mg_exchange_body_lost(struct mg_exchange *x, int error)
{
    if (x->req.body_state == MG_BODY_READING) {
        x->req.body_state = MG_BODY_UNREAD;
        mg_hook_resume(&x->req, error);
    }
}

static void on_body_error(struct mg_client *client, int status)
{
    struct mg_exchange *x = client->exchange;
    if (!x) {
        mg_client_close(client);
        return;
    }
    x->close = true;
    if (x->body_discarded) {
        return;
    }
    if (x->req.up_status != 0) { /* the answer came early: the client may well have given up */
        x->body_discarded = true;
        mg_upstream_await(&x->upstream);
        return;
    }
    if (x->req.body_state == MG_BODY_READING) { /* the handler that waits decides */
        x->body_error = status;
        x->body_discarded = true;
        mg_exchange_body_lost(x, status);
        return;
    }
    mg_fail(x, status);
}

static void on_raw(struct mg_client *client, mg_str bytes)
{
    if (client->exchange) {
        mg_tunnel_from_client(client->exchange, bytes);
    }
}

static void on_raw_end(struct mg_client *client)
{
    if (client->exchange) {
        mg_tunnel_client_ended(client->exchange);
    }
}

static void on_drain(struct mg_client *client)
{
    struct mg_exchange *x = client->exchange;
    if (!x) {
        return;
    }
    if (x->state == MG_EXCHANGE_TUNNEL) {
        mg_tunnel_client_drained(x);
    } else {
        mg_respond_drained(x);
    }
}

static void prefetch(const struct mg_server *server)
{
    if (!mg_list_empty(&server->free_exchanges)) {
        mg_exchange_prefetch(MG_CONTAINER(server->free_exchanges.next, struct mg_exchange, link));
    }
}

const struct mg_client_user mg_exchange_client_user = {
    .on_head = on_head,
    .on_body = on_body,
    .on_body_spliced = on_body_spliced,
    .on_body_error = on_body_error,
    .on_raw = on_raw,
    .on_raw_end = on_raw_end,
    .on_drain = on_drain,
    .on_gone = mg_finish_client_gone,
    .prefetch = prefetch,
};
