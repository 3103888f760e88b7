/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's connection. Bytes enter in on_data and are fed to the present state until they are
 * used up; bytes of a later request wait in client->in. Every way out of here ends in drop().
 */
#include "flow/client.h"

#include "base/prefetch.h"
#include "flow/shed.h"

#include <stdlib.h>
#include <string.h>

#define RATE_GRACE_MS 5000 /* limits.body_min_rate is asked for after this time */
#define LONG_TURN_US 5000  /* what waits behind requests in a row waits no longer, where it can */

static uint64_t now_ms(const struct mg_client *client)
{
    return mg_loop_now_ms(client->server->parts.loop);
}

static void arm(struct mg_client *client, struct mg_deadline *deadline, uint64_t timeout_ms,
                void (*fn)(struct mg_deadline *))
{
    struct mg_deadlines *all = &client->server->parts.loop->deadlines;
    mg_deadline_cancel(deadline);
    mg_deadline_arm(mg_deadlines_class(all, timeout_ms), deadline, fn, now_ms(client));
}

/* Forgets the connection; its io is closing. The memory goes in on_io_closed. */
static void drop(struct mg_client *client, int status)
{
    if (client->state == MG_CLIENT_CLOSED) {
        return;
    }
    if (client->state == MG_CLIENT_IDLE) {
        mg_stats_drop(client->server->parts.stats, MG_STAT_CONNECTIONS_IDLE, 1);
    }
    client->state = MG_CLIENT_CLOSED;
    mg_deadline_cancel(&client->read_deadline);
    mg_deadline_cancel(&client->write_deadline);
    struct mg_server *server = client->server;
    mg_link_remove(&client->link);
    server->client_count--;
    mg_stats_drop(server->parts.stats, MG_STAT_CONNECTIONS, 1);
    struct mg_exchange *exchange = client->exchange;
    client->exchange = NULL;
    if (exchange) {
        server->user->on_gone(exchange, status);
    }
    mg_server_check_drained(server);
}

static void on_io_closed(void *context)
{
    struct mg_client *client = context;
    client->server->linger_count -= client->lingers;
    mg_buf_deinit(&client->in);
    free(client);
}

void mg_client_close(struct mg_client *client)
{
    if (client->state != MG_CLIENT_CLOSED) {
        client->lingers = true;
        client->server->linger_count++;
        mg_io_close_lingering(client->io, MG_LINGER_MS);
        drop(client, MG_ECLOSED);
    }
}

void mg_client_cut(struct mg_client *client)
{
    if (client->state != MG_CLIENT_CLOSED) {
        mg_io_reset(client->io);
        drop(client, MG_ECANCELLED);
    }
}

static void close_quietly(struct mg_client *client, int status)
{
    if (client->state != MG_CLIENT_CLOSED) {
        mg_io_close(client->io);
        drop(client, status);
    }
}

static void on_keepalive_timeout(struct mg_deadline *deadline)
{
    struct mg_client *client = MG_CONTAINER(deadline, struct mg_client, read_deadline);
    mg_stats_add(client->server->parts.stats, MG_STAT_KEEPALIVE_TIMEOUT, 1);
    close_quietly(client, MG_ETIMEOUT);
}

static void on_header_timeout(struct mg_deadline *deadline)
{
    struct mg_client *client = MG_CONTAINER(deadline, struct mg_client, read_deadline);
    mg_stats_add(client->server->parts.stats, MG_STAT_HEADER_TIMEOUT, 1);
    client->state = MG_CLIENT_BUSY;
    client->requests++;
    client->refused_bytes = client->in.len;
    client->server->user->on_head(client, MG_EHEAD_TIMEOUT, mg_str_make(NULL, 0));
}

static void body_error(struct mg_client *client, int status)
{
    client->state = MG_CLIENT_BUSY;
    client->broken_body = true; /* what follows is never parsed */
    mg_io_splice_stop(client->io);
    mg_buf_clear(&client->in);
    mg_deadline_cancel(&client->read_deadline);
    client->server->user->on_body_error(client, status);
}

static void on_body_timeout(struct mg_deadline *deadline)
{
    struct mg_client *client = MG_CONTAINER(deadline, struct mg_client, read_deadline);
    mg_stats_add(client->server->parts.stats, MG_STAT_BODY_TIMEOUT, 1);
    body_error(client, MG_EBODY_TIMEOUT);
}

/* Which limit of the body's total time and least rate is broken, or MG_STAT_COUNT; time in which we
 * did not read is not counted. */
static enum mg_stat broken_body_limit(const struct mg_client *client)
{
    const uint64_t elapsed = now_ms(client) - client->body_started_ms - client->body_paused_ms;
    const struct mg_limits *limits = client->limits;
    if (limits->body_total_timeout > 0 && elapsed > limits->body_total_timeout) {
        return MG_STAT_BODY_TOTAL_TIMEOUT;
    }
    const uint64_t least = limits->body_min_rate * elapsed / 1000;
    return elapsed > RATE_GRACE_MS && client->body_bytes < least ? MG_STAT_BODY_MIN_RATE
                                                                 : MG_STAT_COUNT;
}

/* Bytes of the next request, kept until the present one is answered. Beyond one head's worth we
 * stop reading. */
static void stash(struct mg_client *client, mg_str bytes)
{
    if (client->broken_body || client->server->closing) {
        return;
    }
    if (mg_buf_append(&client->in, bytes) != 0) {
        close_quietly(client, MG_EFULL);
        return;
    }
    if (client->in.len >= MG_HIGH_WATER) {
        mg_io_read_stop(client->io);
    }
}

static void deliver_head(struct mg_client *client, int status, mg_str head)
{
    mg_deadline_cancel(&client->read_deadline);
    client->state = MG_CLIENT_BUSY;
    client->requests++;
    client->server->user->on_head(client, status, head);
}

static mg_str feed_head(struct mg_client *client, mg_str bytes)
{
    const struct mg_limits *limits = mg_server_limits(client->server);
    const bool first = client->state == MG_CLIENT_IDLE;
    if (first) {
        client->state = MG_CLIENT_HEAD;
        mg_stats_drop(client->server->parts.stats, MG_STAT_CONNECTIONS_IDLE, 1);
        client->scan = (struct mg_http1_scan){0};
        client->first_byte_us = client->server->parts.loop->clock.now_us;
    }
    size_t used = 0;
    const int err =
        mg_http1_scan(&client->scan, MG_HTTP1_REQUEST, &limits->request_head, bytes, &used);
    mg_str head = mg_str_slice(bytes, 0, used);
    const mg_str rest = mg_str_slice(bytes, used, bytes.len);
    if (err == MG_EAGAIN || (err == 0 && client->in.len > 0)) {
        if (mg_buf_append(&client->in, head) != 0) {
            client->refused_bytes = client->in.len + bytes.len;
            deliver_head(client, MG_EHEAD_TOO_LARGE, mg_str_make(NULL, 0));
            return mg_str_make(NULL, 0);
        }
        head = mg_buf_view(&client->in);
    }
    if (err == MG_EAGAIN) {
        if (first) {
            arm(client, &client->read_deadline, limits->header_timeout, on_header_timeout);
        }
        return rest;
    }
    if (err) {
        client->broken_body = true;
        client->refused_bytes = client->in.len + bytes.len;
        mg_buf_clear(&client->in);
        mg_server_count_head_limit(client->server, err, client->scan.limit);
        deliver_head(client, err, mg_str_make(NULL, 0));
        return mg_str_make(NULL, 0);
    }
    struct mg_buf used_up = client->in; /* the next bytes to keep get a new buffer */
    mg_buf_init(&client->in, used_up.max_bytes);
    deliver_head(client, 0, mg_str_slice(head, client->scan.skipped, head.len));
    mg_buf_deinit(&used_up);
    return rest;
}

/* One piece of body: octets and how many bytes they took. */
static int take_body(struct mg_client *client, mg_str bytes, size_t *used, mg_str *octets,
                     bool *last)
{
    if (client->framing == MG_FRAMING_CHUNKED) {
        const int err = mg_chunk_join(client->chunk, bytes, used, octets);
        if (err) {
            mg_server_count_chunk_limit(client->server, client->chunk);
        }
        *last = !err && client->chunk->done;
        return err;
    }
    const size_t take =
        bytes.len < client->body_remaining ? bytes.len : (size_t)client->body_remaining;
    client->body_remaining -= take;
    *used = take;
    *octets = mg_str_slice(bytes, 0, take);
    *last = client->body_remaining == 0;
    return 0;
}

/* The body is due from now on. */
static void start_body_time(struct mg_client *client)
{
    client->unasked = false;
    client->body_started_ms = now_ms(client);
    client->paused_since_ms = client->body_started_ms;
    client->body_paused_ms = 0;
}

static mg_str feed_body(struct mg_client *client, mg_str bytes)
{
    if (client->unasked) {
        start_body_time(client);
    }
    size_t used = 0;
    mg_str octets = {0};
    bool last = false;
    const int err = take_body(client, bytes, &used, &octets, &last);
    if (err) {
        body_error(client, err);
        return mg_str_make(NULL, 0);
    }
    client->body_bytes += octets.len;
    if (client->limits->request_body > 0 && client->body_bytes > client->limits->request_body) {
        mg_stats_add(client->server->parts.stats, MG_STAT_REQUEST_BODY, 1);
        body_error(client, MG_EBODY_TOO_LARGE);
        return mg_str_make(NULL, 0);
    }
    if (last) {
        mg_deadline_cancel(&client->read_deadline);
        client->state = MG_CLIENT_BUSY;
    }
    if (octets.len > 0 || last) {
        client->server->user->on_body(client, octets, last);
    }
    return mg_str_slice(bytes, used, bytes.len);
}

static void on_turn_again(struct mg_deadline *deadline);

/* Of a thousand requests that came at once the next one waits when those before it took long. */
static bool put_off(struct mg_client *client, mg_str bytes)
{
    const struct mg_loop *loop = client->server->parts.loop;
    if (mg_clock_precise_us(&loop->clock) - loop->clock.now_us < LONG_TURN_US ||
        mg_buf_append(&client->in, bytes) != 0) {
        return false;
    }
    mg_io_read_stop(client->io);
    mg_deadline_arm_at(&client->server->parts.loop->deadlines, &client->read_deadline,
                       on_turn_again, now_ms(client) + 1);
    return true;
}

static void feed(struct mg_client *client, mg_str bytes)
{
    const uint32_t before = client->requests;
    client->feeding = true;
    while (bytes.len > 0 && client->state != MG_CLIENT_CLOSED) {
        if (client->state == MG_CLIENT_IDLE && client->requests != before &&
            put_off(client, bytes)) {
            break;
        }
        if (client->state == MG_CLIENT_IDLE || client->state == MG_CLIENT_HEAD) {
            bytes = feed_head(client, bytes);
        } else if (client->state == MG_CLIENT_BODY) {
            bytes = feed_body(client, bytes);
        } else if (client->state == MG_CLIENT_TUNNEL) {
            client->server->user->on_raw(client, bytes);
            break;
        } else {
            stash(client, bytes);
            break;
        }
    }
    client->feeding = false;
}

/* After bytes of a body arrived: is it fast enough, and when must the next ones be here? */
static void watch_body(struct mg_client *client)
{
    if (client->state != MG_CLIENT_BODY || client->paused || client->unasked) {
        return;
    }
    const enum mg_stat broken = broken_body_limit(client);
    if (broken != MG_STAT_COUNT) {
        mg_stats_add(client->server->parts.stats, broken, 1);
        body_error(client, MG_EBODY_TIMEOUT);
        return;
    }
    arm(client, &client->read_deadline, client->limits->body_timeout, on_body_timeout);
}

static void on_data(void *context, mg_str bytes)
{
    struct mg_client *client = context;
    feed(client, bytes);
    watch_body(client);
}

static void on_spliced(void *context, size_t bytes)
{
    struct mg_client *client = context;
    client->body_remaining -= bytes;
    client->body_bytes += bytes;
    client->server->user->on_body_spliced(client, bytes);
    watch_body(client);
}

/* Outside of tunnels a client that sends no more counts as gone, as nginx has it: whether it still
 * reads cannot be known, and its request is not worth an upstream's work if it does not. */
static void on_end(void *context, int status)
{
    struct mg_client *client = context;
    if (client->state == MG_CLIENT_TUNNEL && status == MG_ECLOSED) {
        client->server->user->on_raw_end(client);
        return;
    }
    close_quietly(client, status);
}

static void on_drain(void *context, int status)
{
    struct mg_client *client = context;
    mg_deadline_cancel(&client->write_deadline);
    if (status != 0) {
        close_quietly(client, status);
        return;
    }
    client->server->user->on_drain(client);
}

static void prefetch(const void *context)
{
    const struct mg_client *client = context;
    mg_prefetch(client, sizeof *client);
    if (client->state == MG_CLIENT_IDLE && client->server->user->prefetch) {
        client->server->user->prefetch(client->server);
    }
}

static const struct mg_io_handler io_handler = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_spliced = on_spliced,
    .prefetch = prefetch,
    .on_closed = on_io_closed,
};

static void set_peer(struct mg_client *client, const struct mg_address *peer)
{
    client->peer = *peer;
    const char *test_ip = client->server->test_peer_ip;
    if (test_ip[0]) {
        memcpy(client->peer.ip, test_ip, sizeof client->peer.ip);
    }
}

void mg_client_accept(struct mg_server_listener *listener, int fd, const struct mg_address *peer)
{
    struct mg_server *server = listener->server;
    struct mg_io *io;
    mg_stats_add(server->parts.stats, MG_STAT_ACCEPTED, 1);
    if (mg_io_new_fd(&io, server->parts.loop, fd, listener->port == 0) != 0) {
        return;
    }
    if (mg_shed_is_full(server)) {
        mg_shed(server, io);
        return;
    }
    struct mg_client *client = calloc(1, sizeof *client);
    mg_require(client != NULL);
    *client = (struct mg_client){.io = io,
                                 .server = server,
                                 .listener = listener->index,
                                 .port = listener->port,
                                 .send_timeout = mg_server_limits(server)->send_timeout,
                                 .id = ++server->connections_made};
    set_peer(client, peer);
    mg_deadline_init(&client->read_deadline);
    mg_deadline_init(&client->write_deadline);
    mg_buf_init(&client->in, MG_HIGH_WATER + MG_READ_BYTES);
    mg_link_init(&client->link);
    mg_list_append(&server->clients, &client->link);
    server->client_count++;
    mg_stats_add(server->parts.stats, MG_STAT_CONNECTIONS, 1);
    mg_stats_add(server->parts.stats, MG_STAT_CONNECTIONS_IDLE, 1);
    mg_io_set_handler(io, &io_handler, client);
    arm(client, &client->read_deadline, mg_server_limits(server)->keepalive_timeout,
        on_keepalive_timeout);
    mg_io_read_start(io);
}

void mg_client_expect_body(struct mg_client *client, enum mg_framing framing, uint64_t length,
                           const struct mg_limits *limits, struct mg_arena *arena)
{
    client->limits = limits;
    client->send_timeout = limits->send_timeout;
    if (framing == MG_FRAMING_NONE || (framing == MG_FRAMING_LENGTH && length == 0)) {
        return;
    }
    client->framing = framing;
    client->body_remaining = length;
    client->body_bytes = 0;
    start_body_time(client);
    if (framing == MG_FRAMING_CHUNKED) {
        client->chunk = mg_arena_alloc(arena, sizeof *client->chunk);
        mg_chunk_init(client->chunk, &limits->chunk);
    }
    client->state = MG_CLIENT_BODY;
    arm(client, &client->read_deadline, limits->body_timeout, on_body_timeout);
}

void mg_client_await_continue(struct mg_client *client)
{
    client->unasked = true;
    mg_deadline_cancel(&client->read_deadline);
}

void mg_client_ask_body(struct mg_client *client)
{
    if (!client->unasked || client->state != MG_CLIENT_BODY) {
        return;
    }
    start_body_time(client);
    if (!client->paused) {
        arm(client, &client->read_deadline, client->limits->body_timeout, on_body_timeout);
    }
}

void mg_client_set_limits(struct mg_client *client, const struct mg_limits *limits)
{
    client->limits = limits;
    client->send_timeout = limits->send_timeout;
    if (client->state == MG_CLIENT_BODY && client->framing == MG_FRAMING_CHUNKED) {
        client->chunk->limits = &limits->chunk;
    }
}

void mg_client_pause(struct mg_client *client)
{
    if (client->paused || client->state == MG_CLIENT_CLOSED) {
        return;
    }
    client->paused = true;
    client->paused_since_ms = now_ms(client);
    mg_io_read_stop(client->io);
    if (client->state == MG_CLIENT_BODY) {
        mg_deadline_cancel(&client->read_deadline);
    }
}

void mg_client_resume(struct mg_client *client)
{
    if (!client->paused || client->state == MG_CLIENT_CLOSED) {
        return;
    }
    client->paused = false;
    client->body_paused_ms += now_ms(client) - client->paused_since_ms;
    if (client->state == MG_CLIENT_BODY && !client->unasked) {
        arm(client, &client->read_deadline, client->limits->body_timeout, on_body_timeout);
    }
    if (client->in.len < MG_HIGH_WATER) {
        mg_io_read_start(client->io);
    }
}

static uint64_t bytes_sent(const struct mg_client *client)
{
    return mg_io_bytes_out(client->io) - mg_io_queued(client->io);
}

static void on_send_timeout(struct mg_deadline *deadline)
{
    struct mg_client *client = MG_CONTAINER(deadline, struct mg_client, write_deadline);
    const uint64_t sent = bytes_sent(client);
    if (sent > client->sent_at_deadline) { /* slow, but it moves */
        client->sent_at_deadline = sent;
        arm(client, deadline, client->send_timeout, on_send_timeout);
        return;
    }
    mg_stats_add(client->server->parts.stats, MG_STAT_SEND_TIMEOUT, 1);
    mg_io_reset(client->io);
    drop(client, MG_ETIMEOUT);
}

static void on_dead(struct mg_deadline *deadline)
{
    close_quietly(MG_CONTAINER(deadline, struct mg_client, write_deadline), MG_ECLOSED);
}

void mg_client_spliced(struct mg_client *client, size_t bytes)
{
    client->bytes_out += bytes;
    if (mg_io_queued(client->io) > 0 && !mg_deadline_armed(&client->write_deadline)) {
        client->sent_at_deadline = bytes_sent(client);
        arm(client, &client->write_deadline, client->send_timeout, on_send_timeout);
    }
}

void mg_client_write(struct mg_client *client, const mg_str *parts, size_t count)
{
    if (client->state == MG_CLIENT_CLOSED) {
        return;
    }
    if (mg_io_write(client->io, parts, count) != 0) {
        /* on_end would not come while we do not read; the caller may be in the middle of things */
        mg_deadline_arm_at(&client->server->parts.loop->deadlines, &client->write_deadline, on_dead,
                           now_ms(client));
        return;
    }
    size_t written = 0;
    for (size_t i = 0; i < count; i++) {
        written += parts[i].len;
    }
    mg_client_spliced(client, written);
}

/* What had come ahead of its turn. */
static void feed_stash(struct mg_client *client)
{
    if (client->feeding || client->in.len == 0) {
        return; /* feed() goes on by itself */
    }
    struct mg_buf stashed = client->in;
    mg_buf_init(&client->in, stashed.max_bytes);
    feed(client, mg_buf_view(&stashed));
    mg_buf_deinit(&stashed);
    watch_body(client);
}

/* The next request may come, or has come. */
static void go_on(struct mg_client *client)
{
    mg_io_read_start(client->io);
    arm(client, &client->read_deadline,
        client->server->draining ? MG_SERVER_QUIET_MS
                                 : mg_server_limits(client->server)->keepalive_timeout,
        on_keepalive_timeout);
    feed_stash(client);
}

static void on_turn_again(struct mg_deadline *deadline)
{
    go_on(MG_CONTAINER(deadline, struct mg_client, read_deadline));
}

void mg_client_next(struct mg_client *client)
{
    client->exchange = NULL;
    if (client->state == MG_CLIENT_CLOSED) {
        return;
    }
    client->state = MG_CLIENT_IDLE;
    mg_stats_add(client->server->parts.stats, MG_STAT_CONNECTIONS_IDLE, 1);
    client->paused = false;
    go_on(client);
}

void mg_client_tunnel(struct mg_client *client)
{
    if (client->state == MG_CLIENT_CLOSED) {
        return;
    }
    client->state = MG_CLIENT_TUNNEL;
    mg_deadline_cancel(&client->read_deadline);
    mg_io_read_start(client->io);
    feed_stash(client);
}
