/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads to bytes: an upper bound of the size is added up first, then all is copied into one
 * reservation. A field that is left out only makes the bound looser.
 */
#include "wire/write.h"

/* Bits of field ids that the writer makes itself. */
#define BIT(id) ((uint64_t)1 << MG_HEADER_##id)

enum {
    STATUS_LINE = 64, /* "HTTP/1.1 431 Request Header Fields Too Large" and more */
    FRAMING = 48,     /* "Content-Length: 18446744073709551615", "Transfer-Encoding: chunked" */
    CONNECTION = 48,  /* "Connection: keep-alive", or "Connection: upgrade" and "Upgrade: " */
};

/* --- pieces --- */

/* Most pieces are short: whole words that overlap cost less than a call of memcpy. Inline, since
 * many are literals, whose length then decides at compile time. */
static inline __attribute__((always_inline)) char *put(char *to, mg_str bytes)
{
    const char *from = bytes.ptr;
    const size_t len = bytes.len;
    if (len > 32) {
        memcpy(to, from, len);
    } else if (len >= 16) {
        memcpy(to, from, 16);
        memcpy(to + len - 16, from + len - 16, 16);
    } else if (len >= 8) {
        memcpy(to, from, 8);
        memcpy(to + len - 8, from + len - 8, 8);
    } else if (len >= 4) {
        memcpy(to, from, 4);
        memcpy(to + len - 4, from + len - 4, 4);
    } else {
        for (size_t i = 0; i < len; i++) {
            to[i] = from[i];
        }
    }
    return to + len;
}

static inline __attribute__((always_inline)) char *put_field(char *to, mg_str name, mg_str value)
{
    to = put(to, name);
    memcpy(to, ": ", 2);
    to = put(to + 2, value);
    memcpy(to, "\r\n", 2);
    return to + 2;
}

static size_t field_bytes(mg_str name, mg_str value)
{
    return name.len + value.len + 4;
}

static char *put_number(char *to, uint64_t number)
{
    size_t count = 1;
    for (uint64_t over = 9; number > over && count < 20; over = over * 10 + 9) {
        count++;
    }
    for (size_t i = count; i > 0; i--) {
        to[i - 1] = (char)('0' + number % 10);
        number /= 10;
    }
    return to + count;
}

/* --- fields of the table --- */

static size_t table_bytes(const struct mg_headers *headers)
{
    size_t bytes = 0;
    for (uint32_t i = 0; headers && i < headers->count; i++) {
        bytes += field_bytes(headers->items[i].name, headers->items[i].value);
    }
    return bytes;
}

static bool is_sound(const struct mg_header *field)
{
    return mg_is_token(field->name) && mg_is_field_value(field->value);
}

/* Writes the fields one by one; one with a forbidden byte is left out. */
static char *put_sound(char *to, const struct mg_headers *headers, uint64_t skipped)
{
    for (uint32_t i = 0; i < headers->count; i++) {
        const struct mg_header *field = &headers->items[i];
        if (!(skipped >> field->id & 1) && is_sound(field)) {
            to = put_field(to, field->name, field->value);
        }
    }
    return to;
}

/* Looked for in what was written, where more bytes follow a short name, so that 16 can be read at
 * once. */
static bool begins_with_name(const char *line, const char *end, const struct mg_header *field)
{
    return field->name.len > 0 &&
           mg_token_length(mg_str_make(line, (size_t)(end - line))) == field->name.len;
}

/* Writes all fields, then looks at the whole: with two control bytes for each there is none in a
 * name or value. Otherwise, be it a tab, they are written again with care. The name of a known
 * field was compared with ours, so only the others are read here. */
static char *put_table(char *start, const struct mg_headers *headers, uint64_t skipped)
{
    if (!headers) {
        return start;
    }
    char *to = start;
    size_t fields = 0;
    bool tokens = true;
    for (uint32_t i = 0; i < headers->count; i++) {
        const struct mg_header *field = &headers->items[i];
        if (!(skipped >> field->id & 1)) {
            const char *line = to;
            to = put_field(to, field->name, field->value);
            tokens = tokens && (field->id != MG_HEADER_OTHER || begins_with_name(line, to, field));
            fields++;
        }
    }
    const bool sound = tokens && mg_count_controls(start, to) == 2 * fields;
    return sound ? to : put_sound(start, headers, skipped);
}

static char *put_framing(char *to, const struct mg_write_framing *framing)
{
    if (framing->kind == MG_FRAMING_CHUNKED) {
        return put(to, MG_STR("Transfer-Encoding: chunked\r\n"));
    }
    to = put(to, MG_STR("Content-Length: "));
    to = put_number(to, framing->kind == MG_FRAMING_LENGTH ? framing->length : 0);
    return put(to, MG_STR("\r\n"));
}

static char *put_connection(char *to, mg_str upgrade, bool close)
{
    if (upgrade.len > 0) {
        to = put(to, MG_STR("Connection: upgrade\r\n"));
        return put_field(to, MG_STR("Upgrade"), upgrade);
    }
    return close ? put(to, MG_STR("Connection: close\r\n")) : to;
}

static void commit(struct mg_buf *out, const char *start, const char *end)
{
    mg_buf_commit(out, (size_t)(end - start));
}

/* --- requests --- */

/* Servers expect a length with these even when there is no body (RFC 9110, 8.6). */
static bool expects_length(mg_str method)
{
    return mg_str_equal(method, MG_STR("POST")) || mg_str_equal(method, MG_STR("PUT")) ||
           mg_str_equal(method, MG_STR("PATCH"));
}

static bool has_only(mg_str bytes, bool blanks)
{
    return mg_find_control(bytes.ptr, bytes.ptr + bytes.len) == bytes.ptr + bytes.len &&
           (blanks || mg_str_find(bytes, ' ', 0) < 0);
}

/* The parts of the request line and Host cannot be left out: a bad one fails. */
static bool is_writable(const struct mg_write_request *request)
{
    return mg_is_token(request->method) && request->path.len > 0 &&
           has_only(request->path, false) &&
           (!request->query.len || has_only(request->query, false)) &&
           (!request->host.len || has_only(request->host, false)) &&
           (!request->upgrade.len || has_only(request->upgrade, true));
}

int mg_write_request_head(struct mg_buf *out, const struct mg_write_request *request)
{
    if (!is_writable(request)) {
        return MG_EINVALID;
    }
    const size_t bytes = request->method.len + request->path.len + request->query.len +
                         request->host.len + request->upgrade.len + table_bytes(request->headers) +
                         sizeof "  ? HTTP/1.1\r\nHost: \r\n\r\n" + FRAMING + CONNECTION;
    char *const start = mg_buf_reserve(out, bytes);
    if (!start) {
        return MG_ENO_MEMORY;
    }
    char *to = put(start, request->method);
    *to++ = ' ';
    to = put(to, request->path);
    if (request->has_query) {
        *to++ = '?';
        to = put(to, request->query);
    }
    to = put(to, MG_STR(" HTTP/1.1\r\n"));
    to = put_field(to, MG_STR("Host"), request->host);
    const uint64_t skipped = BIT(HOST) | BIT(CONTENT_LENGTH) | BIT(TRANSFER_ENCODING) |
                             BIT(CONNECTION) | (request->upgrade.len > 0 ? BIT(UPGRADE) : 0);
    to = put_table(to, request->headers, skipped);
    const enum mg_framing kind = request->framing.kind;
    if (!request->framing.omit && (kind == MG_FRAMING_LENGTH || kind == MG_FRAMING_CHUNKED ||
                                   (kind == MG_FRAMING_NONE && expects_length(request->method)))) {
        to = put_framing(to, &request->framing);
    }
    to = put_connection(to, request->upgrade, request->close);
    commit(out, start, put(to, MG_STR("\r\n")));
    return 0;
}

/* --- answers --- */

/* The registered phrases (RFC 9110, 15, and the IANA registry). */
static const char *const reasons[] = {
    [100] = "Continue",
    [101] = "Switching Protocols",
    [102] = "Processing",
    [103] = "Early Hints",
    [200] = "OK",
    [201] = "Created",
    [202] = "Accepted",
    [203] = "Non-Authoritative Information",
    [204] = "No Content",
    [205] = "Reset Content",
    [206] = "Partial Content",
    [207] = "Multi-Status",
    [208] = "Already Reported",
    [226] = "IM Used",
    [300] = "Multiple Choices",
    [301] = "Moved Permanently",
    [302] = "Found",
    [303] = "See Other",
    [304] = "Not Modified",
    [305] = "Use Proxy",
    [307] = "Temporary Redirect",
    [308] = "Permanent Redirect",
    [400] = "Bad Request",
    [401] = "Unauthorized",
    [402] = "Payment Required",
    [403] = "Forbidden",
    [404] = "Not Found",
    [405] = "Method Not Allowed",
    [406] = "Not Acceptable",
    [407] = "Proxy Authentication Required",
    [408] = "Request Timeout",
    [409] = "Conflict",
    [410] = "Gone",
    [411] = "Length Required",
    [412] = "Precondition Failed",
    [413] = "Content Too Large",
    [414] = "URI Too Long",
    [415] = "Unsupported Media Type",
    [416] = "Range Not Satisfiable",
    [417] = "Expectation Failed",
    [421] = "Misdirected Request",
    [422] = "Unprocessable Content",
    [423] = "Locked",
    [424] = "Failed Dependency",
    [425] = "Too Early",
    [426] = "Upgrade Required",
    [428] = "Precondition Required",
    [429] = "Too Many Requests",
    [431] = "Request Header Fields Too Large",
    [451] = "Unavailable For Legal Reasons",
    [500] = "Internal Server Error",
    [501] = "Not Implemented",
    [502] = "Bad Gateway",
    [503] = "Service Unavailable",
    [504] = "Gateway Timeout",
    [505] = "HTTP Version Not Supported",
    [506] = "Variant Also Negotiates",
    [507] = "Insufficient Storage",
    [508] = "Loop Detected",
    [510] = "Not Extended",
    [511] = "Network Authentication Required",
};

const char *mg_status_reason(uint16_t status)
{
    const bool listed = status < sizeof reasons / sizeof reasons[0] && reasons[status];
    return listed ? reasons[status] : "";
}

static char *put_status_line(char *to, uint16_t status)
{
    if (status == 200) {
        return put(to, MG_STR("HTTP/1.1 200 OK\r\n"));
    }
    to = put(to, MG_STR("HTTP/1.1 "));
    to = put_number(to, status);
    *to++ = ' ';
    to = put(to, mg_str_from(mg_status_reason(status)));
    return put(to, MG_STR("\r\n"));
}

/* A field of the gateway's own, checked like those of the table. */
static char *put_own(char *to, mg_str name, mg_str value)
{
    return value.len > 0 && mg_is_field_value(value) ? put_field(to, name, value) : to;
}

/* Lengths and codings stand in no 1xx and 204 (RFC 9110, 8.6); in a 304 only one that is known. */
static bool has_framing(const struct mg_write_response *response)
{
    const enum mg_framing kind = response->framing.kind;
    return !response->framing.omit && kind != MG_FRAMING_CLOSE && response->status >= 200 &&
           response->status != 204 && !(response->status == 304 && kind == MG_FRAMING_NONE);
}

static bool has(const struct mg_headers *headers, enum mg_header_id id)
{
    return headers && mg_headers_has(headers, id);
}

int mg_write_response_head(struct mg_buf *out, const struct mg_write_response *response)
{
    if (response->status < 100 || response->status > 999 || !mg_is_field_value(response->upgrade)) {
        return MG_EINVALID;
    }
    const size_t bytes = STATUS_LINE + table_bytes(response->headers) + FRAMING + CONNECTION +
                         response->upgrade.len + field_bytes(MG_STR("Date"), response->date) +
                         field_bytes(MG_STR("Server"), response->server) +
                         field_bytes(MG_STR("Via"), response->via) + 2;
    char *const start = mg_buf_reserve(out, bytes);
    if (!start) {
        return MG_ENO_MEMORY;
    }
    char *to = put_status_line(start, response->status);
    if (!has(response->headers, MG_HEADER_DATE)) {
        to = put_own(to, MG_STR("Date"), response->date);
    }
    if (!has(response->headers, MG_HEADER_SERVER)) {
        to = put_own(to, MG_STR("Server"), response->server);
    }
    const uint64_t skipped = BIT(CONTENT_LENGTH) | BIT(TRANSFER_ENCODING) | BIT(CONNECTION) |
                             (response->upgrade.len > 0 ? BIT(UPGRADE) : 0);
    to = put_own(put_table(to, response->headers, skipped), MG_STR("Via"), response->via);
    if (has_framing(response)) {
        to = put_framing(to, &response->framing);
    }
    to = put_connection(to, response->upgrade, response->close);
    if (response->keep_alive && !response->close && response->upgrade.len == 0) {
        to = put(to, MG_STR("Connection: keep-alive\r\n"));
    }
    commit(out, start, put(to, MG_STR("\r\n")));
    return 0;
}

/* --- chunks --- */

size_t mg_write_chunk_head(char place[20], uint64_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned bits = bytes ? 64 - (unsigned)__builtin_clzll(bytes) : 1;
    const size_t count = (bits + 3) / 4;
    for (size_t i = count; i > 0; i--) {
        place[i - 1] = digits[bytes & 15];
        bytes >>= 4;
    }
    memcpy(place + count, "\r\n", 2);
    return count + 2;
}
