/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Differential: the raw scanner, llhttp, the rules and the chunk decoder against a reader written
 * from the RFCs alone (support/grammar.h). The first byte says what the rest is: a request, an
 * answer, or an answer to HEAD. For every input, in whatever pieces it comes, both must refuse it
 * or both must take it, and then they must agree on where head and message end, on method, target,
 * host, status, version, fields, kind and length of the body, its octets, and persistence.
 *
 * Covers: core/wire/http1_plain.c
 * Covers: core/wire/http1_scan.c core/wire/http1.c core/wire/rules.c core/wire/chunk.c
 * Covers: core/wire/connection.c core/wire/uri.c core/wire/uri_host.c
 */
#include "support/grammar.h"

#include "base/buf.h"
#include "wire/chunk.h"
#include "wire/rules.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINE = 300, FIELD_LINE = 200, NAME = 40, FIELD_BYTES = 700, FIELDS = 20 };
enum { CHUNK_LINE = 20, EXTENSIONS = 40, TRAILERS = 3, TRAILER_BYTES = 100 };

/* Small, so that short inputs reach them. */
static const struct mg_http1_limits head_limits = {.request_line = LINE,
                                                   .header_bytes = FIELD_BYTES,
                                                   .header_line = FIELD_LINE,
                                                   .header_name = NAME,
                                                   .header_count = FIELDS};
static const struct mg_chunk_limits chunk_limits = {.line = CHUNK_LINE,
                                                    .extensions = EXTENSIONS,
                                                    .trailers = TRAILERS,
                                                    .trailer_bytes = TRAILER_BYTES};
static const struct grammar_limits grammar_limits = {.start_line = LINE,
                                                     .field_line = FIELD_LINE,
                                                     .field_name = NAME,
                                                     .field_bytes = FIELD_BYTES,
                                                     .fields = FIELDS,
                                                     .chunk_line = CHUNK_LINE,
                                                     .chunk_extensions = EXTENSIONS,
                                                     .trailers = TRAILERS,
                                                     .trailer_bytes = TRAILER_BYTES};

struct input {
    bool is_request, to_head;
    mg_str bytes;
};

/* What the gateway makes of it. */
struct reading {
    int head; /* 0, MG_EAGAIN, a refusal */
    size_t head_at, head_end;
    struct mg_request_head request;
    struct mg_response_head response;
    struct mg_uri uri;
    struct mg_host host;
    enum mg_framing framing;
    uint64_t length;
    bool keep_alive;
    int body;
    size_t end;
    struct mg_buf octets;
};

/* --- the gateway ------------------------------------------------------------------------------ */

/* The next piece: sizes go around 1, 2, 3, 5 where step is not 0. */
static mg_str piece_at(mg_str bytes, size_t at, unsigned *step)
{
    static const size_t sizes[] = {1, 2, 3, 5};
    if (*step == 0) {
        return mg_str_slice(bytes, at, bytes.len);
    }
    return mg_str_slice(bytes, at, at + sizes[(*step)++ % 4]);
}

static void scan(const struct input *input, unsigned step, struct reading *reading)
{
    struct mg_http1_scan state = {0};
    reading->head = MG_EAGAIN;
    while (reading->head == MG_EAGAIN && reading->head_end < input->bytes.len) {
        size_t used = 0;
        const mg_str piece = piece_at(input->bytes, reading->head_end, &step);
        reading->head =
            mg_http1_scan(&state, input->is_request ? MG_HTTP1_REQUEST : MG_HTTP1_RESPONSE,
                          &head_limits, piece, &used);
        reading->head_end += used;
    }
    reading->head_at = state.skipped;
}

static int judge_request(struct mg_arena *arena, mg_str head, struct reading *reading)
{
    const struct mg_uri_rules rules = {0};
    struct mg_request_head *request = &reading->request;
    int err = mg_http1_parse_request(arena, head, request);
    err = err ? err
              : mg_uri_parse_target(arena, request->target, request->method_id, &rules,
                                    &reading->uri);
    err = err ? err : mg_rules_check_request(request, &reading->uri, &reading->host);
    reading->framing = request->framing;
    reading->length = request->content_length;
    reading->keep_alive = request->keep_alive;
    return err;
}

static int judge_response(struct mg_arena *arena, mg_str head, bool to_head,
                          struct reading *reading)
{
    struct mg_response_head *response = &reading->response;
    int err = mg_http1_parse_response(arena, head, response);
    err = err ? err : mg_rules_check_response(response, to_head ? MG_METHOD_HEAD : MG_METHOD_GET);
    reading->framing = response->framing;
    reading->length = response->content_length;
    reading->keep_alive = response->keep_alive;
    return err;
}

static void read_chunks(mg_str bytes, unsigned step, struct reading *reading)
{
    struct mg_chunk chunk;
    mg_chunk_init(&chunk, &chunk_limits);
    while (reading->end < bytes.len && !chunk.done && !reading->body) {
        size_t used = 0;
        mg_str octets;
        reading->body = mg_chunk_next(&chunk, piece_at(bytes, reading->end, &step), &used, &octets);
        mg_require(mg_buf_append(&reading->octets, octets) == 0);
        reading->end += used;
    }
    reading->body = !reading->body && !chunk.done ? MG_EAGAIN : reading->body;
}

static void read_body(mg_str bytes, unsigned step, struct reading *reading)
{
    const size_t there = bytes.len - reading->head_end;
    const bool is_close = reading->framing == MG_FRAMING_CLOSE;
    reading->end = reading->head_end;
    if (reading->framing == MG_FRAMING_CHUNKED) {
        read_chunks(bytes, step, reading);
    } else if (reading->framing == MG_FRAMING_LENGTH || is_close) {
        const size_t wanted = is_close || reading->length > there ? there : (size_t)reading->length;
        reading->end += wanted;
        reading->body = is_close || wanted < reading->length ? MG_EAGAIN : 0;
        const mg_str octets = mg_str_slice(bytes, reading->head_end, reading->end);
        mg_require(mg_buf_append(&reading->octets, octets) == 0);
    }
}

/* step: 0 = all in one piece, else in pieces. */
static void read_message(struct mg_arena *arena, const struct input *input, unsigned step,
                         struct reading *reading)
{
    *reading = (struct reading){.head = 0};
    mg_buf_init(&reading->octets, 1024 * 1024);
    scan(input, step, reading);
    if (reading->head) {
        return;
    }
    const mg_str head =
        mg_arena_copy_str(arena, mg_str_slice(input->bytes, reading->head_at, reading->head_end));
    reading->head = input->is_request ? judge_request(arena, head, reading)
                                      : judge_response(arena, head, input->to_head, reading);
    if (!reading->head) {
        read_body(input->bytes, step, reading);
    }
}

/* --- agreement -------------------------------------------------------------------------------- */

static void require_same_text(mg_str a, struct grammar_text b)
{
    mg_require(a.len == b.length && (a.len == 0 || memcmp(a.ptr, b.at, a.len) == 0));
}

/* The field's value as the gateway writes it: Host gets its one form. */
static struct grammar_text value_of(const struct grammar_message *message, size_t i,
                                    struct grammar_text host)
{
    return grammar_is(message->fields[i].name, "host") ? host : message->fields[i].value;
}

/* host: "name" or "name:port"; an answer's Host is a field like others. */
static void require_same_fields(const struct mg_headers *headers,
                                const struct grammar_message *message,
                                const struct grammar_text *host)
{
    for (size_t i = 0; i < message->field_count; i++) {
        mg_require(i < headers->count);
        require_same_text(headers->items[i].name, message->fields[i].name);
        require_same_text(headers->items[i].value,
                          host ? value_of(message, i, *host) : message->fields[i].value);
    }
    if (headers->count != message->field_count) { /* of an absolute form without Host */
        mg_require(host && headers->count == message->field_count + 1);
        require_same_text(headers->items[headers->count - 1].value, *host);
    }
}

static void require_same_request(const struct reading *reading,
                                 const struct grammar_message *message)
{
    char room[3 * 4096 + 1];
    struct grammar_text authority, path;
    bool secure;
    require_same_text(reading->request.method, message->method);
    require_same_text(reading->request.target, message->target);
    require_same_text(reading->host.name,
                      (struct grammar_text){message->host, message->host_length});
    const long port = message->port == 80 ? -1 : message->port; /* as good as none given */
    mg_require(reading->host.port == port);
    mg_require(grammar_target(message->target, reading->request.method_id == MG_METHOD_OPTIONS,
                              &authority, &path, &secure));
    require_same_text(reading->uri.raw_path, path);
    if (path.at[0] == '/') {
        path = (struct grammar_text){room, grammar_path(path, room)};
    }
    require_same_text(reading->uri.path, path);
    char host[GRAMMAR_HOST_BYTES + 8];
    const int length =
        port < 0 ? snprintf(host, sizeof host, "%.*s", (int)message->host_length, message->host)
                 : snprintf(host, sizeof host, "%.*s:%ld", (int)message->host_length, message->host,
                            port);
    const struct grammar_text host_text = {host, (size_t)length};
    require_same_fields(&reading->request.headers, message, &host_text);
}

static void require_same_body(const struct reading *reading, const struct grammar_message *message,
                              const char *octets)
{
    static const enum mg_framing framings[] = {
        [GRAMMAR_NONE] = MG_FRAMING_NONE,
        [GRAMMAR_LENGTH] = MG_FRAMING_LENGTH,
        [GRAMMAR_CHUNKED] = MG_FRAMING_CHUNKED,
        [GRAMMAR_CLOSE] = MG_FRAMING_CLOSE,
    };
    mg_require(reading->framing == framings[message->body]);
    mg_require(reading->length == message->length);
    mg_require(reading->keep_alive == message->persistent);
    mg_require((reading->body == MG_EAGAIN) == (message->whole == GRAMMAR_MORE));
    mg_require((reading->body == 0) == (message->whole == GRAMMAR_ACCEPT));
    mg_require(reading->body != 0 || reading->end == message->end);
    mg_require(
        mg_str_equal(mg_buf_view(&reading->octets), mg_str_make(octets, message->octet_count)));
}

static void grammar_read(const struct input *input, mg_str bytes, struct grammar_message *message)
{
    if (input->is_request) {
        grammar_read_request(&grammar_limits, bytes.ptr, bytes.len, message);
    } else {
        grammar_read_response(&grammar_limits, bytes.ptr, bytes.len, input->to_head, message);
    }
}

/* The scanner may refuse what is not complete yet. Then the grammar must refuse it when it ends
 * right there. */
static void require_refused_when_complete(const struct input *input)
{
    struct grammar_message message;
    struct mg_buf completed;
    mg_buf_init(&completed, 1024 * 1024);
    mg_require(mg_buf_append(&completed, input->bytes) == 0 &&
               mg_buf_append(&completed, MG_STR("\r\n\r\n")) == 0);
    grammar_read(input, mg_buf_view(&completed), &message);
    mg_require(message.head == GRAMMAR_REFUSE);
    mg_buf_deinit(&completed);
}

static void compare(const struct input *input, const struct reading *reading)
{
    struct grammar_message message;
    grammar_read(input, input->bytes, &message);
    if (message.head == GRAMMAR_MORE && reading->head != MG_EAGAIN) {
        mg_require(reading->head != 0);
        require_refused_when_complete(input);
        return;
    }
    if (message.head != GRAMMAR_ACCEPT || reading->head) {
        /* a refusal by the grammar may need bytes that the scanner waits for */
        mg_require(message.head != GRAMMAR_ACCEPT && reading->head != 0);
        mg_require(message.head == GRAMMAR_REFUSE || reading->head == MG_EAGAIN);
        return;
    }
    mg_require(reading->head_at == message.head_at && reading->head_end == message.head_end);
    if (input->is_request) {
        mg_require(reading->request.minor == message.minor);
        require_same_request(reading, &message);
    } else {
        mg_require(reading->response.minor == message.minor);
        mg_require(reading->response.status == message.status);
        require_same_fields(&reading->response.headers, &message, NULL);
    }
    char *octets = malloc(input->bytes.len);
    mg_require(octets != NULL);
    grammar_read_body(&grammar_limits, input->bytes.ptr, input->bytes.len, octets, &message);
    require_same_body(reading, &message, octets);
    free(octets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    const struct input input = {.is_request = data[0] % 3 == 0,
                                .to_head = data[0] % 3 == 2,
                                .bytes = mg_str_make((const char *)data + 1, size - 1)};
    for (unsigned step = 0; step < 4; step++) {
        struct mg_arena arena;
        struct reading reading;
        mg_arena_init(&arena, 2048);
        read_message(&arena, &input, step, &reading);
        compare(&input, &reading);
        mg_buf_deinit(&reading.octets);
        mg_arena_deinit(&arena);
    }
    return 0;
}
