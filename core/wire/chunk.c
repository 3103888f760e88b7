/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunk decoder. Framing is walked byte by byte, octets are passed in one slice:
 *
 *     SIZE --';'--> EXTENSION        DATA (octets) --> DATA_CR --> DATA_LF --> SIZE
 *      |CR             |CR            ^ size > 0
 *      +---> SIZE_LF <-+ ------------- +-- size 0 --> FIELD --CR--> END_LF --> DONE
 *                                                      |  ^
 *                                      NAME <----------+  +-- FIELD_LF <--CR-- VALUE <--':'-- NAME
 */
#include "wire/chunk.h"

#include "wire/headers.h"

enum state {
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    FIELD,
    NAME,
    VALUE,
    FIELD_LF,
    END_LF,
    DONE,
};

/* Places in an extension: *( ";" name [ "=" ( token / quoted-string ) ] ) (RFC 9112, 7.1.1),
 * without the white space that senders must not write there. */
enum place {
    BEHIND, /* a size or a quoted string: only ';' or the end may follow */
    NAME_START,
    EXTENSION_NAME,
    VALUE_START,
    TOKEN,
    QUOTED,
    ESCAPED,
    NOWHERE,
};

enum { MAX_DIGITS = 16 };

void mg_chunk_init(struct mg_chunk *chunk, const struct mg_chunk_limits *limits)
{
    *chunk = (struct mg_chunk){.limits = limits, .state = SIZE};
}

static bool is_text(char c)
{
    return c == '\t' || ((unsigned char)c >= 0x20 && c != 0x7f);
}

/* --- the chunk-size line --- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static int beyond(struct mg_chunk *chunk, enum mg_chunk_limit limit)
{
    chunk->limit = (uint8_t)limit;
    return limit == MG_CHUNK_LIMIT_TRAILERS ? MG_ETRAILER : MG_ECHUNK;
}

/* Counts a byte of the line; leading zeros and extensions end at the limits (M15). */
static int count_line(struct mg_chunk *chunk)
{
    return ++chunk->line_bytes > chunk->limits->line ? beyond(chunk, MG_CHUNK_LIMIT_LINE) : 0;
}

/* The place behind c. */
static enum place next_place(enum place place, char c)
{
    const bool token = mg_is_token(mg_str_make(&c, 1));
    const enum place otherwise = c == ';' ? NAME_START : NOWHERE;
    switch (place) {
    case NAME_START:
        return token ? EXTENSION_NAME : NOWHERE;
    case EXTENSION_NAME:
        return token ? EXTENSION_NAME : c == '=' ? VALUE_START : otherwise;
    case VALUE_START:
        return token ? TOKEN : c == '"' ? QUOTED : NOWHERE;
    case TOKEN:
        return token ? TOKEN : otherwise;
    case QUOTED:
        return c == '"' ? BEHIND : c == '\\' ? ESCAPED : QUOTED;
    case ESCAPED:
        return QUOTED;
    default:
        return otherwise;
    }
}

static int take_extension(struct mg_chunk *chunk, char c)
{
    const enum place place = (enum place)chunk->place;
    if (c == '\r') {
        chunk->state = SIZE_LF;
        return place == BEHIND || place == EXTENSION_NAME || place == TOKEN ? 0 : MG_ECHUNK;
    }
    chunk->place = (uint8_t)next_place(place, c);
    if (!is_text(c) || chunk->place == NOWHERE) {
        return MG_ECHUNK;
    }
    if (++chunk->extension_bytes > chunk->limits->extensions) {
        return beyond(chunk, MG_CHUNK_LIMIT_EXTENSIONS);
    }
    chunk->state = EXTENSION;
    return count_line(chunk);
}

static int take_size(struct mg_chunk *chunk, char c)
{
    const int value = hex_value(c);
    if (value < 0) {
        const bool ends = chunk->digits > 0 && (c == '\r' || c == ';');
        return ends ? take_extension(chunk, c) : MG_ECHUNK;
    }
    if (++chunk->digits > MAX_DIGITS) {
        return MG_ECHUNK;
    }
    chunk->remaining = chunk->remaining << 4 | (uint64_t)value;
    return chunk->remaining > INT64_MAX ? MG_ECHUNK : count_line(chunk);
}

static void begin_chunk(struct mg_chunk *chunk)
{
    chunk->state = chunk->remaining > 0 ? DATA : FIELD;
    chunk->digits = 0;
    chunk->place = BEHIND;
    chunk->line_bytes = 0;
}

/* --- trailers --- */

/* Known fields that must not come after the body (RFC 9110, 6.5.1). */
static bool is_forbidden_id(enum mg_header_id id)
{
    switch (id) {
    case MG_HEADER_OTHER:
    case MG_HEADER_SERVER:
    case MG_HEADER_ACCEPT:
    case MG_HEADER_USER_AGENT:
    case MG_HEADER_REFERER:
    case MG_HEADER_X_REQUEST_ID:
        return false;
    default:
        return true;
    }
}

static bool is_forbidden(mg_str name)
{
    static const mg_str others[] = {
        {"set-cookie", 10},
        {"www-authenticate", 16},
        {"authentication-info", 19},
        {"cache-control", 13},
        {"if-match", 8},
        {"if-none-match", 13},
        {"if-range", 8},
        {"if-modified-since", 17},
        {"if-unmodified-since", 19},
        {"pragma", 6},
        {"age", 3},
        {"expires", 7},
        {"vary", 4},
        {"warning", 7},
        {"proxy-authentication-info", 25},
    };
    if (is_forbidden_id(mg_header_id_of(name))) {
        return true;
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (mg_str_iequal(name, others[i])) {
            return true;
        }
    }
    return false;
}

static int count_trailer(struct mg_chunk *chunk, uint32_t bytes)
{
    chunk->trailer_bytes += bytes;
    return chunk->trailer_bytes > chunk->limits->trailer_bytes
               ? beyond(chunk, MG_CHUNK_LIMIT_TRAILERS)
               : 0;
}

static int take_name(struct mg_chunk *chunk, char c)
{
    chunk->state = NAME;
    if (c == ':') {
        const bool bad =
            chunk->name_bytes == 0 || (chunk->name_bytes <= sizeof chunk->name &&
                                       is_forbidden(mg_str_make(chunk->name, chunk->name_bytes)));
        chunk->state = VALUE;
        return bad ? MG_ETRAILER : count_trailer(chunk, 1);
    }
    if (!mg_is_token(mg_str_make(&c, 1))) {
        return MG_ETRAILER;
    }
    if (chunk->name_bytes < sizeof chunk->name) {
        chunk->name[chunk->name_bytes++] = c;
    } else {
        chunk->name_bytes = sizeof chunk->name + 1; /* longer than any name we look for */
    }
    return count_trailer(chunk, 1);
}

/* First byte of a line after the last chunk: white space would fold, a colon names nothing. */
static int take_field(struct mg_chunk *chunk, char c)
{
    if (c == '\r') {
        chunk->state = END_LF;
        return 0;
    }
    if (++chunk->trailer_count > chunk->limits->trailers) {
        return beyond(chunk, MG_CHUNK_LIMIT_TRAILERS);
    }
    chunk->name_bytes = 0;
    return take_name(chunk, c);
}

static int take_value(struct mg_chunk *chunk, char c)
{
    if (c == '\r') {
        chunk->state = FIELD_LF;
        return count_trailer(chunk, 2);
    }
    return is_text(c) ? count_trailer(chunk, 1) : MG_ETRAILER;
}

/* --- the whole --- */

/* A fixed byte, then another state. */
static int expect(struct mg_chunk *chunk, char c, char expected, enum state next, int err)
{
    chunk->state = (uint8_t)next;
    return c == expected ? 0 : err;
}

/* One byte of framing. */
static int take(struct mg_chunk *chunk, char c)
{
    switch (chunk->state) {
    case SIZE:
        return take_size(chunk, c);
    case EXTENSION:
        return take_extension(chunk, c);
    case SIZE_LF:
        begin_chunk(chunk);
        return c == '\n' ? 0 : MG_ECHUNK;
    case DATA_CR:
        return expect(chunk, c, '\r', DATA_LF, MG_ECHUNK);
    case DATA_LF:
        return expect(chunk, c, '\n', SIZE, MG_ECHUNK);
    case FIELD:
        return take_field(chunk, c);
    case NAME:
        return take_name(chunk, c);
    case VALUE:
        return take_value(chunk, c);
    case FIELD_LF:
        return expect(chunk, c, '\n', FIELD, MG_ETRAILER);
    default:
        chunk->done = c == '\n';
        return expect(chunk, c, '\n', DONE, MG_ETRAILER);
    }
}

int mg_chunk_next(struct mg_chunk *chunk, mg_str bytes, size_t *used, mg_str *data)
{
    size_t at = 0;
    int err = 0;
    *data = mg_str_make(bytes.ptr, 0);
    while (at < bytes.len && !err && chunk->state != DONE) {
        if (chunk->state != DATA) {
            err = take(chunk, bytes.ptr[at++]);
            continue;
        }
        if (data->len > 0) {
            break; /* the octets of the next chunk go out with the next call */
        }
        const size_t left = bytes.len - at;
        const size_t count = chunk->remaining < left ? (size_t)chunk->remaining : left;
        *data = mg_str_make(bytes.ptr + at, count);
        at += count;
        chunk->remaining -= count;
        chunk->state = chunk->remaining > 0 ? DATA : DATA_CR;
    }
    *used = at;
    return err;
}

int mg_chunk_join(struct mg_chunk *chunk, mg_str bytes, size_t *used, mg_str *data)
{
    int err = 0;
    *used = 0;
    *data = mg_str_make(bytes.ptr, 0);
    while (*used < bytes.len && !err && !chunk->done) {
        size_t step;
        mg_str piece;
        err = mg_chunk_next(chunk, mg_str_slice(bytes, *used, bytes.len), &step, &piece);
        *used += step;
        if (data->len == 0) {
            *data = piece;
        } else {
            memmove((char *)data->ptr + data->len, piece.ptr, piece.len);
            data->len += piece.len;
        }
    }
    return err;
}
