/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds the echo upstream's JSON. Fields and arguments become a list of pairs first, so that one
 * function groups what came more than once.
 */
#include "echo_describe.h"

#include "json_out.h"
#include "wire/uri.h"

#include <stdio.h>

#define PAIRS_MAX 1000 /* grouping compares each with each */

struct pair {
    mg_str name, value;
    bool bare;  /* an argument without '=' */
    bool taken; /* written with an earlier one of the name */
};

struct pairs {
    struct pair *items;
    size_t count;
};

static void add(struct pairs *pairs, mg_str name, mg_str value, bool bare)
{
    if (pairs->count < PAIRS_MAX) {
        pairs->items[pairs->count++] = (struct pair){.name = name, .value = value, .bare = bare};
    }
}

static void put_value(struct mg_json_out *json, const struct pair *pair)
{
    if (pair->bare) {
        mg_json_out_bool(json, true);
    } else {
        mg_json_out_text(json, pair->value);
    }
}

/* The values of items[at].name: itself, and those after it, as an array if there are several. */
static void put_group(struct mg_json_out *json, const struct pairs *pairs, size_t at)
{
    bool several = false;
    for (size_t i = at + 1; i < pairs->count; i++) {
        if (!mg_str_equal(pairs->items[i].name, pairs->items[at].name)) {
            continue;
        }
        if (!several) {
            mg_json_out_open(json, '[');
            put_value(json, &pairs->items[at]);
            several = true;
        }
        put_value(json, &pairs->items[i]);
        pairs->items[i].taken = true;
    }
    if (several) {
        mg_json_out_close(json, ']');
    } else {
        put_value(json, &pairs->items[at]);
    }
}

static void put_pairs(struct mg_json_out *json, const char *key, const struct pairs *pairs)
{
    mg_json_out_key(json, mg_str_from(key));
    mg_json_out_open(json, '{');
    for (size_t i = 0; i < pairs->count; i++) {
        if (!pairs->items[i].taken) {
            mg_json_out_key(json, pairs->items[i].name);
            put_group(json, pairs, i);
        }
    }
    mg_json_out_close(json, '}');
}

static void put_arguments(struct mg_json_out *json, struct mg_arena *arena, const char *key,
                          mg_str text)
{
    struct pairs pairs = {.items = mg_arena_alloc(arena, PAIRS_MAX * sizeof(struct pair))};
    for (size_t at = 0; at < text.len;) {
        const ptrdiff_t found = mg_str_find(text, '&', at);
        const size_t end = found < 0 ? text.len : (size_t)found;
        const mg_str argument = mg_str_slice(text, at, end);
        const ptrdiff_t equals = mg_str_find(argument, '=', 0);
        const size_t split = equals < 0 ? argument.len : (size_t)equals;
        if (argument.len > 0) {
            add(&pairs, mg_uri_decode(arena, mg_str_slice(argument, 0, split), true),
                mg_uri_decode(arena, mg_str_slice(argument, split + 1, argument.len), true),
                equals < 0);
        }
        at = end + 1;
    }
    put_pairs(json, key, &pairs);
}

static mg_str lower(struct mg_arena *arena, mg_str name)
{
    char *copy = mg_arena_copy(arena, name);
    for (size_t i = 0; i < name.len; i++) {
        copy[i] = mg_char_lower(copy[i]);
    }
    return mg_str_make(copy, name.len);
}

static void put_headers(struct mg_json_out *json, struct mg_arena *arena,
                        const struct mg_headers *headers)
{
    struct pairs pairs = {.items = mg_arena_alloc(arena, PAIRS_MAX * sizeof(struct pair))};
    for (uint32_t i = 0; i < headers->count; i++) {
        add(&pairs, lower(arena, headers->items[i].name), headers->items[i].value, false);
    }
    put_pairs(json, "headers", &pairs);
}

static mg_str value_of(const struct mg_headers *headers, enum mg_header_id id)
{
    const struct mg_header *header = mg_headers_known(headers, id);
    return header ? header->value : MG_STR("");
}

static void put_body(struct mg_json_out *json, struct mg_arena *arena,
                     const struct mg_echo_request *request)
{
    mg_json_out_key(json, MG_STR("post_data"));
    if (request->body_bytes == 0) {
        mg_json_out_null(json);
        return;
    }
    const mg_str type = value_of(&request->head->headers, MG_HEADER_CONTENT_TYPE);
    const bool is_form = mg_str_starts(type, MG_STR("application/x-www-form-urlencoded"));
    const bool is_json = mg_str_starts(type, MG_STR("application/json"));
    mg_json_out_open(json, '{');
    mg_json_out_text_field(json, "kind",
                           mg_str_from(is_form ? "form" : (is_json ? "json" : "unknown")));
    mg_json_out_text_field(json, "text", request->body);
    mg_json_out_number_field(json, "bytes", request->body_bytes);
    if (is_form) {
        put_arguments(json, arena, "params", request->body);
    }
    mg_json_out_close(json, '}');
}

/* Of the connection and the request line, by the names that nginx users know. */
static void put_vars(struct mg_json_out *json, struct mg_arena *arena,
                     const struct mg_echo_request *request)
{
    const struct mg_request_head *head = request->head;
    mg_json_out_key(json, MG_STR("vars"));
    mg_json_out_open(json, '{');
    mg_json_out_text_field(json, "remote_addr", mg_str_from(request->peer->ip));
    mg_json_out_number_field(json, "remote_port", request->peer->port);
    mg_json_out_number_field(json, "server_port", request->port);
    mg_json_out_text_field(json, "server_protocol",
                           head->minor ? MG_STR("HTTP/1.1") : MG_STR("HTTP/1.0"));
    mg_json_out_text_field(json, "scheme", MG_STR("http"));
    mg_json_out_text_field(json, "host", value_of(&head->headers, MG_HEADER_HOST));
    mg_json_out_text_field(json, "uri", request->path);
    mg_json_out_text_field(json, "request_uri", head->target);
    mg_json_out_text_field(json, "request",
                           mg_arena_format(arena, "%.*s %.*s HTTP/1.%d", MG_STR_ARG(head->method),
                                           MG_STR_ARG(head->target), head->minor));
    mg_json_out_close(json, '}');
}

bool mg_echo_describe(struct mg_buf *out, struct mg_arena *arena,
                      const struct mg_echo_request *request)
{
    const struct mg_request_head *head = request->head;
    const mg_str host = value_of(&head->headers, MG_HEADER_HOST);
    struct mg_json_out json = {.buf = out};
    mg_json_out_open(&json, '{');
    mg_json_out_text_field(&json, "method", head->method);
    mg_json_out_text_field(
        &json, "url",
        mg_arena_format(arena, "http://%.*s%.*s", MG_STR_ARG(host), MG_STR_ARG(head->target)));
    mg_json_out_text_field(&json, "path", request->path);
    put_arguments(&json, arena, "uri_args", request->query);
    put_headers(&json, arena, &head->headers);
    put_body(&json, arena, request);
    put_vars(&json, arena, request);
    mg_json_out_close(&json, '}');
    return !json.failed && mg_buf_append(out, MG_STR("\n")) == 0;
}
