/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The raw scanner: finds the end of a head and owns rules M02, M03, M04 (no HTAB), M07, M08 and the
 * size limits of docs/threat-model.md. It jumps from control byte to control byte; all others are
 * plain text.
 *
 *     START --text--> LINE --CR--> LINE_CR --LF--> FIELD_START --text--> NAME --':'--> VALUE
 *     START --CR--> EMPTY_CR --LF--> START (once)       |  ^                            |
 *                                        CR --> END_CR -+  +---LF--- FIELD_CR <---CR----+
 *                                                 |LF: done
 *
 * Whether a colon was seen is only found out when it matters: at the end of a piece inside a line,
 * or when the line is longer than a name may be.
 */
#include "wire/http1.h"

enum state {
    START,
    EMPTY_CR,
    LINE,
    LINE_CR,
    FIELD_START,
    NAME,
    VALUE,
    FIELD_CR,
    END_CR,
};

/* First byte of the message: an empty line is allowed once before a request (RFC 9112, 2.2). */
static int begin(struct mg_http1_scan *scan, enum mg_http1_kind kind, const char **at)
{
    if (**at != '\r') {
        scan->state = LINE;
        return MG_EAGAIN;
    }
    if (kind != MG_HTTP1_REQUEST || scan->empty_lines > 0) {
        return MG_ESYNTAX;
    }
    scan->empty_lines = 1;
    scan->skipped = 2;
    scan->state = EMPTY_CR;
    (*at)++;
    return MG_EAGAIN;
}

static int too_large(struct mg_http1_scan *scan, enum mg_http1_limit limit)
{
    scan->limit = (uint8_t)limit;
    return MG_EHEAD_TOO_LARGE;
}

/* First byte of a line after the start line: folding and empty names are refused here. */
static int begin_field(struct mg_http1_scan *scan, const struct mg_http1_limits *limits,
                       const char **at)
{
    switch (**at) {
    case '\r':
        scan->state = END_CR;
        (*at)++;
        return MG_EAGAIN;
    case ' ':
    case '\t':
    case ':':
        return MG_ESYNTAX;
    default:
        if (scan->fields >= limits->header_count) {
            return too_large(scan, MG_HTTP1_LIMIT_COUNT);
        }
        scan->fields++;
        scan->line_bytes = 0;
        scan->name_bytes = 0;
        scan->state = NAME;
        return MG_EAGAIN;
    }
}

/* A line feed must come: after the CR of any line. */
static int expect_lf(struct mg_http1_scan *scan, const char **at)
{
    if (**at != '\n') {
        return MG_ESYNTAX;
    }
    (*at)++;
    const uint8_t state = scan->state;
    scan->state = state == EMPTY_CR ? START : FIELD_START;
    return state == END_CR ? 0 : MG_EAGAIN;
}

/* The start line from *at on. */
static int walk_line(struct mg_http1_scan *scan, enum mg_http1_kind kind,
                     const struct mg_http1_limits *limits, const char **at, const char *end)
{
    const char *found = mg_find_control(*at, end);
    /* a reason phrase may have a tab (RFC 9112, 4) */
    const bool tab = found < end && *found == '\t' && kind == MG_HTTP1_RESPONSE;
    const size_t length = scan->line_bytes + (size_t)(found - *at) + tab;
    if (length > limits->request_line) {
        return MG_ELINE_TOO_LONG;
    }
    scan->line_bytes = (uint32_t)length;
    *at = found;
    if (found == end) {
        return MG_EAGAIN;
    }
    if (*found != '\r' && !tab) {
        return MG_ESYNTAX;
    }
    scan->state = tab ? LINE : LINE_CR;
    (*at)++;
    return MG_EAGAIN;
}

/* Looks for the colon in text of a line that began without one. */
static int look_for_colon(struct mg_http1_scan *scan, const struct mg_http1_limits *limits,
                          const char *at, const char *end)
{
    const char *colon = memchr(at, ':', (size_t)(end - at));
    const size_t length = scan->name_bytes + (size_t)((colon ? colon : end) - at);
    if (length > limits->header_name) {
        return too_large(scan, MG_HTTP1_LIMIT_NAME);
    }
    scan->name_bytes = (uint32_t)length;
    scan->state = colon ? VALUE : NAME;
    return 0;
}

/* A field line, in name or value, from *at on. Refusals come in the order of the bytes that cause
 * them, so that pieces of any size give the same one. */
static int walk_field(struct mg_http1_scan *scan, const struct mg_http1_limits *limits,
                      const char **at, const char *end)
{
    const char *found = mg_find_control(*at, end);
    const bool tab = found < end && *found == '\t';
    const size_t length = scan->line_bytes + (size_t)(found - *at);
    const uint64_t all = (uint64_t)scan->field_bytes + length + 2; /* CR LF will come */
    if (length > limits->header_line || all > limits->header_bytes) {
        return too_large(scan,
                         length > limits->header_line ? MG_HTTP1_LIMIT_LINE : MG_HTTP1_LIMIT_BYTES);
    }
    if (scan->state == NAME && (found == end || tab || length > limits->header_name)) {
        const int err = look_for_colon(scan, limits, *at, found);
        if (err) {
            return err;
        }
    }
    *at = found;
    scan->line_bytes = (uint32_t)length;
    if (found == end) {
        return MG_EAGAIN;
    }
    (*at)++;
    if (*found == '\r') {
        scan->field_bytes = (uint32_t)all;
        scan->state = FIELD_CR;
        return MG_EAGAIN;
    }
    if (!tab || scan->state == NAME) {
        return MG_ESYNTAX;
    }
    if (length >= limits->header_line || all >= limits->header_bytes) {
        return too_large(scan, length >= limits->header_line ? MG_HTTP1_LIMIT_LINE
                                                             : MG_HTTP1_LIMIT_BYTES);
    }
    scan->line_bytes++;
    return MG_EAGAIN;
}

/* Takes whole lines of ordinary fields: so short that no name can be too long, and far from the
 * limits. Stops before the first line that deserves a second look; returns its place. */
static const char *take_plain_fields(struct mg_http1_scan *scan,
                                     const struct mg_http1_limits *limits, const char *at,
                                     const char *end)
{
    const size_t most =
        limits->header_name < limits->header_line ? limits->header_name : limits->header_line;
    while (end - at > 2 && *at != ' ' && *at != ':' && scan->fields < limits->header_count) {
        const char *found = mg_find_control(at, end);
        const size_t length = (size_t)(found - at);
        const uint64_t all = (uint64_t)scan->field_bytes + length + 2;
        if (length == 0 || length > most || all > limits->header_bytes || end - found < 2 ||
            found[0] != '\r' || found[1] != '\n') {
            break;
        }
        scan->fields++;
        scan->field_bytes = (uint32_t)all;
        at = found + 2;
    }
    return at;
}

int mg_http1_scan(struct mg_http1_scan *scan, enum mg_http1_kind kind,
                  const struct mg_http1_limits *limits, mg_str bytes, size_t *used)
{
    *used = 0;
    if (bytes.len == 0) {
        return MG_EAGAIN;
    }
    const char *at = bytes.ptr, *const end = bytes.ptr + bytes.len;
    int err = MG_EAGAIN;
    while (at < end && err == MG_EAGAIN) {
        switch (scan->state) {
        case START:
            err = begin(scan, kind, &at);
            break;
        case LINE:
            err = walk_line(scan, kind, limits, &at, end);
            break;
        case FIELD_START:
            at = take_plain_fields(scan, limits, at, end);
            err = at < end ? begin_field(scan, limits, &at) : MG_EAGAIN;
            break;
        case NAME:
        case VALUE:
            err = walk_field(scan, limits, &at, end);
            break;
        default:
            err = expect_lf(scan, &at);
        }
    }
    *used = (size_t)(at - bytes.ptr);
    return err;
}
