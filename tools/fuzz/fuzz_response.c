/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of upstreams: scan, parse, judge, clean, write, and read back what was written. The first
 * byte chooses the method that was asked; the rest is the bytes of a connection. Pieces must not
 * matter, and a client must read the status and framing that we decided on.
 *
 * Covers: core/wire/http1_scan.c core/wire/http1.c core/wire/rules.c core/wire/connection.c
 */
#include "wire/rules.h"
#include "wire/write.h"

#include <stdlib.h>

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

static void forward(struct mg_response_head *head, enum mg_method asked)
{
    struct mg_arena arena;
    struct mg_buf out;
    struct mg_response_head back;
    mg_rules_clean_response(&head->headers);
    const struct mg_write_response response = {
        .status = head->status,
        .headers = &head->headers,
        .framing = {.kind = head->framing == MG_FRAMING_CLOSE ? MG_FRAMING_CHUNKED : head->framing,
                    .length = head->content_length,
                    .omit = head->framing == MG_FRAMING_NONE},
        .server = MG_STR("moongate"),
        .via = MG_STR("1.1 moongate"),
    };
    mg_arena_init(&arena, 2048);
    mg_buf_init(&out, 64 * 1024);
    mg_require(mg_write_response_head(&out, &response) == 0);
    mg_require(mg_http1_parse_response(&arena, mg_buf_view(&out), &back) == 0);
    mg_require(mg_rules_check_response(&back, asked) == 0);
    mg_require(back.status == head->status);
    mg_require(back.framing ==
               (head->framing == MG_FRAMING_CLOSE ? MG_FRAMING_CHUNKED : head->framing));
    mg_require(head->framing != MG_FRAMING_LENGTH || back.content_length == head->content_length);
    mg_require(!mg_headers_known(&back.headers, MG_HEADER_CONNECTION));
    mg_buf_deinit(&out);
    mg_arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    const enum mg_method asked = data[0] & 1 ? MG_METHOD_HEAD : MG_METHOD_GET;
    const mg_str bytes = mg_str_make((const char *)data + 1, size - 1);
    size_t used, other_used;
    const int err = scan(bytes, bytes.len, 1, &used);
    mg_require(scan(bytes, 1, 1, &other_used) == err && (err || used == other_used));
    mg_require(scan(bytes, 1 + size % 11, 5, &other_used) == err && (err || used == other_used));
    if (err) {
        return 0;
    }
    struct mg_arena arena;
    struct mg_response_head head;
    mg_arena_init(&arena, 2048);
    if (mg_http1_parse_response(&arena, mg_arena_copy_str(&arena, mg_str_slice(bytes, 0, used)),
                                &head) == 0 &&
        mg_rules_check_response(&head, asked) == 0) {
        forward(&head, asked);
    }
    mg_arena_deinit(&arena);
    return 0;
}
