/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access-log lines and redaction. The input chooses form, fields and what the request says;
 * secrets are planted where arguments, fields and addresses may hold one. What must hold:
 *   - one line, with one line feed, no longer than asked for, without control bytes; JSON reads;
 *   - no planted secret in it, whatever stands around it;
 *   - the quick look that spares most texts the scanner never overlooks what the scanner finds.
 *
 * Covers: core/script/redact.c core/script/record.c core/script/record_text.c
 * Covers: core/script/record_value.c core/base/escape.c core/wire/trace.c
 */
#define _GNU_SOURCE /* memmem */
#include "script/json.h"
#include "script/record.h"
#include "support/input.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECRET "Xq7-planted-Zw9"
#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"

enum { LINE_BYTES = 2048, MOST_BYTES = 2048 };

static const char *const secret_names[] = {"token", "password", "api_key", "code"};

static void add_names(struct mg_redact *redact)
{
    static const char *const headers[] = {"authorization", "cookie", "x-api-key"};
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        mg_require(mg_redact_add(redact, MG_REDACT_HEADER, mg_str_from(headers[i])) == 0);
    }
    for (size_t i = 0; i < sizeof secret_names / sizeof secret_names[0]; i++) {
        mg_require(mg_redact_add(redact, MG_REDACT_NAME, mg_str_from(secret_names[i])) == 0);
    }
}

/* --- redaction -------------------------------------------------------------------------------- */

/* A text with a '%' in it is always scanned. */
static void require_quick_look(struct mg_arena *arena, mg_str text)
{
    struct mg_redact redact;
    mg_redact_init(&redact, arena, MG_REDACT_MASK, MG_STR("k"));
    add_names(&redact);
    const mg_str longer = mg_arena_format(arena, "%%&%.*s", MG_STR_ARG(text));
    const mg_str quick = mg_redact_query(&redact, arena, text);
    const mg_str scanned = mg_redact_query(&redact, arena, longer);
    mg_require(mg_str_starts(scanned, MG_STR("%&")));
    mg_require(mg_str_equal(quick, mg_str_slice(scanned, 2, scanned.len)));
    /* what was taken out once is not there a second time */
    mg_require(mg_str_equal(mg_redact_query(&redact, arena, quick), quick));
}

/* --- the request ------------------------------------------------------------------------------ */

static mg_str without_nul(mg_str text)
{
    const char *nul = text.len > 0 ? memchr(text.ptr, 0, text.len) : NULL;
    return nul ? mg_str_slice(text, 0, (size_t)(nul - text.ptr)) : text;
}

static mg_str plant(struct mg_arena *arena, mg_str before, unsigned which, mg_str behind)
{
    return mg_arena_format(arena, "%.*s&%s=%s&%.*s", MG_STR_ARG(before), secret_names[which % 4],
                           SECRET, MG_STR_ARG(behind));
}

static void fill(struct mg_req *req, struct input *input)
{
    struct mg_arena *arena = &req->arena;
    struct mg_headers *headers = &req->head.headers;
    const struct mg_uri_rules rules = {.keep_slashes = true, .any_utf8 = true};
    const unsigned which = input_byte(input);
    const mg_str path = without_nul(input_until(input, '\n'));
    const mg_str before = without_nul(input_until(input, '\n'));
    const mg_str behind = without_nul(input_until(input, '\n'));
    const mg_str text = input_until(input, '\n');
    req->head.method = MG_STR("GET");
    req->head.minor = which & 1;
    req->status = (uint16_t)(which * 3);
    req->started_wall_ms = (int64_t)which << (which % 40);
    req->client_ip = which & 2 ? MG_STR("192.0.2.77") : MG_STR("2001:db8::77");
    req->peer_ip = which & 4 ? MG_STR("unix:") : MG_STR("10.0.0.1");
    req->host.name = text;
    req->request_id = text;
    req->consumer = behind;
    req->ended_us = req->started_us = which;
    /* a policy's notes are JSON, or they do not look like it */
    req->note_limit = which & 8 && !mg_str_starts(text, MG_STR("{")) ? text : MG_STR("{\"a\":1}");
    req->try_count = which % 3;
    for (uint32_t i = 0; i < req->try_count; i++) {
        req->tries[i] = (struct mg_try){.target = text, .status = 200, .ttfb_us = which};
    }
    if (mg_uri_canonical_path(arena, path, &rules, &req->uri.path)) {
        req->uri.path = MG_STR("/");
    }
    const char *slash = mg_str_ends(req->uri.path, MG_STR("/")) ? "" : "/";
    req->uri.path =
        mg_arena_format(arena, "%.*s%stoken=%s/", MG_STR_ARG(req->uri.path), slash, SECRET);
    req->uri.query = plant(arena, before, which, behind);
    mg_headers_add(headers, MG_STR("Authorization"), MG_STR("Bearer " SECRET));
    mg_headers_add(headers, MG_STR("Cookie"), MG_STR("a=" SECRET));
    mg_headers_add(headers, MG_STR("User-Agent"), text);
    mg_headers_add(headers, MG_STR("Traceparent"),
                   which & 16 ? text : MG_STR("00-" TRACE "-" SPAN "-01"));
    mg_headers_add(headers, MG_STR("X-Text"), plant(arena, before, which + 1, behind));
    mg_headers_add(headers, MG_STR("Referer"),
                   mg_arena_format(arena, "http://u:%s@%.*s/a?%.*s", SECRET, 1, "h",
                                   MG_STR_ARG(req->uri.query)));
    mg_headers_add(&req->out, MG_STR("Location"),
                   mg_arena_format(arena, "/b?%.*s", MG_STR_ARG(req->uri.query)));
}

/* --- lines ------------------------------------------------------------------------------------ */

static void require_json(mg_str line)
{
    lua_State *L = luaL_newstate();
    mg_require(L != NULL);
    lua_pushcfunction(L, mg_json_open_safe);
    lua_call(L, 0, 1);
    lua_getfield(L, -1, "decode");
    lua_pushlstring(L, line.ptr, line.len - 1);
    mg_require(lua_pcall(L, 1, 1, 0) == 0 && lua_istable(L, -1));
    lua_close(L);
}

static void require_line(const struct mg_record_options *options, mg_str line, size_t room)
{
    mg_require(line.len >= 1 && line.len <= room && line.len <= options->line_bytes);
    mg_require(line.ptr[line.len - 1] == '\n');
    for (size_t i = 0; i + 1 < line.len; i++) {
        mg_require((unsigned char)line.ptr[i] >= 0x20 && line.ptr[i] != 0x7f);
    }
    if (memmem(line.ptr, line.len, SECRET, sizeof SECRET - 1)) {
        fprintf(stderr, "log: a secret in: %.*s", MG_STR_ARG(line));
        abort();
    }
    if (options->form == MG_RECORD_JSON) {
        require_json(line);
    }
}

static void add_fields(struct mg_record *record, enum mg_record_form form, struct input *input)
{
    mg_str fields = input_until(input, '\n');
    while (fields.len > 0) {
        const ptrdiff_t comma = mg_str_find(fields, ',', 0);
        const size_t end = comma < 0 ? fields.len : (size_t)comma;
        const mg_str name = mg_str_slice(fields, 0, end);
        if (mg_record_add(record, name, name) != 0 && form == MG_RECORD_TEMPLATE &&
            !memchr(name.ptr ? name.ptr : "", '\n', name.len) && mg_is_field_value(name)) {
            mg_record_add_literal(record, MG_STR(" - "));
        }
        fields = mg_str_slice(fields, end + 1, fields.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {.at = data, .end = data + (size < MOST_BYTES ? size : MOST_BYTES)};
    if (memmem(data, size, SECRET, sizeof SECRET - 1)) {
        return 0; /* a fuzzer learns words that are looked for: then it is no secret */
    }
    const unsigned choice = input_byte(&input), room = 256 + input_byte(&input) * 7;
    const struct mg_record_options options = {
        .form = (enum mg_record_form)(choice % 3),
        .client_ip = (enum mg_record_client_ip)(choice / 3 % 4),
        .action = (enum mg_redact_action)(choice / 12 % 3),
        .hash_key = MG_STR("key"),
        .line_bytes = LINE_BYTES,
    };
    struct mg_req req = {.status = 0};
    char *line = malloc(room);
    mg_require(line != NULL);
    mg_arena_init(&req.arena, 4096);
    mg_buf_init(&req.filter_out, 1024);
    mg_req_reset(&req);
    struct mg_record *record = mg_record_new(&options);
    add_names(&record->redact);
    add_fields(record, options.form, &input);
    require_quick_look(&req.arena, without_nul(mg_str_make((const char *)input.at,
                                                           (size_t)(input.end - input.at))));
    fill(&req, &input);
    const size_t length = mg_record_write(record, &req, 3, MG_STR(""), line, room);
    require_line(&options, mg_str_make(line, length), room);
    mg_record_free(record);
    mg_arena_deinit(&req.arena);
    mg_buf_deinit(&req.filter_out);
    free(line);
    return 0;
}
