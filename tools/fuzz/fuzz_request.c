/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests: scan, parse, judge, clean, write, and read back what was written. The input is the
 * bytes of a connection. What must hold:
 *   - any pieces give the same result as the whole;
 *   - a head that is accepted has only well-formed fields, as many as it has lines;
 *   - what an origin reads in the head we send is what we decided: path, host, framing, fields;
 *   - the table of its fields answers and changes as by looking at each field;
 *   - an answer with these fields reaches the client with its status and framing.
 *
 * Covers: core/wire/http1_plain.c
 * Covers: core/wire/http1_scan.c core/wire/http1.c core/wire/rules.c core/wire/rules_clean.c
 * Covers: core/wire/connection.c core/wire/headers.c
 */
#include "support/message.h"

#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Small, so that short inputs reach them. */
static const struct mg_http1_limits limits = {.request_line = 200,
                                              .header_bytes = 600,
                                              .header_line = 200,
                                              .header_name = 40,
                                              .header_count = 20};

static const mg_str identity_names[] = {{"x-user", 6}, {"x_role", 6}};

struct outcome {
    int err;
    size_t used;
    uint32_t skipped;
};

/* Pieces of first bytes, then of step. */
static struct outcome scan(mg_str bytes, size_t first, size_t step)
{
    struct mg_http1_scan state = {0};
    struct outcome outcome = {.err = MG_EAGAIN};
    size_t piece = first;
    while (outcome.used < bytes.len && outcome.err == MG_EAGAIN) {
        size_t used = 0;
        const mg_str part = mg_str_slice(bytes, outcome.used, outcome.used + piece);
        outcome.err = mg_http1_scan(&state, MG_HTTP1_REQUEST, &limits, part, &used);
        mg_require(used <= part.len && (outcome.err != MG_EAGAIN || used == part.len));
        outcome.used += used;
        piece = step;
    }
    outcome.skipped = state.skipped;
    return outcome;
}

static void require_same(struct outcome a, struct outcome b)
{
    mg_require(a.err == b.err);
    mg_require(a.err != 0 || (a.used == b.used && a.skipped == b.skipped));
}

/* --- the table of fields ---------------------------------------------------------------------- */

/* All values of a name and how many there are, by looking at each field. */
static mg_str join(struct mg_arena *arena, const struct mg_headers *headers, mg_str name,
                   uint32_t *count)
{
    struct mg_buf text;
    mg_buf_init(&text, 64 * 1024);
    *count = 0;
    for (uint32_t i = 0; i < headers->count; i++) {
        if (mg_str_iequal(headers->items[i].name, name)) {
            mg_require(*count == 0 || mg_buf_append(&text, MG_STR(", ")) == 0);
            mg_require(mg_buf_append(&text, headers->items[i].value) == 0);
            (*count)++;
        }
    }
    const mg_str joined = mg_arena_copy_str(arena, mg_buf_view(&text));
    mg_buf_deinit(&text);
    return joined;
}

/* Reads and changes a copy of the table by the name of one of its fields, as plugins do. */
static void edit(struct mg_arena *arena, const struct mg_headers *from, uint32_t place)
{
    struct mg_headers headers;
    const mg_str name = from->items[place].name;
    uint32_t count, left;
    mg_headers_init(&headers, arena);
    mg_headers_copy(&headers, from);
    mg_require(mg_str_equal(join(arena, from, name, &count), mg_headers_join(&headers, name)));
    const enum mg_header_id id = mg_header_id_of(name);
    mg_require(id == MG_HEADER_OTHER || mg_headers_count(&headers, id) == count);
    const struct mg_header *first = mg_headers_find(&headers, name, 0);
    const uint32_t first_place = mg_headers_place(&headers, first);
    mg_require(mg_headers_place(&headers, mg_headers_find_loose(&headers, name, 0)) <= first_place);

    mg_headers_set(&headers, name, MG_STR("one"));
    mg_require(mg_str_equal(join(arena, &headers, name, &left), MG_STR("one")) && left == 1);
    mg_require(headers.count == from->count - count + 1);
    mg_require(mg_str_equal(headers.items[first_place].name, name));
    mg_require(mg_headers_remove(&headers, name) == 1);
    mg_require(!mg_headers_find(&headers, name, 0) && !mg_headers_join(&headers, name).ptr);
    mg_headers_set(&headers, name, MG_STR("two"));
    mg_require(headers.count == from->count - count + 1);
    mg_require(mg_str_equal(headers.items[headers.count - 1].value, MG_STR("two")));
}

/* --- request and answer ----------------------------------------------------------------------- */

/* An answer with the request's own fields. */
static void answer(struct mg_arena *arena, const struct mg_request_head *request, size_t choice)
{
    static const uint16_t statuses[] = {200, 103, 204, 304, 404};
    struct mg_response_head made = {.status = statuses[choice % 5], .content_length = choice};
    const bool has_body = made.status >= 200 && made.status != 204 && made.status != 304 &&
                          request->method_id != MG_METHOD_HEAD;
    made.framing = !has_body             ? MG_FRAMING_NONE
                   : choice / 5 % 2 == 0 ? MG_FRAMING_LENGTH
                                         : MG_FRAMING_CHUNKED;
    mg_headers_init(&made.headers, arena);
    mg_headers_copy(&made.headers, &request->headers);
    message_pass_response(&made, request->method_id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const mg_str bytes = mg_str_make((const char *)data, size);
    if (size == 0) {
        return 0;
    }
    const struct outcome whole = scan(bytes, size, size);
    require_same(whole, scan(bytes, 1, 1));
    require_same(whole, scan(bytes, size / 2 + 1, size));
    require_same(whole, scan(bytes, 1 + size % 7, 3));
    if (whole.err) {
        return 0;
    }
    struct mg_arena arena;
    struct message_request request;
    mg_arena_init(&arena, 2048);
    const mg_str head = mg_arena_copy_str(&arena, mg_str_slice(bytes, whole.skipped, whole.used));
    if (message_read_request(&arena, head, &request) == 0) {
        const struct mg_rules_trust trust = {.peer_is_trusted = size % 3 == 0,
                                             .identity_names = identity_names,
                                             .identity_count = size % 4 < 3 ? size % 4 : 0,
                                             .request_id_name = MG_STR("x-request-id"),
                                             .request_id = MG_HEADER_X_REQUEST_ID};
        message_pass_request(&arena, &request, &trust);
        if (request.head.headers.count > 0) {
            edit(&arena, &request.head.headers, (uint32_t)(size % request.head.headers.count));
        }
        answer(&arena, &request.head, size);
    }
    mg_arena_deinit(&arena);
    return 0;
}
