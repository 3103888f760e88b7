/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server of flow/server with a user of its own: heads are found, timed and bounded as those of
 * the gateway's clients are, and what they ask for is answered here.
 */
#include "status_listener.h"

#include "exposition.h"
#include "flow/client.h"
#include "flow/server.h"
#include "vitals.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CONNECTIONS 16 /* of a worker at a time: scrapes, probes of an orchestrator, a person */
#define TEXT_BYTES (64UL * 1024 * 1024) /* of one piece of /metrics; far more than it is */
#define ARENA_BYTES 2048

struct mg_status_listener {
    struct mg_server server;
    struct mg_stats stats; /* these connections are none of the gateway's */
    struct mg_shm *shm;
    struct mg_vitals vitals;
};

/* What a client is being sent, while it cannot be sent at once. In client->exchange. */
struct answer {
    struct mg_client *client;
    struct mg_exposition *exposition;
    struct mg_buf text;
    struct mg_deadline next;
    bool chunked, ended;
};

static const struct mg_limits limits = {
    .header_timeout = 5000,
    .keepalive_timeout = 5000, /* until the first byte */
    .send_timeout = 10000,
    .request_head = {.request_line = 2048,
                     .header_bytes = 8192,
                     .header_line = 4096,
                     .header_name = 128,
                     .header_count = 64},
};

static struct mg_status_listener *listener_of(const struct mg_client *client)
{
    return MG_CONTAINER(client->server, struct mg_status_listener, server);
}

static mg_str reason_of(unsigned code)
{
    switch (code) {
    case 200:
        return MG_STR("OK");
    case 404:
        return MG_STR("Not Found");
    case 405:
        return MG_STR("Method Not Allowed");
    case 408:
        return MG_STR("Request Timeout");
    case 503:
        return MG_STR("Service Unavailable");
    default:
        return MG_STR("Bad Request");
    }
}

/* A whole answer; the connection ends with it. */
static void answer(struct mg_client *client, unsigned code, bool with_body, mg_str body)
{
    char head[512];
    const mg_str reason = reason_of(code);
    const int length = snprintf(
        head, sizeof head,
        "HTTP/1.1 %u %.*s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n"
        "%sCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        code, MG_STR_ARG(reason), body.len, code == 405 ? "Allow: GET, HEAD\r\n" : "");
    const mg_str parts[] = {mg_str_make(head, (size_t)length), body};
    mg_client_write(client, parts, with_body ? 2 : 1);
    mg_client_close(client);
}

/* --- /readyz ---------------------------------------------------------------------------------- */

struct checks {
    char text[512];
    size_t length;
    bool ready;
};

static void check(struct checks *checks, bool fine, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void check(struct checks *checks, bool fine, const char *format, ...)
{
    char line[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    checks->ready = checks->ready && fine;
    const int length = snprintf(checks->text + checks->length, sizeof checks->text - checks->length,
                                "[%c] %s\n", fine ? '+' : '-', line);
    checks->length += length > 0 ? (size_t)length : 0;
}

static void answer_readyz(struct mg_client *client, bool with_body, bool verbose)
{
    struct mg_shm *shm = listener_of(client)->shm;
    struct mg_shm_room room;
    struct checks checks = {.ready = true};
    uint32_t ready = 0, current = 0;
    const uint64_t generation = mg_shm_published_generation(shm);
    mg_shm_room(shm, &room);
    for (uint32_t i = 0; i < room.workers; i++) {
        const struct mg_slot *slot = mg_shm_slot(shm, i);
        ready += slot->pid > 0 && slot->ready;
        current += slot->pid > 0 && slot->ready && slot->generation == generation;
    }
    check(&checks, ready == room.workers, "workers: %u of %u serve", ready, room.workers);
    check(&checks, current == room.workers, "generation: %u of %u workers are on number %llu",
          current, room.workers, (unsigned long long)generation);
    check(&checks, !mg_shm_is_draining(shm), "shutdown: %s",
          mg_shm_is_draining(shm) ? "the gateway is draining" : "not asked for");
    const mg_str text =
        verbose || !checks.ready ? mg_str_make(checks.text, checks.length) : MG_STR("ok\n");
    answer(client, checks.ready ? 200 : 503, with_body, text);
}

/* --- /metrics --------------------------------------------------------------------------------- */

static void free_answer(struct answer *sent)
{
    mg_deadline_cancel(&sent->next);
    mg_exposition_free(sent->exposition);
    mg_buf_deinit(&sent->text);
    free(sent);
}

static void send_piece(struct answer *sent)
{
    char head[24];
    const mg_str text = mg_buf_view(&sent->text);
    const int length = snprintf(head, sizeof head, "%zx\r\n", text.len);
    const mg_str parts[] = {mg_str_make(head, (size_t)length), text, MG_STR("\r\n")};
    if (sent->chunked) {
        mg_client_write(sent->client, parts, 3);
    } else {
        mg_client_write(sent->client, &text, 1);
    }
    mg_buf_clear(&sent->text);
}

static void on_turn(struct mg_deadline *deadline);

/* The next piece, in the loop's next turn: requests come between. */
static void go_on(struct answer *sent)
{
    struct mg_loop *loop = sent->client->server->parts.loop;
    mg_deadline_arm_at(&loop->deadlines, &sent->next, on_turn, mg_loop_now_ms(loop));
}

static void on_turn(struct mg_deadline *deadline)
{
    struct answer *sent = MG_CONTAINER(deadline, struct answer, next);
    struct mg_client *client = sent->client;
    if (mg_exposition_next(sent->exposition, &sent->text)) {
        if (sent->text.len > 0) { /* a chunk of length 0 would be the end */
            send_piece(sent);
        }
        if (mg_client_queued(client) == 0) {
            go_on(sent); /* else on_drain does */
        }
        return;
    }
    if (sent->chunked) {
        const mg_str end = MG_STR("0\r\n\r\n");
        mg_client_write(client, &end, 1);
    }
    mg_client_close(client); /* on_gone frees */
}

static void answer_metrics(struct mg_client *client, bool with_body, bool chunked)
{
    struct mg_status_listener *status = listener_of(client);
    struct mg_loop *loop = status->server.parts.loop;
    char head[512];
    const int length = snprintf(
        head, sizeof head,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        "%sCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        chunked ? "Transfer-Encoding: chunked\r\n" : "");
    const mg_str part = mg_str_make(head, (size_t)length);
    mg_client_write(client, &part, 1);
    if (!with_body) {
        mg_client_close(client);
        return;
    }
    struct answer *sent = calloc(1, sizeof *sent);
    mg_require(sent != NULL);
    sent->client = client;
    sent->chunked = chunked;
    sent->exposition = mg_exposition_new(status->shm, mg_loop_now_ms(loop));
    mg_buf_init(&sent->text, TEXT_BYTES);
    mg_deadline_init(&sent->next);
    client->exchange = (struct mg_exchange *)(void *)sent; /* the user's own, see flow/client.h */
    mg_client_pause(client);
    go_on(sent);
}

/* --- the client's user ------------------------------------------------------------------------ */

static void answer_path(struct mg_client *client, const struct mg_request_head *head)
{
    const bool with_body = head->method_id == MG_METHOD_GET;
    const ptrdiff_t mark = mg_str_find(head->target, '?', 0);
    const mg_str path = mark < 0 ? head->target : mg_str_slice(head->target, 0, (size_t)mark);
    const mg_str query =
        mark < 0 ? MG_STR("") : mg_str_slice(head->target, (size_t)mark + 1, head->target.len);
    if (mg_str_equal(path, MG_STR("/livez"))) {
        answer(client, 200, with_body, MG_STR("ok\n"));
    } else if (mg_str_equal(path, MG_STR("/readyz"))) {
        answer_readyz(client, with_body, mg_str_starts(query, MG_STR("verbose")));
    } else if (mg_str_equal(path, MG_STR("/metrics"))) {
        answer_metrics(client, with_body, head->minor > 0);
    } else {
        answer(client, 404, with_body, MG_STR("There is /livez, /readyz and /metrics.\n"));
    }
}

static void on_head(struct mg_client *client, int status, mg_str bytes)
{
    struct mg_request_head head;
    struct mg_arena arena;
    if (status) {
        answer(client, status == MG_EHEAD_TIMEOUT ? 408 : 400, true, MG_STR("bad request\n"));
        return;
    }
    mg_arena_init(&arena, ARENA_BYTES);
    const int err = mg_http1_parse_request(&arena, bytes, &head);
    if (err == MG_EMETHOD ||
        (!err && head.method_id != MG_METHOD_GET && head.method_id != MG_METHOD_HEAD)) {
        answer(client, 405, true, MG_STR("GET and HEAD only\n"));
    } else if (err) {
        answer(client, 400, true, MG_STR("bad request\n"));
    } else {
        answer_path(client, &head);
    }
    mg_arena_deinit(&arena);
}

static void on_drain(struct mg_client *client)
{
    struct answer *sent = (struct answer *)(void *)client->exchange;
    if (sent && !mg_deadline_armed(&sent->next)) {
        go_on(sent);
    }
}

static void on_gone(struct mg_exchange *exchange, int status)
{
    (void)status;
    free_answer((struct answer *)(void *)exchange);
}

/* Bodies and tunnels are never asked for: what follows a head is not read. */
static const struct mg_client_user user = {
    .on_head = on_head,
    .on_drain = on_drain,
    .on_gone = on_gone,
};

/* --- the listener ----------------------------------------------------------------------------- */

void mg_status_listener_free(struct mg_status_listener *status)
{
    free(status);
}

struct mg_status_listener *mg_status_listener_open(const struct mg_status_listener_parts *parts)
{
    struct mg_status_listener *status = calloc(1, sizeof *status);
    mg_require(status != NULL);
    const struct mg_server_parts server_parts = {.loop = parts->loop,
                                                 .log = parts->log,
                                                 .stats = &status->stats,
                                                 .connection_limit = CONNECTIONS};
    status->shm = parts->shm;
    mg_server_open(&status->server, &server_parts);
    status->server.user = &user;
    status->server.limits = &limits;
    const int err = mg_server_listen(&status->server, parts->fd, parts->is_unix, 0);
    if (err) {
        mg_log_write(parts->log, MG_LOG_ERROR, "worker", "cannot accept on status.address: %s",
                     mg_err_text(err));
        mg_server_close(&status->server);
        mg_status_listener_free(status);
        return NULL;
    }
    const struct mg_vitals_parts vitals = {
        .loop = parts->loop, .shm = parts->shm, .worker = parts->worker, .current = parts->current};
    mg_vitals_open(&status->vitals, &vitals);
    return status;
}

void mg_status_listener_close(struct mg_status_listener *status)
{
    if (status) {
        mg_vitals_close(&status->vitals);
        mg_server_close(&status->server);
    }
}
