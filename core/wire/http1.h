/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 heads: a raw scanner finds where a head ends and enforces what llhttp hides (hardening
 * rules M02, M03, M04, M07 and the size limits), then the whole head is cut into slices: by llhttp
 * in strict mode, or by wire/http1_plain where the outcome can only be llhttp's. Meaning (framing,
 * Host, ...) is decided by wire/rules. No I/O.
 *
 *     struct mg_http1_scan scan = {0};
 *     int err = mg_http1_scan(&scan, MG_HTTP1_REQUEST, &limits, bytes, &used);
 *     // MG_EAGAIN: all bytes belong to an unfinished head, feed more; 0: the head is the bytes so
 *     far
 *     // up to and including used; other errors: refuse
 *     err = mg_http1_parse_request(arena, head, &limits, &out);
 */
#pragma once

#include "base/err.h"
#include "wire/headers.h"

enum mg_http1_kind {
    MG_HTTP1_REQUEST,
    MG_HTTP1_RESPONSE,
};

/* Bytes, but for count. 0 is not "unlimited" here. */
struct mg_http1_limits {
    uint32_t request_line; /* of the start line without CRLF, beyond: MG_ELINE_TOO_LONG */
    uint32_t header_bytes; /* of the fields together, each with its CRLF, beyond: MG_EHEAD_TOO_LARGE
                            * (as the next three) */
    uint32_t header_line;  /* of one field without CRLF */
    uint32_t header_name;
    uint32_t header_count;
};

/* Which limit MG_EHEAD_TOO_LARGE is about. */
enum mg_http1_limit {
    MG_HTTP1_LIMIT_NONE,
    MG_HTTP1_LIMIT_BYTES, /* header_bytes */
    MG_HTTP1_LIMIT_LINE,
    MG_HTTP1_LIMIT_NAME,
    MG_HTTP1_LIMIT_COUNT,
};

/* Zero-initialised at the start of each message. */
struct mg_http1_scan {
    uint8_t state;
    uint8_t limit;       /* enum mg_http1_limit */
    uint8_t empty_lines; /* before the start line */
    uint32_t line_bytes, name_bytes, field_bytes, fields;
    uint32_t skipped; /* bytes of the empty line before the start line: not part of the head */
};

/* Walks the next bytes of the message. *used: how many of these bytes belong to the head.
 * 0 when the head is complete; MG_EAGAIN when it goes on after these bytes; else a refusal:
 * MG_ESYNTAX, MG_ELINE_TOO_LONG, MG_EHEAD_TOO_LARGE. Any split of the bytes gives the same
 * result. */
MG_NODISCARD int mg_http1_scan(struct mg_http1_scan *scan, enum mg_http1_kind kind,
                               const struct mg_http1_limits *limits, mg_str bytes, size_t *used);

enum mg_method {
    MG_METHOD_UNKNOWN = 0,
    MG_METHOD_GET,
    MG_METHOD_HEAD,
    MG_METHOD_POST,
    MG_METHOD_PUT,
    MG_METHOD_DELETE,
    MG_METHOD_OPTIONS,
    MG_METHOD_PATCH,
    MG_METHOD_OTHER, /* known to llhttp, neither CONNECT nor TRACE */
};

/* Methods that may be sent again (RFC 9110, 9.2.2), those of the list in policies: GET HEAD OPTIONS
 * PUT DELETE */
bool mg_method_is_idempotent(enum mg_method method);
enum mg_method mg_method_of(mg_str name); /* UNKNOWN: not served (501) */

enum mg_framing {
    MG_FRAMING_NONE,   /* no body */
    MG_FRAMING_LENGTH, /* content_length bytes, which may be 0 */
    MG_FRAMING_CHUNKED,
    MG_FRAMING_CLOSE, /* answers only: until the connection ends */
};

struct mg_request_head {
    mg_str method; /* as sent, upper case by definition */
    enum mg_method method_id;
    mg_str target; /* as sent */
    uint8_t minor; /* of HTTP/1.x: 0 or 1 */
    struct mg_headers headers;
    /* set by mg_rules_check_request */
    enum mg_framing framing;
    uint64_t content_length; /* with MG_FRAMING_LENGTH */
    bool keep_alive;
    bool expect_continue; /* waits for 100 before it sends its body */
    bool wants_upgrade;   /* to WebSocket; other upgrades are never served (M20) */
};

struct mg_response_head {
    uint16_t status;
    uint8_t minor;
    struct mg_headers headers;
    /* set by mg_rules_check_response */
    /* NONE for answers to HEAD, 1xx, 204, 304, whatever their fields say */
    enum mg_framing framing;
    uint64_t content_length; /* as the field said, also with NONE */
    bool keep_alive;
};

/* head: one complete head as mg_http1_scan delimited it (without the scan's skipped bytes at its
 * start), in memory that lives as long as the arena. MG_ESYNTAX, MG_EVERSION, MG_EMETHOD,
 * MG_EFRAMING, MG_ETARGET. */
MG_NODISCARD int mg_http1_parse_request(struct mg_arena *arena, mg_str head,
                                        struct mg_request_head *out);
/* MG_EBAD_RESPONSE. */
MG_NODISCARD int mg_http1_parse_response(struct mg_arena *arena, mg_str head,
                                         struct mg_response_head *out);

/* The fields of a head whose start line was taken, by llhttp alone: what the two functions above
 * must agree with, for tests. The headers must be empty. MG_ESYNTAX, MG_EFRAMING, MG_ETARGET. */
MG_NODISCARD int mg_http1_cut_with_llhttp(enum mg_http1_kind kind, mg_str head,
                                          struct mg_headers *headers);
