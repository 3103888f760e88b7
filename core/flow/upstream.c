/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An attempt at an upstream. Bytes enter in on_data and are fed to the present state; while paused
 * they wait in upstream->in. Every failure goes through fail(), which closes the connection first.
 */
#include "flow/upstream.h"

#include "wire/rules.h"

#include <string.h>

static uint64_t now_ms(const struct mg_upstream *upstream)
{
    return mg_loop_now_ms(upstream->server->parts.loop);
}

void mg_upstream_init(struct mg_upstream *upstream, struct mg_server *server,
                      const struct mg_upstream_user *user)
{
    *upstream = (struct mg_upstream){.server = server, .user = user};
    mg_deadline_init(&upstream->deadline);
    mg_buf_init(&upstream->in, 2 * MG_READ_BYTES);
}

static void count(const struct mg_upstream *upstream, enum mg_stat which)
{
    mg_stats_add(upstream->server->parts.stats, which, 1);
}

/* The connection is this attempt's no longer: to be closed, or put into the pool. */
static struct mg_io *give_connection(struct mg_upstream *upstream)
{
    struct mg_stats *stats = upstream->server->parts.stats;
    struct mg_io *io = upstream->io;
    upstream->io = NULL;
    mg_stats_add(stats, MG_STAT_UPSTREAM_BYTES_IN, mg_io_bytes_in(io) - upstream->in_before);
    mg_stats_add(stats, MG_STAT_UPSTREAM_BYTES_OUT, mg_io_bytes_out(io) - upstream->out_before);
    mg_stats_drop(stats, MG_STAT_UPSTREAM_CONNECTIONS, 1);
    return io;
}

static void drop_connection(struct mg_upstream *upstream)
{
    mg_deadline_cancel(&upstream->deadline);
    if (upstream->state == MG_UPSTREAM_DIALLING) {
        mg_dial_cancel(&upstream->dial);
    }
    if (upstream->io) {
        mg_io_close(give_connection(upstream));
    }
    mg_buf_deinit(&upstream->in);
}

static void fail(struct mg_upstream *upstream, int status)
{
    drop_connection(upstream);
    upstream->user->on_fail(upstream, status);
}

void mg_upstream_fail(struct mg_upstream *upstream, int status)
{
    fail(upstream, status);
}

static void on_timeout(struct mg_deadline *deadline)
{
    struct mg_upstream *upstream = MG_CONTAINER(deadline, struct mg_upstream, deadline);
    const uint64_t sent = mg_io_bytes_out(upstream->io) - mg_io_queued(upstream->io);
    if (mg_io_queued(upstream->io) > 0 && sent > upstream->sent_at_deadline) {
        upstream->sent_at_deadline = sent; /* slow, but it moves */
        mg_deadline_arm(
            mg_deadlines_class(&upstream->server->parts.loop->deadlines, upstream->write_timeout),
            deadline, on_timeout, now_ms(upstream));
        return;
    }
    count(upstream, mg_io_queued(upstream->io) > 0 ? MG_STAT_UPSTREAM_WRITE_TIMEOUT
                                                   : MG_STAT_UPSTREAM_READ_TIMEOUT);
    fail(upstream, MG_ETIMEOUT);
}

static void arm(struct mg_upstream *upstream, uint64_t timeout_ms)
{
    struct mg_deadlines *all = &upstream->server->parts.loop->deadlines;
    mg_deadline_cancel(&upstream->deadline);
    mg_deadline_arm(mg_deadlines_class(all, timeout_ms), &upstream->deadline, on_timeout,
                    now_ms(upstream));
}

/* The whole answer is here. Bytes beyond it are a breach (R05): who sends two answers to one
 * request may mean either. A body where none belongs (R03) is not read; neither connection is used
 * again. */
static void finish_body(struct mg_upstream *upstream, mg_str octets, mg_str rest)
{
    if (rest.len > 0 && upstream->framing != MG_FRAMING_NONE) {
        fail(upstream, MG_EBAD_RESPONSE);
        return;
    }
    upstream->state = MG_UPSTREAM_DONE;
    mg_deadline_cancel(&upstream->deadline);
    if (rest.len > 0) {
        upstream->keep_alive = false;
    }
    upstream->user->on_body(upstream, octets, true);
}

static void body_failed(struct mg_upstream *upstream, int status)
{
    fail(upstream, status == MG_ENO_MEMORY ? status : MG_EBAD_RESPONSE);
}

static mg_str feed_chunked(struct mg_upstream *upstream, mg_str bytes)
{
    size_t used = 0;
    mg_str octets = {0};
    const int err = mg_chunk_join(&upstream->chunk, bytes, &used, &octets);
    if (err) {
        mg_server_count_chunk_limit(upstream->server, &upstream->chunk);
        body_failed(upstream, err);
        return mg_str_make(NULL, 0);
    }
    const mg_str rest = mg_str_slice(bytes, used, bytes.len);
    if (upstream->chunk.done) {
        finish_body(upstream, octets, rest);
        return mg_str_make(NULL, 0);
    }
    if (octets.len > 0) {
        upstream->user->on_body(upstream, octets, false);
    }
    return rest;
}

static mg_str feed_body(struct mg_upstream *upstream, mg_str bytes)
{
    if (upstream->framing == MG_FRAMING_CHUNKED) {
        return feed_chunked(upstream, bytes);
    }
    if (upstream->framing == MG_FRAMING_CLOSE) {
        upstream->user->on_body(upstream, bytes, false);
        return mg_str_make(NULL, 0);
    }
    const size_t take = bytes.len < upstream->remaining ? bytes.len : (size_t)upstream->remaining;
    const mg_str octets = mg_str_slice(bytes, 0, take);
    const mg_str rest = mg_str_slice(bytes, take, bytes.len);
    upstream->remaining -= take;
    if (upstream->remaining == 0) {
        finish_body(upstream, octets, rest);
        return mg_str_make(NULL, 0);
    }
    upstream->user->on_body(upstream, octets, false);
    return rest;
}

/* What follows the head that was just parsed. */
static mg_str begin_body(struct mg_upstream *upstream, struct mg_response_head *head, mg_str rest)
{
    upstream->framing = head->framing;
    upstream->remaining = head->content_length;
    upstream->keep_alive = head->keep_alive && head->framing != MG_FRAMING_CLOSE;
    const bool empty = head->framing == MG_FRAMING_NONE ||
                       (head->framing == MG_FRAMING_LENGTH && head->content_length == 0);
    if (head->framing == MG_FRAMING_CHUNKED) {
        mg_chunk_init(&upstream->chunk, &upstream->limits->chunk);
    }
    upstream->state = MG_UPSTREAM_BODY;
    upstream->user->on_head(upstream, head);
    if (upstream->state != MG_UPSTREAM_BODY) {
        if (upstream->state == MG_UPSTREAM_TUNNEL) {
            return rest;
        }
        return mg_str_make(NULL, 0); /* ended meanwhile */
    }
    if (head->status == 101) {
        return rest; /* waits for mg_upstream_tunnel */
    }
    if (empty) {
        finish_body(upstream, mg_str_make(NULL, 0), rest);
        return mg_str_make(NULL, 0);
    }
    return rest;
}

static int check_interim(struct mg_upstream *upstream, const struct mg_response_head *head)
{
    if (++upstream->interims > upstream->limits->interim_responses) {
        count(upstream, MG_STAT_INTERIM_RESPONSES);
        return MG_ERESPONSE_TOO_LARGE;
    }
    const bool switching = head->status == 101;
    return switching && !upstream->want_tunnel ? MG_EBAD_RESPONSE : 0;
}

static mg_str take_head(struct mg_upstream *upstream, mg_str bytes, mg_str rest)
{
    struct mg_response_head head = {0};
    const mg_str copy = mg_arena_copy_str(upstream->arena, bytes);
    int err = mg_http1_parse_response(upstream->arena, copy, &head);
    if (!err) {
        err = mg_rules_check_response(&head, upstream->method);
    }
    if (!err && head.status < 200) {
        err = check_interim(upstream, &head);
    }
    mg_buf_clear(&upstream->in);
    upstream->scan = (struct mg_http1_scan){0};
    if (err) {
        fail(upstream, err);
        return mg_str_make(NULL, 0);
    }
    if (head.status < 200 && head.status != 101) {
        upstream->user->on_interim(upstream, &head);
        return rest;
    }
    return begin_body(upstream, &head, rest);
}

static mg_str feed_head(struct mg_upstream *upstream, mg_str bytes)
{
    size_t used = 0;
    int err = mg_http1_scan(&upstream->scan, MG_HTTP1_RESPONSE, &upstream->limits->response_head,
                            bytes, &used);
    mg_str head = mg_str_slice(bytes, 0, used);
    const mg_str rest = mg_str_slice(bytes, used, bytes.len);
    if (err == MG_EAGAIN || (err == 0 && upstream->in.len > 0)) {
        if (mg_buf_append(&upstream->in, head) != 0) {
            err = MG_EHEAD_TOO_LARGE;
        }
        head = mg_buf_view(&upstream->in);
    }
    if (err == MG_EAGAIN) {
        return rest;
    }
    if (err) {
        const bool large = err == MG_EHEAD_TOO_LARGE || err == MG_ELINE_TOO_LONG;
        mg_stats_add(upstream->server->parts.stats, MG_STAT_RESPONSE_HEADER_BYTES, large);
        fail(upstream, large ? MG_ERESPONSE_TOO_LARGE : MG_EBAD_RESPONSE);
        return mg_str_make(NULL, 0);
    }
    return take_head(upstream, head, rest);
}

static bool is_live(const struct mg_upstream *upstream)
{
    return upstream->io != NULL;
}

static void feed(struct mg_upstream *upstream, mg_str bytes)
{
    upstream->feeding = true;
    while (bytes.len > 0 && is_live(upstream) && !upstream->paused) {
        if (upstream->state == MG_UPSTREAM_READY) {
            bytes = feed_head(upstream, bytes);
        } else if (upstream->state == MG_UPSTREAM_BODY) {
            bytes = feed_body(upstream, bytes);
        } else if (upstream->state == MG_UPSTREAM_TUNNEL) {
            upstream->user->on_raw(upstream, bytes);
            bytes = mg_str_make(NULL, 0);
        } else { /* DONE: bytes after the answer */
            upstream->keep_alive = false;
            bytes = mg_str_make(NULL, 0);
        }
    }
    if (bytes.len > 0 && is_live(upstream) && mg_buf_append(&upstream->in, bytes) != 0) {
        fail(upstream, MG_ENO_MEMORY);
    }
    upstream->feeding = false;
}

/* Most answers come as one piece. The others have time anew, unless somebody has seen to that, or
 * this is another attempt already. */
static bool expects_more(const struct mg_upstream *upstream, uint64_t at_ms)
{
    return upstream->response_begun && mg_deadline_armed(&upstream->deadline) &&
           upstream->deadline.at_ms == at_ms;
}

static void on_data(void *context, mg_str bytes)
{
    struct mg_upstream *upstream = context;
    upstream->response_begun = true;
    if (upstream->paused) { /* without a deadline */
        if (mg_buf_append(&upstream->in, bytes) != 0) {
            fail(upstream, MG_ENO_MEMORY);
        }
        return;
    }
    const bool is_due = upstream->state == MG_UPSTREAM_READY || upstream->state == MG_UPSTREAM_BODY;
    const bool timed = is_due && mg_deadline_armed(&upstream->deadline); /* a tunnel: of writing */
    const uint64_t at_ms = upstream->deadline.at_ms;
    feed(upstream, bytes);
    if (timed && expects_more(upstream, at_ms)) {
        arm(upstream, upstream->read_timeout);
    }
    upstream->user->on_batch_end(upstream);
}

static void on_spliced(void *context, size_t bytes)
{
    struct mg_upstream *upstream = context;
    upstream->remaining -= bytes;
    upstream->user->on_spliced(upstream, bytes);
    if (mg_deadline_armed(&upstream->deadline)) {
        arm(upstream, upstream->read_timeout);
    }
    upstream->user->on_batch_end(upstream);
}

static void on_end(void *context, int status)
{
    struct mg_upstream *upstream = context;
    if (upstream->paused && status == MG_ECLOSED) {
        upstream->ended = true; /* told when what waits has been fed */
        return;
    }
    if (upstream->state == MG_UPSTREAM_DONE) {
        upstream->keep_alive = false;
        return;
    }
    if (upstream->state == MG_UPSTREAM_TUNNEL && status == MG_ECLOSED) {
        upstream->user->on_raw_end(upstream);
        return;
    }
    if (upstream->state == MG_UPSTREAM_BODY && upstream->framing == MG_FRAMING_CLOSE &&
        status == MG_ECLOSED) {
        finish_body(upstream, mg_str_make(NULL, 0), mg_str_make(NULL, 0));
        upstream->user->on_batch_end(upstream);
        return;
    }
    fail(upstream,
         status == MG_ECLOSED && upstream->state == MG_UPSTREAM_BODY ? MG_ESHORT_BODY : status);
}

static void on_drain(void *context, int status)
{
    struct mg_upstream *upstream = context;
    if (status != 0) {
        return; /* what the upstream may still have said comes by on_data, then on_end */
    }
    mg_deadline_cancel(
        &upstream->deadline); /* of writing; mg_upstream_await when an answer is due */
    upstream->user->on_drain(upstream);
}

static void prefetch(const void *context)
{
    const struct mg_upstream *upstream = context;
    upstream->user->prefetch(upstream);
}

static const struct mg_io_handler io_handler = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_spliced = on_spliced,
    .prefetch = prefetch,
};

static void use_connection(struct mg_upstream *upstream, struct mg_io *io, bool reused)
{
    upstream->io = io;
    upstream->reused = reused;
    upstream->connected = true;
    upstream->state = MG_UPSTREAM_READY;
    upstream->in_before = mg_io_bytes_in(io);
    upstream->out_before = mg_io_bytes_out(io);
    mg_io_set_handler(io, &io_handler, upstream);
    mg_io_read_start(io);
    count(upstream, reused ? MG_STAT_UPSTREAM_REUSES : MG_STAT_UPSTREAM_CONNECTS);
    count(upstream, MG_STAT_UPSTREAM_CONNECTIONS);
    upstream->user->on_ready(upstream);
}

static void on_dialled(struct mg_dial *dial, int status, struct mg_io *io)
{
    struct mg_upstream *upstream = MG_CONTAINER(dial, struct mg_upstream, dial);
    if (status != 0) {
        mg_stats_add(upstream->server->parts.stats, MG_STAT_UPSTREAM_CONNECT_TIMEOUT,
                     status == MG_ETIMEOUT);
        fail(upstream, status);
        return;
    }
    if (mg_io_look(io) > 0) { /* it speaks before it was asked (R05) */
        mg_io_close(io);
        fail(upstream, MG_EBAD_RESPONSE);
        return;
    }
    use_connection(upstream, io, false);
}

static void on_dial_refused(struct mg_deadline *deadline)
{
    fail(MG_CONTAINER(deadline, struct mg_upstream, deadline), MG_EINVALID);
}

bool mg_upstream_start(struct mg_upstream *upstream, const struct mg_upstream_ask *ask)
{
    struct mg_server *server = upstream->server;
    const struct mg_upstream_user *user = upstream->user;
    mg_buf_deinit(&upstream->in);
    mg_upstream_init(upstream, server, user);
    upstream->origin = ask->origin;
    upstream->arena = ask->arena;
    upstream->limits = ask->limits;
    upstream->method = ask->method;
    upstream->read_timeout = ask->read_timeout;
    upstream->write_timeout = ask->write_timeout;
    upstream->want_tunnel = ask->want_tunnel;
    struct mg_io *idle = ask->fresh ? NULL : mg_pool_take(ask->origin, ask->once);
    if (idle) {
        use_connection(upstream, idle, true);
        return true;
    }
    upstream->state = MG_UPSTREAM_DIALLING;
    upstream->dial.fn = on_dialled;
    if (mg_pool_dial(ask->origin, &upstream->dial, ask->connect_timeout) != 0) {
        mg_deadline_arm_at(/* told later, as any failure */
                           &server->parts.loop->deadlines, &upstream->deadline, on_dial_refused,
                           now_ms(upstream));
    }
    return false;
}

int mg_upstream_write(struct mg_upstream *upstream, const mg_str *parts, size_t count)
{
    if (!upstream->io) {
        return MG_ECLOSED;
    }
    const uint64_t before = mg_io_bytes_out(upstream->io);
    const int err = mg_io_write(upstream->io, parts, count);
    upstream->request_sent = upstream->request_sent || mg_io_bytes_out(upstream->io) > before;
    if (!err) {
        mg_upstream_given(upstream);
    }
    return err;
}

void mg_upstream_given(struct mg_upstream *upstream)
{
    const size_t queued = mg_upstream_queued(upstream);
    if (queued > 0 && !mg_deadline_armed(&upstream->deadline)) {
        upstream->sent_at_deadline = mg_io_bytes_out(upstream->io) - queued;
        arm(upstream, upstream->write_timeout);
    }
}

size_t mg_upstream_queued(const struct mg_upstream *upstream)
{
    return upstream->io ? mg_io_queued(upstream->io) : 0;
}

void mg_upstream_pause(struct mg_upstream *upstream)
{
    if (!upstream->paused && upstream->io) {
        upstream->paused = true;
        mg_io_read_stop(upstream->io);
        mg_deadline_cancel(&upstream->deadline);
    }
}

void mg_upstream_resume(struct mg_upstream *upstream)
{
    if (!upstream->paused || !upstream->io) {
        return;
    }
    upstream->paused = false;
    if (upstream->state == MG_UPSTREAM_READY || upstream->state == MG_UPSTREAM_BODY) {
        arm(upstream, upstream->read_timeout);
    }
    if (upstream->in.len > 0 && !upstream->feeding && upstream->state != MG_UPSTREAM_READY) {
        struct mg_buf waiting = upstream->in;
        mg_buf_init(&upstream->in, waiting.max_bytes);
        feed(upstream, mg_buf_view(&waiting));
        upstream->user->on_batch_end(upstream); /* writes what was gathered of it */
        mg_buf_deinit(&waiting);
    }
    if (!upstream->io || upstream->paused) {
        return;
    }
    if (upstream->ended) {
        on_end(upstream, MG_ECLOSED);
        return;
    }
    mg_io_read_start(upstream->io);
}

void mg_upstream_splice(struct mg_upstream *upstream, struct mg_io *to)
{
    if (upstream->io && upstream->state == MG_UPSTREAM_BODY &&
        upstream->framing == MG_FRAMING_LENGTH && upstream->remaining >= MG_SPLICE_LEAST &&
        upstream->in.len == 0 && !upstream->feeding && !upstream->ended) {
        (void)mg_io_splice(upstream->io, to, upstream->remaining - MG_SPLICE_TAIL);
    }
}

void mg_upstream_read_at_most(struct mg_upstream *upstream, size_t bytes)
{
    if (upstream->io) {
        mg_io_set_read_size(upstream->io, bytes);
    }
}

void mg_upstream_await(struct mg_upstream *upstream)
{
    const bool due = upstream->state == MG_UPSTREAM_READY || upstream->state == MG_UPSTREAM_BODY;
    if (upstream->io && due && !upstream->paused) {
        arm(upstream,
            mg_io_queued(upstream->io) > 0 ? upstream->write_timeout : upstream->read_timeout);
    }
}

void mg_upstream_tunnel(struct mg_upstream *upstream)
{
    upstream->state = MG_UPSTREAM_TUNNEL;
    mg_deadline_cancel(&upstream->deadline);
}

void mg_upstream_shutdown(struct mg_upstream *upstream)
{
    if (upstream->io) {
        mg_io_shutdown(upstream->io);
    }
}

void mg_upstream_end(struct mg_upstream *upstream, bool request_complete, uint32_t keepalive,
                     uint64_t keepalive_idle)
{
    if (upstream->state == MG_UPSTREAM_DONE && upstream->keep_alive && request_complete &&
        upstream->io && !upstream->ended && mg_io_queued(upstream->io) == 0 && keepalive > 0) {
        mg_deadline_cancel(&upstream->deadline);
        mg_buf_deinit(&upstream->in);
        upstream->state = MG_UPSTREAM_OFF;
        mg_pool_put(upstream->origin, give_connection(upstream), keepalive, keepalive_idle);
        return;
    }
    drop_connection(upstream);
    upstream->state = MG_UPSTREAM_OFF;
}
