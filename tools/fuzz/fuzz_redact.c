/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets in bodies. The first byte chooses the action with secrets and one of three ways:
 *   - documents of JSON, made as the input says, with secrets in and under listed keys, in URLs and
 *     in JSON inside strings; beside each document stands what must come out of it;
 *   - the same, cut anywhere: nothing of a secret may be seen;
 *   - any text with a secret planted in it, in the form of JSON or of a query: it may not be seen.
 * Whatever comes out must come out again when it goes in.
 *
 * Covers: core/script/redact.c core/script/redact_body.c
 */
#define _GNU_SOURCE /* memmem */
#include "base/buf.h"
#include "script/redact_body.h"
#include "support/input.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MARK "Zq7" /* of secrets; in nothing else, not even in hashes */

enum { MOST_DEPTH = 6, MOST_BYTES = 1024 };

static const char *pick(struct input *input, const char *const *list, size_t count)
{
    return list[input_byte(input) % count];
}

#define PICK(input, list) pick(input, list, sizeof(list) / sizeof(list)[0])

/* --- documents -------------------------------------------------------------------------------- */

struct document {
    struct input *input;
    struct mg_buf *text, *wanted;
    bool hidden; /* under a listed key: only in text */
};

static void append(struct mg_buf *buf, const char *bytes)
{
    const int err = mg_buf_append(buf, mg_str_from(bytes));
    mg_require(err == 0);
}

static void put(struct document *doc, const char *bytes)
{
    append(doc->text, bytes);
    if (!doc->hidden) {
        append(doc->wanted, bytes);
    }
}

static void put_secret(struct document *doc, const char *bytes, const char *instead)
{
    append(doc->text, bytes);
    if (!doc->hidden) {
        append(doc->wanted, instead);
    }
}

static void put_blank(struct document *doc)
{
    static const char *const blanks[] = {"", "", " ", "\t", "  ", "\r"};
    put(doc, PICK(doc->input, blanks));
}

static void put_plain_string(struct document *doc)
{
    static const char *const texts[] = {
        "",
        "a",
        "1=2",
        "a: b",
        "x\\\"y",
        "\\\\",
        "\\u0041\\n",
        "tokens=1",
        "http://h:80/a?b=c",
        "{\\\"a\\\":1}",
        "\xc3\xa4",
        "user[name]=a",
        "http:\\/\\/h\\/",
        "a\\u0026b=1",
        "[x] y",
    };
    put(doc, "\"");
    put(doc, PICK(doc->input, texts));
    put(doc, "\"");
}

/* A string that holds a secret, and what is left of it. */
static void put_telling_string(struct document *doc)
{
    static const char *const texts[][2] = {
        {"?a=1&token=" MARK "&b=2", "?a=1&token=***&b=2"},
        {"http://u:" MARK "@h/", "http://***@h/"},
        {"http:\\/\\/u:" MARK "@h\\/", "http://***@h/"},
        {"/p?TOK%65N=" MARK, "/p?TOK%65N=***"},
        {"a=1\\u0026token=" MARK, "a=1\\u0026token=***"},
        {"to\\u006ben=" MARK, "to\\u006ben=***"},
        {"token\\u003d" MARK, "token\\u003d***"},
        {"{\\\"token\\\":\\\"" MARK "&" MARK "\\\"}", "{\\\"token\\\":***"},
        {"[{\\\"a\\\":{\\\"api-key\\\": \\\"" MARK, "[{\\\"a\\\":{\\\"api-key\\\":***"},
        {"{\\\"a\\\":\\\"{\\\\\\\"token\\\\\\\":\\\\\\\"" MARK "#" MARK "\\\\\\\"}\\\"}",
         "{\\\"a\\\":\\\"{\\\\\\\"token\\\\\\\":***"},
        {"{\\\"a\\\":\\\"1\\\\u0026token=" MARK, "{\\\"a\\\":\\\"1\\\\u0026token=***"},
    };
    const unsigned which = input_byte(doc->input) % (sizeof texts / sizeof texts[0]);
    put(doc, "\"");
    put_secret(doc, texts[which][0], texts[which][1]);
    put(doc, "\"");
}

static void put_hidden_string(struct document *doc)
{
    static const char *const texts[] = {
        MARK, "\\\"" MARK, MARK "&" MARK, MARK "#}]" MARK, "\\\\\\\"," MARK, "{" MARK, "x: " MARK,
    };
    put(doc, "\"");
    put(doc, PICK(doc->input, texts));
    put(doc, "\"");
}

static void put_value(struct document *doc, unsigned depth);

static void put_array(struct document *doc, unsigned depth)
{
    put(doc, "[");
    for (unsigned i = input_byte(doc->input) % 4; i > 0; i--) {
        put_blank(doc);
        put_value(doc, depth + 1);
        put_blank(doc);
        put(doc, i > 1 ? "," : "");
    }
    put(doc, "]");
}

/* Whether the key is a listed one. */
static bool put_key(struct document *doc)
{
    static const char *const listed[] = {
        "token",
        "Token",
        "TOKEN",
        "t\\u006fken",
        "api_key",
        "API-Key",
        "api\\u002Dkey",
        "user[token]",
        "a.api_key.b",
        "tok%65n",
        "a\\\"token",
        "a\\\\token",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789.token",
    };
    static const char *const others[] = {"a",       "tokens",  "to ken",       "",        "\\\"",
                                         "api key", "\\u0041", "token\\u00e4", "t\\u006", "%74oke"};
    const unsigned choice = input_byte(doc->input);
    put(doc, "\"");
    put(doc, choice % 3 == 0 ? PICK(doc->input, listed) : PICK(doc->input, others));
    put(doc, "\"");
    return choice % 3 == 0;
}

static void put_object(struct document *doc, unsigned depth)
{
    put(doc, "{");
    for (unsigned i = input_byte(doc->input) % 4; i > 0; i--) {
        put_blank(doc);
        const bool listed = put_key(doc), before = doc->hidden;
        put_blank(doc);
        put(doc, ":");
        put_blank(doc);
        if (listed) {
            put_secret(doc, "", "\"***\"");
            doc->hidden = true;
        }
        put_value(doc, depth + 1);
        doc->hidden = before;
        put_blank(doc);
        put(doc, i > 1 ? "," : "");
    }
    put(doc, "}");
}

static void put_value(struct document *doc, unsigned depth)
{
    static const char *const words[] = {"true", "false", "null", "0", "-1.5e+3", "12", "1E9"};
    switch (depth < MOST_DEPTH ? input_byte(doc->input) % 6 : 5) {
    case 0:
        put_array(doc, depth);
        break;
    case 1:
        put_object(doc, depth);
        break;
    case 2:
        put_plain_string(doc);
        break;
    case 3:
        put_telling_string(doc);
        break;
    case 4:
        put(doc, PICK(doc->input, words));
        break;
    default:
        if (doc->hidden) {
            put_hidden_string(doc);
        } else {
            put_plain_string(doc);
        }
        break;
    }
}

/* One document, or one a line. */
static void put_documents(struct document *doc)
{
    for (unsigned i = input_byte(doc->input) % 3; i < 3; i++) {
        put_blank(doc);
        if (input_byte(doc->input) % 2 == 0) {
            put_array(doc, 0);
        } else {
            put_object(doc, 0);
        }
        put(doc, i < 2 ? "\n" : "");
    }
}

/* --- what must hold --------------------------------------------------------------------------- */

struct body {
    struct mg_arena arena;
    struct mg_redact redact;
};

static void body_init(struct body *body, enum mg_redact_action action)
{
    mg_arena_init(&body->arena, 4096);
    mg_redact_init(&body->redact, &body->arena, action, MG_STR("key"));
    mg_require(mg_redact_add(&body->redact, MG_REDACT_NAME, MG_STR("token")) == 0);
    mg_require(mg_redact_add(&body->redact, MG_REDACT_NAME, MG_STR("api_key")) == 0);
}

static void fail(const char *why, mg_str text, mg_str clean)
{
    fprintf(stderr, "redact: %s\nof  %.*s\nout %.*s\n", why, MG_STR_ARG(text), MG_STR_ARG(clean));
    abort();
}

static mg_str clean(struct body *body, mg_str text)
{
    const mg_str out = mg_redact_body(&body->redact, &body->arena, text);
    if (out.len > 0 && memmem(out.ptr, out.len, MARK, sizeof MARK - 1)) {
        fail("a secret is seen", text, out);
    }
    if (body->redact.action == MG_REDACT_MASK) {
        const mg_str again = mg_redact_body(&body->redact, &body->arena, out);
        if (!mg_str_equal(again, out)) {
            fail("it is not the same a second time", out, again);
        }
    }
    return out;
}

static void try_documents(struct body *body, struct input *input, bool cut)
{
    struct mg_buf text, wanted;
    mg_buf_init(&text, SIZE_MAX);
    mg_buf_init(&wanted, SIZE_MAX);
    const size_t place = input_byte(input) << 8 | input_byte(input);
    struct document doc = {.input = input, .text = &text, .wanted = &wanted};
    put_documents(&doc);
    const mg_str whole = mg_buf_view(&text);
    if (cut) { /* its own bytes, so that a read behind the end is seen */
        const size_t length = place % (whole.len + 1);
        char *bytes = malloc(length > 0 ? length : 1);
        mg_require(bytes != NULL);
        memcpy(bytes, whole.ptr, length);
        clean(body, mg_str_make(bytes, length));
        free(bytes);
    } else {
        const mg_str out = clean(body, whole);
        if (body->redact.action == MG_REDACT_MASK && !mg_str_equal(out, mg_buf_view(&wanted))) {
            fprintf(stderr, "redact: wanted\n    %.*s\n", MG_STR_ARG(mg_buf_view(&wanted)));
            fail("something else came out", whole, out);
        }
    }
    mg_buf_deinit(&text);
    mg_buf_deinit(&wanted);
}

static void try_text(struct body *body, struct input *input)
{
    static const char *const planted[] = {
        "\"token\":\"" MARK MARK "\"",
        "\"API-Key\" : \"" MARK,
        "&token=" MARK "&",
        "?t%6fken=" MARK,
        "\"user[token]\":\"" MARK "\"",
    };
    const char *secret = PICK(input, planted);
    const mg_str before = input_until(input, 0);
    const mg_str behind = mg_str_make((const char *)input->at, (size_t)(input->end - input->at));
    if (memmem(before.ptr, before.len, "Z", 1) || memmem(behind.ptr, behind.len, "Z", 1)) {
        return; /* a fuzzer learns words that are looked for: then they are no secrets */
    }
    struct mg_buf text;
    mg_buf_init(&text, SIZE_MAX);
    mg_require(mg_buf_append(&text, before) == 0);
    append(&text, secret);
    mg_require(mg_buf_append(&text, behind) == 0);
    clean(body, mg_buf_view(&text));
    mg_buf_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {.at = data, .end = data + (size < MOST_BYTES ? size : MOST_BYTES)};
    struct body body;
    const unsigned choice = input_byte(&input);
    body_init(&body, (enum mg_redact_action)(choice % 3));
    switch (choice / 3 % 3) {
    case 0:
        try_documents(&body, &input, false);
        break;
    case 1:
        try_documents(&body, &input, true);
        break;
    default:
        try_text(&body, &input);
        break;
    }
    mg_arena_deinit(&body.arena);
    return 0;
}
