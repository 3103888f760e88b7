/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A header table: the fields of one message in order, with a set of the names that the gateway
 * itself reads. Names and values are slices that live as long as the arena given at init. Names
 * compare without regard to ASCII case (RFC 9110, 5.1).
 *
 *     struct mg_headers headers;
 *     mg_headers_init(&headers, arena);
 *     mg_headers_add(&headers, MG_STR("Host"), value);
 *     const struct mg_header *host = mg_headers_known(&headers, MG_HEADER_HOST);
 */
#pragma once

#include "base/arena.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

/* id, lower-case name: the fields that core code looks at */
#define MG_HEADER_MAP(X)                                                                           \
    X(HOST, "host")                                                                                \
    X(CONNECTION, "connection")                                                                    \
    X(CONTENT_LENGTH, "content-length")                                                            \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                      \
    X(CONTENT_TYPE, "content-type")                                                                \
    X(CONTENT_ENCODING, "content-encoding")                                                        \
    X(CONTENT_RANGE, "content-range")                                                              \
    X(RANGE, "range")                                                                              \
    X(MAX_FORWARDS, "max-forwards")                                                                \
    X(AUTHORIZATION, "authorization")                                                              \
    X(COOKIE, "cookie")                                                                            \
    X(EXPECT, "expect")                                                                            \
    X(UPGRADE, "upgrade")                                                                          \
    X(KEEP_ALIVE, "keep-alive")                                                                    \
    X(PROXY_CONNECTION, "proxy-connection")                                                        \
    X(PROXY_AUTHENTICATE, "proxy-authenticate")                                                    \
    X(PROXY_AUTHORIZATION, "proxy-authorization")                                                  \
    X(TE, "te")                                                                                    \
    X(TRAILER, "trailer")                                                                          \
    X(VIA, "via")                                                                                  \
    X(DATE, "date")                                                                                \
    X(SERVER, "server")                                                                            \
    X(LOCATION, "location")                                                                        \
    X(RETRY_AFTER, "retry-after")                                                                  \
    X(ACCEPT, "accept")                                                                            \
    X(USER_AGENT, "user-agent")                                                                    \
    X(TRACEPARENT, "traceparent")                                                                  \
    X(REFERER, "referer")                                                                          \
    X(FORWARDED, "forwarded")                                                                      \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                          \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")                                                      \
    X(X_FORWARDED_HOST, "x-forwarded-host")                                                        \
    X(X_FORWARDED_PORT, "x-forwarded-port")                                                        \
    X(X_FORWARDED_PATH, "x-forwarded-path")                                                        \
    X(X_FORWARDED_PREFIX, "x-forwarded-prefix")                                                    \
    X(X_REAL_IP, "x-real-ip")                                                                      \
    X(X_REQUEST_ID, "x-request-id")                                                                \
    X(X_RATELIMIT_LIMIT, "x-ratelimit-limit")                                                      \
    X(X_RATELIMIT_REMAINING, "x-ratelimit-remaining")                                              \
    X(X_RATELIMIT_RESET, "x-ratelimit-reset")                                                      \
    X(SEC_WEBSOCKET_KEY, "sec-websocket-key")                                                      \
    X(SEC_WEBSOCKET_ACCEPT, "sec-websocket-accept")

enum mg_header_id {
    MG_HEADER_OTHER = 0,
#define MG_HEADER_ENUM(id, name) MG_HEADER_##id,
    MG_HEADER_MAP(MG_HEADER_ENUM)
#undef MG_HEADER_ENUM
        MG_HEADER_COUNT
};

struct mg_header {
    mg_str name; /* as received or set */
    mg_str value;
    uint8_t id; /* enum mg_header_id */
};

struct mg_headers {
    struct mg_arena *arena;
    struct mg_header *items;
    uint32_t count, capacity;
    uint64_t known; /* bit n: some field has the id n */
};

_Static_assert(MG_HEADER_COUNT <= 64, "a set of header ids is one word");

void mg_headers_init(struct mg_headers *headers, struct mg_arena *arena);
/* The id of a name; MG_HEADER_OTHER when it is none of ours. */
enum mg_header_id mg_header_id_of(mg_str name);
/* Appends; the slices are borrowed, not copied. */
void mg_headers_add(struct mg_headers *headers, mg_str name, mg_str value);
/* The same for a name whose id is known. */
void mg_headers_add_known(struct mg_headers *headers, enum mg_header_id id, mg_str name,
                          mg_str value);
static inline bool mg_headers_has(const struct mg_headers *headers, enum mg_header_id id)
{
    return headers->known >> id & 1;
}
/* First field of the id at or after position from, or NULL. Lives until the table changes. */
const struct mg_header *mg_headers_next(const struct mg_headers *headers, enum mg_header_id id,
                                        uint32_t from);
/* First field of the id, or NULL; that there is none is known at once. */
static inline const struct mg_header *mg_headers_known(const struct mg_headers *headers,
                                                       enum mg_header_id id)
{
    return mg_headers_has(headers, id) ? mg_headers_next(headers, id, 0) : NULL;
}
/* Where a field of the table stands. */
static inline uint32_t mg_headers_place(const struct mg_headers *headers,
                                        const struct mg_header *field)
{
    return (uint32_t)(field - headers->items);
}
/* First field with the name at or after position from, or NULL. */
const struct mg_header *mg_headers_find(const struct mg_headers *headers, mg_str name,
                                        uint32_t from);
/* The same for a name whose id is known, be it OTHER. */
const struct mg_header *mg_headers_find_known(const struct mg_headers *headers,
                                              enum mg_header_id id, mg_str name, uint32_t from);
/* The same, with '_' equal to '-' (reading by plugins). */
const struct mg_header *mg_headers_find_loose(const struct mg_headers *headers, mg_str name,
                                              uint32_t from);
/* How many fields have the id. */
uint32_t mg_headers_count(const struct mg_headers *headers, enum mg_header_id id);
/* Removes all fields with the name; returns how many there were. Order of the rest is kept. */
uint32_t mg_headers_remove(struct mg_headers *headers, mg_str name);
uint32_t mg_headers_remove_known(struct mg_headers *headers, enum mg_header_id id);
/* Replaces all fields with the name by one, at the place of the first; appends if there was
 * none. */
void mg_headers_set(struct mg_headers *headers, mg_str name, mg_str value);
void mg_headers_set_known(struct mg_headers *headers, enum mg_header_id id, mg_str name,
                          mg_str value);
/* Removes every field for which drop(context, field) is true, in one pass; returns how many. */
uint32_t mg_headers_filter(struct mg_headers *headers,
                           bool (*drop)(void *context, const struct mg_header *field),
                           void *context);
/* All values of the name joined by ", " (RFC 9110, 5.3), in the arena; ptr NULL if there is
 * none. */
mg_str mg_headers_join(const struct mg_headers *headers, mg_str name);
/* Copies the fields (not the bytes) of from into an empty table. */
void mg_headers_copy(struct mg_headers *to, const struct mg_headers *from);

/* How many bytes at the start of the text may stand in a token (RFC 9110, 5.6.2). */
size_t mg_token_length(mg_str text);
/* A token, not empty. */
bool mg_is_token(mg_str name);
/* HTAB, SP, visible ASCII, 0x80-0xFF only (RFC 9110, 5.5). */
bool mg_is_field_value(mg_str value);
/* The first control byte (0x00-0x1F, HTAB too, or 0x7F) in [at, end), or end. */
const char *mg_find_control(const char *at, const char *end);
/* How many there are. */
size_t mg_count_controls(const char *at, const char *end);
