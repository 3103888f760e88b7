/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of the echo upstream:
 *
 *   HEAD --head complete--> BODY --body complete--> ANSWER --answer written--> HEAD
 *                             `--Upgrade--> TUNNEL
 *
 * Bytes are read from the loop's buffer where they lie; what a state cannot use yet is kept in
 * `in`. While an answer is under way reading goes on up to PIPELINE_BYTES, so that a client that
 * goes away is noticed.
 */
#include "echo.h"

#include "echo_answer.h"
#include "echo_describe.h"
#include "echo_websocket.h"
#include "wire/chunk.h"
#include "wire/rules.h"

#include <stdio.h>
#include <stdlib.h>

#define LISTENERS_MAX 8
#define PIPELINE_BYTES (64 * 1024)
#define INPUT_BYTES (PIPELINE_BYTES + MG_READ_BYTES)
#define DESCRIPTION_BYTES (16 * 1024 * 1024) /* a body of MG_ECHO_BODY_BYTES, escaped, and a head */
#define FIXED_BYTES (256 * 1024)             /* longest answer that is kept ready */
#define ARENA_BYTES 4096
#define LINGER_MS 1000

static const struct mg_http1_limits limits = {.request_line = 32768,
                                              .header_bytes = 65536,
                                              .header_line = 32768,
                                              .header_name = 1024,
                                              .header_count = 500};
static const struct mg_chunk_limits chunk_limits = {
    .line = 256, .extensions = 16384, .trailers = 100, .trailer_bytes = 16384};

enum state { STATE_HEAD, STATE_BODY, STATE_ANSWER, STATE_WEBSOCKET, STATE_RAW };

struct place {
    struct mg_echo *echo;
    struct mg_listener *listener;
    uint16_t port;
    bool is_unix;
};

struct mg_echo {
    struct mg_loop *loop;
    struct mg_echo_options options;
    char *pattern;
    struct mg_buf fixed; /* the answer to a plain request, remade each second for its Date */
    int64_t fixed_second;
    uint64_t random;
    struct place places[LISTENERS_MAX];
    uint32_t place_count;
    struct mg_link connections;
    bool closing;
};

struct connection {
    struct mg_link link;
    struct mg_echo *echo;
    struct place *place;
    struct mg_io *io;
    struct mg_address peer;
    struct mg_arena arena; /* of the present request */
    struct mg_buf in;      /* bytes not used yet */
    struct mg_buf body;    /* of the request: the first MG_ECHO_BODY_BYTES */
    struct mg_buf text;    /* JSON of the answer */
    enum state state;
    size_t scanned; /* bytes of in that the scanner has seen */
    struct mg_http1_scan scan;
    struct mg_request_head head;
    mg_str path, query;
    bool has_query, ended, closed;
    struct mg_chunk chunk;
    uint64_t body_remaining, body_bytes;
    struct mg_echo_answer answer;
    struct mg_echo_websocket ws;
};

/* --- the end of a connection ------------------------------------------------------------- */

static void free_when_empty(struct mg_echo *echo)
{
    if (echo->closing && mg_list_empty(&echo->connections)) {
        mg_buf_deinit(&echo->fixed);
        free(echo->pattern);
        free(echo);
    }
}

static void on_closed(void *context)
{
    struct connection *connection = context;
    struct mg_echo *echo = connection->echo;
    mg_link_remove(&connection->link);
    mg_echo_answer_deinit(&connection->answer);
    mg_arena_deinit(&connection->arena);
    mg_buf_deinit(&connection->in);
    mg_buf_deinit(&connection->body);
    mg_buf_deinit(&connection->text);
    free(connection);
    free_when_empty(echo);
}

/* closed: nothing more is done with the connection; on_closed comes. */
static void close_now(struct connection *connection)
{
    connection->closed = true;
    mg_io_close(connection->io);
}

static void refuse(struct connection *connection, const char *status)
{
    char text[128];
    const int length = snprintf(
        text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status);
    const mg_str answer = mg_str_make(text, (size_t)length);
    connection->closed = true;
    if (mg_io_write(connection->io, &answer, 1)) {
        mg_io_close(connection->io);
    } else {
        mg_io_close_lingering(connection->io, LINGER_MS);
    }
}

/* --- answering --------------------------------------------------------------------------- */

static bool chance(struct mg_echo *echo, double share)
{
    echo->random ^= echo->random << 13; /* xorshift64 (Marsaglia, 2003) */
    echo->random ^= echo->random >> 7;
    echo->random ^= echo->random << 17;
    return (double)(echo->random >> 11) < share * (double)(1ULL << 53);
}

static void log_request(const struct connection *connection, unsigned status)
{
    if (connection->echo->options.log) {
        fprintf(stderr, "echo %u: %.*s %.*s -> %u\n", connection->place->port,
                MG_STR_ARG(connection->head.method), MG_STR_ARG(connection->head.target), status);
    }
}

/* Whether the answer is the one that is kept ready. */
static bool is_plain(const struct connection *connection)
{
    const struct mg_echo_wish *wish = &connection->echo->options.wish;
    return !connection->has_query && wish->sized && wish->size <= FIXED_BYTES / 2 &&
           connection->head.method_id != MG_METHOD_HEAD && connection->head.keep_alive &&
           connection->head.minor == 1 && !wish->chunked && !wish->close && !wish->reset &&
           !wish->cut && wish->delay_ms == 0 && wish->events == 0 && wish->fail_rate <= 0 &&
           wish->status != 204 && wish->status != 304;
}

static mg_str fixed_answer(struct mg_echo *echo)
{
    struct mg_clock *clock = &echo->loop->clock;
    const char *date = mg_clock_http_date(clock);
    if (clock->date_second != echo->fixed_second || echo->fixed.len == 0) {
        const struct mg_echo_wish *wish = &echo->options.wish;
        echo->fixed_second = clock->date_second;
        mg_buf_clear(&echo->fixed);
        bool ok = mg_echo_answer_head(&echo->fixed, wish, date, "text/plain", wish->size);
        for (uint64_t done = 0; ok && done < wish->size;) {
            const uint64_t left = wish->size - done;
            const uint64_t bytes = left < MG_ECHO_BLOCK ? left : MG_ECHO_BLOCK;
            ok = mg_buf_append(&echo->fixed, mg_str_make(echo->pattern, (size_t)bytes)) == 0;
            done += bytes;
        }
        mg_require(ok); /* FIXED_BYTES is enough */
    }
    return mg_buf_view(&echo->fixed);
}

/* The description of the request, in connection->text. */
static mg_str describe(struct connection *connection)
{
    const struct mg_echo_request request = {.head = &connection->head,
                                            .path = connection->path,
                                            .query = connection->query,
                                            .has_query = connection->has_query,
                                            .body = mg_buf_view(&connection->body),
                                            .body_bytes = connection->body_bytes,
                                            .peer = &connection->peer,
                                            .port = connection->place->port};
    mg_buf_clear(&connection->text);
    if (!mg_echo_describe(&connection->text, &connection->arena, &request)) {
        return MG_STR("{}\n");
    }
    return mg_buf_view(&connection->text);
}

static void next_request(struct connection *connection)
{
    connection->state = STATE_HEAD;
    connection->scan = (struct mg_http1_scan){.state = 0};
    connection->scanned = 0;
    mg_arena_reset(&connection->arena);
    mg_buf_clear(&connection->body);
    connection->body_bytes = 0;
}

static void begin_answer(struct connection *connection)
{
    struct mg_echo *echo = connection->echo;
    if (is_plain(connection)) {
        const mg_str answer = fixed_answer(echo);
        log_request(connection, echo->options.wish.status);
        if (mg_io_write(connection->io, &answer, 1)) {
            close_now(connection);
        } else {
            next_request(connection);
        }
        return;
    }
    struct mg_echo_wish wish = echo->options.wish;
    mg_echo_wish_query(&wish, connection->query);
    if (wish.fail_rate > 0 && chance(echo, wish.fail_rate)) {
        wish.status = 500;
    }
    const bool described = !wish.sized && wish.events == 0;
    const struct mg_echo_ask ask = {.text = described ? describe(connection) : MG_STR(""),
                                    .is_head = connection->head.method_id == MG_METHOD_HEAD,
                                    .is_old = connection->head.minor == 0,
                                    .keep_alive = connection->head.keep_alive};
    log_request(connection, wish.status);
    connection->state = STATE_ANSWER;
    connection->answer.wish = wish;
    const enum mg_echo_progress progress = mg_echo_answer_start(&connection->answer, &ask);
    if (progress == MG_ECHO_WRITTEN) {
        next_request(connection);
    }
    connection->closed = progress == MG_ECHO_GONE;
}

/* --- tunnels ----------------------------------------------------------------------------- */

/* mg_rules_check_request has seen to it that the request asks for a WebSocket, with a key. */
static void begin_tunnel(struct connection *connection)
{
    const struct mg_headers *headers = &connection->head.headers;
    const struct mg_header *key = mg_headers_known(headers, MG_HEADER_SEC_WEBSOCKET_KEY);
    struct mg_echo_wish wish = connection->echo->options.wish;
    mg_echo_wish_query(&wish, connection->query);
    const mg_str accept =
        mg_rules_websocket_accept(&connection->arena, key ? key->value : MG_STR(""));
    const mg_str answer =
        mg_arena_format(&connection->arena,
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                        "Upgrade: websocket\r\nSec-WebSocket-Accept: %.*s\r\n\r\n",
                        MG_STR_ARG(accept));
    log_request(connection, 101);
    connection->state = wish.raw ? STATE_RAW : STATE_WEBSOCKET;
    connection->ws = (struct mg_echo_websocket){.done = false};
    if (mg_io_write(connection->io, &answer, 1)) {
        close_now(connection);
    }
}

static void feed_tunnel(struct connection *connection, mg_str bytes)
{
    if (connection->state == STATE_WEBSOCKET) {
        mg_buf_clear(&connection->text);
        mg_echo_websocket_feed(&connection->ws, bytes, &connection->text);
        bytes = mg_buf_view(&connection->text);
    }
    if (connection->ws.broken || mg_io_write(connection->io, &bytes, 1)) {
        close_now(connection);
        return;
    }
    if (connection->ws.done) {
        connection->closed = true;
        mg_io_close_lingering(connection->io, LINGER_MS);
    } else if (mg_io_queued(connection->io) > MG_ECHO_QUEUE) {
        mg_io_read_stop(connection->io);
    }
}

/* --- reading ----------------------------------------------------------------------------- */

static void split_target(struct connection *connection)
{
    const mg_str target = connection->head.target;
    const ptrdiff_t mark = mg_str_find(target, '?', 0);
    const size_t split = mark < 0 ? target.len : (size_t)mark;
    connection->path = mg_str_slice(target, 0, split);
    connection->query = mg_str_slice(target, split + 1, target.len);
    connection->has_query = mark >= 0;
}

static void begin_body(struct connection *connection)
{
    const mg_str go_on = MG_STR("HTTP/1.1 100 Continue\r\n\r\n");
    const struct mg_request_head *head = &connection->head;
    connection->state = STATE_BODY;
    connection->body_remaining = head->framing == MG_FRAMING_LENGTH ? head->content_length : 0;
    if (head->framing == MG_FRAMING_CHUNKED) {
        mg_chunk_init(&connection->chunk, &chunk_limits);
    } else if (connection->body_remaining == 0) {
        begin_answer(connection);
        return;
    }
    if (head->expect_continue && mg_io_write(connection->io, &go_on, 1)) {
        close_now(connection);
    }
}

/* head: one whole head. */
static void take_head(struct connection *connection, mg_str head)
{
    struct mg_host host;
    const struct mg_uri uri = {.path = MG_STR("/")};
    const mg_str copy = mg_arena_copy_str(&connection->arena, head);
    int err = mg_http1_parse_request(&connection->arena, copy, &connection->head);
    if (!err) {
        split_target(connection);
        err = mg_rules_check_request(&connection->head, &uri, &host);
    }
    if (err) {
        refuse(connection, err == MG_EMETHOD ? "501 Not Implemented" : "400 Bad Request");
    } else if (connection->head.wants_upgrade && connection->head.framing == MG_FRAMING_NONE) {
        begin_tunnel(connection);
    } else {
        begin_body(connection);
    }
}

/* Each feed_* takes bytes and returns how many it used. */
static size_t feed_head(struct connection *connection, mg_str bytes)
{
    size_t used = 0;
    const mg_str fresh = mg_str_slice(bytes, connection->scanned, bytes.len);
    const int err = mg_http1_scan(&connection->scan, MG_HTTP1_REQUEST, &limits, fresh, &used);
    if (err == MG_EAGAIN) {
        connection->scanned = bytes.len;
        return 0; /* the head is kept until it is whole */
    }
    if (err) {
        refuse(connection, "400 Bad Request");
        return bytes.len;
    }
    const size_t end = connection->scanned + used;
    connection->scanned = 0;
    take_head(connection, mg_str_slice(bytes, connection->scan.skipped, end));
    return end;
}

static void keep_octets(struct connection *connection, mg_str octets)
{
    connection->body_bytes += octets.len;
    const size_t room = MG_ECHO_BODY_BYTES - connection->body.len;
    const int err = mg_buf_append(&connection->body, mg_str_slice(octets, 0, room));
    mg_require(err == 0); /* it fits */
}

static size_t feed_body(struct connection *connection, mg_str bytes)
{
    size_t used = bytes.len;
    mg_str octets = bytes;
    bool is_last;
    if (connection->head.framing == MG_FRAMING_CHUNKED) {
        if (mg_chunk_next(&connection->chunk, bytes, &used, &octets)) {
            refuse(connection, "400 Bad Request");
            return bytes.len;
        }
        is_last = connection->chunk.done;
    } else {
        used =
            bytes.len < connection->body_remaining ? bytes.len : (size_t)connection->body_remaining;
        octets = mg_str_slice(bytes, 0, used);
        connection->body_remaining -= used;
        is_last = connection->body_remaining == 0;
    }
    keep_octets(connection, octets);
    if (is_last) {
        begin_answer(connection);
    }
    return used;
}

/* Uses what the states can use; returns how many bytes are left at the end. */
static size_t feed(struct connection *connection, mg_str bytes)
{
    while (bytes.len > 0 && !connection->closed && connection->state != STATE_ANSWER) {
        size_t used = bytes.len;
        if (connection->state == STATE_HEAD) {
            used = feed_head(connection, bytes);
        } else if (connection->state == STATE_BODY) {
            used = feed_body(connection, bytes);
        } else {
            feed_tunnel(connection, bytes);
        }
        if (used == 0) {
            break;
        }
        bytes = mg_str_slice(bytes, used, bytes.len);
    }
    return connection->closed ? 0 : bytes.len;
}

/* Uses what lies in `in`. */
static void feed_kept(struct connection *connection)
{
    const mg_str kept = mg_buf_view(&connection->in);
    const size_t left = feed(connection, kept);
    mg_buf_consume(&connection->in, kept.len - left);
    if (!connection->closed && connection->in.len < PIPELINE_BYTES) {
        mg_io_read_start(connection->io);
    }
}

static void on_data(void *context, mg_str bytes)
{
    struct connection *connection = context;
    if (connection->closed) {
        return;
    }
    if (connection->in.len == 0) {
        const size_t left = feed(connection, bytes);
        bytes = mg_str_slice(bytes, bytes.len - left, bytes.len);
    }
    if (bytes.len > 0) {
        const bool was_empty = connection->in.len == 0;
        if (mg_buf_append(&connection->in, bytes)) {
            close_now(connection);
            return;
        }
        if (!was_empty) {
            feed_kept(connection);
        }
    }
    if (!connection->closed && connection->in.len >= PIPELINE_BYTES) {
        mg_io_read_stop(connection->io);
    }
}

static void on_end(void *context, int status)
{
    struct connection *connection = context;
    connection->ended = true;
    if (connection->closed) {
        return;
    }
    if (status != MG_ECLOSED || connection->state != STATE_ANSWER) {
        close_now(connection);
    }
}

static void on_drain(void *context, int status)
{
    struct connection *connection = context;
    if (connection->closed) {
        return;
    }
    if (status) {
        close_now(connection);
    } else if (connection->state == STATE_ANSWER) {
        mg_echo_answer_drained(&connection->answer);
    } else {
        mg_io_read_start(connection->io);
    }
}

static void on_answered(void *context)
{
    struct connection *connection = context;
    next_request(connection);
    if (connection->ended) {
        connection->closed = true;
        mg_io_close_lingering(connection->io, LINGER_MS);
        return;
    }
    feed_kept(connection);
}

/* --- the server -------------------------------------------------------------------------- */

static const struct mg_io_handler handler = {
    .on_data = on_data, .on_end = on_end, .on_drain = on_drain, .on_closed = on_closed};

static void on_accept(void *context, int fd, const struct mg_address *peer)
{
    struct place *place = context;
    struct mg_echo *echo = place->echo;
    struct mg_io *io;
    if (mg_io_new_fd(&io, echo->loop, fd, place->is_unix)) {
        return;
    }
    struct connection *connection = calloc(1, sizeof *connection);
    mg_require(connection != NULL);
    connection->echo = echo;
    connection->place = place;
    connection->io = io;
    connection->peer = *peer;
    mg_arena_init(&connection->arena, ARENA_BYTES);
    mg_buf_init(&connection->in, INPUT_BYTES);
    mg_buf_init(&connection->body, MG_ECHO_BODY_BYTES);
    mg_buf_init(&connection->text, DESCRIPTION_BYTES);
    connection->answer.loop = echo->loop;
    connection->answer.io = io;
    connection->answer.pattern = echo->pattern;
    connection->answer.on_done = on_answered;
    connection->answer.context = connection;
    mg_echo_answer_init(&connection->answer);
    mg_link_init(&connection->link);
    mg_list_append(&echo->connections, &connection->link);
    next_request(connection);
    mg_io_set_handler(io, &handler, connection);
    mg_io_read_start(io);
}

static char *new_pattern(void)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
    char *pattern = malloc(MG_ECHO_BLOCK);
    mg_require(pattern != NULL);
    for (size_t i = 0; i < MG_ECHO_BLOCK; i++) {
        pattern[i] = i % 64 == 63 ? '\n' : letters[(i + i / 64) % 63];
    }
    return pattern;
}

struct mg_echo *mg_echo_open(struct mg_loop *loop, const struct mg_echo_options *options)
{
    struct mg_echo *echo = calloc(1, sizeof *echo);
    mg_require(echo != NULL);
    echo->loop = loop;
    echo->options = *options;
    echo->pattern = new_pattern();
    echo->random = 0x9e3779b97f4a7c15U ^ loop->clock.now_us;
    mg_buf_init(&echo->fixed, FIXED_BYTES);
    mg_link_init(&echo->connections);
    return echo;
}

int mg_echo_listen(struct mg_echo *echo, int fd, bool is_unix)
{
    if (echo->place_count == LISTENERS_MAX) {
        return MG_EFULL;
    }
    struct place *place = &echo->places[echo->place_count];
    *place = (struct place){.echo = echo, .port = mg_listen_port(fd), .is_unix = is_unix};
    const int err = mg_listener_open(&place->listener, echo->loop, fd, is_unix, on_accept, place);
    echo->place_count += err ? 0 : 1;
    return err;
}

void mg_echo_close(struct mg_echo *echo)
{
    for (uint32_t i = 0; i < echo->place_count; i++) {
        mg_listener_close(echo->places[i].listener);
    }
    for (struct mg_link *link = echo->connections.next; link != &echo->connections;
         link = link->next) {
        close_now(MG_CONTAINER(link, struct connection, link));
    }
    echo->closing = true;
    free_when_empty(echo);
}
