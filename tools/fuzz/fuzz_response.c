/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of upstreams: scan, parse, judge, clean, write, and read back what was written. The first
 * byte chooses the method that was asked, R: by a request in front of the answer; the rest is the
 * bytes of a connection. Pieces must not matter, and a client must read the status and framing that
 * we decided on.
 *
 * Covers: core/wire/http1_plain.c
 * Covers: core/wire/http1_scan.c core/wire/http1.c core/wire/rules.c core/wire/connection.c
 */
#include "support/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Small, so that short inputs reach them. */
static const struct mg_http1_limits limits = {.request_line = 100,
                                              .header_bytes = 600,
                                              .header_line = 200,
                                              .header_name = 40,
                                              .header_count = 20};

static int scan(mg_str bytes, size_t first, size_t step, size_t *total)
{
    struct mg_http1_scan state = {0};
    int err = MG_EAGAIN;
    size_t piece = first;
    *total = 0;
    while (*total < bytes.len && err == MG_EAGAIN) {
        size_t used = 0;
        const mg_str part = mg_str_slice(bytes, *total, *total + piece);
        err = mg_http1_scan(&state, MG_HTTP1_RESPONSE, &limits, part, &used);
        mg_require(used <= part.len && state.skipped == 0);
        *total += used;
        piece = step;
    }
    return err;
}

/* The method of the request in front of the answer. */
static enum mg_method asked_by(struct mg_arena *arena, mg_str *bytes)
{
    struct mg_http1_scan state = {0};
    struct message_request request = {0};
    size_t used = 0;
    if (mg_http1_scan(&state, MG_HTTP1_REQUEST, &limits, *bytes, &used) == 0) {
        const mg_str head = mg_arena_copy_str(arena, mg_str_slice(*bytes, state.skipped, used));
        *bytes = mg_str_slice(*bytes, used, bytes->len);
        if (message_read_request(arena, head, &request) == 0) {
            return request.head.method_id;
        }
    }
    return MG_METHOD_GET;
}

static void answer(struct mg_arena *arena, mg_str bytes, enum mg_method asked)
{
    struct mg_response_head head;
    size_t used, other_used;
    const int err = scan(bytes, bytes.len, 1, &used);
    mg_require(scan(bytes, 1, 1, &other_used) == err && (err || used == other_used));
    mg_require(scan(bytes, 1 + bytes.len % 11, 5, &other_used) == err &&
               (err || used == other_used));
    if (err == 0 &&
        message_read_response(arena, mg_arena_copy_str(arena, mg_str_slice(bytes, 0, used)), asked,
                              &head) == 0) {
        message_pass_response(&head, asked);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mg_arena arena;
    if (size < 2) {
        return 0;
    }
    mg_arena_init(&arena, 2048);
    mg_str bytes = mg_str_make((const char *)data + 1, size - 1);
    const enum mg_method asked = data[0] == 'R' ? asked_by(&arena, &bytes)
                                 : data[0] & 1  ? MG_METHOD_HEAD
                                                : MG_METHOD_GET;
    if (bytes.len > 0) {
        answer(&arena, bytes, asked);
    }
    mg_arena_deinit(&arena);
    return 0;
}
