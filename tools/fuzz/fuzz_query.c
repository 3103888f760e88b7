/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arguments and cookies: the input up to the first NUL is a query, the rest are values of Cookie
 * fields, one a line. Splitting, decoding, finding and counting must be what splitting by hand at
 * each '&' gives; escaping and its undoing give the same text; limits hold at n and not at n - 1.
 *
 * Covers: core/script/api_uri.c
 */
#include "flow/exchange.h"
#include "script/ffi.h"
#include "support/input.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_BYTES = 4096, MOST_ARGS = 256 };

/* --- arguments -------------------------------------------------------------------------------- */

struct naive {
    mg_str names[MOST_ARGS], values[MOST_ARGS]; /* decoded */
    bool has_value[MOST_ARGS];
    unsigned count, parts; /* parts: empty keys too */
};

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static mg_str decode(struct mg_arena *arena, mg_str text)
{
    char *out = mg_arena_alloc(arena, text.len + 1);
    size_t length = 0;
    for (size_t i = 0; i < text.len; i++) {
        const bool escape = text.ptr[i] == '%' && i + 2 < text.len && hex(text.ptr[i + 1]) >= 0 &&
                            hex(text.ptr[i + 2]) >= 0;
        out[length++] = text.ptr[i] == '+' ? ' '
                        : escape ? (char)(hex(text.ptr[i + 1]) * 16 + hex(text.ptr[i + 2]))
                                 : text.ptr[i];
        i += escape ? 2 : 0;
    }
    return mg_str_make(out, length);
}

static void split(struct mg_arena *arena, mg_str query, struct naive *naive)
{
    size_t from = 0;
    *naive = (struct naive){.count = 0};
    for (size_t i = 0; i <= query.len; i++) {
        if (i < query.len && query.ptr[i] != '&') {
            continue;
        }
        const mg_str part = mg_str_slice(query, from, i);
        const ptrdiff_t equals = mg_str_find(part, '=', 0);
        const size_t end = equals < 0 ? part.len : (size_t)equals;
        naive->parts += part.len > 0;
        if (end > 0 && naive->count < MOST_ARGS) {
            naive->names[naive->count] = decode(arena, mg_str_slice(part, 0, end));
            naive->values[naive->count] = decode(arena, mg_str_slice(part, end + 1, part.len));
            naive->has_value[naive->count++] = equals >= 0;
        }
        from = i + 1;
    }
}

/* As a plugin sees it: unescaped only where the leaf function says so. */
static mg_str view(struct mg_arena *arena, struct mg_ffi_str text, int escaped)
{
    if (!escaped) {
        return mg_str_make(text.ptr, text.len);
    }
    char *out = mg_arena_alloc(arena, text.len + 1);
    return mg_str_make(out, (size_t)mg_ffi_uri_unescape(text.ptr, text.len, out));
}

static void check_args(struct mg_arena *arena, mg_str query)
{
    struct naive naive;
    struct mg_ffi_arg arg;
    unsigned count = 0;
    split(arena, query, &naive);
    mg_require(mg_uri_count_args(query) == naive.parts);
    for (int at = 0; (at = mg_ffi_args_next(query.ptr, query.len, at, &arg)) > 0; count++) {
        if (count < naive.count) {
            mg_require(mg_str_equal(view(arena, arg.name, arg.escaped), naive.names[count]));
            mg_require(mg_str_equal(view(arena, arg.value, arg.escaped), naive.values[count]));
            mg_require(!arg.has_value == !naive.has_value[count]);
        }
    }
    mg_require(count == naive.count || naive.count == MOST_ARGS);
    for (unsigned i = 0; i < naive.count && i < 8; i++) {
        unsigned first = 0;
        while (!mg_str_equal(naive.names[first], naive.names[i])) {
            first++;
        }
        mg_require(mg_ffi_args_find(query.ptr, query.len, naive.names[i].ptr, naive.names[i].len,
                                    &arg) == 1);
        mg_require(mg_str_equal(view(arena, arg.value, arg.escaped), naive.values[first]));
    }
}

/* What goes on to the origin holds the same arguments. */
static void check_canonical(struct mg_arena *arena, mg_str query)
{
    struct naive before, after;
    mg_str canonical;
    if (mg_uri_canonical_query(arena, query, &canonical)) {
        return;
    }
    split(arena, query, &before);
    split(arena, canonical, &after);
    mg_require(before.count == after.count && before.parts == after.parts);
    for (unsigned i = 0; i < before.count; i++) {
        mg_require(mg_str_equal(before.names[i], after.names[i]));
        mg_require(mg_str_equal(before.values[i], after.values[i]));
    }
}

static void check_escapes(struct mg_arena *arena, mg_str text)
{
    char *escaped = mg_arena_alloc(arena, text.len * 3 + 1);
    char *back = mg_arena_alloc(arena, text.len * 3 + 1);
    const int length = mg_ffi_uri_escape(text.ptr, text.len, escaped);
    for (int i = 0; i < length; i++) {
        mg_require(escaped[i] > 0x20 && escaped[i] < 0x7f && !strchr("&=+#?/", escaped[i]));
    }
    const int again = mg_ffi_uri_unescape(escaped, (size_t)length, back);
    mg_require(mg_str_equal(mg_str_make(back, (size_t)again), text));
}

/* --- cookies and limits ----------------------------------------------------------------------- */

static int counts_under(struct mg_exchange *x, uint32_t args, uint32_t cookies)
{
    const struct mg_limits limits = {.query_args = args, .cookies = cookies};
    return mg_head_check_counts(x, &limits);
}

static void check_limits(struct mg_arena *arena, mg_str query, struct input *input)
{
    struct mg_server server = {.draining = false};
    struct mg_stats stats = {.value = {0}};
    struct mg_exchange *x = calloc(1, sizeof *x);
    uint32_t cookies = 0;
    mg_require(x != NULL);
    server.parts.stats = &stats;
    x->server = &server;
    x->req.uri.query = query;
    mg_headers_init(&x->req.head.headers, arena);
    while (input_left(input)) {
        const mg_str value = input_until(input, '\n');
        mg_headers_add(&x->req.head.headers, MG_STR("Cookie"), value);
        cookies++;
        for (size_t i = 0; i < value.len; i++) {
            cookies += value.ptr[i] == ';';
        }
    }
    const uint32_t args = mg_uri_count_args(query);
    mg_require(counts_under(x, args, cookies) == 0);
    mg_require(args == 0 || counts_under(x, args - 1, cookies) == MG_ETARGET);
    mg_require(cookies == 0 || counts_under(x, args, cookies - 1) == MG_ESYNTAX);
    free(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {.at = data, .end = data + (size < MOST_BYTES ? size : MOST_BYTES)};
    const mg_str query = input_until(&input, 0);
    struct mg_arena arena;
    mg_arena_init(&arena, 4096);
    check_args(&arena, query);
    check_canonical(&arena, query);
    check_escapes(&arena, query);
    check_limits(&arena, query, &input);
    mg_arena_deinit(&arena);
    return 0;
}
