/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What begins like JSON is read as JSON: each string that a colon follows is a key, and the value
 * of a key that is listed goes as a whole, be it an object. Strings that are values are read as
 * queries and URLs, which finds JSON in strings too. Everything else is read as a form. From where
 * it ceases to be JSON nothing is shown, since what is a key there cannot be known.
 */
#include "script/redact_body.h"

#include "base/buf.h"

#define MOST_BYTES (16 * 1024 * 1024) /* of what comes out: far more than a body that is logged */

struct json {
    const struct mg_redact *redact;
    struct mg_arena *arena;
    mg_str text;
    size_t copied;      /* bytes of text that are in out, or left out of it */
    struct mg_buf *out; /* nothing in it: nothing is taken out so far */
    char last;          /* the last of {}[],: or '"' or 'w' (a word or number) */
    bool broken;        /* no JSON from here on */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t skip_blanks(mg_str text, size_t at)
{
    while (at < text.len && is_blank(text.ptr[at])) {
        at++;
    }
    return at;
}

/* Where the closing quote of a string stands, or the end; at: behind the opening one. */
static size_t string_end(mg_str text, size_t at)
{
    while (at < text.len && text.ptr[at] != '"') {
        at += text.ptr[at] == '\\' ? 2 : 1;
    }
    return at < text.len ? at : text.len;
}

/* Behind an object or array, or the end. */
static size_t nest_end(mg_str text, size_t at)
{
    size_t depth = 0;
    while (at < text.len) {
        const char c = text.ptr[at++];
        if (c == '"') {
            at = string_end(text, at) + 1;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == '}' || c == ']') && --depth == 0) {
            return at;
        }
    }
    return text.len;
}

/* Behind the value that begins there. */
static size_t value_end(mg_str text, size_t at)
{
    if (at < text.len && text.ptr[at] == '"') {
        const size_t end = string_end(text, at + 1) + 1;
        return end < text.len ? end : text.len;
    }
    if (at < text.len && (text.ptr[at] == '{' || text.ptr[at] == '[')) {
        return nest_end(text, at);
    }
    while (at < text.len && !is_blank(text.ptr[at]) && text.ptr[at] != ',' && text.ptr[at] != '}' &&
           text.ptr[at] != ']') {
        at++;
    }
    return at;
}

static int hex_digit(char c)
{
    const char lower = mg_char_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* What \\uXXXX stands for, where that is ASCII; else '?', which is in no name. 0: it is none. */
static char unicode(mg_str text, size_t at)
{
    int code = 0;
    for (size_t i = at; i < at + 4; i++) {
        const int digit = i < text.len ? hex_digit(text.ptr[i]) : -1;
        if (digit < 0) {
            return 0;
        }
        code = code * 16 + digit;
    }
    return code > 0 && code < 0x80 ? (char)code : '?';
}

/* The character of a key at *at, out of JSON's and of percent-encoding; moves behind it. */
static char key_char(mg_str key, size_t *at)
{
    const char c = key.ptr[(*at)++];
    if (c == '\\' && *at < key.len) {
        const char escaped = key.ptr[(*at)++];
        const char code = escaped == 'u' ? unicode(key, *at) : 0;
        *at += code ? 4 : 0;
        return code ? code : escaped;
    }
    if (c == '%' && key.len - *at >= 2) {
        const int high = hex_digit(key.ptr[*at]), low = hex_digit(key.ptr[*at + 1]);
        if (high >= 0 && low >= 0) {
            *at += 2;
            return (char)(high * 16 + low);
        }
    }
    return c;
}

/* Is the key, as it stands between quotes, one of a secret, or does it have a part that is one? */
static bool is_secret_key(const struct mg_redact *redact, mg_str key)
{
    char part[MG_REDACT_NAME_BYTES];
    size_t length = 0; /* may be over that: then it is none */
    for (size_t at = 0; at <= key.len;) {
        const bool is_end = at == key.len;
        const char c = is_end ? '.' : key_char(key, &at);
        if (!memchr("[].\"'\\", c, 6)) {
            if (length < sizeof part) {
                part[length] = c;
            }
            length++;
            continue;
        }
        if (length <= sizeof part && mg_redact_is_name(redact, mg_str_make(part, length))) {
            return true;
        }
        if (is_end) {
            return false;
        }
        length = 0;
    }
    return false;
}

static void emit(struct json *json, mg_str bytes)
{
    const int err = mg_buf_append(json->out, bytes);
    mg_require(err == 0); /* the cap is far above what can come out of a body that is logged */
}

static void copy_to(struct json *json, size_t end)
{
    emit(json, mg_str_slice(json->text, json->copied, end));
    json->copied = end;
}

/* text[from .. end) is the value of a secret. */
static void take_out(struct json *json, size_t from, size_t end)
{
    const mg_str instead =
        mg_redact_secret(json->redact, json->arena, mg_str_slice(json->text, from, end));
    copy_to(json, from);
    if (instead.ptr) {
        emit(json, MG_STR("\""));
        emit(json, instead);
        emit(json, MG_STR("\""));
    } else {
        emit(json, MG_STR("null"));
    }
    json->copied = end;
}

/* The string with "\/" as "/", which means the same: so a URL is seen. */
static mg_str plain_slashes(struct mg_arena *arena, mg_str value)
{
    char *plain = NULL;
    size_t length = 0;
    for (size_t at = 0; at < value.len; at++) {
        const bool escape = value.ptr[at] == '\\' && at + 1 < value.len;
        if (escape && value.ptr[at + 1] == '/' && !plain) {
            plain = mg_arena_copy(arena, value);
            length = at;
        }
        if (escape && value.ptr[++at] != '/' && plain) {
            plain[length++] = '\\';
        }
        if (plain) {
            plain[length++] = value.ptr[at];
        }
    }
    return plain ? mg_str_make(plain, length) : value;
}

/* A string that hides nothing by its key: text[from .. end), without its quotes. */
static void clean_string(struct json *json, size_t from, size_t end)
{
    const mg_str value = plain_slashes(json->arena, mg_str_slice(json->text, from, end));
    const mg_str clean = end < json->text.len ? mg_redact_url(json->redact, json->arena, value)
                                              : mg_redact_cut_url(json->redact, json->arena, value);
    if (clean.ptr != value.ptr) {
        copy_to(json, from);
        emit(json, clean);
        json->copied = end;
    }
}

/* The string that begins at `at`, with what it is the key of; returns where to go on. */
static size_t read_string(struct json *json, size_t at)
{
    const mg_str text = json->text;
    const size_t end = string_end(text, at + 1);
    const size_t next = skip_blanks(text, end < text.len ? end + 1 : end);
    const bool is_key = next < text.len && text.ptr[next] == ':';
    const char before = json->last;
    json->last = is_key ? ':' : '"';
    if (before == '"' || before == 'w' || before == '}' || before == ']' ||
        (is_key && before != '{' && before != ',')) {
        json->broken = true;
        return at;
    }
    clean_string(json, at + 1, end); /* a key may be a query, too */
    if (!is_key) {
        return end < text.len ? end + 1 : end;
    }
    if (!is_secret_key(json->redact, mg_str_slice(text, at + 1, end))) {
        return next + 1;
    }
    const size_t from = skip_blanks(text, next + 1);
    const size_t until = value_end(text, from);
    if (until > from) {
        take_out(json, from, until);
        json->last = 'w';
    }
    return until > from ? until : next + 1;
}

static bool is_letter(char c)
{
    return mg_char_lower(c) >= 'a' && mg_char_lower(c) <= 'z';
}

/* true, false, null, or the e of a number; the end may cut it. */
static size_t read_word(struct json *json, size_t at)
{
    const mg_str text = json->text;
    size_t end = at;
    while (end < text.len && is_letter(text.ptr[end])) {
        end++;
    }
    const mg_str word = mg_str_slice(text, at, end);
    const bool is_exponent = word.len == 1 && mg_char_lower(word.ptr[0]) == 'e' && at > 0 &&
                             text.ptr[at - 1] >= '0' && text.ptr[at - 1] <= '9';
    json->broken = !(is_exponent || mg_str_equal(word, MG_STR("true")) ||
                     mg_str_equal(word, MG_STR("false")) || mg_str_equal(word, MG_STR("null")));
    json->last = 'w';
    return end;
}

/* Anything but a string; returns where to go on. */
static size_t read_other(struct json *json, size_t at)
{
    const char c = json->text.ptr[at];
    if (is_letter(c)) {
        return read_word(json, at);
    }
    if (memchr("{}[],", c, 5)) {
        json->last = c;
    } else if (memchr("0123456789+-.", c, 13)) {
        json->last = 'w';
    } else if (!is_blank(c)) {
        json->broken = true;
    } else if (c == '\n' && (json->last == '}' || json->last == ']')) {
        json->last = ','; /* a document a line */
    }
    return at + 1;
}

static mg_str clean_json(const struct mg_redact *redact, struct mg_arena *arena, mg_str text)
{
    struct mg_buf out;
    struct json json = {.redact = redact, .arena = arena, .text = text, .out = &out, .last = ','};
    mg_buf_init(&out, MOST_BYTES);
    size_t at = 0;
    while (at < text.len && !json.broken) {
        const size_t from = at;
        at = text.ptr[at] == '"' ? read_string(&json, at) : read_other(&json, at);
        if (json.broken) {
            copy_to(&json, from);
            emit(&json, MG_STR("***"));
            json.copied = text.len;
        }
    }
    mg_str clean = text;
    if (json.copied > 0) {
        copy_to(&json, text.len);
        clean = mg_arena_copy_str(arena, mg_buf_view(&out));
    }
    mg_buf_deinit(&out);
    return clean;
}

mg_str mg_redact_body(const struct mg_redact *redact, struct mg_arena *arena, mg_str text)
{
    const size_t first = skip_blanks(text, 0);
    if (first < text.len && memchr("{[\"", text.ptr[first], 3)) {
        return clean_json(redact, arena, text);
    }
    return mg_redact_query(redact, arena, text);
}
