/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests: scan, parse, judge, clean, write, and read back what was written. The input is the
 * bytes of a connection. What must hold:
 *   - any pieces give the same result as the whole;
 *   - a head that is accepted has only well-formed fields, as many as it has lines;
 *   - what an origin reads in the head we send is what we decided: path, host, framing, fields.
 *
 * Covers: core/wire/http1_scan.c core/wire/http1.c core/wire/rules.c core/wire/rules_clean.c
 * Covers: core/wire/connection.c core/wire/headers.c
 */
#include "wire/rules.h"
#include "wire/write.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Small, so that short inputs reach them. */
static const struct mg_http1_limits limits = {.request_line = 200,
                                              .header_bytes = 600,
                                              .header_line = 200,
                                              .header_name = 40,
                                              .header_count = 20};

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

static void require_well_formed(mg_str head, const struct mg_headers *headers)
{
    uint32_t lines = 0;
    for (size_t i = 0; i < head.len; i++) {
        lines += head.ptr[i] == '\n';
    }
    mg_require(headers->count + 2 == lines); /* start line and empty line */
    for (uint32_t i = 0; i < headers->count; i++) {
        mg_require(mg_is_token(headers->items[i].name));
        mg_require(mg_is_field_value(headers->items[i].value));
    }
}

struct view {
    struct mg_request_head head;
    struct mg_uri uri;
    struct mg_host host;
};

static int read_head(struct mg_arena *arena, mg_str head, struct view *view)
{
    const struct mg_uri_rules strict = {0};
    int err = mg_http1_parse_request(arena, head, &view->head);
    if (!err) {
        require_well_formed(head, &view->head.headers);
        err = mg_uri_parse_target(arena, view->head.target, view->head.method_id, &strict,
                                  &view->uri);
    }
    return err ? err : mg_rules_check_request(&view->head, &view->uri, &view->host);
}

static mg_str host_text(struct mg_arena *arena, const struct mg_host *host)
{
    return host->port < 0 ? host->name
                          : mg_arena_format(arena, "%.*s:%d", MG_STR_ARG(host->name), host->port);
}

/* Sends the request on and reads it as its origin does. */
static void forward(struct mg_arena *arena, struct view *in)
{
    const struct mg_rules_trust trust = {.request_id_name = MG_STR("x-request-id")};
    mg_rules_clean_request(&in->head.headers, &trust);
    const uint32_t fields = in->head.headers.count;
    const struct mg_write_request request = {
        .method = in->head.method,
        .path = in->uri.path,
        .query = in->uri.query,
        .has_query = in->uri.has_query,
        .host = in->host.name.len > 0 ? host_text(arena, &in->host) : MG_STR("origin"),
        .headers = &in->head.headers,
        .framing = {.kind = in->head.framing, .length = in->head.content_length},
    };
    struct mg_buf out;
    struct view back;
    mg_buf_init(&out, 64 * 1024);
    mg_require(mg_write_request_head(&out, &request) == 0);
    const mg_str sent = mg_buf_view(&out);
    mg_require(read_head(arena, sent, &back) == 0);
    mg_require(mg_str_equal(back.uri.path, in->uri.path));
    mg_require(mg_str_equal(back.uri.raw_path, in->uri.path)); /* canonical as it is sent */
    mg_require(mg_str_equal(back.uri.query, in->uri.query));
    mg_require(back.uri.has_query == in->uri.has_query);
    mg_require(in->host.name.len == 0 ||
               (mg_str_equal(back.host.name, in->host.name) && back.host.port == in->host.port));
    mg_require(back.head.content_length == in->head.content_length);
    mg_require((back.head.framing == MG_FRAMING_CHUNKED) ==
               (in->head.framing == MG_FRAMING_CHUNKED));
    mg_require(!mg_headers_known(&back.head.headers, MG_HEADER_X_FORWARDED_FOR));
    mg_require(back.head.headers.count <= fields + 2); /* Host and a length */
    mg_buf_deinit(&out);
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
    struct view view;
    mg_arena_init(&arena, 2048);
    const mg_str head = mg_arena_copy_str(&arena, mg_str_slice(bytes, whole.skipped, whole.used));
    if (read_head(&arena, head, &view) == 0) {
        forward(&arena, &view);
    }
    mg_arena_deinit(&arena);
    return 0;
}
