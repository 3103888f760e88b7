/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies (RFC 9112, 6 and 7.1): octets of a known length, or chunks and trailers. Read from left to
 * right, so that a body that is not complete is judged as far as it goes.
 */
#include "support/grammar.h"

#include <string.h>

struct body {
    const char *bytes;
    size_t length, at;
    const struct grammar_limits *limits;
    char *octets;
    size_t octet_count, extension_bytes, trailer_bytes;
};

static enum grammar_verdict take(struct body *body, char wanted)
{
    if (body->at == body->length) {
        return GRAMMAR_MORE;
    }
    return body->bytes[body->at++] == wanted ? GRAMMAR_ACCEPT : GRAMMAR_REFUSE;
}

/* CRLF. M02, M15: nothing else ends a line. */
static enum grammar_verdict take_crlf(struct body *body)
{
    const enum grammar_verdict verdict = take(body, '\r');
    return verdict ? verdict : take(body, '\n');
}

/* --- chunk-size lines ------------------------------------------------------------------------- */

static int hex(char c)
{
    const char *const digits = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)((at - digits) % 16) : -1;
}

/* chunk-size = 1*HEXDIG. M15: at most 16 digits, below 2^63, none of them beyond the limit of the
 * line. */
static enum grammar_verdict read_size(struct body *body, uint64_t *size, size_t *line)
{
    *size = 0;
    for (*line = 0; body->at < body->length; body->at++) {
        const int digit = hex(body->bytes[body->at]);
        if (digit < 0) {
            return *line > 0 ? GRAMMAR_ACCEPT : GRAMMAR_REFUSE;
        }
        ++*line;
        if (*line > 16 || *line > body->limits->chunk_line) {
            return GRAMMAR_REFUSE;
        }
        *size = *size << 4 | (uint64_t)digit;
        if (*size >> 63) {
            return GRAMMAR_REFUSE;
        }
    }
    return GRAMMAR_MORE;
}

/* A byte of an extension that is there counts against two limits (M15). */
static enum grammar_verdict look(struct body *body, size_t *line, char *c)
{
    if (body->at == body->length) {
        return GRAMMAR_MORE;
    }
    *c = body->bytes[body->at];
    if (*c == '\r') {
        return GRAMMAR_ACCEPT;
    }
    ++*line;
    ++body->extension_bytes;
    const bool within = grammar_is_text(*c) && *line <= body->limits->chunk_line &&
                        body->extension_bytes <= body->limits->chunk_extensions;
    return within ? GRAMMAR_ACCEPT : GRAMMAR_REFUSE;
}

/* chunk-ext = *( ";" chunk-ext-name [ "=" chunk-ext-val ] ) with a value that is a token or a
 * quoted-string (RFC 9112, 7.1.1). M15: no white space around them. */
enum place { BEFORE_NAME, NAME, BEFORE_VALUE, VALUE, QUOTED, ESCAPED, BEHIND_QUOTE };

/* The place behind c, or -1. */
static int step(enum place place, char c)
{
    switch (place) {
    case BEFORE_NAME:
        return grammar_is_tchar(c) ? NAME : -1;
    case NAME:
        return grammar_is_tchar(c) ? NAME : c == ';' ? BEFORE_NAME : c == '=' ? BEFORE_VALUE : -1;
    case BEFORE_VALUE:
        return grammar_is_tchar(c) ? VALUE : c == '"' ? QUOTED : -1;
    case VALUE:
        return grammar_is_tchar(c) ? VALUE : c == ';' ? BEFORE_NAME : -1;
    case QUOTED:
        return c == '"' ? BEHIND_QUOTE : c == '\\' ? ESCAPED : QUOTED;
    case ESCAPED:
        return QUOTED;
    default:
        return c == ';' ? BEFORE_NAME : -1;
    }
}

static enum grammar_verdict read_extensions(struct body *body, size_t line)
{
    int place = BEHIND_QUOTE; /* only ';' or the end may follow the size */
    for (;;) {
        char c;
        const enum grammar_verdict verdict = look(body, &line, &c);
        if (verdict) {
            return verdict;
        }
        if (c == '\r') {
            const bool complete = place == NAME || place == VALUE || place == BEHIND_QUOTE;
            return complete ? GRAMMAR_ACCEPT : GRAMMAR_REFUSE;
        }
        place = step((enum place)place, c);
        if (place < 0) {
            return GRAMMAR_REFUSE;
        }
        body->at++;
    }
}

/* --- trailers --------------------------------------------------------------------------------- */

/* M16: fields of framing, routing, authentication, control and content may not come late (RFC
 * 9110, 6.5.1). */
static bool may_be_trailer(struct grammar_text name)
{
    static const char *const forbidden[] = {
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "content-type",
        "content-encoding",
        "content-range",
        "range",
        "max-forwards",
        "authorization",
        "cookie",
        "set-cookie",
        "expect",
        "upgrade",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "via",
        "date",
        "location",
        "retry-after",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-path",
        "x-forwarded-prefix",
        "x-real-ip",
        "sec-websocket-key",
        "sec-websocket-accept",
        "www-authenticate",
        "authentication-info",
        "proxy-authentication-info",
        "cache-control",
        "if-match",
        "if-none-match",
        "if-range",
        "if-modified-since",
        "if-unmodified-since",
        "pragma",
        "age",
        "expires",
        "vary",
        "warning",
    };
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++) {
        if (grammar_is(name, forbidden[i])) {
            return false;
        }
    }
    return true;
}

/* Bytes of trailers count when they are read, a line's CR and LF with the CR. */
static bool count(struct body *body, size_t bytes)
{
    body->trailer_bytes += bytes;
    return body->trailer_bytes <= body->limits->trailer_bytes;
}

/* Name and colon. */
static enum grammar_verdict read_trailer_name(struct body *body)
{
    const size_t from = body->at;
    for (; body->at < body->length; body->at++) {
        const char c = body->bytes[body->at];
        if (c == ':') {
            const struct grammar_text name = {body->bytes + from, body->at - from};
            body->at++;
            return name.length > 0 && may_be_trailer(name) && count(body, 1) ? GRAMMAR_ACCEPT
                                                                             : GRAMMAR_REFUSE;
        }
        if (!grammar_is_tchar(c) || !count(body, 1)) {
            return GRAMMAR_REFUSE;
        }
    }
    return GRAMMAR_MORE;
}

/* Value and CRLF. M07: no folding, since the next line is a field of its own. */
static enum grammar_verdict read_trailer_value(struct body *body)
{
    for (; body->at < body->length; body->at++) {
        const char c = body->bytes[body->at];
        if (c == '\r') {
            return count(body, 2) ? take_crlf(body) : GRAMMAR_REFUSE;
        }
        if (!grammar_is_text(c) || !count(body, 1)) {
            return GRAMMAR_REFUSE;
        }
    }
    return GRAMMAR_MORE;
}

/* trailer-section = *( field-line CRLF ), then CRLF (RFC 9112, 7.1.2) */
static enum grammar_verdict read_trailers(struct body *body)
{
    for (size_t fields = 0;;) {
        if (body->at == body->length) {
            return GRAMMAR_MORE;
        }
        if (body->bytes[body->at] == '\r') {
            return take_crlf(body);
        }
        if (++fields > body->limits->trailers) {
            return GRAMMAR_REFUSE;
        }
        enum grammar_verdict verdict = read_trailer_name(body);
        verdict = verdict ? verdict : read_trailer_value(body);
        if (verdict) {
            return verdict;
        }
    }
}

/* --- bodies ----------------------------------------------------------------------------------- */

static enum grammar_verdict read_octets(struct body *body, uint64_t count_wanted)
{
    const size_t there = body->length - body->at;
    const size_t taken = count_wanted < there ? (size_t)count_wanted : there;
    memcpy(body->octets + body->octet_count, body->bytes + body->at, taken);
    body->octet_count += taken;
    body->at += taken;
    return taken == count_wanted ? GRAMMAR_ACCEPT : GRAMMAR_MORE;
}

/* chunked-body = *chunk last-chunk trailer-section CRLF (RFC 9112, 7.1) */
static enum grammar_verdict read_chunks(struct body *body)
{
    for (;;) {
        uint64_t size;
        size_t line;
        enum grammar_verdict verdict = read_size(body, &size, &line);
        verdict = verdict ? verdict : read_extensions(body, line);
        verdict = verdict ? verdict : take_crlf(body);
        if (verdict || size == 0) {
            return verdict ? verdict : read_trailers(body);
        }
        verdict = read_octets(body, size);
        verdict = verdict ? verdict : take_crlf(body);
        if (verdict) {
            return verdict;
        }
    }
}

void grammar_read_body(const struct grammar_limits *limits, const char *bytes, size_t length,
                       char *octets, struct grammar_message *message)
{
    struct body body = {.bytes = bytes,
                        .length = length,
                        .at = message->head_end,
                        .limits = limits,
                        .octets = octets};
    switch (message->body) {
    case GRAMMAR_LENGTH:
        message->whole = read_octets(&body, message->length);
        break;
    case GRAMMAR_CHUNKED:
        message->whole = read_chunks(&body);
        break;
    case GRAMMAR_CLOSE:
        (void)read_octets(&body, length - body.at);
        message->whole = GRAMMAR_MORE; /* only the end of the connection ends it */
        break;
    default:
        message->whole = GRAMMAR_ACCEPT;
    }
    message->end = body.at;
    message->octet_count = body.octet_count;
}
