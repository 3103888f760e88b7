/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One complete head to slices. Start lines are cut here, strictly (rules M04 to M06 and R01 of
 * docs/threat-model.md). Fields of the simplest form are cut by wire/http1_plain; where there is
 * anything else in a head, llhttp in strict mode runs over all of it once more and delivers the
 * fields. It is stopped where the fields end: bodies are not its business. Each slice that it
 * delivers must stand where the grammar says it stands, so a surprise in it ends as a refusal.
 */
#include "wire/http1.h"

#include "wire/http1_plain.h"

#include <llhttp.h>

#if LLHTTP_VERSION_MAJOR < 9
/* Without it these versions end fields at a bare CR, among others; later ones are always strict. */
_Static_assert(LLHTTP_STRICT_MODE == 1, "llhttp must be compiled in strict mode");
#endif

/* --- methods --- */

static bool is(mg_str name, const char *word)
{
    return memcmp(name.ptr, word, name.len) == 0;
}

static enum mg_method common_method(mg_str name)
{
    switch (name.len) {
    case 3:
        return is(name, "GET")   ? MG_METHOD_GET
               : is(name, "PUT") ? MG_METHOD_PUT
                                 : MG_METHOD_UNKNOWN;
    case 4:
        return is(name, "POST")   ? MG_METHOD_POST
               : is(name, "HEAD") ? MG_METHOD_HEAD
                                  : MG_METHOD_UNKNOWN;
    case 5:
        return is(name, "PATCH") ? MG_METHOD_PATCH : MG_METHOD_UNKNOWN;
    case 6:
        return is(name, "DELETE") ? MG_METHOD_DELETE : MG_METHOD_UNKNOWN;
    case 7:
        return is(name, "OPTIONS") ? MG_METHOD_OPTIONS : MG_METHOD_UNKNOWN;
    default:
        return MG_METHOD_UNKNOWN;
    }
}

enum mg_method mg_method_of(mg_str name)
{
    static const mg_str all[] = {
#define METHOD_ENTRY(number, id, text) {#text, sizeof(#text) - 1},
        HTTP_METHOD_MAP(METHOD_ENTRY)
#undef METHOD_ENTRY
    };
    const enum mg_method common = common_method(name);
    if (common != MG_METHOD_UNKNOWN) {
        return common;
    }
    if (mg_str_equal(name, MG_STR("CONNECT")) || mg_str_equal(name, MG_STR("TRACE"))) {
        return MG_METHOD_UNKNOWN;
    }
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (mg_str_equal(name, all[i])) {
            return MG_METHOD_OTHER;
        }
    }
    return MG_METHOD_UNKNOWN;
}

bool mg_method_is_idempotent(enum mg_method method)
{
    switch (method) {
    case MG_METHOD_GET:
    case MG_METHOD_HEAD:
    case MG_METHOD_OPTIONS:
    case MG_METHOD_PUT:
    case MG_METHOD_DELETE:
        return true;
    default:
        return false;
    }
}

/* --- start lines --- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/" DIGIT "." DIGIT; what follows is the caller's. *minor is set for 1.0 and 1.1 only. */
static int parse_version(const char *at, size_t len, uint8_t *minor)
{
    if (len < 8 || memcmp(at, "HTTP/", 5) != 0 || !is_digit(at[5]) || at[6] != '.' ||
        !is_digit(at[7])) {
        return MG_ESYNTAX;
    }
    if (at[5] != '1' || at[7] > '1') {
        return MG_EVERSION;
    }
    *minor = (uint8_t)(at[7] - '0');
    return 0;
}

/* method SP target SP version CR LF, each blank exactly one SP (RFC 9112, 3). *fields: what is
 * behind it. */
static int cut_request_line(mg_str head, struct mg_request_head *out, mg_str *fields)
{
    const ptrdiff_t first = mg_str_find(head, ' ', 0);
    const ptrdiff_t second = first < 0 ? -1 : mg_str_find(head, ' ', (size_t)first + 1);
    if (second < 0) {
        return MG_ESYNTAX;
    }
    out->method = mg_str_slice(head, 0, (size_t)first);
    out->target = mg_str_slice(head, (size_t)first + 1, (size_t)second);
    const mg_str rest = mg_str_slice(head, (size_t)second + 1, head.len);
    if (out->target.len == 0 || rest.len < 10 || memcmp(rest.ptr + 8, "\r\n", 2) != 0) {
        return MG_ESYNTAX;
    }
    const int err = parse_version(rest.ptr, rest.len, &out->minor);
    if (err == MG_ESYNTAX || mg_find_control(head.ptr, rest.ptr) != rest.ptr) {
        return MG_ESYNTAX; /* the blanks were found beyond the line's end */
    }
    if (err) {
        return err;
    }
    out->method_id = mg_method_of(out->method);
    if (out->method_id == MG_METHOD_UNKNOWN) {
        return mg_is_token(out->method) ? MG_EMETHOD : MG_ESYNTAX;
    }
    *fields = mg_str_slice(rest, 10, rest.len);
    return 0;
}

/* version SP 3DIGIT [ SP reason ] CR LF (RFC 9112, 4); the blank before an empty reason may
 * lack. */
static int cut_status_line(mg_str head, struct mg_response_head *out)
{
    const char *at = head.ptr;
    if (parse_version(at, head.len, &out->minor) || head.len < 14 || at[8] != ' ' ||
        !is_digit(at[9]) || !is_digit(at[10]) || !is_digit(at[11])) {
        return MG_EBAD_RESPONSE;
    }
    out->status = (uint16_t)((at[9] - '0') * 100 + (at[10] - '0') * 10 + (at[11] - '0'));
    if (out->status < 100 || out->status > 599 || (at[12] != ' ' && at[12] != '\r')) {
        return MG_EBAD_RESPONSE;
    }
    return 0;
}

/* --- fields --- */

struct collect {
    struct mg_headers *headers;
    mg_str name, value; /* of the present field; name.ptr NULL before the first */
    const char *end;    /* of the head */
    bool complete;
};

/* Blanks at the end of a value are not part of it (RFC 9110, 5.5); llhttp leaves them. */
static mg_str trim_end(mg_str value)
{
    while (value.len > 0 && (value.ptr[value.len - 1] == ' ' || value.ptr[value.len - 1] == '\t')) {
        value.len--;
    }
    return value;
}

/* Puts the present field into the table. */
static void take_field(struct collect *collect)
{
    if (collect->name.ptr) {
        mg_headers_add(collect->headers, collect->name, trim_end(collect->value));
    }
}

static int on_header_field(llhttp_t *parser, const char *at, size_t length)
{
    struct collect *collect = parser->data;
    /* a whole name, from the start of a line to the colon */
    if (length == 0 || at[-1] != '\n' || at + length >= collect->end || at[length] != ':') {
        return -1;
    }
    take_field(collect);
    collect->name = mg_str_make(at, length);
    collect->value = mg_str_make(at + length, 0);
    return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t length)
{
    struct collect *collect = parser->data;
    if (collect->value.len > 0 && length > 0) {
        return -1; /* one line, one value */
    }
    collect->value = mg_str_make(at, length);
    return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    struct collect *collect = parser->data;
    take_field(collect);
    collect->complete = true;
    return HPE_PAUSED;
}

/* Much of what the rules judge is refused by llhttp already; it is counted as what it is. */
static int error_of(llhttp_errno_t found)
{
    switch (found) {
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_UNEXPECTED_CONTENT_LENGTH:
    case HPE_INVALID_TRANSFER_ENCODING:
        return MG_EFRAMING;
    case HPE_INVALID_URL:
        return MG_ETARGET;
    default:
        return MG_ESYNTAX;
    }
}

int mg_http1_cut_with_llhttp(enum mg_http1_kind kind, mg_str head, struct mg_headers *headers)
{
    static const llhttp_settings_t settings = {
        .on_header_field = on_header_field,
        .on_header_value = on_header_value,
        .on_headers_complete = on_headers_complete,
    };
    struct collect collect = {.headers = headers, .end = head.ptr + head.len};
    llhttp_t parser;
    llhttp_init(&parser, kind == MG_HTTP1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
    parser.data = &collect;
    const llhttp_errno_t found = llhttp_execute(&parser, head.ptr, head.len);
    if (found != HPE_PAUSED || !collect.complete) {
        return error_of(found);
    }
    return llhttp_get_error_pos(&parser) == collect.end ? 0 : MG_ESYNTAX;
}

int mg_http1_parse_request(struct mg_arena *arena, mg_str head, struct mg_request_head *out)
{
    mg_str fields;
    *out = (struct mg_request_head){.minor = 1};
    mg_headers_init(&out->headers, arena);
    const int err = cut_request_line(head, out, &fields);
    if (err) {
        return err;
    }
    if (out->method_id != MG_METHOD_OTHER && mg_http1_is_plain_target(out->target) &&
        mg_http1_cut_plain(fields, &out->headers)) {
        return 0;
    }
    mg_headers_init(&out->headers, arena);
    return mg_http1_cut_with_llhttp(MG_HTTP1_REQUEST, head, &out->headers);
}

/* What is behind a status line whose reason phrase is plain text; else nothing. */
static mg_str fields_of_response(mg_str head)
{
    const char *at = head.ptr + 12, *const end = head.ptr + head.len;
    at = *at == ' ' ? mg_find_control(at, end) : end;
    const bool found = end - at >= 2 && at[0] == '\r' && at[1] == '\n';
    return found ? mg_str_make(at + 2, (size_t)(end - at) - 2) : mg_str_make(NULL, 0);
}

int mg_http1_parse_response(struct mg_arena *arena, mg_str head, struct mg_response_head *out)
{
    *out = (struct mg_response_head){.minor = 1};
    mg_headers_init(&out->headers, arena);
    const int err = cut_status_line(head, out);
    if (err) {
        return err;
    }
    if (mg_http1_cut_plain(fields_of_response(head), &out->headers)) {
        return 0;
    }
    mg_headers_init(&out->headers, arena);
    return mg_http1_cut_with_llhttp(MG_HTTP1_RESPONSE, head, &out->headers) ? MG_EBAD_RESPONSE : 0;
}
